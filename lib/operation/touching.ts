// What operations touch: kinds tell it here, before anything is done, in the words of the state room. It may be too much, for what
// turns out to be as it was is no difference; it must not be too little.
import type { LinkRef } from '../check.js';
import { PodtapError } from '../errors.js';
import { Images } from '../state/images.js';
import { existence } from '../state/link.js';
import { type Resource, keys, kindOfKey, linkOfKey } from '../state/resource.js';
import { devicesOf, isIpv6 } from '../state/route.js';
import type { State } from '../state/snapshot.js';
import type { Value } from '../state/value.js';
import type { Address } from '../wire/address.js';
import type { Route } from '../wire/route.js';

export class Touching {
  readonly images = new Images();
  readonly #groups = new Map<string, string[]>();

  constructor(
    readonly state: State,
    /** An interface's index by its name. */
    readonly find: (link: LinkRef) => number,
    /** Interfaces that the change has made itself: what hangs on them goes with them. */
    readonly ours: Set<number>,
  ) {
    for (const { group, key } of state.resources.values()) {
      if (group === undefined) continue;
      const keys = this.#groups.get(group);
      if (keys === undefined) this.#groups.set(group, [key]);
      else keys.push(key);
    }
  }

  /** An interface is made. Where another one has its index, none will be. */
  makes(ifindex: number, link: { readonly name: string; readonly kind: string }): void {
    if (this.state.links.has(ifindex)) return;
    this.images.touch(keys.link(ifindex), undefined, [existence(link)]);
    this.ours.add(ifindex);
  }

  /** One that was made gets another name. */
  renames(ifindex: number, name: string): void {
    const made = this.images.touched.get(keys.link(ifindex))?.after;
    const kind = made === undefined || made === 'any' ? this.state.links.get(ifindex)?.kind : (made[0] as { kind: string }).kind;
    if (kind !== undefined) this.images.touch(keys.link(ifindex), undefined, [existence({ name, kind })]);
  }

  isOurs(ifindex: number): boolean {
    return this.ours.has(ifindex);
  }

  /** It will be one of these; undefined: it will not be there. */
  will(key: string, ...values: readonly Value[]): void {
    this.#touch(key, values);
  }

  mayChange(key: string): void {
    this.#touch(key, 'any');
  }

  /** Those of a kind, of which some may go. */
  mayGo(kind: Resource['kind'], which: (resource: Resource) => boolean): void {
    for (const resource of this.state.resources.values()) if (resource.kind === kind && which(resource)) this.will(resource.key, undefined);
  }

  /** Something may be added whose key begins like this. */
  mayAdd(prefix: string): void {
    if (this.images.additions.has(prefix) || this.ours.has(linkOfKey(prefix) ?? 0)) return;
    this.images.additions.set(prefix, [...this.state.resources.keys()].filter((key) => key.startsWith(prefix))); // prettier-ignore
  }

  /** Without their prefix lengths. */
  addressesOf(ifindex: number): ReadonlySet<string | undefined> {
    const of = [...this.state.resources.values()].filter(({ kind, link }) => kind === 'address' && link === ifindex);
    return new Set(of.map(({ value }) => (value as unknown as Address).address.replace(/\/.*/, '')));
  }

  /** Everything of a family that an interface has, as when it goes down or loses IPv6. */
  mayLose(ifindex: number, what: 'ipv6' | 'down'): void {
    const wide = (text: string): boolean => text.includes(':');
    const here = ({ link }: Resource): boolean => link === ifindex;
    this.mayGo('address', (one) => here(one) && wide((one.value as unknown as Address).address));
    for (const kind of ['neighbor', 'proxy'] as const)
      this.mayGo(kind, (one) => here(one) && (what === 'down' || wide((one.value as { address: string }).address)));
    this.mayGo('route', ({ value }) => {
      const route = value as unknown as Route;
      return (what === 'down' || isIpv6(route)) && devicesOf(route).includes(ifindex);
    });
    // Those of other interfaces stay, without the source that is gone.
    const sources = this.addressesOf(ifindex);
    for (const { kind, key, value } of this.state.resources.values()) {
      if (kind !== 'route') continue;
      const { src, ...route } = value as { [name: string]: Value; src?: string; dst: string };
      if (src !== undefined && wide(route.dst) && sources.has(src)) this.will(key, undefined, route);
    }
  }

  /** It cannot be put back: so it is refused, before anything is done. */
  refuse(what: string, why: string): never {
    throw new PodtapError(`${what} cannot be undone, and a transaction does nothing that cannot: ${why}`, {
      code: 'ERR_TRANSACTION_IRREVERSIBLE',
    });
  }

  #touch(key: string, after: 'any' | readonly Value[]): void {
    const kind = kindOfKey(key);
    if (kind !== 'link' && this.ours.has(linkOfKey(key) ?? 0)) return;
    const group = this.state.resources.get(key)?.group;
    if (group !== undefined && !this.images.orders.has(group)) this.images.orders.set(group, this.#groups.get(group)!);
    this.images.touch(key, this.state.get(key), after);
  }
}
