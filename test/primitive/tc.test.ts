// Qdiscs, filters and actions. Each is added by podtap in one namespace and by tc(8) in its twin: both must then look the same, to
// tc(8) as to podtap; and what podtap read makes them anew.
import t, { type Test } from 'tap';
import {
  type Filter,
  type FilterRequest,
  Netns,
  type Qdisc,
  type QdiscRequest,
  addFilter,
  addQdisc,
  createTap,
  createVeth,
  deleteFilter,
  deleteLink,
  deleteQdisc,
  listFilters,
  listQdiscs,
  openPacketSocket,
  setNeighbor,
  setSysctl,
} from 'podtap';
import { createLab, ping, runGuest } from 'podtap/lab';
import { until } from '../support/inside.js';
import { at, sh, tcJson } from '../support/oracle.js';
import { type Feature, requires } from '../support/requires.js';

/** eth0, where everything hangs, and out0, where it is sent; the same in every namespace, to the ifindex. */
async function pod(): Promise<Netns> {
  const netns = await Netns.create();
  await setSysctl(netns, 'net.ipv6.conf.default.disable_ipv6', 1); // it would send, and be counted
  await createVeth(netns, 'eth0', { ifindex: 100, up: true, peer: { name: 'out0', ifindex: 101, up: true } });
  return netns;
}

/** Without what counts, and what only the kernel tells. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (key, value: unknown) => {
      if (['statistics', 'xstats', 'times', 'counters', 'hits', 'directPackets', 'references', 'bindings'].includes(key)) return undefined;
      if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
      return typeof value === 'bigint' ? String(value) : value;
    }),
  );
}

// ------------------------------------------------------------------ qdiscs

async function qdiscs(netns: Netns): Promise<readonly Qdisc[]> {
  return (await listQdiscs(netns, 'eth0')).filter(({ kind }) => kind !== 'noqueue');
}
/** As text and as JSON. */
async function shownQdiscs(netns: Netns): Promise<string> {
  return `${await sh(netns, 'tc -d qdisc show dev eth0')}${JSON.stringify(await tcJson(netns, 'qdisc show dev eth0'), null, 1)}`;
}

const kinds: readonly (readonly [words: string, qdisc: QdiscRequest, ...needs: Feature[]])[] = [
  ['ingress', { kind: 'ingress' }],
  ['clsact', { kind: 'clsact' }, 'clsact'],
  ['root handle 1: pfifo limit 77', { kind: 'pfifo', handle: '1:', options: { limit: 77 } }],
  ['root handle 1: bfifo limit 9000', { kind: 'bfifo', handle: '1:', options: { limit: 9000 } }],
  [
    'root handle 1: prio bands 4 priomap 1 2 3 0 1 2 0 0 1 1 1 1 1 1 1 1',
    { kind: 'prio', handle: '1:', options: { bands: 4, priomap: [1, 2, 3, 0, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1] } },
    'prio',
  ],
  [
    'root handle 1: tbf rate 8mbit burst 10000 limit 20000',
    { kind: 'tbf', handle: '1:', options: { rate: 1e6, limit: 20000, burst: 10000 } },
    'tbf',
  ],
  [
    'root handle 1: tbf rate 8mbit burst 10000 limit 20000 overhead 20 mpu 64 peakrate 16mbit minburst 1600',
    {
      kind: 'tbf',
      handle: '1:',
      options: { rate: 1e6, limit: 20000, burst: 10000, overhead: 20, mpu: 64, peakrate: 2e6, peakBurst: 1600 },
    },
    'tbf',
  ],
  [
    'root handle 1: tbf rate 80gbit burst 10mb limit 20mb',
    { kind: 'tbf', handle: '1:', options: { rate: 1e10, limit: 20 << 20, burst: 10 << 20 } },
    'tbf',
  ],
  ['root handle 1: fq_codel', { kind: 'fq_codel', handle: '1:' }, 'fq_codel'],
  [
    'root handle 1: fq_codel limit 1000 flows 512 target 7ms interval 90ms quantum 300 noecn ce_threshold 3ms memory_limit 1mb drop_batch 16',
    {
      kind: 'fq_codel',
      handle: '1:',
      options: {
        limit: 1000,
        flows: 512,
        target: 7000,
        interval: 90000,
        quantum: 300,
        ecn: 0,
        ce_threshold: 3000,
        memory_limit: 1 << 20,
        drop_batch_size: 16,
      },
    },
    'fq_codel',
  ],
  ['root handle 1: netem limit 500', { kind: 'netem', handle: '1:', options: { limit: 500 } }, 'netem'],
  [
    'root handle 1: netem limit 500 delay 10ms 2ms 25% loss 1% 50% duplicate 2% corrupt 4% 50% reorder 50% 25% gap 5 rate 8mbit 20 100 5 ecn',
    {
      kind: 'netem',
      handle: '1:',
      options: {
        limit: 500,
        delay: 10e6,
        jitter: 2e6,
        loss: 0.01,
        duplicate: 0.02,
        corrupt: 0.04,
        reorder: 0.5,
        gap: 5,
        correlation: { delay: 0.25, loss: 0.5, corrupt: 0.5, reorder: 0.25 },
        rate: 1e6,
        packetOverhead: 20,
        cellSize: 100,
        cellOverhead: 5,
        ecn: true,
      },
    },
    'netem',
  ],
  [
    'root handle 1: netem limit 1000 delay 200s loss 100% rate 80gbit',
    { kind: 'netem', handle: '1:', options: { limit: 1000, delay: 200e9, loss: 1, rate: 1e10 } },
    'netem',
  ],
  ['root handle 1: htb', { kind: 'htb', handle: '1:', options: {} }, 'htb'],
  [
    'root handle 1: htb default 30 r2q 5 direct_qlen 100',
    { kind: 'htb', handle: '1:', options: { defaultClass: 0x30, rate2quantum: 5, directQueueLength: 100 } },
    'htb',
  ],
];

