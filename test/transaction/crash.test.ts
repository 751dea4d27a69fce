// Whatever ends a write (the process is killed, the disk is full, any call fails), there is the entry as it was, or as it is to be.
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import t from 'tap';
import { PodtapError } from '../../lib/errors.js';
import { type Entry, type Journal, openJournal } from '../../lib/transaction/journal.js';
import { fixture, pause } from '../support/inside.js';
import { root } from '../support/root.js';
import { type Call, directory, entry, intercept } from './files.js';

const file = 'transaction/crash.fixture.js';
const temporary = (path: string): string[] => readdirSync(path).filter((name) => name.startsWith('tmp-'));

/** What is there, as state and body: never anything unreadable. */
async function found(t: { same(a: unknown, b: unknown): boolean }, path: string): Promise<string[]> {
  const { entries, unreadable } = await (await openJournal(path)).entries();
  t.same(unreadable, []);
  return entries.map(({ state, body }) => `${state} ${String(body)}`).sort(); // two of one millisecond come in any order
}

const acts: Readonly<Record<string, { act: (journal: Journal, old: Entry) => Promise<unknown>; before: string[]; after: string[] }>> = {
  write: { act: (journal) => journal.write(entry('new')), before: ['applying old'], after: ['applying new', 'applying old'] },
  'write with a label': { act: (journal) => journal.write(entry('new', { label: 'b' })), before: ['applying old'], after: ['applying new', 'applying old'] },
  update: { act: (journal, old) => journal.update(old, { state: 'applied', body: 'new' }), before: ['applying old'], after: ['applied new'] },
  remove: { act: (journal, old) => journal.remove(old), before: ['applying old'], after: [] },
}; // prettier-ignore

/** A journal with one entry, on which `act` is done while `before` may throw; how that went. */
async function interrupted(t: Parameters<typeof directory>[0], name: string, before: (call: Call, count: number) => void) {
  const path = directory(t);
  const journal = await openJournal(path);
  const old = await journal.write(entry('old'));
  const restore = intercept(before, 40);
  try {
    return { path, error: await acts[name]!.act(journal, old).then(() => undefined, (error: unknown) => error) }; // prettier-ignore
  } finally {
    restore();
  }
}

for (const [name, { before, after }] of Object.entries(acts)) {
  await t.test(`${name}: dead from any call on`, async (t) => {
    const outcomes: string[] = [];
    for (let last = 0; ; last++) {
      let ended = true;
      const { path } = await interrupted(t, name, (call, count) => {
        if (count <= last) return;
        ended = false;
        if (call !== 'closeSync') throw new Error('dead'); // the kernel closes what the dead had open
      });
      const now = await found(t, path);
      t.ok([before, after].some((expected) => expected.join() === now.join()), `${last} calls: ${now.join()}`); // prettier-ignore
      outcomes.push(now.join() === after.join() ? 'new' : 'old');
      if (ended) break;
    }
    t.match(outcomes.join(' '), /^(old )+(new ?)+$/);
  });

  await t.test(`${name}: any call fails`, async (t) => {
    for (let failing = 1; ; failing++) {
      let failed: Call | undefined;
      const { path, error } = await interrupted(t, name, (call, count) => {
        if (count !== failing || call === 'closeSync') return;
        failed = call;
        throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO', errno: -5, syscall: call });
      });
      const now = await found(t, path);
      t.ok([before, after].some((expected) => expected.join() === now.join()), `${failing} ${failed}: ${now.join()}`); // prettier-ignore
      if (failed !== undefined && error !== undefined) {
        t.ok(error instanceof PodtapError);
        t.match(error, { code: 'ERR_JOURNAL_IO', errno: -5, syscall: failed, cause: { code: 'EIO' }, message: /^the journal cannot / });
        t.same(temporary(path), []);
      }
      if (now.join() === after.join() && failed === undefined && error === undefined && failing > 20) break;
    }
  });
}

