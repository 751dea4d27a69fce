// What belongs to other users, and the journal of one who is not root: for that it takes real root.
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { openJournal } from '../../lib/transaction/journal.js';
import { acquire } from '../../lib/transaction/lock.js';
import { requires } from '../support/requires.js';
import { entry } from './files.js';

const skip = requires('root');
const USER = 65534;
const OTHER = 65533;

/** A directory of that user. */
function owned(t: Test, uid: number, mode = 0o700): string {
  const path = mkdtempSync('/run/owned-');
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  chownSync(path, uid, uid);
  chmodSync(path, mode);
  return path;
}

async function as<T>(uid: number, act: () => Promise<T>): Promise<T> {
  process.seteuid!(uid);
  try {
    return await act();
  } finally {
    process.seteuid!(0);
  }
}

await t.test('the journal of a user', { skip }, async (t) => {
  const runtime = owned(t, USER);
  await as(USER, async () => {
    delete process.env.XDG_RUNTIME_DIR;
    await t.rejects(openJournal(), { code: 'ERR_JOURNAL_DIRECTORY', message: /XDG_RUNTIME_DIR is not set/ });
    process.env.XDG_RUNTIME_DIR = 'relative';
    await t.rejects(openJournal(), { code: 'ERR_JOURNAL_DIRECTORY' });
    process.env.XDG_RUNTIME_DIR = runtime;
    t.teardown(() => delete process.env.XDG_RUNTIME_DIR);
    const journal = await openJournal();
    t.equal(journal.directory, `${runtime}/podtap`);
    const written = await journal.write(entry('own', { label: 'a' }));
    t.strictSame(await journal.entries(), { entries: [written], unreadable: [] });
    t.equal(statSync(written.path).uid, USER);
  });
});

await t.test('directories of others', { skip }, async (t) => {
  await t.rejects(openJournal(owned(t, USER)), { code: 'ERR_JOURNAL_DIRECTORY', message: /it belongs to user 65534, and this is user 0/ });
  const theirs = owned(t, USER, 0o755);
  await t.rejects(openJournal(`${theirs}/new`), { code: 'ERR_JOURNAL_DIRECTORY', message: /belongs to user 65534, who could replace it/ });
  t.notOk(existsSync(`${theirs}/new`));
  const roots = owned(t, 0, 0o755);
  await as(USER, async () => {
    const permission = {
      code: 'ERR_JOURNAL_PERMISSION',
      cause: { code: 'EACCES' },
      message: /cannot make its directory: this user may not/,
    };
    await t.rejects(openJournal(`${roots}/new`), permission);
    await t.rejects(openJournal(roots), { code: 'ERR_JOURNAL_DIRECTORY', message: /it belongs to user 0/ });
  });
  const closed = `${owned(t, 0, 0o700)}/in`;
  mkdirSync(closed);
  await as(USER, () => t.rejects(openJournal(`${closed}/new`), { code: 'ERR_JOURNAL_PERMISSION' }));
});

await t.test('files of others, and a directory that was taken away', { skip }, async (t) => {
  const path = owned(t, USER);
  await as(USER, async () => {
    const journal = await openJournal(path);
    const [kept, taken] = [await journal.write(entry(1, { label: 'kept' })), await journal.write(entry(2, { label: 'taken' }))];
    process.seteuid!(0);
    chownSync(taken.path, OTHER, OTHER);
    writeFileSync(`${path}/a.lock`, '');
    process.seteuid!(USER);
    t.strictSame(await journal.entries(), { entries: [kept], unreadable: [{ path: taken.path, reason: 'it belongs to user 65533, and this is user 65534' }] }); // prettier-ignore
    process.seteuid!(0);
    chownSync(path, OTHER, OTHER);
    process.seteuid!(USER);
    const permission = { code: 'ERR_JOURNAL_PERMISSION', cause: { code: 'EACCES' } };
    await t.rejects(journal.update(kept, { state: 'applied' }), permission);
    await t.rejects(journal.write(entry(3)), permission);
    await t.rejects(journal.remove(kept), permission);
    await t.rejects(journal.entries(), permission);
  });
  chownSync(path, USER, USER);
  await as(USER, async () => t.equal((await (await openJournal(path)).find('kept'))?.state, 'applying'));
  t.equal(readdirSync(path).length, 3);
  const theirs = owned(t, 0);
  writeFileSync(`${theirs}/a.lock`, '');
  chownSync(`${theirs}/a.lock`, USER, USER);
  await t.rejects(acquire(theirs, 'a'), { code: 'ERR_LOCK', message: /it belongs to another user/ });
});
