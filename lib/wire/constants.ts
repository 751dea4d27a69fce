// Numbers that several message families share.
import { Naming } from './names.js';

export const AF_UNSPEC = 0;
export const AF_INET = 2;
export const AF_BRIDGE = 7;
export const AF_INET6 = 10;

export const NETLINK_ROUTE = 0;

/** RT_SCOPE_*: uapi/linux/rtnetlink.h, with the names of /etc/iproute2/rt_scopes. */
export const scopes = new Naming('scope', { global: 0, site: 200, link: 253, host: 254, nowhere: 255 });

/** RTPROT_*: who made a route, a rule or a neighbour; with the names of /etc/iproute2/rt_protos. */
export const protocols = new Naming('protocol', {
  unspec: 0,
  redirect: 1,
  kernel: 2,
  boot: 3,
  static: 4,
  gated: 8,
  ra: 9,
  mrt: 10,
  zebra: 11,
  bird: 12,
  dnrouted: 13,
  xorp: 14,
  ntk: 15,
  dhcp: 16,
  mrouted: 17,
  keepalived: 18,
  babel: 42,
  ovn: 84,
  openr: 99,
  bgp: 186,
  isis: 187,
  ospf: 188,
  rip: 189,
  eigrp: 192,
});

/** IPPROTO_*, with the names of /etc/protocols that ip(8) and tc(8) print. */
export const ipProtocols = new Naming('IP protocol', { icmp: 1, tcp: 6, udp: 17, gre: 47, esp: 50, ah: 51, icmpv6: 58, sctp: 132 });

/** Routing tables with fixed numbers: RT_TABLE_*. */
export const RT_TABLE_DEFAULT = 253;
export const RT_TABLE_MAIN = 254;
export const RT_TABLE_LOCAL = 255;
