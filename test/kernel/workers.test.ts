import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { getLink } from 'podtap';
import t from 'tap';
import { native } from '../../lib/native.js';
import { fresh, pause, until } from '../support/inside.js';
import { requires } from '../support/requires.js';

const skip = requires('tun');

/** What is open, by kind. */
function files(): string[] {
  const open = readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return []; // the directory itself
    }
  });
  return open.sort();
}

/** A worker, and what it says. Not under the preload of the tests: that one is for processes. */
function worker(file: string, workerData?: string) {
  const thread = new Worker(new URL(file, import.meta.url), { workerData, execArgv: [], stderr: true });
  const said: string[] = [];
  const errors: Error[] = [];
  thread.on('message', (message: string) => said.push(message));
  thread.on('error', (error) => errors.push(error));
  return { thread, said, errors, ended: new Promise<number>((resolve) => thread.on('exit', resolve)) };
}

await t.test('requests in several workers at once', async (t) => {
  const here = await fresh(t);
  const workers = Array.from({ length: 6 }, () => worker('environment.fixture.js', 'answers'));
  const own = await Promise.all(Array.from({ length: 200 }, () => getLink(here, 'lo')));
  t.ok(own.every((link) => link?.name === 'lo'));
  for (const { said, errors, ended } of workers) {
    t.equal(await ended, 0);
    t.same([said, errors], [['v0,v1'], []]);
  }
});

await t.test('workers terminated at any moment', { skip }, async (t) => {
  await getLink(await fresh(t), 'lo');
  await worker('workers.fixture.js').thread.terminate();
  const before = { open: files(), tasks: readdirSync('/proc/self/task').length, own: native().openDescriptors() };
  const crashes: unknown[] = [];
  const terminate = async (number: number): Promise<void> => {
    // The library in every tenth, native code alone in the others.
    const { thread, said, errors, ended } = number % 10 === 0 ? worker('environment.fixture.js', 'busy') : worker('workers.fixture.js');
    await Promise.race([once(thread, 'message'), ended]);
    await pause(Math.random() * (number % 3 === 0 ? 3 : 40));
    await thread.terminate();
    await ended;
    crashes.push(...errors, ...(said[0] === 'started' ? [] : ['it did not start']));
  };
  // Two at a time: what one leaves behind, another one could use.
  let number = 0;
  const lane = async (): Promise<void> => {
    while (number < 100) await terminate(number++);
  };
  await Promise.all([lane(), lane()]);
  t.same(crashes, []);
  t.ok(await until(() => files().length <= before.open.length), 'no descriptor is left');
  t.same(files(), before.open);
  t.ok(await until(() => readdirSync('/proc/self/task').length <= before.tasks), 'nor a thread');
  t.equal(native().openDescriptors(), before.own, 'those of this environment are its own');
});
