// Locks between processes, workers, and the parts of one program.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { once, setMaxListeners } from 'node:events';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { Netns } from 'podtap';
import { native } from '../../lib/native.js';
import { acquire, namespaceLock, removeDeadLocks } from '../../lib/transaction/lock.js';
import { fixture, pause, until } from '../support/inside.js';
import { root } from '../support/root.js';
import { directory } from './files.js';

const file = 'transaction/lock.fixture.js';
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(NODE_OPTIONS|_?TAP)/.test(name)));

/** A fixture that goes on: what it said last. */
function start(...args: readonly string[]): { child: ChildProcess; said: () => string; kill: () => Promise<unknown> } {
  const child = spawn(process.execPath, [join(root, 'dist/test', file), ...args], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (part) => (text += String(part)));
  const ended = once(child, 'close');
  return { child, said: () => text.trim(), kill: () => (child.kill('SIGKILL'), ended) };
}

function worker(...args: readonly string[]) {
  const thread = new Worker(new URL('lock.fixture.js', import.meta.url), { workerData: args, execArgv: [] });
  const said: string[] = [];
  const failed: unknown[] = [];
  thread.on('message', (word: string) => said.push(word));
  thread.on('error', (error) => failed.push(error));
  return { thread, said, failed, ended: new Promise((resolve) => thread.on('exit', resolve)) };
}

/** Whether somebody else has it. */
async function taken(path: string, name: string): Promise<boolean> {
  const lock = await acquire(path, name, { wait: false });
  await lock?.release();
  return lock === undefined;
}

/** How many descriptors there are for it, in all processes. */
function opened(path: string): number {
  const all = readdirSync('/proc').filter((pid) => /^\d+$/.test(pid));
  const links = all.flatMap((pid) => list(`/proc/${pid}/fd`).flatMap((fd) => list(`/proc/${pid}/fd/${fd}`)));
  return links.filter((link) => link === path).length;
}

/** What is in a directory, or what a link leads to; nothing where it is gone meanwhile, or not ours to see. */
function list(path: string): string[] {
  try {
    return path.endsWith('/fd') ? readdirSync(path) : [readlinkSync(path)];
  } catch {
    return [];
  }
}

await t.test('one at a time', async (t) => {
  const path = directory(t);
  const first = await acquire(path, 'a');
  t.ok(existsSync(`${path}/a.lock`));
  t.equal(statSync(`${path}/a.lock`).mode & 0o777, 0o600);
  t.equal(await acquire(path, 'a', { wait: false }), undefined);
  t.equal(await taken(path, 'b'), false, 'another name is another lock');
  let got = false;
  const second = acquire(path, 'a').then((lock) => ((got = true), lock));
  await pause(60);
  t.notOk(got);
  await first.release();
  await first.release();
  t.ok(await until(() => got));
  t.equal(await taken(path, 'a'), true, 'released twice is released once');
  await (await second)[Symbol.asyncDispose]();
  t.equal(await taken(path, 'a'), false);
  t.same(readdirSync(path), [], 'no file is left');
  t.equal(native().openDescriptors(), 0);
  t.equal(namespaceLock({ cookie: 12n, inode: 5n }), 'netns-12');
  t.equal(namespaceLock({ cookie: undefined, inode: 5n }), 'inode-5');
});

await t.test('in the order of the calls', async (t) => {
  const path = directory(t);
  const order: number[] = [];
  const first = await acquire(path, 'a');
  const rest = Array.from({ length: 20 }, async (_, n) => {
    const lock = await acquire(path, 'a');
    order.push(n);
    await lock.release();
  });
  await pause(100);
  const started = performance.now();
  await first.release();
  await Promise.all(rest);
  t.same(order, [...order.keys()]);
  t.equal(order.length, 20);
  t.ok(performance.now() - started < 1500, 'and each is woken by the one before');
  t.same(readdirSync(path), []);
});

