// uapi/linux/veth.h
import { headed, table } from '../attribute.js';
import { ifinfomsg, linkFields } from './attributes.js';

/** Only in requests: what the other end is to be. It is told by IFLA_LINK and IFLA_LINK_NETNSID afterwards. */
export const veth = table('VETH_INFO', { peer: [1, headed(ifinfomsg, table('IFLA', linkFields))] });