for (const [words, qdisc, ...needs] of kinds) {
  await t.test(`qdisc ${words}`, { skip: requires(...needs) }, async (t) => {
    await using ours = await pod();
    await using twin = await pod();
    await sh(twin, `tc qdisc add dev eth0 ${words}`);
    await addQdisc(ours, 'eth0', qdisc);
    const before = await shownQdiscs(ours);
    t.equal(before, await shownQdiscs(twin));
    const [read, ...more] = await qdiscs(ours);
    t.ok(read);
    t.strictSame(more, []);
    t.strictSame(plain(await qdiscs(twin)), plain([read]));
    await t.rejects(addQdisc(ours, 'eth0', qdisc), { name: 'NetlinkError', code: 'EEXIST', syscall: 'RTM_NEWQDISC' });

    t.equal(await deleteQdisc(ours, 'eth0', read!), true);
    t.strictSame(await qdiscs(ours), []);
    t.equal(await deleteQdisc(ours, 'eth0', read!), false);
    const { parent } = read!;
    t.equal(await deleteQdisc(ours, 'eth0', { parent }), false);
    await addQdisc(ours, 'eth0', read!);
    t.equal(await shownQdiscs(ours), before, 'what was read makes it anew');
    t.strictSame(plain(await qdiscs(ours)), plain([read]));
    t.equal(await deleteQdisc(ours, 'eth0', { parent }), true);
  });
}

await t.test('qdiscs that tc made, read and made anew', { skip: requires('netem') }, async (t) => {
  for (const words of [
    'root handle 1: netem delay 10ms 2ms distribution normal slot 1ms 2ms packets 5 bytes 9000',
    'root handle 1: netem loss gemodel 1% 10% 70% 0.1%',
    'root handle 1: netem loss state 1% 2% 3% 4% 5%',
  ]) {
    await using netns = await pod();
    await sh(netns, `tc qdisc add dev eth0 ${words}`);
    const before = await shownQdiscs(netns);
    const [read] = await qdiscs(netns);
    t.equal(await deleteQdisc(netns, 'eth0', { parent: 'root' }), true);
    await addQdisc(netns, 'eth0', read!);
    t.equal(await shownQdiscs(netns), before, words);
  }
});

await t.test('qdiscs within classes', { skip: requires('htb') }, async (t) => {
  await using netns = await pod();
  await addQdisc(netns, 'eth0', { kind: 'htb', handle: '1:', options: { defaultClass: 0x10 } });
  await sh(netns, 'tc class add dev eth0 parent 1: classid 1:10 htb rate 8mbit');
  await addQdisc(netns, 'eth0', { kind: 'pfifo', parent: '1:10', handle: '10:', options: { limit: 5 } });
  t.hasStrict(
    (await qdiscs(netns)).map(({ kind, parent, handle }) => ({ kind, parent, handle })),
    [
      { kind: 'htb', parent: 'root', handle: '1:' },
      { kind: 'pfifo', parent: '1:10', handle: '10:' },
    ],
  );
  t.equal(await deleteQdisc(netns, 'eth0', { parent: '1:10' }), true);
  t.equal((await qdiscs(netns)).length, 1);
});

await t.test('ingress and clsact exclude one another', { skip: requires('clsact') }, async (t) => {
  for (const kind of ['ingress', 'clsact']) {
    await using netns = await pod();
    await addQdisc(netns, 'eth0', { kind });
    const before = await shownQdiscs(netns);
    for (const other of ['ingress', 'clsact'])
      await t.rejects(addQdisc(netns, 'eth0', { kind: other }), { name: 'NetlinkError', code: 'EEXIST' }, `${other} over ${kind}`);
    const other = kind === 'ingress' ? 'clsact' : 'ingress';
    t.equal(await deleteQdisc(netns, 'eth0', { parent: other, kind: other }), false, 'of that kind there is none');
    t.equal(await shownQdiscs(netns), before);
    t.equal(await deleteQdisc(netns, 'eth0', { parent: kind }), true);
  }
});

// ------------------------------------------------------------------ filters

interface Case {
  readonly name: string;
  readonly needs?: readonly Feature[];
  /** Of `tc filter add dev eth0 ingress`. */
  readonly words: string;
  /** The parent is 'ingress'. */
  readonly filter: Omit<FilterRequest, 'parent'>;
}

/** Those that are filters, not what stands for a priority or a table of hashes. */
async function filters(netns: Netns, parent = 'ingress'): Promise<readonly Filter[]> {
  return (await listFilters(netns, 'eth0', parent)).filter(({ handle }) => handle !== undefined && !/^[0-9a-f]+:$/.test(handle));
}
/** As text, and as JSON: tc(8) 6.1's of u32 is none, so it stays text. */
async function shown(netns: Netns, parent = 'ingress'): Promise<string> {
  return `${await sh(netns, `tc -d filter show dev eth0 ${parent}`)}${await sh(netns, `tc -j -d filter show dev eth0 ${parent}`)}`;
}

/** The kernel lets go of deleted filters' actions after a moment (RCU), and until then an action of the same number is shared. */
async function same(t: Test, netns: Netns, before: string, what: string): Promise<void> {
  let now = '';
  await until(async () => (now = await shown(netns)) === before);
  t.equal(now, before, what);
}

async function testFilter({ name, needs = [], words, filter }: Case): Promise<void> {
  await t.test(name, { skip: requires('clsact', ...needs) }, async (t) => {
    await using ours = await pod();
    await using twin = await pod();
    for (const netns of [ours, twin]) await addQdisc(netns, 'eth0', { kind: 'clsact' });
    const request = { parent: 'ingress', ...filter };
    await sh(twin, `tc filter add dev eth0 ingress ${words}`);
    await addFilter(ours, 'eth0', request);
    const before = await shown(ours);
    t.equal(before, await shown(twin));
    const [read, ...more] = await filters(ours);
    t.ok(read);
    t.strictSame(more, []);
    t.strictSame(plain(await filters(twin)), plain([read]));
    await t.rejects(addFilter(ours, 'eth0', { ...request, handle: read!.handle! }), { code: 'EEXIST', syscall: 'RTM_NEWTFILTER' });
    t.equal(await shown(ours), before);

    t.equal(await deleteFilter(ours, 'eth0', read!), true);
    t.strictSame(await filters(ours), []);
    t.equal(await deleteFilter(ours, 'eth0', read!), false);
    await addFilter(ours, 'eth0', read!);
    await same(t, ours, before, 'what was read makes it anew');
    t.strictSame(plain(await filters(ours)), plain([read]));

    // By its priority alone.
    t.equal(await deleteFilter(ours, 'eth0', { parent: 'ingress', priority: filter.priority!, chain: filter.chain ?? 0 }), true);
    t.strictSame(await filters(ours), []);
  });
}

