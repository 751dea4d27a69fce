// The oracle itself is tried, on any pod: it sees what is another, and nothing where nothing is (planted.test.ts tries it on single
// mistakes). More pods than npm test has time for: see search.ts
import fc from 'fast-check';
import t from 'tap';
import { run } from '../support/oracle.js';
import { requires } from '../support/requires.js';
import { runs, searched } from '../support/search.js';
import { type Dump, type Row, compare, dump, expected } from './dump.js';
import { pod as richPod } from './planted.js';
import { type Built, type Pod, build, podScript, pods } from './pod.js';
import { tamper, tamperings } from './tamper.js';

t.setTimeout(runs(1) * 60_000);
const everything = requires('bridge', 'tun', 'clsact', 'u32');

/** For any pod; a counterexample is printed, shrunk, with the seed that leads to it. */
async function forAny<T extends [unknown, ...unknown[]]>(
  arbitraries: { [K in keyof T]: fc.Arbitrary<T[K]> },
  check: (...values: T) => Promise<void>,
): Promise<void> {
  await fc.assert(
    fc.asyncProperty(...arbitraries, async (...values) => check(...values)),
    searched(6),
  );
}
function same(differences: readonly string[], about: string): void {
  if (differences.length > 0) throw new Error(`${about}:\n  ${differences.join('\n  ')}`);
}
async function sh(built: Built, script: string): Promise<void> {
  const { status, stderr } = await run(built.netns, 'sh', ['-e'], script);
  if (status !== 0 || stderr !== '') throw new Error(`${script}: ${stderr}`);
}

await t.test('a pod that is left alone is the same in the next dump, and the same pod built again', async () => {
  await forAny([pods()], async (pod) => {
    const [one, other] = await Promise.all([build(pod), build(pod)]);
    try {
      const first = await dump(one.netns);
      same(compare(first, await dump(one.netns)), 'dumped twice');
      same(compare(first, await dump(other.netns)), 'built twice');
      same(compare(JSON.parse(JSON.stringify(first)) as Dump, first), 'as JSON');
    } finally {
      await one[Symbol.asyncDispose]();
      await other[Symbol.asyncDispose]();
    }
  });
});

await t.test('a dump is not empty: what the pod has is there, in both views', { skip: everything }, async (t) => {
  await using built = await build(richPod);
  const { rows } = await dump(built.netns);
  const tables = new Set(rows.map(({ table }) => table));
  for (const table of ['link', 'address', 'route', 'rule', 'neighbor', 'proxy', 'fdb', 'qdisc', 'filter']) {
    t.ok(tables.has(`podtap ${table}`), `podtap ${table}`);
    t.ok([...tables].some((name) => !name.startsWith('podtap') && name.endsWith(table)), table); // prettier-ignore
  }
  for (const table of ['sysctl', 'ip nexthop', 'bridge link']) t.ok(tables.has(table), table);
  const count = (name: string): number => rows.filter(({ table }) => table === name).length;
  // Each view has as many of each thing as the other.
  for (const table of ['link', 'address', 'route', 'rule', 'neighbor', 'proxy'])
    t.equal(count(`ip ${table}`), count(`podtap ${table}`), table);
  t.equal(count('bridge fdb'), count('podtap fdb'));
  t.equal(count('tc qdisc'), count('podtap qdisc'));
  t.equal(count('tc filter'), count('podtap filter'));
  const lines = richPod.routes.length + 2 * richPod.eth0.addresses.length;
  t.ok(count('ip route') > lines);
  t.ok(rows.filter(({ id }) => id.startsWith('net.ipv6.conf.{100}.')).length > 30);
});

await t.test('a deadline is the same a while later', async (t) => {
  const pod: Pod = { ...richPod, others: [], eth0: { ...richPod.eth0, traffic: [] } };
  await using built = await build(pod);
  const before = await dump(built.netns);
  await new Promise((resolve) => setTimeout(resolve, 4000));
  t.strictSame(compare(before, await dump(built.netns)), []);
});

await t.test('what strangers do shows', async () => {
  await forAny([pods(), tamperings()], async (pod, todo) => {
    const built = await build(pod);
    try {
      const { before, after, did, seen } = await tamper(built, todo);
      if (did.length > 0 !== seen.length > 0) throw new Error(`${did.join('; ')} shows as ${seen.join('; ')}`);
      // Of a transaction that did nothing what they did is all that is left.
      same(compare(expected(before, before, after), after), 'expected after an empty transaction');
    } finally {
      await built[Symbol.asyncDispose]();
    }
  });
});

// A transaction in miniature, in shell, that respects what strangers did: what `expected` says is what comes of it.
const apply = `
ip link add br0 index 150 address 02:00:00:00:00:b0 type bridge
ip link set eth0 group 9
echo 55 > /proc/sys/net/ipv6/conf/eth0/hop_limit
ip rule add fwmark 0x50 lookup 50 pref 50
ip address add 10.50.0.1/24 dev br0
`;
const undo = (group: number, hops: number): string => `
name=$(ip -o link | sed -n 's/^100: \\([^:@]*\\).*/\\1/p')
ip rule del pref 50
test $(cat /proc/sys/net/ipv6/conf/$name/hop_limit) != 55 || echo ${hops} > /proc/sys/net/ipv6/conf/$name/hop_limit
ip link set $name group ${group}
ip link del br0 2> /dev/null || true
`;

