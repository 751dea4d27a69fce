// RTM_NEWLINK and kin: uapi/linux/if_link.h. What is particular to a kind of link stands in link/, one file a kind.
import {
  type AnyTable,
  type Unknown,
  type Values,
  decodeSlots,
  decodeStruct,
  kinded,
  nested,
  string,
  structLength,
  table,
  bytes,
} from './attribute.js';
import type { Bytes } from './bytes.js';
import { AF_BRIDGE, AF_UNSPEC } from './constants.js';
import {
  addrGenModes,
  afSpec,
  afSpecRequest,
  ifinfomsg,
  inet6ConfNames,
  inetConf,
  linkFields,
  operStates,
  stats64,
} from './link/attributes.js';
import { bond, bondPort } from './link/bond.js';
import { bridgePort, bridgeSpec } from './link/bridge-port.js';
import { bridge } from './link/bridge.js';
import { geneve } from './link/geneve.js';
import { dummy, ifb } from './link/ifb.js';
import { ipvlan } from './link/ipvlan.js';
import { macvlan } from './link/macvlan.js';
import { netkit } from './link/netkit.js';
import { tun } from './link/tun.js';
import { veth } from './link/veth.js';
import { vlan } from './link/vlan.js';
import { vrf, vrfPort } from './link/vrf.js';
import { vxlan } from './link/vxlan.js';
import { type Message, NLM_F_CREATE, NLM_F_DUMP, encodeMessage, messageFamily } from './message.js';
import { Naming, flagNames } from './names.js';

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_SETLINK = 19;
export const RTM_NEWLINKPROP = 108;
export const RTM_DELLINKPROP = 109;

/** IFLA_EXT_MASK: without the counters of IPv6, which make a dump a third longer (since 4.4). IFLA_STATS64 comes all the same. */
export const RTEXT_FILTER_SKIP_STATS = 8;

/** IFNAMSIZ, with its NUL. A longer name is an altname (since 5.5), of at most 127 bytes. */
export const IFNAMSIZ = 16;

/** IFLA_INFO_DATA of each kind. Of a kind that is not here it comes and goes as bytes. */
export const linkKinds = {
  bond: nested(bond),
  bridge: nested(bridge),
  dummy: nested(dummy),
  geneve: nested(geneve),
  ifb: nested(ifb),
  ipvlan: nested(ipvlan),
  ipvtap: nested(ipvlan),
  macvlan: nested(macvlan),
  macvtap: nested(macvlan),
  netkit: nested(netkit),
  tun: nested(tun),
  veth: nested(veth),
  vlan: nested(vlan),
  vrf: nested(vrf),
  vxlan: nested(vxlan),
} as const;

/** IFLA_INFO_SLAVE_DATA by the kind of the master. */
export const portKinds = {
  bond: nested(bondPort),
  bridge: nested(bridgePort),
  vrf: nested(vrfPort),
} as const;

const linkInfo = table('IFLA_INFO', {
  kind: [1, string],
  data: [2, kinded('kind', linkKinds)],
  xstats: [3, bytes],
  slave_kind: [4, string],
  slave_data: [5, kinded('slave_kind', portKinds)],
});

/** What the kernel tells. */
export const linkFamily = messageFamily(
  ifinfomsg,
  table('IFLA', { ...linkFields, linkinfo: [18, nested(linkInfo)], af_spec: [26, nested(afSpec)] }),
);
/** What it is told: IFLA_AF_SPEC is another. */
export const linkRequestFamily = messageFamily(
  ifinfomsg,
  table('IFLA', { ...linkFields, linkinfo: [18, nested(linkInfo)], af_spec: [26, nested(afSpecRequest)] }),
);
/** AF_BRIDGE, both ways: a port of a bridge, or the bridge as a port of itself. */
export const bridgePortFamily = messageFamily(
  ifinfomsg,
  table('IFLA', { ...linkFields, protinfo: [12, nested(bridgePort)], af_spec: [26, nested(bridgeSpec)] }),
);

// ------------------------------------------------------------------ values

const IFF_UP = 0x1;
const IFF_RUNNING = 0x40;
const IFF_LOWER_UP = 0x10000;

