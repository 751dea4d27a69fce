// What shall be there: from the network and its nodes to devices, routes, neighbours and forwarding entries. Pure.
import type { OverlayEnd, OverlayNetwork, OverlayNode } from './node.js';
import { type Family, type Subnet, families, formatAddress, holds, parseAddress, parseSubnet } from './subnet.js';

/**
 * By this number routes, neighbours and addresses are known as ours (RTA_PROTOCOL, NDA_PROTOCOL, IFA_PROTO), also by a process that
 * comes after a crash. Nobody else's in iproute2's rt_protos.
 */
export const PROTOCOL = 112;
/** A forwarding entry of a VXLAN bears no number, but it keeps this flag: it is a control plane's, which is what we are (NTF_EXT_LEARNED). */
export const FDB_MARK = 'extern_learn';
/** By this one devices are. */
export const ALIAS = 'podtap overlay';
/** And by this group, which the message that makes a device can say, until it has its alias, which it cannot ('podt'). */
export const UNFINISHED = 0x706f6474;

export const DEFAULT_VNI = 1;
export const DEFAULT_PORT = 8472;

/**
 * Outer Ethernet is the underlay's, but the inner one is payload: 14 bytes of it, 8 of VXLAN, 8 of UDP, and 20 or 40 of IP. (flannel
 * takes off 50 from IPv6 too; the kernel corrects it.)
 */
export const OVERHEAD: Readonly<Record<Family, number>> = { ipv4: 50, ipv6: 70 };

export interface WantedRoute {
  readonly dst: string;
  readonly via: string;
  /** Through the VXLAN device, or by the underlay. */
  readonly through: 'vtep' | 'underlay';
}

/** One family of the overlay: a VXLAN device and what stands on it. */
export interface WantedHalf {
  readonly family: Family;
  readonly device: string;
  readonly vni: number;
  readonly port: number;
  readonly learning: boolean;
  readonly mac: string;
  readonly mtu: number;
  /** 10.244.1.0/32: for what the node itself sends. */
  readonly address: string;
  /** Of the bridge: 10.244.1.1/24. */
  readonly gateway: string;
  readonly routes: ReadonlyMap<string, WantedRoute>;
  /** MACs by address. */
  readonly neighbors: ReadonlyMap<string, string>;
  /** Remote ends by MAC. */
  readonly fdb: ReadonlyMap<string, string>;
}

/** The underlay, as it is now. */
export interface Underlay {
  readonly name: string;
  readonly ifindex: number;
  readonly mtu: number;
  /** Where VXLAN packets come from. */
  readonly local: { readonly ipv4?: string; readonly ipv6?: string };
  /** Its subnets: who is in one of them is on the same segment. */
  readonly segments: readonly Subnet[];
}

export function deviceName(family: Family, vni = DEFAULT_VNI): string {
  return family === 'ipv6' ? `flannel-v6.${vni}` : `flannel.${vni}`;
}

export function mtuOf(family: Family, network: OverlayNetwork, underlay: { readonly mtu: number }): number {
  return Math.min(network.mtu ?? Infinity, underlay.mtu - OVERHEAD[family]);
}

export function wanted(
  network: OverlayNetwork,
  underlay: Underlay,
  self: OverlayNode,
  others: readonly OverlayNode[],
): readonly WantedHalf[] {
  return families.flatMap((family) => {
    const own = self[family];
    return own === undefined || !network.families.includes(family) ? [] : [half(family, network, underlay, own, others)];
  });
}

function half(family: Family, network: OverlayNetwork, underlay: Underlay, own: OverlayEnd, others: readonly OverlayNode[]): WantedHalf {
  const { vni = DEFAULT_VNI, port = DEFAULT_PORT, learning = false, directRouting = false } = network;
  const routes = new Map<string, WantedRoute>();
  const neighbors = new Map<string, string>();
  const fdb = new Map<string, string>();
  for (const node of others) {
    const end = node[family];
    if (end === undefined) continue;
    if (directRouting && isOnSegment(underlay, family, end.publicIp)) {
      routes.set(end.subnet, { dst: end.subnet, via: end.publicIp, through: 'underlay' });
      continue;
    }
    const via = end.subnet.slice(0, end.subnet.indexOf('/'));
    routes.set(end.subnet, { dst: end.subnet, via, through: 'vtep' });
    neighbors.set(via, end.vtepMac);
    fdb.set(end.vtepMac, end.publicIp);
  }
  const { address, length } = parseSubnet(own.subnet)!;
  return {
    family,
    device: deviceName(family, vni),
    vni,
    port,
    learning,
    mac: own.vtepMac,
    mtu: mtuOf(family, network, underlay),
    address: `${formatAddress(family, address)}/${family === 'ipv6' ? 128 : 32}`,
    gateway: `${formatAddress(family, address + 1n)}/${length}`,
    routes,
    neighbors,
    fdb,
  };
}

function isOnSegment({ segments }: Underlay, family: Family, text: string): boolean {
  const address = parseAddress(family, text);
  return address !== undefined && segments.some((segment) => holds(segment, { family, address }));
}
