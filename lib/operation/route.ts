import * as v from 'valibot';
import {
  type LinkRef,
  type Schema,
  array,
  boolean,
  ifindex,
  integer,
  ip,
  linkRef,
  oneOf,
  optional,
  options,
  prefix,
  sameFamily,
  text,
  u16,
  u32,
  u8,
} from '../check.js';
import { ipProtocols, protocols, scopes } from '../wire/constants.js';
import { NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from '../wire/message.js';
import { canonicalCidr } from '../wire/prefix.js';
import {
  type Nexthop,
  RTM_DELROUTE,
  RTM_NEWROUTE,
  type Route,
  encodeRoute,
  encapTypes,
  metricNames,
  preferences,
  routeFeatures,
  routeFlags,
  routeTypes,
} from '../wire/route.js';
import {
  type FindLink,
  type OperationKind,
  asRead,
  device,
  flagsOf,
  nameOf,
  netlink,
  operation,
  option,
  realms,
  words,
} from './operation.js';
import type { Touching } from './touching.js';

export interface RouteAdd {
  readonly op: 'route.add';
  readonly route: Route;
  /** Instead of failing with EEXIST where one of that destination, TOS and metric is there: takes its place, or stands beside it. */
  readonly existing?: 'replace' | 'append';
}
export interface RouteDelete {
  readonly op: 'route.delete';
  readonly route: Route;
}

const encap = options({ type: nameOf(encapTypes), data: v.instance(Uint8Array, 'must be the attributes of that type, as bytes') });
const nexthop = options({
  via: optional(ip),
  dev: optional(linkRef),
  weight: optional(integer(1, 256)),
  onlink: optional(boolean),
  flags: optional(flagsOf('flag of a nexthop', routeFlags)),
  flow: optional(u32),
  encap: optional(encap),
  newdst: asRead,
  unknown: asRead,
});

const fields = options({
  object: optional(v.literal('route')),
  dst: prefix,
  family: optional(u8),
  from: optional(prefix),
  tos: optional(u8),
  via: optional(ip),
  dev: optional(linkRef),
  src: optional(ip),
  table: optional(u32),
  type: optional(nameOf(routeTypes)),
  scope: optional(nameOf(scopes)),
  protocol: optional(nameOf(protocols)),
  metric: optional(u32),
  mtu: optional(u32),
  metrics: optional(
    options({
      ...Object.fromEntries(metricNames.map((name) => [name, optional(u32)])),
      cc_algo: optional(text),
      features: optional(flagsOf('feature of a route', routeFeatures)),
      lock: optional(array(oneOf('mtu', ...metricNames))),
    }),
  ),
  onlink: optional(boolean),
  nexthops: optional(v.pipe(array(nexthop), v.minLength(1, 'must have a nexthop'))),
  nhid: optional(u32),
  encap: optional(encap),
  flags: optional(flagsOf('flag of a route', routeFlags)),
  expires: optional(u32),
  pref: optional(nameOf(preferences)),
  flow: optional(u32),
  ttlPropagate: optional(boolean),
  newdst: asRead,
  error: asRead,
  iif: optional(ifindex),
  mark: optional(u32),
  uid: optional(u32),
  ipProtocol: optional(nameOf(ipProtocols)),
  sport: optional(u16),
  dport: optional(u16),
  unknown: asRead,
}) as unknown as Schema<Route>;
/** What is read from the kernel can be added again as it is. */
export const routeSchema = sameFamily(fields, ['src', 'dst'], ['from', 'dst'], ['from', 'src']);

export const routeAdd: OperationKind<RouteAdd> = {
  schema: operation('route.add', { route: routeSchema, existing: optional(oneOf('replace', 'append')) }),
  links: ({ route }) => linksOf(route),
  requests: ({ route, existing }, find) => {
    const how = existing === 'replace' ? NLM_F_REPLACE : existing === 'append' ? NLM_F_APPEND : NLM_F_EXCL;
    return [netlink(encodeRoute(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | how, resolved(route, find)))];
  },
  parts: () => ['route'],
  touches: ({ route }, on) => {
    touchRoutes(route, on);
    on.mayAdd(`route/${route.table === undefined ? '' : `${route.table}/${destination(route)}/`}`);
  },
  command: ({ route, existing }) => `${comment(route)}${ipOf(route)} route ${existing ?? 'add'} ${routeWords(route)}`,
};

export const routeDelete: OperationKind<RouteDelete> = {
  schema: operation('route.delete', { route: routeSchema }),
  links: ({ route }) => linksOf(route),
  requests: ({ route }, find) => [netlink(encodeRoute(RTM_DELROUTE, NLM_F_ACK, resolved(route, find)))],
  parts: () => ['route'],
  touches: ({ route }, on) => touchRoutes(route, on),
  command: ({ route }) => `${ipOf(route)} route delete ${routeWords(route)}`,
};

/** What a request does not say, the kernel fills in: so all that its destination could mean. One of several nexthops may come or go. */
function touchRoutes(route: Route, on: Touching): void {
  const dst = destination(route);
  for (const { kind, key, value } of on.state.resources.values()) {
    const one = value as { dst?: string; table?: number };
    if (kind === 'route' && one.dst === dst && (route.table === undefined || route.table === one.table)) on.mayChange(key);
  }
}

function destination({ dst, via, src, from, nexthops }: Route): string {
  const hint = via ?? src ?? from ?? nexthops?.[0]?.via;
  return dst === 'default' ? (hint?.includes(':') === true ? '::/0' : '0.0.0.0/0') : canonicalCidr(dst);
}

function linksOf({ dev, nexthops }: Route): (LinkRef | undefined)[] {
  return [dev, ...(nexthops ?? []).map((hop) => hop.dev)];
}

function resolved(route: Route, find: FindLink): Route {
  return {
    ...route,
    ...(route.dev !== undefined && { dev: find(route.dev) }),
    ...(route.nexthops !== undefined && {
      nexthops: route.nexthops.map((hop): Nexthop => (hop.dev === undefined ? hop : { ...hop, dev: find(hop.dev) })),
    }),
  };
}

function ipOf({ dst, via }: Route): string {
  return dst.includes(':') || (dst === 'default' && via?.includes(':') === true) ? 'ip -6' : 'ip';
}

/** An encapsulation is kept as its attributes: it has no words. */
function comment({ encap, nexthops }: Route): string {
  const type = encap?.type ?? nexthops?.find((hop) => hop.encap !== undefined)?.encap?.type;
  return type === undefined ? '' : `# with its encapsulation (${type}): `;
}

function routeWords(route: Route): string {
  const { dst, via, dev, src, from, tos, table, type, scope, protocol, metric, mtu, metrics, onlink, nexthops, nhid, expires, pref, flow } =
    route;
  const hop = (one: Nexthop): (string | number | undefined)[] => [
    ...(one.via === undefined ? [] : ['via', ...(one.via.includes(':') && !dst.includes(':') ? ['inet6'] : []), one.via]),
    ...(one.dev === undefined ? [] : ['dev', device(one.dev)]),
    ...option('weight', one.weight),
    ...option('realms', realms(one.flow)),
    one.onlink === true ? 'onlink' : undefined,
  ];
  // ip-route(8) locks rto_min by itself.
  const locked = (name: string): (string | undefined)[] => (metrics?.lock?.includes(name) === true && name !== 'rto_min' ? ['lock'] : []);
  return words(
    type === undefined || type === 'unicast' ? undefined : type,
    dst,
    ...option('from', from),
    ...option('tos', tos === undefined || tos === 0 ? undefined : `0x${tos.toString(16)}`),
    ...(nhid === undefined
      ? nexthops === undefined
        ? hop({ ...(via !== undefined && { via }), ...(dev !== undefined && { dev }) })
        : []
      : ['nhid', nhid]),
    ...option('src', src),
    ...option('table', table),
    ...option('proto', protocol),
    ...option('scope', scope),
    ...option('metric', metric),
    ...(mtu === undefined ? [] : ['mtu', ...locked('mtu'), mtu]),
    ...Object.entries(metrics ?? {}).flatMap(([name, value]) =>
      name === 'lock' || value === undefined
        ? []
        : [name === 'cc_algo' ? 'congctl' : name, ...locked(name), ...(Array.isArray(value) ? (value as string[]) : [String(value)])],
    ),
    ...option('realms', realms(flow)),
    ...option('expires', expires),
    ...option('pref', pref),
    onlink === true ? 'onlink' : undefined,
    ...(nhid === undefined ? (nexthops ?? []).flatMap((one) => ['nexthop', ...hop(one)]) : []),
  );
}