/** IFF_*, in the order and with the names of ip-link(8). IFF_RUNNING is not printed; its absence is, as NO-CARRIER. */
const linkFlags = {
  LOOPBACK: 0x8,
  BROADCAST: 0x2,
  POINTOPOINT: 0x10,
  MULTICAST: 0x1000,
  NOARP: 0x80,
  ALLMULTI: 0x200,
  PROMISC: 0x100,
  MASTER: 0x400,
  SLAVE: 0x800,
  DEBUG: 0x4,
  DYNAMIC: 0x8000,
  AUTOMEDIA: 0x4000,
  PORTSEL: 0x2000,
  NOTRAILERS: 0x20,
  UP: IFF_UP,
  LOWER_UP: IFF_LOWER_UP,
  DORMANT: 0x20000,
  ECHO: 0x40000,
} as const;

/** ARPHRD_* (uapi/linux/if_arp.h), as ip-link(8) prints them. */
// prettier-ignore
const hardwareTypes = new Naming('link type', {
  ether: 1, infiniband: 32, slip: 256, can: 280, ppp: 512, rawip: 519, ipip: 768, tunnel6: 769, loopback: 772, sit: 776, gre: 778, 'ieee802.11': 801,
  'ieee802.11/radiotap': 803, gre6: 823, netlink: 824, '6lowpan': 825, vsockmon: 826, none: 65534, void: 65535,
});

/** A link of another namespace; `netnsid` where it is another than ours, and known there by this number. */
export interface LinkEnd {
  readonly ifindex: number;
  readonly netnsid?: number;
}

/** The data of a kind by kernel names (`IFLA_BR_AGEING_TIME` is `ageing_time`), as in `ip -json -details link`; bytes where the kind is not known. */
export type LinkInfo = { readonly [name: string]: unknown; readonly unknown?: readonly Unknown[] | undefined } | Uint8Array;
/** The data of one kind: `InfoOf<'vxlan'>`. */
export type InfoOf<K extends keyof typeof linkKinds> = (typeof linkKinds)[K] extends { readonly value?: infer T } ? NonNullable<T> : never;
/** The settings of a port of one kind of master: `PortOf<'bridge'>`. */
export type PortOf<K extends keyof typeof portKinds> = (typeof portKinds)[K] extends { readonly value?: infer T } ? NonNullable<T> : never;

/** A network device. */
export interface Link {
  readonly object: 'link';
  readonly name: string;
  readonly ifindex: number;
  /** IFLA_INFO_KIND; without one 'loopback', or 'physical': a device whose driver makes it, not a request. A virtio card is one. '' in AF_BRIDGE messages, which do not say it. */
  readonly kind: string;
  /** '' where the device has no addresses (a tun). */
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  readonly carrier: boolean;
  /** IFF_*, as ip-link(8) prints them: 'BROADCAST', 'MULTICAST', 'UP', 'LOWER_UP', and 'NO-CARRIER' for one that is up and not running. */
  readonly flags: readonly string[];
  /** ARPHRD_*: 'ether', 'loopback', 'none', ... */
  readonly type: string;
  /** IF_OPER_*: 'UP', 'DOWN', 'UNKNOWN', 'LOWERLAYERDOWN', ... */
  readonly operstate: string;
  readonly qdisc: string;
  /** Packets. */
  readonly txQueueLength: number;
  readonly group: number;
  /** How many want it; more than 0: IFF_PROMISC is in effect, though it need not be in `flags`. */
  readonly promiscuity: number;
  /** How many want it (since 6.0). */
  readonly allMulticast?: number;
  readonly numTxQueues: number;
  readonly numRxQueues: number;
  /** 0: there is no limit. */
  readonly minMtu?: number;
  readonly maxMtu?: number;
  readonly broadcast?: string;
  readonly permanentMac?: string;
  readonly alias?: string;
  readonly altnames?: readonly string[];
  /** Index of the bridge, bond or VRF. */
  readonly master?: number;
  /** The other end of a veth or netkit. */
  readonly peer?: LinkEnd;
  /** The device under a macvlan, vlan, vxlan and such. */
  readonly lower?: LinkEnd;
  /** The namespace that the message speaks of, where another was asked about (IFLA_TARGET_NETNSID). */
  readonly netnsid?: number;
  /** In a deletion: where the link went, and its index there (IFLA_NEW_NETNSID, IFLA_NEW_IFINDEX). */
  readonly movedTo?: { readonly netnsid?: number; readonly ifindex?: number };
  readonly addrGenMode?: string;
  /** 'drv', 'skb' or 'hw', and 'multi', where each mode may have its own program. */
  readonly xdp?: { readonly mode: string; readonly programId: number };
  readonly parentDevice?: string;
  readonly parentBus?: string;
  readonly carrierChanges?: number;
  readonly gsoMaxSize?: number;
  readonly gsoMaxSegs?: number;
  readonly groMaxSize?: number;
  readonly protoDown?: boolean;
  /** Of its kind; see InfoOf. */
  readonly info?: LinkInfo;
  /** The kind of its master; absent in AF_BRIDGE messages. */
  readonly portKind?: string;
  /** Its settings as a port; see PortOf. */
  readonly port?: LinkInfo;
  /** net.ipv4.conf.<link>.*: see namedInetConf. Absent where the device has no IPv4 (its MTU is under 68). */
  readonly inet?: { readonly conf: readonly number[] };
  /** net.ipv6.conf.<link>.*: see namedInet6Conf. Absent where the device has no IPv6 (its MTU is under 1280). */
  readonly inet6?: { readonly conf: readonly number[]; readonly flags: number; readonly token?: string };
  /** VLANs and flags of a bridge port; in AF_BRIDGE messages. */
  readonly bridge?: Values<typeof bridgeSpec>;
  /** Where decodeLink was asked for them. */
  readonly statistics?: Readonly<Record<string, bigint>>;
  readonly unknown?: readonly Unknown[];
}

