// uapi/linux/netfilter/nf_tables.h and netfilter.h: numbers and their names, which are those of nft(8).
import { Naming } from '../names.js';

export const NETLINK_NETFILTER = 12;
export const NFNL_MSG_BATCH_BEGIN = 16;
export const NFNL_MSG_BATCH_END = 17;
export const NFNL_SUBSYS_NFTABLES = 10;

export const families = new Naming('family of nftables', { unspec: 0, inet: 1, ip: 2, arp: 3, netdev: 5, bridge: 7, ip6: 10 });
export type NftFamily = keyof typeof families.numbers;

/** Hooks have the same numbers in each family but these. */
const inetHooks = new Naming('hook', { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4, ingress: 5 });
const netdevHooks = new Naming('hook', { ingress: 0, egress: 1 });
const arpHooks = new Naming('hook', { input: 0, output: 1, forward: 2 });
export function hooksOf(family: string): Naming<string> {
  return family === 'netdev' ? netdevHooks : family === 'arp' ? arpHooks : inetHooks;
}

export const payloadBases = new Naming('header', { link: 0, network: 1, transport: 2, inner: 3 });
export const checksums = new Naming('checksum', { none: 0, inet: 1, sctp: 2 });
export const comparisons = new Naming('comparison', { '==': 0, '!=': 1, '<': 2, '<=': 3, '>': 4, '>=': 5 });
export const bitwiseOperations = new Naming('bitwise operation', { mask_xor: 0, lshift: 1, rshift: 2 });
export const byteorderOperations = new Naming('byte order', { ntoh: 0, hton: 1 });
export const dynsetOperations = new Naming('operation on a set', { add: 0, update: 1, delete: 2 });
export const natTypes = new Naming('kind of NAT', { snat: 0, dnat: 1 });
export const socketKeys = new Naming('key of a socket', { transparent: 0, mark: 1, wildcard: 2, cgroupv2: 3 });
export const fibResults = new Naming('result of fib', { oif: 1, oifname: 2, type: 3 });
export const fibFlags = { saddr: 1, daddr: 2, mark: 4, iif: 8, oif: 16, present: 32 } as const;
export const natFlags = { map_ips: 1, specified: 2, random: 4, persistent: 8, random_fully: 16, offset: 32, netmap: 64 } as const;
export const rejectTypes = new Naming('kind of rejection', { icmp: 0, tcp_reset: 1, icmpx: 2 });

// prettier-ignore
export const metaKeys = new Naming('key of meta', {
  length: 0, protocol: 1, priority: 2, mark: 3, iif: 4, oif: 5, iifname: 6, oifname: 7, iiftype: 8, oiftype: 9, skuid: 10, skgid: 11,
  nftrace: 12, rtclassid: 13, secmark: 14, nfproto: 15, l4proto: 16, ibrname: 17, obrname: 18, pkttype: 19, cpu: 20, iifgroup: 21,
  oifgroup: 22, cgroup: 23, random: 24, secpath: 25, iifkind: 26, oifkind: 27, ibrpvid: 28, ibrvproto: 29, time: 30, day: 31, hour: 32,
  sdif: 33, sdifname: 34,
});
// prettier-ignore
export const ctKeys = new Naming('key of ct', {
  state: 0, direction: 1, status: 2, mark: 3, secmark: 4, expiration: 5, helper: 6, l3proto: 7, saddr: 8, daddr: 9, protocol: 10,
  'proto-src': 11, 'proto-dst': 12, label: 13, packets: 14, bytes: 15, avgpkt: 16, zone: 17, event: 18, 'ip saddr': 19, 'ip daddr': 20,
  'ip6 saddr': 21, 'ip6 daddr': 22, id: 23,
});

export const setFlags = {
  anonymous: 1,
  constant: 2,
  interval: 4,
  map: 8,
  timeout: 16,
  dynamic: 32,
  object: 64,
  concat: 128,
  expr: 256,
} as const;
export const elementFlags = { interval_end: 1, catchall: 2 } as const;
export const tableFlags = { dormant: 1, owner: 2, persist: 4 } as const;
export const chainFlags = { base: 1, offload: 2, binding: 4 } as const;

/** What a key or datum is: for nft(8), which prints it by that; the kernel looks at the length only. include/datatype.h of nftables. */
// prettier-ignore
export const dataTypes = new Naming('type of nftables', {
  nf_proto: 2, integer: 4, string: 5, ll_addr: 6, ipv4_addr: 7, ipv6_addr: 8, ether_addr: 9, ether_type: 10, arp_op: 11, inet_proto: 12,
  inet_service: 13, icmp_type: 14, tcp_flag: 15, mark: 19, iface_index: 20, uid: 24, gid: 25, ct_state: 26, icmpv6_type: 29, pkt_type: 31,
  ifname: 41,
});
export type NftType = keyof typeof dataTypes.numbers;

/** In bytes. */
// prettier-ignore
export const typeLengths: Readonly<Partial<Record<NftType, number>>> = {
  nf_proto: 1, ipv4_addr: 4, ipv6_addr: 16, ether_addr: 6, ether_type: 2, arp_op: 2, inet_proto: 1, inet_service: 2, icmp_type: 1,
  tcp_flag: 1, mark: 4, iface_index: 4, uid: 4, gid: 4, ct_state: 4, icmpv6_type: 1, pkt_type: 1, ifname: 16, integer: 4,
};
/** Numbers and names as the machine has them; the others are in the network's order. */
export const hostOrdered: ReadonlySet<NftType> = new Set(['nf_proto', 'integer', 'string', 'mark', 'iface_index', 'uid', 'gid', 'ct_state', 'pkt_type', 'ifname'] as const); // prettier-ignore
export const VERDICT_TYPE = 0xffffff00;
