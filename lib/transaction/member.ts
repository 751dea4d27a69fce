// One namespace in a transaction: its lock, its entry in the journal, and everything that was touched there.
import { randomNumber } from '../random.js';
import { PodtapError } from '../errors.js';
import type { Netns } from '../kernel/netns.js';
import { type Operation, kindOf } from '../operation/kinds.js';
import type { Choice } from '../operation/operation.js';
import { type Performed, type Settings, perform } from '../operation/run.js';
import { Touching } from '../operation/touching.js';
import { Images } from '../state/images.js';
import type { Value } from '../state/value.js';
import { type Part, Reading, type State, hookPlaces, hooksOf, snapshot } from '../state/snapshot.js';
import { Holders } from './holders.js';
import type { Entry, Journal } from './journal.js';
import { type Lock, acquire, acquireHere, namespaceLock } from './lock.js';
import { recordOf, recordToValue } from './record.js';

/** `state`: how the namespace is now, where that is known, with all tables that the operations need. */
export interface Steps extends Omit<Settings, 'known' | 'reading'> {
  readonly state?: State | undefined;
  /** Tables that are read back, where that takes no trip of its own. */
  readonly after?: ReadonlySet<Part> | undefined;
}

export interface MemberOptions {
  /** undefined: nothing is written, and nothing survives this process. */
  readonly journal: Journal | undefined;
  readonly label?: string | undefined;
  /** The entry that decides for this one. */
  readonly main?: () => string | undefined;
  /** The entry of something finished, to which this adds. */
  readonly joins?: Entry | undefined;
}

/** How something finished is after a step was added to it. */
export interface Joined {
  readonly images: Images;
  /** undefined without a journal. */
  readonly entry: Entry | undefined;
}

export class Member {
  readonly netns: Netns;
  readonly images = new Images();
  /** Indexes of the interfaces that were made. */
  readonly ours = new Set<number>();
  readonly #options: MemberOptions;
  #lock: Lock | undefined;
  #entry: Entry | undefined;

  constructor(netns: Netns, options: MemberOptions) {
    this.netns = netns;
    this.#options = options;
  }

  get entry(): Entry | undefined {
    return this.#entry;
  }

  /** @throws the signal's reason */
  async lock(signal: AbortSignal | undefined): Promise<void> {
    const { journal } = this.#options;
    const name = namespaceLock(this.netns.id);
    this.#lock ??= journal === undefined ? await acquireHere(name, signal) : await acquire(journal.directory, name, { signal });
  }

  async unlock(): Promise<void> {
    const lock = this.#lock;
    this.#lock = undefined;
    await lock?.release();
  }

  /**
   * Carries out operations, which were checked: what they touch is known, and in the journal, before the first of them. `into` gets it
   * too.
   */
  async perform(operations: readonly Operation[], into: readonly Images[], settings: Steps): Promise<Performed> {
    const { signal, after, meanwhile } = settings;
    const state = settings.state ?? (await this.#read(operations));
    const chosen = choose(operations, state);
    const names = new Map<string, number>();
    const known = (link: string): number | undefined => names.get(link) ?? state.link(link)?.ifindex;
    const touching = new Touching(state, (link) => indexOf(link, known), this.ours);
    for (const operation of chosen) {
      const kind = kindOf(operation);
      kind.touches(operation, touching);
      for (const { name, ifindex } of kind.makes?.(operation) ?? []) if (ifindex !== undefined) names.set(name, ifindex);
    }
    for (const images of [this.images, ...into]) images.add(touching.images);
    await this.write();
    signal?.throwIfAborted();
    const reading = after === undefined ? undefined : readingOf(after, state, chosen, known);
    return perform(this.netns, chosen, { signal, known, reading, meanwhile });
  }

  async #read(operations: readonly Operation[]): Promise<State> {
    return readFor(this.netns, operations);
  }

  /** Before a change: as long as this entry is there, whoever comes can undo it. */
  async write(kept?: Value): Promise<void> {
    const { journal, label, main, joins } = this.#options;
    const { bootId, cookie, inode } = this.netns.id;
    // Without a cookie (before Linux 5.14) nobody could say later which namespace it was.
    if (journal === undefined || cookie === undefined) return;
    const body = recordToValue({ images: this.images, main: main?.(), inode, kept, joins: joins?.id });
    if (this.#entry !== undefined) {
      this.#entry = await journal.update(this.#entry, { body });
      return;
    }
    const path = this.netns.path ?? `net:[${inode}]`;
    this.#entry = await journal.write({ bootId, cookie, netns: path, label, body });
  }

