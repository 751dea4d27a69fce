import type { Filter, Qdisc } from '../wire/tc.js';
import { type Resource, type Value, keys } from './resource.js';

/** undefined for one that the kernel made by itself. */
export function qdiscResource(qdisc: Qdisc): Resource | undefined {
  const { object: _, ifindex, statistics: _s, xstats: _x, offloaded: _o, references: _r, ...value } = qdisc;
  if (qdisc.handle === 'none') return undefined;
  // Both hooks stand in one place (TC_H_INGRESS), by whatever name.
  const place = isHook(qdisc) ? 'ffff:fff1' : qdisc.parent;
  return { kind: 'qdisc', key: keys.qdisc(ifindex, place), link: ifindex, value: value as unknown as Value };
}

export function isHook({ kind }: Pick<Qdisc, 'kind'>): boolean {
  return kind === 'ingress' || kind === 'clsact';
}

/** undefined for what comes with a filter by itself: the entry of its classifier, and the hash tables of u32. */
export function filterResource({ object: _, ifindex, statistics: _s, ...filter }: Filter): Resource | undefined {
  if (filter.handle === undefined || /^[0-9a-f]+:$/.test(filter.handle)) return undefined;
  const { parent, chain = 0, priority, protocol, handle = '' } = filter;
  // Counters and times change with every packet; an action that is added anew has another index.
  const actions = filter.actions?.map(({ statistics: _a, references: _r, bindings: _b, times: _t, index: _i, ...action }) => action);
  const options = withoutCounters(filter.options);
  const value = { ...filter, ...(options !== undefined && { options }), ...(actions !== undefined && { actions }) } as unknown as Value;
  return {
    kind: 'filter',
    key: `${keys.filter(ifindex)}${parent}/${chain}/${priority}/${protocol}/${handle}`,
    link: ifindex,
    value,
  };
}

/** Of u32 (TCA_U32_PCNT) and matchall (TCA_MATCHALL_PCNT). */
function withoutCounters(options: Filter['options']): Filter['options'] {
  if (options === undefined || options instanceof Uint8Array) return options;
  return Object.fromEntries(Object.entries(options).filter(([name]) => name !== 'counters' && name !== 'hits'));
}
