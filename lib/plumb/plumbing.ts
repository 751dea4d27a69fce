// A plumbing that is there: what the guest is told, its TAP, and getting rid of it again.
import { abortSignal, boolean, check, optional, options } from '../check.js';
import { PlumbError, PodtapError, TransactionError } from '../errors.js';
import type { GuestNetwork } from '../guest/network.js';
import { readHooks } from '../kernel/hooks.js';
import { locate } from '../kernel/locate.js';
import { type Netns, share } from '../kernel/netns.js';
import type { Macvtap } from '../kernel/macvtap.js';
import type { HeldQueues, Tap, TapHolder } from '../kernel/tap.js';
import type { Picked } from './auto.js';
import { deviceOf } from './device.js';
import type { Problem } from '../primitive/host.js';
import type { Images } from '../state/images.js';
import { snapshot } from '../state/snapshot.js';
import { acquireHere, namespaceLock } from '../transaction/lock.js';
import { type UndoReport, undoEntry } from '../transaction/recover.js';
import { undo } from '../transaction/undo.js';
import { type PlumbingEvent, eventsOf } from './events.js';
import { plumbError } from './failure.js';
import type { PlumbRecord, Undoing } from './record.js';
import { warningsOf } from './warnings.js';
import { type MaintainOptions, maintain } from './maintain.js';
import { repairWiring } from './repair.js';
import { type Crossing, traffic } from './traffic.js';
import { problemOf } from './datapath.js';
import { type DatapathMode, faultParts, faultsOf } from './datapaths.js';

export interface Verification {
  readonly ok: boolean;
  /** Whether a frame for the guest came out of its TAP, and one from the guest left the pod. 'skipped': not asked for, or somebody holds the TAP. */
  readonly toGuest: Crossing;
  readonly fromGuest: Crossing;
  readonly problems: readonly Problem[];
  /** What of others sits on the pod's interface, and what it means; it is no fault. Absent where nothing does. */
  readonly warnings?: readonly Problem[];
}

const verifyOptions = options({ traffic: optional(boolean), signal: optional(abortSignal) });

/**
 * What `plumb` made. It outlives the program: only `undo`, `unplumb`, `recover` or the end of an `await using` undoes it, and that one
 * only where it was made by this call (`created`) and not kept.
 */
export class Plumbing implements AsyncDisposable {
  readonly created: boolean;
  readonly label?: string;
  readonly mode: DatapathMode;
  /** Where the mode was 'auto'. */
  readonly picked?: Picked;
  readonly #id: Netns['id'];
  readonly #path: string | undefined;
  readonly #undoing: Undoing;
  #netns: Netns | undefined;
  #record: PlumbRecord;
  #kept = false;
  #undone = false;
  #tap: Tap | Macvtap | undefined;

  /** @internal */
  constructor(netns: Netns, record: PlumbRecord, undoing: Undoing, created: boolean, held: HeldQueues = []) {
    this.#netns = share(netns);
    this.#id = netns.id;
    this.#path = netns.path;
    this.#record = record;
    this.#undoing = undoing;
    this.created = created;
    this.mode = record.wiring.mode;
    if (record.asked.picked !== undefined) this.picked = record.asked.picked;
    if (record.asked.label !== undefined) this.label = record.asked.label;
    if (held.length > 0) this.#tap = this.#newTap(held);
  }

  /** What the guest must be told. */
  get guest(): GuestNetwork {
    return this.#record.guest;
  }

  get kept(): boolean {
    return this.#kept;
  }

