// uapi/linux/if_link.h, IFLA_MACVLAN_*: of macvlan and macvtap.
import { bits, mac, named, nested, repeated, s32, table, u16, u32 } from '../attribute.js';
import { Naming } from '../names.js';

export const macvlan = table('IFLA_MACVLAN', {
  mode: [1, named(u32, new Naming('macvlan mode', { private: 1, vepa: 2, bridge: 4, passthru: 8, source: 16 }))],
  flags: [2, bits(u16, { nopromisc: 1, nodst: 2 })],
  macaddr_mode: [3, named(u32, new Naming('macvlan macaddr mode', { add: 0, del: 1, flush: 2, set: 3 }))],
  macaddr: [4, mac],
  macaddr_data: [5, nested(table('IFLA_MACVLAN', { macaddr: [4, repeated(mac)] }))],
  macaddr_count: [6, u32],
  bc_queue_len: [7, u32], // 5.11, as the next
  bc_queue_len_used: [8, u32],
  bc_cutoff: [9, s32], // 6.4
});
