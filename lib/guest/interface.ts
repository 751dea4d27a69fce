// From what a pod's interface has to what the guest behind it is told. What is left out is noted, with the reason.
import { splitCidr } from '../check.js';
import type { Address } from '../wire/address.js';
import type { Neighbor } from '../wire/neighbor.js';
import type { Nexthop, Route } from '../wire/route.js';
import { formatIp, parseMac } from '../wire/text.js';
import { type GuestAddress, type GuestNeighbor, type GuestNetwork, type GuestNexthop, type GuestNote, type GuestRoute, complete } from './network.js'; // prettier-ignore
import { canonicalCidr, canonicalIp, familyOf, isLinkLocal6, networkOf, widthOf } from './prefix.js';
import type { ResolvConf } from './resolv.js';

/** An interface's configuration, as `readAddr` gives it. Routes that belong to no interface (blackholes) may be among the routes. */
export interface InterfaceLike {
  readonly name: string;
  readonly ifindex: number;
  readonly mac: string;
  readonly mtu: number;
  readonly addresses: readonly Address[];
  readonly routes: readonly Route[];
  readonly rules?: readonly { readonly priority: number; readonly table?: number }[];
  readonly neighbors: readonly Neighbor[];
}

export interface GuestOfOptions {
  /** The name of the TAP. */
  readonly tap: string;
  /** Default: the interface's, which the guest takes over. */
  readonly mac?: string;
  /** Default: the interface's. */
  readonly mtu?: number;
  /** As `parseResolvConf` gives it. */
  readonly dns?: Partial<ResolvConf>;
  readonly hostname?: string;
}

/**
 * What a guest that takes the place of an interface is told: a pure function of what `readAddr` found.
 *
 * Addresses keep their prefix length where the pod had a route to that prefix on the link. Where it had none (IFA_F_NOPREFIXROUTE, or the
 * route was deleted, as the CNI plugin ptp does) the guest is told /32 or /128, since its neighbours are to be reached by the gateway
 * there; a point-to-point address is /32 or /128 with a route to its peer. Not told are link-local IPv6 addresses that the kernel made
 * from the interface's MAC (the guest makes its own, the same one if it has the MAC), temporary ones, and those that failed
 * duplicate address detection. Routes are those of table main, without those that follow from an address. Neighbours are the permanent
 * ones and the gateways.
 *
 * All else that is left out is in `notes`.
 * @throws TypeError ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE
 * @example const guest = guestOf(await readAddr(pod, 'eth0'), { tap: 'tap100', dns: parseResolvConf(text), hostname: 'web-0' })
 */
export function guestOf(config: InterfaceLike, settings: GuestOfOptions): GuestNetwork {
  const notes: GuestNote[] = [];
  const addresses = toldAddresses(config, notes);
  const routes = toldRoutes(config, addresses, notes);
  const { tap, mac = config.mac, mtu = config.mtu, dns = {}, hostname } = settings;
  for (const { line, reason } of dns.ignored ?? []) notes.push({ field: 'dns', reason: `${JSON.stringify(line)}: ${reason}` });
  for (const { priority } of config.rules ?? [])
    notes.push({ field: 'routes', reason: `rule ${priority} of the pod chooses another routing table` });
  return complete(
    {
      mac,
      mtu,
      tap,
      link: config.name,
      addresses,
      routes,
      neighbors: toldNeighbors(config, addresses),
      dns: { servers: dns.servers ?? [], search: dns.search ?? [] },
      ...(hostname !== undefined && { hostname }),
      notes,
    },
    'guestOf',
  );
}

// ------------------------------------------------------------------ addresses

/** IFAPROT_KERNEL_LL (uapi/linux/if_addr.h): a link-local address that the kernel made. */
const KERNEL_LL = 3;