const every = { selector: { flags: ['terminal'], keys: [{ mask: 0, value: 0, offset: 0 }] } };
const redirect = { kind: 'mirred', options: { action: 'redirect', direction: 'egress', dev: 'out0' } } as const;
/** Nothing but to pass on: all kernels that have classifiers have mirred. */
const toOut = 'action mirred egress redirect dev out0';
const first = { priority: 1, handle: '0x1', actions: [redirect] };
const firstU32 = { priority: 1, handle: '800::800', kind: 'u32', actions: [redirect] };
const u32Words = 'pref 1 handle 800::800 u32';

const u32Cases: readonly (readonly [words: string, filter: Omit<Case['filter'], 'kind'>, ...needs: Feature[]])[] = [
  [`protocol all ${u32Words} match u32 0 0 ${toOut}`, { options: every }],
  [
    `protocol ip ${u32Words} match ip src 10.0.0.0/8 match ip protocol 6 0xff match ip dport 80 0xffff ${toOut}`,
    {
      protocol: 'ip',
      options: {
        selector: {
          flags: ['terminal'],
          keys: [
            { mask: 0xff000000, value: 0x0a000000, offset: 12 },
            { mask: 0x00ff0000, value: 0x00060000, offset: 8 },
            { mask: 0x0000ffff, value: 0x00000050, offset: 20 },
          ],
        },
      },
    },
  ],
  [
    `protocol ipv6 ${u32Words} match ip6 dst fd00::1/128 ${toOut}`,
    {
      protocol: 'ipv6',
      options: {
        selector: {
          flags: ['terminal'],
          keys: [0xfd000000, 0, 0, 1].map((value, index) => ({ mask: 0xffffffff, value, offset: 24 + 4 * index })),
        },
      },
    },
  ],
  [
    `protocol ip ${u32Words} match tcp dst 80 0xffff ${toOut}`,
    { protocol: 'ip', options: { selector: { flags: ['terminal'], keys: [{ mask: 0xffff, value: 80, offset: 0, offsetMask: -1 }] } } },
  ],
  [
    `protocol all ${u32Words} match u32 0x02000000 0xffffffff at -8 ${toOut}`,
    { options: { selector: { flags: ['terminal'], keys: [{ mask: 0xffffffff, value: 0x02000000, offset: -8 }] } } },
  ],
  [`protocol all ${u32Words} match u32 0 0 classid 1:10`, { options: { ...every, classid: '1:10' }, actions: [] }],
  [`protocol all ${u32Words} skip_hw match u32 0 0 ${toOut}`, { options: { ...every, flags: ['skip_hw'] } }],
  [`protocol all chain 5 ${u32Words} match u32 0 0 ${toOut}`, { chain: 5, options: every }],
  [`protocol all ${u32Words} match u32 0 0 indev out0 ${toOut}`, { options: { ...every, indev: 'out0' } }],
  [
    `protocol all ${u32Words} match mark 5 0xff match u32 0 0 ${toOut}`,
    { options: { ...every, mark: { value: 5, mask: 0xff } } },
    'u32_mark',
  ],
];
for (const [words, filter, ...needs] of u32Cases)
  await testFilter({ name: `filter ${words}`, needs, words, filter: { ...firstU32, ...filter } });

const matchallCases: readonly (readonly [words: string, filter: Omit<Case['filter'], 'kind'>])[] = [
  [`protocol all pref 1 handle 0x1 matchall ${toOut}`, {}],
  [`protocol ip pref 1 handle 0x1 matchall skip_hw ${toOut}`, { protocol: 'ip', options: { flags: ['skip_hw'] } }],
  ['protocol 802.1Q pref 7 handle 0x99 matchall classid 1:10', { protocol: '802.1Q', priority: 7, handle: '0x99', options: { classid: '1:10' }, actions: [] }], // prettier-ignore
];
for (const [words, filter] of matchallCases)
  await testFilter({ name: `filter ${words}`, needs: ['matchall'], words, filter: { ...first, kind: 'matchall', ...filter } });

