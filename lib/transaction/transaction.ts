// All or nothing: what is done within a transaction is done completely, or the namespace is left as it was.
import { AsyncLocalStorage } from 'node:async_hooks';
import { abortSignal, boolean, check, either, optional, options, text } from '../check.js';
import { PodtapError, TransactionError, invalidArgument } from '../errors.js';
import { type Netns, attachment } from '../kernel/netns.js';
import { type Operation, command } from '../operation/kinds.js';
import { type Outcome, type Performed, type Runner, failedAt, performs } from '../operation/run.js';
import { joined } from '../signal.js';
import { Images } from '../state/images.js';
import { type Entry, type Journal, openJournal } from './journal.js';
import { Member, type Steps } from './member.js';
import { type Undone, undo } from './undo.js';

export interface TransactionOptions {
  readonly signal?: AbortSignal;
  /** Default true: what is touched is written down before it is changed, so that `recover` can undo it after a crash. A string is the directory (default /run/podtap). false: undo works in this process only. */
  readonly journal?: boolean | string;
}

const schema = options({ signal: optional(abortSignal), journal: optional(either(boolean, text, 'must be true, false or a directory')) });

const nests = Symbol('podtap.nests');
const isOpen = Symbol('podtap.isOpen');
export const enters = Symbol('podtap.enters');
export const applies = Symbol('podtap.applies');

/** What `transaction` gives to its body: the first argument of primitives that shall be part of it. */
export class Transaction implements Runner {
  readonly netns: Netns;
  readonly #work: Work;
  readonly #layer: Layer;

  /** @internal */
  constructor(netns: Netns, work: Work, layer: Layer) {
    this.netns = netns;
    this.#work = work;
    this.#layer = layer;
  }

