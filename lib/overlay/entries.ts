// What stands on the devices: read in one trip, compared with what is wanted, and made into operations.
import type { Operation } from '../operation/kinds.js';
import { dumps } from '../kernel/netlink.js';
import { type Netns, attachment } from '../kernel/netns.js';
import { type Address, decodeAddress, encodeAddressDump } from '../wire/address.js';
import { AF_INET, AF_INET6, AF_UNSPEC, RT_TABLE_MAIN } from '../wire/constants.js';
import { NLM_F_DUMP } from '../wire/message.js';
import { type FdbEntry, type Neighbor, decodeFdb, decodeNeighbor, encodeFdbDump, encodeNeighborDump } from '../wire/neighbor.js';
import { type Route, decodeRoute, encodeRouteDump } from '../wire/route.js';
import { FDB_MARK, PROTOCOL, type WantedHalf, type WantedRoute } from './wanted.js';

/** Of one half, what there is. */
export interface Entries {
  readonly addresses: readonly Address[];
  readonly routes: readonly Route[];
  readonly neighbors: readonly Neighbor[];
  readonly fdb: readonly FdbEntry[];
}

/** Reads what stands on each of the devices, and the routes by the underlay. */
export async function readEntries(
  netns: Netns,
  halves: readonly { readonly family: WantedHalf['family']; readonly ifindex: number }[],
  underlay: number,
): Promise<readonly Entries[]> {
  const requests = halves.flatMap(({ family, ifindex }) => {
    const number = family === 'ipv6' ? AF_INET6 : AF_INET;
    return [
      encodeAddressDump(NLM_F_DUMP, number, ifindex),
      encodeRouteDump(NLM_F_DUMP, number, RT_TABLE_MAIN, ifindex),
      encodeRouteDump(NLM_F_DUMP, number, RT_TABLE_MAIN, underlay),
      encodeNeighborDump(NLM_F_DUMP, number, ifindex),
      encodeFdbDump(NLM_F_DUMP, ifindex),
    ];
  });
  const answers = await dumps(attachment(netns).socket, requests);
  return halves.map((_, half) => {
    const part = answers.slice(5 * half, 5 * half + 5);
    const read = <T>(at: number, decode: (from: never, message: never) => T): T[] =>
      part[at]!.messages.map((message) => decode(part[at]!.from as never, message as never));
    return {
      addresses: read(0, decodeAddress),
      routes: [...read(1, decodeRoute), ...read(2, decodeRoute)],
      neighbors: read(3, decodeNeighbor),
      fdb: read(4, decodeFdb),
    };
  });
}

export async function readAddresses(netns: Netns, ifindex: number): Promise<readonly Address[]> {
  const [answer] = await dumps(attachment(netns).socket, [encodeAddressDump(NLM_F_DUMP, AF_UNSPEC, ifindex)]);
  return answer!.messages.map((message) => decodeAddress(answer!.from, message));
}

// ------------------------------------------------------------------ comparing

/**
 * Changes that belong together, tried together where something fails. Those before the one that fails stay: a neighbour and a forwarding
 * entry without a route harm nobody, and the next try finds them done.
 */
export interface Change {
  readonly about: string;
  readonly operations: readonly Operation[];
}

const protocol = String(PROTOCOL);

export function routeIsRight(route: Route, { via, through }: WantedRoute, devices: Devices): boolean {
  const onlink = route.onlink === true;
  return (
    route.via === via &&
    route.dev === devices[through] &&
    onlink === (through === 'vtep') &&
    (route.type ?? 'unicast') === 'unicast' &&
    route.protocol === protocol &&
    (route.metric ?? 0) === metricOf(route.dst)
  );
}

/** What the kernel gives a route that asks for none: IP6_RT_PRIO_USER, and of IPv4 0. */
function metricOf(dst: string): number {
  return dst.includes(':') ? 1024 : 0;
}

export interface Devices {
  readonly vtep: number;
  readonly underlay: number;
}

