// What was interrupted, and who comes then: by a label, two at once, over a journal in which others have put things; and a pod whose
// interface goes while it is plumbed.
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Netns, PlumbError, addAddress, listAddresses, openPlumbing, plumb, recover, transaction, unplumb } from 'podtap';
import { namespaceLock } from '../../lib/transaction/lock.js';
import { openJournal } from '../../lib/transaction/journal.js';
import { compare, dump } from '../oracle/dump.js';
import { withFaults } from '../oracle/faults.js';
import { build } from '../oracle/pod.js';
import { inside } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { directory, entry } from '../transaction/files.js';
import { asBefore, elsewhere, richPod, wanted } from './around.js';

t.setTimeout(300_000);
const skip = requires('bridge', 'tun', 'clsact', 'u32');
const beforeTheEnd = { KILL_AT_CALL: 'unlinkSync 1' };

await t.test('a part of what was interrupted is not undone alone', { skip }, async (t) => {
  await using built = await build(richPod);
  const { netns } = built;
  const journal = directory(t);
  let before = await dump(netns);
  for (const label of ['vm/0', 'vm/1']) {
    const { signal } = await elsewhere('both', netns, journal, { mode: 'bridge', label: 'vm/' }, beforeTheEnd);
    t.equal(signal, 'SIGKILL');
    t.strictSame(await unplumb({ label }, { journal }), { state: 'undone', leftBehind: [] });
    before = await asBefore(before, netns, journal, label);
  }
});

await t.test('the entry on which the others depend goes first, whichever it is', { skip }, async (t) => {
  await using built = await build(richPod);
  await using other = await build(richPod);
  const { netns } = built;
  const journal = directory(t);
  const net = (await plumb(netns, { ...wanted, mode: 'bridge', label: 'vm/0', journal })).keep();
  for (const [nth, isDone] of [['1', false], ['2', true]] as const) {
    const options = { ...wanted, mode: 'bridge', label: 'vm/0' } as const;
    const { signal, stdout, stderr } = await elsewhere('there and back', netns, journal, options, { KILL_AT_CALL: `unlinkSync ${nth}` }, other.netns.path!); // prettier-ignore
    t.equal(signal, 'SIGKILL', stdout + stderr);
    t.match(await recover({ journal }), { failed: [] });
    const found = [
      (await listAddresses(netns, { link: 'lo' })).some(({ address }) => address === '10.9.9.9/32'),
      (await openPlumbing(other.netns, { journal }))?.keep() !== undefined,
    ];
    t.strictSame(found, [isDone, isDone], 'both or none');
  } // prettier-ignore
  await unplumb({ netns: other.netns.path! }, { journal });
  await net.undo();
  t.same(readdirSync(journal), []);
});

await t.test('three who recover at once: one does it', { skip }, async (t) => {
  await using built = await build(richPod);
  const { netns } = built;
  const journal = directory(t);
  let before = await dump(netns);
  for (let round = 0; round < 2; round++) {
    t.equal((await elsewhere('both', netns, journal, { mode: 'bridge', label: 'vm/' }, beforeTheEnd)).signal, 'SIGKILL');
    const others = ['recover', 'recover finished'].map((what) => elsewhere(what, netns, journal));
    const reports = [await recover({ journal }), ...(await Promise.all(others)).map(({ stdout }) => JSON.parse(stdout) as Awaited<ReturnType<typeof recover>>)]; // prettier-ignore
    t.same(reports.flatMap(({ undone }) => undone.map(({ label }) => label)).sort(), ['vm/0', 'vm/1'], JSON.stringify(reports));
    t.same(reports.flatMap(({ failed, unreadable, kept }) => [...failed, ...unreadable, ...kept]), []); // prettier-ignore
    before = await asBefore(before, netns, journal, 'recovered');
  }
});

