// Filters of traffic control that send every frame on: podtap's own, and how they stand to those of others.
import { PlumbError } from '../../errors.js';
import type { ActionRequest } from '../../operation/action.js';
import type { FilterRequest } from '../../operation/filter.js';
import type { Operation } from '../../operation/kinds.js';
import { deletions, ownCookie, ownName } from '../../state/tc.js';
import type { State } from '../../state/snapshot.js';
import type { MirredOptions } from '../../wire/action/mirred.js';
import type { Filter, Qdisc } from '../../wire/tc.js';
import type { U32Options } from '../../wire/filter/u32.js';

/** u32: four bytes of any packet, whatever they are. */
export const terminal: U32Options = { selector: { flags: ['terminal'], keys: [{ mask: 0, value: 0, offset: 0 }] } };

export type Classifier = 'matchall' | 'u32';

/** The cookie of filters that redirect: 'podtap redirect'. */
const PURPOSE = 'redirect';
export const REDIRECT = `podtap ${PURPOSE}`;

/** Where filters of what comes in are: an interface has one such qdisc or none. */
export interface Hook {
  readonly kind: 'ingress' | 'clsact';
  /**
   * How its filters name their place. Of an ingress qdisc there are two names, and the kernel tells that of the filter that was added last
   * for all of them: it stays the one that others have used.
   */
  readonly parent: string;
  readonly ingressBlock?: number | undefined;
}

/** undefined: there is none. */
export function hookOf(state: State, ifindex: number): Hook | undefined {
  for (const { kind, link, value } of state.resources.values()) {
    if (kind !== 'qdisc' || link !== ifindex) continue;
    const qdisc = value as unknown as Qdisc;
    if (qdisc.kind === 'ingress')
      return { kind: 'ingress', parent: ingressFilters(state, ifindex)[0]?.parent ?? 'ffff:', ingressBlock: qdisc.ingressBlock };
    if (qdisc.kind === 'clsact') return { kind: 'clsact', parent: 'ffff:fff2', ingressBlock: qdisc.ingressBlock };
  }
  return undefined;
}

/** Filters of what comes in by an interface, or goes out, in the order of the dump, which is that in which they are asked. */
export function filtersOf(state: State, ifindex: number, direction: 'ingress' | 'egress'): readonly Filter[] {
  return [...state.resources.values()]
    .filter(({ kind, link }) => kind === 'filter' && link === ifindex)
    .map(({ read }) => read as Filter)
    .filter(({ parent }) => (parent === 'ffff:fff3') === (direction === 'egress'));
}

export function ingressFilters(state: State, ifindex: number): readonly Filter[] {
  return filtersOf(state, ifindex, 'ingress');
}

/** podtap's, that redirect. */
export function ownRedirects(state: State, ifindex: number): readonly Filter[] {
  return ingressFilters(state, ifindex).filter((filter) => ownName(filter) === REDIRECT);
}

/** The interface that a filter sends to; 0: one that is gone. */
export function targetOf({ actions }: Filter): number {
  return (actions?.[0]?.options as MirredOptions | undefined)?.dev ?? 0;
}

const LAST = 65_535;
/** Where it can be, there is room left before it for what carries the pod's localhost. */
const FIRST = 16;

/**
 * Which priority is ours: the kernel asks the lowest first. 'last': whatever others have, and whatever they add without naming a priority
 * (from 49152 downwards), sees the frames before; 'first': before all of them, and behind what localhost may put ahead of it.
 * @throws PlumbError ERR_PLUMB_CONFLICT: there is none left
 */
export function choosePriority(state: State, ifindex: number, order: 'first' | 'last'): number {
  const taken = new Set(ingressFilters(state, ifindex).map(({ priority }) => priority));
  const step = order === 'first' ? 1 : -1;
  let priority = order === 'first' ? Math.max(1, Math.min(FIRST, ...[...taken].map((one) => one - 1))) : LAST;
  while (taken.has(priority)) priority += step;
  if (priority < 1 || priority > LAST) throw new PlumbError('no priority is left for a filter of podtap', { code: 'ERR_PLUMB_CONFLICT' });
  return priority;
}

/** What matches leaves by another interface. */
export function redirectTo(to: string | number): ActionRequest {
  return { kind: 'mirred', cookie: ownCookie(PURPOSE), options: { action: 'redirect', direction: 'egress', dev: to } };
}

/** Every frame that comes in by one interface leaves by another. */
export function redirectFilter(
  from: string | number,
  to: string | number,
  place: { readonly parent: string; readonly priority: number; readonly classifier: Classifier },
): Operation {
  const { parent, priority, classifier } = place;
  const filter: FilterRequest = {
    parent,
    protocol: 'all',
    priority,
    // Of u32: the first entry of the table that comes with the priority.
    handle: classifier === 'u32' ? '::1' : '0x1',
    kind: classifier,
    ...(classifier === 'u32' && { options: terminal }),
    actions: [redirectTo(to)],
  };
  return { op: 'filter.add', link: from, filter };
}

/** Takes filters of one interface and direction away. */
export function withoutFilters(going: readonly Filter[], state: State): readonly Operation[] {
  const [first] = going;
  const all = first === undefined ? [] : filtersOf(state, first.ifindex, first.parent === 'ffff:fff3' ? 'egress' : 'ingress');
  return deletions(going, all).map(({ ifindex, ...filter }): Operation => ({ op: 'filter.delete', link: ifindex, filter }));
}
