// RTM_NEWROUTE and kin: struct rtmsg and RTA_* of uapi/linux/rtnetlink.h. Dumped by the hundred thousand: hence the reads by slot
// and the assignments where others spread.
import {
  type Unknown,
  type Values,
  be16,
  bits,
  bytes,
  decode,
  decodeSlots,
  encode,
  ip,
  nest,
  nested,
  string,
  struct,
  structLength,
  s32,
  table,
  u16,
  u32,
  u8,
} from './attribute.js';
import { Bytes } from './bytes.js';
import { AF_INET, AF_INET6, RT_TABLE_LOCAL, RT_TABLE_MAIN, ipProtocols, protocols, scopes } from './constants.js';
import { type Message, encodeMessage, messageFamily } from './message.js';
import { Naming, flagBits, flagNames } from './names.js';
import { defaultPrefix, familyOf, parsePrefix } from './prefix.js';
import { formatIp, parseIp } from './text.js';
import { Writer } from './writer.js';

export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;

const AF_MPLS = 28;

/** RTN_*. */
export const routeTypes = new Naming('route type', {
  unspec: 0,
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
  throw: 9,
  nat: 10,
  xresolve: 11,
});

/** RTAX_FEATURE_*. */
export const routeFeatures = { ecn: 1, sack: 2, timestamp: 4, allfrag: 8, tcp_usec_ts: 16 } as const;

/** RTAX_*: arguments of TCP and of the path. */
const metricsTable = table('RTAX', {
  /** Which of them PMTU discovery must not change: bit n is RTAX_n. */
  lock: [1, u32],
  mtu: [2, u32],
  window: [3, u32],
  /** In eighths of a millisecond. */
  rtt: [4, u32],
  /** In quarters of a millisecond. */
  rttvar: [5, u32],
  ssthresh: [6, u32],
  cwnd: [7, u32],
  advmss: [8, u32],
  reordering: [9, u32],
  hoplimit: [10, u32],
  initcwnd: [11, u32],
  features: [12, bits(u32, routeFeatures)],
  /** In milliseconds. */
  rto_min: [13, u32],
  initrwnd: [14, u32],
  quickack: [15, u32],
  /** Congestion control. */
  cc_algo: [16, string],
  fastopen_no_cookie: [17, u32],
});
/** The bits of RTAX_LOCK, by the names of what they lock. */
const locks = Object.fromEntries(metricsTable.inOrder.slice(1).map(({ name, type }) => [name, 1 << type]));

export const routeFamily = messageFamily(
  [
    ['family', u8],
    ['dst_len', u8],
    ['src_len', u8],
    ['tos', u8],
    ['table', u8],
    ['protocol', u8],
    ['scope', u8],
    ['type', u8],
    ['flags', u32],
  ],
  table('RTA', {
    dst: [1, ip],
    src: [2, ip],
    iif: [3, u32],
    oif: [4, u32],
    gateway: [5, ip],
    priority: [6, u32],
    prefsrc: [7, ip],
    metrics: [8, nested(metricsTable)],
    multipath: [9, bytes], // struct rtnexthop, each with attributes behind it
    flow: [11, u32],
    cacheinfo: [
      12,
      struct([
        ['clntref', u32],
        ['lastuse', u32],
        ['expires', s32],
        ['error', u32],
        ['used', u32],
        ['id', u32],
        ['ts', u32],
        ['tsage', u32],
      ]),
    ],
    table: [15, u32],
    mark: [16, u32],
    via: [18, bytes], // struct rtvia: a family and an address of it
    newdst: [19, bytes],
    pref: [20, u8],
    encap_type: [21, u16],
    encap: [22, nest],
    expires: [23, u32],
    uid: [25, u32],
    ttl_propagate: [26, u8],
    ip_proto: [27, u8],
    sport: [28, be16],
    dport: [29, be16],
    nh_id: [30, u32],
  }),
);
type Attributes = Values<typeof routeFamily.table>;

