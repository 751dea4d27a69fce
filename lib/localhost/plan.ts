// From what shall be reached to the operations that make it so: pure, but for what it is given.
import { PlumbError } from '../errors.js';
import { localhostPlaces } from '../kernel/localhost.js';
import type { Operation } from '../operation/kinds.js';
import { lackingPrograms } from '../operation/localhost-ebpf.js';
import { lackingTable } from '../operation/localhost-nft.js';
import { keys } from '../state/resource.js';
import { devicesOf } from '../state/route.js';
import type { Part, State } from '../state/snapshot.js';
import { ownName } from '../state/tc.js';
import { same } from '../state/value.js';
import type { Address } from '../wire/address.js';
import { RT_TABLE_LOCAL } from '../wire/constants.js';
import type { Neighbor } from '../wire/neighbor.js';
import type { Filter, Qdisc } from '../wire/tc.js';
import type { Route } from '../wire/route.js';
import type { Rule } from '../wire/rule.js';
import type { Backend } from './backend.js';
import type { LocalhostConfig } from './config.js';
import { lackingPasses, nftOperations } from './nft.js';

const LOOPBACK = 1; // ifindex, in every namespace

/**
 * Packets to and from 127.0.0.0/8 are let through the loopback's input although they came from elsewhere, by a source that is local.
 * localhost.md, 3: both are needed, whatever rp_filter is.
 */
export const SYSCTLS = ['net.ipv4.conf.lo.route_localnet', 'net.ipv4.conf.lo.accept_local'] as const;

/** Tables that must have been read for `localhostOperations` and `localhostProblems`. */
export function localhostParts(backend: Backend): readonly Part[] {
  return ['route', 'qdisc', 'filter', 'localhost', backend === 'ebpf' ? 'tcx' : 'nft'];
}

/** Everything of IPv4 that the namespace has to do with: for `chooseRanges`. */
export function occupiedPrefixes(state: State): readonly string[] {
  const found: (string | undefined)[] = [];
  for (const { kind, read, value } of state.resources.values()) {
    if (kind === 'address') {
      const { address, peer, broadcast } = read as Address;
      found.push(address, address.replace(/\/.*/, ''), peer, broadcast);
    } else if (kind === 'route') {
      const { dst, via, src, nexthops = [] } = value as unknown as Route;
      found.push(dst, via, src, ...nexthops.map((hop) => hop.via));
    } else if (kind === 'rule') {
      const { from, to } = value as unknown as Rule;
      found.push(from, to);
    } else if (kind === 'neighbor' || kind === 'proxy') found.push((value as unknown as Neighbor).address);
  }
  return [...found.filter((text) => text !== undefined), ...state.neighbors.map(({ address }) => address)];
}

/** The packets that go to guests by the loopback are no longer than their wires allow; its own MTU is 65536. */
export function loopbackRoute({ loopback }: Pick<LocalhostConfig, 'loopback'>, mtu: number): Route {
  return { object: 'route', dst: `${loopback}/23`, type: 'local', scope: 'host', dev: LOOPBACK, table: RT_TABLE_LOCAL, protocol: 'static', mtu }; // prettier-ignore
}

/** `mtu`: the shortest of the guests'. What is so already is left out, but for a table that is made `anew`. */
export function localhostOperations(
  state: State,
  { backend, hook, config, mtu, anew = false }: { readonly backend: Backend; readonly hook: 'tcx' | 'filter' | undefined; readonly config: LocalhostConfig; readonly mtu: number; readonly anew?: boolean }, // prettier-ignore
): readonly Operation[] {
  const now = state.get(keys.localhost(config.link)) as { readonly backend?: string; readonly config?: LocalhostConfig } | undefined;
  const route = loopbackRoute(config, mtu);
  const there = routeThere(state, route);
  const operations: Operation[] = [
    ...SYSCTLS.flatMap((key): Operation[] => (state.get(keys.sysctl(key)) === '1' ? [] : [{ op: 'sysctl.set', key, value: '1' }])),
    ...(there?.mtu === mtu ? [] : [{ op: 'route.add', route, ...(there !== undefined && { existing: 'replace' as const }) } as const]),
  ];
  if (backend === 'nft')
    return [...operations, ...nft(config, state, !anew && now?.backend === 'nft' && same(now.config as never, config as never))];
  if (hook === 'filter') operations.push(...qdiscs(config, state));
  if (now?.backend !== 'ebpf')
    operations.push({
      op: 'localhost.ebpf',
      config,
      hook: hook ?? 'tcx',
      ...(hook === 'filter' && { priority: freePriority(config, state) }),
    });
  else if (!same(now.config as never, config as never) || lackingPrograms(state, config).length > 0)
    operations.push({ op: 'localhost.configure', config });
  return operations;
}

function nft(config: LocalhostConfig, state: State, isInForce: boolean): readonly Operation[] {
  const isThere = isInForce && lackingTable(state, config).length === 0;
  return nftOperations(config, state).filter(({ op }) => op !== 'localhost.nft' || !isThere);
}