const mac = '02:00:00:00:00:07';
const flowerCases: readonly (readonly [words: string, protocol: string, keys: object, more?: object])[] = [
  ['', 'all', {}],
  ['', 'ip', {}],
  ['ip_proto tcp dst_port 80', 'ip', { ip_proto: 6, tcp_dst: 80 }],
  [
    `dst_mac ${mac} src_mac 02:00:00:00:00:00/ff:ff:ff:00:00:00 ip_proto udp src_ip 10.0.0.0/8 dst_ip 10.1.0.1 src_port 53 dst_port 80/0xff00`,
    'ip',
    {
      eth_dst: mac,
      eth_src: '02:00:00:00:00:00',
      eth_src_mask: 'ff:ff:ff:00:00:00',
      ip_proto: 17,
      ipv4_src: '10.0.0.0',
      ipv4_src_mask: '255.0.0.0',
      ipv4_dst: '10.1.0.1',
      udp_src: 53,
      udp_dst: 80,
      udp_dst_mask: 0xff00,
    },
  ],
  [
    'ip_proto tcp src_port 1000-2000 dst_port 80-90',
    'ip',
    { ip_proto: 6, port_src_min: 1000, port_src_max: 2000, port_dst_min: 80, port_dst_max: 90 },
  ],
  [
    'ip_proto tcp tcp_flags 0x2/0x7 ip_tos 0x10/0xfc ip_ttl 64 ip_flags frag/nofirstfrag',
    'ip',
    { ip_proto: 6, tcp_flags: 2, tcp_flags_mask: 7, ip_tos: 0x10, ip_tos_mask: 0xfc, ip_ttl: 64, flags: 1, flags_mask: 3 },
  ],
  ['ip_proto sctp src_port 5 dst_port 6', 'ip', { ip_proto: 132, sctp_src: 5, sctp_dst: 6 }],
  ['ip_proto icmp type 8 code 0', 'ip', { ip_proto: 1, icmpv4_type: 8, icmpv4_code: 0 }],
  ['ip_proto icmpv6 type 135 src_ip fd00::/16 dst_ip fd01::1', 'ipv6', { ip_proto: 58, icmpv6_type: 135, ipv6_src: 'fd00::', ipv6_src_mask: 'ffff::', ipv6_dst: 'fd01::1' }], // prettier-ignore
  ['ip_proto udp dst_port 546', 'ipv6', { ip_proto: 17, udp_dst: 546 }],
  [
    `arp_op request arp_sip 10.0.0.0/8 arp_tip 10.0.0.1 arp_sha ${mac} arp_tha 00:00:00:00:00:00/01:00:00:00:00:00`,
    'arp',
    {
      arp_op: 1,
      arp_sip: '10.0.0.0',
      arp_sip_mask: '255.0.0.0',
      arp_tip: '10.0.0.1',
      arp_sha: mac,
      arp_tha: '00:00:00:00:00:00',
      arp_tha_mask: '01:00:00:00:00:00',
    },
  ],
  ['vlan_id 7 vlan_prio 3', '802.1Q', { vlan_id: 7, vlan_prio: 3 }],
  ['vlan_id 7 vlan_ethtype ip dst_ip 10.0.0.1 ip_proto tcp dst_port 22', '802.1Q', { vlan_id: 7, vlan_eth_type: 0x800, ipv4_dst: '10.0.0.1', ip_proto: 6, tcp_dst: 22 }], // prettier-ignore
  [
    'vlan_id 7 vlan_ethtype 802.1q cvlan_id 9 cvlan_prio 2 cvlan_ethtype ipv6',
    '802.1ad',
    { vlan_id: 7, vlan_eth_type: 0x8100, cvlan_id: 9, cvlan_prio: 2, cvlan_eth_type: 0x86dd },
  ],
  ['mpls_label 99 mpls_ttl 5 mpls_bos 1 mpls_tc 2', 'mpls_uc', { mpls_label: 99, mpls_ttl: 5, mpls_bos: 1, mpls_tc: 2 }],
  [
    'enc_key_id 77 enc_src_ip 10.0.0.1 enc_dst_ip 10.0.0.0/24 enc_dst_port 4789 enc_tos 4 enc_ttl 9',
    'ip',
    {
      enc_key_id: 77,
      enc_ipv4_src: '10.0.0.1',
      enc_ipv4_dst: '10.0.0.0',
      enc_ipv4_dst_mask: '255.255.255.0',
      enc_udp_dst_port: 4789,
      enc_ip_tos: 4,
      enc_ip_ttl: 9,
    },
  ],
  ['classid 1:10', 'all', {}, { classid: '1:10' }],
  ['indev eth0', 'all', {}, { indev: 'eth0' }],
  ['skip_hw', 'all', {}, { flags: ['skip_hw'] }],
];
for (const [words, protocol, keys, more] of flowerCases) {
  await testFilter({
    name: `filter flower ${protocol} ${words}`,
    needs: ['flower'],
    words: `protocol ${protocol} pref 1 handle 0x1 flower ${words} ${toOut}`,
    filter: { ...first, protocol, kind: 'flower', options: { keys, ...more } },
  });
}

await t.test('flower: what tc made, read and made anew', { skip: requires('clsact', 'flower') }, async (t) => {
  for (const words of [
    'protocol ip flower ct_state +trk+est ct_zone 5 ct_mark 7/0xff ct_label 0123456789abcdef0123456789abcdef',
    'protocol ip flower enc_dst_ip fd00::1 enc_key_id 5 geneve_opts 0102:80:00880022/ffff:ff:ffffffff',
    'protocol ip flower enc_dst_ip 10.0.0.1 vxlan_opts 5/0xff',
    'protocol mpls_uc flower mpls lse depth 1 label 100 ttl 9 lse depth 2 label 7 bos 1',
    'protocol all flower num_of_vlans 2',
    'protocol ppp_ses flower pppoe_sid 77 ppp_proto ip',
  ]) {
    await using netns = await pod();
    await addQdisc(netns, 'eth0', { kind: 'clsact' });
    await sh(netns, `tc filter add dev eth0 ingress pref 1 handle 0x5 ${words} ${toOut}`);
    const before = await shown(netns);
    const [read] = await filters(netns);
    t.equal(read?.options instanceof Uint8Array ? undefined : read?.options?.unknown, undefined);
    t.equal(await deleteFilter(netns, 'eth0', { parent: 'ingress', priority: 1 }), true);
    await addFilter(netns, 'eth0', read!);
    await same(t, netns, before, words);
  }
});

await t.test('flower: the same keys twice', { skip: requires('clsact', 'flower') }, async (t) => {
  await using netns = await pod();
  await addQdisc(netns, 'eth0', { kind: 'clsact' });
  const filter = { parent: 'ingress', protocol: 'ip', priority: 1, kind: 'flower', options: { keys: { ipv4_dst: '10.0.0.1' } } };
  await addFilter(netns, 'eth0', filter);
  await t.rejects(addFilter(netns, 'eth0', filter), { name: 'NetlinkError', code: 'EEXIST' }, 'whatever handle the kernel would choose');
  await addFilter(netns, 'eth0', { ...filter, options: { keys: { ipv4_dst: '10.0.0.2' } } });
  t.strictSame(
    (await filters(netns)).map(({ handle }) => handle),
    ['0x1', '0x2'],
  );
  t.equal(await deleteFilter(netns, 'eth0', { parent: 'ingress', protocol: 'ip', priority: 1, handle: '0x1', kind: 'flower' }), true);
  t.hasStrict(await filters(netns), [{ handle: '0x2', options: { keys: { eth_type: 0x800, ipv4_dst: '10.0.0.2' } } }]);
});

/** A classic program as struct sock_filter[]. */
function program(...instructions: readonly (readonly [code: number, jt: number, jf: number, k: number])[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(8 * instructions.length));
  instructions.forEach(([code, jt, jf, k], index) => {
    view.setUint16(8 * index, code, new Uint8Array(new Uint16Array([1]).buffer)[0] === 1);
    view.setUint8(8 * index + 2, jt);
    view.setUint8(8 * index + 3, jf);
    view.setUint32(8 * index + 4, k, new Uint8Array(new Uint16Array([1]).buffer)[0] === 1);
  });
  return new Uint8Array(view.buffer);
}
const all = program([6, 0, 0, 0xffffffff]);
const bpfCases: readonly (readonly [words: string, filter: Omit<Case['filter'], 'kind'>])[] = [
  [`bytecode '1,6 0 0 4294967295,' ${toOut}`, { options: { operations: all } }],
  [`bytecode '1,6 0 0 4294967295,' classid 1:10`, { options: { operations: all, classid: '1:10' }, actions: [] }],
  [`bytecode '1,6 0 0 4294967295,' skip_hw ${toOut}`, { options: { operations: all, flags: ['skip_hw'] } }],
  [
    `bytecode '4,40 0 0 12,21 0 1 2048,6 0 0 65535,6 0 0 0,' ${toOut}`,
    { options: { operations: program([40, 0, 0, 12], [21, 0, 1, 2048], [6, 0, 0, 65535], [6, 0, 0, 0]) } },
  ],
];
for (const [words, filter] of bpfCases) {
  await testFilter({
    name: `filter bpf ${words}`,
    needs: ['cls_bpf'],
    words: `protocol all pref 1 handle 0x1 bpf ${words}`,
    filter: { ...first, kind: 'bpf', ...filter },
  });
}

