import { type LinkRef, check, ip, linkRef, optional, options, oneOf, sameFamily, u32 } from '../check.js';
import * as v from 'valibot';
import { request } from '../kernel/netlink.js';
import { attachment } from '../kernel/netns.js';
import { deleted, isAbsent, run } from '../operation/run.js';
import { NLM_F_DUMP } from '../wire/message.js';
import { type Route, decodeRoute, encodeRouteDump, encodeRouteGet } from '../wire/route.js';
import type { Family, Scope } from './scope.js';
import { familyNumber, filterEntries, indexOf, readTable } from './table.js';

const RT_TABLE_MAIN = 254;

/**
 * Lists routes: of table main, another one by its number, or 'all'; of one interface, or all.
 *
 * Like `ip route show [table N] [dev LINK]`, `ip -6 route`. rtnetlink(7), RTM_GETROUTE.
 * @throws PodtapError ENODEV: there is no such interface
 * @example const [gateway] = (await listRoutes(pod, { family: 'ipv4' })).filter((route) => route.dst === '0.0.0.0/0')
 */
export async function listRoutes(
  scope: Scope,
  filter: { readonly link?: LinkRef; readonly family?: Family; readonly table?: number | 'all' } = {},
): Promise<readonly Route[]> {
  const schema = options({ ...filterEntries, table: optional(v.union([u32, oneOf('all')], "must be a table's number, or 'all'")) });
  const { link, family, table = RT_TABLE_MAIN } = check(schema, filter, 'listRoutes');
  const ifindex = await indexOf(scope, link);
  const wanted = table === 'all' ? 0 : table;
  const routes: Route[] = [];
  // Asked for all families at once, the kernel refuses the filter of a table or interface.
  for (const one of family === undefined ? (['ipv4', 'ipv6'] as const) : [family]) {
    // A table that was never used does not exist, and the kernel says so.
    const some = await readTable(scope, encodeRouteDump(NLM_F_DUMP, familyNumber(one), wanted, ifindex), decodeRoute).catch(
      (error: unknown) => {
        if (wanted !== 0 && isAbsent(error)) return [];
        throw error;
      },
    );
    for (const route of some) if (ifindex === 0 || uses(route, ifindex)) routes.push(route);
  }
  return routes;
}

/** Where the kernel's own filter falls short: it takes a multipath route for one of its first leg. */
function uses({ dev, nexthops }: Route, ifindex: number): boolean {
  return dev === ifindex || nexthops?.some((hop) => hop.dev === ifindex) === true;
}

const lookupEntries = { from: optional(ip), iif: optional(linkRef), mark: optional(u32) };
const lookupOptions = options(lookupEntries);
const lookupSchema = sameFamily<{ to: string; from?: string | undefined }>(options({ to: ip, ...lookupEntries }), ['from', 'to']);

/**
 * The kernel's own look-up: the route that a packet to `to` would take.
 *
 * Like `ip route get TO [from ADDRESS] [iif LINK] [mark MARK]`.
 * @throws NetlinkError ENETUNREACH, EHOSTUNREACH, EACCES: there is no way, or a route that forbids it
 */
export async function getRoute(
  scope: Scope,
  to: string,
  settings: { readonly from?: string; readonly iif?: LinkRef; readonly mark?: number } = {},
): Promise<Route> {
  const { from, iif, mark } = check(lookupOptions, settings, 'getRoute');
  check(lookupSchema, { ...settings, to }, 'getRoute');
  // IPv6 look-ups refuse RTM_F_LOOKUP_TABLE, and tell the table anyway.
  const lookup = { from, iif: iif === undefined ? undefined : await indexOf(scope, iif), mark, table: !to.includes(':') };
  const [answer] = await request(attachment(scope).socket, [encodeRouteGet(to, lookup)]);
  return decodeRoute(answer!.from, answer!.messages[0]!);
}

/**
 * Adds a route; one that `listRoutes` gave can be added again as it was.
 *
 * Like `ip route add DST [via ADDRESS] [dev LINK] [onlink] ...`. rtnetlink(7), RTM_NEWROUTE.
 * @throws NetlinkError EEXIST: one to there with that metric exists; ENETUNREACH: the gateway is not on a connected subnet (see `onlink`)
 * @example await addRoute(pod, { dst: 'default', via: '169.254.1.1', dev: 'eth0', onlink: true })
 */
export async function addRoute(scope: Scope, route: Route): Promise<void> {
  await run(scope, 'addRoute', [{ op: 'route.add', route }]);
}

/** Adds a route in the place of one with the same destination, TOS and metric. Like `ip route replace`. */
export async function replaceRoute(scope: Scope, route: Route): Promise<void> {
  await run(scope, 'replaceRoute', [{ op: 'route.add', route, existing: 'replace' }]);
}

/**
 * Deletes the first route that fits what is given.
 *
 * Like `ip route delete`. rtnetlink(7), RTM_DELROUTE.
 * @returns false: there was none
 */
export async function deleteRoute(scope: Scope, route: Route): Promise<boolean> {
  return deleted(run(scope, 'deleteRoute', [{ op: 'route.delete', route }]));
}
