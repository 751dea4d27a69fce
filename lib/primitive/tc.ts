import { type LinkRef, check, linkRef, optional, text } from '../check.js';
import type { FilterDelete, FilterRequest } from '../operation/filter.js';
import type { QdiscDelete, QdiscRequest } from '../operation/qdisc.js';
import { deleted, isAbsent, run } from '../operation/run.js';
import { NLM_F_DUMP } from '../wire/message.js';
import { type Filter, type Qdisc, decodeFilter, decodeQdisc, encodeFilterDump, encodeQdiscDump } from '../wire/tc.js';
import type { Scope } from './scope.js';
import { indexOf, readTable } from './table.js';

/**
 * Lists qdiscs, of one interface or all.
 *
 * Like `tc -s qdisc show [dev LINK]`. RTM_GETQDISC.
 */
export async function listQdiscs(scope: Scope, link?: LinkRef): Promise<readonly Qdisc[]> {
  const index = await indexOf(scope, check(optional(linkRef), link, 'listQdiscs'));
  // The kernel dumps those of all interfaces, whatever it is asked.
  return (await readTable(scope, encodeQdiscDump(NLM_F_DUMP), decodeQdisc)).filter(({ ifindex }) => index === 0 || ifindex === index);
}

/**
 * Adds a qdisc: 'ingress' and 'clsact' are where filters hang; one that is there is an error, because it is somebody's.
 *
 * Like `tc qdisc add dev LINK root handle 1: tbf ...`, `tc qdisc add dev LINK clsact`. tc(8), RTM_NEWQDISC.
 * @throws NetlinkError EEXIST: there is one at that place (ingress and clsact exclude one another); UnsupportedError: the kernel lacks the kind
 * @example await addQdisc(pod, 'eth0', { kind: 'ingress' })
 */
export async function addQdisc(scope: Scope, link: LinkRef, qdisc: QdiscRequest): Promise<void> {
  await run(scope, 'addQdisc', [{ op: 'qdisc.add', link, qdisc }]);
}

/** Deletes a qdisc, given as it was listed or by its place alone, with every filter on it. Like `tc qdisc delete dev LINK ingress`. Resolves false where there was none. */
export async function deleteQdisc(scope: Scope, link: LinkRef, qdisc: QdiscDelete['qdisc']): Promise<boolean> {
  // The kernel says EINVAL where there is no qdisc at that place; a malformed request is refused before it is sent.
  return deleted(run(scope, 'deleteQdisc', [{ op: 'qdisc.delete', link, qdisc }]), 'EINVAL');
}

/**
 * Lists the filters at one place of an interface: 'ingress' (default), 'egress', 'root' or a qdisc's handle; none where there is no
 * qdisc. With their actions and statistics.
 *
 * Like `tc -s filter show dev LINK ingress`. RTM_GETTFILTER.
 */
export async function listFilters(scope: Scope, link: LinkRef, parent = 'ingress'): Promise<readonly Filter[]> {
  const index = await indexOf(scope, check(linkRef, link, 'listFilters'));
  try {
    return await readTable(scope, encodeFilterDump(NLM_F_DUMP, index, check(text, parent, 'listFilters')), decodeFilter);
  } catch (error) {
    if (isAbsent(error)) return [];
    throw error;
  }
}

/**
 * Adds a filter. Give it a priority and a handle: without them the kernel chooses, and adding it again makes a second one.
 *
 * u32's handles begin with a table, which the kernel numbers through the whole qdisc, ingress and egress of clsact alike: '800:' is that of
 * the first priority or hook that has u32 filters, '801:' the next one made, and numbers are not soon used again. For any but the first
 * give the node alone: '::800'. Adding that again is ENOSPC.
 *
 * Like `tc filter add dev LINK ingress protocol all pref 1 handle 800::800 u32 match u32 0 0 action mirred egress redirect dev TAP`.
 * tc-u32(8), tc-matchall(8), tc-flower(8), tc-bpf(8), tc-mirred(8).
 * @throws NetlinkError EEXIST: it is there; UnsupportedError: the kernel lacks the classifier or the action, or is too old for a key of flower
 *   (`l2_miss`, `cfm`, `spi`, ...), which it would pass over
 * @example
 * await addFilter(pod, 'eth0', {
 *   parent: 'ingress', protocol: 'all', priority: 1, handle: '800::800', kind: 'u32',
 *   options: { selector: { flags: ['terminal'], keys: [{ mask: 0, value: 0, offset: 0 }] } },
 *   actions: [{ kind: 'mirred', options: { action: 'redirect', direction: 'egress', dev: 'tap100' } }],
 * });
 */
export async function addFilter(scope: Scope, link: LinkRef, filter: FilterRequest): Promise<void> {
  await run(scope, 'addFilter', [{ op: 'filter.add', link, filter }]);
}

/** Deletes a filter, given as it was listed, or by its place: without a handle all of that priority, without a priority all at that place. Like `tc filter delete dev LINK ingress ...`. Resolves false where there was none. */
export async function deleteFilter(scope: Scope, link: LinkRef, filter: FilterDelete['filter']): Promise<boolean> {
  return deleted(run(scope, 'deleteFilter', [{ op: 'filter.delete', link, filter }]), 'EINVAL');
}