// ------------------------------------------------------------------ actions

type Actions = NonNullable<FilterRequest['actions']>;
const mirred = (action: 'redirect' | 'mirror', direction: 'egress' | 'ingress'): Actions[number] => ({
  kind: 'mirred',
  options: { action, direction, dev: 'out0' },
});
const pedit = (...keys: readonly object[]): Actions => [{ kind: 'pedit', options: { keys: keys as never } }];
const cookie = Uint8Array.from([0xde, 0xad, 0xbe, 0xef]);

const actionCases: readonly (readonly [words: string, actions: Actions, ...needs: Feature[]])[] = [
  ['mirred egress redirect dev out0', [mirred('redirect', 'egress')]],
  ['mirred egress mirror dev out0', [mirred('mirror', 'egress')]],
  ['mirred ingress redirect dev out0', [mirred('redirect', 'ingress')]],
  ['mirred ingress mirror dev out0', [mirred('mirror', 'ingress')]],
  ['mirred egress mirror dev out0 continue', [{ ...mirred('mirror', 'egress'), control: 'continue' }]],
  [
    'mirred egress mirror dev out0 action mirred egress redirect dev eth0',
    [mirred('mirror', 'egress'), { kind: 'mirred', options: { action: 'redirect', direction: 'egress', dev: 'eth0' } }],
  ],
  ['mirred egress redirect dev out0 index 42 cookie deadbeef', [{ ...redirect, index: 42, cookie }]],
  [
    'mirred egress redirect dev out0 cookie 000102030405060708090a0b0c0d0e0f',
    [{ ...redirect, cookie: Uint8Array.from({ length: 16 }, (_, index) => index) }],
  ],
  ['mirred egress redirect dev out0 hw_stats disabled', [{ ...redirect, hardwareStatistics: { value: 0, selector: 3 } }]],
  ['mirred egress redirect dev out0 no_percpu', [{ ...redirect, flags: { value: 1, selector: 1 } }]],

  ...(['drop', 'ok', 'continue', 'reclassify', 'pipe', 'goto chain 5', 'trap'] as const).map(
    (control) => [`gact ${control}`, [{ kind: 'gact', control }], 'gact'] as const,
  ),
  ['gact drop random netrand ok 10', [{ kind: 'gact', control: 'drop', options: { chance: { type: 'random', value: 10, control: 'ok' } } }], 'gact'], // prettier-ignore
  ['gact pipe random determ drop 5', [{ kind: 'gact', control: 'pipe', options: { chance: { type: 'deterministic', value: 5, control: 'drop' } } }], 'gact'], // prettier-ignore
  [
    'gact jump 1 action gact drop action gact ok cookie deadbeef',
    [
      { kind: 'gact', control: 'jump 1' },
      { kind: 'gact', control: 'drop' },
      { kind: 'gact', control: 'ok', cookie },
    ],
    'gact',
  ],

  ['skbedit mark 7', [{ kind: 'skbedit', options: { mark: 7 } }], 'skbedit'],
  ['skbedit mark 7/0xff', [{ kind: 'skbedit', options: { mark: 7, markMask: 0xff } }], 'skbedit'],
  ['skbedit priority 1:10', [{ kind: 'skbedit', options: { priority: '1:10' } }], 'skbedit'],
  ['skbedit ptype host', [{ kind: 'skbedit', options: { packetType: 0 } }], 'skbedit'],
  ['skbedit inheritdsfield', [{ kind: 'skbedit', options: { flags: 0x20n } }], 'skbedit'],
  [
    'skbedit queue_mapping 0 priority 1:10 mark 0xffffffff ok cookie deadbeef',
    [{ kind: 'skbedit', control: 'ok', cookie, options: { queue: 0, priority: '1:10', mark: 0xffffffff } }],
    'skbedit',
  ],

  [
    'pedit ex munge eth dst set 02:00:00:00:00:07 pipe',
    pedit({ header: 'eth', mask: 0, value: 0x02000000, offset: 0 }, { header: 'eth', mask: 0xffff, value: 0x00070000, offset: 4 }),
    'pedit',
  ],
  [
    'pedit ex munge eth src set 02:00:00:00:00:07 pipe',
    pedit({ header: 'eth', mask: 0xffff0000, value: 0x0200, offset: 4 }, { header: 'eth', mask: 0, value: 7, offset: 8 }),
    'pedit',
  ],
  ['pedit ex munge ip dst set 10.9.0.1 pipe', pedit({ header: 'ip4', mask: 0, value: 0x0a090001, offset: 16 }), 'pedit'],
  [
    'pedit ex munge ip ttl add 0xff pipe',
    pedit({ header: 'ip4', command: 'add', mask: 0x00ffffff, value: 0xff000000, offset: 8 }),
    'pedit',
  ],
  [
    'pedit ex munge ip6 dst set fd00::1 pipe',
    pedit(...[0xfd000000, 0, 0, 1].map((value, index) => ({ header: 'ip6', mask: 0, value, offset: 24 + 4 * index }))),
    'pedit',
  ],
  ['pedit ex munge tcp dport set 8080 pipe', pedit({ header: 'tcp', mask: 0xffff0000, value: 8080, offset: 0 }), 'pedit'],
  ['pedit ex munge udp sport add 1 pipe', pedit({ header: 'udp', command: 'add', mask: 0xffff, value: 0x10000, offset: 0 }), 'pedit'],
  [
    'pedit ex munge ip ttl set 9 munge tcp sport set 7 pipe action mirred egress redirect dev out0',
    [
      { kind: 'pedit', options: { keys: [{ header: 'ip4', mask: 0x00ffffff, value: 0x09000000, offset: 8 }, { header: 'tcp', mask: 0xffff, value: 0x70000, offset: 0 }] } }, // prettier-ignore
      redirect,
    ],
    'pedit',
  ],
];
for (const [words, actions, ...needs] of actionCases) {
  await testFilter({
    name: `action ${words}`,
    needs,
    words: `protocol ip ${u32Words} match u32 0 0 action ${words}`,
    filter: { ...firstU32, protocol: 'ip', options: every, actions },
  });
}

