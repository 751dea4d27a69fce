// RTM_NEWNEIGH and kin: struct ndmsg and NDA_* of uapi/linux/neighbour.h. The same messages carry neighbours (AF_INET, AF_INET6) and,
// as AF_BRIDGE, the forwarding entries of bridges and VXLANs.
import { type Slots, type Unknown, be16, decodeSlots, ip, mac, nest, s32, struct, structLength, table, u16, u32, u8 } from './attribute.js';
import { Bytes } from './bytes.js';
import { AF_BRIDGE, AF_INET, AF_INET6, protocols } from './constants.js';
import { type Message, encodeMessage, messageFamily } from './message.js';
import { Naming, flagBits, flagNames } from './names.js';
import { familyOf } from './prefix.js';

export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;

export const neighborFamily = messageFamily(
  [
    ['family', u8],
    ['pad1', u8],
    ['pad2', u16],
    ['ifindex', s32],
    ['state', u16],
    ['flags', u8],
    ['type', u8],
  ],
  table('NDA', {
    dst: [1, ip],
    lladdr: [2, mac],
    cacheinfo: [
      3,
      struct([
        ['confirmed', u32],
        ['used', u32],
        ['updated', u32],
        ['refcnt', u32],
      ]),
    ],
    probes: [4, u32],
    vlan: [5, u16],
    port: [6, be16],
    vni: [7, u32],
    ifindex: [8, u32],
    master: [9, u32],
    link_netnsid: [10, s32],
    src_vni: [11, u32],
    protocol: [12, u8],
    nh_id: [13, u32],
    fdb_ext_attrs: [14, nest],
    flags_ext: [15, u32],
  }),
);

/** NUD_*. One at a time, but for what a request may say. */
export const neighborStates = new Naming('neighbour state', {
  none: 0,
  incomplete: 0x01,
  reachable: 0x02,
  stale: 0x04,
  delay: 0x08,
  probe: 0x10,
  failed: 0x20,
  noarp: 0x40,
  permanent: 0x80,
});

/** NTF_*, and NTF_EXT_* (NDA_FLAGS_EXT, since 5.16) 8 bits higher, as the kernel holds them itself. Names of ip-neighbour(8). */
export const neighborFlags = {
  use: 0x01,
  self: 0x02,
  master: 0x04,
  proxy: 0x08,
  extern_learn: 0x10,
  offload: 0x20,
  sticky: 0x40,
  router: 0x80,
  managed: 0x100,
  locked: 0x200,
  extern_valid: 0x400,
} as const;
const NTF_SELF = neighborFlags.self;
const NTF_MASTER = neighborFlags.master;
const NTF_PROXY = neighborFlags.proxy;
const FOUND = neighborFlags.offload;

/** USER_HZ, in which nda_cacheinfo counts. */
const TICKS_PER_SECOND = 100;

/** How long ago, in seconds. */
export interface NeighborTimes {
  readonly confirmed: number;
  readonly used: number;
  readonly updated: number;
}

/** Who is at an address of a link. */
export interface Neighbor {
  readonly object?: 'neighbor';
  readonly address: string;
  /** '' where it is not known: of failed and incomplete entries, and of proxies. */
  readonly mac: string;
  /** 0: a proxy for every link. */
  readonly ifindex: number;
  /** 'reachable', 'stale', 'delay', 'probe', 'failed', 'incomplete', 'noarp', 'permanent', 'none' or a number. */
  readonly state: string;
  /** 'router', 'proxy', 'extern_learn', 'managed', 'use', ... */
  readonly flags?: readonly string[];
  /** RTN_*, where the kernel tells it: 'unicast' 1, 'multicast' 5, ... */
  readonly type?: number;
  readonly probes?: number;
  readonly times?: NeighborTimes;
  readonly protocol?: string;
  readonly master?: number;
  readonly vlan?: number;
  readonly unknown?: readonly Unknown[];
}

/** Where a bridge or a VXLAN sends frames for a MAC. */
export interface FdbEntry {
  readonly object?: 'fdb';
  readonly mac: string;
  /** The port; of the bridge's own entries the bridge. */
  readonly ifindex: number;
  /** The bridge; in what the kernel tells. */
  readonly master?: number;
  readonly vlan?: number;
  /**
   * 'permanent': local, the frames are for the host; 'noarp': static; 'reachable' and 'stale': learned. Absent in a request: 'noarp'.
   * Of a VXLAN: 'permanent' and 'noarp' do not age.
   */
  readonly state?: string;
  /** The bridge takes frames for this MAC for itself: as a port's own MAC ('permanent' with a bridge as master). Not sent. */
  readonly local?: boolean;
  /** 'self' (the device's own table: of VXLANs, and multicast filters), 'master', 'extern_learn', 'sticky', 'offload', 'locked', ... */
  readonly flags?: readonly string[];
  /** The remote end of a VXLAN. */
  readonly dst?: string;
  /** The UDP port of it. */
  readonly port?: number;
  readonly vni?: number;
  /** Of a VXLAN with external control. */
  readonly sourceVni?: number;
  /** The ifindex that a VXLAN sends through. */
  readonly via?: number;
  /** A nexthop object with several remote ends. */
  readonly nhid?: number;
  readonly times?: NeighborTimes;
  readonly protocol?: string;
  /** NDA_FDB_EXT_ATTRS (activity notification), as it came. */
  readonly extended?: Uint8Array;
  readonly unknown?: readonly Unknown[];
}