/** RTNH_F_* and RTM_F_*, which share rtm_flags, with the names of ip-route(8); 'cloned' is its 'cache'. */
export const routeFlags = {
  dead: 0x01,
  pervasive: 0x02,
  offload: 0x08,
  linkdown: 0x10,
  unresolved: 0x20,
  trap: 0x40,
  notify: 0x100,
  cloned: 0x200,
  equalize: 0x400,
  prefix: 0x800,
  lookup_table: 0x1000,
  fib_match: 0x2000,
  rt_offload: 0x4000,
  rt_trap: 0x8000,
  rt_offload_failed: 0x20000000,
} as const;
const RTNH_F_ONLINK = 0x04;
const { dead, offload, linkdown, unresolved, trap, lookup_table, fib_match, rt_offload, rt_trap, rt_offload_failed } = routeFlags;
/** What the kernel finds out itself. It refuses a request that says 'dead' or 'linkdown' (fib_create_info). */
const FOUND = dead | offload | linkdown | unresolved | trap | rt_offload | rt_trap | rt_offload_failed | lookup_table | fib_match;

/** ICMPV6_ROUTER_PREF_*: RFC 4191. */
export const preferences = new Naming('router preference', { medium: 0, high: 1, low: 3 });

/** LWTUNNEL_ENCAP_*: uapi/linux/lwtunnel.h. */
export const encapTypes = new Naming('encapsulation', {
  mpls: 1,
  ip: 2,
  ila: 3,
  ip6: 4,
  seg6: 5,
  bpf: 6,
  seg6local: 7,
  rpl: 8,
  ioam6: 9,
  xfrm: 10,
});

/** USER_HZ, in which rta_cacheinfo counts. */
const TICKS_PER_SECOND = 100;

/** A light-weight tunnel: what is put around the packets of a route. */
export interface Encap {
  /** 'mpls', 'ip', 'ip6', 'seg6', 'bpf', ..., or a number. */
  readonly type: string;
  /** The attributes of that type, as they came. */
  readonly data: Uint8Array;
}

/** One leg of a route with several. */
export interface Nexthop {
  readonly via?: string;
  /** As `Route.dev`. */
  readonly dev?: number | string;
  /** 1 to 256; absent: 1. */
  readonly weight?: number;
  readonly onlink?: boolean;
  /** 'dead', 'linkdown', 'pervasive', 'offload', 'trap', 'unresolved'. */
  readonly flags?: readonly string[];
  readonly flow?: number;
  readonly encap?: Encap;
  /** Of MPLS: the labels to go on with (RTA_NEWDST). */
  readonly newdst?: Uint8Array;
  readonly unknown?: readonly Unknown[];
}

/** RTAX_* by kernel name, without the MTU, which stands in the route. */
export interface RouteMetrics extends Omit<Values<typeof metricsTable>, 'lock' | 'mtu'> {
  /** Names of metrics, 'mtu' too, that path MTU discovery must not change. */
  readonly lock?: readonly string[];
}

/** A route. What is absent was not in the message, or is the default that ip-route(8) hides. */
export interface Route {
  readonly object?: 'route';
  /** CIDR. The default routes are written '0.0.0.0/0' and '::/0'; 'default' is accepted, and is of the family of `via`, `src` or `from`. */
  readonly dst: string;
  /** Present only where it is neither IPv4 nor IPv6: AF_MPLS 28 (the label stands in the bits of `dst`), RTNL_FAMILY_IPMR 128. */
  readonly family?: number;
  /** The source prefix that the route is for. */
  readonly from?: string;
  readonly tos?: number;
  /** The gateway. Of another family than `dst` too (RTA_VIA, since 5.2 for IPv4 routes). */
  readonly via?: string;
  /** The ifindex. Where a caller may give a name, it is an ifindex by the time the route is encoded. */
  readonly dev?: number | string;
  /** The preferred source address. */
  readonly src?: string;
  /** Absent in a request: main, or local for the types that belong there. */
  readonly table?: number;
  /** 'unicast' (default), 'local', 'broadcast', 'anycast', 'multicast', 'blackhole', 'unreachable', 'prohibit', 'throw', 'nat'. */
  readonly type?: string;
  /** 'global', 'site', 'link', 'host', 'nowhere' or a number. Absent in a request: what ip-route(8) makes of the rest. */
  readonly scope?: string;
  /** 'kernel', 'boot', 'static', 'ra', 'dhcp', 'bird', ... or a number. Absent in a request: boot. */
  readonly protocol?: string;
  readonly metric?: number;
  readonly mtu?: number;
  readonly metrics?: RouteMetrics;
  /** The gateway need not be in a connected subnet. */
  readonly onlink?: boolean;
  readonly nexthops?: readonly Nexthop[];
  /** A nexthop object. The kernel tells what it stands for in `via`, `dev` and `nexthops` too; a request carries the number alone. */
  readonly nhid?: number;
  readonly encap?: Encap;
  /** 'dead', 'linkdown', 'pervasive', 'offload', 'trap', 'cloned' (an exception or the answer to a look-up), 'rt_offload', ... */
  readonly flags?: readonly string[];
  /** Seconds, rounded up; 0: has expired. */
  readonly expires?: number;
  /** 'low', 'medium', 'high': of IPv6 routes. */
  readonly pref?: string;
  /** Realms (RTA_FLOW): the source's in the upper half, the destination's in the lower. */
  readonly flow?: number;
  readonly ttlPropagate?: boolean;
  readonly newdst?: Uint8Array;
  /** Why an IPv6 route refuses: a negative error number. */
  readonly error?: number;
  // of answers to look-ups
  readonly iif?: number;
  readonly mark?: number;
  readonly uid?: number;
  readonly ipProtocol?: string;
  readonly sport?: number;
  readonly dport?: number;
  readonly unknown?: readonly Unknown[];
}
type Writable<T> = { -readonly [N in keyof T]: T[N] };