// ------------------------------------------------------------------ decoding

type Mutable<T> = { -readonly [P in keyof T]: T[P] };

const flagCache = new Map<number, readonly string[]>();

/** Few combinations exist, and every link of a dump has one: the arrays are shared. */
function namesOfFlags(flags: number): readonly string[] {
  const known = flagCache.get(flags);
  if (known !== undefined) return known;
  const names = flagNames(linkFlags, flags & ~IFF_RUNNING);
  if ((flags & IFF_UP) !== 0 && (flags & IFF_RUNNING) === 0) names.unshift('NO-CARRIER');
  Object.freeze(names);
  if (flagCache.size < 256) flagCache.set(flags, names); // nor do hostile bytes fill the memory
  return names;
}

/** Of RTM_NEWLINK and RTM_DELLINK, in a dump, an answer or an event. The kernel counts for all of them: `statistics` costs as much again. */
export function decodeLink(from: Bytes, message: Message, statistics = false): Link {
  const { start, end } = message;
  const header = end - start >= 16;
  const family = header ? from.u8[start]! : 0;
  const flags = header ? from.u32[(start >> 2) + 2]! : 0;
  const type = hardwareTypes.name(header ? from.u16[(start >> 1) + 1]! : 0);
  // The attributes by number (decodeSlots): a link has some fifty.
  const a = decodeSlots(
    family === AF_BRIDGE ? (bridgePortFamily.table as unknown as typeof linkFamily.table) : linkFamily.table,
    from,
    start + 16,
    end,
  );
  const info = a[18];
  const kind = info?.kind ?? (family === AF_BRIDGE ? '' : type === 'loopback' ? type : 'physical');
  const link: Mutable<Link> = {
    object: 'link',
    name: a[3] ?? '',
    ifindex: header ? from.u32[(start >> 2) + 1]! | 0 : 0,
    kind,
    mac: a[1] ?? '',
    mtu: a[4] ?? 0,
    up: (flags & IFF_UP) !== 0,
    carrier: a[33] === undefined ? (flags & IFF_LOWER_UP) !== 0 : a[33] !== 0,
    flags: namesOfFlags(flags),
    type,
    operstate: operStates.name(a[16] ?? 0),
    qdisc: a[6] ?? '',
    txQueueLength: a[13] ?? 0,
    group: a[27] ?? 0,
    promiscuity: a[30] ?? 0,
    numTxQueues: a[31] ?? 1,
    numRxQueues: a[32] ?? 1,
  };
  // No key without a value, and always in this order: printing stays clean, and the objects share their shapes.
  if (a[61] !== undefined) link.allMulticast = a[61];
  if (a[50] !== undefined) link.minMtu = a[50];
  if (a[51] !== undefined) link.maxMtu = a[51];
  if (a[2] !== undefined) link.broadcast = a[2];
  if (a[54] !== undefined) link.permanentMac = a[54];
  if (a[20] !== undefined) link.alias = a[20];
  if (a[52]?.alt_ifname !== undefined) link.altnames = a[52].alt_ifname;
  if (a[10] !== undefined) link.master = a[10];
  if (a[5] !== undefined && (a[5] !== 0 || a[37] !== undefined)) {
    const other: LinkEnd = a[37] === undefined ? { ifindex: a[5] } : { ifindex: a[5], netnsid: a[37] };
    if (kind === 'veth' || kind === 'netkit') link.peer = other;
    else link.lower = other;
  }
  if (a[46] !== undefined) link.netnsid = a[46];
  if (a[45] !== undefined || a[49] !== undefined)
    link.movedTo = { ...(a[45] !== undefined && { netnsid: a[45] }), ...(a[49] !== undefined && { ifindex: a[49] }) };
  if (a[43]?.attached !== undefined && a[43].attached !== 'none') link.xdp = { mode: a[43].attached, programId: a[43].prog_id ?? 0 };
  if (a[56] !== undefined) link.parentDevice = a[56];
  if (a[57] !== undefined) link.parentBus = a[57];
  if (a[35] !== undefined) link.carrierChanges = a[35];
  if (a[41] !== undefined) link.gsoMaxSize = a[41];
  if (a[40] !== undefined) link.gsoMaxSegs = a[40];
  if (a[58] !== undefined) link.groMaxSize = a[58];
  if (a[39] !== undefined && a[39] !== 0) link.protoDown = true;
  if (info !== undefined) {
    if (info.data !== undefined) link.info = info.data;
    if (info.slave_kind !== undefined) link.portKind = info.slave_kind;
    if (info.slave_data !== undefined) link.port = info.slave_data;
  }
  if (family === AF_BRIDGE) {
    if (a[12] !== undefined) link.port = a[12];
    if (a[26] !== undefined) link.bridge = a[26];
  } else if (a[26] !== undefined) {
    const { inet, inet6 } = a[26];
    if (inet?.conf !== undefined) link.inet = { conf: inet.conf };
    if (inet6?.conf !== undefined) {
      const { conf, flags: states = 0, token } = inet6;
      link.inet6 = token === undefined || token === '::' ? { conf, flags: states } : { conf, flags: states, token };
    }
    if (inet6?.addr_gen_mode !== undefined) link.addrGenMode = inet6.addr_gen_mode;
  }
  if (statistics && a[23] !== undefined) link.statistics = statisticsAt(from, a[23]);
  if (a[0] !== undefined) link.unknown = a[0];
  return link;
}

