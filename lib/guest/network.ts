// What a guest is told about its network: the one description that every guest kind is rendered from.
import {
  array,
  boolean,
  check,
  fullCidr,
  hostname,
  integer,
  interfaceMac,
  interfaceName,
  ip,
  mtu,
  oneOf,
  optional,
  options,
  prefix,
  splitCidr,
  text,
  u32,
} from '../check.js';
import { searchDomain } from '../check.js';
import { invalidArgument } from '../errors.js';
import { formatMac, parseIp, parseMac } from '../wire/text.js';
import { type Family, canonicalCidr, canonicalIp, contains, families, familyOf, isDefault, isUnicast } from './prefix.js';

/** What was left out of a text or a description, and why. */
export interface GuestNote {
  /** 'routes', 'addresses', 'dns.search', ... */
  readonly field: string;
  readonly reason: string;
}

export interface GuestAddress {
  /** CIDR: '172.17.0.5/16'. */
  readonly address: string;
  /** 'link': valid on this link only, and not made by the kernel. Absent: global. */
  readonly scope?: 'link';
  /** Seconds from when it was read; absent: for ever. */
  readonly validLifetime?: number;
  /** Seconds from when it was read; absent: for ever. 0: deprecated. */
  readonly preferredLifetime?: number;
}

/** One leg of a route with several. */
export interface GuestNexthop {
  readonly via?: string;
  readonly onlink?: boolean;
  /** 1 to 256; absent: 1. */
  readonly weight?: number;
}

export interface GuestRoute {
  /** CIDR; default routes are '0.0.0.0/0' and '::/0'. */
  readonly dst: string;
  /** Absent: on the link itself. May be of the other family than `dst` (RFC 5549). */
  readonly via?: string;
  /** `via` is in none of the guest's subnets: it is to be looked for on the link all the same. */
  readonly onlink?: boolean;
  readonly metric?: number;
  readonly mtu?: number;
  /** The preferred source, one of the addresses. */
  readonly src?: string;
  /** Packets go nowhere: silently, or with an ICMP error. */
  readonly type?: 'blackhole' | 'unreachable' | 'prohibit';
  /** Of a route with several legs. */
  readonly nexthops?: readonly GuestNexthop[];
}

export interface GuestNeighbor {
  readonly address: string;
  readonly mac: string;
  /** Set by somebody, and not to be asked for: absent of what was learned. */
  readonly permanent?: boolean;
}

/** What a guest is told. Both families, without loss; plain values, that survive JSON; no descriptor. */
export interface GuestNetwork {
  readonly mac: string;
  readonly mtu: number;
  /** The TAP on the host. */
  readonly tap: string;
  /** The pod's interface whose place the guest takes. */
  readonly link: string;
  readonly addresses: readonly GuestAddress[];
  /** Of the preferred default route. */
  readonly gateway: { readonly ipv4?: string; readonly ipv6?: string };
  /** The default routes too; without those that follow from an address's prefix. */
  readonly routes: readonly GuestRoute[];
  readonly neighbors: readonly GuestNeighbor[];
  readonly dns: { readonly servers: readonly string[]; readonly search: readonly string[] };
  readonly hostname?: string;
  /** What the pod has and the guest is not told, and why. */
  readonly notes?: readonly GuestNote[];
  /** By `gateway: 'substitute'` of plumb. */
  readonly substituted?: GuestSubstitution;
}

/** What a guest is told that is not so in the pod: a prefix with a gateway in it, for which ARP is answered with the real next hop's MAC. */
export interface GuestSubstitution {
  /** CIDR, both. */
  readonly address: { readonly is: string; readonly instead: string };
  /** `instead` is absent where the pod has no gateway. */
  readonly gateway: { readonly is: string; readonly instead?: string };
  /** Addresses that the guest may not reach because of it. */
  readonly unreachable: readonly string[];
}