await t.test('after an undo: what was before, and what strangers did', { skip: requires('bridge') }, async () => {
  await forAny([pods(), tamperings()], async (pod, todo) => {
    const built = await build(pod);
    try {
      const before = await dump(built.netns);
      await sh(built, apply);
      const strangers = await tamper(built, todo, ['br0']);
      const wanted = expected(before, strangers.before, strangers.after);
      const hops = pod.eth0.sysctls['ipv6.conf.hop_limit'] ?? 64;
      await sh(built, undo(pod.eth0.group, hops));
      same(compare(wanted, await dump(built.netns)), `after ${strangers.did.join('; ')}`);
      // Whoever forgets something, or tramples on what strangers did, is found out.
      await sh(built, 'ip link set dev $(ip -o link | sed -n "s/^100: \\([^:@]*\\).*/\\1/p") group 9');
      if (compare(wanted, await dump(built.netns)).length === 0) throw new Error('a forgotten group is not seen');
    } finally {
      await built[Symbol.asyncDispose]();
    }
  });
});

await t.test('what shall be left, case by case', async (t) => {
  const link = (fields: Row['fields'], id = '{1}'): Row => ({ table: 'podtap link', id, fields });
  const route = (via: string): Row => ({ table: 'podtap route', id: '10.0.0.0/8', order: '10.0.0.0/8', fields: { via } });
  const cases: Record<string, readonly [before: Row[], applied: Row[], tampered: Row[], left: Row[]]> = {
    'nobody was there': [[link({ mtu: 1 })], [link({ mtu: 2 })], [link({ mtu: 2 })], [link({ mtu: 1 })]],
    'they changed what we had changed': [[link({ mtu: 1 })], [link({ mtu: 2 })], [link({ mtu: 3 })], [link({ mtu: 3 })]],
    'they changed something else about it': [
      [link({ mtu: 1, alias: 'a' })],
      [link({ mtu: 2, alias: 'a' })],
      [link({ mtu: 2, alias: 'b' })],
      [link({ mtu: 1, alias: 'b' })],
    ],
    'they took it from us': [
      [link({ master: 5, up: true })],
      [link({ up: true })],
      [link({ up: true, alias: 'b' })],
      [link({ master: 5, up: true, alias: 'b' })],
    ],
    'we had made it': [[], [link({ mtu: 1 }, '{2}')], [link({ mtu: 1 }, '{2}')], []],
    'we had made it, and they set something about it': [[], [link({ mtu: 1 }, '{2}')], [link({ mtu: 2 }, '{2}')], []],
    'we had made it, and they hung something on it': [
      [],
      [link({}, '{2}')],
      [
        link({}, '{2}'),
        { table: 'podtap address', id: '{2} 10.0.0.1/8', fields: {} },
        { table: 'ip route', id: '10.9.0.0/16', fields: { text: 'dev {2} proto' } },
      ],
      [],
    ],
    'they changed what we had put in the place of another': [[route('a')], [route('b')], [route('c')], [route('c')]],
    'we had made it, and they deleted it': [[], [link({ mtu: 1 }, '{2}')], [], []],
    'they deleted what we had not touched': [[route('a')], [route('a')], [], []],
    'we had deleted it': [[route('a')], [], [], [route('a')]],
    'we had deleted it, and they put another in its place': [[route('a')], [], [route('b')], [route('b')]],
    'they added one beside it': [[route('a')], [route('a')], [route('a'), route('b')], [route('a'), route('b')]],
    'they deleted one of two': [[route('a'), route('b')], [route('a'), route('b')], [route('b')], [route('b')]],
    'we had deleted one of two, and they the other': [[route('a'), route('b')], [route('b')], [], [route('a')]],
  };
  const dumpOf = (rows: readonly Row[]): Dump => ({ names: { 1: 'eth0', 2: 'br0' }, rows });
  for (const [title, [before, applied, tampered, left]] of Object.entries(cases))
    t.strictSame(compare(expected(dumpOf(before), dumpOf(applied), dumpOf(tampered)), dumpOf(left)), [], title);
});

await t.test('a pod can be made by hand', async (t) => {
  t.match(podScript(richPod), /^ip -batch - <<'END'$/m);
  t.match(podScript(richPod), /route append default via 10\.1\.0\.1 dev eth0/);
  const [pod] = fc.sample(pods(), { numRuns: 1, seed: 7 });
  t.strictSame(fc.sample(pods(), { numRuns: 1, seed: 7 }), [pod], 'a seed is a pod');
  t.strictSame(JSON.parse(JSON.stringify(pod)), pod, 'and plain JSON');
});
