// Two interfaces of one pod, plumbed by themselves, and routes of each that need what the other has: undone in either order, and after
// either has failed, the pod is as it was before.
import { readdirSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import {
  type Netns,
  PlumbError,
  type PlumbOptions,
  type Plumbing,
  addRoute,
  openPlumbing,
  plumb,
  recover,
  transaction,
  unplumb,
} from 'podtap';
import { type Dump, compare, dump } from '../oracle/dump.js';
import { withFaults } from '../oracle/faults.js';
import { type Pod, build, pods } from '../oracle/pod.js';
import { run } from '../support/oracle.js';
import { requires } from '../support/requires.js';
import { runs, searched } from '../support/search.js';
import { directory } from '../transaction/files.js';
import { asBefore, elsewhere, none, richPod } from './around.js';

t.setTimeout(runs(1) * 300_000);
const skip = requires('bridge', 'tun', 'clsact', 'u32');

type Mode = NonNullable<PlumbOptions['mode']>;
type Name = 'eth0' | 'eth1';
const other = (name: Name): Name => (name === 'eth0' ? 'eth1' : 'eth0');

/** The kernel keeps routes of tables other than main when their source goes, and multipath routes when one of their ways does. */
const entangled: Pod = {
  ...richPod,
  routes: [
    ...richPod.routes,
    '10.40.0.0/24 dev eth0 src 10.2.0.2 table 100',
    '10.41.0.0/24 via 10.1.0.1 dev eth0 src 10.2.0.2',
    '10.42.0.0/24 via 10.2.0.1 dev eth1 src 10.1.0.3',
    '10.43.0.0/24 via 10.2.0.1 dev eth1 src 10.1.0.2 table 100',
    '10.44.0.0/24 table 100 nexthop via 10.2.0.1 dev eth1 nexthop via 10.1.0.1 dev eth0',
    '10.45.0.0/24 via 10.2.0.1 dev eth1',
    '10.45.0.0/24 via 10.1.0.1 dev eth0',
    '-6 fd40::/64 dev eth0 src fd00:2::2',
    '-6 fd41::/64 dev eth1 src fd00:1::4 table 100',
    '-6 fd42::/64 nexthop via fd00:1::1 dev eth0 nexthop via fd00:2::1 dev eth1',
  ],
};

const plumbed = (netns: Netns, link: Name, mode: Mode, journal: string, more: PlumbOptions = {}): Promise<Plumbing> =>
  plumb(netns, { link, mode, label: link, journal, ...more }).then((net) => net.keep());

for (const [eth0, eth1] of [
  ['bridge', 'bridge'],
  ['bridge', 'redirect'],
  ['redirect', 'bridge'],
  ['redirect', 'redirect'],
] as const)
  // prettier-ignore
  await t.test(`eth0 by ${eth0}, eth1 by ${eth1}: in any order`, { skip }, async (t) => {
    const modes = { eth0, eth1 };
    await using built = await build(entangled);
    const { netns } = built;
    const journal = directory(t);
    let before = await dump(netns);
    for (const first of ['eth0', 'eth1'] as const)
      for (const undone of ['eth0', 'eth1'] as const) {
        for (const name of [first, other(first)]) await plumbed(netns, name, modes[name], journal, eth0 === 'redirect' ? { guestMac: 'random' } : {}); // prettier-ignore
        const one = await unplumb({ label: undone }, { journal });
        const two = await unplumb({ label: other(undone) }, { journal });
        t.match([one, two], [{ state: 'undone' }, { state: 'undone', leftBehind: [] }], `${first} first, ${undone} undone first`);
        for (const line of one.leftBehind) t.match(line, / needs (address|route) .* comes back with that$/);
        before = await asBefore(before, netns, journal, `${first} plumbed first, ${undone} undone first`);
      }
  });

await t.test('what waits for the other one is told, and by what', { skip }, async (t) => {
  await using built = await build(entangled);
  const { netns } = built;
  const journal = directory(t);
  const before = await dump(netns);
  const nets = { eth0: await plumbed(netns, 'eth0', 'bridge', journal), eth1: await plumbed(netns, 'eth1', 'bridge', journal) };
  const { leftBehind } = await nets.eth1.undo();
  t.ok(leftBehind.includes('route 10.20.1.0/24 table 100 metric 0 dev eth1 needs address 10.1.0.2/24 of eth0, which something else that was done in this namespace has taken away, and comes back with that'), leftBehind.join('\n')); // prettier-ignore
  t.ok(leftBehind.some((line) => line.startsWith('route 10.44.0.0/24 table 100 metric 0 by several gateways needs address 10.1.0.')), leftBehind.join('\n')); // prettier-ignore
  // Plumbed again meanwhile, it has nothing to do with it.
  const again = await plumbed(netns, 'eth1', 'bridge', journal);
  t.strictSame(
    (await nets.eth0.undo()).leftBehind.filter((line) => !line.includes(' needs address 10.2.0.2/24 of eth1')),
    [],
  );
  t.strictSame(await again.undo(), { state: 'undone', leftBehind: [] });
  await asBefore(before, netns, journal, 'in the end');
});

await t.test('without a journal nobody knows of the other: an error that says what it lacks, and it can be tried again', { skip }, async (t) => {
  await using built = await build(entangled);
  const { netns } = built;
  const before = await dump(netns);
  const [first, second] = [await plumb(netns, { link: 'eth0', mode: 'bridge', journal: false }), await plumb(netns, { link: 'eth1', mode: 'bridge', journal: false })]; // prettier-ignore
  const error: unknown = await second.undo().catch((caught: unknown) => caught);
  t.match(error, { code: 'ERR_TRANSACTION_UNDO', message: /route 10\.20\.1\.0\/24 table 100 metric 0 dev eth1 needs the address 10\.1\.0\.2, which no interface has/ }); // prettier-ignore
  t.ok((error as PlumbError).undone.includes('address 10.2.0.2/24 of eth1'), 'and what came back all the same');
  t.strictSame(await first.undo(), { state: 'undone', leftBehind: [] });
  t.strictSame(await second.undo(), { state: 'undone', leftBehind: [] });
  const differences = compare(before, await dump(netns)).filter((line) => !/ 10\.(21|45)\.0\.0\/24 .*, order: /.test(line));
  t.strictSame(differences, [], 'but for the order of equal routes, of which each knew only its own');
}); // prettier-ignore

await t.test('the second one fails: the first one knows what it must put back', { skip }, async (t) => {
  await using built = await build(entangled);
  const { netns } = built;
  const journal = directory(t);
  let before = await dump(netns);
  for (let at = 3; ; at += 5) {
    const net = await plumbed(netns, 'eth0', 'bridge', journal);
    const how = at % 2 === 0 ? 'refused' : 'lost';
    const { hit, error, value } = await withFaults([{ at, how }], () => plumbed(netns, 'eth1', 'bridge', journal));
    t.equal(readdirSync(journal).filter((name) => name.endsWith('.entry')).length, value === undefined ? 1 : 2, 'nothing of it is left to undo by itself'); // prettier-ignore
    if (hit.length > 0) t.match(error, { name: 'PlumbError' });
    await value?.undo();
    t.strictSame(await net.undo(), { state: 'undone', leftBehind: [] });
    before = await asBefore(before, netns, journal, `${how} at ${at}`);
    if (hit.length === 0) break;
  }
  // As a part of a transaction, whose body goes on.
  await transaction(netns, async (tx) => {
    (await plumb(tx, { link: 'eth0', mode: 'bridge', label: 'eth0' })).keep();
    const failed = withFaults([{ at: 12, how: 'refused' }], () => plumb(tx, { link: 'eth1', mode: 'bridge' }));
    t.match((await failed).error, { name: 'PlumbError' });
  }, { journal }); // prettier-ignore
  t.strictSame(await unplumb({ label: 'eth0' }, { journal }), { state: 'undone', leftBehind: [] });
  await asBefore(before, netns, journal, 'a part of a transaction');
});

await t.test('killed at each write of the journal while one is undone beside the other', { skip }, async (t) => {
  await using built = await build(entangled);
  const { netns } = built;
  const journal = directory(t);
  let before = await dump(netns);
  for (let nth = 1; ; nth++) {
    for (const name of ['eth0', 'eth1'] as const) await plumbed(netns, name, 'bridge', journal);
    const { signal, stdout, stderr } = await elsewhere('unplumb', netns, journal, { label: 'eth1' }, { KILL_AT_CALL: `renameSync ${nth}` });
    t.equal(stderr, '');
    if (signal === null) t.match(JSON.parse(stdout), { state: 'undone' });
    t.match(await recover({ journal }), { failed: [], unreadable: [] });
    // Killed before it had begun, it is still there.
    t.match(await unplumb({ label: 'eth1' }, { journal }), { state: nth === 1 && signal !== null ? 'undone' : 'already-undone' });
    t.strictSame(await unplumb({ label: 'eth0' }, { journal }), { state: 'undone', leftBehind: [] });
    before = await asBefore(before, netns, journal, `killed at write ${nth}`);
    if (signal === null) {
      t.ok(nth > 2, 'what is under way and what the other one has from then on are written');
      break;
    }
  }
});

await t.test('what a stranger has done in between stays, and is told once', { skip }, async (t) => {
  await using built = await build(entangled);
  const { netns } = built;
  const journal = directory(t);
  const nets = [await plumbed(netns, 'eth0', 'bridge', journal), await plumbed(netns, 'eth1', 'bridge', journal)] as const;
  await nets[1].undo();
  await run(netns, 'ip', ['route', 'add', 'unreachable', '10.20.1.0/24', 'table', '100']);
  await addRoute(netns, { dst: '10.45.0.0/24', dev: 'eth1', metric: 7 });
  t.strictSame(await nets[0].undo(), { state: 'undone', leftBehind: [] }, 'it stands beside what came back');
  const { rows } = await dump(netns);
  const of = (dst: string): number => rows.filter(({ table, id }) => table === 'podtap route' && id.includes(dst)).length;
  t.same([of('10.20.1.0/24'), of('10.45.0.0/24')], [2, 3]);
  t.same(readdirSync(journal), []);
});

await t.test('the other interface is gone: told by the one that was to put it back', { skip }, async (t) => {
  await using built = await build(entangled);
  const { netns } = built;
  const journal = directory(t);
  const nets = [await plumbed(netns, 'eth0', 'bridge', journal), await plumbed(netns, 'eth1', 'bridge', journal)] as const;
  await nets[1].undo();
  await run(netns, 'ip', ['link', 'del', 'eth0']);
  const { leftBehind } = await nets[0].undo();
  t.ok(leftBehind.some((line) => /^route 10\.20\.1\.0\/24 table 100 .*cannot have its source address 10\.1\.0\.2 again/.test(line)), leftBehind.join('\n')); // prettier-ignore
  t.same(readdirSync(journal), []);
});

await t.test('any pod with two interfaces', { skip }, async (t) => {
  let both = 0;
  const modes = fc.constantFrom<Mode>('bridge', 'redirect');
  await fc.assert(
    fc.asyncProperty(pods().filter(({ eth1 }) => eth1 !== null), modes, modes, fc.boolean(), fc.boolean(), async (pod, one, two, first, last) => {
      await using built = await build(pod);
      const { netns } = built;
      const journal = directory(t);
      const before: Dump = await dump(netns);
      const order: readonly Name[] = first ? ['eth0', 'eth1'] : ['eth1', 'eth0'];
      const there: Name[] = [];
      for (const name of order) {
        const error: unknown = await plumbed(netns, name, name === 'eth0' ? one : two, journal).then(() => there.push(name), (caught: unknown) => caught); // prettier-ignore
        if (error instanceof Error && !(error instanceof PlumbError && error.code === 'ERR_PLUMB_NO_ADDRESS')) throw error;
      }
      both += Number(there.length === 2);
      for (const name of last ? order : [...order].reverse()) await (await openPlumbing(netns, { label: name, journal }))?.undo();
      none(compare(before, await dump(netns)), `eth0 by ${one}, eth1 by ${two}, ${order.join()}, then ${last ? 'so' : 'the other way round'}`);
      none(readdirSync(journal), 'in the journal');
    }),
    searched(8),
  );
  t.ok(both > 0);
}); // prettier-ignore