const lifetime = optional(u32);
const legs = array(options({ via: optional(ip), onlink: optional(boolean), weight: optional(integer(1, 256)) }));
const schema = options({
  mac: optional(interfaceMac),
  mtu: optional(mtu),
  tap: optional(interfaceName),
  link: optional(interfaceName),
  addresses: array(options({ address: fullCidr, scope: optional(oneOf('link')), validLifetime: lifetime, preferredLifetime: lifetime })),
  gateway: optional(options({ ipv4: optional(ip), ipv6: optional(ip) })),
  routes: optional(
    array(
      options({
        dst: prefix,
        via: optional(ip),
        onlink: optional(boolean),
        metric: optional(u32),
        mtu: optional(u32),
        src: optional(ip),
        type: optional(oneOf('blackhole', 'unreachable', 'prohibit')),
        nexthops: optional(legs),
      }),
    ),
  ),
  neighbors: optional(array(options({ address: ip, mac: interfaceMac, permanent: optional(boolean) }))),
  dns: optional(options({ servers: optional(array(ip)), search: optional(array(searchDomain)) })),
  hostname: optional(hostname),
  notes: optional(array(options({ field: text, reason: text }))),
  substituted: optional(
    options({
      address: options({ is: fullCidr, instead: fullCidr }),
      gateway: options({ is: ip, instead: optional(ip) }),
      unreachable: array(ip),
    }),
  ),
});

/**
 * A guest's configuration by hand, checked and completed. Addresses are written in their canonical form; a gateway has a default route and a
 * default route a gateway; a gateway outside of the guest's subnets is marked `onlink`.
 *
 * Defaults: tap 'tap0', link 'eth0', mtu 1500; the MAC is 0a:58 and the first address's last four bytes, as CNI plugins make it: the same
 * each time, and another for each guest of a subnet.
 * @throws TypeError ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE: what is wrong, where, and what would be right
 * @example const guest = defineGuest({ addresses: [{ address: '172.17.0.5/16' }], gateway: { ipv4: '172.17.0.1' }, tap: 'tap100', mtu: 1450 })
 */
export function defineGuest(guest: Partial<GuestNetwork> & Pick<GuestNetwork, 'addresses'>): GuestNetwork {
  return complete(guest, 'defineGuest');
}

/** The same for what a renderer is given: it may have come from a file. */
export function complete(guest: unknown, where: string): GuestNetwork {
  const given = check(schema, guest, where);
  const own = given.addresses.map(({ address }) => splitCidr(address).address);
  const odd = own.find((address) => !isUnicast(address));
  if (odd !== undefined)
    throw invalidArgument('ERR_INVALID_ARG_VALUE', `${where}: 'addresses' must be unicast addresses; received '${odd}'`);
  const addresses = given.addresses.map((one) => ({
    address: canonicalCidr(one.address),
    ...(one.scope !== undefined && { scope: 'link' as const }),
    ...defined('validLifetime', one.validLifetime),
    ...defined('preferredLifetime', one.preferredLifetime),
  }));
  const routes = (given.routes ?? []).map((route) => canonicalRoute(route, addresses));
  const gateway = reconcile(given.gateway ?? {}, routes, addresses, where);
  const { hostname, notes, substituted } = given;
  return {
    mac: given.mac === undefined ? macFor(addresses, where) : canonicalMac(given.mac),
    mtu: given.mtu ?? 1500,
    tap: given.tap ?? 'tap0',
    link: given.link ?? 'eth0',
    addresses,
    gateway,
    routes,
    neighbors: (given.neighbors ?? []).map(({ address, mac, permanent }) => ({
      address: canonicalIp(address),
      mac: canonicalMac(mac),
      ...(permanent === true && { permanent }),
    })),
    dns: { servers: (given.dns?.servers ?? []).map(canonicalIp), search: given.dns?.search ?? [] },
    ...defined('hostname', hostname),
    ...(notes !== undefined && notes.length > 0 && { notes }),
    ...defined('substituted', substituted),
  };
}

function defined<const N extends string, T>(name: N, value: T | undefined): { [K in N]?: T } {
  return (value === undefined ? {} : { [name]: value }) as { [K in N]?: T };
}