await t.test('killed at a step of a write', async (t) => {
  const steps: readonly (readonly [call: Call, nth: number, what: string])[] = [
    ['openSync', 1, 'before the temporary file'],
    ['writeSync', 1, 'after it'],
    ['writeSync', 4, 'in the middle of its content'],
    ['renameSync', 1, 'before the rename'],
  ];
  const cases = ['write', 'update']
    .flatMap((what) => steps.map(([call, nth, words]) => ({ what, call, nth, words })))
    .filter(({ what, call }) => what === 'update' || call === 'renameSync' || call === 'openSync'); // the rest is the same for both
  const run = async ({ what, call, nth, words }: (typeof cases)[number]): Promise<void> => {
    const path = directory(t);
    await (await openJournal(path)).write(entry('old'));
    const { signal } = await fixture(file, [path, what, call, String(nth)]);
    t.equal(signal, 'SIGKILL');
    t.equal(temporary(path).length, words.startsWith('before the temp') ? 0 : 1, words);
    t.same(await found(t, path), acts[what]!.before, `${what}: ${words}`);
    t.same(temporary(path), [], 'what the dead left is taken away');
    t.ok(await (await openJournal(path)).write(entry('next', { label: 'next' })));
  };
  for (let at = 0; at < cases.length; at += 2) await Promise.all(cases.slice(at, at + 2).map(run));
});

await t.test('killed at any moment', async (t) => {
  const path = directory(t);
  const journal = await openJournal(path);
  await journal.write(entry({ n: 0, text: '' }));
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(NODE_OPTIONS|_?TAP)/.test(name)));
  for (let round = 0; round < 5; round++) {
    const child = spawn(process.execPath, [join(root, 'dist/test', file), path, 'busy'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    // A reader meanwhile never sees anything but whole entries.
    const end = performance.now() + Math.random() * 40;
    for (let reads = 0; reads === 0 || performance.now() < end; reads++) {
      const { entries, unreadable } = await journal.entries();
      t.same([entries.length, unreadable], [1, []]);
      await pause(0);
    }
    child.kill('SIGKILL');
    await once(child, 'close');
    const { entries, unreadable } = await journal.entries();
    t.same([entries.length, unreadable, temporary(path)], [1, [], []]);
    const { n, text } = entries[0]!.body as { n: number; text: string };
    t.equal(text.length, (n * 997) % 30_000);
  }
});

await t.test('a temporary file that somebody else took away is written again', async (t) => {
  let taken = 0;
  const path = directory(t);
  const journal = await openJournal(path);
  const restore = intercept((call) => {
    if (call === 'renameSync' && taken++ === 0) for (const name of temporary(path)) rmSync(join(path, name));
  });
  try {
    await journal.write(entry('new'));
  } finally {
    restore();
  }
  t.equal(taken, 2);
  t.same(await found(t, path), ['applying new']);
});

function mount(...args: readonly string[]): void {
  const { status, stderr } = spawnSync('mount', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}

await t.test('a full disk', async (t) => {
  const path = join(directory(t), 'small');
  mkdirSync(path);
  mount('-t', 'tmpfs', '-o', 'size=128k,mode=700', 'tmpfs', path);
  t.teardown(() => void spawnSync('umount', [path]));
  const journal = await openJournal(path);
  const old = await journal.write(entry('old', { label: 'a' }));
  writeFileSync(join(path, 'filler'), Buffer.alloc(100 * 1024));
  const message = /^the journal cannot be written: the file system is full, and what was written before is unharmed; free space/;
  const full = { name: 'PodtapError', code: 'ERR_JOURNAL_FULL', errno: -28, cause: { code: 'ENOSPC' }, message };
  const large = 'x'.repeat(60_000);
  await t.rejects(journal.update(old, { state: 'applied', body: large }), full);
  await t.rejects(journal.write(entry(large)), full);
  await t.rejects(journal.write(entry(large, { label: 'b' })), full);
  t.same(readdirSync(path).sort(), ['filler', old.path.slice(path.length + 1)].sort());
  t.strictSame(await journal.find('a'), old);
  rmSync(join(path, 'filler'));
  const applied = await journal.update(old, { state: 'applied', body: large });
  t.strictSame(await journal.find('a'), applied);
  const before = readFileSync(old.path);

  mount('-o', 'remount,ro', path);
  const readOnly = {
    code: 'ERR_JOURNAL_READ_ONLY',
    errno: -30,
    cause: { code: 'EROFS' },
    message: /read-only; give a directory elsewhere/,
  };
  await t.rejects(journal.update(applied, { state: 'undoing' }), readOnly);
  await t.rejects(journal.write(entry(1)), readOnly);
  await t.rejects(journal.remove(applied), readOnly);
  await t.rejects(journal.write(entry(1, { label: 'b' })), readOnly);
  await t.rejects(openJournal(join(path, 'new')), readOnly);
  t.strictSame((await (await openJournal(path)).entries()).entries, [applied]);
  t.ok(readFileSync(old.path).equals(before));
  t.ok(existsSync(old.path));
});