function toldAddresses(config: InterfaceLike, notes: GuestNote[]): GuestAddress[] {
  const told: GuestAddress[] = [];
  for (const address of config.addresses) {
    if (isKernelMade(address, config.mac)) continue;
    const reason = whyNotTold(address);
    if (reason !== undefined) {
      notes.push({ field: 'addresses', reason: `${address.address} ${reason}` });
      continue;
    }
    const prefix = toldPrefix(address, config);
    if (prefix !== address.address && address.peer === undefined)
      notes.push({ field: 'addresses', reason: `${address.address} is told as ${prefix}: the pod has no route to ${networkOf(address.address)} on the link` }); // prettier-ignore
    told.push({
      address: prefix,
      ...(address.scope === 'link' && { scope: 'link' as const }),
      ...(address.validLifetime !== undefined && { validLifetime: address.validLifetime }),
      ...(address.preferredLifetime !== undefined && { preferredLifetime: address.preferredLifetime }),
    });
  }
  return told;
}

/** RFC 4291, appendix A; or by IFA_PROTO (since 5.18), which remembers it after a change of MAC. */
function isKernelMade({ address, flags = [], protocol }: Address, mac: string): boolean {
  const { address: host } = splitCidr(address);
  if (!isLinkLocal6(host)) return false;
  if (protocol === KERNEL_LL || flags.includes('stable-privacy')) return true;
  const bytes = parseMac(mac);
  if (bytes?.length !== 6) return false;
  const [a, b, c, d, e, f] = bytes as unknown as [number, number, number, number, number, number];
  return canonicalIp(host) === formatIp(Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f), 0, 16);
}

function whyNotTold({ address, scope, flags = [] }: Address): string | undefined {
  if (scope === 'host' || scope === 'nowhere') return `has scope ${scope}`;
  if (flags.includes('dadfailed')) return 'failed duplicate address detection: somebody else has it';
  if (familyOf(address) === 'ipv6' && flags.includes('secondary')) return 'is temporary (RFC 8981): the guest makes its own';
  return undefined;
}

/** Its own length only where that prefix is on the link. An interface that is down has no routes: nothing follows from their absence then. */
function toldPrefix({ address, peer, flags = [] }: Address, { routes, ifindex }: InterfaceLike): string {
  const { address: host, family } = splitCidr(address);
  const alone = `${host}/${widthOf(family)}`;
  if (peer !== undefined) return alone;
  const own = routes.filter((route) => isMain(route) && route.dev === ifindex && familyOf(route.dst) === family);
  if (own.some((route) => route.via === undefined && route.dst === networkOf(address))) return address;
  return flags.includes('noprefixroute') || own.some(({ dst }) => dst !== 'fe80::/64') ? alone : address;
}

// ------------------------------------------------------------------ routes

const RT_TABLE_MAIN = 254;
const RT_TABLE_LOCAL = 255;
const NOWHERE = ['blackhole', 'unreachable', 'prohibit'] as const;

function isMain({ table = RT_TABLE_MAIN }: Route): boolean {
  return table === RT_TABLE_MAIN;
}

function toldRoutes(config: InterfaceLike, addresses: readonly GuestAddress[], notes: GuestNote[]): GuestRoute[] {
  const told: GuestRoute[] = [];
  for (const route of config.routes) {
    if (followsFromAddress(route, addresses)) continue;
    const leave = (reason: string): void => void notes.push({ field: 'routes', reason: `${route.dst}${route.via === undefined ? '' : ` via ${route.via}`}: ${reason}` }); // prettier-ignore
    const reason = whyNoRoute(route);
    if (reason !== undefined) {
      leave(reason);
      continue;
    }
    for (const lost of losses(route)) leave(lost);
    const legs = route.nexthops?.filter(({ dev }) => dev === config.ifindex);
    if (legs !== undefined && legs.length < route.nexthops!.length) leave('its legs by other interfaces are left out');
    const src = route.src !== undefined && addresses.some(({ address }) => splitCidr(address).address === canonicalIp(route.src!));
    if (route.src !== undefined && !src) leave(`the source ${route.src} is none of the guest's addresses`);
    const [only, ...more] = legs ?? [route];
    told.push({
      dst: canonicalCidr(route.dst),
      ...(more.length === 0 ? leg(only) : { nexthops: legs!.map((one) => ({ ...leg(one), ...(one.weight !== undefined && { weight: one.weight }) })) }), // prettier-ignore
      ...(route.metric !== undefined && { metric: route.metric }),
      ...(route.mtu !== undefined && { mtu: route.mtu }),
      ...(src && { src: route.src }),
      ...isNowhere(route.type),
    });
  }
  return told;
}

