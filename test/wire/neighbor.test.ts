// Neighbours and forwarding entries. The samples are a kernel's (6.18).
import { deepStrictEqual } from 'node:assert';
import fc from 'fast-check';
import t from 'tap';
import { AF_INET } from '../../lib/wire/constants.js';
import { NLM_F_DUMP } from '../../lib/wire/message.js';
import {
  type FdbEntry,
  type Neighbor,
  RTM_DELNEIGH,
  RTM_NEWNEIGH,
  decodeFdb,
  decodeNeighbor,
  encodeFdb,
  encodeFdbDump,
  encodeNeighbor,
  encodeNeighborDump,
  encodeNeighborGet,
  isFdb,
} from '../../lib/wire/neighbor.js';
import { hex, one, losses } from './messages.js';

// ip neigh add fd00:1::7 lladdr 02:00:00:00:00:08 dev eth0 router nud stale protocol static
const stale =
  '600000001c00220000000000000000000a000000030000000400800114000100fd0000010000000000000000000000070a00020002000000000800000800040000000000140003008d1700001d0000001d0000000000000005000c0004000000';
// bridge fdb add 02:00:00:00:00:22 dev w master static
const fixed =
  '4c0000001c00020000000000000000000700000002000000400000000a0002000200000000220000080009000400000008000f00000000001400030000000000260000002600000000000000';

await t.test('what a kernel sends', async (t) => {
  t.strictSame(one(stale, decodeNeighbor), {
    object: 'neighbor',
    address: 'fd00:1::7',
    mac: '02:00:00:00:00:08',
    ifindex: 3,
    state: 'stale',
    flags: ['router'],
    type: 1,
    probes: 0,
    times: { confirmed: 60.29, used: 0.29, updated: 0.29 },
    protocol: 'static',
  });
  t.strictSame(one(fixed, decodeFdb), {
    object: 'fdb',
    mac: '02:00:00:00:00:22',
    ifindex: 2,
    state: 'noarp',
    master: 4,
    times: { confirmed: 0, used: 0.38, updated: 0.38 },
  });
  t.equal(one(fixed, isFdb), true);
  t.equal(one(stale, isFdb), false);
});

await t.test('requests', async (t) => {
  const proxy = one(
    encodeNeighbor(RTM_NEWNEIGH, 0, { address: '10.1.0.88', ifindex: 3, state: 'permanent', flags: ['proxy'] }),
    decodeNeighbor,
  );
  t.strictSame(proxy, { object: 'neighbor', address: '10.1.0.88', mac: '', ifindex: 3, state: 'permanent', flags: ['proxy'] });
  t.match(one(encodeNeighbor(RTM_DELNEIGH, 0, { address: 'fd00::1', ifindex: 3 }), decodeNeighbor), { address: 'fd00::1', state: 'none' });
  t.match(one(encodeNeighborDump(NLM_F_DUMP, AF_INET, 3, true), decodeFdb), { ifindex: 0, via: 3, flags: ['proxy'] });
  t.match(one(encodeNeighborGet(3, '10.1.0.1'), decodeNeighbor), { ifindex: 3, address: '10.1.0.1' });
  t.match(one(encodeFdbDump(NLM_F_DUMP, 3, 4), decodeFdb), { ifindex: 0, via: 3, master: 4 });
});

await t.test('whose table an entry goes to', async (t) => {
  const flags = (entry: Partial<FdbEntry>): unknown =>
    one(encodeFdb(RTM_NEWNEIGH, 0, { mac: '02:00:00:00:00:22', ifindex: 2, ...entry }), decodeFdb).flags;
  t.strictSame(flags({ master: 4 }), ['master']);
  t.strictSame(flags({ master: 2 }), ['self']);
  t.strictSame(flags({ dst: '10.1.0.9' }), ['self']);
  t.strictSame(flags({}), undefined);
  t.strictSame(flags({ flags: ['sticky'] }), ['master', 'sticky']);
  t.strictSame(flags({ master: 4, flags: ['self', 'offload'] }), ['self']);
  // VXLANs refuse NUD_NOARP alone: bridge(8) sends 0x42 for a static entry and 0xc0 for a permanent one.
  const state = (state: string): number => encodeFdb(RTM_NEWNEIGH, 0, { mac: '02:00:00:00:00:22', ifindex: 2, state })[24]!;
  t.strictSame([state('noarp'), state('permanent'), state('reachable')], [0x42, 0xc0, 0x02]);
});

const u32 = fc.nat({ max: 0xffffffff });
const mac = fc
  .uint8Array({ minLength: 6, maxLength: 6 })
  .map((bytes) => Array.from(bytes, (octet) => octet.toString(16).padStart(2, '0')).join(':'));
const unknown = fc.constant([{ type: 999, data: new Uint8Array([1, 2]) }]);
const neighbor = fc
  .tuple(
    fc.record(
      {
        object: fc.constant('neighbor' as const),
        address: fc.oneof(fc.ipV4(), fc.constantFrom('fd00::1', 'fe80::ff:fe00:22')),
        mac: fc.oneof(mac, fc.constant('')),
        ifindex: u32,
        state: fc.constantFrom('none', 'incomplete', 'reachable', 'stale', 'delay', 'probe', 'failed', 'noarp', 'permanent', '3'),
      },
      { noNullPrototype: true },
    ),
    fc.record(
      { flags: fc.constantFrom(['router'], ['proxy', 'managed'], ['extern_learn']), protocol: fc.constantFrom('static', '77'), unknown },
      { requiredKeys: [], noNullPrototype: true },
    ),
  )
  .map(([required, parts]): Neighbor => ({ ...required, ...parts }));
const entry = fc
  .tuple(
    fc.record(
      {
        object: fc.constant('fdb' as const),
        mac,
        ifindex: u32,
        state: fc.constantFrom('permanent', 'noarp', 'reachable', 'stale'),
        flags: fc.constantFrom(['self'], ['master'], ['self', 'sticky'], ['master', 'extern_learn', 'locked']),
      },
      { noNullPrototype: true },
    ),
    fc.record(
      {
        vlan: fc.nat({ max: 4095 }),
        dst: fc.oneof(fc.ipV4(), fc.constant('fd00::1')),
        port: fc.nat({ max: 65535 }),
        vni: u32,
        sourceVni: u32,
        via: u32,
        nhid: u32,
        protocol: fc.constant('static'),
        extended: fc.constant(new Uint8Array([5, 0, 1, 0, 1, 0, 0, 0])),
        unknown,
      },
      { requiredKeys: [], noNullPrototype: true },
    ),
  )
  .map(([required, parts]): FdbEntry => ({ ...required, ...parts }));

await t.test('there and back', async () => {
  fc.assert(
    fc.property(neighbor, entry, (neighbor, entry) => {
      deepStrictEqual(one(encodeNeighbor(RTM_NEWNEIGH, 0, neighbor), decodeNeighbor), neighbor);
      deepStrictEqual(one(encodeFdb(RTM_NEWNEIGH, 0, entry), decodeFdb), entry);
    }),
    { numRuns: 100 },
  );
});

await t.test('broken bytes', async (t) => {
  const header = '100000001c0000000000000000000000';
  t.strictSame(
    one(header, decodeNeighbor),
    { object: 'neighbor', address: '', mac: '', ifindex: 0, state: 'none' },
    'a message without a body',
  );
  t.equal(losses([hex(stale), hex(fixed)], decodeNeighbor), 0);
  t.equal(losses([hex(stale), hex(fixed)], decodeFdb), 0);
});