  /** The guest's wire. Held by nobody until its descriptors are taken, or frames read or sent. */
  get tap(): Tap | Macvtap {
    if (this.#tap === undefined || this.#tap.closed) this.#tap = this.#newTap();
    return this.#tap;
  }

  #newTap(held: HeldQueues = []): Tap | Macvtap {
    const place = { id: this.#id, use: <T>(work: (netns: Netns) => Promise<T>) => this.#with(work) };
    return deviceOf(place, this.#record.wiring, held);
  }

  /**
   * From here on it stays, whatever becomes of this program: `await using` does not undo it. The handle on the namespace is closed; later
   * calls find the namespace again.
   */
  keep(): this {
    this.#kept = true;
    void this.#park();
    return this;
  }

  /**
   * Puts the pod back as it was: the interface has its MAC, addresses and routes again, and what was made is gone. What somebody else has
   * changed meanwhile stays, and is in `leftBehind`. Calling it again does nothing.
   * @throws TransactionError ERR_TRANSACTION_UNDO: something could not be put back; it can be called again
   */
  async undo(): Promise<UndoReport> {
    if (this.#undone) return { state: 'already-undone', leftBehind: [] };
    const undoing = this.#undoing;
    const report = 'journal' in undoing ? await undoEntry(undoing.journal, undoing.entry, { netns: this.#netns }) : await this.#undoHere(undoing.images); // prettier-ignore
    this.#undone = true;
    await this.#letGo();
    return report;
  }

  /**
   * Compares the namespace with what was made. With `traffic`, also sends a frame each way, where nobody holds the TAP.
   * @throws PodtapError ERR_NETNS_GONE
   */
  async verify(settings: { readonly traffic?: boolean; readonly signal?: AbortSignal } = {}): Promise<Verification> {
    const { traffic: wanted = false, signal } = check(verifyOptions, settings, 'verify');
    return this.#with(async (netns) => {
      const { wiring } = this.#record;
      const problems = faultsOf(wiring, await snapshot(netns, faultParts(wiring))).map(problemOf);
      signal?.throwIfAborted();
      const idle = wanted && problems.length === 0 && (await this.#newTap().holders()).length === 0;
      const [toGuest, fromGuest] = idle ? await traffic(netns, wiring, signal) : (['skipped', 'skipped'] as const);
      for (const [way, crossing] of [['to', toGuest], ['from', fromGuest]] as const) // prettier-ignore
        if (crossing === 'lost') problems.push({ code: 'FRAME_LOST', message: `a frame ${way} the guest was lost on its way between ${wiring.link.name} and ${wiring.tap.name}`, fix: 'look for filters on both: tc filter show, nft list ruleset' }); // prettier-ignore
      const warnings = await readHooks(netns, wiring.link.ifindex).then((hooks) => warningsOf(hooks, wiring.mode), () => []); // prettier-ignore
      return { ok: problems.length === 0, toGuest, fromGuest, problems, ...(warnings.length > 0 && { warnings }) };
    });
  }

  /** Mends what `verify` finds, as far as that can be done. @returns the problems that are left */
  async repair(): Promise<readonly Problem[]> {
    const repaired = await this.#with((netns) => repairWiring(netns, this.#record.wiring, this.#undoing)).catch((error: unknown) => {
      throw plumbError(error);
    });
    return repaired.map(problemOf);
  }

  /** What becomes of it, until the signal aborts: see PlumbingEvent. After 'gone' nothing follows. */
  async *events(settings: { readonly signal?: AbortSignal } = {}): AsyncGenerator<PlumbingEvent, void, undefined> {
    const { signal } = check(options({ signal: optional(abortSignal) }), settings, 'events');
    const netns = await this.#open();
    if (netns === undefined) return yield { type: 'gone' };
    try {
      for await (const event of eventsOf(netns, this.#record, signal)) {
        if (event.type === 'changed') this.#record = { ...this.#record, guest: event.guest };
        yield event;
      }
    } finally {
      await netns.close();
    }
  }

  /**
   * Listens to the events, and mends what breaks as `repair` does: filters that somebody takes away, an interface that is set down. When the
   * TAP is gone (its monitor was killed, and it was not persistent; somebody deleted it), the plumbing is undone. In mode 'redirect' this is
   * what keeps a dead TAP from taking the pod's network with it; in mode 'ebpf' the kernel does that by itself.
   *
   * @returns 'gone': it is undone, or somebody else has undone it; 'aborted': the signal has ended it
   * @throws PlumbError: something cannot be mended
   * @example
   * net.maintain({ signal, onEvent: console.log }).catch(alarm);
   */
  async maintain(settings: MaintainOptions = {}): Promise<'aborted' | 'gone'> {
    return maintain(this, settings);
  }

  toJSON(): object {
    const { label, created, kept, guest } = this;
    return { ...(label !== undefined && { label }), created, kept, netns: this.#path, ...this.#record.wiring, guest };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#kept && this.created && !this.#undone) await this.undo();
    // A guest in TypeScript may live on the TAP of one that is kept.
    await (this.#kept ? this.#park() : this.#letGo());
  }

  async #letGo(): Promise<void> {
    const tap = this.#tap;
    this.#tap = undefined;
    await tap?.close();
    await this.#park();
  }

  async #undoHere(images: Images): Promise<UndoReport> {
    const netns = await this.#open();
    if (netns === undefined) return { state: 'namespace-gone', leftBehind: [] };
    try {
      await using _ = await acquireHere(namespaceLock(netns.id));
      const { undone, leftBehind, failed } = await undo(netns, images, async () => undefined);
      if (failed.length > 0) throw new TransactionError(`not everything could be put back: ${failed.join('; ')}`, { code: 'ERR_TRANSACTION_UNDO', undone, leftBehind: [...leftBehind, ...failed] }); // prettier-ignore
      return { state: 'undone', leftBehind };
    } finally {
      await netns.close();
    }
  }

  /** A handle of its own, to be closed; undefined where the namespace is gone. */
  async #open(): Promise<Netns | undefined> {
    return this.#netns === undefined ? locate(this.#id, this.#path) : share(this.#netns);
  }

  async #with<T>(work: (netns: Netns) => Promise<T>): Promise<T> {
    const netns = await this.#open();
    if (netns === undefined)
      throw new PodtapError(`the namespace ${this.#path ?? ''} of this plumbing is gone`, { code: 'ERR_NETNS_GONE', path: this.#path });
    try {
      return await work(netns);
    } finally {
      await netns.close();
    }
  }

  async #park(): Promise<void> {
    const netns = this.#netns;
    this.#netns = undefined;
    await netns?.close();
  }
}

export function busyTap(name: string, holders: readonly TapHolder[]): PlumbError {
  const who = holders.map(({ pid, command }) => `${command} (${pid})`).join(', ');
  const code = holders.length > 0 ? 'ERR_PLUMB_TAP_BUSY' : 'ERR_PLUMB_CONFLICT';
  const said = holders.length > 0 ? `the TAP '${name}' is there already, and held by ${who}` : `there is an interface '${name}' already, and it is none of podtap's`; // prettier-ignore
  return new PlumbError(`${said}; choose another name, or delete it`, { code, holders, transient: holders.length > 0 });
}
