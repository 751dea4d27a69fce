// Qdiscs, filters, actions. The samples are a kernel's (6.18).
import { deepStrictEqual } from 'node:assert';
import fc from 'fast-check';
import t from 'tap';
import { type Action, actionKinds } from '../../lib/wire/action.js';
import { formatControl, parseControl } from '../../lib/wire/control.js';
import {
  formatFilterParent,
  formatHandle,
  formatU32Handle,
  parseFilterParent,
  parseHandle,
  parseU32Handle,
} from '../../lib/wire/handle.js';
import { NLM_F_DUMP } from '../../lib/wire/message.js';
import {
  type Filter,
  type FilterRequest,
  type Qdisc,
  type QdiscRequest,
  RTM_NEWQDISC,
  RTM_NEWTFILTER,
  TCM_IFINDEX_MAGIC_BLOCK,
  decodeFilter,
  decodeQdisc,
  encodeFilter,
  encodeFilterDump,
  encodeQdisc,
  encodeQdiscDump,
  filterKinds,
  qdiscKinds,
} from '../../lib/wire/tc.js';
import { hex, one, losses } from './messages.js';

const samples = {
  // tc qdisc add dev eth0 root tbf rate 8mbit burst 10000 limit 20000
  tbf: 'bc000000240002000000000000000000000000000300000000000380ffffffff0300000008000100746266002c00020028000100000100000000000040420f00000000000000000000000000204e00005a6202000000000005000c00000000003000070014000100000000000000000000000000000000001800030000000000000000000000000000000000000000002c00030000000000000000000000000000000000000000000000000000000000000000000000000000000000',
  // tc qdisc add dev eth0 ingress
  ingress:
    '9800000024000200000000000000000000000000030000000000fffff1ffffff010000000c000100696e6772657373000400020005000c00000000003000070014000100000000000000000000000000000000001800030000000000000000000000000000000000000000002c00030000000000000000000000000000000000000000000000000000000000000000000000000000000000',
  // tc filter add dev eth0 parent ffff: protocol all prio 10 handle 800::800 u32 match u32 0x02000000 0xffffffff at -8 action mirred egress redirect dev tap0
  u32: '140100002c00020000000000000000000000000003000000000800800000ffff00030a00080001007533320008000b0000000000e00002002400050001000100000000000000000000000000ffffffff02000000f8ffffff00000000080002000000008008000b0008000000a8000700a40001000b0001006d69727265640000440004001400010000000000000000000000000000000000140007000000000000000000000000000000000018000300000000000000000000000000000000000000000008000a0000000000480002002000020001000000000000000400000001000000010000000100000002000000240001003900000000000000390000000000000000000000000000000000000000000000',
};
const nothing = { bytes: 0n, packets: 0n, qlen: 0, backlog: 0, drops: 0, requeues: 0, overlimits: 0 };

await t.test('what a kernel sends', async (t) => {
  t.strictSame(one(samples.tbf, decodeQdisc), {
    object: 'qdisc',
    ifindex: 3,
    kind: 'tbf',
    handle: '8003:',
    parent: 'root',
    options: { rate: 1e6, limit: 20000, buffer: 156250 },
    statistics: nothing,
    references: 3,
  });
  t.strictSame(one(samples.ingress, decodeQdisc), {
    object: 'qdisc',
    ifindex: 3,
    kind: 'ingress',
    handle: 'ffff:',
    parent: 'ingress',
    statistics: nothing,
    references: 1,
  });
  t.strictSame(one(samples.u32, decodeFilter), {
    object: 'filter',
    ifindex: 3,
    parent: 'ffff:',
    protocol: 'all',
    priority: 10,
    handle: '800::800',
    chain: 0,
    kind: 'u32',
    options: {
      selector: { flags: ['terminal'], keys: [{ mask: 0xffffffff, value: 0x02000000, offset: -8 }] },
      hash: '800:',
      flags: ['not_in_hw'],
    },
    actions: [
      {
        kind: 'mirred',
        index: 1,
        control: 'stolen',
        options: { action: 'redirect', direction: 'egress', dev: 2 },
        statistics: nothing,
        references: 1,
        bindings: 1,
        times: { install: 57n, lastuse: 57n, expires: 0n, firstuse: 0n },
        inHardware: 0,
      },
    ],
  });
});

