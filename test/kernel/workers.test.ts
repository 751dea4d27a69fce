import { readdirSync, readlinkSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { getLink } from 'podtap';
import t from 'tap';
import { native } from '../../lib/native.js';
import { fresh, until } from '../support/inside.js';
import { requires } from '../support/requires.js';

const skip = requires('tun');
const file = new URL('environment.fixture.js', import.meta.url);

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
function worker(what: string) {
  const thread = new Worker(file, { workerData: what, execArgv: [], stderr: true });
  const said: string[] = [];
  const errors: Error[] = [];
  thread.on('message', (message: string) => said.push(message));
  thread.on('error', (error) => errors.push(error));
  return { thread, said, errors, ended: new Promise<number>((resolve) => thread.on('exit', resolve)) };
}

await t.test('requests in several workers at once', async (t) => {
  const here = await fresh(t);
  const workers = Array.from({ length: 6 }, () => worker('answers'));
  const own = await Promise.all(Array.from({ length: 200 }, () => getLink(here, 'lo')));
  t.ok(own.every((link) => link?.name === 'lo'));
  for (const { said, errors, ended } of workers) {
    t.equal(await ended, 0);
    t.same([said, errors], [['v0,v1'], []]);
  }
});

await t.test('workers terminated at any moment', { skip }, async (t) => {
  await getLink(await fresh(t), 'lo');
  const one = worker('busy');
  await one.thread.terminate();
  const before = { open: files(), tasks: readdirSync('/proc/self/task').length, own: native().openDescriptors() };
  const crashes: unknown[] = [];
  const terminate = async (delay: number): Promise<void> => {
    const { thread, said, errors, ended } = worker('busy');
    await until(() => said.length > 0 || errors.length > 0);
    await new Promise((resolve) => setTimeout(resolve, delay));
    await thread.terminate();
    await ended;
    crashes.push(...errors);
  };
  // Two at a time: on one of two cores a worker takes 30 ms to start.
  let left = 100;
  const lane = async (): Promise<void> => {
    while (left-- > 0) await terminate(Math.random() < 0.5 ? Math.random() * 5 : Math.random() * 60);
  };
  await Promise.all([lane(), lane(), lane()]);
  t.same(crashes, []);
  t.ok(await until(() => files().length <= before.open.length), 'no descriptor is left');
  t.same(files(), before.open);
  t.ok(await until(() => readdirSync('/proc/self/task').length <= before.tasks), 'nor a thread');
  t.equal(native().openDescriptors(), before.own, 'those of this environment are its own');
});