await t.test('actions that tc made, read and made anew', { skip: requires('clsact', 'pedit', 'act_more') }, async (t) => {
  for (const words of [
    'pedit munge offset 0 u16 set 0x1234', // without kinds of headers
    'pedit munge offset -14 u16 set 0x1234 munge ip ttl set 9',
    'csum ip4h and tcp',
    'nat ingress 10.0.0.1/32 10.0.0.2',
    'vlan push id 7 priority 3 protocol 802.1Q',
    'vlan pop pipe action csum ip4h',
    'tunnel_key set src_ip 10.0.0.1 dst_ip 10.0.0.2 id 5 dst_port 4789',
    'police rate 8mbit burst 10000 conform-exceed drop/ok',
    'sample rate 100 group 5',
    'skbmod set dmac 02:00:00:00:00:07',
  ]) {
    await using netns = await pod();
    await addQdisc(netns, 'eth0', { kind: 'clsact' });
    await sh(netns, `tc filter add dev eth0 ingress protocol ip ${u32Words} match u32 0 0 action ${words}`);
    const before = await shown(netns);
    const [read] = await filters(netns);
    t.equal(await deleteFilter(netns, 'eth0', { parent: 'ingress', priority: 1 }), true);
    await addFilter(netns, 'eth0', read!);
    await same(t, netns, before, words);
  }
});

await t.test('pedit: an offset that is read from the packet', { skip: requires('clsact', 'pedit') }, async (t) => {
  await using netns = await pod();
  await addQdisc(netns, 'eth0', { kind: 'clsact' });
  const [action] = pedit({ header: 'network', command: 'set', mask: 0xffffff, value: 0x12000000, offset: 4, at: 0, offsetMask: 0xf, shift: 2 }); // prettier-ignore
  const filter = { ...firstU32, parent: 'ingress', options: every, actions: [action!] };
  await addFilter(netns, 'eth0', filter);
  const before = await shown(netns);
  t.match(before, /at ipv4\+4|at 4|\+4:/);
  const [read] = await filters(netns);
  t.strictSame(at(read, 'actions.0.options.keys'), [{ header: 'network', command: 'set', mask: 0xffffff, value: 0x12000000, offset: 4, offsetMask: 0xf, shift: 2 }]); // prettier-ignore
  t.equal(await deleteFilter(netns, 'eth0', { parent: 'ingress', priority: 1 }), true);
  await addFilter(netns, 'eth0', read!);
  await same(t, netns, before, 'made anew');
});

// ------------------------------------------------------------------ places

await t.test('where filters hang: ingress of both qdiscs, egress of clsact', { skip: requires('clsact') }, async (t) => {
  const filter = { ...firstU32, options: every };
  for (const kind of ['ingress', 'clsact']) {
    await using netns = await pod();
    t.strictSame(await listFilters(netns, 'eth0'), [], 'no qdisc, no filters');
    t.equal(await deleteFilter(netns, 'eth0', { parent: 'ingress', priority: 1 }), false);
    await addQdisc(netns, 'eth0', { kind });
    t.strictSame(await listFilters(netns, 'eth0'), []);
    t.equal(await deleteFilter(netns, 'eth0', { parent: 'ingress', priority: 1 }), false);
    await addFilter(netns, 'eth0', { ...filter, parent: 'ingress' });
    t.hasStrict(await filters(netns), [{ parent: 'ffff:fff2', protocol: 'all', priority: 1, chain: 0, handle: '800::800', kind: 'u32' }]);
    await t.rejects(addFilter(netns, 'eth0', { ...filter, parent: 'ingress' }), { code: 'EEXIST' });
    if (kind === 'ingress') {
      t.hasStrict(await filters(netns, 'ffff:'), [{ handle: '800::800' }]);
    } else {
      await t.rejects(addFilter(netns, 'eth0', { ...filter, parent: 'ffff:' }), { code: 'EINVAL' }, 'not a hook of clsact');
      t.strictSame(await filters(netns, 'egress'), []);
      // u32 numbers its root tables through the whole qdisc: 800: is ingress's, by now.
      await addFilter(netns, 'eth0', { ...filter, parent: 'egress', handle: '::800' });
      await t.rejects(addFilter(netns, 'eth0', { ...filter, parent: 'egress', handle: '::800' }), { code: 'ENOSPC' });
      await t.rejects(addFilter(netns, 'eth0', { ...filter, parent: 'egress', handle: '800::800' }), { code: 'EEXIST' });
      t.hasStrict(await filters(netns, 'egress'), [{ parent: 'ffff:fff3', handle: '801::800' }]);
      t.equal(await deleteFilter(netns, 'eth0', { parent: 'egress' }), true);
      t.strictSame(await filters(netns, 'egress'), []);
    }
    t.equal((await filters(netns)).length, 1);
    for (const which of [
      { priority: 2 },
      { priority: 1, protocol: 'ip' },
      { priority: 1, protocol: 'all', handle: '800::801', kind: 'u32' },
      { priority: 1, chain: 3 },
    ])
      // prettier-ignore
      t.equal(await deleteFilter(netns, 'eth0', { parent: 'ingress', ...which }), false, JSON.stringify(which));
    t.equal((await filters(netns)).length, 1);
    t.equal(await deleteFilter(netns, 'eth0', { parent: 'ingress' }), true);
    t.strictSame(await filters(netns), []);
    // With its qdisc everything goes.
    await addFilter(netns, 'eth0', { ...filter, parent: 'ingress' });
    t.equal(await deleteQdisc(netns, 'eth0', { parent: kind }), true);
    t.strictSame(await filters(netns), []);
  }
});

