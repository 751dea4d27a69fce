// What nft(8) says of what podtap has done, and podtap of what nft(8) has. In a user namespace, which is enough for nftables.
import { type Netns, NetlinkError, createTap, createVeth, openPacketSocket } from 'podtap';
import t, { type Test } from 'tap';
import { changeNft, listChains, listElements, listNftRules, listSets, listTables, nftGeneration } from '../../lib/kernel/nft.js';
import type { NftChain, NftChange, NftRule, NftSet } from '../../lib/kernel/nft.js';
import { element, ifname, ipv4, joined, port, protocol } from '../../lib/wire/nft/data.js';
import type { NftExpression } from '../../lib/wire/nft/expression.js';
import { fresh, inside, take } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { frame, numberOf } from './frames.js';

const skip = requires('nft');

type Json = Record<string, Record<string, unknown>>;
/** `nft -j list ruleset`, without what says nothing of the rules. */
function ruleset(netns: Netns): Json[] {
  return (JSON.parse(inside(netns, 'nft -j list ruleset')) as { nftables: Json[] }).nftables
    .filter((one) => one.metainfo === undefined)
    .map((one) => JSON.parse(JSON.stringify(one), (key, value: unknown) => (key === 'handle' ? undefined : value)) as Json);
}

/** What nft(8) makes of a script, in a namespace of its own with the same devices. */
async function reference(t: Test, script: string, devices: readonly string[] = []): Promise<Json[]> {
  const netns = await fresh(t);
  for (const device of devices) inside(netns, `ip link add ${device} type bridge`);
  inside(netns, `nft -f - <<'END'\n${script}\nEND`);
  return ruleset(netns);
}

const table = { family: 'inet', name: 'podtap' } as const;
const inPodtap = { family: 'inet', table: 'podtap' } as const;
const rule = (chain: string, ...expressions: NftExpression[]): NftChange => ({ add: { rule: { ...inPodtap, chain, expressions } } });

await t.test('tables and chains, as nft has them', { skip }, async (t) => {
  const netns = await fresh(t);
  inside(netns, 'ip link add dev0 type bridge; ip link add dev1 type bridge');
  const chain = (family: NftChain['family'], name: string, type?: string, hook?: NftChain['hook'], policy?: string): NftChange => ({
    add: { chain: { family, table: 'podtap', name, ...(type && { type }), ...(hook && { hook }), ...(policy && { policy }) } },
  });
  await changeNft(netns, [
    { add: { table } },
    { add: { table: { family: 'netdev', name: 'podtap' } } },
    chain('inet', 'input', 'filter', { name: 'input', priority: -5 }, 'drop'),
    chain('inet', 'out', 'route', { name: 'output', priority: 100 }),
    chain('inet', 'nat', 'nat', { name: 'prerouting', priority: -100 }, 'accept'),
    chain('inet', 'plain'),
    chain('netdev', 'in', 'filter', { name: 'ingress', priority: 7, devices: ['dev0'] }),
    chain('netdev', 'out', 'filter', { name: 'egress', priority: 0, devices: ['dev0', 'dev1'] }, 'drop'),
  ]);
  const script = `table inet podtap {
      chain input { type filter hook input priority -5; policy drop; }
      chain out { type route hook output priority 100; }
      chain nat { type nat hook prerouting priority -100; policy accept; }
      chain plain { }
    }
    table netdev podtap {
      chain in { type filter hook ingress device "dev0" priority 7; }
      chain out { type filter hook egress devices = { "dev0", "dev1" } priority 0; policy drop; }
    }`;
  const sorted = (list: Json[]): string[] =>
    list.map((one) => JSON.stringify(one, (key, value: unknown) => (key === 'dev' && Array.isArray(value) ? [...(value as string[])].sort() : value))).sort(); // prettier-ignore
  t.strictSame(sorted(ruleset(netns)), sorted(await reference(t, script, ['dev0', 'dev1'])));
  // Not before: nft 1.0.6 prints no JSON of it.
  await changeNft(netns, [{ add: { table: { family: 'ip', name: 'podtap', flags: ['dormant'] } } }]);
  t.match(inside(netns, 'nft list table ip podtap'), 'flags dormant');
  t.match(await listTables(netns), [
    { family: 'inet', name: 'podtap', use: 4 },
    { family: 'netdev' },
    { family: 'ip', flags: ['dormant'] },
  ]);
  t.match(
    (await listChains(netns, 'inet')).map(({ name, type, hook, policy }) => ({ name, type, hook, policy })),
    [
      { name: 'input', type: 'filter', hook: { name: 'input', priority: -5 }, policy: 'drop' },
      { name: 'out', type: 'route', hook: { name: 'output', priority: 100 }, policy: 'accept' },
      { name: 'nat', type: 'nat', hook: { name: 'prerouting', priority: -100 }, policy: 'accept' },
      { name: 'plain', type: undefined, hook: undefined, policy: undefined },
    ],
  );
});