type Writable<T> = { -readonly [N in keyof T]: T[N] };
type Attributes = Slots<typeof neighborFamily.table>;

/** ndmsg of a message that is too short for one. */
const blank = new Bytes(new ArrayBuffer(neighborFamily.size));

/** Whether a message of RTM_NEWNEIGH or RTM_DELNEIGH is about an `FdbEntry`. */
export function isFdb(from: Bytes, message: Message): boolean {
  return message.end > message.start && from.u8[message.start] === AF_BRIDGE;
}

export function decodeNeighbor(from: Bytes, message: Message): Neighbor {
  const whole = message.end - message.start >= neighborFamily.size;
  const header = whole ? from : blank;
  const at = whole ? message.start : 0;
  const slots = decodeSlots(neighborFamily.table, from, message.start + neighborFamily.size, message.end);
  const neighbor: Writable<Neighbor> = {
    object: 'neighbor',
    address: slots[1] ?? '',
    mac: slots[2] ?? '',
    ifindex: header.u32[(at + 4) >> 2]!,
    state: neighborStates.name(header.u16[(at + 8) >> 1]!),
  };
  const flags = header.u8[at + 10]! | ((slots[15] ?? 0) << 8);
  if (flags !== 0) neighbor.flags = flagNames(neighborFlags, flags);
  if (header.u8[at + 11] !== 0) neighbor.type = header.u8[at + 11]!;
  if (slots[4] !== undefined) neighbor.probes = slots[4];
  const times = decodeTimes(from, slots);
  if (times !== undefined) neighbor.times = times;
  if (slots[12] !== undefined) neighbor.protocol = protocols.name(slots[12]);
  if (slots[9] !== undefined) neighbor.master = slots[9];
  if (slots[5] !== undefined) neighbor.vlan = slots[5];
  if (slots[0] !== undefined) neighbor.unknown = slots[0];
  return neighbor;
}

export function decodeFdb(from: Bytes, message: Message): FdbEntry {
  const whole = message.end - message.start >= neighborFamily.size;
  const header = whole ? from : blank;
  const at = whole ? message.start : 0;
  const slots = decodeSlots(neighborFamily.table, from, message.start + neighborFamily.size, message.end);
  const state = header.u16[(at + 8) >> 1]!;
  const entry: Writable<FdbEntry> = {
    object: 'fdb',
    mac: slots[2] ?? '',
    ifindex: header.u32[(at + 4) >> 2]!,
    state: fdbState(state),
  };
  if (slots[9] !== undefined) entry.master = slots[9];
  if (slots[5] !== undefined) entry.vlan = slots[5];
  const flags = header.u8[at + 10]! | ((slots[15] ?? 0) << 8);
  if (flags !== 0) entry.flags = flagNames(neighborFlags, flags);
  if (slots[9] !== undefined && (state & neighborStates.numbers.permanent) !== 0) entry.local = true;
  if (slots[1] !== undefined) entry.dst = slots[1];
  if (slots[6] !== undefined) entry.port = slots[6];
  if (slots[7] !== undefined) entry.vni = slots[7];
  if (slots[11] !== undefined) entry.sourceVni = slots[11];
  if (slots[8] !== undefined) entry.via = slots[8];
  if (slots[13] !== undefined) entry.nhid = slots[13];
  const times = decodeTimes(from, slots);
  if (times !== undefined) entry.times = times;
  if (slots[12] !== undefined) entry.protocol = protocols.name(slots[12]);
  if (slots[14] !== undefined) entry.extended = slots[14];
  if (slots[0] !== undefined) entry.unknown = slots[0];
  return entry;
}

/** VXLANs keep the two bits that bridge(8) sends for an entry that does not age: one of them says it. */
function fdbState(bits: number): string {
  const { permanent, noarp } = neighborStates.numbers;
  return neighborStates.name((bits & permanent) !== 0 ? permanent : (bits & noarp) !== 0 ? noarp : bits);
}

/** As bridge(8) says it: VXLANs refuse a static entry that is not 'reachable' as well. */
function fdbStateBits(state: string): number {
  const { permanent, noarp, reachable } = neighborStates.numbers;
  const bits = neighborStates.number(state);
  return bits === permanent ? permanent | noarp : bits === noarp ? noarp | reachable : bits;
}

