// What a change touches: how each resource was before, and how the change may leave it. Getting back needs no more.
import { linkOfKey } from './resource.js';
import type { State } from './snapshot.js';
import { type Value, same } from './value.js';

export interface Image {
  /** undefined: it was not there. */
  readonly before: Value;
  /** What the change makes of it, all that there is on the way; 'any': what it makes is not known beforehand. undefined: it goes. */
  readonly after: 'any' | readonly Value[];
}

export class Images {
  readonly touched = new Map<string, Image>();
  /** Beginnings of keys under which something may be added whose whole key is not known beforehand, with the keys that were there. */
  readonly additions = new Map<string, readonly string[]>();
  /** The keys of a group that lost members, in the order in which they stood. */
  readonly orders = new Map<string, readonly string[]>();

  /** One more thing that may become of a resource. */
  touch(key: string, before: Value, after: Image['after']): void {
    const known = this.touched.get(key);
    if (known === undefined) this.touched.set(key, { before, after });
    else if (known.after !== 'any')
      this.touched.set(key, { before: known.before, after: after === 'any' ? after : [...known.after, ...after] });
  }

  /** What came later is taken up: of what both have touched, the earlier `before` is the right one. */
  add(later: Images): void {
    for (const [key, { before, after }] of later.touched) {
      // What was added under a prefix, and is changed now, was not there before the addition.
      const added = !this.touched.has(key) && [...this.additions].some(([prefix, known]) => key.startsWith(prefix) && !known.includes(key));
      if (added) this.touch(key, undefined, after === 'any' ? after : [before, ...after]);
      else this.touch(key, before, after);
    }
    for (const [prefix, keys] of later.additions) if (!this.additions.has(prefix)) this.additions.set(prefix, keys);
    for (const [group, keys] of later.orders) if (!this.orders.has(group)) this.orders.set(group, keys);
  }

  /**
   * As the change has left it: from now on every other value is somebody else's doing. What it has left as it was is forgotten, except
   * interfaces that it made, which are known by more than their presence.
   */
  observed(state: State): Images {
    const exact = new Images();
    const touched = new Map(this.touched);
    for (const [prefix, known] of this.additions)
      for (const key of state.resources.keys())
        if (key.startsWith(prefix) && !known.includes(key) && !touched.has(key)) touched.set(key, { before: undefined, after: 'any' });
    for (const [key, { before }] of touched) {
      const now = state.get(key);
      if (!same(before, now)) exact.touched.set(key, { before, after: [now] });
    }
    for (const [group, keys] of this.orders) if (keys.some((key) => exact.touched.has(key))) exact.orders.set(group, keys);
    return exact;
  }

  /**
   * With what came later and is finished, too (`observed`, both of them): what both have touched is as the later one has left it, and what that
   * one has put back is forgotten. Interfaces that are `gone` are, with what hung on them.
   */
  joined(later: Images, gone: ReadonlySet<number> = new Set()): Images {
    const all = new Images();
    for (const [key, image] of this.touched) all.touched.set(key, image);
    for (const [key, { before, after }] of later.touched) {
      const known = this.touched.get(key);
      const first = known === undefined ? before : known.before;
      if (after !== 'any' && after.every((one) => same(one, first))) all.touched.delete(key);
      else all.touched.set(key, { before: first, after });
    }
    for (const key of [...all.touched.keys()]) if (gone.has(linkOfKey(key) ?? 0)) all.touched.delete(key);
    for (const [group, keys] of [...later.orders, ...this.orders])
      if (keys.some((key) => all.touched.has(key))) all.orders.set(group, keys);
    return all;
  }

  get isEmpty(): boolean {
    return this.touched.size === 0 && this.additions.size === 0;
  }

  /** For the journal. */
  toValue(): Value {
    return {
      touched: [...this.touched].map(([key, { before, after }]) => [key, before, after]),
      additions: [...this.additions].map(([prefix, keys]) => [prefix, keys]),
      orders: [...this.orders].map(([group, keys]) => [group, keys]),
    };
  }
}
