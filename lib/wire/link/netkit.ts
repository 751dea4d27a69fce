// A pair of devices for BPF programs, without the way through the stack that a veth takes; since 6.7. uapi/linux/if_link.h, IFLA_NETKIT_*.
import { headed, named, table, u16, u32, u8 } from '../attribute.js';
import { Naming } from '../names.js';
import { ifinfomsg, linkFields } from './attributes.js';

const policies = new Naming('netkit policy', { forward: 0, blackhole: 2 });
const scrubs = new Naming('netkit scrub', { none: 0, default: 1 });

export const netkit = table('IFLA_NETKIT', {
  peer_info: [1, headed(ifinfomsg, table('IFLA', linkFields))],
  primary: [2, u8],
  policy: [3, named(u32, policies)],
  peer_policy: [4, named(u32, policies)],
  mode: [5, named(u32, new Naming('netkit mode', { l2: 0, l3: 1 }))],
  scrub: [6, named(u32, scrubs)], // 6.13
  peer_scrub: [7, named(u32, scrubs)],
  headroom: [8, u16], // 6.14
  tailroom: [9, u16],
});
