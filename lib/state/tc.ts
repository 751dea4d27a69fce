import type { BpfOptions } from '../wire/filter/bpf.js';
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

/**
 * The name that a filter of podtap's own carries: as the cookie of its action (TCA_ACT_COOKIE), or of a program, as its name. By that it is
 * known, whatever else becomes of it: of one that sends to an interface that is gone the kernel forgets where it sent to, and one that
 * is put back stands in another hash table.
 */
export function ownName({ kind, options, actions }: Pick<Filter, 'kind' | 'options' | 'actions'>): string | undefined {
  const cookie = actions?.[0]?.cookie;
  if (cookie !== undefined) {
    const name = String.fromCharCode(...cookie);
    return name.startsWith(OWN) ? name : undefined;
  }
  if (kind !== 'bpf' || options === undefined || options instanceof Uint8Array) return undefined;
  const { name } = options as BpfOptions;
  return name?.startsWith('podtap_') === true ? name : undefined;
}
const OWN = 'podtap ';

/** At most 16 bytes. */
export function ownCookie(purpose: string): Uint8Array {
  return Uint8Array.from(`${OWN}${purpose}`, (letter) => letter.charCodeAt(0));
}

/** What an undo must know of one: that it is there. */
export function ownFilter(ifindex: number, name: string): { readonly key: string; readonly value: Value } {
  return { key: `${keys.filter(ifindex)}own/${name}`, value: { name } };
}

/**
 * How filters are to be named that shall go: where all of a priority go, by the priority, because the hash table of u32 that came with
 * it stays when its last entry goes.
 */
export function deletions(going: readonly Filter[], all: readonly Filter[]): readonly Omit<Filter, 'options' | 'actions'>[] {
  const place = ({ ifindex, parent, chain = 0, priority, protocol }: Filter): string => `${ifindex} ${parent} ${chain} ${priority} ${protocol}`; // prettier-ignore
  const handles = new Set(going.map((filter) => `${place(filter)} ${filter.handle}`));
  const staying = new Set(all.filter((filter) => !handles.has(`${place(filter)} ${filter.handle}`)).map(place));
  const found = new Map<string, Omit<Filter, 'options' | 'actions'>>();
  for (const filter of going) {
    const { ifindex, parent, protocol, priority, handle, chain, kind } = filter;
    const whole = !staying.has(place(filter));
    const named = {
      ifindex,
      parent,
      protocol,
      priority,
      kind,
      ...(chain !== undefined && { chain }),
      ...(!whole && handle !== undefined && { handle }),
    };
    found.set(whole ? place(filter) : `${place(filter)} ${handle}`, named);
  }
  return [...found.values()];
}

/** undefined for what comes with a filter by itself: the entry of its classifier, and the hash tables of u32. */
export function filterResource(read: Filter): Resource | undefined {
  const { object: _, ifindex, statistics: _s, ...filter } = read;
  if (filter.handle === undefined || /^[0-9a-f]+:$/.test(filter.handle)) return undefined;
  const own = ownName(filter);
  if (own !== undefined) return { kind: 'filter', link: ifindex, read, ...ownFilter(ifindex, own) };
  const { parent, chain = 0, priority, protocol, handle = '' } = filter;
  // Two names of one place: the kernel tells the one that was used last.
  const place = parent === 'ffff:' ? 'ffff:fff2' : parent;
  // Counters and times change with every packet; an action that is added anew has another index. Of a kind that is not known the times stand
  // somewhere in its bytes: they are not compared, and it cannot be put back.
  const actions = filter.actions?.map(({ statistics: _a, references: _r, bindings: _b, times: _t, index: _i, options, ...action }) => ({
    ...action,
    ...(options !== undefined && !(options instanceof Uint8Array) && { options }),
  }));
  const options = withoutCounters(filter.options);
  const value = { ...filter, ...(options !== undefined && { options }), ...(actions !== undefined && { actions }) } as unknown as Value;
  return {
    kind: 'filter',
    key: `${keys.filter(ifindex)}${place}/${chain}/${priority}/${protocol}/${handle}`,
    link: ifindex,
    read,
    value,
  };
}

/** Of u32 (TCA_U32_PCNT) and matchall (TCA_MATCHALL_PCNT). */
function withoutCounters(options: Filter['options']): Filter['options'] {
  if (options === undefined || options instanceof Uint8Array) return options;
  return Object.fromEntries(Object.entries(options).filter(([name]) => name !== 'counters' && name !== 'hits'));
}