await t.test('handles and controls', async (t) => {
  const handles = {
    root: 0xffffffff,
    none: 0,
    '1:': 0x10000,
    '1:10': 0x10010,
    'ffff:': 0xffff0000,
    'ffff:fff1': 0xfffffff1,
    'ffff:fff2': 0xfffffff2,
    ':5': 5,
  };
  for (const [text, number] of Object.entries(handles)) {
    t.equal(formatHandle(number), text);
    t.equal(parseHandle(text), number);
  }
  t.equal(parseHandle('ingress'), 0xfffffff1);
  t.equal(parseHandle('clsact'), 0xfffffff1);
  t.equal(parseFilterParent('ingress'), 0xfffffff2);
  t.equal(parseFilterParent('egress'), 0xfffffff3);
  const parents = { root: 0, 'ffff:ffff': 0xffffffff, 'ffff:fff2': 0xfffffff2, '1:10': 0x10010 };
  for (const [text, number] of Object.entries(parents)) {
    t.equal(formatFilterParent(number), text);
    t.equal(parseFilterParent(text), number);
  }
  for (const text of ['', '1', 'x:', '12345:', '1:2:3']) t.throws(() => parseHandle(text), TypeError, text);
  const u32Handles = { '800::800': 0x80000800, '800:': 0x80000000, '1:2': 0x102000, '1:2:3': 0x102003, 'fff:ff:fff': 0xffffffff };
  for (const [text, number] of Object.entries(u32Handles)) {
    t.equal(formatU32Handle(number), text);
    t.equal(parseU32Handle(text), number);
  }
  const controls = { continue: -1, ok: 0, drop: 2, pipe: 3, stolen: 4, trap: 8, 'jump 2': 0x10000002, 'goto chain 5': 0x20000005 };
  for (const [text, number] of Object.entries(controls)) {
    t.equal(formatControl(number), text);
    t.equal(parseControl(text), number);
  }
  t.throws(() => parseControl('jump'), TypeError);
});

function qdiscSent(qdisc: QdiscRequest): Qdisc {
  return one(encodeQdisc(RTM_NEWQDISC, 0, qdisc), decodeQdisc);
}
function filterSent(filter: FilterRequest): Filter {
  return one(encodeFilter(RTM_NEWTFILTER, 0, filter), decodeFilter);
}

await t.test('requests', async (t) => {
  t.strictSame(qdiscSent({ ifindex: 3, kind: 'clsact', parent: 'clsact' }), {
    object: 'qdisc',
    ifindex: 3,
    kind: 'clsact',
    handle: 'ffff:',
    parent: 'clsact',
  });
  t.match(qdiscSent({ ifindex: 3, kind: 'ingress', parent: 'ingress' }), { handle: 'ffff:', parent: 'ingress' });
  t.match(one(encodeQdiscDump(NLM_F_DUMP), decodeQdisc), { ifindex: 0, handle: 'none' });
  t.match(one(encodeFilterDump(NLM_F_DUMP, 3, 'ingress', 5), decodeFilter), { ifindex: 3, parent: 'ffff:fff2', chain: 5 });
  t.match(filterSent({ ifindex: TCM_IFINDEX_MAGIC_BLOCK, parent: '22', kind: 'u32' }), { ifindex: 0xffffffff, parent: '22' });
  t.match(filterSent({ ifindex: 3, parent: 'egress', protocol: '0x88cc', kind: 'matchall' }), { parent: 'ffff:fff3', protocol: 'LLDP' });
  t.match(filterSent({ ifindex: 3, parent: 'egress', protocol: '0x9999', kind: 'matchall' }), { protocol: '0x9999' });
  // What tc(8) takes where no control is given.
  const control = (action: Action): unknown =>
    filterSent({ ifindex: 3, parent: 'ffff:', kind: 'matchall', actions: [action] }).actions?.[0]?.control;
  t.equal(control({ kind: 'mirred', options: { action: 'redirect', direction: 'egress', dev: 2 } }), 'stolen');
  t.equal(control({ kind: 'mirred', options: { action: 'mirror', direction: 'egress', dev: 2 } }), 'pipe');
  t.equal(control({ kind: 'skbedit', options: { mark: 1 } }), 'pipe');
  t.equal(control({ kind: 'gact', control: 'drop' }), 'drop');
  t.throws(() => control({ kind: 'mirred', options: { action: 'redirect', direction: 'sideways' as 'egress', dev: 2 } }), TypeError);
});

