// uapi/linux/if_link.h, IFLA_IPVLAN_*: of ipvlan and ipvtap.
import { bits, named, table, u16 } from '../attribute.js';
import { Naming } from '../names.js';

export const ipvlan = table('IFLA_IPVLAN', {
  mode: [1, named(u16, new Naming('ipvlan mode', { l2: 0, l3: 1, l3s: 2 }))],
  flags: [2, bits(u16, { private: 1, vepa: 2 })],
});
