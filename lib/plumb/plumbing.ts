// A plumbing that is there: what the guest is told, its TAP, and getting rid of it again.
import { abortSignal, boolean, check, optional, options, text } from '../check.js';
import { PodtapError, TransactionError } from '../errors.js';
import type { GuestNetwork } from '../guest/network.js';
import { readHooks } from '../kernel/hooks.js';
import { locate } from '../kernel/locate.js';
import { type Netns, share } from '../kernel/netns.js';
import type { Macvtap } from '../kernel/macvtap.js';
import type { HeldQueues, Tap, TapPlace } from '../kernel/tap.js';
import type { Picked } from './datapath/auto.js';
import { deviceOf } from './device.js';
import type { Problem } from '../primitive/host.js';
import type { Images } from '../state/images.js';
import { acquireHere, namespaceLock } from '../transaction/lock.js';
import { type UndoReport, undoEntry } from '../transaction/recover.js';
import type { Transaction } from '../transaction/transaction.js';
import { undo } from '../transaction/undo.js';
import { type Followed, type PlumbingEvent, eventsOf } from './events.js';
import { plumbError } from './failure.js';
import type { GuestRecord, PlumbRecord, Undoing } from './record.js';
import { warningsOf } from './warnings.js';
import { type MaintainOptions, maintain } from './maintain.js';
import { repairWiring } from './repair.js';
import { type Crossing, traffic } from './traffic.js';
import { problemOf } from './datapath/datapath.js';
import { type DatapathMode, faultParts, faultsOf } from './datapath/datapaths.js';
import { localhostStep, mendStep } from './localhost/carry.js';
import { type AddGuestOptions, FIRST_GUEST, type PlumbedGuest, addGuestStep, removeGuestStep, wantedGuest } from './localhost/guests.js';
import { type ExposedLocalhost, type Observed, dockerNow, exposed, localhostFaults, lookAt, shortcomings } from './localhost/localhost.js';
import { unseenListeners } from './localhost/listeners.js';
import { NextHopWatch, announceGateway, hasNextHop, nextHopNow } from './localhost/next-hop.js';
import { type PlumbingStats, statsOf } from './localhost/stats.js';
import { type Step, type Stepped, takeStep } from './step.js';

export interface Verification {
  readonly ok: boolean;
  /** Whether a frame for the guest came out of its TAP, and one from the guest left the pod. 'skipped': not asked for, or somebody holds the TAP. */
  readonly toGuest: Crossing;
  readonly fromGuest: Crossing;
  readonly problems: readonly Problem[];
  /** What of others sits on the pod's interface, and what it means; it is no fault. Absent where nothing does. */
  readonly warnings?: readonly Problem[];
}