function statisticsAt(from: Bytes, at: number): Readonly<Record<string, bigint>> {
  return decodeStruct(stats64.layout, from, at, at + structLength(from, at)) as unknown as Readonly<Record<string, bigint>>;
}

/** `Link.inet.conf` by the names of net.ipv4.conf.<link>.* (IPV4_DEVCONF_*). */
export function namedInetConf(conf: readonly number[]): Readonly<Partial<Record<InetConfName, number>>> {
  return Object.fromEntries(inetConf.inOrder.filter(({ type }) => type <= conf.length).map(({ name, type }) => [name, conf[type - 1]!]));
}
export type InetConfName = keyof typeof inetConf.fields;

/** `Link.inet6.conf` by the names of net.ipv6.conf.<link>.* (DEVCONF_*). Times are in milliseconds. */
export function namedInet6Conf(conf: readonly number[]): Readonly<Partial<Record<(typeof inet6ConfNames)[number], number>>> {
  return Object.fromEntries(inet6ConfNames.slice(0, conf.length).map((name, index) => [name, conf[index]!]));
}

// ------------------------------------------------------------------ encoding

/** What may be said of any link, the far end of a pair included. What is not given stays, or is the kernel's choice. */
export interface LinkSettings {
  readonly mac?: string | undefined;
  readonly broadcast?: string | undefined;
  readonly mtu?: number | undefined;
  readonly up?: boolean | undefined;
  readonly promiscuous?: boolean | undefined;
  readonly allMulticast?: boolean | undefined;
  readonly multicast?: boolean | undefined;
  /** false: IFF_NOARP. */
  readonly arp?: boolean | undefined;
  readonly txQueueLength?: number | undefined;
  readonly group?: number | undefined;
  /** The namespace it shall be in, as a descriptor of this process. */
  readonly netnsFd?: number | undefined;
  readonly numTxQueues?: number | undefined;
  readonly numRxQueues?: number | undefined;
  readonly gsoMaxSize?: number | undefined;
  readonly gsoMaxSegs?: number | undefined;
}