/** '/24' by 24. */
const slashes = Array.from({ length: 256 }, (_, length) => `/${length}`);
/** rtmsg of a message that is too short for one. */
const blank = new Bytes(new ArrayBuffer(routeFamily.size));

export function decodeRoute(from: Bytes, message: Message): Route {
  const whole = message.end - message.start >= routeFamily.size;
  const { u8, u32 } = whole ? from : blank;
  const at = whole ? message.start : 0;
  const family = u8[at]!;
  const slots = decodeSlots(routeFamily.table, from, message.start + routeFamily.size, message.end);

  const dst = slots[1];
  const route: Writable<Route> = {
    object: 'route',
    dst:
      dst === undefined
        ? u8[at + 1] === 0
          ? defaultPrefix(family)
          : `${defaultPrefix(family).slice(0, -1)}${u8[at + 1]}`
        : dst + slashes[u8[at + 1]!]!,
    table: slots[15] ?? u8[at + 4]!,
    type: routeTypes.name(u8[at + 7]!),
    scope: scopes.name(u8[at + 6]!),
    protocol: protocols.name(u8[at + 5]!),
  };
  if (slots[5] !== undefined) route.via = slots[5];
  if (slots[4] !== undefined) route.dev = slots[4];
  if (slots[7] !== undefined) route.src = slots[7];
  if (slots[6] !== undefined) route.metric = slots[6];
  if (slots[20] !== undefined) route.pref = preferences.name(slots[20]);
  const info = slots[12];
  if (info !== undefined && structLength(from, info) >= 16) {
    const expires = from.u32[(info >> 2) + 2]! | 0;
    if (expires !== 0) route.expires = Math.max(0, Math.ceil(expires / TICKS_PER_SECOND));
    const error = from.u32[(info >> 2) + 3]! | 0;
    if (error !== 0) route.error = error;
  }
  if (slots[30] !== undefined) route.nhid = slots[30];
  const flags = u32[(at >> 2) + 2]!;
  if (flags !== 0) {
    if ((flags & RTNH_F_ONLINK) !== 0) route.onlink = true;
    if ((flags & ~RTNH_F_ONLINK) !== 0) route.flags = flagNames(routeFlags, flags & ~RTNH_F_ONLINK);
  }
  if (u8[at + 3] !== 0) route.tos = u8[at + 3]!;
  if (family !== AF_INET && family !== AF_INET6) route.family = family;
  if (u8[at + 2] !== 0 || slots[2] !== undefined) route.from = `${slots[2] ?? defaultPrefix(family).slice(0, -2)}/${u8[at + 2]}`;
  if (slots[8] !== undefined) addMetrics(route, slots[8]);
  rest(route, slots);
  return route;
}

