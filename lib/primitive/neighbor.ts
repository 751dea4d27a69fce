import { type LinkRef, boolean, check, linkRef, optional, options } from '../check.js';
import type { FdbRequest, NeighborEntry } from '../operation/neighbor.js';
import { deleted, run } from '../operation/run.js';
import { NLM_F_DUMP } from '../wire/message.js';
import { type FdbEntry, type Neighbor, decodeFdb, decodeNeighbor, encodeFdbDump, encodeNeighborDump } from '../wire/neighbor.js';
import type { Family, Scope } from './scope.js';
import { familyNumber, filterEntries, indexOf, readTable } from './table.js';

/**
 * Lists neighbours (ARP and NDP); with `proxies` the addresses that are answered for instead.
 *
 * Like `ip neigh show [dev LINK]`, `ip neigh show proxy`. RTM_GETNEIGH.
 */
export async function listNeighbors(
  scope: Scope,
  filter: { readonly link?: LinkRef; readonly family?: Family; readonly proxies?: boolean } = {},
): Promise<readonly Neighbor[]> {
  const { link, family, proxies = false } = check(options({ ...filterEntries, proxies: optional(boolean) }), filter, 'listNeighbors');
  return readTable(scope, encodeNeighborDump(NLM_F_DUMP, familyNumber(family), await indexOf(scope, link), proxies), decodeNeighbor);
}

/**
 * Sets a neighbour, whether it is there or not; 'permanent' unless said otherwise. With the flag 'proxy': the address is answered for.
 *
 * Like `ip neigh replace ADDRESS lladdr MAC dev LINK nud permanent`. RTM_NEWNEIGH.
 * @example await setNeighbor(router, 'eth0', { address: '172.17.0.5', mac: '02:00:00:bb:bb:b1' })
 */
export async function setNeighbor(scope: Scope, link: LinkRef, neighbor: NeighborEntry): Promise<void> {
  await run(scope, 'setNeighbor', [{ op: 'neighbor.set', link, neighbor }]);
}

/** Deletes a neighbour. Like `ip neigh delete ADDRESS dev LINK`. Resolves false where there was none. */
export async function deleteNeighbor(
  scope: Scope,
  link: LinkRef,
  neighbor: string | { readonly address: string; readonly flags?: readonly string[] },
): Promise<boolean> {
  return deleted(
    run(scope, 'deleteNeighbor', [
      { op: 'neighbor.delete', link, neighbor: typeof neighbor === 'string' ? { address: neighbor } : neighbor },
    ]),
  );
}

/**
 * Lists forwarding entries: of all devices, of one (`link`: a port's or a VXLAN's), or of the ports of one bridge.
 *
 * Like `bridge fdb show [dev LINK | br BRIDGE]`. RTM_GETNEIGH with AF_BRIDGE.
 */
export async function listFdb(
  scope: Scope,
  filter: { readonly link?: LinkRef; readonly bridge?: LinkRef } = {},
): Promise<readonly FdbEntry[]> {
  const { link, bridge } = check(options({ link: optional(linkRef), bridge: optional(linkRef) }), filter, 'listFdb');
  return readTable(scope, encodeFdbDump(NLM_F_DUMP, await indexOf(scope, link), await indexOf(scope, bridge)), decodeFdb);
}

/**
 * Sets a forwarding entry of a bridge (`link` is a port) or of a VXLAN (`link` is the device, `dst` the remote end).
 * A bridge's entry is static ('noarp') by default: 'permanent' would mean that the frames are for the host itself.
 *
 * Like `bridge fdb replace MAC dev PORT master static`, `bridge fdb replace MAC dev VXLAN dst ADDRESS self permanent`.
 */
export async function setFdb(scope: Scope, link: LinkRef, entry: FdbRequest): Promise<void> {
  await run(scope, 'setFdb', [{ op: 'fdb.set', link, entry }]);
}

/** Deletes a forwarding entry. Like `bridge fdb delete MAC dev LINK`. Resolves false where there was none. */
export async function deleteFdb(scope: Scope, link: LinkRef, entry: FdbRequest): Promise<boolean> {
  return deleted(run(scope, 'deleteFdb', [{ op: 'fdb.delete', link, entry }]));
}
