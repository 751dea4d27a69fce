// uapi/linux/if_link.h, IFLA_BR_*. Times are in 1/100 s.
import { be16, bytes, flag, ip, mac, mapped, named, nested, struct, table, u16, u32, u64, u8, unread } from '../attribute.js';
import { formatMac, parseMac } from '../text.js';
import { time64 } from './attributes.js';
import { vlanProtocols } from './vlan.js';

/** struct ifla_bridge_id: '8000.02:00:00:00:00:01'. */
export const bridgeId = mapped<Uint8Array, string>(
  bytes,
  (id) => (id.length === 8 ? `${hex(id[0]!)}${hex(id[1]!)}.${formatMac(id, 2, 6)}` : undefined),
  (text) => Uint8Array.of(parseInt(text.slice(0, 2), 16), parseInt(text.slice(2, 4), 16), ...(parseMac(text.slice(5)) ?? [])),
);
function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}

const querierState = table('BRIDGE_QUERIER', {
  ip_address: [1, ip],
  ip_port: [2, u32],
  ip_other_timer: [3, u64],
  pad: [4, unread],
  ipv6_address: [5, ip],
  ipv6_port: [6, u32],
  ipv6_other_timer: [7, u64],
});

export const bridge = table('IFLA_BR', {
  forward_delay: [1, u32],
  hello_time: [2, u32],
  max_age: [3, u32],
  ageing_time: [4, u32],
  stp_state: [5, u32],
  priority: [6, u16],
  vlan_filtering: [7, u8],
  vlan_protocol: [8, named(be16, vlanProtocols)],
  group_fwd_mask: [9, u16],
  root_id: [10, bridgeId],
  bridge_id: [11, bridgeId],
  root_port: [12, u16],
  root_path_cost: [13, u32],
  topology_change: [14, u8],
  topology_change_detected: [15, u8],
  hello_timer: [16, time64],
  tcn_timer: [17, time64],
  topology_change_timer: [18, time64],
  gc_timer: [19, time64],
  group_addr: [20, mac],
  fdb_flush: [21, flag],
  mcast_router: [22, u8],
  mcast_snooping: [23, u8],
  mcast_query_use_ifaddr: [24, u8],
  mcast_querier: [25, u8],
  mcast_hash_elasticity: [26, u32],
  mcast_hash_max: [27, u32],
  mcast_last_member_cnt: [28, u32],
  mcast_startup_query_cnt: [29, u32],
  mcast_last_member_intvl: [30, time64],
  mcast_membership_intvl: [31, time64],
  mcast_querier_intvl: [32, time64],
  mcast_query_intvl: [33, time64],
  mcast_query_response_intvl: [34, time64],
  mcast_startup_query_intvl: [35, time64],
  nf_call_iptables: [36, u8],
  nf_call_ip6tables: [37, u8],
  nf_call_arptables: [38, u8],
  vlan_default_pvid: [39, u16],
  pad: [40, unread],
  vlan_stats_enabled: [41, u8],
  mcast_stats_enabled: [42, u8],
  mcast_igmp_version: [43, u8],
  mcast_mld_version: [44, u8],
  vlan_stats_per_port: [45, u8],
  // BR_BOOLOPT_*: 1 no_linklocal_learn, 2 mcast_vlan_snooping, 4 mst_enabled; only the bits of optmask are set
  multi_boolopt: [
    46,
    struct([
      ['optval', u32],
      ['optmask', u32],
    ]),
  ],
  mcast_querier_state: [47, nested(querierState)],
  fdb_n_learned: [48, u32], // 6.7, as fdb_max_learned
  fdb_max_learned: [49, u32],
});
