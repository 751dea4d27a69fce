// Routes. The samples are a kernel's (6.18), with sequence numbers and port ids of 0.
import { deepStrictEqual } from 'node:assert';
import fc from 'fast-check';
import t from 'tap';
import { AF_INET, AF_INET6 } from '../../lib/wire/constants.js';
import { NLM_F_CREATE, NLM_F_DUMP } from '../../lib/wire/message.js';
import {
  type Nexthop,
  RTM_DELROUTE,
  RTM_NEWROUTE,
  type Route,
  decodeRoute,
  encodeRoute,
  encodeRouteDump,
  encodeRouteGet,
  routeFamily,
} from '../../lib/wire/route.js';
import { decode } from '../../lib/wire/attribute.js';
import { Bytes } from '../../lib/wire/bytes.js';
import { hex, one, losses, without } from './messages.js';

const samples = {
  // ip route add default via 10.1.0.1 dev eth0 mtu lock 1400 src 10.1.0.2
  metrics:
    '5000000018002200000000000000000002000000fe0300010000000008000f00fe0000001400080008000100040000000800020078050000080007000a010002080005000a0100010800040003000000',
  // ip route add 10.3.0.0/16 nhid 12
  nexthopObject:
    '4400000018002200000000000000000002100000fe0300010000000008000f00fe000000080001000a03000008001e000c000000080005000a0100010800040003000000',
  // ip route add 10.4.0.0/16 via inet6 fd00:1::9 dev eth0
  otherFamily:
    '4c00000018002200000000000000000002100000fe0300010000000008000f00fe000000080001000a040000160012000a00fd00000100000000000000000000000900000800040003000000',
  // ip route add 10.14.0.0/16 encap seg6 mode encap segs fd00:1::1 dev eth0
  encap:
    '6000000018002200000000000000000002100000fe03fd010000000008000f00fe000000080001000a0e000008000400030000002400160020000100010000000002040000000000fd0000010000000000000000000000010600150005000000',
  // ip route add fd00:9::/64 via fd00:1::1 metric 77 pref high expires 300
  ipv6: '880000001800220000000000000000000a400000fe0300010000000008000f00fe00000014000100fd000009000000000000000000000000080006004d00000014000500fd000001000000000000000000000001080004000300000024000c0000000000000000002675000000000000000000000000000000000000000000000500140001000000',
  // ip route add 10.5.0.0/16 nexthop via 10.1.0.1 dev eth0 weight 3 nexthop via 10.2.0.9 dev eth1 onlink, eth1 down
  multipath:
    '5000000018002200000000000000000002100000fe0300010000000008000f00fe000000080001000a05000024000900' +
    '1000000203000000080005000a010001' +
    '1000150004000000080005000a020009',
};

await t.test('what a kernel sends', async (t) => {
  const common = { object: 'route', table: 254, type: 'unicast', scope: 'global', protocol: 'boot' };
  t.strictSame(one(samples.metrics, decodeRoute), {
    ...common,
    dst: '0.0.0.0/0',
    via: '10.1.0.1',
    dev: 3,
    src: '10.1.0.2',
    mtu: 1400,
    metrics: { lock: ['mtu'] },
  });
  t.strictSame(one(samples.nexthopObject, decodeRoute), { ...common, dst: '10.3.0.0/16', via: '10.1.0.1', dev: 3, nhid: 12 });
  t.strictSame(one(samples.otherFamily, decodeRoute), { ...common, dst: '10.4.0.0/16', via: 'fd00:1::9', dev: 3 });
  t.strictSame(one(samples.encap, decodeRoute), {
    ...common,
    scope: 'link',
    dst: '10.14.0.0/16',
    dev: 3,
    encap: { type: 'seg6', data: hex('20000100010000000002040000000000fd000001000000000000000000000001') },
  });
  t.strictSame(one(samples.ipv6, decodeRoute), {
    ...common,
    dst: 'fd00:9::/64',
    via: 'fd00:1::1',
    dev: 3,
    metric: 77,
    pref: 'high',
    expires: 300,
  });
  t.strictSame(one(samples.multipath, decodeRoute), {
    ...common,
    dst: '10.5.0.0/16',
    nexthops: [
      { via: '10.1.0.1', dev: 3, weight: 3 },
      { via: '10.2.0.9', dev: 4, onlink: true, flags: ['dead', 'linkdown'] },
    ],
  });
});