function canonicalMac(mac: string): string {
  return formatMac(parseMac(mac)!, 0, 6);
}

/** A multicast bit there is none in 0a, the bit for local administration there is. */
function macFor(addresses: readonly GuestAddress[], where: string): string {
  const [first] = addresses;
  if (first === undefined) throw invalidArgument('ERR_INVALID_ARG_VALUE', `${where}: 'mac' is required where there is no address`);
  const bytes = parseIp(splitCidr(first.address).address)!;
  return `0a:58:${formatMac(bytes, bytes.length - 4, 4)}`;
}

type Given<T> = { [K in keyof T]?: T[K] | undefined };

function canonicalRoute(given: Given<GuestRoute> & { dst: string }, addresses: readonly GuestAddress[]): GuestRoute {
  const { dst, via, metric, mtu, src, type, nexthops } = given;
  const leg = (one: Given<GuestNexthop>): GuestNexthop => ({
    ...(one.via !== undefined && { via: canonicalIp(one.via) }),
    ...((one.onlink === true || isOutside(one.via, addresses)) && { onlink: true }),
    ...defined('weight', one.weight),
  });
  const family = familyOf(via ?? src ?? nexthops?.find((one) => one.via !== undefined)?.via ?? '');
  return {
    dst: dst === 'default' ? (family === 'ipv6' ? '::/0' : '0.0.0.0/0') : canonicalCidr(dst),
    ...leg({ via, onlink: given.onlink }),
    ...defined('metric', metric),
    ...defined('mtu', mtu),
    ...(src !== undefined && { src: canonicalIp(src) }),
    ...defined('type', type),
    ...(nexthops !== undefined && nexthops.length > 0 && { nexthops: nexthops.map(leg) }),
  };
}

/** In none of the subnets, so that a stack which looks there first would not find it. fe80:: is in each link's own, which not every stack has. */
function isOutside(via: string | undefined, addresses: readonly GuestAddress[]): boolean {
  return via !== undefined && !addresses.some(({ address }) => contains(address, via));
}

/** Adds the default route that a gateway stands for; the gateways that are told are those of the default routes. */
function reconcile(
  given: Given<GuestNetwork['gateway']>,
  routes: GuestRoute[],
  addresses: readonly GuestAddress[],
  where: string,
): GuestNetwork['gateway'] {
  const gateway: { [F in Family]?: string } = {};
  for (const family of families) {
    const wanted = given[family];
    if (wanted !== undefined && familyOf(wanted) !== family)
      throw invalidArgument('ERR_INVALID_ARG_VALUE', `${where}: 'gateway.${family}' must be of that family; received '${wanted}'`);
    if (wanted !== undefined && (!isUnicast(wanted) || addresses.some(({ address }) => splitCidr(address).address === canonicalIp(wanted))))
      throw invalidArgument('ERR_INVALID_ARG_VALUE', `${where}: 'gateway.${family}' must be the address of another; received '${wanted}'`);
    const vias = routes
      .filter(({ dst, type }) => isDefault(dst) && familyOf(dst) === family && type === undefined)
      .sort((a, b) => (a.metric ?? 0) - (b.metric ?? 0)) // stable: of equals the first
      .flatMap(({ via, nexthops = [] }) => [via, ...nexthops.map((leg) => leg.via)])
      .filter((via) => via !== undefined && familyOf(via) === family);
    const chosen = wanted === undefined ? vias[0] : canonicalIp(wanted);
    if (chosen === undefined) continue;
    gateway[family] = chosen;
    if (vias.includes(chosen)) continue;
    if (vias.length > 0)
      throw invalidArgument('ERR_INVALID_ARG_VALUE', `${where}: 'gateway.${family}' is ${chosen}, and the default routes go to ${vias.join(', ')}`); // prettier-ignore
    routes.push(canonicalRoute({ dst: family === 'ipv6' ? '::/0' : '0.0.0.0/0', via: chosen }, addresses));
  }
  return gateway;
}