/** How `exposeLocalhost` and its kin change a plumbing. */
export const steps = Symbol('podtap.steps');

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
  #undoing: Undoing;
  readonly #outer: Transaction | undefined;
  #netns: Netns | undefined;
  #record: PlumbRecord;
  #kept = false;
  #undone = false;
  #tap: Tap | Macvtap | undefined;
  #repair: ReturnType<Followed['repair']> = { number: 0, left: [] };
  /** Of further guests, by index. */
  readonly #taps = new Map<number, Tap | Macvtap>();

  /** @internal */
  constructor(
    netns: Netns,
    record: PlumbRecord,
    undoing: Undoing,
    created: boolean,
    { held = [], outer }: { readonly held?: HeldQueues; readonly outer?: Transaction } = {},
  ) {
    this.#netns = share(netns);
    this.#id = netns.id;
    this.#path = netns.path;
    this.#record = record;
    this.#undoing = undoing;
    this.#outer = outer;
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
    return deviceOf(this.#place, this.#record.wiring, held);
  }

  get #place(): TapPlace {
    return { id: this.#id, use: (work) => this.#with(work) };
  }

  /** What the guests reach of the pod's localhost: see exposeLocalhost. undefined: nothing. */
  get localhost(): ExposedLocalhost | undefined {
    return exposed(this.#record);
  }

  /** All that share the pod's address; the first one is that of `guest` and `tap`, and gets what no other owns. */
  get guests(): readonly PlumbedGuest[] {
    const { guests = [], guest } = this.#record;
    return [
      { name: FIRST_GUEST, ports: [], guest, tap: this.tap },
      ...guests.map((one) => ({ name: one.name, ports: one.ports, guest: one.guest, tap: this.#tapOf(one) })),
    ];
  }

  #tapOf({ wiring }: GuestRecord): Tap | Macvtap {
    const known = this.#taps.get(wiring.tap.ifindex);
    if (known !== undefined && !known.closed) return known;
    const tap = deviceOf(this.#place, { mode: this.mode, ...wiring });
    this.#taps.set(wiring.tap.ifindex, tap);
    return tap;
  }

  /**
   * A further guest behind the pod's address, with a TAP of its own, while others run: what comes in for its ports goes to it, and what
   * it starts comes back to it, also where two use the same source port at once. Guests reach each other's ports at `localhost.localhost`, and what
   * runs in the pod reaches theirs at 127.0.0.1. All or nothing, and undone with the plumbing. The same one again changes nothing. IPv4 only: IPv6 is the first guest's.
   * @throws PlumbError ERR_PLUMB_CONFLICT: its name or ports are another's; UnsupportedError: mode 'macvtap'; TypeError ERR_INVALID_ARG_*
   * @example const web = await net.addGuest({ name: 'web', vmm: 'firecracker', ports: ['8080/tcp'] })
   */
  async addGuest(settings: AddGuestOptions): Promise<PlumbedGuest> {
    const { signal, ...wanted } = wantedGuest(settings);
    await this[steps]((netns, record) => addGuestStep(netns, record, wanted), signal);
    return this.guests.find(({ name }) => name === wanted.name)!;
  }

  /**
   * Its ports are nobody's any more, and its TAP is deleted, whoever holds it.
   * @throws PlumbError ERR_PLUMB_NO_GUEST
   */
  async removeGuest(name: string): Promise<void> {
    check(text, name, 'removeGuest');
    let gone: number | undefined;
    await this[steps](async (netns, record) => {
      const step = await removeGuestStep(netns, record, name);
      gone = step.gone?.[0]?.ifindex;
      return step;
    });
    if (gone === undefined) return;
    await this.#taps.get(gone)?.close();
    this.#taps.delete(gone);
  }

  /**
   * What passed so far: of the programs, or the table, that carry the pod's localhost and tell guests apart, by the same names. Empty where there are
   * none. A table knows no 'flowNew' and no 'failed', and counts the first guest's frames to the world as 'fromGuest', too.
   */
  async stats(): Promise<PlumbingStats> {
    return this.#with((netns) => statsOf(netns, this.#record));
  }

  /** @internal A change of it: `plan` is asked with nobody else at work in the namespace. */
  async [steps](plan: (netns: Netns, record: PlumbRecord) => Promise<Step | undefined>, signal?: AbortSignal): Promise<void> {
    await this.#with((netns) => this.#step(netns, plan, signal));
  }

  #step(netns: Netns, plan: (netns: Netns, record: PlumbRecord) => Promise<Step | undefined>, signal?: AbortSignal): Promise<void> {
    const now = (): Stepped => ({ record: this.#record, undoing: this.#undoing });
    const commit = ({ record, undoing }: Stepped): void => {
      this.#record = record;
      this.#undoing = undoing;
    };
    return takeStep(netns, now, { signal, outer: this.#outer }, (record) => plan(netns, record), commit);
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
      const record = this.#record;
      const { wiring } = record;
      const state = await lookAt(netns, record, faultParts(wiring));
      const problems = [...faultsOf(wiring, state).map(problemOf), ...localhostFaults(record, state, await observed(netns, record))];
      signal?.throwIfAborted();
      const idle = wanted && problems.length === 0 && (await this.#newTap().holders()).length === 0;
      const [toGuest, fromGuest] = idle ? await traffic(netns, wiring, signal) : (['skipped', 'skipped'] as const);
      for (const [way, crossing] of [['to', toGuest], ['from', fromGuest]] as const) // prettier-ignore
        if (crossing === 'lost') problems.push({ code: 'FRAME_LOST', message: `a frame ${way} the guest was lost on its way between ${wiring.link.name} and ${wiring.tap.name}`, fix: 'look for filters on both: tc filter show, nft list ruleset' }); // prettier-ignore
      const hooks = await readHooks(netns, wiring.link.ifindex).then((hooks) => warningsOf(hooks, wiring.mode), () => []); // prettier-ignore
      const warnings = [...hooks, ...shortcomings(record), ...(await unseenListeners(netns, record))];
      return { ok: problems.length === 0, toGuest, fromGuest, problems, ...(warnings.length > 0 && { warnings }) };
    });
  }

  /** Mends what `verify` finds, as far as that can be done. @returns the problems that are left */
  async repair(): Promise<readonly Problem[]> {
    const left = await this.#mend();
    this.#repair = { number: this.#repair.number + 1, left };
    return left;
  }

  async #mend(): Promise<readonly Problem[]> {
    return this.#with(async (netns) => {
      const repaired = await repairWiring(netns, this.#record.wiring, this.#undoing).catch((error: unknown) => {
        throw plumbError(error);
      });
      if (this.#record.localhost === undefined) return repaired.map(problemOf);
      const before = this.#record.localhost.config.gateway?.mac;
      await this.#step(netns, mendStep);
      const record = this.#record;
      if (record.localhost?.config.gateway?.mac !== before) await announceGateway(netns, record);
      const left = localhostFaults(record, await lookAt(netns, record, []), { docker: await dockerNow(netns, record) });
      return [...repaired.map(problemOf), ...left];
    });
  }

  /** What becomes of it, until the signal aborts: see PlumbingEvent. After 'gone' nothing follows. */
  async *events(settings: { readonly signal?: AbortSignal } = {}): AsyncGenerator<PlumbingEvent, void, undefined> {
    const { signal } = check(options({ signal: optional(abortSignal) }), settings, 'events');
    const netns = await this.#open();
    if (netns === undefined) return yield { type: 'gone' };
    try {
      for await (const event of eventsOf(netns, this.#record, signal, this.#followed(netns, signal))) {
        if (event.type !== 'changed') yield event;
        else {
          // Which resolver is its, `exposeLocalhost` says.
          const guest = { ...event.guest, dns: this.#record.guest.dns };
          this.#record = { ...this.#record, guest };
          yield { ...event, guest };
        }
      }
    } finally {
      await netns.close();
    }
  }

  /** What Docker's resolver does is followed while somebody listens; what becomes of the next hop is told. */
  #followed(netns: Netns, signal: AbortSignal | undefined): Followed {
    const watch = new NextHopWatch();
    return {
      look: (parts) => lookAt(netns, this.#record, parts),
      problems: async (state) => {
        const now = { docker: await dockerNow(netns, this.#record), nextHop: await watch.now(netns, this.#record) };
        return localhostFaults(this.#record, state, now);
      },
      follow: async (problems) => {
        if (!problems.some(({ code }) => code === 'RESOLVER_MOVED')) return false;
        await this.#step(netns, (_, record) => localhostStep(netns, record, {}), signal);
        return true;
      },
      repair: () => this.#repair,
      often: () => this.#record.localhost?.asked.services.includes('docker-dns') === true || hasNextHop(this.#record),
    };
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
    const { localhost, guests = [] } = this.#record;
    const others = guests.map(({ name, ports, wiring, guest: network }) => ({ name, ports, ...wiring, guest: network }));
    return { ...(label !== undefined && { label }), created, kept, netns: this.#path, ...this.#record.wiring, guest, ...(localhost !== undefined && { localhost: this.localhost }), ...(others.length > 0 && { guests: others }) }; // prettier-ignore
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
    for (const one of this.#taps.values()) await one.close();
    this.#taps.clear();
    await this.#park();
  }

  async #undoHere(images: Images): Promise<UndoReport> {
    const netns = await this.#open();
    if (netns === undefined) return { state: 'namespace-gone', leftBehind: [] };
    try {
      await using _ = await acquireHere(namespaceLock(netns.id));
      // By a call that came first.
      if (this.#undone) return { state: 'already-undone', leftBehind: [] };
      const { undone, leftBehind, failed } = await undo(netns, images, async () => undefined);
      if (failed.length > 0) throw new TransactionError(`not everything could be put back: ${failed.join('; ')}`, { code: 'ERR_TRANSACTION_UNDO', undone, leftBehind: [...leftBehind, ...failed] }); // prettier-ignore
      this.#undone = true;
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

async function observed(netns: Netns, record: PlumbRecord): Promise<Observed> {
  return { docker: await dockerNow(netns, record), nextHop: await nextHopNow(netns, record) };
}