/** The far end of a veth or netkit, made with the near one. With `up` the kernel answers ENOTCONN, for this end is made first: bring it up afterwards. */
export interface PeerRequest extends LinkSettings {
  readonly name?: string | undefined;
  /** The wanted index. */
  readonly ifindex?: number | undefined;
}

/**
 * One request about a link. It is meant by `ifindex`, else by `name`, which may be an altname; in a request with NLM_F_CREATE these
 * are what the new link shall have.
 */
export interface LinkRequest extends LinkSettings {
  readonly ifindex?: number | undefined;
  readonly name?: string | undefined;
  /** Renames the link; it must be meant by `ifindex`. */
  readonly newName?: string | undefined;
  /** 0: it is taken out. */
  readonly master?: number | undefined;
  /** The kernel ignores it in the request that makes the link. '' removes it. */
  readonly alias?: string | undefined;
  /** The device under the new one (IFLA_LINK), and the namespace where that is. */
  readonly link?: number | undefined;
  readonly linkNetnsid?: number | undefined;
  readonly kind?: string | undefined;
  readonly info?: LinkInfo | undefined;
  readonly portKind?: string | undefined;
  readonly port?: LinkInfo | undefined;
  readonly peer?: PeerRequest | undefined;
  readonly addrGenMode?: string | undefined;
  /** net.ipv4.conf.<link>.*, those to be set: IFLA_INET_CONF in RTM_SETLINK. */
  readonly inetConf?: Readonly<Partial<Record<InetConfName, number>>> | undefined;
  /** Of RTM_NEWLINKPROP and RTM_DELLINKPROP. */
  readonly altnames?: readonly string[] | undefined;
  /** -1 takes the program away. `flags`: 'skb', 'drv', 'hw', 'replace', 'update_if_noexist'. */
  readonly xdp?: { readonly fd: number; readonly flags?: readonly string[]; readonly expectedFd?: number } | undefined;
  readonly protoDown?: boolean | undefined;
  readonly unknown?: readonly Unknown[] | undefined;
}

/** Which flags are said, and what: ifi_change and ifi_flags. */
function flagsOf(settings: LinkSettings): { flags: number; change: number } {
  let flags = 0;
  let change = 0;
  const say = (bit: number, value: boolean | undefined): void => {
    if (value === undefined) return;
    change |= bit;
    if (value) flags |= bit;
  };
  say(linkFlags.UP, settings.up);
  say(linkFlags.PROMISC, settings.promiscuous);
  say(linkFlags.ALLMULTI, settings.allMulticast);
  say(linkFlags.MULTICAST, settings.multicast);
  say(linkFlags.NOARP, settings.arp === undefined ? undefined : !settings.arp);
  return { flags, change };
}

function attributesOf(settings: LinkSettings) {
  return {
    address: settings.mac,
    broadcast: settings.broadcast,
    mtu: settings.mtu,
    txqlen: settings.txQueueLength,
    group: settings.group,
    net_ns_fd: settings.netnsFd,
    num_tx_queues: settings.numTxQueues,
    num_rx_queues: settings.numRxQueues,
    gso_max_size: settings.gsoMaxSize,
    gso_max_segs: settings.gsoMaxSegs,
  };
}

function isAltname(name: string): boolean {
  return new TextEncoder().encode(name).length >= IFNAMSIZ;
}

/** The attribute that a look-up by this name takes: of a name over 15 bytes IFLA_ALT_IFNAME, *instead of* IFLA_IFNAME. */
function lookup(name: string): { ifname?: string; alt_ifname?: string } {
  return isAltname(name) ? { alt_ifname: name } : { ifname: name };
}

/**
 * `type` is RTM_NEWLINK with NLM_F_CREATE to make a link (and NLM_F_EXCL, or a taken index renames a stranger's link), RTM_SETLINK
 * (RTM_NEWLINK for `info` and `port`) to change one, RTM_DELLINK, RTM_NEWLINKPROP or RTM_DELLINKPROP for altnames.
 * RTM_DELLINK with nothing but `group` deletes every link of that group at once; a change of a whole group is refused here, for it
 * would be by mistake.
 */
