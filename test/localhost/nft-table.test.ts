// The table of nftables as podtap's own: made, made anew, put back, taken away, and not that of others. In a user namespace.
import { type Netns, type Tap, createTap, createVeth, getLink, recover, transaction } from 'podtap';
import t, { type Test } from 'tap';
import { readLocalhostTables } from '../../lib/kernel/localhost-nft.js';
import { changeNft, listElements } from '../../lib/kernel/nft.js';
import type { LocalhostConfig } from '../../lib/localhost/config.js';
import { lackingPasses, nftOperations, withoutNft } from '../../lib/localhost/nft.js';
import { type Operation, kindOf } from '../../lib/operation/kinds.js';
import { lackingTable } from '../../lib/operation/localhost-nft.js';
import { run } from '../../lib/operation/run.js';
import { Touching } from '../../lib/operation/touching.js';
import { type State, snapshot } from '../../lib/state/snapshot.js';
import { undo } from '../../lib/transaction/undo.js';
import { ipv4, joined, port, protocol } from '../../lib/wire/nft/data.js';
import { fixture, fresh, inside } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { directory } from '../transaction/files.js';

t.setTimeout(300_000);
const skip = requires('tun', 'nft');

interface Pod {
  readonly pod: Netns;
  readonly taps: readonly Tap[];
  readonly config: LocalhostConfig;
  readonly table: string;
  readonly journal: string;
}

const STRANGERS = 'table inet theirs { chain input { type filter hook input priority 0; tcp dport 7 accept; }; }';

async function podOf(t: Test): Promise<Pod> {
  const [node, pod] = [await fresh(t), await fresh(t)];
  await createVeth(node, 'vn', { up: true, peer: { scope: pod, name: 'eth0', up: true } });
  const taps = [await createTap(pod, 'tap0'), await createTap(pod, 'tap1')];
  t.teardown(() => Promise.all(taps.map((tap) => tap.close())));
  inside(pod, `nft '${STRANGERS}'`);
  const link = (await getLink(pod, 'eth0'))!.ifindex;
  const config: LocalhostConfig = {
    link,
    podHasAddresses: true,
    mac: '02:00:00:00:00:22',
    addresses: ['10.1.0.2', '10.1.0.3'],
    aliases: '169.254.77.0',
    loopback: '127.77.0.0',
    aliasMac: '02:75:6e:63:00:01',
    services: [
      { alias: '169.254.77.1', address: '127.0.0.11', protocol: 'udp', first: 53, last: 53, to: 40_053 },
      { alias: '169.254.77.2', address: '127.0.0.1', protocol: 'tcp', first: 8000, last: 8100, to: 8000 },
      { alias: '169.254.77.2', address: '127.0.0.1', protocol: 'tcp', first: 5000, last: 5999, to: 15_000 },
    ],
    guests: taps.map(({ ifindex }, index) => ({
      slot: index + 1,
      tap: ifindex,
      ports: [{ protocol: 'tcp', first: 9001 + index, last: 9001 + index }],
    })),
    gateway: { address: '10.1.0.254', mac: '02:00:00:00:00:11' },
  };
  return { pod, taps, config, table: `podtap_${link}`, journal: directory(t) };
}

const make = (config: LocalhostConfig): Operation => ({ op: 'localhost.nft', config });
const ruleset = (pod: Netns): string => inside(pod, 'nft list ruleset');
const parts = async (pod: Netns): Promise<unknown> => (await readLocalhostTables(pod))[0]?.parts;

/** Within a transaction that fails at last: what is left behind. */
async function failing(
  pod: Netns,
  journal: string,
  body: (tx: Parameters<Parameters<typeof transaction>[1]>[0]) => Promise<unknown>,
): Promise<readonly string[]> {
  // prettier-ignore
  const enough = new Error('enough');
  try {
    await transaction(pod, async (tx) => (await body(tx), Promise.reject(enough)), { journal });
  } catch (error) {
    // It comes as it is where nothing is left.
    if (error === enough) return [];
    const { leftBehind } = error as { leftBehind?: readonly string[] };
    if (leftBehind !== undefined) return leftBehind;
    throw error;
  }
  throw new Error('it has not failed');
}

await t.test('made, read back, listed by nft(8), and taken away', { skip }, async (t) => {
  const { pod, config, table } = await podOf(t);
  const before = ruleset(pod);
  await run(pod, 'test', [make(config)]);
  t.same((await readLocalhostTables(pod)).map(({ config, others }) => ({ config, others })), [{ config, others: [] }]); // prettier-ignore
  t.match(ruleset(pod), new RegExp(`table netdev ${table} {`));
  t.match(inside(pod, `nft list chain netdev ${table} link`), /hook ingress device "eth0"/);
  t.match(inside(pod, `nft list map netdev ${table} forward`), '169.254.77.1 . udp . 53 : 127.0.0.11 . 40053');
  const state = await snapshot(pod, new Set(['nft']));
  t.same(lackingTable(state, config), []);
  await run(pod, 'test', [{ op: 'localhost.nft.delete', link: config.link }]);
  t.equal(ruleset(pod), before);
  t.match(lackingTable(await snapshot(pod, new Set(['nft'])), config), [/the table netdev/]);
  await run(pod, 'test', [{ op: 'localhost.nft.delete', link: config.link }]);
});

