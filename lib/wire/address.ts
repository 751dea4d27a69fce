// RTM_NEWADDR and kin: uapi/linux/if_addr.h.
import { type Unknown, ip, s32, string, struct, table, u32, u8 } from './attribute.js';
import type { Bytes } from './bytes.js';
import { AF_INET, AF_INET6, scopes } from './constants.js';
import { type Message, decodeAttributes, decodeHeader, encodeMessage, messageFamily } from './message.js';
import { flagNames, flagBits } from './names.js';
import { parseIp } from './text.js';

export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;

const cacheInfo = struct([
  ['prefered', u32], // so spelt in the kernel; seconds
  ['valid', u32],
  ['cstamp', u32],
  ['tstamp', u32],
]);

export const addressFamily = messageFamily(
  [
    ['family', u8],
    ['prefixlen', u8],
    ['flags', u8],
    ['scope', u8],
    ['index', u32],
  ],
  table('IFA', {
    address: [1, ip],
    local: [2, ip],
    label: [3, string],
    broadcast: [4, ip],
    anycast: [5, ip],
    cacheinfo: [6, cacheInfo],
    multicast: [7, ip],
    flags: [8, u32],
    rt_priority: [9, u32],
    target_netnsid: [10, s32],
    proto: [11, u8],
  }),
);

/** IFA_F_*, as ip-address(8) prints them. */
const addressFlags = {
  secondary: 0x01, // of IPv6 addresses: temporary
  nodad: 0x02,
  optimistic: 0x04,
  dadfailed: 0x08,
  home: 0x10,
  deprecated: 0x20,
  tentative: 0x40,
  permanent: 0x80,
  mngtmpaddr: 0x100,
  noprefixroute: 0x200,
  autojoin: 0x400,
  'stable-privacy': 0x800,
} as const;

/** INFINITY_LIFE_TIME: for ever. */
const FOREVER = 0xffffffff;

/** An address of an interface. */
export interface Address {
  readonly object?: 'address';
  /** CIDR: '10.1.0.2/24'. Without a prefix length: /32 or /128. */
  readonly address: string;
  readonly ifindex?: number;
  /** The other end of a point-to-point link; the prefix length of `address` is then the peer's. */
  readonly peer?: string;
  readonly broadcast?: string;
  readonly label?: string;
  /** 'global', 'site', 'link', 'host', or a number. */
  readonly scope?: string;
  /** As ip-address(8) prints them: 'permanent', 'nodad', 'noprefixroute', ... */
  readonly flags?: readonly string[];
  /** Seconds; absent: for ever. */
  readonly validLifetime?: number;
  /** Seconds; absent: for ever. 0: deprecated. */
  readonly preferredLifetime?: number;
  /** Of the prefix route (IFA_RT_PRIORITY). */
  readonly metric?: number;
  /** Who added it (IFA_PROTO, IFAPROT_*). */
  readonly protocol?: number;
  readonly unknown?: readonly Unknown[];
}

export function decodeAddress(from: Bytes, message: Message): Address {
  const header = decodeHeader(addressFamily, from, message);
  const attributes = decodeAttributes(addressFamily, from, message);
  // With a peer, IFA_ADDRESS is the peer and IFA_LOCAL ours; IPv6 sends IFA_LOCAL only then, IPv4 always.
  const local = attributes.local ?? attributes.address ?? '';
  const peer = attributes.local !== undefined && attributes.address !== attributes.local ? attributes.address : undefined;
  const { cacheinfo } = attributes;
  const flags = attributes.flags ?? header.flags;
  // Of a deprecated IPv4 address without an end the kernel tells the flag only, and takes only the lifetime (inet_fill_ifaddr).
  const preferred = cacheinfo?.prefered === FOREVER && (flags & addressFlags.deprecated) !== 0 ? 0 : cacheinfo?.prefered;
  return {
    object: 'address',
    address: `${local}/${header.prefixlen}`,
    ifindex: header.index,
    ...(peer !== undefined && { peer }),
    ...(attributes.broadcast !== undefined && { broadcast: attributes.broadcast }),
    ...(attributes.label !== undefined && { label: attributes.label }),
    scope: scopes.name(header.scope),
    flags: flagNames(addressFlags, flags),
    ...(cacheinfo !== undefined && cacheinfo.valid !== FOREVER && { validLifetime: cacheinfo.valid }),
    ...(preferred !== undefined && preferred !== FOREVER && { preferredLifetime: preferred }),
    ...(attributes.rt_priority !== undefined && { metric: attributes.rt_priority }),
    ...(attributes.proto !== undefined && { protocol: attributes.proto }),
    ...(attributes.unknown !== undefined && { unknown: attributes.unknown }),
  };
}

/** `type` is RTM_NEWADDR or RTM_DELADDR. */
export function encodeAddress(type: number, flags: number, ifindex: number, address: Address): Uint8Array {
  const [local = '', length] = address.address.split('/');
  const wide = parseIp(local)!.length === 16;
  const bits = flagBits(addressFlags, address.flags ?? []);
  const valid = address.validLifetime ?? FOREVER;
  const preferred = address.preferredLifetime ?? valid;
  return encodeMessage(
    addressFamily,
    type,
    flags,
    {
      family: wide ? AF_INET6 : AF_INET,
      prefixlen: length === undefined ? (wide ? 128 : 32) : Number(length),
      scope: address.scope === undefined ? 0 : scopes.number(address.scope),
      index: ifindex,
    },
    {
      address: address.peer ?? local,
      local,
      broadcast: address.broadcast,
      label: address.label,
      flags: bits === 0 ? undefined : bits,
      rt_priority: address.metric,
      proto: address.protocol,
      cacheinfo: valid === FOREVER && preferred === FOREVER ? undefined : { prefered: preferred, valid, cstamp: 0, tstamp: 0 },
      unknown: address.unknown,
    },
  );
}

/** A dump of RTM_GETADDR; 0 where a family or link is not chosen. */
export function encodeAddressDump(flags: number, family: number, ifindex: number): Uint8Array {
  return encodeMessage(addressFamily, RTM_GETADDR, flags, { family, index: ifindex }, {});
}

export function isAddressFlag(name: string): boolean {
  return Object.hasOwn(addressFlags, name) || /^0x[0-9a-f]+$/.test(name);
}