/** What few routes have. The slots are read here to the last: decoding multipath uses them again. */
function rest(route: Writable<Route>, slots: ReturnType<typeof decodeSlots<typeof routeFamily.table.fields>>): void {
  const { 3: iif, 9: multipath, 11: flow, 16: mark, 18: via, 19: newdst, 21: encapType, 22: encap, 23: expires, 25: uid, 26: ttl } = slots;
  const { 27: ipProto, 28: sport, 29: dport, 0: unknown } = slots;
  let kept = unknown;
  if (iif !== undefined) route.iif = iif;
  if (flow !== undefined) route.flow = flow;
  if (mark !== undefined) route.mark = mark;
  if (newdst !== undefined) route.newdst = newdst;
  if (expires !== undefined) route.expires = expires;
  if (uid !== undefined) route.uid = uid;
  if (ttl !== undefined) route.ttlPropagate = ttl !== 0;
  if (ipProto !== undefined) route.ipProtocol = ipProtocols.name(ipProto);
  if (sport !== undefined) route.sport = sport;
  if (dport !== undefined) route.dport = dport;
  if (encapType !== undefined) route.encap = { type: encapTypes.name(encapType), data: encap ?? new Uint8Array() };
  else if (encap !== undefined) kept = keep(kept, 22, encap);
  if (via !== undefined) {
    const gateway = decodeVia(via);
    if (gateway === undefined || route.via !== undefined) kept = keep(kept, 18, via);
    else route.via = gateway;
  }
  if (multipath !== undefined) route.nexthops = decodeNexthops(multipath);
  if (kept !== undefined) route.unknown = kept;
}

function keep(unknown: readonly Unknown[] | undefined, type: number, data: Uint8Array): readonly Unknown[] {
  return [...(unknown ?? []), { type, data }];
}

function addMetrics(route: Writable<Route>, attributes: Values<typeof metricsTable>): void {
  const { mtu, lock, ...rest } = attributes;
  if (mtu !== undefined) route.mtu = mtu;
  const metrics: Writable<RouteMetrics> = rest;
  if (lock !== undefined) metrics.lock = flagNames(locks, lock);
  for (const _ in metrics) {
    route.metrics = metrics;
    break;
  }
}

function decodeVia(data: Uint8Array): string | undefined {
  if (data.length !== 6 && data.length !== 18) return undefined;
  const family = Bytes.copy(data).u16[0];
  return family === (data.length === 6 ? AF_INET : AF_INET6) ? formatIp(data, 2, data.length - 2) : undefined;
}

/** struct rtnexthop: length, flags, weight - 1, ifindex. */
function decodeNexthops(data: Uint8Array): Nexthop[] {
  const from = Bytes.copy(data);
  const nexthops: Nexthop[] = [];
  let at = 0;
  while (at + 8 <= data.length) {
    const length = from.u16[at >> 1]!;
    if (length < 8 || at + length > data.length) break;
    const { gateway, via, flow, encap_type, encap, newdst, unknown, ...others } = decode(routeFamily.table, from, at + 8, at + length);
    const nexthop: Writable<Nexthop> = {};
    let kept = unknown;
    const other = via === undefined || gateway !== undefined ? undefined : decodeVia(via);
    if (via !== undefined && other === undefined) kept = keep(kept, 18, via);
    if (encap !== undefined && encap_type === undefined) kept = keep(kept, 22, encap);
    for (const { type, data } of encodeOthers(others)) kept = keep(kept, type, data);
    if (gateway !== undefined || other !== undefined) nexthop.via = gateway ?? other!;
    const dev = from.u32[(at >> 2) + 1]!;
    if (dev !== 0) nexthop.dev = dev;
    if (from.u8[at + 3] !== 0) nexthop.weight = from.u8[at + 3]! + 1;
    const flags = from.u8[at + 2]!;
    if ((flags & RTNH_F_ONLINK) !== 0) nexthop.onlink = true;
    if ((flags & ~RTNH_F_ONLINK) !== 0) nexthop.flags = flagNames(routeFlags, flags & ~RTNH_F_ONLINK);
    if (flow !== undefined) nexthop.flow = flow;
    if (encap_type !== undefined) nexthop.encap = { type: encapTypes.name(encap_type), data: encap ?? new Uint8Array() };
    if (newdst !== undefined) nexthop.newdst = newdst;
    if (kept !== undefined) nexthop.unknown = kept;
    nexthops.push(nexthop);
    at += (length + 3) & ~3;
  }
  return nexthops;
}

/** Attributes that no nexthop has today, back to bytes. */
function encodeOthers(attributes: Attributes): readonly Unknown[] {
  const writer = new Writer();
  encode(routeFamily.table, writer, attributes);
  const from = Bytes.copy(writer.finish());
  return decode(table('RTA', {}), from, 0, from.u8.length).unknown ?? [];
}