function leg(one: Nexthop | Route | undefined): GuestNexthop {
  return { ...(one?.via !== undefined && { via: one.via }), ...(one?.onlink === true && { onlink: true }) };
}

function isNowhere(type: string | undefined): Pick<GuestRoute, 'type'> {
  const found = NOWHERE.find((name) => name === type);
  return found === undefined ? {} : { type: found };
}

/** What the guest's own kernel makes of an address: its subnet, and what is in table local. */
function followsFromAddress(route: Route, addresses: readonly GuestAddress[]): boolean {
  const { dst, via, nexthops, mtu, metrics, protocol, type = 'unicast', table, src } = route;
  if (table === RT_TABLE_LOCAL) return protocol === 'kernel';
  if (!isMain(route) || via !== undefined || nexthops !== undefined || mtu !== undefined || metrics !== undefined) return false;
  if (type === 'multicast') return protocol === 'kernel';
  if (type !== 'unicast') return false;
  // The subnet of an address that is not told, which is noted.
  if (protocol === 'kernel' && src !== undefined && !addresses.some(({ address }) => splitCidr(address).address === src)) return true;
  return (dst === 'fe80::/64' && protocol === 'kernel') || addresses.some(({ address }) => networkOf(address) === canonicalCidr(dst));
}

function whyNoRoute(route: Route): string | undefined {
  const { table = RT_TABLE_MAIN, type = 'unicast' } = route;
  if (!isMain(route)) return `is in routing table ${table}, and a guest is told table main`;
  if (type !== 'unicast' && isNowhere(type).type === undefined) return `is of type ${type}`;
  if (route.family !== undefined) return 'is neither IPv4 nor IPv6';
  if (route.from !== undefined) return `is for packets from ${route.from} only`;
  if (route.tos !== undefined) return `is for packets with TOS ${route.tos} only`;
  if (route.encap !== undefined || route.nexthops?.some(({ encap }) => encap !== undefined) === true)
    return 'puts its packets into a tunnel (encap)';
  return undefined;
}

/** What is left out of a route that is told. */
function losses({ metrics, expires }: Route): string[] {
  const names = Object.keys(metrics ?? {});
  return [
    ...(names.length > 0 ? [`its ${names.join(', ')} ${names.length === 1 ? 'is' : 'are'} left out`] : []),
    ...(expires === undefined ? [] : [`ends in ${expires} s, if nobody renews it`]),
  ];
}

// ------------------------------------------------------------------ neighbours

function toldNeighbors(config: InterfaceLike, addresses: readonly GuestAddress[]): GuestNeighbor[] {
  const own = new Set(addresses.map(({ address }) => splitCidr(address).address));
  const gateways = new Set(config.routes.filter(isMain).flatMap(({ via, nexthops = [] }) => [via, ...nexthops.map((one) => one.via)]));
  return config.neighbors
    .filter(({ address, mac, state, flags = [] }) => {
      const bytes = parseMac(mac);
      if (bytes?.length !== 6 || (bytes[0]! & 1) !== 0 || bytes.every((byte) => byte === 0) || own.has(address) || flags.includes('proxy'))
        return false;
      return state === 'permanent' || (gateways.has(address) && state !== 'failed' && state !== 'incomplete');
    })
    .map(({ address, mac, state }) => ({ address, mac, ...(state === 'permanent' && { permanent: true }) }));
}
