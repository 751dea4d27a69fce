// Numbers that several message families share.
import { Naming } from './names.js';

export const AF_UNSPEC = 0;
export const AF_INET = 2;
export const AF_BRIDGE = 7;
export const AF_INET6 = 10;

export const NETLINK_ROUTE = 0;

/** RT_SCOPE_*: uapi/linux/rtnetlink.h, with the names of /etc/iproute2/rt_scopes. */
export const scopes = new Naming('scope', { global: 0, site: 200, link: 253, host: 254, nowhere: 255 });
