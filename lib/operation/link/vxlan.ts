import { type LinkRef, boolean, integer, ip, linkRef, optional, options, u16 } from '../../check.js';
import { option } from '../operation.js';
import { type LinkKind, bit } from './kind.js';

export interface VxlanOptions {
  /** The network's number (VNI), 24 bits. */
  readonly id: number;
  /** The underlay interface. */
  readonly link?: LinkRef;
  /** The source address of what is encapsulated. */
  readonly local?: string;
  /** Where frames go that no FDB entry has a place for: one host, or a multicast group. */
  readonly remote?: string;
  /** UDP port of the other ends. Default 8472, the kernel's, though IANA's is 4789. */
  readonly dstPort?: number;
  /** UDP source ports. The kernel's default is net.ipv4.ip_local_port_range. */
  readonly portRange?: { readonly low: number; readonly high: number };
  readonly ttl?: number;
  readonly tos?: number;
  /** Default true, the kernel's: source addresses of what comes in go into the FDB. */
  readonly learning?: boolean;
  /** Seconds. The kernel's default is 300. */
  readonly ageing?: number;
  /** FDB entries at most. */
  readonly limit?: number;
  /** ARP is answered from the neighbour table. */
  readonly proxy?: boolean;
  readonly udpChecksum?: boolean;
}

export const vxlan: LinkKind<VxlanOptions> = {
  entries: {
    id: integer(0, 0xffffff),
    link: optional(linkRef),
    local: optional(ip),
    remote: optional(ip),
    dstPort: optional(u16),
    portRange: optional(options({ low: u16, high: u16 })),
    ttl: optional(integer(0, 255)),
    tos: optional(integer(0, 255)),
    learning: optional(boolean),
    ageing: optional(integer(0, 0x7fffffff)),
    limit: optional(integer(0, 0x7fffffff)),
    proxy: optional(boolean),
    udpChecksum: optional(boolean),
  },
  links: ({ link }) => [link],
  info: ({ id, link, local, remote, dstPort, portRange, ttl, tos, learning, ageing, limit, proxy, udpChecksum }, find) => ({
    id,
    link: link === undefined ? undefined : find(link),
    ...(local !== undefined && (local.includes(':') ? { local6: local } : { local })),
    ...(remote !== undefined && (remote.includes(':') ? { group6: remote } : { group: remote })),
    port: dstPort ?? 8472,
    port_range: portRange,
    ttl,
    tos,
    learning: bit(learning),
    ageing,
    limit,
    proxy: bit(proxy),
    udp_csum: bit(udpChecksum),
  }),
  words: ({ id, link, local, remote, dstPort, portRange, ttl, tos, learning, ageing, limit, proxy, udpChecksum }) => [
    'id',
    id,
    ...option('dev', link),
    ...option('local', local),
    ...option('remote', remote),
    ...option('dstport', dstPort ?? 8472),
    ...(portRange === undefined ? [] : ['srcport', portRange.low, portRange.high]),
    ...option('ttl', ttl),
    ...option('tos', tos),
    learning === undefined ? undefined : learning ? 'learning' : 'nolearning',
    ...option('ageing', ageing),
    ...option('maxaddress', limit),
    proxy === true ? 'proxy' : undefined,
    udpChecksum === undefined ? undefined : udpChecksum ? 'udpcsum' : 'noudpcsum',
  ],
};