export function encodeLink(type: number, flags: number, request: LinkRequest): Uint8Array {
  const creates = type === RTM_NEWLINK && (flags & NLM_F_CREATE) !== 0;
  const { name, newName, ifindex = 0 } = request;
  if (!creates && ifindex === 0 && name === undefined && type !== RTM_DELLINK)
    throw new TypeError('a request about a link needs its ifindex or its name');
  if (newName !== undefined && ifindex === 0) throw new TypeError('a link is renamed by its ifindex');
  const { inetConf: settings, addrGenMode, altnames, xdp } = request;
  // Assigned, not spread: a batch may have hundreds of these.
  const attributes: Mutable<Values<typeof linkRequestFamily.table>> = attributesOf(request);
  if (creates) attributes.ifname = name;
  else if (ifindex !== 0) attributes.ifname = newName;
  else if (name !== undefined) Object.assign(attributes, lookup(name));
  attributes.link = request.link;
  attributes.link_netnsid = request.linkNetnsid;
  attributes.master = request.master;
  attributes.ifalias = request.alias;
  attributes.linkinfo = linkInfoOf(request);
  if (request.protoDown !== undefined) attributes.proto_down = Number(request.protoDown);
  if (settings !== undefined || addrGenMode !== undefined) {
    attributes.af_spec = {
      inet: settings === undefined ? undefined : { conf: settings },
      inet6: addrGenMode === undefined ? undefined : { addr_gen_mode: addrGenMode },
    };
  }
  if (altnames !== undefined) attributes.prop_list = { alt_ifname: altnames };
  if (xdp !== undefined) attributes.xdp = { fd: xdp.fd, flags: xdp.flags, expected_fd: xdp.expectedFd };
  attributes.unknown = request.unknown;
  const said = flagsOf(request);
  return encodeMessage(
    linkRequestFamily,
    type,
    flags,
    { family: AF_UNSPEC, index: ifindex, flags: said.flags, change: said.change },
    attributes,
  );
}

function linkInfoOf({ kind, info, portKind, port, peer }: LinkRequest): Values<typeof linkInfo> | undefined {
  if (kind === undefined && portKind === undefined) return undefined;
  const { name, ifindex, ...settings } = peer ?? {};
  const far = peer === undefined ? undefined : { index: ifindex ?? 0, ...flagsOf(settings), ...attributesOf(settings), ifname: name };
  const data = far === undefined ? info : { ...info, [kind === 'netkit' ? 'peer_info' : 'peer']: far };
  return { kind, data: data as InfoOf<'veth'> | undefined, slave_kind: portKind, slave_data: port as PortOf<'bridge'> | undefined };
}

/** One link, by index or name. */
export function encodeLinkGet(link: number | string): Uint8Array {
  return encodeMessage(
    linkRequestFamily,
    RTM_GETLINK,
    0,
    { index: typeof link === 'number' ? link : 0 },
    { ...(typeof link === 'string' && lookup(link)), ext_mask: RTEXT_FILTER_SKIP_STATS },
  );
}

/**
 * All links, those under a master, those of a kind, or both. The kernel takes no notice of a kind that it does not know (its
 * module is not loaded) and sends all: filter what comes. 'loopback' and 'physical' are no kinds of its, and are not sent.
 * `family`: AF_BRIDGE for the ports of bridges; then no other filter is sent.
 */
export function encodeLinkDump(
  filter: {
    readonly master?: number;
    readonly kind?: string;
    readonly statistics?: boolean;
    readonly family?: number;
    readonly extMask?: number;
  } = {},
): Uint8Array {
  const { master, kind, family = AF_UNSPEC, extMask = RTEXT_FILTER_SKIP_STATS } = filter;
  const known = kind !== undefined && kind !== 'loopback' && kind !== 'physical';
  return encodeMessage(
    linkRequestFamily,
    RTM_GETLINK,
    NLM_F_DUMP,
    { family },
    {
      master: family === AF_BRIDGE ? undefined : master,
      linkinfo: known && family !== AF_BRIDGE ? { kind } : undefined,
      ext_mask: extMask,
    },
  );
}

/** The keys that `info` of this kind may have; undefined where the kind is not known. */
export function infoKeys(kind: string): readonly string[] | undefined {
  return keysOf(linkKinds, kind);
}
/** The keys that `port` may have, under a master of this kind. */
export function portKeys(kind: string): readonly string[] | undefined {
  return keysOf(portKinds, kind);
}
function keysOf(kinds: Readonly<Record<string, { readonly table: AnyTable | undefined }>>, kind: string): readonly string[] | undefined {
  return Object.hasOwn(kinds, kind) ? kinds[kind]!.table!.inOrder.map(({ name }) => name) : undefined;
}

export { addrGenModes };