function routeThere(state: State, { dst }: Route): Route | undefined {
  for (const { kind, value } of state.resources.values()) {
    const route = value as unknown as Route;
    if (kind === 'route' && route.dst === dst && route.table === RT_TABLE_LOCAL && devicesOf(route).includes(LOOPBACK)) return route;
  }
  return undefined;
}

/** Where filters hang: what leaves by the loopback is asked by clsact alone. */
function qdiscs({ link, guests }: LocalhostConfig, state: State): readonly Operation[] {
  const kindOn = (index: number): string | undefined => {
    for (const { kind, link: of, value } of state.resources.values())
      if (kind === 'qdisc' && of === index && ['ingress', 'clsact'].includes((value as unknown as Qdisc).kind)) return (value as unknown as Qdisc).kind; // prettier-ignore
    return undefined;
  };
  return [...new Set([LOOPBACK, link, ...guests.map(({ tap }) => tap)])].flatMap((index): Operation[] =>
    kindOn(index) !== undefined ? [] : [{ op: 'qdisc.add', link: index, qdisc: { kind: index === LOOPBACK ? 'clsact' : 'ingress' } }],
  );
}

/**
 * The first that no filter has where the programs go: others' may have any, the datapath's are 16 and above.
 * @throws PlumbError ERR_PLUMB_CONFLICT: there is none ahead of the datapath's
 */
function freePriority(config: LocalhostConfig, state: State): number {
  const places = new Set(localhostPlaces(config).map(({ ifindex }) => ifindex));
  const filters = [...state.resources.values()].flatMap(({ kind, link, read }) => (kind === 'filter' && places.has(link!) ? [read as Filter] : [])); // prettier-ignore
  const taken = new Set(filters.map(({ priority }) => priority));
  const before = Math.min(Infinity, ...filters.filter((one) => ownName(one) !== undefined).map(({ priority }) => priority));
  let priority = 1;
  while (taken.has(priority)) priority++;
  if (priority < before) return priority;
  throw new PlumbError(`no priority is left ahead of podtap's filter (${before}) for the programs of the pod's localhost`, { code: 'ERR_PLUMB_CONFLICT' }); // prettier-ignore
}

export interface LocalhostProblem {
  readonly code: string;
  readonly message: string;
  readonly fix: string;
}

/** What a backend misses in the kernel, in words. */
export function lackingOf(state: State, backend: Backend, config: LocalhostConfig): readonly string[] {
  if (backend === 'ebpf') return lackingPrograms(state, config);
  const passes = lackingPasses(config, state).map((index) => `the filter that lets nftables see what comes in by ${state.links.get(index)?.name ?? `if${index}`}`); // prettier-ignore
  return [...lackingTable(state, config), ...passes];
}

/** What is not as it was made. */
export function localhostProblems(
  state: State,
  { backend, config, mtu }: { readonly backend: Backend; readonly config: LocalhostConfig; readonly mtu: number },
): readonly LocalhostProblem[] {
  const lacking = lackingOf(state, backend, config);
  const found: LocalhostProblem[] = [];
  const name = state.links.get(config.link)?.name ?? `if${config.link}`;
  for (const key of SYSCTLS)
    if (state.get(keys.sysctl(key)) !== '1') found.push({ code: 'LOCALHOST_SYSCTL', message: `${key} is not 1: what guests send to the pod's localhost is dropped there`, fix: `sysctl -w ${key}=1, or repair()` }); // prettier-ignore
  const route = routeThere(state, loopbackRoute(config, mtu));
  const command = `ip route replace local ${config.loopback}/23 dev lo mtu ${mtu}, or repair()`;
  if (route === undefined) found.push({ code: 'LOCALHOST_ROUTE', message: `the route ${config.loopback}/23 of the loopback is gone: long packets to guests are lost`, fix: command }); // prettier-ignore
  else if (route.mtu !== mtu) found.push({ code: 'LOCALHOST_ROUTE', message: `the route ${config.loopback}/23 of the loopback has MTU ${route.mtu ?? 'none'}, and the guests' is ${mtu}`, fix: command }); // prettier-ignore
  for (const what of lacking) found.push({ code: 'LOCALHOST_MISSING', message: `${what} is gone: guests of ${name} do not reach the pod's localhost as they should`, fix: 'repair()' }); // prettier-ignore
  const now = state.get(keys.localhost(config.link)) as { readonly backend?: string; readonly config?: LocalhostConfig } | undefined;
  if (lacking.length > 0) return found;
  if (now === undefined) found.push({ code: 'LOCALHOST_MISSING', message: `nothing carries the pod's localhost to the guests of ${name} any more`, fix: 'repair()' }); // prettier-ignore
  else if (now.backend !== backend || !same(now.config as never, config as never))
    found.push({ code: 'LOCALHOST_CHANGED', message: `somebody else has changed what guests of ${name} reach of the pod's localhost`, fix: 'repair()' }); // prettier-ignore
  return found;
}