await t.test('a signal ends the wait', async (t) => {
  const path = directory(t);
  const reason = new Error('enough');
  await t.rejects(acquire(path, 'a', { signal: AbortSignal.abort(reason) }), reason);
  t.same(readdirSync(path), [], 'nothing was tried');
  for (let round = 0; round < 5; round++) {
    const first = await acquire(path, 'a');
    const [early, late] = [new AbortController(), new AbortController()];
    const results: string[] = [];
    const ask = (name: string, signal?: AbortSignal): Promise<void> =>
      acquire(path, 'a', { signal }).then(
        async (lock) => {
          results.push(name);
          await lock.release();
        },
        (error: unknown) => void results.push(`${name} ${error === reason}`),
      );
    const all = [ask('head', early.signal), ask('second'), ask('middle', late.signal), ask('last')];
    await pause(30);
    late.abort(reason);
    t.ok(await until(() => results.join() === 'middle true', 500), 'in the middle of the line');
    early.abort(reason);
    t.ok(await until(() => results.join() === 'middle true,head true', 500), 'and at its head');
    await pause(30);
    t.equal(results.length, 2);
    await first.release();
    await Promise.all(all);
    t.same(results.slice(2), ['second', 'last']);
  }
  // Aborted at any moment of a try: it was rejected, or it has the lock.
  for (let n = 0; n < 200; n++) {
    const controller = new AbortController();
    const asked = acquire(path, 'b', { signal: controller.signal });
    void pause(0).then(() => controller.abort(reason));
    if (n % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
    else controller.abort(reason);
    const lock = await asked.catch((error: unknown) => void t.equal(error, reason));
    await lock?.release();
    t.equal(await taken(path, 'b'), false);
  }
  t.equal(native().openDescriptors(), 0);
});

await t.test('processes, workers and this thread contend', async (t) => {
  const path = directory(t);
  const rounds = '200';
  const workers = [worker('contend', path, rounds), worker('contend', path, rounds)];
  const processes = [fixture(file, ['contend', path, rounds]), fixture(file, ['contend', path, rounds])];
  for (let round = 0; round < 30; round++) {
    const lock = await acquire(path, 'contended');
    writeFileSync(`${path}/inside`, '', { flag: 'wx' });
    if (round % 3 === 0) await pause(1);
    rmSync(`${path}/inside`);
    await lock.release();
  }
  for (const ended of await Promise.all(processes)) t.match(ended, { code: 0, stdout: 'through\n', stderr: '' });
  for (const { said, failed, ended } of workers) {
    await ended;
    t.same([said, failed], [['through'], []]);
  }
  t.same(readdirSync(path), []);
});

await t.test('a file that its holder took away while another had it open', async (t) => {
  const path = directory(t);
  const first = await acquire(path, 'held');
  // strace(1) holds the other up between its open and its flock.
  const slow = ['-f', '-qq', '-o', '/dev/null', '-e', 'trace=flock', '-e', 'inject=flock:delay_enter=500000'];
  const other = spawn('strace', [...slow, process.execPath, join(root, 'dist/test', file), 'once', path], { env, stdio: ['ignore', 'pipe', 'inherit'] }); // prettier-ignore
  let said = '';
  other.stdout.on('data', (part) => (said += String(part)));
  const ended = once(other, 'close');
  t.ok(await until(() => opened(`${path}/held.lock`) > 1));
  await first.release();
  const second = await acquire(path, 'held');
  await ended;
  t.equal(said, 'not mine\n');
  await second.release();

  // Somebody else took it away: what is there now is not ours to take.
  const third = await acquire(path, 'held');
  rmSync(`${path}/held.lock`);
  const fourth = await acquire(path, 'held');
  await third.release();
  t.equal(await taken(path, 'held'), true);
  await fourth.release();
  t.same(readdirSync(path), []);
});

await t.test('who is killed holds nothing', async (t) => {
  const path = directory(t);
  const holder = start('hold', path);
  t.ok(await until(() => holder.said().startsWith('holding')));
  const child = Number(holder.said().split(' ')[1]);
  t.equal(await taken(path, 'held'), true);
  let got = false;
  const waiting = acquire(path, 'held').then((lock) => ((got = true), lock));
  await pause(50);
  t.notOk(got);
  await holder.kill();
  t.ok(await until(() => got, 1000), 'not even by a child of its own');
  process.kill(child, 0);
  process.kill(child, 'SIGKILL');
  await (await waiting).release();
  t.same(readdirSync(path), []);

  const another = start('hold', path);
  t.ok(await until(() => another.said().startsWith('holding')));
  await removeDeadLocks(path);
  t.same(readdirSync(path), ['held.lock'], 'that of the living');
  await another.kill();
  process.kill(Number(another.said().split(' ')[1]), 'SIGKILL');
  t.same(readdirSync(path), ['held.lock'], 'it could not tidy up');
  mkdirSync(`${path}/directory.lock`);
  await removeDeadLocks(path);
  t.same(readdirSync(path), ['directory.lock']);
});

await t.test('waiting costs others nothing', async (t) => {
  const path = directory(t);
  const held = await Promise.all(Array.from({ length: 12 }, (_, n) => acquire(path, `l${n}`)));
  const end = new AbortController();
  setMaxListeners(0, end.signal);
  const waiting = held.flatMap((_, n) => [acquire(path, `l${n}`, { signal: end.signal }), acquire(path, `l${n}`, { signal: end.signal })]);
  const settled = Promise.allSettled(waiting);
  await pause(100);
  const started = performance.now();
  await (await Netns.current()).close();
  t.ok(performance.now() - started < 500, 'native threads are free for other work');
  end.abort();
  t.ok((await settled).every(({ status }) => status === 'rejected'));
  for (const lock of held) await lock.release();
  t.same(readdirSync(path), []);
});

await t.test('the end of a worker or process that waits or holds', async (t) => {
  const path = directory(t);
  const held = await acquire(path, 'held');
  const waiter = worker('wait', path);
  t.ok(await until(() => waiter.said.includes('waiting')));
  await pause(20);
  await waiter.thread.terminate();
  t.match(await fixture(file, ['leave', path]), { code: 7, stderr: '' });
  const kept = start('wait', path);
  t.ok(await until(() => kept.said() === 'waiting'));
  await pause(100);
  t.equal(kept.child.exitCode, null, 'who waits is kept alive');
  await kept.kill();
  await held.release();
  const holder = worker('wait', path);
  await holder.ended;
  t.same(holder.said, ['waiting', 'got it']);
  t.equal(await taken(path, 'held'), false, 'a worker that has ended holds nothing');
  t.same(readdirSync(path), []);
});

await t.test('what is no lock file', async (t) => {
  const path = directory(t);
  mkdirSync(`${path}/directory.lock`);
  writeFileSync(`${path}/real`, '');
  symlinkSync(`${path}/real`, `${path}/link.lock`);
  symlinkSync(path, `${path}/elsewhere`);
  await t.rejects(acquire(path, 'directory'), {
    code: 'ERR_LOCK',
    path: `${path}/directory.lock`,
    message: /it is a directory; remove it/,
  });
  await t.rejects(acquire(path, 'link'), { code: 'ERR_LOCK', message: /it is a symbolic link/, cause: { code: 'ELOOP' } });
  await t.rejects(acquire(`${path}/elsewhere`, 'a'), { code: 'ERR_LOCK', message: /its directory is a symbolic link/ });
  await t.rejects(acquire(`${path}/nowhere`, 'a', { wait: false }), { code: 'ERR_LOCK', message: /its directory is gone/ });
  await t.rejects(acquire(path, '../a'), /is no name for a lock/);
  const held = await acquire(path, 'a');
  rmSync(path, { recursive: true });
  await held.release();
  t.equal(native().openDescriptors(), 0);
});