await t.test('made anew in one step: what it remembers stays, as long as its guest does', { skip }, async (t) => {
  const { pod, config, table } = await podOf(t);
  await run(pod, 'test', [make(config)]);
  const whole = await parts(pod);
  const key = joined(protocol('udp'), ipv4('10.9.9.9'), port(53), ipv4('10.1.0.2'), port(5353));
  for (const set of ['flows_1', 'flows_2', 'pod'])
    await changeNft(pod, [{ add: { elements: { family: 'netdev', table, set, elements: [{ key }] } } }]);
  const known = async (set: string): Promise<number> => (await listElements(pod, 'netdev', table, set)).length;
  const services = [...config.services, { alias: '169.254.77.5', address: '127.0.0.5', protocol: 'udp', first: 99, last: 99, to: 99 }] as const; // prettier-ignore
  await run(pod, 'test', [make({ ...config, services })]);
  t.same([await known('flows_1'), await known('flows_2'), await known('pod')], [1, 1, 1]);
  t.match(inside(pod, `nft list map netdev ${table} hosts`), '169.254.77.5 : 127.0.0.5');
  t.notSame(await parts(pod), whole);
  await run(pod, 'test', [make({ ...config, guests: config.guests.slice(0, 1) })]);
  t.notMatch(inside(pod, `nft list sets netdev; nft list chains netdev`), /flows_2|alias_2|world_/);
  t.equal(await known('pod'), 1);
  await run(pod, 'test', [make(config)]);
  t.same([await known('flows_2'), await known('pod')], [0, 1]);
  t.same(await parts(pod), whole);
});

await t.test('a transaction that fails: what was before is there again', { skip }, async (t) => {
  const { pod, config, journal } = await podOf(t);
  const before = ruleset(pod);
  t.same(await failing(pod, journal, (tx) => run(tx, 'test', [make(config)])), []);
  t.equal(ruleset(pod), before);
  await run(pod, 'test', [make(config)]);
  const made = await parts(pod);
  const other = { ...config, guests: config.guests.slice(1), services: [] };
  const steps = [make(other), { op: 'localhost.nft.delete', link: config.link }, make(other)] as const;
  for (let count = 1; count <= steps.length; count++) {
    t.same(await failing(pod, journal, (tx) => run(tx, 'test', steps.slice(0, count))), [], `${count} steps`);
    t.same(await parts(pod), made, `${count} steps`);
    t.same((await readLocalhostTables(pod))[0]!.config, config);
  }
});

await t.test('what others did to it is told; what they put into it stays', { skip }, async (t) => {
  const { pod, config, table } = await podOf(t);
  const before = ruleset(pod);
  for (const [what, line, told, stays] of [
    ['nothing', 'true', [], before],
    ['a rule is taken out', `nft flush chain netdev ${table} back`, [/podtap_\d+ was changed by somebody and is taken away: chain back is another/], before], // prettier-ignore
    ['a service is taken out', `nft flush map netdev ${table} forward`, [/set forward is another/], before],
    ['a TAP is gone', 'ip link delete tap1', [], before],
    ['a rule and a chain of theirs', `nft add chain netdev ${table} theirs; nft add rule netdev ${table} theirs accept; nft add rule netdev ${table} link ip protocol 200 drop`, [/podtap_\d+ stays, with what somebody else has put into it: chain theirs, rule \d+ of chain \S+, rule \d+ of chain \S+/], undefined], // prettier-ignore
  ] as const) {
    // As a plumbing that is finished knows it: by what has come of it.
    const look = (): Promise<State> => snapshot(pod, new Set(['nft', 'localhost']));
    const operation = make(what === 'a TAP is gone' ? config : { ...config, guests: config.guests.slice(0, 1) });
    const on = new Touching(await look(), () => 0, new Set());
    kindOf(operation).touches(operation, on);
    await run(pod, 'test', [operation]);
    const images = on.images.observed(await look());
    inside(pod, line);
    const { leftBehind, failed } = await undo(pod, images, async () => undefined);
    t.same(failed, []);
    t.match(leftBehind, told, what);
    t.equal(leftBehind.length, told.length, what);
    if (stays !== undefined) t.equal(ruleset(pod), stays, what);
  }
  t.equal(ruleset(pod).replace(before, ''), `table netdev ${table} {\n\tchain link {\n\t\ttype filter hook ingress device "eth0" priority filter; policy accept;\n\t\tip protocol 200 drop\n\t}\n\n\tchain theirs {\n\t\taccept\n\t}\n}\n`); // prettier-ignore
});