// Each: what nft(8) writes, and the same in expressions.
const meta = (key: string, dreg = 1): NftExpression => ({ name: 'meta', data: { dreg, key } });
const load = (base: string, offset: number, len: number, dreg = 1): NftExpression => ({
  name: 'payload',
  data: { dreg, base, offset, len },
});
const is = (value: Uint8Array, op = '=='): NftExpression => ({ name: 'cmp', data: { sreg: 1, op, data: { value } } });
const put = (value: Uint8Array, dreg = 1): NftExpression => ({ name: 'immediate', data: { dreg, data: { value } } });
const verdict = (code: string, chain?: string): NftExpression => ({
  name: 'immediate',
  data: { dreg: 0, data: { verdict: { code, ...(chain && { chain }) } } },
});
const [ACCEPT, DROP] = [verdict('accept'), verdict('drop')];
const NFPROTO_IPV4 = Uint8Array.of(2);
const v4 = [meta('nfproto'), is(NFPROTO_IPV4)];
const udp = [meta('l4proto'), is(protocol('udp'))];
const set4 = (offset: number, address: string): NftExpression[] => [
  put(ipv4(address)),
  { name: 'payload', data: { sreg: 1, base: 'network', offset, len: 4, csum_type: 'inet', csum_offset: 10, csum_flags: ['pseudohdr'] } },
];
const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);