// The bytes that tc(8) 6.1 sends for pedit and flower, attributes sorted by number: this kernel has neither.
await t.test('as tc(8) says it', async (t) => {
  const body = (filter: FilterRequest): string => Buffer.from(encodeFilter(RTM_NEWTFILTER, 0, filter)).toString('hex');
  const pedit: Action = {
    kind: 'pedit',
    options: {
      keys: [
        { header: 'eth', mask: 0, value: 0x02000000, offset: 0 },
        { header: 'eth', mask: 0xffff, value: 0x00070000, offset: 4 },
        { header: 'ip4', command: 'add', mask: 0x00ffffff, value: 0xff000000, offset: 8 },
      ],
    },
  };
  t.ok(
    body({ ifindex: 3, parent: 'ffff:', kind: 'matchall', actions: [pedit] }).includes(
      '640004000000000000000000030000000000000000000000030000000000000002000000000000000000000000000000000000000000ffff000700000400000000000000000000000000000000ffffffff00000008000000000000000000000000000000' +
        '400005801400068006000100010000000600020000000000140006800600010001000000060002000000000014000680060001000200000006000200' +
        '01000000',
    ),
  );
  const keys = {
    eth_type: 0x800,
    eth_dst: '02:00:00:00:00:01',
    eth_dst_mask: 'ff:ff:ff:ff:ff:ff',
    ip_proto: 6,
    ipv4_dst: '10.0.0.0',
    ipv4_dst_mask: '255.0.0.0',
    tcp_dst: 80,
  };
  t.ok(
    body({ ifindex: 3, parent: 'egress', kind: 'flower', options: { flags: ['skip_hw'], keys } }).includes(
      '0a00040002000000000100000a000500ffffffffffff00000600080008000000050009000600000008000c000a00000008000d00ff0000000600130000500000' +
        '0800160001000000',
    ),
  );
});

// ------------------------------------------------------------------ random values

const u32 = fc.nat({ max: 0xffffffff });
const s32 = fc.integer({ min: -0x80000000, max: 0x7fffffff });
const u16 = fc.nat({ max: 65535 });
const handle = u32.map(formatHandle);
const some = <T>(model: { [N in keyof T]: fc.Arbitrary<T[N]> }): fc.Arbitrary<Partial<T>> =>
  fc.record(model, { requiredKeys: [], noNullPrototype: true }) as unknown as fc.Arbitrary<Partial<T>>;
const unknown = fc.constant([{ type: 999, data: new Uint8Array([1, 2]) }]);
const bytes = fc.uint8Array({ minLength: 4, maxLength: 16 });
const fraction = fc.integer({ min: 1, max: 0xfffffffe }).map((share) => share / 2 ** 32);

/** Of others the kernel tells one less than it was told. */
const codelTime = fc.nat({ max: 0x1ffffff }).map((number) => number * 128);

const qdiscOptions: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  pfifo: fc.record({ limit: u32 }, { noNullPrototype: true }),
  prio: fc.record({ bands: u32, priomap: fc.array(fc.nat({ max: 255 }), { minLength: 16, maxLength: 16 }) }, { noNullPrototype: true }),
  fq_codel: fc
    .record({ target: codelTime })
    .chain((target) =>
      some({ limit: u32, flows: u32, ecn: u32, ce_threshold_mask: fc.constant(3) }).map((more) => ({ ...target, ...more })),
    ),
  tbf: fc
    .tuple(
      fc.record({ rate: fc.nat({ max: 2 ** 40 }), limit: u32, buffer: u32 }, { noNullPrototype: true }),
      some({ peakrate: fc.integer({ min: 1, max: 2 ** 40 }), mtu: fc.integer({ min: 1, max: 0xffffffff }), unknown }),
    )
    .map(([required, more]) => ({ ...required, ...more })),
  htb: fc
    .tuple(
      fc.record({ defaultClass: u32, rate2quantum: u32, directPackets: fc.constant(0) }, { noNullPrototype: true }),
      some({ directQueueLength: u32, unknown }),
    )
    .map(([required, more]) => ({ ...required, ...more })),
  netem: fc
    .tuple(
      fc.record({ limit: u32 }, { noNullPrototype: true }),
      some({
        delay: fc.integer({ min: 1, max: 2 ** 45 }),
        jitter: fc.integer({ min: 1, max: 2 ** 45 }),
        loss: fc.oneof(fraction, fc.constant(1)),
        duplicate: fraction,
        corrupt: fraction,
        reorder: fraction,
        gap: fc.integer({ min: 1, max: 99 }),
        rate: fc.nat({ max: 2 ** 40 }),
        ecn: fc.constant(true),
        lossModel: bytes,
        seed: fc.bigInt({ min: 0n, max: 99n }),
        unknown,
      }),
    )
    .map(([required, more]) => ({ ...required, ...more })),
  hfsc: bytes,
};
const qdisc = fc.constantFrom(...Object.keys(qdiscOptions)).chain((kind) =>
  fc
    .tuple(
      fc.record(
        {
          object: fc.constant('qdisc' as const),
          ifindex: u32,
          kind: fc.constant(kind),
          handle,
          parent: handle,
          options: qdiscOptions[kind]!,
        },
        { noNullPrototype: true },
      ),
      some({ ingressBlock: u32, egressBlock: u32, unknown }),
    )
    .map(([required, more]) => ({ ...required, ...more }) as Qdisc),
);