  /** What was done stays: from here on every value but those that are there now is somebody else's. */
  async finish(state: State, kept: Value): Promise<Images> {
    const images = this.images.observed(state);
    const { journal } = this.#options;
    if (journal !== undefined && this.#entry !== undefined)
      this.#entry = await journal.update(this.#entry, {
        state: 'applied',
        body: recordToValue({ images, inode: this.netns.id.inode, kept }),
      });
    return images;
  }

  /** The same for a part of what was done, which stays by itself once the transaction is over: an entry of its own. */
  async keep(part: Images, state: State, label: string | undefined, kept: Value): Promise<{ images: Images; entry: Entry | undefined }> {
    const images = part.observed(state);
    const { journal } = this.#options;
    const { bootId, cookie, inode } = this.netns.id;
    if (journal === undefined || cookie === undefined) return { images, entry: undefined };
    const body = recordToValue({ images, main: this.#entry?.id, inode, kept });
    const netns = this.netns.path ?? `net:[${inode}]`;
    return { images, entry: await journal.write({ bootId, cookie, netns, label, state: 'applied', body }) };
  }

  /**
   * What was done is added to what it joins, in one write: from that on, both are one. `then`: what is undone after it; as long as it is not,
   * the entry of the step stays, and whoever comes does it.
   */
  async join(
    state: State,
    kept: Value,
    to: Joined,
    then?: { readonly images: Images; readonly gone: ReadonlySet<number> },
  ): Promise<Joined> {
    const images = to.images.joined(this.images.observed(state), then?.gone);
    const { journal } = this.#options;
    if (journal === undefined || to.entry === undefined) return { images, entry: undefined };
    if (then !== undefined) {
      await this.write();
      const step = this.#entry!;
      this.#entry = await journal.update(step, { body: recordToValue({ ...recordOf(step), then: then.images }) });
    }
    const { main, inode } = recordOf(to.entry);
    const entry = await journal.update(to.entry, { body: recordToValue({ images, main, inode, kept, joined: this.#entry?.id }) });
    // Whatever happens from here on, it is done.
    if (then === undefined) await this.forget().catch(() => undefined);
    return { images, entry };
  }

  get journal(): Journal | undefined {
    return this.#options.journal;
  }

  /** What stays there while this is undone, all of it older; `undone` goes with it. */
  async beside(undone: readonly string[]): Promise<Holders | undefined> {
    const { journal } = this.#options;
    const { cookie } = this.netns.id;
    if (journal === undefined || cookie === undefined || this.#entry === undefined) return undefined;
    return Holders.beside(journal, (await journal.entries({ cookie })).entries, new Set(undone), Infinity);
  }

  /** A full disk must not keep anybody from undoing. */
  async undoing(passing: Images): Promise<void> {
    const entry = this.#entry;
    if (entry === undefined) return;
    const { main } = recordOf(entry);
    const images = new Images();
    for (const one of [this.images, passing]) images.add(one);
    const body = recordToValue({ images, main, inode: this.netns.id.inode });
    this.#entry = await this.#options.journal!.update(entry, { state: 'undoing', body }).catch(() => entry);
  }

  async forget(): Promise<void> {
    const entry = this.#entry;
    this.#entry = undefined;
    if (entry !== undefined) await this.#options.journal!.remove(entry);
  }
}

/** What must be known of a namespace before these are done. */
export function readFor(
  netns: Netns,
  operations: readonly Operation[],
  also: readonly Part[] = [],
  sysctls: readonly string[] = [],
): Promise<State> {
  const parts = new Set<Part>(also);
  for (const operation of operations) for (const part of kindOf(operation).parts(operation)) parts.add(part);
  return snapshot(netns, parts, (links) => new Set([...operations.flatMap((operation) => kindOf(operation).sysctls?.(operation, links) ?? []), ...sysctls])); // prettier-ignore
}

/** In the trip of the operations themselves; undefined where it cannot be known beforehand what is to be asked. */
function readingOf(
  parts: ReadonlySet<Part>,
  state: State,
  operations: readonly Operation[],
  known: (link: string) => number | undefined,
): Reading | undefined {
  if (parts.has('tcx') || parts.has('localhost') || parts.has('nft')) return undefined;
  if (!parts.has('filter')) return new Reading(parts);
  if (!state.parts.has('qdisc')) return undefined;
  const made = operations.flatMap((operation) =>
    operation.op === 'qdisc.add' ? hookPlaces(indexOf(operation.link, known), operation.qdisc) : [],
  );
  return new Reading(parts, [...hooksOf([...state.resources.values()]), ...made]);
}

function indexOf(link: string | number, known: (link: string) => number | undefined): number {
  const index = typeof link === 'number' ? link : known(link);
  if (index === undefined)
    throw new PodtapError(`ENODEV: there is no interface '${link}' in this namespace`, {
      code: 'ENODEV',
      errno: -19,
      syscall: 'RTM_GETLINK',
    });
  return index;
}

// High ones: the kernel numbers from 1, and another's interface shall not get the number of one of ours that is gone.
const FIRST_INDEX = 100_000;
const INDEXES = 900_000;

/** Indexes and names that the kernel would choose are chosen here, so that the journal knows them before they are there. */
function choose(operations: readonly Operation[], state: State): readonly Operation[] {
  const indexes = new Set(state.links.keys());
  const names = new Set([...state.links.values()].flatMap(({ name, altnames = [] }) => [name, ...altnames]));
  const choice: Choice = {
    index: () => {
      let index: number;
      do index = FIRST_INDEX + (randomNumber() % INDEXES);
      while (indexes.has(index));
      indexes.add(index);
      return index;
    },
    name: (pattern) => {
      let name = pattern;
      for (let number = 0; pattern.includes('%d') && (name === pattern || names.has(name)); number++)
        name = pattern.replace('%d', String(number));
      names.add(name);
      return name;
    },
  };
  return operations.map((operation) => {
    const kind = kindOf(operation);
    return kind.chosen === undefined ? operation : kind.chosen(operation, choice);
  });
}