const rules: readonly (readonly [chain: string, nft: string, expressions: readonly NftExpression[]])[] = [
  ['up', 'ip saddr 10.1.0.2 drop', [...v4, load('network', 12, 4), is(ipv4('10.1.0.2')), DROP]],
  ['up', 'ip saddr != 10.1.0.2 counter packets 0 bytes 0 accept', [...v4, load('network', 12, 4), is(ipv4('10.1.0.2'), '!='), { name: 'counter', data: {} }, ACCEPT]], // prettier-ignore
  ['up', 'ip daddr 10.1.0.0/20 accept', [...v4, load('network', 16, 4), { name: 'bitwise', data: { sreg: 1, dreg: 1, len: 4, mask: { value: ipv4('255.255.240.0') }, xor: { value: ipv4('0.0.0.0') } } }, is(ipv4('10.1.0.0')), ACCEPT]], // prettier-ignore
  ['up', 'udp dport 53 jump plain', [...udp, load('transport', 2, 2), is(port(53)), verdict('jump', 'plain')]],
  ['up', 'udp sport 1000-2000 goto plain', [...udp, load('transport', 0, 2), is(port(1000), '>='), is(port(2000), '<='), verdict('goto', 'plain')]], // prettier-ignore
  ['up', 'iifname "eth0" return', [meta('iifname'), is(ifname('eth0')), verdict('return')]],
  ['up', 'meta mark set 0x00000077', [put(u32(0x77)), { name: 'meta', data: { key: 'mark', sreg: 1 } }]],
  ['up', 'ct state established,related accept', [{ name: 'ct', data: { dreg: 1, key: 'state' } }, { name: 'bitwise', data: { sreg: 1, dreg: 1, len: 4, mask: { value: u32(6) }, xor: { value: u32(0) } } }, is(u32(0), '!='), ACCEPT]], // prettier-ignore
  ['up', 'ct mark set 0x00000011', [put(u32(0x11)), { name: 'ct', data: { key: 'mark', sreg: 1 } }]],
  ['up', 'ip daddr set 127.0.0.11', [...v4, ...set4(16, '127.0.0.11')]],
  ['up', 'udp dport @ports accept', [...udp, load('transport', 2, 2), { name: 'lookup', data: { set: 'ports', sreg: 1 } }, ACCEPT]],
  ['up', 'udp dport != @ports drop', [...udp, load('transport', 2, 2), { name: 'lookup', data: { set: 'ports', sreg: 1, flags: ['inv'] } }, DROP]], // prettier-ignore
  ['up', 'meta l4proto . th dport vmap @owners', [meta('l4proto'), load('transport', 2, 2, 9), { name: 'lookup', data: { set: 'owners', sreg: 1, dreg: 0 } }]], // prettier-ignore
  ['up', 'update @flows { ip saddr . udp sport timeout 1m }', [...v4, ...udp, load('network', 12, 4), load('transport', 0, 2, 9), { name: 'dynset', data: { set_name: 'flows', op: 'update', sreg_key: 1, timeout: 60_000n } }]], // prettier-ignore
  ['up', 'fib daddr type local accept', [{ name: 'fib', data: { dreg: 1, result: 'type', flags: ['daddr'] } }, is(u32(2)), ACCEPT]],
  ['up', 'socket transparent 1 accept', [{ name: 'socket', data: { key: 'transparent', dreg: 1 } }, is(Uint8Array.of(1)), ACCEPT]],
  ['pre', 'udp dport 53 dnat ip to 127.0.0.11:5353', [...udp, load('transport', 2, 2), is(port(53)), put(ipv4('127.0.0.11')), put(port(5353), 2), { name: 'nat', data: { type: 'dnat', family: 'ip', reg_addr_min: 1, reg_proto_min: 2, flags: ['specified'] } }]], // prettier-ignore
  ['pre', 'udp dport 80 redirect to :8080', [...udp, load('transport', 2, 2), is(port(80)), put(port(8080)), { name: 'redir', data: { reg_proto_min: 1, flags: ['specified'] } }]], // prettier-ignore
  ['post', 'oifname "eth0" snat ip to 10.9.0.1', [meta('oifname'), is(ifname('eth0')), put(ipv4('10.9.0.1')), { name: 'nat', data: { type: 'snat', family: 'ip', reg_addr_min: 1 } }]], // prettier-ignore
  ['post', 'masquerade random', [{ name: 'masq', data: { flags: ['random'] } }]],
];
const sets: readonly NftSet[] = [
  { ...inPodtap, name: 'ports', key: ['inet_service'], flags: ['interval'] },
  { ...inPodtap, name: 'owners', key: ['inet_proto', 'inet_service'], data: 'verdict' },
  { ...inPodtap, name: 'flows', key: ['ipv4_addr', 'inet_service'], flags: ['timeout', 'dynamic'], timeout: 300_000n, size: 65536 },
  { ...inPodtap, name: 'names', key: ['ipv4_addr'], data: ['ifname'] },
];
const chains: readonly NftChange[] = [
  { add: { chain: { ...inPodtap, name: 'up', hook: { name: 'input', priority: 0 } } } },
  { add: { chain: { ...inPodtap, name: 'plain' } } },
  { add: { chain: { ...inPodtap, name: 'pre', type: 'nat', hook: { name: 'prerouting', priority: -100 } } } },
  { add: { chain: { ...inPodtap, name: 'post', type: 'nat', hook: { name: 'postrouting', priority: 100 } } } },
];
const elements: readonly NftChange[] = [
  { add: { elements: { ...inPodtap, set: 'ports', elements: [element(port(53)), { key: port(54), flags: ['interval_end'] }, element(port(8000)), { key: port(8100), flags: ['interval_end'] }] } } }, // prettier-ignore
  { add: { elements: { ...inPodtap, set: 'owners', elements: [element(joined(protocol('tcp'), port(9001)), { verdict: { code: 'goto', chain: 'plain' } }), element(joined(protocol('udp'), port(9002)), { verdict: { code: 'accept' } })] } } }, // prettier-ignore
  { add: { elements: { ...inPodtap, set: 'names', elements: [element(ipv4('10.1.0.2'), { value: ifname('tap0') })] } } },
];
const script = `table inet podtap {
  set ports { type inet_service; flags interval; elements = { 53, 8000-8099 }; }
  map owners { type inet_proto . inet_service : verdict; elements = { tcp . 9001 : goto plain, udp . 9002 : accept }; }
  set flows { type ipv4_addr . inet_service; flags dynamic,timeout; timeout 5m; size 65536; }
  map names { type ipv4_addr : ifname; elements = { 10.1.0.2 : "tap0" }; }
  chain plain { }
  ${[
    ['up', 'filter hook input priority 0'],
    ['pre', 'nat hook prerouting priority -100'],
    ['post', 'nat hook postrouting priority 100'],
  ]
    .map(
      ([chain, hook]) =>
        `chain ${chain!} { type ${hook!};\n${rules
          .filter(([of]) => of === chain)
          .map(([, line]) => line)
          .join('\n')}\n}`,
    ) // prettier-ignore
    .join('\n')}
}`;

