// From a difference to the operations that make it good, in an order that works. What the kernel does by itself on the way (routes
// that come with an address) is seen when the state is read again: whoever restores calls this until nothing is left to do.
import { addressGroup, addressRequest, inKernelOrder, isTentative, temporaryForm, usableAtOnce } from '../state/address.js';
import type { Setting } from '../state/link.js';
import { type Resource, kindOfKey, keys, linkOfKey } from '../state/resource.js';
import type { NftTableValue } from '../state/nft.js';
import { devicesOf, routeRequest } from '../state/route.js';
import { type State, monotonic } from '../state/snapshot.js';
import { deletions, isHook } from '../state/tc.js';
import type { TcxProgram } from '../state/tcx.js';
import { type Value, same } from '../state/value.js';
import type { Address } from '../wire/address.js';
import type { Route } from '../wire/route.js';
import type { FdbRequest, NeighborEntry } from './neighbor.js';
import type { FilterRequest } from './filter.js';
import type { Operation } from './kinds.js';
import type { LinkSet } from './link.js';
import { restoreLocalhost } from './localhost.js';
import type { QdiscRequest } from './qdisc.js';
import { PASSING } from './rule.js';
import type { RuleRequest } from '../wire/rule.js';
import type { Filter } from '../wire/tc.js';

/** What shall be: `start` with `wants` in it. */
export class Target {
  readonly #wants: ReadonlyMap<string, Value>;
  /** By group, in the order in which they shall stand. */
  readonly #groups = new Map<string, Resource[]>();
  readonly #resources = new Map<string, Resource>();
  readonly #start: State;
  /** Keys of routes that the kernel takes away by itself, with addresses that shall not be there, or with forwarding. */
  readonly #kernels = new Set<string>();
  /** Interfaces whose addresses are put back: the kernel makes routes for these. */
  readonly #readdressed = new Set<number>();

  constructor(start: State, wants: ReadonlyMap<string, Value>, orders: ReadonlyMap<string, readonly string[]>) {
    this.#start = start;
    this.#wants = wants = new Map([...followers(start, wants), ...wants]);
    const leaving = new Set(
      [...wants].flatMap(([key, value]) => (value === undefined && kindOfKey(key) === 'address' ? [linkOfKey(key)] : [])),
    );
    // A router has an anycast address for each prefix.
    const isRouter = [...wants.keys()].some((key) => kindOfKey(key) === 'sysctl' && key.endsWith('forwarding'));
    for (const [key, resource] of start.resources) {
      if (wants.has(key)) continue;
      if (resource.kind === 'route' && isKernels(resource.value, false) && (isRouter || comesWith(leaving, resource)))
        this.#kernels.add(key);
      else this.#resources.set(key, resource);
    }
    for (const [key, value] of wants) if (value !== undefined && !isPlain(key)) this.#resources.set(key, resourceOf(key, value));
    for (const resource of this.#resources.values()) {
      if (resource.group === undefined) continue;
      const members = this.#groups.get(resource.group);
      if (members === undefined) this.#groups.set(resource.group, [resource]);
      else members.push(resource);
      if (resource.kind === 'address' && wants.has(resource.key)) this.#readdressed.add(resource.link!);
    }
    for (const [group, members] of this.#groups) {
      const order = orders.get(group);
      // What others have added meanwhile comes after what was there: of IPv6 addresses, which are told newest first, that is before.
      const newest = isNewestFirst(group) ? -1 : Number.MAX_SAFE_INTEGER;
      const place = ({ key }: Resource): number => (order?.includes(key) === true ? order.indexOf(key) : newest);
      if (order !== undefined) members.sort((a, b) => place(a) - place(b));
      if (members[0]?.kind === 'address' && !isNewestFirst(group)) this.#groups.set(group, inKernelOrder(members));
    }
  }

