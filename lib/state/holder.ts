// Changes that stand in one namespace side by side, each to be undone by itself, in any order: two interfaces of a pod that are plumbed.
// What one of them needs to come back may be what another one has taken away: then it is that one's to put back.
import type { Address } from '../wire/address.js';
import { isWithin } from '../wire/prefix.js';
import type { Route } from '../wire/route.js';
import { Images } from './images.js';
import { describe } from './reconcile.js';
import { kindOfKey } from './resource.js';
import type { State } from './snapshot.js';
import { type Value, same } from './value.js';

/** Another change, which stays. */
export class Holder {
  readonly #images = new Images();
  readonly #isOlder: boolean;
  #changed = false;

  /** `isOlder`: than the one that is undone. */
  constructor(images: Images, isOlder: boolean) {
    this.#images.add(images);
    this.#isOlder = isOlder;
  }

  /** undefined: as it was. */
  get changed(): Images | undefined {
    return this.#changed ? this.#images : undefined;
  }

  /**
   * What is left to undo of `images`: where this one, the younger, has changed again what they tell of, it leads now to what was before both, and they do
   * not tell of it any more. In what order equal things stood is known to both.
   */
  relieve(images: Images, state: State): Images {
    const rest = new Images();
    rest.add(images);
    for (const [key, { before, after }] of images.touched) {
      const known = this.#images.touched.get(key);
      if (this.#isOlder || known === undefined || after === 'any' || known.after === 'any') continue;
      const now = state.get(key);
      const isOf = (values: readonly Value[], value: Value): boolean => values.some((one) => same(one, value));
      if (!isOf(known.after, now) || !(isOf(after, known.before) || same(before, known.before))) continue;
      rest.touched.delete(key);
      if (same(before, known.before)) continue;
      this.#images.touched.set(key, { before, after: known.after });
      this.#changed = true;
    }
    for (const group of images.orders.keys()) if (this.#images.orders.has(group)) this.#order(group, images);
    return rest;
  }

  /** Whether it has taken away what the route needs; then it has it from here on. Returns the key of that. */
  receive(key: string, route: Value, images: Images, state: State): string | undefined {
    const needed = this.#neededBy(route as unknown as Route, state);
    if (needed === undefined) return undefined;
    this.#images.touch(key, route, [state.get(key)]);
    this.#order(key.split('|')[0]!, images);
    this.#changed = true;
    return needed;
  }

  #order(group: string, images: Images): void {
    const [own, theirs] = [this.#images.orders.get(group) ?? [], images.orders.get(group) ?? []];
    const [first, second] = this.#isOlder ? [own, theirs] : [theirs, own];
    const order = [...first, ...second.filter((key) => !first.includes(key))];
    if (order.join() === own.join()) return;
    this.#images.orders.set(group, order);
    this.#changed = true;
  }

  /** An address that is its source or in whose subnet a gateway is, or a route to one. */
  #neededBy({ src, via, nexthops = [] }: Route, state: State): string | undefined {
    const gateways = [via, ...nexthops.map((hop) => hop.via)].filter((one) => one !== undefined);
    const leadsTo = (subnet: string): boolean =>
      gateways.some((one) => one.includes(':') === subnet.includes(':') && isWithin(one, subnet));
    for (const [key, { before }] of this.#images.touched) {
      if (before === undefined || state.get(key) !== undefined) continue;
      if (kindOfKey(key) === 'address') {
        const { address, peer } = before as unknown as Address;
        const [own, length] = address.split('/');
        if (own === src || leadsTo(`${peer ?? own}/${length}`)) return key;
      } else if (kindOfKey(key) === 'route') {
        const { dst, via: behind } = before as unknown as Route;
        if (behind === undefined && leadsTo(dst)) return key;
      }
    }
    return undefined;
  }
}

/** For people: what comes back later, and with what. */
export function waiting(key: string, needed: string, state: State): string {
  return `${describe(key, state)} needs ${describe(needed, state)}, which something else that was done in this namespace has taken away, and comes back with that`;
}
