// The attributes of every link, whatever its kind: IFLA_* of uapi/linux/if_link.h (6.18; IFLA_HEADROOM and IFLA_TAILROOM are newer).
import {
  bits,
  bytes,
  mac,
  mapped,
  named,
  nested,
  numbers,
  repeated,
  s32,
  string,
  struct,
  table,
  u16,
  u32,
  u64,
  u8,
  unread,
  ip,
} from '../attribute.js';
import { Naming } from '../names.js';

/** struct ifinfomsg: uapi/linux/rtnetlink.h. */
export const ifinfomsg = [
  ['family', u8],
  ['pad', u8],
  ['type', u16],
  ['index', s32],
  ['flags', u32],
  ['change', u32],
] as const;

/** IF_OPER_*: uapi/linux/if.h, RFC 2863. As ip(8) prints them. */
export const operStates = new Naming('operational state', {
  UNKNOWN: 0,
  NOTPRESENT: 1,
  DOWN: 2,
  LOWERLAYERDOWN: 3,
  TESTING: 4,
  DORMANT: 5,
  UP: 6,
});

/** IN6_ADDR_GEN_MODE_*, as ip-link(8) writes them. */
export const addrGenModes = new Naming('addrGenMode', { eui64: 0, none: 1, stable_secret: 2, random: 3 });

/** XDP_ATTACHED_*; 'multi': several at once, by mode. */
export const xdpModes = new Naming('XDP mode', { none: 0, drv: 1, skb: 2, hw: 3, multi: 4 });

/** Packets, bytes and errors since the link was made: struct rtnl_link_stats64. */
export const stats64 = struct([
  ['rx_packets', u64],
  ['tx_packets', u64],
  ['rx_bytes', u64],
  ['tx_bytes', u64],
  ['rx_errors', u64],
  ['tx_errors', u64],
  ['rx_dropped', u64],
  ['tx_dropped', u64],
  ['multicast', u64],
  ['collisions', u64],
  ['rx_length_errors', u64],
  ['rx_over_errors', u64],
  ['rx_crc_errors', u64],
  ['rx_frame_errors', u64],
  ['rx_fifo_errors', u64],
  ['rx_missed_errors', u64],
  ['tx_aborted_errors', u64],
  ['tx_carrier_errors', u64],
  ['tx_fifo_errors', u64],
  ['tx_heartbeat_errors', u64],
  ['tx_window_errors', u64],
  ['rx_compressed', u64],
  ['tx_compressed', u64],
  ['rx_nohandler', u64], // 4.6
  ['rx_otherhost_dropped', u64], // 5.19
]);

const xdp = table('IFLA_XDP', {
  fd: [1, s32], // -1: none
  attached: [2, named(u8, xdpModes)],
  flags: [3, bits(u32, { update_if_noexist: 1, skb: 2, drv: 4, hw: 8, replace: 16 })],
  prog_id: [4, u32],
  drv_prog_id: [5, u32],
  skb_prog_id: [6, u32],
  hw_prog_id: [7, u32],
  expected_fd: [8, s32],
});

/** Unlike an address, a name goes with its nest: several IFLA_ALT_IFNAME in IFLA_PROP_LIST (5.5). */
const propList = table('IFLA', { alt_ifname: [53, repeated(string)] });

/** What stands in IFLA_LINKINFO and IFLA_AF_SPEC is composed in link.ts; a peer of a pair has neither. */
export const linkFields = {
  address: [1, mac],
  broadcast: [2, mac],
  ifname: [3, string],
  mtu: [4, u32],
  link: [5, u32],
  qdisc: [6, string],
  stats: [7, unread], // 32-bit counters, superseded by stats64
  cost: [8, u32],
  priority: [9, u32],
  master: [10, u32],
  wireless: [11, bytes],
  protinfo: [12, bytes],
  txqlen: [13, u32],
  map: [14, unread], // struct rtnl_link_ifmap: I/O ports of ISA cards
  weight: [15, u32],
  operstate: [16, u8],
  linkmode: [17, u8],
  net_ns_pid: [19, u32],
  ifalias: [20, string],
  num_vf: [21, u32],
  vfinfo_list: [22, bytes],
  stats64: [23, stats64],
  vf_ports: [24, bytes],
  port_self: [25, bytes],
  group: [27, u32],
  net_ns_fd: [28, u32],
  ext_mask: [29, u32],
  promiscuity: [30, u32],
  num_tx_queues: [31, u32],
  num_rx_queues: [32, u32],
  carrier: [33, u8],
  phys_port_id: [34, bytes],
  carrier_changes: [35, u32],
  phys_switch_id: [36, bytes],
  link_netnsid: [37, s32],
  phys_port_name: [38, string],
  proto_down: [39, u8],
  gso_max_segs: [40, u32],
  gso_max_size: [41, u32],
  pad: [42, unread],
  xdp: [43, nested(xdp)],
  event: [44, u32],
  new_netnsid: [45, s32],
  target_netnsid: [46, s32],
  carrier_up_count: [47, u32],
  carrier_down_count: [48, u32],
  new_ifindex: [49, s32],
  min_mtu: [50, u32],
  max_mtu: [51, u32],
  prop_list: [52, nested(propList)],
  alt_ifname: [53, string],
  perm_address: [54, mac],
  proto_down_reason: [55, nested(table('IFLA_PROTO_DOWN_REASON', { mask: [1, u32], value: [2, u32] }))],
  parent_dev_name: [56, string],
  parent_dev_bus_name: [57, string],
  gro_max_size: [58, u32],
  tso_max_size: [59, u32],
  tso_max_segs: [60, u32],
  allmulti: [61, u32], // 6.0
  devlink_port: [62, unread], // nests, empty but for hardware; as dpll_pin
  gso_ipv4_max_size: [63, u32],
  gro_ipv4_max_size: [64, u32],
  dpll_pin: [65, unread],
  max_pacing_offload_horizon: [66, u32], // ns; 8 bytes where 4 do not suffice
  netns_immutable: [67, u8],
  headroom: [68, u16],
  tailroom: [69, u16],
} as const;