const actionOptions: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  mirred: fc.record(
    { action: fc.constantFrom('redirect', 'mirror'), direction: fc.constantFrom('egress', 'ingress'), dev: u32 },
    { noNullPrototype: true },
  ),
  gact: some({
    chance: fc.record(
      { type: fc.constantFrom('random', 'deterministic'), value: u16, control: fc.constantFrom('drop', 'ok') },
      { noNullPrototype: true },
    ),
    unknown,
  }),
  skbedit: some({
    priority: handle,
    queue: u16,
    queueMax: u16,
    mark: u32,
    markMask: u32,
    packetType: u16,
    flags: fc.constant(0x20n),
    unknown,
  }),
  pedit: fc.record(
    {
      keys: fc.array(
        fc
          .tuple(
            fc.record(
              {
                header: fc.constantFrom('network', 'eth', 'ip4', 'ip6', 'tcp', 'udp', '9'),
                command: fc.constantFrom('set', 'add'),
                mask: u32,
                value: u32,
                offset: s32,
              },
              { noNullPrototype: true },
            ),
            some({ at: fc.constant(4), offsetMask: fc.constant(0xf0), shift: fc.constant(2) }),
          )
          .map(([required, more]) => ({ ...required, ...more })),
        { maxLength: 5 },
      ),
    },
    { noNullPrototype: true },
  ),
  nat: bytes,
};
const action: fc.Arbitrary<Action> = fc.constantFrom(...Object.keys(actionOptions)).chain((kind) =>
  fc
    .tuple(
      fc.record({ kind: fc.constant(kind), options: actionOptions[kind]! }, { noNullPrototype: true }),
      kind === 'nat'
        ? fc.constant({})
        : fc.record(
            {
              index: u32,
              control: fc.constantFrom('pipe', 'stolen', 'ok', 'drop', 'continue', 'reclassify', 'jump 3', 'goto chain 7', '99'),
              references: fc.constant(0),
              bindings: fc.constant(0),
            },
            { noNullPrototype: true },
          ),
      some({
        cookie: fc.uint8Array({ minLength: 1, maxLength: 16 }),
        flags: fc.constant({ value: 1, selector: 1 }),
        hardwareStatistics: fc.constant({ value: 0, selector: 3 }),
      }),
    )
    .map(([required, generic, more]) => ({ ...required, ...generic, ...more }) as Action),
);

const key = fc
  .tuple(fc.record({ mask: u32, value: u32, offset: s32 }, { noNullPrototype: true }), some({ offsetMask: fc.constant(-1) }))
  .map(([required, more]) => ({ ...required, ...more }));