  /** The same transaction over another namespace: all of them, or none. */
  in(other: Netns): Transaction {
    attachment(other);
    this.#layer.check();
    return new Transaction(other, this.#work, this.#layer);
  }

  /** @internal */
  async [performs](operations: readonly Operation[], signal?: AbortSignal): Promise<readonly Outcome[]> {
    return (await this.#work.perform(this.netns, this.#layer, operations, { signal })).outcomes;
  }

  /** @internal A plan, of which more is known. */
  [applies](operations: readonly Operation[], steps: Steps): Promise<Performed> {
    return this.#work.perform(this.netns, this.#layer, operations, steps);
  }

  /** @internal Nobody else is at work in the namespace from here on, until the transaction is over. */
  [enters](): Promise<Entered> {
    return this.#work.enter(this.netns, this.#layer);
  }

  /** @internal What the body has started, and not waited for, may go on after it. */
  [isOpen](): boolean {
    return this.#layer.isOpen;
  }

  /** @internal A savepoint. */
  [nests]<T>(body: (tx: Transaction) => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    return this.#work.nested(this.netns, this.#layer, body, signal);
  }
}

/** The transactions that the running code is in: one within another on the same namespace is a savepoint. */
const current = new AsyncLocalStorage<readonly Transaction[]>();

/**
 * Runs `body`, and if it throws, or a step of it fails, or the signal aborts it, puts back what its steps have changed. A step is a
 * primitive that is given the transaction instead of a namespace; they run one after the other. What somebody else changes meanwhile
 * stays, and is told in `leftBehind`. After the body, the transaction is closed. One within another (given as the first argument, or
 * on the same namespace) is a savepoint: it can fail, and the outer one goes on.
 *
 * Nobody else's transaction runs in the namespace meanwhile; primitives that are given the namespace itself are no part of it.
 * A step that could not be undone (deleting somebody's interface, moving one to another namespace) is refused: ERR_TRANSACTION_IRREVERSIBLE.
 * Not put back are learned neighbours, the mark 'stable-privacy' of an address that the kernel made, temporary IPv6 addresses, entries of a bridge's table that mean its own host, PMTU exceptions, multicast memberships and open connections.
 *
 * @returns what the body returns
 * @throws TransactionError: a step failed, `cause` says how; what the body threw, or the signal's reason, where nothing was left behind;
 *   PodtapError ERR_JOURNAL_*: the journal cannot be written, and nothing was changed
 * @example
 * await transaction(pod, async (tx) => {
 *   await deleteAddress(tx, 'eth0', '10.1.0.2/24');
 *   await createBridge(tx, 'br0', { up: true });
 *   await addAddress(tx, 'br0', '10.1.0.2/24'); // if this fails, eth0 has its address again, and br0 is gone
 * });
 */
export async function transaction<T>(
  scope: Netns | Transaction,
  body: (tx: Transaction) => Promise<T>,
  settings: TransactionOptions = {},
): Promise<T> {
  const { signal, journal = true } = check(schema, settings, 'transaction');
  if (typeof body !== 'function') throw invalidArgument('ERR_INVALID_ARG_TYPE', 'transaction: the second argument must be a function');
  attachment(scope);
  const outer = outerOf(scope);
  if (outer !== undefined) return outer[nests](body, signal);
  const work = new Work(journal === false ? undefined : await openJournal(journal === true ? undefined : journal), { signal });
  return work.run(scope as Netns, body);
}

/** The transaction that something in this scope would be a part of. */
export function outerOf(scope: Netns | Transaction): Transaction | undefined {
  if (scope instanceof Transaction) return scope;
  return current.getStore()?.find((one) => one[isOpen]() && isSame(one.netns, scope));
}

export function isSame(a: Netns, b: Netns): boolean {
  return a.id.inode === b.id.inode && a.id.cookie === b.id.cookie;
}

/** What one body, or one nested in it, has touched. */
class Layer {
  readonly images = new Map<Member, Images>();
  readonly kept: { readonly journal: Journal; readonly entry: Entry }[] = [];
  #closed = false;

  of(member: Member): Images {
    const images = this.images.get(member) ?? new Images();
    this.images.set(member, images);
    return images;
  }

  check(): void {
    if (this.#closed) throw new PodtapError('this transaction is over', { code: 'ERR_TRANSACTION_CLOSED' });
  }

  get isOpen(): boolean {
    return !this.#closed;
  }

  close(): void {
    this.#closed = true;
  }
}

/** For what stays when a transaction is over, and can be undone later. */
export interface Entered {
  readonly member: Member;
  /** What was touched since the body began. */
  readonly images: Images;
  /** An entry of the journal that goes again if the body fails. */
  keeps(entry: Entry): void;
}

export class Work {
  readonly #journal: Journal | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #label: string | undefined;
  readonly #patience: number | undefined;
  readonly #ofUser: boolean;
  readonly #joins: Entry | undefined;
  readonly #members: Member[] = [];
  /** Whose entry was the first to be written: the others depend on it. */
  #main: Member | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #failure: { error: unknown; step: string } | undefined;

  constructor(
    journal: Journal | undefined,
    settings: {
      readonly signal?: AbortSignal | undefined;
      readonly label?: string | undefined;
      readonly patience?: number;
      /** false: no code of the user runs in the body. Following it through its promises makes every promise of the program slower (Node.js before 24). */
      readonly ofUser?: boolean;
      /** What it adds to, by `Member.join` as its `commit`. */
      readonly joins?: Entry | undefined;
    } = {},
  ) {
    this.#journal = journal;
    this.#signal = settings.signal;
    this.#label = settings.label;
    this.#patience = settings.patience;
    this.#ofUser = settings.ofUser ?? true;
    this.#joins = settings.joins;
  }

  /** `commit`: how it ends well; by default what was written down is forgotten. */
  async run<T>(netns: Netns, body: (tx: Transaction) => Promise<T>, commit = (_: Member): Promise<void> => this.#forget()): Promise<T> {
    const layer = new Layer();
    const tx = new Transaction(netns, this, layer);
    try {
      const result = await (this.#ofUser ? current.run([...(current.getStore() ?? []), tx], body, tx) : body(tx));
      layer.close();
      await this.#last;
      this.#signal?.throwIfAborted();
      const [first] = this.#members;
      if (first !== undefined) await commit(first);
      return result;
    } catch (error) {
      layer.close();
      await this.#last;
      const undone = await this.#undo(layer);
      if (undone.failed.length === 0) await this.#forget();
      throw this.#told(error, undone);
    } finally {
      for (const member of this.#members.toReversed()) await member.unlock();
    }
  }

  async nested<T>(netns: Netns, outer: Layer, body: (tx: Transaction) => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    outer.check();
    const layer = new Layer();
    const tx = new Transaction(netns, this, layer);
    try {
      signal?.throwIfAborted();
      const result = await (this.#ofUser ? current.run([tx, ...(current.getStore() ?? [])], body, tx) : body(tx));
      layer.close();
      await this.#last;
      signal?.throwIfAborted();
      for (const [member, images] of layer.images) outer.of(member).add(images);
      outer.kept.push(...layer.kept);
      return result;
    } catch (error) {
      layer.close();
      await this.#last;
      const undone = await this.#undo(layer);
      // What could not be put back is still touched, and the outer one's to undo.
      for (const [member, images] of layer.images) outer.of(member).add(images);
      throw this.#told(error, undone);
    }
  }

  /** One after the other, whoever asks. */
  perform(netns: Netns, layer: Layer, operations: readonly Operation[], steps: Steps): Promise<Performed> {
    const turn = this.#last.then(async () => {
      layer.check();
      const member = await this.#member(netns);
      const either = joined([steps.signal, this.#signal]);
      const { signal } = either;
      try {
        signal.throwIfAborted();
        return await member.perform(operations, [layer.of(member)], { ...steps, signal });
      } catch (error) {
        const at = typeof error === 'object' && error !== null ? failedAt.get(error) : undefined;
        // Before the first step nothing was done: what the journal or a look-up met is told as it is.
        if (at !== undefined && (!signal.aborted || error !== signal.reason)) this.#failure = { error, step: command(operations[at]!) };
        throw error;
      } finally {
        either.release();
      }
    });
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #member(netns: Netns): Promise<Member> {
    const known = this.#members.find((member) => isSame(member.netns, netns));
    if (known !== undefined) return known;
    const [first] = this.#members;
    const member: Member = new Member(netns, {
      journal: this.#journal,
      label: first === undefined ? this.#label : undefined,
      joins: first === undefined ? this.#joins : undefined,
      main: () => {
        if (this.#main?.entry === undefined) this.#main = member;
        return this.#main === member ? undefined : this.#main.entry?.id;
      },
    });
    await this.#lock(member);
    this.#members.push(member);
    return member;
  }

  async #lock(member: Member): Promise<void> {
    const patient = joined([this.#signal], this.#patience);
    try {
      await member.lock(patient.signal);
    } catch (error) {
      if (!patient.isLate()) throw error;
      throw new PodtapError(`somebody else has been at work in this namespace for ${this.#patience} ms`, { code: 'ERR_LOCK_BUSY' });
    } finally {
      patient.release();
    }
  }

  async enter(netns: Netns, layer: Layer): Promise<Entered> {
    layer.check();
    const member = await this.#member(netns);
    return { member, images: layer.of(member), keeps: (entry) => void layer.kept.push({ journal: member.journal!, entry }) };
  }

  async #undo(layer: Layer): Promise<Undone> {
    const all = { undone: [] as string[], leftBehind: [] as string[], failed: [] as string[] };
    for (const [member, images] of [...layer.images].reverse()) {
      try {
        const beside = await member.beside(layer.kept.map(({ entry }) => entry.id));
        const one = await undo(member.netns, images, (passing) => member.undoing(passing), beside?.all);
        if (one.failed.length === 0) await beside?.keep();
        for (const key of ['undone', 'leftBehind', 'failed'] as const) all[key].push(...one[key]);
      } catch (error) {
        all.failed.push((error as Error).message);
      }
    }
    for (const { journal, entry } of layer.kept) await journal.remove(entry);
    return all;
  }

  /** As long as the main entry is there, all is unfinished: in the moment in which it goes, the transaction is over. */
  async #forget(): Promise<void> {
    await this.#main?.forget();
    for (const member of this.#members) await member.forget();
  }

  #told(error: unknown, { undone, leftBehind, failed }: Undone): unknown {
    const ofStep = this.#failure !== undefined && this.#failure.error === error;
    if (!ofStep && leftBehind.length === 0 && failed.length === 0) return error;
    const said = error instanceof Error ? error.message : String(error);
    const rest = failed.length > 0 ? `; not everything could be put back: ${failed.join('; ')}` : '';
    return new TransactionError(`${said}${rest}`, {
      code: failed.length > 0 ? 'ERR_TRANSACTION_UNDO' : 'ERR_TRANSACTION_FAILED',
      step: ofStep ? this.#failure!.step : '',
      undone,
      leftBehind: [...leftBehind, ...failed],
      cause: error,
    });
  }
}

/** Whether steps can still be part of it. */
export function isOpenTransaction(tx: Transaction): boolean {
  return tx[isOpen]();
}