/** IPV4_DEVCONF_*: uapi/linux/ip.h; the names are those of net.ipv4.conf.<link>.*, but for arp_filter, disable_xfrm and disable_policy. */
// prettier-ignore
export const inetConf = table('IPV4_DEVCONF', {
  forwarding: [1, u32], mc_forwarding: [2, u32], proxy_arp: [3, u32], accept_redirects: [4, u32], secure_redirects: [5, u32], send_redirects: [6, u32],
  shared_media: [7, u32], rp_filter: [8, u32], accept_source_route: [9, u32], bootp_relay: [10, u32], log_martians: [11, u32], tag: [12, u32],
  arpfilter: [13, u32], medium_id: [14, u32], noxfrm: [15, u32], nopolicy: [16, u32], force_igmp_version: [17, u32], arp_announce: [18, u32],
  arp_ignore: [19, u32], promote_secondaries: [20, u32], arp_accept: [21, u32], arp_notify: [22, u32], accept_local: [23, u32], src_vmark: [24, u32],
  proxy_arp_pvlan: [25, u32], route_localnet: [26, u32], igmpv2_unsolicited_report_interval: [27, u32], igmpv3_unsolicited_report_interval: [28, u32],
  ignore_routes_with_linkdown: [29, u32], drop_unicast_in_l2_multicast: [30, u32], drop_gratuitous_arp: [31, u32], bc_forwarding: [32, u32],
  arp_evict_nocarrier: [33, u32],
});

/** DEVCONF_*: uapi/linux/ipv6.h, in their order, from 0. */
// prettier-ignore
export const inet6ConfNames = [
  'forwarding', 'hop_limit', 'mtu', 'accept_ra', 'accept_redirects', 'autoconf', 'dad_transmits', 'router_solicitations',
  'router_solicitation_interval', 'router_solicitation_delay', 'use_tempaddr', 'temp_valid_lft', 'temp_prefered_lft', 'regen_max_retry',
  'max_desync_factor', 'max_addresses', 'force_mld_version', 'accept_ra_defrtr', 'accept_ra_pinfo', 'accept_ra_rtr_pref', 'router_probe_interval',
  'accept_ra_rt_info_max_plen', 'proxy_ndp', 'optimistic_dad', 'accept_source_route', 'mc_forwarding', 'disable_ipv6', 'accept_dad', 'force_tllao',
  'ndisc_notify', 'mldv1_unsolicited_report_interval', 'mldv2_unsolicited_report_interval', 'suppress_frag_ndisc', 'accept_ra_from_local',
  'use_optimistic', 'accept_ra_mtu', 'stable_secret', 'use_oif_addrs_only', 'accept_ra_min_hop_limit', 'ignore_routes_with_linkdown',
  'drop_unicast_in_l2_multicast', 'drop_unsolicited_na', 'keep_addr_on_down', 'router_solicitation_max_interval', 'seg6_enabled',
  'seg6_require_hmac', 'enhanced_dad', 'addr_gen_mode', 'disable_policy', 'accept_ra_rt_info_min_plen', 'ndisc_tclass', 'rpl_seg_enabled',
  'ra_defrtr_metric', 'ioam6_enabled', 'ioam6_id', 'ioam6_id_wide', 'ndisc_evict_nocarrier', 'accept_untracked_na', 'accept_ra_min_lft',
  'force_forwarding',
] as const;

const inet6 = {
  flags: [1, u32], // IF_RS_SENT, IF_RA_RCVD, IF_RA_MANAGED, IF_RA_OTHERCONF, IF_READY: include/net/if_inet6.h
  conf: [2, numbers(s32)],
  stats: [3, unread],
  mcast: [4, bytes],
  cacheinfo: [5, unread], // times of neighbour discovery, one of them random
  icmp6stats: [6, unread],
  token: [7, ip],
  addr_gen_mode: [8, named(u8, addrGenModes)],
  ra_mtu: [9, u32],
} as const;

/** IFLA_AF_SPEC as the kernel tells it: the settings as arrays. */
export const afSpec = table('AF', {
  inet: [2, nested(table('IFLA_INET', { conf: [1, numbers(s32)] }))],
  inet6: [10, nested(table('IFLA_INET6', inet6))],
});

/** IFLA_AF_SPEC as the kernel is told: IPv4's settings one by one. IPv6 takes the token and the address generation mode only. */
export const afSpecRequest = table('AF', {
  inet: [2, nested(table('IFLA_INET', { conf: [1, nested(inetConf)] }))],
  inet6: [10, nested(table('IFLA_INET6', inet6))],
});

/** Times of bridges, in 1/100 s (USER_HZ): 64 bits wide, and no counters. */
export const time64 = mapped<bigint, number>(u64, Number, (value) => BigInt(value));