function decodeTimes(from: Bytes, slots: Attributes): NeighborTimes | undefined {
  const at = slots[3];
  if (at === undefined || structLength(from, at) < 12) return undefined;
  const { u32 } = from;
  return {
    confirmed: u32[at >> 2]! / TICKS_PER_SECOND,
    used: u32[(at >> 2) + 1]! / TICKS_PER_SECOND,
    updated: u32[(at >> 2) + 2]! / TICKS_PER_SECOND,
  };
}

/** `type` is RTM_NEWNEIGH or RTM_DELNEIGH. Statistics and times are not sent; a state is needed to add only. */
export function encodeNeighbor(
  type: number,
  flags: number,
  neighbor: Omit<Neighbor, 'mac' | 'state'> & { mac?: string; state?: string },
): Uint8Array {
  const bits = flagBits(neighborFlags, neighbor.flags ?? []) & ~FOUND;
  return encodeMessage(
    neighborFamily,
    type,
    flags,
    {
      family: familyOf(neighbor.address) ?? AF_INET,
      ifindex: neighbor.ifindex,
      state: neighbor.state === undefined ? 0 : neighborStates.number(neighbor.state),
      flags: bits & 0xff,
    },
    {
      dst: neighbor.address,
      lladdr: neighbor.mac === undefined || neighbor.mac === '' ? undefined : neighbor.mac,
      protocol: neighbor.protocol === undefined ? undefined : protocols.number(neighbor.protocol),
      flags_ext: bits >> 8 === 0 ? undefined : bits >> 8,
      unknown: neighbor.unknown,
    },
  );
}

/**
 * A dump of RTM_GETNEIGH; 0 where a family, a link or its master is not chosen. `proxies`: these and nothing else; the kernel keeps them apart.
 * A socket with NETLINK_GET_STRICT_CHK wants the link as an attribute; ndm_ifindex is refused.
 */
export function encodeNeighborDump(flags: number, family: number, ifindex = 0, proxies = false, master = 0): Uint8Array {
  return encodeMessage(
    neighborFamily,
    RTM_GETNEIGH,
    flags,
    { family, flags: proxies ? NTF_PROXY : 0 },
    { ifindex: ifindex === 0 ? undefined : ifindex, master: master === 0 ? undefined : master },
  );
}

/** One neighbour (`ip neigh get`, since 5.0). */
export function encodeNeighborGet(ifindex: number, address: string, proxy = false): Uint8Array {
  return encodeMessage(
    neighborFamily,
    RTM_GETNEIGH,
    0,
    { family: familyOf(address) === AF_INET6 ? AF_INET6 : AF_INET, ifindex, flags: proxy ? NTF_PROXY : 0 },
    { dst: address },
  );
}

/**
 * `type` is RTM_NEWNEIGH or RTM_DELNEIGH. Whose table it goes to, if neither 'self' nor 'master' is among the flags: the bridge's own,
 * if `master` says that the link is the bridge; the link's own, if there is a remote end; else the master's if the link is a port
 * (which is the kernel's choice).
 */
export function encodeFdb(type: number, flags: number, entry: FdbEntry): Uint8Array {
  let bits = flagBits(neighborFlags, entry.flags ?? []) & ~FOUND;
  if ((bits & (NTF_SELF | NTF_MASTER)) === 0) {
    if (entry.master !== undefined) bits |= entry.master === entry.ifindex ? NTF_SELF : NTF_MASTER;
    else if (entry.dst !== undefined || entry.vni !== undefined || entry.nhid !== undefined) bits |= NTF_SELF;
    // 0 would leave the choice to the kernel, but only where no other flag is set (rtnl_fdb_add).
    else if (bits !== 0) bits |= NTF_MASTER;
  }
  return encodeMessage(
    neighborFamily,
    type,
    flags,
    { family: AF_BRIDGE, ifindex: entry.ifindex, state: fdbStateBits(entry.state ?? 'noarp'), flags: bits & 0xff },
    {
      dst: entry.dst,
      lladdr: entry.mac,
      vlan: entry.vlan,
      port: entry.port,
      vni: entry.vni,
      ifindex: entry.via,
      src_vni: entry.sourceVni,
      protocol: entry.protocol === undefined ? undefined : protocols.number(entry.protocol),
      nh_id: entry.nhid,
      fdb_ext_attrs: entry.extended,
      flags_ext: bits >> 8 === 0 ? undefined : bits >> 8,
      unknown: entry.unknown,
    },
  );
}

/** A dump of forwarding entries: of one device, of the ports of one bridge, or of all (0). */
export function encodeFdbDump(flags: number, ifindex = 0, bridge = 0): Uint8Array {
  return encodeMessage(
    neighborFamily,
    RTM_GETNEIGH,
    flags,
    { family: AF_BRIDGE },
    { ifindex: ifindex === 0 ? undefined : ifindex, master: bridge === 0 ? undefined : bridge },
  );
}
