// uapi/linux/if_link.h, IFLA_VRF_* and IFLA_VRF_PORT_*.
import { table, u32 } from '../attribute.js';

export const vrf = table('IFLA_VRF', { table: [1, u32] });
export const vrfPort = table('IFLA_VRF_PORT', { table: [1, u32] });
