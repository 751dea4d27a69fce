// uapi/linux/if_link.h, IFLA_BRPORT_*: slave data of the kind 'bridge', and IFLA_PROTINFO of AF_BRIDGE messages. Times are in 1/100 s.
import { bytes, flag, named, nested, repeated, struct, table, u16, u32, u8, unread } from '../attribute.js';
import { Naming } from '../names.js';
import { time64 } from './attributes.js';
import { bridgeId } from './bridge.js';

/** BR_STATE_*: uapi/linux/if_bridge.h. */
const states = new Naming('bridge port state', { disabled: 0, listening: 1, learning: 2, forwarding: 3, blocking: 4 });

export const bridgePort = table('IFLA_BRPORT', {
  state: [1, named(u8, states)],
  priority: [2, u16],
  cost: [3, u32],
  mode: [4, u8], // hairpin
  guard: [5, u8],
  protect: [6, u8], // root_block
  fast_leave: [7, u8],
  learning: [8, u8],
  unicast_flood: [9, u8],
  proxyarp: [10, u8],
  learning_sync: [11, u8],
  proxyarp_wifi: [12, u8],
  root_id: [13, bridgeId],
  bridge_id: [14, bridgeId],
  designated_port: [15, u16],
  designated_cost: [16, u16],
  id: [17, u16],
  no: [18, u16],
  topology_change_ack: [19, u8],
  config_pending: [20, u8],
  message_age_timer: [21, time64],
  forward_delay_timer: [22, time64],
  hold_timer: [23, time64],
  flush: [24, flag],
  multicast_router: [25, u8],
  pad: [26, unread],
  mcast_flood: [27, u8],
  mcast_to_ucast: [28, u8],
  vlan_tunnel: [29, u8],
  bcast_flood: [30, u8],
  group_fwd_mask: [31, u16],
  neigh_suppress: [32, u8],
  isolated: [33, u8], // 4.18
  backup_port: [34, u32],
  mrp_ring_open: [35, u8],
  mrp_in_open: [36, u8],
  mcast_eht_hosts_limit: [37, u32],
  mcast_eht_hosts_cnt: [38, u32],
  locked: [39, u8], // 5.18
  mab: [40, u8], // 6.2
  mcast_n_groups: [41, u32], // 6.3
  mcast_max_groups: [42, u32],
  neigh_vlan_suppress: [43, u8], // 6.4
  backup_nhid: [44, u32], // 6.6
});

/** BRIDGE_VLAN_INFO_*. */
const vlanInfo = struct([
  ['flags', u16],
  ['vid', u16],
]);

/** IFLA_AF_SPEC of AF_BRIDGE messages (uapi/linux/if_bridge.h): not by address family, as elsewhere. */
export const bridgeSpec = table('IFLA_BRIDGE', {
  flags: [0, u16],
  mode: [1, u16],
  vlan_info: [2, repeated(vlanInfo)],
  vlan_tunnel_info: [3, repeated(nested(table('IFLA_BRIDGE_VLAN_TUNNEL', { id: [1, u32], vid: [2, u16], flags: [3, u16] })))],
  mrp: [4, bytes],
  cfm: [5, bytes],
  mst: [6, bytes],
});