await t.test('in the middle of it killed: recovered', { skip }, async (t) => {
  const { pod, config, journal } = await podOf(t);
  inside(pod, 'for d in eth0 tap0; do tc qdisc add dev $d ingress; done');
  const state = (): string => ruleset(pod) + inside(pod, 'tc filter show dev eth0 ingress; tc filter show dev tap0 ingress');
  const before = state();
  let died = 0;
  for (let at = 0; at < 20; at++) {
    const env = { ORACLE_FAULTS: JSON.stringify([{ at, how: 'killed' }]) };
    const { signal, stderr } = await fixture('localhost/nft.fixture.js', [pod.path!, journal, JSON.stringify(config)], { env });
    t.notMatch(stderr, /Error/, `${at}`);
    const { undone } = await recover({ journal, finished: 'undo' });
    t.ok(undone.length <= 1);
    t.equal(state(), before, `killed at ${at}`);
    if (signal === null) break;
    died++;
  }
  t.ok(died >= 2, `${died} times`);
});

await t.test('ahead of filters that redirect, and behind those of others', { skip }, async (t) => {
  const { pod, config } = await podOf(t);
  inside(pod, 'tc qdisc add dev eth0 clsact; tc qdisc add dev tap0 ingress');
  const filters = (): string => inside(pod, 'tc filter show dev eth0 ingress; tc filter show dev tap0 ingress');
  const look = async (): Promise<Awaited<ReturnType<typeof snapshot>>> => snapshot(pod, new Set(['qdisc', 'filter']));
  const tables = (operations: readonly Operation[]): string[] => operations.map(({ op }) => op);
  t.same(tables(nftOperations(config, await look())), ['localhost.nft'], 'nobody redirects');
  // As mode redirect makes them: by the cookie 'podtap redirect'.
  const cookie = Buffer.from('podtap redirect').toString('hex');
  for (const [dev, parent, to, pref] of [['eth0', 'ffff:fff2', 'tap0', 65_535], ['tap0', 'ffff:', 'eth0', 16]] as const)
    inside(pod, `tc filter add dev ${dev} parent ${parent} protocol all pref ${pref} handle ::1 u32 match u32 0 0 action mirred egress redirect dev ${to} cookie ${cookie}`); // prettier-ignore
  inside(pod, 'tc filter add dev eth0 ingress protocol ip pref 65534 u32 match u32 0 0 classid 1:7');
  const before = filters();
  t.same(lackingPasses(config, await look()), [config.link, config.guests[0]!.tap]);
  const operations = nftOperations(config, await look());
  t.same(tables(operations), ['localhost.nft', 'filter.add', 'filter.add']);
  await run(pod, 'test', operations);
  t.match(filters(), /pref 65533 u32[^]*flowid 7074:1[^]*pref 65534[^]*pref 65535[^]*pref 15 [^]*flowid 7074:1[^]*pref 16 /);
  t.same(lackingPasses(config, await look()), []);
  t.same(tables(nftOperations(config, await look())), ['localhost.nft'], 'once');
  await run(pod, 'test', withoutNft(config, await look()));
  t.equal(filters(), before);
  t.same(await readLocalhostTables(pod), []);
  inside(pod, `tc filter add dev tap0 parent ffff: protocol all pref 1 handle ::1 u32 match u32 0 0 action mirred egress redirect dev eth0 cookie ${cookie}`); // prettier-ignore
  const full = await look();
  t.throws(() => nftOperations(config, full), { code: 'ERR_PLUMB_CONFLICT', message: /ahead of podtap's filter \(1\) on tap0/ });
});

await t.test('refused before anything is done', { skip }, async (t) => {
  const { pod, config } = await podOf(t);
  const before = ruleset(pod);
  const moved = { alias: '169.254.77.2', address: '127.0.0.1', protocol: 'tcp', first: 20_000, last: 24_096, to: 30_000 } as const;
  await t.rejects(run(pod, 'test', [make({ ...config, services: [moved] })]), { code: 'ERR_INVALID_ARG_VALUE', message: /nftables cannot count: .* 4097 are more than 4096/ }); // prettier-ignore
  await t.rejects(run(pod, 'test', [make({ ...config, loopback: '127.0.0.0' })]), { code: 'ERR_INVALID_ARG_VALUE' });
  await t.rejects(run(pod, 'test', [make({ ...config, guests: [{ ...config.guests[0]!, tap: 4711 }] })]), { code: 'ENODEV' });
  t.equal(ruleset(pod), before);
});