  /** What is left to do; `patient`: what the kernel makes a moment later by itself is waited for. Empty: nothing. */
  missing(state: State, patient: boolean): { readonly operations: readonly Operation[]; readonly waiting: boolean } {
    const now = monotonic();
    const links = this.#links(state);
    const sysctls = this.#sysctls(state);
    const addresses = this.#addresses(state, now);
    const first: Operation[] = [
      ...this.#hooksDown(state),
      ...links.early,
      ...sysctls,
      ...addresses,
      ...this.#neighbors(state),
      ...this.#rules(state),
      ...this.#hooksUp(state),
      ...this.#localhost(state),
    ];
    // With the addresses come routes, and others could not be there before them.
    if (links.early.length + sysctls.length + addresses.length > 0) return { operations: first, waiting: false };
    const { operations, waiting } = this.#routes(state, now);
    const last = (operations.length === 0 && !waiting) || !patient ? [...this.#flags(state, now), ...links.late] : [];
    const all = [...first, ...operations, ...last];
    return { operations: all, waiting: waiting && all.length === 0 };
  }

  #links(state: State): { early: Operation[]; late: Operation[] } {
    const changes = new Map<number, Record<string, Value>>();
    for (const [key, value] of this.#wants) {
      if (kindOfKey(key) !== 'setting' || same(state.get(key), value) || value === undefined) continue;
      const [, index, ...field] = key.split('/');
      if (!state.links.has(Number(index))) continue;
      changes.set(Number(index), { ...changes.get(Number(index)), [field.join('/')]: value });
    }
    const early: Operation[] = [];
    const late: Operation[] = [];
    for (const [link, { master, addrGenMode, ipv6Mtu, ...rest }] of changes) {
      const set = (change: Partial<Record<Setting, Value>> & { port?: object }): Operation => ({ op: 'link.set', link, change: change as LinkSet['change'] }); // prettier-ignore
      // Out of the bridge first: there its MAC would be an entry of the forwarding table.
      if (master !== undefined) early.push(set({ master: master === 0 ? null : master }));
      const ports = Object.entries(rest).filter(([field]) => field.startsWith('port/'));
      const plain = Object.entries(rest).filter(([field]) => !field.startsWith('port/'));
      if (plain.length > 0) early.push(set(Object.fromEntries(plain)));
      if (ports.length > 0) early.push(set({ port: Object.fromEntries(ports.map(([field, value]) => [field.slice('port/'.length), value])) })); // prettier-ignore
      // It follows the interface's MTU, so it comes after it; the kernel may make an address once addr_gen_mode is back.
      if (ipv6Mtu !== undefined && !('mtu' in rest)) early.push({ op: 'sysctl.set', key: `net.ipv6.conf.${state.links.get(link)!.name.replaceAll('.', '/')}.mtu`, value: `${ipv6Mtu as number}` }); // prettier-ignore
      if (addrGenMode !== undefined) late.push(set({ addrGenMode }));
    }
    return { early, late };
  }