await t.test('filters of a class tree, with tables of hashes', { skip: requires('htb') }, async (t) => {
  await using netns = await pod();
  await addQdisc(netns, 'eth0', { kind: 'htb', handle: '1:', options: {} });
  for (const words of [
    'parent 1: protocol ip pref 5 handle 2: u32 divisor 256',
    'parent 1: protocol ip pref 5 handle 800::10 u32 ht 800:: match ip protocol 6 0xff link 2: offset at 0 mask 0x0f00 shift 6 hashkey mask 0x000000ff at 16',
    'parent 1: protocol ip pref 5 handle 2:a:1 u32 ht 2:a: match ip dst 10.0.0.10/32 classid 1:10',
    'parent 1: protocol ip pref 5 handle 2:b:7 u32 ht 2:b: match tcp dst 80 0xffff classid 1:11',
  ])
    await sh(netns, `tc filter add dev eth0 ${words}`);
  const show = async (): Promise<string> =>
    (await sh(netns, 'tc -d filter show dev eth0 parent 1:')).split('\n').filter(Boolean).sort().join('\n');
  const before = await show();
  const read = await listFilters(netns, 'eth0', '1:');
  const places = (of: readonly Filter[]): unknown => of.map(({ handle, options }) => plain({ handle, options }));
  t.strictSame(places(await listFilters(netns, 'eth0', 'root')), places(read));
  t.equal(await deleteFilter(netns, 'eth0', { parent: '1:', priority: 5 }), true);
  t.strictSame(await listFilters(netns, 'eth0', '1:'), []);
  // First the tables; the kernel makes the root one.
  const tables = read.filter(({ handle }) => handle === '2:');
  t.equal(tables.length, 1);
  for (const filter of [...tables, ...read.filter(({ handle }) => handle?.split(':').length === 3)]) await addFilter(netns, 'eth0', filter);
  t.equal(await show(), before);
});

await t.test('what the kernel lacks is named', { skip: requires('clsact') }, async (t) => {
  const onAll = (kind: string, options: object): FilterRequest => ({
    ...firstU32,
    parent: 'ingress',
    options: every,
    actions: [{ kind, options }],
  });
  const qdisc =
    (kind: string): ((netns: Netns) => Promise<void>) =>
    (netns) =>
      addQdisc(netns, 'eth0', { kind, handle: '1:' });
  const filter =
    (request: FilterRequest): ((netns: Netns) => Promise<void>) =>
    (netns) =>
      addFilter(netns, 'eth0', request);
  const attempts: readonly (readonly [Feature, feature: string, config: string, (netns: Netns) => Promise<void>])[] = [
    ['fq_codel', 'qdisc fq_codel', 'CONFIG_NET_SCH_FQ_CODEL', qdisc('fq_codel')],
    ['prio', 'qdisc prio', 'CONFIG_NET_SCH_PRIO', (netns) => addQdisc(netns, 'eth0', { kind: 'prio', options: { bands: 3, priomap: [] } })],
    ['matchall', 'filter matchall', 'CONFIG_NET_CLS_MATCHALL', filter({ parent: 'ingress', priority: 1, kind: 'matchall' })],
    ['flower', 'filter flower', 'CONFIG_NET_CLS_FLOWER', filter({ parent: 'ingress', priority: 1, kind: 'flower', options: {} })],
    ['gact', 'action gact', 'CONFIG_NET_ACT_GACT', filter(onAll('gact', {}))],
    ['skbedit', 'action skbedit', 'CONFIG_NET_ACT_SKBEDIT', filter(onAll('skbedit', { mark: 1 }))],
    ['pedit', 'action pedit', 'CONFIG_NET_ACT_PEDIT', filter(onAll('pedit', { keys: [{ mask: 0, value: 0, offset: 0 }] }))],
  ];
  for (const [needs, feature, config, attempt] of attempts) {
    await using netns = await pod();
    await addQdisc(netns, 'eth0', { kind: 'clsact' });
    const error = await attempt(netns).then(
      () => undefined,
      (error: unknown) => error,
    );
    if (requires(needs) === false) t.equal(error, undefined, feature);
    else t.match(error, { name: 'UnsupportedError', code: 'ERR_UNSUPPORTED', feature, config, cause: { code: 'ENOENT' } }, feature);
  }
  await using netns = await pod();
  await addQdisc(netns, 'eth0', { kind: 'clsact' });
  const nosuch = { kind: 'nosuch', options: new Uint8Array() };
  const request = { ...firstU32, parent: 'ingress', options: every };
  await t.rejects(addFilter(netns, 'eth0', { ...request, actions: [nosuch] }), {
    name: 'UnsupportedError',
    feature: 'action nosuch',
    config: 'CONFIG_NET_ACT_NOSUCH',
  });
  await t.rejects(addFilter(netns, 'eth0', { ...request, actions: [mirred('mirror', 'egress'), mirred('mirror', 'egress'), nosuch] }), {
    name: 'UnsupportedError',
    message: /lacks one of the actions 'mirred', 'nosuch': it needs CONFIG_NET_ACT_MIRRED, CONFIG_NET_ACT_NOSUCH, or the module/,
    feature: 'action mirred, nosuch',
    config: 'CONFIG_NET_ACT_MIRRED, CONFIG_NET_ACT_NOSUCH',
  });
});

// ------------------------------------------------------------------ frames

const GUEST = '02:00:00:00:00:22';
/** Of replies: under an emulated processor they take their time. */
const PATIENCE = 5000;
const replies = async (from: Netns, timeout = PATIENCE): Promise<number> => (await ping(from, '10.0.0.2', { timeout })).received;

/** A client on one side of a veth; on the other a TAP with a guest behind it, and nothing that joins them. */
async function scene(): Promise<{ client: Netns; pod: Netns; unplug: () => Promise<void> } & AsyncDisposable> {
  const lab = await createLab({ nodes: { client: {}, pod: {} }, links: [{ client: '10.0.0.1/24', pod: '' }] });
  const tap = await createTap(lab.pod, 'tap0', { ifindex: 200 });
  const guest = await runGuest(tap, { mac: GUEST, addresses: ['10.0.0.2/24'] });
  return {
    client: lab.client,
    pod: lab.pod,
    async unplug() {
      await guest.close();
      await tap.close();
      await deleteLink(lab.pod, 'tap0');
    },
    async [Symbol.asyncDispose]() {
      await guest.close();
      await tap.close();
      await lab[Symbol.asyncDispose]();
    },
  };
}