await t.test('rules, sets and maps, as nft has them', { skip }, async (t) => {
  const netns = await fresh(t);
  await changeNft(netns, [
    { add: { table } },
    ...sets.map((set) => ({ add: { set } })),
    ...chains,
    ...elements,
    ...rules.map(([chain, , expressions]) => rule(chain, ...expressions)),
  ]);
  const theirs = await reference(t, script);
  const key = (one: Json): string => JSON.stringify([Object.keys(one), (Object.values(one)[0] as { chain?: string; name?: string }).name]);
  const byKind = (list: Json[], kind: string): unknown[] => list.filter((one) => one[kind] !== undefined).map((one) => one[kind]);
  for (const kind of ['set', 'map', 'chain'])
    t.strictSame(byKind(ruleset(netns), kind).map(String).length, byKind(theirs, kind).length, kind);
  const sorted = (list: Json[], kind: string): Json[] => list.filter((one) => one[kind] !== undefined).sort((a, b) => key(a).localeCompare(key(b))); // prettier-ignore
  for (const kind of ['set', 'map', 'chain']) t.strictSame(sorted(ruleset(netns), kind), sorted(theirs, kind), kind);
  for (const chain of ['up', 'pre', 'post']) {
    const of = (list: Json[]): unknown[] => list.filter(({ rule }) => rule?.chain === chain).map(({ rule }) => rule!.expr);
    const [ours, others] = [of(ruleset(netns)), of(theirs)];
    t.equal(ours.length, rules.filter(([of]) => of === chain).length);
    for (const [index, [, line]] of rules.filter(([of]) => of === chain).entries()) t.strictSame(ours[index], others[index], line);
  }
});