export function plan(half: WantedHalf, devices: Devices, there: Entries): readonly Change[] {
  const link = devices.vtep;
  const addresses = planAddresses(link, half.address, there.addresses, half.family);

  const routes = new Map<string, Route[]>();
  for (const route of there.routes) {
    const same = routes.get(route.dst);
    if (same === undefined) routes.set(route.dst, [route]);
    else same.push(route);
  }
  const neighbors = new Map(there.neighbors.map((neighbor) => [neighbor.address, neighbor]));
  const fdb = new Map(there.fdb.map((entry) => [entry.mac, entry]));

  const changes: Change[] = [];
  for (const [dst, route] of half.routes) {
    const operations: Operation[] = [];
    if (route.through === 'vtep') {
      // The order is flannel's: the kernel would ask for the gateway's MAC if the route were first.
      const mac = half.neighbors.get(route.via)!;
      if (!neighborIsRight(neighbors.get(route.via), mac)) {
        operations.push({ op: 'neighbor.set', link, neighbor: { address: route.via, mac, state: 'permanent', protocol } });
      }
      const remote = half.fdb.get(mac)!;
      const entry = fdb.get(mac);
      if (!fdbIsRight(entry, remote)) {
        // One that a user made is not taken over by one with our flag (vxlan_fdb_update_existing).
        if (entry !== undefined && !isMarked(entry)) operations.push({ op: 'fdb.delete', link, entry: { mac, ...(entry.dst !== undefined && { dst: entry.dst }) } }); // prettier-ignore
        operations.push({ op: 'fdb.set', link, entry: { mac, dst: remote, flags: [FDB_MARK] } });
      }
    }
    const same = routes.get(dst) ?? [];
    if (!same.some((one) => routeIsRight(one, route, devices))) {
      // One on our own device, or with our number, is ours to replace; a stranger's makes the addition fail.
      const ours = same.filter((one) => isOurs(one, devices));
      // IPv6 looks the gateway up, finds that it is behind the old route, and refuses the other device (ip6_route_check_nh_onlink).
      const moved = half.family === 'ipv6' ? ours.filter((one) => one.dev !== devices[route.through]) : [];
      operations.push(...moved.map(deletion));
      const existing = ours.length > moved.length ? { existing: 'replace' as const } : {};
      operations.push({ op: 'route.add', route: encoded(route, devices), ...existing });
    }
    if (operations.length > 0) changes.push({ about: dst, operations });
  }

  const stale: Operation[] = [];
  for (const route of there.routes) {
    const kept = half.routes.get(route.dst);
    // One of the same destination was replaced above, or stands on the other device with another metric.
    const isGone =
      kept === undefined ||
      (devices[kept.through] !== route.dev && there.routes.some((one) => one.dst === route.dst && routeIsRight(one, kept, devices)));
    if (route.protocol === protocol && isGone) stale.push(deletion(route));
  }
  for (const { address, protocol: by } of there.neighbors) {
    if (by === protocol && !half.neighbors.has(address)) stale.push({ op: 'neighbor.delete', link, neighbor: { address } });
  }
  for (const entry of there.fdb) {
    const { mac, dst } = entry;
    if (isMarked(entry) && !half.fdb.has(mac) && dst !== undefined) stale.push({ op: 'fdb.delete', link, entry: { mac, dst } });
  }
  const gone = stale.map((operation): Change => ({ about: half.device, operations: [operation] }));
  return [...addresses, ...changes, ...gone];
}

/** Addresses of a device: the one that is wanted, and none that was ours before. */
export function planAddresses(link: number, address: string, there: readonly Address[], family: WantedHalf['family']): readonly Change[] {
  const isFamily = (one: Address): boolean => one.address.includes(':') === (family === 'ipv6');
  const add: Change = {
    about: address,
    operations: [{ op: 'address.add', link, address: { address, protocol: PROTOCOL, ...(family === 'ipv6' && { flags: ['nodad'] }) } }],
  };
  const old = there.filter((one) => isFamily(one) && one.protocol === PROTOCOL && one.address !== address);
  return [
    ...old.map((one): Change => ({ about: one.address, operations: [{ op: 'address.delete', link, address: one }] })),
    ...(there.some((one) => one.address === address) ? [] : [add]),
  ];
}

export function neighborIsRight(neighbor: Neighbor | undefined, mac: string): boolean {
  return neighbor?.mac === mac && neighbor.state === 'permanent' && neighbor.protocol === protocol;
}

function isMarked({ flags }: FdbEntry): boolean {
  return flags?.includes(FDB_MARK) === true;
}

export function fdbIsRight(entry: FdbEntry | undefined, remote: string): boolean {
  return (
    entry?.dst === remote &&
    entry.state === 'permanent' &&
    entry.flags?.includes(FDB_MARK) === true &&
    entry.port === undefined &&
    entry.vni === undefined
  );
}

export function isOurs(route: Route, { vtep }: Devices): boolean {
  return route.protocol === protocol || route.dev === vtep;
}

function encoded({ dst, via, through }: WantedRoute, devices: Devices): Route {
  return { dst, via, dev: devices[through], protocol, ...(through === 'vtep' && { onlink: true }) };
}

export function deletion({ dst, via, dev, metric, protocol }: Route): Operation {
  return { op: 'route.delete', route: { dst, ...(protocol !== undefined && { protocol }), table: RT_TABLE_MAIN, ...(via !== undefined && { via }), ...(dev !== undefined && { dev }), ...(metric !== undefined && { metric }) } }; // prettier-ignore
}