  #sysctls(state: State): Operation[] {
    return [...this.#wants].flatMap(([key, value]) =>
      kindOfKey(key) === 'sysctl' && typeof value === 'string' && state.get(key) !== undefined && state.get(key) !== value
        ? [{ op: 'sysctl.set' as const, key: key.slice(keys.sysctl('').length), value }]
        : [],
    );
  }

  #addresses(state: State, now: number): Operation[] {
    const operations: Operation[] = [];
    for (const { group, have, want } of this.#unlike('address', state)) {
      const wide = isNewestFirst(group);
      const [is, shall] = wide ? [[...have].reverse(), [...want].reverse()] : [have, want];
      const start = firstUnlike(is, shall, wide ? (a, b) => byKey(a, b) && !this.#isHeldBack(a) : likeIpv4);
      // Secondaries stand behind their primary, which would take them with it.
      for (const { link, value } of is.slice(start).reverse()) {
        const { address, peer } = value as unknown as Address;
        operations.push({ op: 'address.delete', link: link!, address: { address, ...(peer !== undefined && { peer }) } });
      }
      for (const { link, value } of shall.slice(start)) {
        const address = addressRequest(value, now);
        if (address !== undefined) operations.push({ op: 'address.add', link: link!, address: usableAtOnce(address) });
      }
      // Of those that stand where they shall.
      for (const [index, { link, value }] of shall.slice(0, start).entries()) {
        const address = addressRequest(value, now);
        if (address !== undefined && !same(is[index]!.value, value) && !same(is[index]!.value, temporaryForm(value)))
          operations.push({ op: 'address.add', link: link!, address: usableAtOnce(address), replace: true });
      }
    }
    return operations;
  }

  /** IPv6 addresses come back without duplicate address detection; the flag of that is taken away without one. */
  #flags(state: State, now: number): Operation[] {
    const operations: Operation[] = [];
    for (const [key, value] of this.#wants) {
      const is = state.get(key);
      if (kindOfKey(key) !== 'address' || value === undefined || is === undefined || same(is, value)) continue;
      const address = addressRequest(value, now);
      if (address !== undefined && same(is, temporaryForm(value)))
        operations.push({ op: 'address.add', link: state.resources.get(key)!.link!, address, replace: true });
    }
    return operations;
  }

  #routes(state: State, now: number): { operations: Operation[]; waiting: boolean } {
    const groups: Operation[][] = [];
    const remove: Operation[] = [];
    let waiting = false;
    for (const { have, want } of this.#unlike('route', state)) {
      // The kernel makes these by itself, a moment after the address; one that was made by hand it would not take for its own, and of
      // IPv6 it would have another metric.
      if (want.some(({ key, value }) => isKernels(value) && state.get(key) === undefined)) {
        waiting = true;
        continue;
      }
      const start = firstUnlike(have, want, (a, b) => a.key === b.key && same(a.value, b.value));
      const [is] = have;
      const [shall] = want;
      if (have.length === 1 && want.length === 1 && is!.key === shall!.key) {
        const route = routeRequest(shall!.value, now);
        if (route !== undefined) groups.push([{ op: 'route.add', route, existing: 'replace' }]);
        continue;
      }
      for (const { value } of have.slice(start)) remove.push({ op: 'route.delete', route: routeRequest(value, now) ?? (value as unknown as Route) }); // prettier-ignore
      const appended: Operation[] = [];
      for (const { value } of want.slice(start)) {
        const route = routeRequest(value, now);
        if (route !== undefined) appended.push({ op: 'route.add', route, existing: 'append' });
      }
      groups.push(appended);
    }
    // What a gateway is found by comes first; within a group the order is that of the routes.
    const hasGateway = (operation: Operation): boolean => {
      const { route } = operation as { route: Route };
      return route.via !== undefined || route.nexthops !== undefined;
    };
    const rank = (group: readonly Operation[]): number => Number(group.some(hasGateway));
    groups.sort((a, b) => rank(a) - rank(b));
    return { operations: [...remove, ...groups.flat()], waiting };
  }

  #rules(state: State): Operation[] {
    return this.#unlike('rule', state).flatMap(({ have, want }) => {
      const start = firstUnlike(have, want, byKey);
      return [
        ...have.slice(start).map(({ value }): Operation => ({ op: 'rule.delete', rule: value as unknown as RuleRequest })),
        ...want.slice(start).map(({ value }): Operation => ({ op: 'rule.add', rule: value as unknown as RuleRequest })),
      ];
    });
  }

  #neighbors(state: State): Operation[] {
    return this.#changed(state, ['neighbor', 'proxy', 'fdb']).map(({ kind, link, value, is }): Operation => {
      const entry = (value ?? is) as unknown;
      if (kind === 'fdb') return { op: value === undefined ? 'fdb.delete' : 'fdb.set', link, entry: entry as FdbRequest };
      if (value !== undefined) return { op: 'neighbor.set', link, neighbor: entry as NeighborEntry };
      const { address, flags } = entry as NeighborEntry;
      return { op: 'neighbor.delete', link, neighbor: { address, ...(flags !== undefined && { flags }) } };
    });
  }

  /** Ours go first, so that nothing is sent any more to what is taken away. */
  #hooksDown(state: State): Operation[] {
    const changed = this.#changed(state, ['filter', 'qdisc']).filter(({ is }) => is !== undefined);
    const qdiscs = changed.filter(({ kind }) => kind === 'qdisc');
    const filters = changed.filter(({ kind }) => kind === 'filter').map(({ read }) => read as Filter);
    const all = [...state.resources.values()].filter(({ kind }) => kind === 'filter').map(({ read }) => read as Filter);
    return [
      ...deletions(filters, all).map(({ ifindex, ...filter }): Operation => ({ op: 'filter.delete', link: ifindex, filter })),
      ...this.#changed(state, ['tcx']).flatMap(({ link, value, is }): Operation[] => {
        const { direction, id } = (is ?? {}) as unknown as TcxProgram;
        return value === undefined && is !== undefined ? [{ op: 'tcx.detach', link, direction, id }] : [];
      }),
      ...qdiscs.map(({ link, is }): Operation => {
        const { parent, kind } = is as unknown as { parent: string; kind: string };
        return { op: 'qdisc.delete', link, qdisc: { kind, parent: isHook({ kind }) ? kind : parent } };
      }),
    ];
  }

  #hooksUp(state: State): Operation[] {
    return this.#changed(state, ['qdisc', 'filter'])
      .filter(({ value }) => value !== undefined)
      .map(({ kind, link, value }): Operation => {
        if (kind === 'filter') return { op: 'filter.add', link, filter: value as unknown as FilterRequest };
        const { parent: _, handle: _handle, ...hook } = value as unknown as { parent: string; kind: string; handle: string };
        return { op: 'qdisc.add', link, qdisc: (isHook(hook) ? hook : value) as unknown as QdiscRequest };
      });
  }

  /** Behind the filters and programs that lead to it. */
  #localhost(state: State): Operation[] {
    const tables = [...this.#wants].filter(
      ([key, value]) => kindOfKey(key) === 'nft' && !same(state.get(key), value) && isWithoutOurs(value),
    );
    return [
      ...this.#changed(state, ['localhost'])
        .filter(({ link, value }) => value !== undefined || !tables.some(([key]) => key === keys.nft(link)))
        .flatMap(({ is, value }) => restoreLocalhost(is, value)),
      ...tables.map(([key]): Operation => ({ op: 'localhost.nft.delete', link: Number(key.slice(keys.nft(0).length - 1)) })),
    ];
  }

  /** Of kinds without an order: what is not as it shall be. Also what our own steps took away. */
  #changed(state: State, kinds: readonly Resource['kind'][]): Changed[] {
    const found: Changed[] = [];
    for (const kind of kinds) {
      const all = new Map<string, Value>(
        [...this.#resources].filter(([, one]) => one.kind === kind).map(([key, { value }]) => [key, value]),
      );
      for (const [key, value] of this.#wants) if (kindOfKey(key) === kind) all.set(key, value);
      for (const [key, value] of all) {
        const is = state.get(key);
        const link = Number(key.split('/')[1]);
        if (!same(is, value) && state.links.has(link)) found.push({ kind, link, value, is, read: state.resources.get(key)?.read });
      }
    }
    return found;
  }

  /** Groups that are not as they shall be, with what nobody wants taken out of both. */
  #unlike(kind: 'address' | 'route' | 'rule', state: State): { group: string; have: Resource[]; want: Resource[] }[] {
    const have = new Map<string, Resource[]>();
    const groupOf = (one: Resource): string => one.group ?? one.key;
    const put = (into: Map<string, Resource[]>, one: Resource): void => {
      const members = into.get(groupOf(one));
      if (members === undefined) into.set(groupOf(one), [one]);
      else members.push(one);
    };
    for (const one of state.resources.values()) if (one.kind === kind && !this.#isNews(one)) put(have, one);
    const want = new Map<string, Resource[]>();
    for (const one of this.#resources.values()) {
      if (one.kind !== kind || one.group !== undefined || !this.#isPossible(one, state)) continue;
      put(want, one);
    }
    for (const [group, members] of this.#groups) {
      const possible = members.filter((one) => one.kind === kind && this.#isPossible(one, state));
      if (possible.length > 0) want.set(group, possible);
    }
    const unlike: { group: string; have: Resource[]; want: Resource[] }[] = [];
    for (const group of new Set([...have.keys(), ...want.keys()])) {
      const [is, shall] = [have.get(group) ?? [], want.get(group) ?? []];
      if (is.length !== shall.length || is.some(({ key, value }, index) => key !== shall[index]!.key || !same(value, shall[index]!.value)))
        unlike.push({ group, have: is, want: shall });
      else if (is.some((one) => this.#isHeldBack(one))) unlike.push({ group, have: is, want: shall });
    }
    return unlike;
  }

  /** The kernel has made it by itself, as it does when IPv6 comes back, and tries it first: no route comes from it until then. */
  #isHeldBack({ kind, key, read }: Resource): boolean {
    return kind === 'address' && this.#wants.get(key) !== undefined && isTentative(read);
  }

  /** What others have added since we began is no concern of ours; but what the kernel has made for an address that we put back is. */
  #isNews({ key, kind, value }: Resource): boolean {
    if (this.#kernels.has(key)) return true;
    if (this.#resources.has(key) || this.#wants.has(key) || this.#start.resources.has(key)) return false;
    const made = kind === 'route' && isKernels(value, false) && devicesOf(value as unknown as Route).some((one) => this.#readdressed.has(one as number)); // prettier-ignore
    return !made;
  }

  /** Not of an interface that is gone, and not when its time is over. */
  #isPossible({ kind, link, value }: Resource, state: State): boolean {
    if (link !== undefined && !state.links.has(link)) return false;
    if (kind === 'address') return addressRequest(value, monotonic()) !== undefined;
    if (kind !== 'route') return true;
    const route = value as unknown as Route;
    const devices = devicesOf(route);
    return routeRequest(value, monotonic()) !== undefined && devices.every((one) => one === undefined || state.links.has(one as number));
  }
}

/** Of a table: nothing, or what others have put into it. A former one of podtap's comes back with its configuration. */
function isWithoutOurs(value: Value): boolean {
  return value === undefined || Object.keys((value as unknown as NftTableValue).parts).length === 0;
}

interface Changed {
  readonly kind: Resource['kind'];
  readonly link: number;
  readonly value: Value;
  readonly is: Value;
  /** As the kernel tells it. */
  readonly read: object | undefined;
}

/**
 * What is as it shall be, and is changed by what comes back: net.ipv6.conf.<name>.mtu follows the interface's MTU when that is set, and when
 * the interface or its IPv6 comes up (addrconf_notify()); some sysctls of every interface follow those of all.
 */
function followers(start: State, wants: ReadonlyMap<string, Value>): Map<string, Value> {
  const found = new Map<string, Value>();
  const sysctls = [...wants.keys()].filter((key) => kindOfKey(key) === 'sysctl');
  const isIpv6 = sysctls.some((key) => key.endsWith('.disable_ipv6'));
  if (sysctls.length > 0) for (const { kind, key, value } of start.resources.values()) if (kind === 'sysctl') found.set(key, value);
  for (const index of start.links.keys()) {
    if (!isIpv6 && !['mtu', 'up'].some((name) => wants.has(keys.setting(index, name)))) continue;
    const key = keys.setting(index, 'ipv6Mtu');
    const value = start.get(key);
    if (value !== undefined) found.set(key, value);
  }
  return found;
}

/** Those that are not listed in a table: `State.get` knows them. */
function isPlain(key: string): boolean {
  return ['link', 'setting', 'sysctl'].includes(kindOfKey(key));
}

function resourceOf(key: string, value: Value): Resource {
  const kind = kindOfKey(key);
  const [, first = ''] = key.split('/');
  if (kind === 'address') {
    const link = Number(first);
    return { kind, key, link, group: addressGroup(link, (value as unknown as Address).address.includes(':') ? 'ipv6' : 'ipv4'), value };
  }
  if (kind === 'route') {
    const group = key.split('|')[0]!;
    return { kind, key, ...(!/^f(f|e8)[0-9a-f]*:/.test((value as unknown as Route).dst) && { group }), value };
  }
  if (kind === 'rule') return { kind, key, group: key.split('|')[0]!, value };
  return { kind, key, link: Number(first), value };
}

function isNewestFirst(group: string): boolean {
  return group.startsWith('address/') && group.endsWith('/ipv6');
}

function byKey(a: Resource, b: Resource): boolean {
  return a.key === b.key;
}

/** Of an IPv4 address that is there the kernel changes no more than these. */
function likeIpv4(a: Resource, b: Resource): boolean {
  const fixed = ({ value }: Resource): Value => {
    const { validUntil: _v, preferredUntil: _p, metric: _m, ...rest } = value as { [name: string]: Value };
    return rest;
  };
  return a.key === b.key && same(fixed(a), fixed(b));
}

function firstUnlike(have: readonly Resource[], want: readonly Resource[], alike: (a: Resource, b: Resource) => boolean): number {
  let index = 0;
  while (index < have.length && index < want.length && alike(have[index]!, want[index]!)) index++;
  return index;
}

function comesWith(links: ReadonlySet<unknown>, { kind, value }: Resource): boolean {
  return kind === 'route' && devicesOf(value as unknown as Route).some((one) => links.has(one));
}

/** Of table local (255) unless `local` is false. */
function isKernels(value: Value, local = true): boolean {
  const { protocol, table } = value as unknown as Route;
  return protocol === 'kernel' && (!local || table === 255);
}

/**
 * The kernel looks for a gateway as a packet would, by the rules, and these may forbid now what they did not when the route was made:
 * then it is let through while the routes are added. What an undo that was killed has left of it is found by its protocol.
 */
export function letThrough(operations: readonly Operation[], state: State): readonly Operation[] {
  const rules = new Map<string, RuleRequest>();
  for (const operation of operations) {
    if (operation.op !== 'route.add') continue;
    const family = operation.route.dst.includes(':') ? 'ipv6' : 'ipv4';
    for (const device of devicesOf(operation.route)) {
      const oif = state.links.get(device as number)?.name;
      if (oif !== undefined) rules.set(`${family} ${oif}`, { family, priority: 0, oif, table: 254, protocol: PASSING });
    }
  }
  return [...rules.values()].map((rule): Operation => ({ op: 'rule.add', rule }));
}

/** Takes them away again. */
export function passingRules(state: State): readonly Operation[] {
  return [...state.resources.values()]
    .filter(({ kind, value }) => kind === 'rule' && (value as { protocol?: string }).protocol === PASSING)
    .map(({ value }): Operation => ({ op: 'rule.delete', rule: value as unknown as RuleRequest }));
}