await t.test('requests', async (t) => {
  const sent = (route: Route, type = RTM_NEWROUTE): Route => one(encodeRoute(type, NLM_F_CREATE, route), decodeRoute);
  // As ip-route(8) fills them in, compared with it by strace.
  t.match(sent({ dst: '10.8.0.0/16', dev: 3 }), { scope: 'link', protocol: 'boot', type: 'unicast', table: 254 });
  t.match(sent({ dst: '10.8.0.0/16', via: '10.1.0.1' }), { scope: 'global' });
  t.match(sent({ dst: '10.8.0.1', type: 'local', dev: 1 }), { dst: '10.8.0.1/32', scope: 'host', table: 255 });
  t.match(sent({ dst: '10.8.0.0/16', type: 'blackhole' }), { scope: 'global' });
  t.match(sent({ dst: 'fd00::/64', dev: 3 }), { scope: 'global' });
  t.match(sent({ dst: '10.8.0.0/16' }, RTM_DELROUTE), { scope: 'nowhere', protocol: 'unspec', type: 'unspec' }, 'deletes whatever fits');
  t.match(sent({ dst: 'default', via: 'fd00::1' }), { dst: '::/0', via: 'fd00::1' });
  t.match(sent({ dst: 'default', via: '10.1.0.1' }), { dst: '0.0.0.0/0' });
  t.match(sent({ dst: 'default', nexthops: [{ via: 'fd00::1', dev: 3 }] }), { dst: '::/0' });
  t.match(sent({ dst: '10.0.0.0/8', table: 1000, dev: 3 }), { table: 1000 });

  // A nexthop object stands alone, and what the kernel found out is not said to it.
  const object = sent({ dst: '10.3.0.0/16', nhid: 12, via: '10.1.0.1', dev: 3, onlink: true, nexthops: [{ dev: 3 }] });
  t.strictSame(without(object, 'object', 'table', 'type', 'scope', 'protocol'), { dst: '10.3.0.0/16', nhid: 12 });
  t.strictSame(sent({ dst: '10.3.0.0/16', dev: 3, flags: ['dead', 'linkdown', 'offload', 'rt_trap', 'pervasive'] }).flags, ['pervasive']);

  for (const dst of ['10.0.0.0/33', '10.0.0/8', 'fd00::/129', '10.0.0.0/', '10.0.0.0/8/8', ''])
    t.throws(() => sent({ dst, dev: 3 }), TypeError, dst);
  t.throws(() => sent({ dst: '10.0.0.0/8', dev: 'eth0' }), TypeError);
});

await t.test('look-ups and dumps', async (t) => {
  t.match(one(encodeRouteGet('10.1.0.1', { table: true, mark: 7, iif: 4 }), decodeRoute), {
    dst: '10.1.0.1/32',
    mark: 7,
    iif: 4,
    flags: ['lookup_table'],
  });
  t.notOk(one(encodeRouteGet('fd00::1', { table: true }), decodeRoute).flags, 'refused for IPv6');
  t.match(one(encodeRouteGet('fd00::1', { fibMatch: true, from: 'fd00::2' }), decodeRoute), { from: 'fd00::2/128', flags: ['fib_match'] });
  t.match(one(encodeRouteDump(NLM_F_DUMP, AF_INET, 1000, 3), decodeRoute), { table: 1000, dev: 3, dst: '0.0.0.0/0' });
  t.match(one(encodeRouteDump(NLM_F_DUMP, AF_INET6), decodeRoute), { table: 0, dst: '::/0' });
});

await t.test('a nest of an encapsulation says that it is one', async (t) => {
  // ioam6 and others are parsed strictly by the kernel; the samples come without the flag.
  const data = encodeRoute(RTM_NEWROUTE, 0, { dst: '10.0.0.0/8', dev: 3, encap: { type: 'ioam6', data: new Uint8Array(4) } });
  const raw = decode({ ...routeFamily.table, byType: [] }, Bytes.copy(data), 28, data.length).unknown;
  t.ok(raw?.some(({ type }) => type === (22 | 0x8000)));
});

// ------------------------------------------------------------------ random routes

