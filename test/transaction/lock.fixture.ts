// Run by lock.test.ts, as a process or a worker: does with locks what it is told.
import { spawn } from 'node:child_process';
import { closeSync, openSync, unlinkSync } from 'node:fs';
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { acquire } from '../../lib/transaction/lock.js';

const [what, directory = '', rounds = '0'] = isMainThread ? process.argv.slice(2) : (workerData as string[]);
const say = (word: string): void => (isMainThread ? console.log(word) : parentPort!.postMessage(word));

/** Two at once would meet at the file. Without waiting they come at it all the time: between another's open and flock, too. */
async function contend(): Promise<void> {
  const inside = `${directory}/inside`;
  for (let round = 0; round < Number(rounds); round++) {
    const wait = round < Number(rounds) / 10;
    let lock = await acquire(directory, 'contended', { wait });
    while (lock === undefined) lock = await acquire(directory, 'contended', { wait });
    closeSync(openSync(inside, 'wx'));
    if (wait && round % 3 === 0) await new Promise((resolve) => setTimeout(resolve, Math.random() * 2));
    unlinkSync(inside);
    await lock.release();
  }
  say('through');
}

const acts: Record<string, () => Promise<void>> = {
  contend,
  /** Holds it for ever; a child of its own is started meanwhile, and outlives it. */
  hold: async () => {
    const held = await acquire(directory, 'held');
    const child = spawn('sleep', ['100'], { stdio: 'ignore', detached: true });
    child.unref();
    say(`holding ${child.pid!}`);
    // What nobody knows any more is closed by the garbage collector, and lets go.
    setInterval(() => void held, 1000);
  },
  wait: async () => {
    say('waiting');
    await acquire(directory, 'held');
    say('got it');
  },
  once: async () => say((await acquire(directory, 'held', { wait: false })) === undefined ? 'not mine' : 'mine'),
  /** Ends while another waits. */
  leave: async () => {
    for (let n = 0; n < 8; n++) void acquire(directory, 'held');
    setTimeout(() => process.exit(7), 50);
  },
};

await acts[what!]!();
