// uapi/linux/if_link.h, IFLA_TUN_*; since 4.16. Only told: a tun or tap is made by ioctl.
import { named, table, u32, u8 } from '../attribute.js';
import { Naming } from '../names.js';

export const tun = table('IFLA_TUN', {
  owner: [1, u32], // absent where nobody in particular owns it; 0 is root
  group: [2, u32],
  type: [3, named(u8, new Naming('tun type', { tun: 1, tap: 2 }))],
  pi: [4, u8],
  vnet_hdr: [5, u8],
  persist: [6, u8],
  multi_queue: [7, u8],
  num_queues: [8, u32], // of a multi-queue device, as num_disabled_queues
  num_disabled_queues: [9, u32],
});