await t.test('what nft made is read as it would be written', { skip }, async (t) => {
  const [theirs, copy] = [await fresh(t), await fresh(t)];
  inside(theirs, `nft -f - <<'END'\n${script}\nEND`);
  const found = await listNftRules(theirs, 'inet', { table: 'podtap' });
  t.equal(found.length, rules.length);
  for (const { expressions } of found) for (const { name, data } of expressions!) t.notOk(data instanceof Uint8Array, name);
  const fresher = ({ family, table, chain, expressions, userdata }: NftRule): NftRule => ({ family, table, chain, expressions: expressions ?? [], ...(userdata && { userdata }) }); // prettier-ignore
  const readSets = await listSets(theirs, 'inet', 'podtap');
  const contents = await Promise.all(
    // What a rule added by itself, with a time, is not there yet.
    readSets.map(async ({ name }) => ({ ...inPodtap, set: name, elements: await listElements(theirs, 'inet', 'podtap', name) })),
  );
  await changeNft(copy, [
    { create: { table } },
    ...readSets.map((set) => ({ create: { set } })),
    ...(await listChains(theirs, 'inet')).map((chain) => ({ create: { chain } })),
    ...contents.filter(({ elements }) => elements.length > 0).map((elements) => ({ add: { elements } })),
    ...found.map((rule) => ({ add: { rule: fresher(rule) } })),
  ]);
  t.equal(inside(copy, 'nft list ruleset'), inside(theirs, 'nft list ruleset'));
});

await t.test('all or nothing, and the error says which', { skip }, async (t) => {
  const netns = await fresh(t);
  const before = await nftGeneration(netns);
  const error = await changeNft(netns, [
    { add: { table } },
    { add: { chain: { ...inPodtap, name: 'up', hook: { name: 'input', priority: 0 } } } },
    { delete: { chain: { ...inPodtap, name: 'nosuch' } } },
    rule('up', ACCEPT),
  ]).catch((error: unknown) => error);
  t.ok(error instanceof NetlinkError);
  t.match(error, { code: 'ENOENT', index: 2, syscall: 'NFT_MSG_DELCHAIN', message: /delete chain inet podtap nosuch \(change 3 of 4\).*NFTA_CHAIN_NAME.*nothing was changed/ }); // prettier-ignore
  t.equal(inside(netns, 'nft list ruleset'), '');
  await changeNft(netns, []);
  t.equal(await nftGeneration(netns), before);
  await changeNft(netns, [{ add: { table } }], { generation: before });
  t.equal(await nftGeneration(netns), before + 1);
  await t.rejects(changeNft(netns, [{ add: { table: { ...table, name: 'late' } } }], { generation: before }), { code: 'ERESTART', message: /the batch as a whole/ }); // prettier-ignore
  await t.rejects(changeNft(netns, [{ create: { table } }]), { code: 'EEXIST', index: 0 });
  await changeNft(netns, [{ add: { table } }]);
  await t.rejects(changeNft(netns, [{ add: { chain: { ...inPodtap, name: 'x', type: 'nat', hook: { name: 'forward', priority: 0 } } } }]), { code: /EOPNOTSUPP|ERR_UNSUPPORTED/ }); // prettier-ignore
  await t.rejects(listElements(netns, 'inet', 'podtap', 'nosuch'), { code: 'ENOENT' });
});

await t.test('places: behind, before, instead of, and away', { skip }, async (t) => {
  const netns = await fresh(t);
  const marks = async (): Promise<number[]> =>
    (await listNftRules(netns, 'inet', { table: 'podtap', chain: 'plain' })).map(({ expressions }) => {
      const [first] = expressions as unknown as [{ data: { data: { value: Uint8Array } } }];
      return first.data.data.value[0]!;
    });
  const mark = (value: number): readonly NftExpression[] => [put(u32(value)), { name: 'meta', data: { key: 'mark', sreg: 1 } }];
  const at = { ...inPodtap, chain: 'plain' };
  await changeNft(netns, [
    { add: { table } },
    { add: { chain: { ...inPodtap, name: 'plain' } } },
    { add: { rule: { ...at, expressions: mark(1) } } },
    { add: { rule: { ...at, expressions: mark(2) } } },
    { insert: { rule: { ...at, expressions: mark(3) } } },
  ]);
  t.strictSame(await marks(), [3, 1, 2]);
  const [, first, second] = await listNftRules(netns, 'inet', at);
  await changeNft(netns, [
    { add: { rule: { ...at, position: first!.handle!, expressions: mark(4) } } },
    { insert: { rule: { ...at, position: first!.handle!, expressions: mark(5) } } },
    { replace: { rule: { ...at, handle: second!.handle!, expressions: mark(6) } } },
  ]);
  t.strictSame(await marks(), [3, 5, 1, 4, 6]);
  await changeNft(netns, [{ delete: { rule: { ...at, handle: first!.handle! } } }]);
  t.strictSame(await marks(), [3, 5, 4, 6]);
  await changeNft(netns, [{ delete: { rule: at } }]);
  t.strictSame(await marks(), []);
  await changeNft(netns, [{ add: { set: sets[0]! } }, elements[0]!]);
  await changeNft(netns, [{ delete: { elements: { ...inPodtap, set: 'ports' } } }]);
  t.strictSame(await listElements(netns, 'inet', 'podtap', 'ports'), []);
  await changeNft(netns, [{ delete: { table } }]);
  t.strictSame(await listTables(netns), []);
});

