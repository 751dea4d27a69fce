// uapi/linux/if_link.h, IFLA_GENEVE_*; RFC 8926.
import { be16, be32, flag, ip, named, struct, table, u32, u8 } from '../attribute.js';
import { Naming } from '../names.js';

export const geneve = table('IFLA_GENEVE', {
  id: [1, u32],
  remote: [2, ip],
  ttl: [3, u8],
  tos: [4, u8],
  port: [5, be16],
  collect_metadata: [6, flag],
  remote6: [7, ip],
  udp_csum: [8, u8],
  udp_zero_csum6_tx: [9, u8],
  udp_zero_csum6_rx: [10, u8],
  label: [11, be32],
  ttl_inherit: [12, u8],
  df: [13, named(u8, new Naming('geneve df', { unset: 0, set: 1, inherit: 2 }))],
  inner_proto_inherit: [14, flag], // 6.1
  port_range: [
    15,
    struct([
      ['low', be16],
      ['high', be16],
    ]),
  ],
});
