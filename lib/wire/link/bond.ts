// uapi/linux/if_link.h, IFLA_BOND_* and IFLA_BOND_SLAVE_*; Documentation/networking/bonding.rst. Times are in milliseconds.
import { bytes, mac, named, nested, s32, table, u16, u32, u8 } from '../attribute.js';
import { Naming } from '../names.js';

// prettier-ignore
const modes = new Naming('bond mode', { 'balance-rr': 0, 'active-backup': 1, 'balance-xor': 2, broadcast: 3, '802.3ad': 4, 'balance-tlb': 5, 'balance-alb': 6 });
// prettier-ignore
const hashes = new Naming('bond hash policy', { layer2: 0, 'layer3+4': 1, 'layer2+3': 2, 'encap2+3': 3, 'encap3+4': 4, 'vlan+srcmac': 5 });

const adInfo = table('IFLA_BOND_AD_INFO', {
  aggregator: [1, u16],
  num_ports: [2, u16],
  actor_key: [3, u16],
  partner_key: [4, u16],
  partner_mac: [5, mac],
});

export const bond = table('IFLA_BOND', {
  mode: [1, named(u8, modes)],
  active_slave: [2, u32],
  miimon: [3, u32],
  updelay: [4, u32],
  downdelay: [5, u32],
  use_carrier: [6, u8],
  arp_interval: [7, u32],
  arp_ip_target: [8, bytes], // addresses, numbered from 0
  arp_validate: [9, u32],
  arp_all_targets: [10, u32],
  primary: [11, u32],
  primary_reselect: [12, u8],
  fail_over_mac: [13, u8],
  xmit_hash_policy: [14, named(u8, hashes)],
  resend_igmp: [15, u32],
  num_peer_notif: [16, u8],
  all_slaves_active: [17, u8],
  min_links: [18, u32],
  lp_interval: [19, u32],
  packets_per_slave: [20, u32],
  ad_lacp_rate: [21, u8],
  ad_select: [22, u8],
  ad_info: [23, nested(adInfo)],
  ad_actor_sys_prio: [24, u16],
  ad_user_port_key: [25, u16],
  ad_actor_system: [26, mac],
  tlb_dynamic_lb: [27, u8],
  peer_notif_delay: [28, u32],
  ad_lacp_active: [29, u8],
  missed_max: [30, u8],
  ns_ip6_target: [31, bytes],
  coupled_control: [32, u8], // 6.9
  broadcast_neigh: [33, u8], // 6.17
});

export const bondPort = table('IFLA_BOND_SLAVE', {
  state: [1, named(u8, new Naming('bond port state', { ACTIVE: 0, BACKUP: 1 }))],
  mii_status: [2, u8],
  link_failure_count: [3, u32],
  perm_hwaddr: [4, mac],
  queue_id: [5, u16],
  ad_aggregator_id: [6, u16],
  ad_actor_oper_port_state: [7, u8],
  ad_partner_oper_port_state: [8, u16],
  prio: [9, s32], // 6.0
});
