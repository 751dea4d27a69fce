// The nftables backend of localhost, as operations: the table, and filters of traffic control that let everything through to it. What comes in
// is seen by filters first and by nftables after them (sch_handle_ingress(), nf_ingress() in net/core/dev.c); where filters redirect, nothing
// is left for nftables. So a filter that ends the classification stands ahead of those, and the table does what they did. Where the guest's
// frames are checked first, it is the check that lets them through: what is not the guest's still comes to the filter that drops it.
import { PlumbError } from '../errors.js';
import type { FilterRequest } from '../operation/filter.js';
import type { Operation } from '../operation/kinds.js';
import { deletions, isHook, ownName } from '../state/tc.js';
import type { State } from '../state/snapshot.js';
import type { LocalhostConfig } from '../wire/localhost.js';
import type { BpfOptions } from '../wire/filter/bpf.js';
import type { U32Options } from '../wire/filter/u32.js';
import type { Filter, Qdisc } from '../wire/tc.js';

/** Of mode redirect's filters: 'podtap redirect'. */
const REDIRECT = 'podtap redirect';
/** By which our own filters are known: they have no action, and so no cookie. 'p' and 't' of podtap, as a class that nothing has. */
const CLASS = '7074:1';
const everything: U32Options = { classid: CLASS, selector: { flags: ['terminal'], keys: [{ mask: 0, value: 0, offset: 0 }] } };

/**
 * What makes `config` true, whatever of it is true already. `state` has the parts 'qdisc' and 'filter'. In mode redirect the filters of the
 * pod's interface and of the first guest's TAP are made to let everything through; a bridge leaves everything to nftables anyway; in mode
 * ebpf programs take the frames before, and it is the eBPF backend that is meant.
 * @throws PlumbError ERR_PLUMB_CONFLICT: there is no place ahead of the filters
 */
export function nftOperations(config: LocalhostConfig, state: State): readonly Operation[] {
  const devices = [config.guests[0]!.tap, config.link];
  // First the table, which nothing comes to yet; then what the guest sends; then what comes in.
  return [{ op: 'localhost.nft', config }, ...devices.flatMap((ifindex) => passing(state, ifindex))];
}

/** Takes it away: the filters first, so that the datapath's are in force again before the table goes. */
export function withoutNft(config: LocalhostConfig, state: State): readonly Operation[] {
  const filters = [config.link, config.guests[0]!.tap].flatMap((ifindex) => {
    const all = ingressFilters(state, ifindex);
    return deletions(all.filter(isPassing), all).map(({ ifindex: link, ...filter }): Operation => ({ op: 'filter.delete', link, filter }));
  });
  return [...filters, { op: 'localhost.nft.delete', link: config.link }];
}

/** Interfaces of which a filter that redirects takes what the table should see. Empty: none. */
export function lackingPasses(config: LocalhostConfig, state: State): readonly number[] {
  return [config.link, config.guests[0]!.tap].filter((ifindex) => passing(state, ifindex).length > 0);
}

function passing(state: State, link: number): readonly Operation[] {
  const filters = ingressFilters(state, link);
  const redirects = filters.filter((one) => ownName(one) === REDIRECT).map(({ priority }) => priority);
  if (redirects.length === 0) return [];
  const before = Math.min(...redirects);
  const pass = passFor(filters.find(({ priority }) => priority === before)!);
  const passes = filters.filter(isPassing);
  if (passes.some((one) => one.priority < before && isSame(one, pass))) return [];
  // One that lets through what it should not, since the check came later or is another one: what stands ahead of it is asked first.
  const stale = deletions(passes, filters).map(({ ifindex, ...filter }): Operation => ({ op: 'filter.delete', link: ifindex, filter }));
  const taken = new Set(filters.map(({ priority }) => priority));
  let priority = before - 1;
  // Of others, those that stand before the datapath's stay before ours, too.
  while (priority > 0 && taken.has(priority)) priority--;
  if (priority === 0)
    throw new PlumbError(`no priority is left ahead of podtap's filter (${before}) on ${state.links.get(link)?.name ?? link}`, { code: 'ERR_PLUMB_CONFLICT' }); // prettier-ignore
  const parent = parentOf(state, link, filters);
  return [{ op: 'filter.add', link, filter: { parent, protocol: 'all', priority, ...pass } }, ...stale];
}

/** What takes the same frames as one that redirects. */
function passFor({ kind, options }: Filter): Pick<FilterRequest, 'kind' | 'handle' | 'options'> {
  if (kind !== 'bpf') return { kind: 'u32', handle: '::1', options: everything };
  return { kind: 'bpf', handle: '0x1', options: { classid: CLASS, operations: (options as BpfOptions).operations! } };
}

function isSame(one: Filter, { kind, options }: Pick<FilterRequest, 'kind' | 'options'>): boolean {
  if (one.kind !== kind) return false;
  const [now, wanted] = [one.options, options].map((given) => (given as BpfOptions).operations);
  return kind !== 'bpf' || (now !== undefined && Buffer.compare(now, wanted!) === 0);
}

function isPassing({ kind, options, actions }: Filter): boolean {
  return ['u32', 'bpf'].includes(kind) && actions === undefined && (options as U32Options | undefined)?.classid === CLASS;
}

function ingressFilters(state: State, ifindex: number): readonly Filter[] {
  return [...state.resources.values()]
    .filter(({ kind, link }) => kind === 'filter' && link === ifindex)
    .map(({ read }) => read as Filter)
    .filter(({ parent }) => parent !== 'ffff:fff3');
}

/** An ingress qdisc has two names for the place of its filters: it stays the one that others have used. */
function parentOf(state: State, ifindex: number, filters: readonly Filter[]): string {
  const hook = [...state.resources.values()].find(({ kind, link, value }) => kind === 'qdisc' && link === ifindex && isHook(value as unknown as Qdisc)); // prettier-ignore
  return (hook?.value as unknown as Qdisc).kind === 'clsact' ? 'ffff:fff2' : (filters[0]?.parent ?? 'ffff:');
}