// ------------------------------------------------------------------ requests

/**
 * `type` is RTM_NEWROUTE or RTM_DELROUTE. What the route does not say is filled in as ip-route(8) does; a request to delete that
 * says neither type, protocol nor scope means the first route that fits.
 */
export function encodeRoute(type: number, flags: number, route: Route): Uint8Array {
  const family =
    route.family ?? familyOf(route.dst) ?? familyOf(route.via ?? route.src ?? route.from) ?? familyOf(route.nexthops?.[0]?.via) ?? AF_INET;
  const dst = parsePrefix(route.dst, family);
  const source = route.from === undefined ? undefined : parsePrefix(route.from, family);
  const deleted = type === RTM_DELROUTE;
  // A nexthop object excludes the description of a nexthop.
  const named = route.nhid !== undefined;
  // Of a unicast route to a blackhole object the kernel tells the type of the object, by which it does not find the route again.
  const ofRoute = named && route.type === 'blackhole' ? undefined : route.type;
  const kind = ofRoute === undefined ? (deleted ? routeTypes.numbers.unspec : routeTypes.numbers.unicast) : routeTypes.number(ofRoute);
  const routeTable = route.table ?? tableOf(kind);
  return encodeMessage(
    routeFamily,
    type,
    flags,
    {
      family,
      dst_len: dst.length,
      src_len: source?.length ?? 0,
      tos: route.tos ?? 0,
      table: routeTable < 256 ? routeTable : 0,
      protocol: route.protocol === undefined ? (deleted ? 0 : protocols.numbers.boot) : protocols.number(route.protocol),
      scope: route.scope === undefined ? scopeOf(family, kind, deleted, route) : scopes.number(route.scope),
      type: kind,
      flags: (flagBits(routeFlags, route.flags ?? []) & ~FOUND) | (route.onlink === true && !named ? RTNH_F_ONLINK : 0),
    },
    {
      dst: dst.length === 0 ? undefined : dst.address,
      src: source === undefined || source.length === 0 ? undefined : source.address,
      iif: route.iif,
      priority: route.metric,
      prefsrc: route.src,
      metrics: encodeMetrics(route),
      flow: named ? undefined : route.flow,
      table: routeTable < 256 ? undefined : routeTable,
      mark: route.mark,
      pref: route.pref === undefined ? undefined : preferences.number(route.pref),
      expires: route.expires,
      uid: route.uid,
      ttl_propagate: route.ttlPropagate === undefined ? undefined : Number(route.ttlPropagate),
      ip_proto: route.ipProtocol === undefined ? undefined : ipProtocols.number(route.ipProtocol),
      sport: route.sport,
      dport: route.dport,
      nh_id: route.nhid,
      newdst: route.newdst,
      ...(!named && {
        oif: index(route.dev),
        multipath: route.nexthops === undefined ? undefined : encodeNexthops(route.nexthops, family),
        ...encodeGateway(route.via, family),
        ...encodeEncap(route.encap),
      }),
      unknown: route.unknown,
    },
  );
}

function tableOf(type: number): number {
  const { local, broadcast, anycast, nat } = routeTypes.numbers;
  return type === local || type === broadcast || type === anycast || type === nat ? RT_TABLE_LOCAL : RT_TABLE_MAIN;
}

function scopeOf(family: number, type: number, deleted: boolean, route: Route): number {
  const { unspec, unicast, local, nat, broadcast, multicast, anycast } = routeTypes.numbers;
  if (family === AF_INET6 || family === AF_MPLS) return scopes.numbers.global;
  if (type === local || type === nat) return scopes.numbers.host;
  if (type === broadcast || type === multicast || type === anycast) return scopes.numbers.link;
  if (deleted) return scopes.numbers.nowhere; // any
  if (type !== unicast && type !== unspec) return scopes.numbers.global;
  return route.via === undefined && route.nexthops === undefined && route.nhid === undefined ? scopes.numbers.link : scopes.numbers.global;
}

function encodeMetrics({ mtu, metrics }: Route): Values<typeof metricsTable> | undefined {
  if (mtu === undefined && metrics === undefined) return undefined;
  const { lock, ...rest } = metrics ?? {};
  return { ...rest, mtu, lock: lock === undefined ? undefined : flagBits(locks, lock) };
}

