import type { Route } from '../wire/route.js';
import type { Resource, Value } from './resource.js';
import { canonical } from './value.js';

/** Of one table, destination and metric; the kernel takes the first that fits. */
export function routeGroup({ table = 0, dst, metric = 0, tos = 0, from = '' }: Route): string {
  return `route/${table}/${dst}/${metric}/${tos}/${from}`;
}

/** undefined for a route that the kernel made for one flow (an exception). */
export function routeResource(route: Route, now: number): Resource | undefined {
  const { object: _, flags, expires, nexthops, error: _error, ...rest } = route;
  if (flags?.includes('cloned') === true) return undefined;
  const { nhid, type, via, dev } = route;
  const hops = nexthops?.map(({ flags: _state, ...hop }) => hop);
  // A nexthop object tells where the route goes; whether it can, at the moment, is no news of the route.
  const where = nhid === undefined ? { ...(via !== undefined && { via }), ...(dev !== undefined && { dev }), ...(hops !== undefined && { nexthops: hops }) } : {}; // prettier-ignore
  const { via: _via, dev: _dev, ...others } = rest;
  const group = routeGroup(route);
  const value = { ...others, ...where, ...(expires !== undefined && { expiresUntil: now + 1000 * expires }) } as unknown as Value;
  return {
    kind: 'route',
    key: `${group}|${type}|${nhid === undefined ? `${via ?? ''}%${String(dev ?? '')}${hops === undefined ? '' : canonical(hops as unknown as Value)}` : `nhid ${nhid}`}`,
    // ff00::/8 and fe80::/64 are there once for each interface, and a look-up names its own: their order says nothing.
    ...(!/^f(f|e8)[0-9a-f]*:/.test(route.dst) && { group }),
    read: route,
    value,
  };
}

export function routeRequest(value: Value, now: number): Route | undefined {
  const { expiresUntil, ...route } = value as unknown as { expiresUntil?: number } & Route;
  if (expiresUntil === undefined) return route;
  const left = Math.round((expiresUntil - now) / 1000);
  return left <= 0 ? undefined : { ...route, expires: left };
}

/** The interfaces that it leaves by. */
export function devicesOf({ dev, nexthops }: Route): readonly unknown[] {
  return nexthops === undefined ? [dev] : nexthops.map((hop) => hop.dev);
}

export function isIpv6({ dst }: Route): boolean {
  return dst.includes(':');
}
