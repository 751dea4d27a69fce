// uapi/linux/if_link.h, IFLA_VLAN_*; IEEE 802.1Q and 802.1ad.
import { be16, named, nested, repeated, struct, table, u16, u32 } from '../attribute.js';
import { Naming } from '../names.js';

/** ETH_P_8021Q, ETH_P_8021AD. */
export const vlanProtocols = new Naming('VLAN protocol', { '802.1Q': 0x8100, '802.1ad': 0x88a8 });

const qos = table('IFLA_VLAN_QOS', {
  mapping: [
    1,
    repeated(
      struct([
        ['from', u32],
        ['to', u32],
      ]),
    ),
  ],
});

export const vlan = table('IFLA_VLAN', {
  id: [1, u16],
  // VLAN_FLAG_*: 1 reorder_hdr, 2 gvrp, 4 loose_binding, 8 mvrp, 16 bridge_binding; only the bits of mask are set
  flags: [
    2,
    struct([
      ['flags', u32],
      ['mask', u32],
    ]),
  ],
  egress_qos: [3, nested(qos)],
  ingress_qos: [4, nested(qos)],
  protocol: [5, named(be16, vlanProtocols)],
});
