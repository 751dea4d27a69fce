import { type LinkRef, check, linkRef, splitCidr } from '../check.js';
import { findLink, noLink } from '../kernel/link.js';
import { dumps } from '../kernel/netlink.js';
import { attachment } from '../kernel/netns.js';
import { type Address, decodeAddress, encodeAddressDump } from '../wire/address.js';
import { AF_INET, AF_INET6, AF_UNSPEC } from '../wire/constants.js';
import { NLM_F_DUMP } from '../wire/message.js';
import { type Neighbor, decodeNeighbor, encodeNeighborDump } from '../wire/neighbor.js';
import { type Route, decodeRoute, encodeRouteDump } from '../wire/route.js';
import { type Rule, decodeRule, encodeRuleDump } from '../wire/rule.js';
import type { Scope } from './scope.js';

/** Everything that an interface has been given, without loss. */
export interface InterfaceConfig {
  readonly name: string;
  readonly ifindex: number;
  readonly kind: string;
  readonly mac: string;
  readonly mtu: number;
  readonly txQueueLength: number;
  readonly addresses: readonly Address[];
  /** Of every table, that leave by this interface, with all or some of their nexthops. */
  readonly routes: readonly Route[];
  /** That name the interface, or one of its addresses. */
  readonly rules: readonly Rule[];
  /** The permanent ones, and the gateways' as they are known now. */
  readonly neighbors: readonly Neighbor[];
  /** Of the default route in table main, the preferred one if there are several. */
  readonly gateway: { readonly ipv4?: string; readonly ipv6?: string };
}

const RT_TABLE_MAIN = 254;

/**
 * Reads what an interface has: MAC, MTU, addresses of both families with flags and lifetimes, routes of every table with their
 * metrics, rules, neighbours. Two trips to the kernel.
 *
 * Like `ip -d link`, `ip address`, `ip route show table all`, `ip -6 route show table all`, `ip rule`, `ip neigh` for `dev LINK`.
 * @throws PodtapError ENODEV: there is no such interface; DumpInterruptedError: it kept changing while it was read
 * @example const eth0 = await readAddr(pod, 'eth0')  // eth0.addresses[0].address: '172.17.0.5/16', eth0.gateway.ipv4: '172.17.0.1'
 */
export async function readAddr(scope: Scope, link: LinkRef): Promise<InterfaceConfig> {
  const found = await findLink(scope, check(linkRef, link, 'readAddr'));
  if (found === undefined) throw noLink(link);
  const { name, ifindex, kind, mac, mtu, txQueueLength } = found;
  const [addressDump, routes4, routes6, rules4, rules6, neighborDump] = await dumps(attachment(scope).socket, [
    encodeAddressDump(NLM_F_DUMP, AF_UNSPEC, ifindex),
    encodeRouteDump(NLM_F_DUMP, AF_INET),
    encodeRouteDump(NLM_F_DUMP, AF_INET6),
    encodeRuleDump(NLM_F_DUMP, AF_INET),
    encodeRuleDump(NLM_F_DUMP, AF_INET6),
    encodeNeighborDump(NLM_F_DUMP, AF_UNSPEC, ifindex),
  ]);
  const decoded = <T>(
    answer: NonNullable<typeof addressDump>,
    decode: (from: typeof answer.from, message: (typeof answer.messages)[0]) => T,
  ): T[] => answer.messages.map((message) => decode(answer.from, message));

  const addresses = decoded(addressDump!, decodeAddress);
  const routes = [...decoded(routes4!, decodeRoute), ...decoded(routes6!, decodeRoute)].filter(({ dev, nexthops }) => dev === ifindex || nexthops?.some((hop) => hop.dev === ifindex) === true); // prettier-ignore
  const own = new Set(addresses.map(({ address }) => splitCidr(address).address));
  const names = (prefix: string | undefined): boolean => prefix !== undefined && own.has(splitCidr(prefix).address);
  const rules = [...decoded(rules4!, decodeRule), ...decoded(rules6!, decodeRule)].filter(({ iif, oif, from, to }) => iif === name || oif === name || names(from) || names(to)); // prettier-ignore
  const gateways = new Set(routes.flatMap(({ via, nexthops }) => [via, ...(nexthops ?? []).map((hop) => hop.via)]));
  const neighbors = decoded(neighborDump!, decodeNeighbor).filter(
    ({ state, address, mac }) => state === 'permanent' || (mac !== '' && gateways.has(address)),
  );
  const ipv4 = gatewayOf(routes, '0.0.0.0/0', ifindex);
  const ipv6 = gatewayOf(routes, '::/0', ifindex);
  const gateway = { ...(ipv4 !== undefined && { ipv4 }), ...(ipv6 !== undefined && { ipv6 }) };
  return { name, ifindex, kind, mac, mtu, txQueueLength, addresses, routes, rules, neighbors, gateway };
}

/** Of a route with several legs, that of the leg that leaves by this interface. */
function gatewayOf(routes: readonly Route[], dst: string, ifindex: number): string | undefined {
  const [best] = routes
    .filter((route) => route.dst === dst && (route.table ?? RT_TABLE_MAIN) === RT_TABLE_MAIN)
    .sort((a, b) => (a.metric ?? 0) - (b.metric ?? 0));
  return best?.via ?? best?.nexthops?.find(({ via, dev }) => via !== undefined && dev === ifindex)?.via;
}
