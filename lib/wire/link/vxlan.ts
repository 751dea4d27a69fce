// uapi/linux/if_link.h, IFLA_VXLAN_*; RFC 7348.
import { be16, be32, bytes, flag, ip, named, struct, table, u32, u8 } from '../attribute.js';
import { Naming } from '../names.js';

export const vxlan = table('IFLA_VXLAN', {
  id: [1, u32],
  group: [2, ip], // a multicast group or the remote address
  link: [3, u32],
  local: [4, ip],
  ttl: [5, u8],
  tos: [6, u8],
  learning: [7, u8],
  ageing: [8, u32], // seconds
  limit: [9, u32],
  port_range: [
    10,
    struct([
      ['low', be16],
      ['high', be16],
    ]),
  ],
  proxy: [11, u8],
  rsc: [12, u8],
  l2miss: [13, u8],
  l3miss: [14, u8],
  port: [15, be16], // the destination's; 8472 where it is not given, although IANA's is 4789
  group6: [16, ip],
  local6: [17, ip],
  udp_csum: [18, u8],
  udp_zero_csum6_tx: [19, u8],
  udp_zero_csum6_rx: [20, u8],
  remcsum_tx: [21, u8],
  remcsum_rx: [22, u8],
  gbp: [23, flag],
  remcsum_nopartial: [24, flag],
  collect_metadata: [25, u8], // 'external' in ip-link(8)
  label: [26, be32],
  gpe: [27, flag],
  ttl_inherit: [28, flag], // told as a byte, taken as a flag
  df: [29, named(u8, new Naming('vxlan df', { unset: 0, set: 1, inherit: 2 }))],
  vnifilter: [30, u8],
  localbypass: [31, u8], // 6.5
  label_policy: [32, named(u32, new Naming('vxlan label policy', { fixed: 0, inherit: 1 }))], // 6.8
  reserved_bits: [33, bytes], // 6.14
  mc_route: [34, u8], // 6.17
});
