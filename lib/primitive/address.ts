import { type LinkRef, check, linkRef, options } from '../check.js';
import { toAddress } from '../operation/address.js';
import { deleted, run } from '../operation/run.js';
import { type Address, decodeAddress, encodeAddressDump } from '../wire/address.js';
import { NLM_F_DUMP } from '../wire/message.js';
import type { Family, Scope } from './scope.js';
import { familyNumber, filterEntries, indexOf, readTable } from './table.js';

/**
 * Lists addresses, of one interface or all.
 *
 * Like `ip address show [dev LINK]`, `ip -4`, `ip -6`. rtnetlink(7), RTM_GETADDR.
 * @throws PodtapError ENODEV: there is no such interface
 * @example await listAddresses(pod, { link: 'eth0', family: 'ipv4' })  // [{ address: '172.17.0.5/16', ... }]
 */
export async function listAddresses(
  scope: Scope,
  filter: { readonly link?: LinkRef; readonly family?: Family } = {},
): Promise<readonly Address[]> {
  const { link, family } = check(options(filterEntries), filter, 'listAddresses');
  return readTable(scope, encodeAddressDump(NLM_F_DUMP, familyNumber(family), await indexOf(scope, link)), decodeAddress);
}

/**
 * Adds an address: as text, or as a value such as `listAddresses` gives, with flags and lifetimes (seconds).
 * An IPv6 address is usable after duplicate address detection; with the flag 'nodad' at once.
 *
 * Like `ip address add ADDRESS dev LINK`. rtnetlink(7), RTM_NEWADDR.
 * @throws NetlinkError EEXIST: it is there already; PodtapError ENODEV: there is no such interface
 * @example await addAddress(pod, 'eth0', '10.1.0.2/24')
 */
export async function addAddress(scope: Scope, link: LinkRef, address: string | Address): Promise<void> {
  await run(scope, 'addAddress', [{ op: 'address.add', link, address: toAddress(address) }]);
}

/**
 * Deletes an address. Others go with it: deleting a primary IPv4 address deletes its secondaries (unless
 * net.ipv4.conf.*.promote_secondaries is set), and routes with that source; the last one takes every route through the interface.
 *
 * Like `ip address delete ADDRESS dev LINK`. rtnetlink(7), RTM_DELADDR.
 * @returns false: there was none
 */
export async function deleteAddress(scope: Scope, link: LinkRef, address: string | Address): Promise<boolean> {
  return deleted(run(scope, 'deleteAddress', [{ op: 'address.delete', link, address: toAddress(address) }]));
}

/**
 * Deletes every address of an interface, or those of one family; secondaries first, so that none goes unasked.
 *
 * Like `ip address flush dev LINK`.
 * @returns what was there
 */
export async function flushAddresses(scope: Scope, link: LinkRef, filter: { readonly family?: Family } = {}): Promise<readonly Address[]> {
  const { family } = check(options({ family: filterEntries.family }), filter, 'flushAddresses');
  const index = await indexOf(scope, check(linkRef, link, 'flushAddresses'));
  const there = await listAddresses(scope, { link: index, ...(family !== undefined && { family }) });
  const secondariesFirst = [...there].sort((a, b) => rank(a) - rank(b));
  await run(scope, 'flushAddresses', secondariesFirst.map((address) => ({ op: 'address.delete', link: index, address }))); // prettier-ignore
  return there;
}
function rank({ flags = [] }: Address): number {
  return flags.includes('secondary') ? 0 : 1;
}
