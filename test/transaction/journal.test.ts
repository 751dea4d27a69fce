// The life of an entry, and what is made of files that are none, or broken, or not ours.
import { chmodSync, existsSync, linkSync, mkdirSync, readFileSync, readdirSync, renameSync, statSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from 'node:fs'; // prettier-ignore
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { LARGEST } from '../../lib/transaction/entry.js';
import { type Entry, type Journal, openJournal } from '../../lib/transaction/journal.js';
import { acquire } from '../../lib/transaction/lock.js';
import { directory, entry } from './files.js';

const runs = { numRuns: Number(process.env.FUZZ_RUNS ?? 300) };
const mode = (path: string): string => (statSync(path).mode & 0o7777).toString(8);
const body = { before: [{ key: 'route', n: 12n, bytes: new Uint8Array([1, 2]), gone: undefined }], after: null };
const BOOT = '00000000-1111-2222-3333-444444444444';

async function open(t: Parameters<typeof directory>[0]): Promise<Journal> {
  return openJournal(directory(t));
}

/** The reason why the only thing that is there is no entry. */
async function reason(journal: Journal): Promise<string> {
  const { entries, unreadable } = await journal.entries();
  return entries.length === 0 && unreadable.length === 1 ? unreadable[0]!.reason : `${entries.length} read`;
}

/** A file of the format, whatever its lines say. */
function file(...lines: readonly string[]): string {
  const rest = lines.map((line) => `${line}\n`).join('');
  return `podtap journal 1 ${createHash('sha256').update(rest).digest('hex')}\n${rest}`;
}

await t.test('written, read, updated, removed', async (t) => {
  const journal = await open(t);
  t.same(await journal.entries(), { entries: [], unreadable: [] });
  const first = await journal.write(entry(body, { label: 'web/../1' }));
  t.match(first, { state: 'applying', cookie: 4097n, netns: '/run/netns/a', label: 'web/../1', stale: false });
  t.strictSame(first.body, body);
  t.match(first.path.slice(journal.directory.length), /^\/[0-9a-f]{32}-4097-[0-9a-f]{16}-[0-9a-f]{16}\.entry$/);
  t.ok(Math.abs(first.created - Date.now()) < 60_000);
  const other = await openJournal(journal.directory); // as another process would
  t.strictSame(await other.entries(), { entries: [first], unreadable: [] });
  t.strictSame(await other.find('web/../1'), first);
  t.equal(await other.find('web'), undefined);

  const applied = await other.update(first, { state: 'applied' });
  t.strictSame(applied, { ...first, state: 'applied' });
  t.strictSame((await journal.entries()).entries, [applied]);
  const changed = await journal.update(applied, { body: undefined });
  t.strictSame(changed, { ...applied, body: undefined });
  t.strictSame((await journal.entries()).entries, [changed]);

  t.equal(await other.remove(changed), true);
  t.equal(await journal.remove(changed), false);
  await t.rejects(journal.update(changed, { state: 'undoing' }), { code: 'ERR_JOURNAL_GONE', path: changed.path });
  t.same(readdirSync(journal.directory), []);
});

await t.test('any value comes back as it was', async (t) => {
  const journal = await open(t);
  let written = await journal.write(entry(0));
  await fc.assert(
    fc.asyncProperty(
      fc.object({
        withBigInt: true,
        withTypedArray: false,
        withNullPrototype: false,
        key: fc.string().filter((key) => key !== '__proto__'),
      }),
      fc.string({ unit: 'binary', minLength: 0, maxLength: 200 }),
      async (body, text) => {
        written = await journal.update(written, { body: [body, text] });
        return isDeepStrictEqual((await journal.entries()).entries[0]?.body, [body, text]);
      },
    ),
    runs,
  );
});

await t.test('who may read it', async (t) => {
  const old = process.umask(0);
  t.teardown(() => process.umask(old));
  const journal = await openJournal(`${directory(t)}/own`);
  const written = await journal.write(entry(body, { label: 'a' }));
  t.same([mode(journal.directory), mode(written.path)], ['700', '600']);
});

await t.test('the directory of root', async (t) => {
  const journal = await openJournal();
  t.equal(journal.directory, '/run/podtap');
  t.equal(mode('/run/podtap'), '700');
});

await t.test('on a disk', async (t) => {
  const journal = await openJournal(t.testdir({}));
  const written = await journal.write(entry(body, { label: 'disk' }));
  const [one, two] = await Promise.all([journal.update(written, { body: 1 }), journal.update(written, { body: 2 })]);
  const { entries, unreadable } = await journal.entries();
  t.ok([one.body, two.body].includes(entries[0]?.body), 'one of two that were under way at once');
  t.same(unreadable, []);
  t.equal(await journal.remove(written), true);
});

await t.test('several entries: in order, by namespace, of another boot', async (t) => {
  const journal = await open(t);
  const written: Entry[] = [];
  for (const cookie of [7n, 70n, 7n, undefined, 2n ** 64n - 1n]) {
    written.push(await journal.write(entry(written.length, { cookie })));
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const bodies = async (of?: { cookie: bigint | undefined }): Promise<unknown> =>
    (await journal.entries(of)).entries.map(({ body }) => body);
  const old = await journal.write(entry('old', { bootId: BOOT, cookie: 7n }));
  t.equal(old.stale, true);
  t.same(await bodies(), [0, 1, 2, 3, 4, 'old']);
  t.same(await bodies({ cookie: 7n }), [0, 2]);
  t.same(await bodies({ cookie: undefined }), [3]);
  t.same(await bodies({ cookie: 2n ** 64n - 1n }), [4]);
  t.equal((await journal.entries()).entries.at(-1)?.stale, true);
  t.equal(await journal.remove(old), true);
});

await t.test('a label belongs to one', async (t) => {
  const journal = await open(t);
  const old = await journal.write(entry('old', { label: 'a', bootId: BOOT }));
  t.strictSame(await journal.find('a'), old, 'of an earlier boot, as long as there is no other');
  const first = await journal.write(entry(1, { label: 'a' }));
  await t.rejects(journal.write(entry(2, { label: 'a', cookie: 9n })), { code: 'ERR_JOURNAL_LABEL_TAKEN', path: first.path, message: /label 'a' is taken, since .* \/run\/netns\/a; undo that/ }); // prettier-ignore
  t.strictSame(await journal.find('a'), first);
  t.equal((await journal.update(first, { state: 'undoing' })).label, 'a');
  await journal.remove(first);
  t.strictSame(await journal.find('a'), old);

  const journals = await Promise.all(Array.from({ length: 12 }, () => openJournal(journal.directory)));
  const results = await Promise.allSettled(journals.map((each, n) => each.write(entry(n, { label: 'contended', cookie: BigInt(n) }))));
  t.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
  t.equal((await journal.entries()).entries.length, 2);
  // As long as somebody else looks at the labels, a signal ends the wait.
  const labels = await acquire(journal.directory, 'labels');
  await t.rejects(journal.write(entry(1, { label: 'b' }), { signal: AbortSignal.timeout(20) }), { name: 'TimeoutError' });
  await journal.write(entry(1));
  await labels.release();
});

await t.test('a torn entry is none, wherever it was torn', async (t) => {
  const journal = await open(t);
  const written = await journal.write(entry({ text: 'a'.repeat(150), n: 3n }, { label: 'torn' }));
  const content = readFileSync(written.path);
  for (let length = 0; length < content.length; length++) {
    writeFileSync(written.path, content.subarray(0, length));
    const said = await reason(journal);
    if (!/^it (is no journal entry, or only the beginning|was torn or changed)/.test(said)) t.fail(`${length} bytes: ${said}`);
  }
  t.match(await journal.find('torn').catch((error: unknown) => error), { code: 'ERR_JOURNAL_UNREADABLE', path: written.path });
  await t.rejects(journal.write(entry(2, { label: 'torn' })), { code: 'ERR_JOURNAL_LABEL_TAKEN' }, 'its label is not free');
  for (let at = 0; at < content.length; at++) {
    const flipped = Buffer.from(content);
    flipped[at]! ^= 1 << (at % 8);
    writeFileSync(written.path, flipped);
    const said = await reason(journal);
    if (!/^it (is no|was torn|has format)/.test(said)) t.fail(`byte ${at}: ${said}`);
  }
  writeFileSync(written.path, Buffer.concat([content, Buffer.from('\n')]));
  t.match(await reason(journal), /torn or changed/);
  writeFileSync(written.path, content);
  t.strictSame(await journal.find('torn'), written);
});

await t.test('random bytes', async (t) => {
  const journal = await open(t);
  const { path } = await journal.write(entry(body));
  const content = readFileSync(path);
  const pieces = fc.uint8Array({ maxLength: 300 });
  await fc.assert(
    fc.asyncProperty(pieces, fc.nat(content.length), fc.nat(40), async (bytes, at, cut) => {
      const changed = Buffer.concat([content.subarray(0, at), bytes, content.subarray(at + cut)]);
      if (changed.equals(content)) return true;
      const said: string[] = [];
      // The third is signed as ours: whatever it says, it is read, or not, and nothing is thrown.
      for (const next of [changed, bytes, file(Buffer.from(bytes).toString('latin1'), content.toString().split('\n')[2]!)]) {
        writeFileSync(path, next);
        said.push(await reason(journal));
      }
      return /^it /.test(said[0]!) && /^it /.test(said[1]!) && /no podtap writes such/.test(said[2]!);
    }),
    runs,
  );
});

await t.test('a signed entry that no podtap writes', async (t) => {
  const journal = await open(t);
  const { path } = await journal.write(entry(1, { label: 'a' }));
  const [, head = ''] = readFileSync(path, 'utf8').split('\n');
  const say = async (...lines: readonly string[]): Promise<string> => {
    writeFileSync(path, file(...lines));
    return reason(journal);
  };
  const other = (change: object): string => JSON.stringify({ ...(JSON.parse(head) as object), ...change });
  t.equal(await say(head, '1'), '1 read');
  t.equal(await say(other({ later: 'a field that is not known yet' }), '1'), '1 read');
  const heads = [
    ...[{ format: 2 }, { format: '1' }, { state: 'done' }, { state: undefined }, { created: -1 }, { created: 1e300 }, { created: null }],
    ...[{ label: '' }, { label: 7 }, { label: 'a'.repeat(257) }, { netns: undefined }, { netns: 'a'.repeat(4097) }],
    ...[{ cookie: 4097 }, { cookie: '0x1' }, { cookie: '18446744073709551616' }, { bootId: '../../etc' }, { id: '../../../../etc' }],
  ];
  for (const change of heads) t.match(await say(other(change), '1'), /no podtap writes such an entry/, JSON.stringify(change));
  for (const line of ['', 'null', '[]', '7', '{"__proto__":{"polluted":1}}']) t.match(await say(line, '1'), /no podtap/, line);
  t.match(await say(head), /its body is none/);
  t.match(await say(head, '1', '2'), /no podtap/);
  t.match(await say(head, '{"__proto__":{"polluted":1}}'), /its body is none .*__proto__/);
  t.match(await say(head, '{"$bigint":"x"}'), /its body is none/);
  t.match(await say(head, '['.repeat(100_000)), /its body is none/);
  t.match(await say(head, `${'['.repeat(65)}${']'.repeat(65)}`), /more than 64/);
  t.match(await say(other({ cookie: '1' }), '1'), /it was written as .*-1-.*, and is a copy, or was renamed/);
  t.match(await say(other({ id: '0'.repeat(16) }), '1'), /is a copy/);
  t.match(await say(other({ bootId: BOOT }), '1'), /is a copy/);
  t.notOk('polluted' in {});
});

await t.test('what else may be there', async (t) => {
  const journal = await open(t);
  const kept = await journal.write(entry(body));
  const at = (name: string): string => `${journal.directory}/${name}`;
  const name = kept.path.slice(journal.directory.length + 1);
  const like = (n: number): string => at(name.replace(/[0-9a-f]{4}\.entry/, `${n}000.entry`));
  const content = readFileSync(kept.path);
  const put = (path: string): void => writeFileSync(path, content, { mode: 0o600 });

  mkdirSync(like(1));
  symlinkSync(kept.path, like(2));
  spawnSync('mkfifo', [like(3)]);
  put(like(4));
  chmodSync(like(4), 0o640);
  writeFileSync(like(5), '', { mode: 0o600 });
  truncateSync(like(5), LARGEST + 1);
  writeFileSync(like(6), content.toString().replace('journal 1 ', 'journal 2 '), { mode: 0o600 });
  linkSync(kept.path, like(7));
  writeFileSync(at('README'), 'hello');
  mkdirSync(at('more'));
  put(at('labels.lock'));
  symlinkSync('/nowhere', like(8));

  const { entries, unreadable } = await journal.entries();
  t.strictSame(entries, [kept]);
  const said = Object.fromEntries(unreadable.map(({ path, reason }) => [path, reason]));
  t.match(said, {
    [like(1)]: 'it is a directory',
    [like(2)]: 'it is a symbolic link',
    [like(3)]: 'it is no regular file',
    [like(4)]: 'others may read or write it: its mode is 0640, and should be 0600',
    [like(5)]: `it has ${LARGEST + 1} bytes, and ${LARGEST} are the most that podtap writes`,
    [like(6)]: /format 2 of a newer podtap/,
    [like(7)]: /copy/,
    [like(8)]: 'it is a symbolic link',
    [at('README')]: 'its name is not that of a journal entry',
    [at('more')]: 'its name is not that of a journal entry',
  });
  t.equal(unreadable.length, 10);
  t.ok(unreadable.every(({ path }) => path === like(8) || existsSync(path)), 'and all of it is still there'); // prettier-ignore
  t.equal((await journal.entries({ cookie: 5n })).unreadable.length, 0, 'where one namespace is asked for, only what may be its own');
});

await t.test('what cannot be kept', async (t) => {
  const journal = await open(t);
  const written = await journal.write(entry(1));
  const refused: readonly (readonly [Promise<unknown>, { name?: string; code: string; message?: RegExp }])[] = [
    [
      journal.write(entry({ f: () => 1 })),
      { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE', message: /a function cannot be kept, at f/ },
    ],
    [journal.update(written, { body: new Map() }), { code: 'ERR_INVALID_ARG_VALUE', message: /a Map/ }],
    [journal.write(entry('a'.repeat(LARGEST))), { code: 'ERR_JOURNAL_TOO_LARGE', message: /may have 8388608 bytes; this one would have 838\d+/ }], // prettier-ignore
    [journal.write(entry(1, { label: '' })), { code: 'ERR_INVALID_ARG_VALUE' }],
    [journal.write(entry(1, { label: 'a'.repeat(257) })), { code: 'ERR_INVALID_ARG_VALUE' }],
    [journal.write(entry(1, { bootId: '../..' })), { code: 'ERR_INVALID_ARG_VALUE' }],
    [journal.write(entry(1, { cookie: 2n ** 64n })), { code: 'ERR_INVALID_ARG_VALUE' }],
    [journal.update(written, { state: 'done' as 'applied' }), { code: 'ERR_INVALID_ARG_VALUE' }],
  ];
  for (const [promise, error] of refused) await t.rejects(promise, error);
  t.strictSame(await journal.entries(), { entries: [written], unreadable: [] });
  const text = 'a'.repeat(LARGEST - 400);
  t.equal(((await journal.update(written, { body: text })).body as string).length, text.length);
  t.equal((await journal.entries()).entries[0]?.body, text);
});

await t.test('files of dead writers are taken away, those of the living are not', async (t) => {
  const journal = await open(t);
  const temporary = (pid: number): string => `${journal.directory}/tmp-${pid}-0123456789abcdef`;
  const { pid: dead } = spawnSync('true');
  for (const pid of [dead, process.pid, 1]) writeFileSync(temporary(pid), 'half of it', { mode: 0o600 });
  const old = new Date(Date.now() - 3_600_000);
  utimesSync(temporary(1), old, old);
  t.same(await journal.entries(), { entries: [], unreadable: [] });
  t.same(
    [dead, process.pid, 1].map((pid) => existsSync(temporary(pid))),
    [false, true, false],
  );
});

await t.test('directories that are refused, and why', async (t) => {
  const base = directory(t);
  const at = (name: string, mode = 0o700): string => {
    mkdirSync(`${base}/${name}`);
    chmodSync(`${base}/${name}`, mode);
    return `${base}/${name}`;
  };
  writeFileSync(`${base}/file`, '');
  symlinkSync(at('real'), `${base}/link`);
  mkdirSync(`${base}/real/inner`);
  const refused: readonly (readonly [string, RegExp])[] = [
    [`${base}/no/journal`, /no does not exist; make it/],
    [`${base}/file`, /file is no directory/],
    [`${base}/file/journal`, /file is no directory/],
    [`${base}/link`, /link is a symbolic link; give the path that it leads to/],
    [`${base}/link/inner`, /link is a symbolic link/],
    [`${base}/link/new`, /link is a symbolic link/],
    [at('all', 0o777), /others may write to it \(mode 0777\).*chmod go-w/],
    [at('group', 0o720), /others may write to it \(mode 0720\)/],
    [at('sticky', 0o1777), /others may write to it \(mode 1777\)/],
    [`${at('open', 0o777)}/journal`, /others may write to .*open \(mode 0777\), and could replace it/],
    ['/proc/journal', /\/proc\/journal/],
  ];
  for (const [path, message] of refused) await t.rejects(openJournal(path), { name: 'PodtapError', code: 'ERR_JOURNAL_DIRECTORY', message }, path); // prettier-ignore
  t.notOk(existsSync(`${base}/real/new`));
  for (const path of [at('readable', 0o755), `${base}/sticky/own`, `${base}/readable/../new/`]) t.ok(await openJournal(path), path);
  t.equal((await openJournal(`${base}/readable/../new/`)).directory, `${base}/new`);

  const journal = await openJournal(`${base}/new`);
  const written = await journal.write(entry(1));
  renameSync(`${base}/new`, `${base}/moved`);
  const gone = { code: 'ERR_JOURNAL_DIRECTORY', message: /the directory is gone/ };
  await t.rejects(journal.write(entry(2)), gone);
  await t.rejects(journal.write(entry(2, { label: 'a' })), gone);
  await t.rejects(journal.entries(), gone);
  t.equal(await journal.remove(written), false);
});

await t.test('a label of an earlier run of the kernel is free, and later entries have higher numbers', async (t) => {
  const journal = await open(t);
  await journal.write(entry(1, { bootId: '00000000-0000-4000-8000-000000000000', label: 'a' }));
  const { id } = await journal.write(entry(2, { label: 'a' }));
  t.equal((await journal.find('a'))?.id, id);
  await t.rejects(journal.write(entry(3, { label: 'a' })), { code: 'ERR_JOURNAL_LABEL_TAKEN' });
  const times: number[] = [];
  for (let n = 0; n < 50; n++) times.push((await journal.write(entry(n))).created);
  t.same(
    times,
    [...new Set(times)].sort((a, b) => a - b),
    'also within a millisecond',
  );
});