const redirectTo = (dev: string): Actions[number] => ({ kind: 'mirred', options: { action: 'redirect', direction: 'egress', dev } });
const whole: readonly (readonly [name: string, needs: readonly Feature[], filters: readonly Omit<FilterRequest, 'parent'>[]])[] = [
  ['u32', [], [{ priority: 1, handle: '800::800', kind: 'u32', options: every }]],
  ['bpf', ['cls_bpf'], [{ priority: 1, handle: '0x1', kind: 'bpf', options: { operations: all } }]],
  ['matchall', ['matchall'], [{ priority: 1, handle: '0x1', kind: 'matchall' }]],
  ['flower', ['flower'], [{ priority: 1, handle: '0x1', kind: 'flower' }]],
  [
    'flower by keys',
    ['flower'],
    [
      { priority: 1, protocol: 'arp', handle: '0x1', kind: 'flower', options: { keys: { arp_op: 0, arp_op_mask: 0xfc } } },
      { priority: 2, protocol: 'ip', handle: '0x1', kind: 'flower', options: { keys: { ip_proto: 1, ipv4_src: '10.0.0.0', ipv4_src_mask: '255.255.255.0' } } }, // prettier-ignore
    ],
  ],
];
for (const [name, needs, filters] of whole) {
  for (const kind of ['ingress', 'clsact'] as const) {
    await t.test(`frames: ${name} under ${kind}, both ways`, { skip: requires('tun', 'clsact', ...needs) }, async (t) => {
      await using lab = await scene();
      t.equal(await replies(lab.client, 50), 0);
      for (const [from, to] of [
        ['eth0', 'tap0'],
        ['tap0', 'eth0'],
      ] as const) {
        await addQdisc(lab.pod, from, { kind });
        for (const filter of filters) await addFilter(lab.pod, from, { ...filter, parent: 'ingress', actions: [redirectTo(to)] });
      }
      t.equal(await replies(lab.client), 1);
      const [seen] = (await listFilters(lab.pod, 'eth0')).filter(({ actions }) => actions !== undefined);
      t.ok(seen!.actions![0]!.statistics!.packets > 0n);
      // Once the TAP is gone the filter is still there, and swallows what comes.
      await lab.unplug();
      const left = (await listFilters(lab.pod, 'eth0')).find(({ actions }) => actions !== undefined);
      t.equal(at(left, 'actions.0.options.dev'), 0);
    });
  }
}

/** The datapath that stands in the tests to come: all frames, at priority 10. */
async function join(pod: Netns): Promise<void> {
  for (const [from, to] of [
    ['eth0', 'tap0'],
    ['tap0', 'eth0'],
  ] as const) {
    await addQdisc(pod, from, { kind: 'clsact' });
    await addFilter(pod, from, { parent: 'ingress', priority: 10, handle: '800::800', kind: 'u32', options: every, actions: [redirectTo(to)] }); // prettier-ignore
  }
}

await t.test('frames: a drop by gact, before the redirect', { skip: requires('tun', 'clsact', 'gact') }, async (t) => {
  await using lab = await scene();
  await join(lab.pod);
  t.equal(await replies(lab.client), 1);
  const drop = {
    parent: 'ingress',
    protocol: 'ip',
    priority: 1,
    handle: '::800',
    kind: 'u32',
    options: { selector: { flags: ['terminal'], keys: [{ mask: 0x00ff0000, value: 0x00010000, offset: 8 }] } },
    actions: [{ kind: 'gact', control: 'drop' }],
  };
  await addFilter(lab.pod, 'eth0', drop);
  t.equal(await replies(lab.client, 300), 0);
  t.equal(await deleteFilter(lab.pod, 'eth0', { parent: 'ingress', priority: 1 }), true);
  t.equal(await replies(lab.client), 1);
  // 'continue' goes on to the next filter, 'ok' past all of them.
  await addFilter(lab.pod, 'eth0', { ...drop, actions: [{ kind: 'gact', control: 'continue' }] });
  t.equal(await replies(lab.client), 1);
  t.equal(await deleteFilter(lab.pod, 'eth0', { parent: 'ingress', priority: 1 }), true);
  await addFilter(lab.pod, 'eth0', { ...drop, actions: [{ kind: 'gact', control: 'ok' }] });
  t.equal(await replies(lab.client, 300), 0);
});

await t.test(
  'frames: marked by skbedit, found by the mark',
  { skip: requires('tun', 'clsact', 'skbedit', 'gact', 'u32_mark') },
  async (t) => {
    await using lab = await scene();
    await join(lab.pod);
    const marked = (priority: number, value: number): FilterRequest => ({
      parent: 'ingress',
      priority,
      handle: '::800',
      kind: 'u32',
      options: { ...every, mark: { value, mask: 0xff } },
      actions: [{ kind: 'gact', control: 'drop' }],
    });
    await addFilter(lab.pod, 'eth0', marked(5, 7));
    t.equal(await replies(lab.client), 1);
    const edit = { kind: 'skbedit', control: 'continue', options: { mark: 0x107 } };
    await addFilter(lab.pod, 'eth0', { parent: 'ingress', priority: 1, handle: '::800', kind: 'u32', options: every, actions: [edit] });
    t.equal(await replies(lab.client, 300), 0);
  },
);

await t.test('frames: MACs and addresses rewritten by pedit', { skip: requires('tun', 'clsact', 'pedit') }, async (t) => {
  await using lab = await scene();
  // The client takes the guest for another: its frames go to a MAC that nobody has.
  await join(lab.pod);
  await setNeighbor(lab.client, 'eth0', { address: '10.0.0.2', mac: '02:00:00:00:00:99' });
  t.equal(await replies(lab.client, 300), 0);
  for (const from of ['eth0', 'tap0']) await deleteFilter(lab.pod, from, { parent: 'ingress' });
  const way = (from: string, to: string, protocol: string, ...keys: readonly object[]): Promise<void> =>
    addFilter(lab.pod, from, { parent: 'ingress', protocol, priority: 1, handle: '800::800', kind: 'u32', options: every, actions: [...pedit(...keys), redirectTo(to)] }); // prettier-ignore
  const destination = [
    { header: 'eth', mask: 0, value: 0x02000000, offset: 0 },
    { header: 'eth', mask: 0xffff, value: 0x00220000, offset: 4 },
  ];
  await way('eth0', 'tap0', 'all', ...destination);
  await way('tap0', 'eth0', 'all', { header: 'eth', mask: 0, value: 0x99, offset: 8 });
  await using spy = await openPacketSocket(lab.client, 'eth0', { outgoing: false });
  t.equal(await replies(lab.client), 1);
  let source = '';
  for await (const frames of spy.frames()) {
    const frame = frames.find((frame) => frame[12] === 8 && frame[13] === 0);
    if (frame === undefined) continue;
    source = Buffer.from(frame.subarray(6, 12)).toString('hex');
    break;
  }
  t.equal(source, '020000000099');
});
