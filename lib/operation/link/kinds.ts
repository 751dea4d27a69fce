import { bridge } from './bridge.js';
import { ipvlan } from './ipvlan.js';
import type { LinkKind } from './kind.js';
import { macvlan } from './macvlan.js';
import { vlan } from './vlan.js';
import { vxlan } from './vxlan.js';

/** Kinds with options of their own; every other kind that the kernel knows is made without any (ifb, dummy, veth's pairs apart). */
export const linkKinds: Readonly<Record<string, LinkKind<never>>> = { bridge, ipvlan, macvlan, macvtap: macvlan, vlan, vxlan };