const ipv4 = fc.ipV4();
const u32 = fc.nat({ max: 0xffffffff });
const index = fc.integer({ min: 1, max: 0x7fffffff });
const data = fc.uint8Array({ minLength: 4, maxLength: 40 }).map((bytes) => bytes.slice(0, bytes.length & ~3));
const encap = fc.record({ type: fc.constantFrom('mpls', 'ip', 'seg6', 'bpf', '77'), data }, { noNullPrototype: true });
function optional<T extends object>(model: { [N in keyof T]: fc.Arbitrary<T[N]> }): fc.Arbitrary<Partial<T>> {
  return fc.record(model, { requiredKeys: [], noNullPrototype: true }) as unknown as fc.Arbitrary<Partial<T>>;
}
const nexthop: fc.Arbitrary<Nexthop> = optional({
  via: fc.oneof(ipv4, fc.constant('fd00::1')),
  dev: index,
  weight: fc.integer({ min: 2, max: 256 }),
  onlink: fc.constant(true),
  flags: fc.constant(['pervasive']),
  flow: u32,
  encap,
  newdst: data,
  unknown: fc.constant([{ type: 999, data: new Uint8Array([1, 2, 3]) }]),
});
const optionalParts = optional<Omit<Route, 'dst' | 'object'>>({
  from: fc.constant('10.9.0.0/16'),
  tos: fc.integer({ min: 1, max: 255 }),
  via: fc.oneof(ipv4, fc.constantFrom('fd00::1', '::ffff:1.2.3.4')),
  dev: index,
  src: ipv4,
  metric: u32,
  mtu: u32,
  metrics: optional({
    lock: fc.constantFrom(['mtu'], ['window', 'rtt']),
    advmss: u32,
    features: fc.constant(['ecn', '0x100']),
    cc_algo: fc.constant('cubic'),
    quickack: u32,
  })
    // An empty set of metrics is none.
    .filter((metrics) => Object.keys(metrics).length > 0),
  onlink: fc.constant(true),
  nexthops: fc.array(nexthop, { minLength: 1, maxLength: 4 }),
  encap,
  flags: fc.constantFrom(['pervasive'], ['notify', '0x10000']),
  expires: u32,
  pref: fc.constantFrom('low', 'medium', 'high', '2'),
  flow: u32,
  ttlPropagate: fc.boolean(),
  newdst: data,
  iif: index,
  mark: u32,
  uid: u32,
  ipProtocol: fc.constantFrom('tcp', 'udp', '200'),
  sport: fc.nat({ max: 65535 }),
  dport: fc.nat({ max: 65535 }),
  unknown: fc.constant([{ type: 999, data: new Uint8Array([1, 2, 3]) }]),
});
const route: fc.Arbitrary<Route> = fc
  .tuple(
    fc.record(
      {
        object: fc.constant('route' as const),
        dst: fc.oneof(
          fc.constant('0.0.0.0/0'),
          fc.tuple(ipv4, fc.integer({ min: 1, max: 32 })).map(([address, length]) => `${address}/${length}`),
        ),
        table: fc.oneof(
          fc.constantFrom(254, 255, 1000),
          u32.filter((table) => table !== 0),
        ),
        type: fc.constantFrom(
          'unicast',
          'local',
          'broadcast',
          'anycast',
          'multicast',
          'blackhole',
          'unreachable',
          'prohibit',
          'throw',
          'nat',
          '77',
        ),
        scope: fc.constantFrom('global', 'site', 'link', 'host', 'nowhere', '7'),
        protocol: fc.constantFrom('kernel', 'boot', 'static', 'ra', 'dhcp', 'bird', '77'),
      },
      { noNullPrototype: true },
    ),
    optionalParts,
  )
  .map(([required, parts]) => ({ ...required, ...parts }));

await t.test('there and back', async () => {
  fc.assert(
    fc.property(route, (route) => {
      deepStrictEqual(one(encodeRoute(RTM_NEWROUTE, 0, route), decodeRoute), route);
    }),
    { numRuns: 200 },
  );
});

await t.test('the same route comes back from what a kernel sends', async (t) => {
  for (const sample of Object.values(samples)) {
    const route = one(sample, decodeRoute);
    const again = one(encodeRoute(RTM_NEWROUTE, 0, route), decodeRoute);
    const wanted = route.nhid !== undefined ? without(route, 'via', 'dev') : route;
    // Dead legs are sent as living ones.
    t.strictSame(again, { ...wanted, ...(route.nexthops && { nexthops: route.nexthops.map((leg) => without(leg, 'flags')) }) });
  }
});

await t.test('other families keep their number', async (t) => {
  const mpls: Route = {
    object: 'route',
    family: 28,
    dst: '0.6.65.0/20',
    via: '10.1.0.1',
    dev: 3,
    table: 254,
    type: 'unicast',
    scope: 'global',
    protocol: 'static',
  };
  t.strictSame(one(encodeRoute(RTM_NEWROUTE, 0, mpls), decodeRoute), mpls);
});

await t.test('broken bytes', async (t) => {
  const header = '10000000180000000000000000000000';
  t.strictSame(
    one(header, decodeRoute),
    { object: 'route', dst: '0.0.0.0/0', table: 0, type: 'unspec', scope: 'global', protocol: 'unspec', family: 0 },
    'a message without a body',
  );
  t.equal(losses(Object.values(samples).map(hex), decodeRoute), 0);
});