const filterOptions: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  u32: some({
    selector: fc
      .tuple(
        fc.record({ keys: fc.array(key, { maxLength: 5 }) }, { noNullPrototype: true }),
        some({
          flags: fc.constantFrom(['terminal'], ['varoffset', 'eat']),
          shift: fc.constant(6),
          offsetMask: fc.constant(0xf00),
          fixedOffset: fc.constant(9),
          variableOffset: fc.constant(-2),
          hashOffset: fc.constant(-12),
          hashMask: fc.constant(0xff00),
        }),
      )
      .map(([required, more]) => ({ ...required, ...more })),
    classid: handle,
    hash: u32.map(formatU32Handle),
    link: u32.map(formatU32Handle),
    divisor: u32,
    indev: fc.constant('eth0'),
    mark: fc.record({ value: u32, mask: u32, success: fc.constant(0) }, { noNullPrototype: true }),
    flags: fc.constant(['skip_hw']),
    police: bytes,
    unknown,
  }),
  matchall: some({ classid: handle, flags: fc.constant(['skip_sw', 'verbose']), unknown }),
  flower: fc
    .tuple(
      fc.record(
        {
          keys: some({
            eth_dst: fc.constant('02:00:00:00:00:01'),
            eth_dst_mask: fc.constant('ff:ff:ff:00:00:00'),
            eth_type: u16,
            ip_proto: fc.constant(6),
            ipv4_src: fc.ipV4(),
            ipv6_dst: fc.constant('fd00::1'),
            ipv6_dst_mask: fc.constant('ffff::'),
            tcp_dst: u16,
            tcp_dst_mask: u16,
            flags: u32,
            flags_mask: u32,
            vlan_id: u16,
            cvlan_prio: fc.constant(3),
            arp_sha: fc.constant('02:00:00:00:00:01'),
            arp_tip: fc.ipV4(),
            arp_op: fc.constant(1),
            icmpv6_type: fc.constant(135),
            ct_state: u16,
            ct_labels: fc.uint8Array({ minLength: 16, maxLength: 16 }),
            enc_key_id: u32,
            enc_opts: some({ geneve: fc.array(bytes, { minLength: 1, maxLength: 2 }), vxlan: fc.tuple(bytes), unknown }),
            port_dst_max: u16,
            l2_miss: fc.constant(1),
            enc_flags_mask: u32,
          }),
        },
        { noNullPrototype: true },
      ),
      some({ classid: handle, indev: fc.constant('eth0'), flags: fc.constant(['skip_hw']), unknown }),
    )
    .map(([required, more]) => ({ ...required, ...more })),
  bpf: some({
    fd: u32,
    name: fc.constant('prog:[x]'),
    directAction: fc.constant(true),
    classid: handle,
    flags: fc.constant(['skip_hw']),
    operations: fc.constant(new Uint8Array(16)),
    police: bytes,
    unknown,
  }),
  flow: bytes,
};
const filter = fc.constantFrom(...Object.keys(filterOptions)).chain((kind) =>
  fc
    .tuple(
      fc.record(
        {
          object: fc.constant('filter' as const),
          ifindex: u32.filter((index) => index !== TCM_IFINDEX_MAGIC_BLOCK),
          parent: u32.map(formatFilterParent),
          protocol: fc.constantFrom('all', 'ip', 'ipv6', 'arp', '802.1Q', '0x88b5'),
          priority: u16,
          kind: fc.constant(kind),
          options: filterOptions[kind]!,
        },
        { noNullPrototype: true },
      ),
      some({
        handle: fc
          .integer({ min: 1, max: 0xffffffff })
          .map((number) => (kind === 'u32' ? formatU32Handle(number) : `0x${number.toString(16)}`)),
        chain: u32,
        unknown,
      }),
      kind === 'flow' ? fc.constant({}) : some({ actions: fc.array(action, { maxLength: 4 }) }),
    )
    .map(([required, more, actions]) => ({ ...required, ...more, ...actions }) as Filter),
);

await t.test('there and back', async () => {
  fc.assert(
    fc.property(qdisc, filter, (qdisc, filter) => {
      deepStrictEqual(qdiscSent(qdisc), qdisc);
      deepStrictEqual(filterSent(filter), filter);
    }),
    { numRuns: 300 },
  );
});

await t.test('what does not fit its kind is kept as it came, and sent so', async (t) => {
  // A mirred without its struct.
  const odd: Action = { kind: 'mirred', unknown: [{ type: 2, data: hex('08006300aabbccdd') }] };
  const once = filterSent({ ifindex: 3, parent: 'ffff:', kind: 'matchall', actions: [odd] });
  t.strictSame(once.actions, [odd]);
  t.strictSame(filterSent(once), once);
});

await t.test('every kind has its entry', async (t) => {
  t.strictSame(Object.keys(filterKinds).sort(), ['bpf', 'flower', 'matchall', 'u32']);
  t.strictSame(Object.keys(actionKinds).sort(), ['gact', 'mirred', 'pedit', 'skbedit']);
  for (const kind of Object.keys(qdiscKinds)) t.match(qdiscSent({ ifindex: 3, kind, parent: 'root' }), { kind });
});

await t.test('broken bytes', async (t) => {
  t.equal(losses([hex(samples.tbf), hex(samples.ingress)], decodeQdisc), 0);
  t.equal(losses([hex(samples.u32)], decodeFilter), 0);
  const pedit: Action = { kind: 'pedit', options: { keys: [{ mask: 1, value: 2, offset: 3 }] } };
  t.equal(
    losses(
      [
        encodeFilter(RTM_NEWTFILTER, 0, {
          ifindex: 3,
          parent: 'ffff:',
          kind: 'flower',
          options: { keys: { eth_type: 0x800 } },
          actions: [pedit],
        }),
      ],
      decodeFilter,
    ),
    0,
  );
});