await t.test('a set without a name, of one rule', { skip }, async (t) => {
  const netns = await fresh(t);
  const set = { ...inPodtap, name: '__set%d', id: 7, key: ['inet_service'] as const, flags: ['anonymous', 'constant'] };
  await changeNft(netns, [
    { add: { table } },
    { add: { chain: { ...inPodtap, name: 'plain' } } },
    { add: { set } },
    { add: { elements: { ...inPodtap, set: '__set%d', setId: 7, elements: [element(port(53)), element(port(80))] } } },
    rule('plain', ...udp, load('transport', 2, 2), { name: 'lookup', data: { set: '__set%d', set_id: 7, sreg: 1 } }, ACCEPT),
  ]);
  t.match(inside(netns, 'nft list ruleset'), 'udp dport { 53, 80 } accept');
});

await t.test('a thousand changes in one batch', { skip }, async (t) => {
  const netns = await fresh(t);
  const many = Array.from({ length: 1000 }, (_, index) => rule('plain', ...v4, load('network', 12, 4), is(u32(index)), DROP));
  await changeNft(netns, [{ add: { table } }, { add: { chain: { ...inPodtap, name: 'plain' } } }, ...many]);
  t.equal((await listNftRules(netns, 'inet', { table: 'podtap' })).length, 1000);
});

await t.test('frames are forwarded and copied by rules on devices', { skip: skip || requires('tun') }, async (t) => {
  const [node, netns] = [await fresh(t), await fresh(t)];
  for (const one of [node, netns]) inside(one, 'sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1');
  await createVeth(node, 'vn', { up: true, peer: { scope: netns, name: 'eth0', up: true } });
  const [first, second] = [await createTap(netns, 'tap0'), await createTap(netns, 'tap1')];
  t.teardown(() => Promise.all([first.close(), second.close()]));
  const fwd = { family: 'netdev', table: 'podtap' } as const;
  const to = (index: number): NftExpression => put(u32(index));
  await changeNft(netns, [
    { add: { table: { family: 'netdev', name: 'podtap' } } },
    { add: { chain: { ...fwd, name: 'eth0', hook: { name: 'ingress', priority: 0, devices: ['eth0'] } } } },
    { add: { rule: { ...fwd, chain: 'eth0', expressions: [to(first.ifindex), { name: 'dup', data: { sreg_dev: 1 } }, to(second.ifindex), { name: 'fwd', data: { sreg_dev: 1 } }] } } }, // prettier-ignore
  ]);
  t.match(inside(netns, 'nft list ruleset'), 'dup to "tap0" fwd to "tap1"');
  const reading = [take(first.frames(), 1), take(second.frames(), 1)];
  await Promise.all([first.send([]), second.send([])]);
  for (const tap of [first, second]) await tap.waitAttached();
  await using socket = await openPacketSocket(node, 'vn');
  await socket.send([frame(5)]);
  t.strictSame(
    (await Promise.all(reading)).map(([batch]) => batch!.map(numberOf)),
    [[5], [5]],
  );
});