await t.test('recover over a journal in which others have put things', { skip }, async (t) => {
  await using built = await build(richPod);
  const { netns } = built;
  const directories = [directory(t), directory(t)] as const;
  const [journal, aside] = directories;
  const before = await dump(netns);
  const { signal } = await elsewhere('plumb', netns, journal, { ...wanted, label: 'vm/1' }, { KILL_AT_CALL: 'renameSync 2' });
  t.equal(signal, 'SIGKILL');
  const [name = ''] = readdirSync(journal).filter((one) => one.endsWith('.entry'));
  const at = (n: number): string => join(journal, name.replace(/-[0-9a-f]{16}(-[0-9a-f]{16})\.entry$/, `-${'0'.repeat(15)}${n}$1.entry`));
  symlinkSync(join(journal, name), at(1));
  spawnSync('mkfifo', ['-m', '600', at(2), join(journal, 'fifo')]);
  writeFileSync(at(3), '', { mode: 0o600 });
  truncateSync(at(3), 2 ** 40);
  copyFileSync(join(journal, name), at(4));
  mkdirSync(at(5));
  copyFileSync(join(journal, name), at(6));
  chmodSync(at(6), 0o666);
  symlinkSync('/dev/zero', join(journal, 'zero.entry'));
  const planted = readdirSync(journal).filter((one) => one !== name && !/^tmp-|\.lock$/.test(one));
  // Whose content is right, and what it says is not: ids with slashes, circles, a namespace that is a FIFO.
  const own = await openJournal(journal);
  const { cookie, bootId } = netns.id;
  const images = { touched: [], additions: [], orders: [] };
  const bad = await own.write(entry({ images, main: '../../../etc/x' }, { cookie })); // of this very namespace
  const circle = await own.write(entry({ images }, { cookie: 3n, netns: join(journal, 'fifo') }));
  await own.update(circle, { body: { images, main: circle.id } });
  await own.write(entry({ images, kept: 1, main: circle.id }, { cookie: 3n }));

  const report = await recover({ journal });
  t.match(report, { undone: [{ label: 'vm/1' }], kept: [], busy: [], failed: [] });
  t.equal(report.dropped.length, 2, 'a namespace that is nowhere');
  t.same(report.unreadable.map(({ path }) => path).sort(), [...planted.map((one) => join(journal, one)), bad.path].sort());
  for (const one of planted) t.ok(readdirSync(journal).includes(one), `${one} is still there`);
  t.strictSame(compare(before, await dump(netns)), []);

  // Nor does what cannot be read keep a transaction from being undone.
  const enough = new Error('enough');
  const failing = transaction(netns, async (tx) => (await addAddress(tx, 'lo', '10.9.9.9/32'), Promise.reject(enough)), { journal });
  t.equal(await failing.catch((error: unknown) => error), enough);
  t.strictSame(compare(before, await dump(netns)), []);

  // A lock that cannot be one: told of what it stands before; the others are undone all the same.
  const net = (await plumb(netns, { ...wanted, journal: aside, label: 'vm/2' })).keep();
  const second = await Netns.create();
  inside(second, 'ip link add eth0 type veth peer name p0; ip link set eth0 up; ip address add 10.1.0.2/24 dev eth0');
  (await plumb(second, { ...wanted, journal: aside, label: 'vm/3' })).keep();
  const lock = join(aside, `${namespaceLock({ cookie, inode: 0n })}.lock`);
  spawnSync('mkfifo', [lock]);
  t.match(await recover({ journal: aside, finished: 'undo' }), { failed: [{ label: 'vm/2', reason: /it is no regular file/ }], undone: [{ label: 'vm/3' }] }); // prettier-ignore
  await second.close();
  rmSync(lock);
  t.strictSame(await net.undo(), { state: 'undone', leftBehind: [] });
  t.same(readdirSync(aside), []);
  t.match(readFileSync('/proc/sys/kernel/random/boot_id', 'utf8'), bootId);
});

await t.test('one object, undone twice at once; with a journal and without', { skip }, async (t) => {
  await using built = await build(richPod);
  const { netns } = built;
  for (const journal of [directory(t), false] as const) {
    const before = await dump(netns);
    const net = await plumb(netns, { ...wanted, journal });
    const reports = await Promise.all([net.undo(), net.undo(), net[Symbol.asyncDispose]()]);
    t.same(reports.map((one) => one?.state).sort(), ['already-undone', 'undone', undefined]);
    t.strictSame(compare(before, await dump(netns)), []);
  }
});

await t.test('one interface is undone while another is plumbed', { skip }, async (t) => {
  await using built = await build(richPod);
  const { netns } = built;
  const journal = directory(t);
  let before = await dump(netns);
  for (const isFirst of [true, false]) {
    const net = (await plumb(netns, { link: 'eth0', mode: 'bridge', journal })).keep();
    const undo = () => net.undo();
    const next = () => plumb(netns, { link: 'eth1', mode: 'bridge', journal });
    const [report, other] = isFirst ? await Promise.all([undo(), next()]) : (await Promise.all([next(), undo()])).reverse() as [Awaited<ReturnType<typeof undo>>, Awaited<ReturnType<typeof next>>]; // prettier-ignore
    t.equal(report.state, 'undone');
    t.strictSame((await other.verify()).problems, []);
    t.strictSame(await other.undo(), { state: 'undone', leftBehind: [] });
    before = await asBefore(before, netns, journal, isFirst ? 'undo first' : 'plumb first');
  }
});

await t.test('the interface goes while it is plumbed', { skip }, async (t) => {
  for (const mode of ['bridge', 'redirect'] as const)
    for (let at = 0; ; at += 2) {
      await using netns = await Netns.create();
      const journal = directory(t);
      inside(netns, 'ip link add eth0 type veth peer name p0; ip link set p0 up; ip link set eth0 up; ip address add 10.1.0.2/24 dev eth0');
      let seen = 0;
      const outcome = await withFaults([], () => plumb(netns, { ...wanted, mode, journal }), (request) => {
        if (seen++ === at) inside(netns, 'ip link del p0');
        return request !== '';
      }); // prettier-ignore
      if (outcome.value === undefined) t.ok(outcome.error instanceof PlumbError, `${mode} ${at}: ${String(outcome.error)}`);
      else await outcome.value.undo();
      t.same(inside(netns, 'ip -br link').trim().split('\n').map((line) => line.split(/\s/)[0]).filter((name) => name !== 'lo' && !/^(eth0|p0)@/.test(name!)), [], `${mode} ${at}`); // prettier-ignore
      t.same(readdirSync(journal), [], `${mode} ${at}`);
      if (seen <= at) break;
    }
});
