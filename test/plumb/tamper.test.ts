// Strangers change a plumbed pod, or one in the middle of it; undoing, by whom and how soever, leads to what was before plus what they
// did, and tells of it. More pods: see search.ts.
import { readdirSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { type Netns, PlumbError, type Plumbing, addRule, plumb, recover, setLink, setSysctl, transaction, unplumb } from 'podtap';
import { type Dump, compare, dump, expected } from '../oracle/dump.js';
import { withFaults } from '../oracle/faults.js';
import { type Pod, build, pods } from '../oracle/pod.js';
import { type Tampering, acts, tamper, tamperings } from '../oracle/tamper.js';
import { run } from '../support/oracle.js';
import { directory } from '../transaction/files.js';
import { runs, searched } from '../support/search.js';
import { elsewhere, mode, none, ours, richPod, skip, wanted } from './around.js';

t.setTimeout(runs(1) * 300_000);

/** Whoever undoes: resolves with `leftBehind`. */
const ways: Readonly<Record<string, (net: Plumbing, netns: Netns, journal: string) => Promise<readonly string[]>>> = {
  undo: async (net) => (await net.undo()).leftBehind,
  unplumb: async (_net, _netns, journal) => (await unplumb({ label: 'vm/1' }, { journal })).leftBehind,
  'unplumb the namespace': async (_net, netns, journal) => (await unplumb({ netns: netns.path! }, { journal })).leftBehind,
  recover: async (_net, _netns, journal) => (await recover({ journal, finished: 'undo' })).undone.flatMap(({ leftBehind }) => leftBehind),
  'unplumb elsewhere': async (_net, netns, journal) => told(await elsewhere('unplumb', netns, journal, { label: 'vm/1' })),
};
function told({ stdout, stderr }: { stdout: string; stderr: string }): readonly string[] {
  const { leftBehind } = JSON.parse(stdout || '{}') as { leftBehind?: readonly string[] };
  if (leftBehind === undefined) throw new Error(stdout + stderr);
  return leftBehind;
}

/** What must be named: what was touched by plumb, and left by a stranger neither as it was nor as plumb made it. */
function mustBeTold(before: Dump, applied: Dump, tampered: Dump): readonly RegExp[] {
  const words: RegExp[] = [];
  const rows = (of: Dump): Map<string, Dump['rows'][number]> => new Map(of.rows.map((row) => [`${row.table} ${row.id}`, row]));
  const [old, made, now] = [rows(before), rows(applied), rows(tampered)];
  for (const [key, row] of now) {
    const [was, ours] = [old.get(key), made.get(key)];
    if (row.table === 'podtap link' && was !== undefined && ours !== undefined) {
      for (const [field, setting] of [['mac', 'mac'], ['master', 'master'], ['addrGenMode', 'addrGenMode']] as const) // prettier-ignore
        if (was.fields[field] !== ours.fields[field] && row.fields[field] !== ours.fields[field] && row.fields[field] !== was.fields[field]) words.push(new RegExp(`^${setting} of `)); // prettier-ignore
    }
    // Taken away by plumb, and there again otherwise.
    const kind = /^podtap (address|neighbor|proxy)$/.exec(row.table)?.[1];
    if (kind !== undefined && was !== undefined && ours === undefined && JSON.stringify(was.fields) !== JSON.stringify(row.fields)) words.push(new RegExp(`^${kind} .*${row.id.replace(/^\S+ /, '').replace(/ .*/, '')}`)); // prettier-ignore
  }
  return words;
}

async function tampered(t: Parameters<typeof directory>[0], pod: Pod, todo: readonly Tampering[], way: keyof typeof ways): Promise<void> {
  await using built = await build(pod);
  const { netns } = built;
  const journal = directory(t);
  const before = await dump(netns);
  let net: Plumbing;
  try {
    net = await plumb(netns, { ...wanted, label: 'vm/1', journal });
  } catch (error) {
    if (error instanceof PlumbError && error.code === 'ERR_PLUMB_NO_ADDRESS') return;
    throw error;
  }
  net.keep();
  const strangers = await tamper(built, todo, ours);
  const leftBehind = await ways[way]!(net, netns, journal);
  const about = `${way} after ${strangers.did.join('; ')}; left behind: ${leftBehind.join('; ')}`;
  none(compare(expected(before, strangers.before, strangers.after), await dump(netns)), about);
  for (const words of mustBeTold(before, strangers.before, strangers.after))
    if (!leftBehind.some((line) => words.test(line))) throw new Error(`${words.source} is not told of: ${about}`);
  none(readdirSync(journal), 'in the journal');
}

// Without the TAP the filter of redirect is another one: see redirect.test.ts. In another bridge eth0 is another sort of port, and that bridge another bridge: see the cases below.
const tricks = (Object.keys(acts) as Tampering['what'][]).filter(
  (what) => what !== 'enslave' && (mode !== 'redirect' || what !== 'deleteOurs'),
);

await t.test('any pod, any tampering', { skip }, async (t) => {
  await fc.assert(
    fc.asyncProperty(pods(), tamperings(tricks), fc.constantFrom(...Object.keys(ways)), (pod, todo, way) => tampered(t, pod, todo, way)),
    searched(16),
  );
});

/** What a stranger does to what plumb touched, how that stays, and how it is told of. */
const cases: readonly (readonly [what: string, command: string, left: readonly RegExp[], leftBehind: readonly RegExp[]])[] = [
  ['another MAC', 'ip link set eth0 address 02:00:00:00:77:77', [/link eth0: (mac|address) \S+ -> 02:00:00:00:77:77/], [/^mac of eth0 is 02:00:00:00:77:77, and was 02:00:00:00:a1:10 before podtap made it 0?[0-9a-f:]+$/]],
  ['another bridge', 'ip link add br77 index 7777 type bridge; ip link set eth0 nomaster; ip link set eth0 master br77', [/br77/], [/^master of eth0 is 7777, and was 0 before podtap made it \d+$/]],
  ['addr_gen_mode', 'ip link set eth0 addrgenmode random', [/link eth0: (addrGenMode|inet6_addr_gen_mode) eui64 -> random/], [/^addrGenMode of eth0 is random, and was eui64 before podtap made it none$/]],
  ['out of the bridge: as it was', 'ip link set eth0 nomaster', [], []],
  ['an address that was taken away, in another form', 'ip address add 10.1.100.2/16 dev eth0 metric 99', [/address eth0 10\.1\.100\.2\/16/], [/^address 10\.1\.100\.2\/16 of eth0 is \{.*99.*, and was \{.*50.* before podtap made it absent$/]],
  ['an address of another subnet, which comes before secondaries that come back', 'ip address add 10.77.0.7/24 dev eth0', [/^\S+ address eth0 10\.77\.0\.7\/24: added/], []],
  ['a neighbour that was flushed, with another MAC', 'ip neighbour replace 10.1.0.1 lladdr 02:00:00:00:77:01 dev eth0 nud permanent', [/neighbor eth0 10\.1\.0\.1: (mac|lladdr) 02:00:00:00:01:fe -> 02:00:00:00:77:01/], [/^neighbor 10\.1\.0\.1 of eth0 is .*77:01.*before podtap made it absent/]],
  ['an address on the bridge, routes by it, a neighbour, a filter, a VLAN above it', 'ip address add 10.77.0.1/24 dev br0; ip link set br0 mtu 1500; ip route add 10.78.0.0/16 via 10.77.0.2; ip neighbour add 10.77.0.3 lladdr 02:00:00:00:77:03 dev br0 nud permanent; tc qdisc add dev tap0 clsact; ip link set tap0 alias "mine now"', [], []],
  ['another name of the TAP', 'ip link set tap0 down; ip link set tap0 name tap77', [], [/^the interface 'tap77' has the index \d+ of one that podtap made, and is another one$/]],
  ['the TAP is gone', 'ip link del tap0', [], []],
  ['the bridge is gone', 'ip link del br0', [], []],
  ['both are gone, and others have their names', 'ip link del br0; ip link del tap0; ip link add tap0 index 7701 type veth peer name br0 index 7702', [/tap0: added/, /br0: added/], []],
]; // prettier-ignore

for (const [what, command, left, leftBehind] of cases) {
  if (mode !== 'bridge') continue; // of what plumb by bridge touches
  await t.test(`case: ${what}`, { skip }, async (t) => {
    await using built = await build(richPod);
    const { netns } = built;
    const journal = directory(t);
    const before = await dump(netns);
    const net = await plumb(netns, { ...wanted, journal });
    const { status, stderr } = await run(netns, 'sh', ['-e'], command);
    t.equal(status, 0, stderr);
    const report = await net.undo();
    t.equal(report.state, 'undone');
    t.equal(report.leftBehind.length, leftBehind.length, report.leftBehind.join('\n'));
    for (const words of leftBehind) t.ok(report.leftBehind.some((line) => words.test(line)), `${words.source}: ${report.leftBehind.join('\n')}`); // prettier-ignore
    const differences = compare(before, await dump(netns)).join('\n');
    if (left.length === 0 && leftBehind.length === 0) t.equal(differences, '');
    for (const words of left) t.match(differences, words);
    t.same(readdirSync(journal), []);
    t.strictSame(await net.undo(), { state: 'already-undone', leftBehind: [] });
  });
}

if (mode === 'bridge')
  await t.test('the interface itself is gone', { skip }, async (t) => {
    await using built = await build(richPod);
    const { netns } = built;
    const journal = directory(t);
    const net = await plumb(netns, { ...wanted, journal });
    await run(netns, 'ip', ['link', 'del', 'eth0']);
    const report = await net.undo();
    t.equal(report.state, 'undone');
    const told = report.leftBehind.join('\n');
    t.match(told, /the interface with index 100 is gone/);
    t.match(told, /^route fd20::\/32 .* cannot have its source address fd00:1::2 again, which is gone with its interface$/m);
    const { rows } = await dump(netns);
    t.notOk(rows.some(({ table, fields }) => table === 'podtap link' && ours.includes(String(fields.name))));
    t.same(readdirSync(journal), []);
  });

await t.test('in the middle: before the step that fails', { skip }, async () => {
  await fc.assert(
    fc.asyncProperty(tamperings(['addAddress', 'addRoute', 'addRule', 'addNeighbor', 'setSysctl', 'setAlias', 'setQueue', 'deleteRule']), fc.nat(2), async (todo, at) => {
      await using built = await build(richPod);
      const { netns } = built;
      const before = await dump(netns);
      let strangers: Awaited<ReturnType<typeof tamper>> | undefined;
      const error: unknown = await transaction(
        netns,
        async (tx) => {
          const steps = [() => setLink(tx, 'eth0', { mac: '02:00:00:00:55:55', group: 9 }), () => setSysctl(tx, 'net.ipv4.conf.eth0.log_martians', '1'), () => addRule(tx, { priority: 5000, table: 100 })];
          for (const [index, step] of steps.entries()) {
            if (index === at) strangers = await tamper(built, todo);
            await step();
          }
          await setLink(tx, 'eth0', { master: 'eth0' });
        },
        { journal: false },
      ).catch((caught: unknown) => caught);
      if (!(error instanceof Error)) throw new Error('did not fail');
      // What strangers did before a step is part of what was before it.
      none(compare(expected(before, strangers!.before, strangers!.after), await dump(netns)), `${strangers!.did.join('; ')} before step ${at}`);
    }),
    searched(6),
  );
}); // prettier-ignore

await t.test('a request that fails, and then a stranger, and then the undo', { skip }, async (t) => {
  await using built = await build(richPod);
  const { netns } = built;
  const journal = directory(t);
  const before = await dump(netns);
  const { value, error } = await withFaults([{ at: mode === 'bridge' ? 8 : 5, how: 'refused' }], () =>
    transaction(
      netns,
      async (tx) => {
        const failure: unknown = await plumb(tx, wanted).catch((caught: unknown) => caught);
        await run(netns, 'ip', ['link', 'set', 'eth0', 'txqueuelen', '770']);
        return failure;
      },
      { journal },
    ),
  );
  t.equal(error, undefined);
  t.ok(value instanceof PlumbError);
  t.same(
    compare(before, await dump(netns)).filter((line) => !/(txQueueLength|txqlen) 500 -> 770/.test(line)),
    [],
  );
});