function encodeGateway(via: string | undefined, family: number): Pick<Attributes, 'gateway' | 'via'> {
  if (via === undefined) return {};
  const own = familyOf(via)!;
  if (own === family) return { gateway: via };
  const address = parseIp(via);
  if (address === undefined) throw new TypeError(`not an address: '${via}'`);
  const writer = new Writer();
  writer.u16(own);
  writer.bytes(address);
  return { via: writer.finish() };
}

function encodeEncap(encap: Encap | undefined): Pick<Attributes, 'encap' | 'encap_type'> {
  return encap === undefined ? {} : { encap_type: encapTypes.number(encap.type), encap: encap.data };
}

function encodeNexthops(nexthops: readonly Nexthop[], family: number): Uint8Array {
  const writer = new Writer();
  for (const { via, dev, weight, onlink, flags, flow, encap, newdst, unknown } of nexthops) {
    const start = writer.length;
    writer.u16(0);
    writer.byte((flagBits(routeFlags, flags ?? []) & ~FOUND) | (onlink === true ? RTNH_F_ONLINK : 0));
    writer.byte((weight ?? 1) - 1);
    writer.u32(index(dev) ?? 0);
    encode(routeFamily.table, writer, { ...encodeGateway(via, family), ...encodeEncap(encap), flow, newdst, unknown });
    writer.setU16(start, writer.length - start);
  }
  return writer.finish();
}

function index(dev: number | string | undefined): number | undefined {
  if (typeof dev === 'string') throw new TypeError(`a route is encoded with the ifindex of '${dev}'`);
  return dev;
}

/**
 * A dump of RTM_GETROUTE; 0 where a family, a table or a link is not chosen. The kernel filters only for a socket with
 * NETLINK_GET_STRICT_CHK. A table that does not exist is ENOENT, where the family is chosen.
 */
export function encodeRouteDump(flags: number, family: number, routeTable = 0, ifindex = 0): Uint8Array {
  return encodeMessage(
    routeFamily,
    RTM_GETROUTE,
    flags,
    { family, table: routeTable < 256 ? routeTable : 0 },
    { table: routeTable === 0 ? undefined : routeTable, oif: ifindex === 0 ? undefined : ifindex },
  );
}

export interface RouteLookup {
  readonly from?: string;
  /** The ifindex where the packet came in. */
  readonly iif?: number;
  readonly oif?: number;
  readonly mark?: number;
  readonly uid?: number;
  readonly tos?: number;
  /** 'tcp', 'udp', 'icmp' or 'icmpv6': the kernel takes no other. */
  readonly ipProtocol?: string;
  readonly sport?: number;
  readonly dport?: number;
  /** RTM_F_LOOKUP_TABLE: the answer names the table that the route is in, not main. IPv6's answers always do, and the flag is refused. */
  readonly table?: boolean;
  /** RTM_F_FIB_MATCH: the answer is the entry of the table, not what a packet would take. */
  readonly fibMatch?: boolean;
}

/** The kernel's own look-up (`ip route get`). */
export function encodeRouteGet(to: string, lookup: RouteLookup = {}): Uint8Array {
  const dst = parsePrefix(to);
  const source = lookup.from === undefined ? undefined : parsePrefix(lookup.from, dst.family);
  return encodeMessage(
    routeFamily,
    RTM_GETROUTE,
    0,
    {
      family: dst.family,
      dst_len: dst.length,
      src_len: source?.length ?? 0,
      tos: lookup.tos ?? 0,
      flags: (lookup.table === true && dst.family !== AF_INET6 ? lookup_table : 0) | (lookup.fibMatch === true ? fib_match : 0),
    },
    {
      dst: dst.address,
      src: source?.address,
      iif: lookup.iif,
      oif: lookup.oif,
      mark: lookup.mark,
      uid: lookup.uid,
      ip_proto: lookup.ipProtocol === undefined ? undefined : ipProtocols.number(lookup.ipProtocol),
      sport: lookup.sport,
      dport: lookup.dport,
    },
  );
}

/** RTAX_* that a route may carry, `mtu` apart. */
export const metricNames = Object.keys(metricsTable.fields).filter((name) => name !== 'lock' && name !== 'mtu');
