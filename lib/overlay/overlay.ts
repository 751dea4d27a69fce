// Joining, following and leaving. What there shall be comes from wanted.ts, what there is from the kernel, each time anew.
import * as v from 'valibot';
import { type LinkRef, abortSignal, boolean, check, either, interfaceName, ip, linkRef, optional, options } from '../check.js';
import { findLink } from '../kernel/link.js';
import { type Netns, attachment } from '../kernel/netns.js';
import { type Change as KernelChange, type Subscription, subscribe } from '../kernel/watch.js';
import { isAbsent, perform, putBack, run } from '../operation/run.js';
import { type Devices, type Change, deletion, fdbIsRight, isOurs as isOurRoute, neighborIsRight, plan, planAddresses, readAddresses, readEntries, routeIsRight } from './entries.js'; // prettier-ignore
import { type Forwarding, deleteDevices, ensureBridge, ensureForwarding, ensureSettings, ensureVtep, isOurs, restoreForwarding } from './devices.js'; // prettier-ignore
import { OverlayError } from './error.js';
import { type OverlayNetwork, type OverlayNode, type Verdicts, admit, checkNetwork, networkEntries } from './node.js';
import type { Joining, OverlayMembership, OverlayRegistry } from './registry.js';
import { families } from './subnet.js';
import { type FoundUnderlay, findUnderlay, readUnderlay } from './underlay.js';
import { DEFAULT_VNI, PROTOCOL, type WantedHalf, deviceName, wanted } from './wanted.js';

export interface OverlayOptions {
  /** Where the nodes find each other: `nodeList(...)`, `etcdRegistry(...)` or an object of your own. */
  readonly registry: OverlayRegistry;
  /** The interface that the nodes reach each other by. Default: the one with the public address, or with the default route. */
  readonly underlay?: LinkRef;
  /** This node's address for the others. Default: the first one of the underlay. */
  readonly publicIp?: string;
  readonly publicIpv6?: string;
  /** Makes the pods' bridge as well: 'cni0', or another name. One that is there is used as it is. Default false: it is a CNI plugin's. */
  readonly bridge?: boolean | string;
  /** Turns forwarding on between the overlay and the bridge, where it is off. Default: as `bridge`. */
  readonly forwarding?: boolean;
  /** These are the registry's to say, and else have the defaults of `OverlayNetwork`. */
  readonly vni?: number;
  readonly port?: number;
  readonly mtu?: number;
  readonly directRouting?: boolean;
  /** Told of each problem when it arises: a node that is passed over, a registry that does not answer, an interface that somebody took. */
  readonly onProblem?: (problem: OverlayError) => void;
  /** Ends the joining; what was done is undone. */
  readonly signal?: AbortSignal;
}

const registry = v.custom<OverlayRegistry>(
  (value) => typeof value === 'object' && value !== null && ['network', 'join'].every((name) => typeof (value as Record<string, unknown>)[name] === 'function'), // prettier-ignore
  'must be a registry of nodes, such as nodeList(...) or etcdRegistry(...)',
);
const ipv4 = v.pipe(ip, v.check((value) => !value.includes(':'), 'must be an IPv4 address')); // prettier-ignore
const ipv6 = v.pipe(ip, v.check((value) => value.includes(':'), 'must be an IPv6 address')); // prettier-ignore
const schema = options({
  registry,
  underlay: optional(linkRef),
  publicIp: optional(ipv4),
  publicIpv6: optional(ipv6),
  bridge: optional(either(boolean, interfaceName, 'must be true, false or the name of a bridge')),
  forwarding: optional(boolean),
  ...networkEntries,
  onProblem: optional(v.custom<(problem: OverlayError) => void>((value) => typeof value === 'function', 'must be a function')),
  signal: optional(abortSignal),
});

const BRIDGE = 'cni0';
/** Events come in bursts: one pass for all of a burst. */
const QUIET_MILLISECONDS = 10;
const RETRY_MILLISECONDS = { first: 100, last: 10_000 };
/** Things may be taken away while a pass looks at them. */
const ATTEMPTS = 10;

/**
 * Makes a namespace a node of an overlay, as flannel's VXLAN backend does: the device `flannel.VNI` (`flannel-v6.VNI`) with the first
 * address of the node's subnet, on request the pods' bridge, and for every other node a route through its device, a permanent neighbour
 * and a forwarding entry. From then on it follows: nodes that come, go and change, devices and entries that somebody deletes or changes.
 * What is not ours stays as it is. It keeps the process alive until it is left.
 *
 * Like, for each other node, `ip neigh replace 10.244.3.0 lladdr MAC dev flannel.1 nud permanent`, `bridge fdb replace MAC dev flannel.1
 * dst ADDRESS self permanent extern_learn`, `ip route add 10.244.3.0/24 via 10.244.3.0 dev flannel.1 onlink`.
 * @throws OverlayError ERR_OVERLAY_*, ERR_ETCD_*; TypeError ERR_INVALID_ARG_*; UnsupportedError: the kernel has no VXLAN
 * @example await using overlay = await joinOverlay(node, { registry: etcdRegistry({ endpoints: ['http://10.0.0.1:2379'] }), bridge: true })
 */
export async function joinOverlay(node: Netns, settings: OverlayOptions): Promise<Overlay> {
  const { registry, signal, vni, port, mtu, directRouting, ...rest } = check(schema, settings, 'joinOverlay');
  attachment(node);
  signal?.throwIfAborted();
  const network: OverlayNetwork = {
    ...checkNetwork(await registry.network(signal)),
    ...(vni !== undefined && { vni }),
    ...(port !== undefined && { port }),
    ...(mtu !== undefined && { mtu }),
    ...(directRouting !== undefined && { directRouting }),
  };
  for (const family of network.families) {
    const name = deviceName(family, network.vni);
    const fits: boolean = v.is(interfaceName, name);
    if (!fits) throw new OverlayError('ERR_OVERLAY_CONFIG', `the device would be called '${name}', which is too long for an interface: take a smaller VNI`, { about: name }); // prettier-ignore
  }
  const underlay = await findUnderlay(node, rest, network.families);
  const joining: { -readonly [N in keyof Joining]: Joining[N] } = { network };
  for (const family of network.families) {
    const device = await findLink(node, deviceName(family, network.vni));
    if (device !== undefined && !isOurs(device, new Set())) throw new OverlayError('ERR_OVERLAY_TAKEN', `there is an interface '${device.name}' (${device.kind}) that podtap did not make: another overlay's, flanneld's perhaps; stop that, and delete the interface`, { about: device.name }); // prettier-ignore
    joining[family] = { publicIp: underlay[family]!, ...(device !== undefined && { vtepMac: device.mac }) };
  }
  const overlay = new Joined(node, network, underlay, rest.bridge === true ? BRIDGE : rest.bridge === false ? undefined : rest.bridge, rest.forwarding ?? (rest.bridge ?? false) !== false, rest.onProblem); // prettier-ignore
  // What a process before this one kept stays, though this one cannot take it over: the pods live by it.
  const kept = families.some((family) => joining[family]?.vtepMac !== undefined);
  try {
    await overlay.start(registry, joining, signal);
  } catch (error) {
    return putBack(error, () => (kept ? overlay.keep() : overlay.leave()));
  }
  return overlay;
}

/** A node's part in an overlay. `await using` leaves it, unless `keep()` was called. */
export interface Overlay extends AsyncDisposable {
  readonly network: OverlayNetwork;
  /** This node, as the others know it. */
  readonly self: OverlayNode;
  /** Of the VXLAN devices, and of the bridge; the least of both families. What pods and guests should have. */
  readonly mtu: number;
  /** The other nodes that are reached. */
  readonly nodes: readonly OverlayNode[];
  /** What is wrong now. Empty: everything is as it should be. */
  readonly problems: readonly OverlayError[];
  /**
   * Looks at everything, and mends what is missing or wrong; that happens by itself, too, when the kernel or the registry tells of a change.
   * @returns how many changes it took: 0 when all was well
   */
  reconcile(): Promise<number>;
  /** Leaves: the others are told, and exactly what was made is taken away. Again: nothing happens. */
  leave(): Promise<void>;
  /** Lets go, and leaves everything as it stands: the node stays reachable, and follows no more until it joins again, as after a restart. */
  keep(): Promise<void>;
}

class Joined implements Overlay {
  readonly #made = new Set<number>();
  readonly #forwarding: Forwarding = new Map();
  readonly #stopped = new AbortController();
  #membership: OverlayMembership | undefined;
  #subscription: Subscription | undefined;
  #following: Promise<void> = Promise.resolve();
  #halves: readonly { readonly half: WantedHalf; readonly devices: Devices }[] = [];
  #bridgeIndex: number | undefined;
  #nodes: readonly OverlayNode[] = [];
  #admission: readonly OverlayError[] = [];
  #admitted: { readonly self: OverlayNode; readonly nodes: readonly OverlayNode[]; readonly others: readonly OverlayNode[] } | undefined;
  readonly #verdicts: Verdicts = new WeakMap();
  #kernel: readonly OverlayError[] = [];
  #blind: readonly OverlayError[] = [];
  #told = new Set<string>();
  #last: Promise<unknown> = Promise.resolve();
  #queued: Promise<number> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #due = Infinity;
  #retry = RETRY_MILLISECONDS.first;
  #left: Promise<void> | undefined;

  constructor(
    readonly node: Netns,
    readonly network: OverlayNetwork,
    readonly underlay: FoundUnderlay,
    readonly bridge: string | undefined,
    readonly forwards: boolean,
    readonly onProblem: ((problem: OverlayError) => void) | undefined,
  ) {}

  get self(): OverlayNode {
    return this.#member().self;
  }
  get nodes(): readonly OverlayNode[] {
    return this.#nodes;
  }
  get mtu(): number {
    return Math.min(...this.#halves.map(({ half }) => half.mtu));
  }
  get problems(): readonly OverlayError[] {
    return [...(this.#membership?.problems ?? []), ...this.#admission, ...this.#kernel, ...this.#blind];
  }

  async start(registry: OverlayRegistry, joining: Joining, signal: AbortSignal | undefined): Promise<void> {
    this.#subscription = await subscribe(this.node, ['link', 'address', 'route', 'neighbor', 'fdb'], { signal: this.#stopped.signal });
    this.#membership = await registry.join(joining, () => this.#membership !== undefined && this.#soon(), signal);
    signal?.throwIfAborted();
    await this.reconcile();
    signal?.throwIfAborted();
    this.#following = this.#follow(this.#subscription).catch((error: unknown) => {
      this.#blind = [new OverlayError('ERR_OVERLAY_KERNEL', `changes are not told of any more: ${message(error)}`, { cause: error })];
      this.#tell();
    });
    if (this.#kernel.length > 0) this.#later();
  }

  #member(): OverlayMembership {
    if (this.#membership === undefined) throw left();
    return this.#membership;
  }

  // ---------------------------------------------------------------- passes, one after the other

  reconcile(): Promise<number> {
    if (this.#stopped.signal.aborted) return Promise.reject(left());
    // One that has not begun yet sees all that has happened until now.
    this.#queued ??= this.#last.then(() => {
      this.#queued = undefined;
      // What one was to come for, this one sees.
      clearTimeout(this.#timer);
      this.#due = Infinity;
      return this.#attempt();
    });
    this.#last = this.#queued.catch(() => undefined);
    return this.#queued;
  }

  async #attempt(): Promise<number> {
    for (let attempt = 1; ; attempt++) {
      try {
        const changes = await this.#pass();
        if (this.#kernel.length === 0) this.#retry = RETRY_MILLISECONDS.first;
        return changes;
      } catch (error) {
        if (attempt < ATTEMPTS && isAbsent(error) && !this.#stopped.signal.aborted) continue;
        const problem = error instanceof OverlayError ? error : new OverlayError('ERR_OVERLAY_KERNEL', `the overlay cannot be made as it should be: ${message(error)}`, { cause: error }); // prettier-ignore
        this.#kernel = [problem];
        throw error;
      } finally {
        this.#tell();
      }
    }
  }

  /** Once everything: reads, compares, changes. */
  async #pass(): Promise<number> {
    const member = this.#member();
    const underlay = await readUnderlay(this.node, this.underlay);
    const others = this.#admit(member);
    const halves = wanted(this.network, underlay, member.self, others);
    let changes = 0;
    const devices: Devices[] = [];
    for (const half of halves) {
      const vtep = await ensureVtep(this.node, half, underlay, this.#made);
      changes += vtep.changes + (await ensureSettings(this.node, vtep.link, this.forwards));
      devices.push({ vtep: vtep.link.ifindex, underlay: underlay.ifindex });
    }
    this.#halves = halves.map((half, index) => ({ half, devices: devices[index]! }));
    if (this.bridge !== undefined) changes += await this.#passBridge(this.bridge);
    if (this.forwards) {
      const settings = { ipv6: halves.some(({ family }) => family === 'ipv6'), underlay: this.network.directRouting === true && halves.some(({ family }) => family === 'ipv4') ? underlay.name : undefined }; // prettier-ignore
      changes += await ensureForwarding(this.node, settings, this.#forwarding);
    }
    changes += await this.#passEntries();
    this.#nodes = others;
    return changes;
  }

  /** Of a list that is the same as last time, the answer is, too. */
  #admit({ self, nodes }: OverlayMembership): readonly OverlayNode[] {
    const last = this.#admitted;
    if (last === undefined || last.self !== self || last.nodes !== nodes) {
      const { others, problems } = admit(this.network, self, nodes, this.#verdicts);
      this.#admission = problems;
      this.#admitted = { self, nodes, others };
    }
    return this.#admitted!.others;
  }

  async #passBridge(name: string): Promise<number> {
    const wide = this.#halves.some(({ half }) => half.family === 'ipv6');
    const bridge = await ensureBridge(this.node, name, this.mtu, wide, this.#made);
    const { ifindex } = bridge.link;
    this.#bridgeIndex = ifindex;
    let { changes } = bridge;
    if (this.#made.has(ifindex)) changes += await ensureSettings(this.node, bridge.link, this.forwards);
    const there = await readAddresses(this.node, ifindex);
    const addresses = this.#halves.flatMap(({ half }) => planAddresses(ifindex, half.gateway, there, half.family));
    await run(this.node, 'joinOverlay', addresses.flatMap(({ operations }) => operations)); // prettier-ignore
    return changes + addresses.length;
  }

  async #passEntries(): Promise<number> {
    const changes = await this.#plan();
    if (changes.length === 0) {
      this.#kernel = [];
      return 0;
    }
    try {
      await perform(this.node, changes.flatMap(({ operations }) => operations)); // prettier-ignore
      this.#kernel = [];
      return changes.length;
    } catch (error) {
      if (isAbsent(error) && (error as { code: string }).code === 'ENODEV') throw error;
    }
    // One of them cannot be: it must not keep the others from being done.
    const failed: OverlayError[] = [];
    const again = await this.#plan();
    for (const change of again) await this.#try(change, failed);
    this.#kernel = failed;
    return changes.length;
  }

  async #plan(): Promise<readonly Change[]> {
    const there = await readEntries(
      this.node,
      this.#halves.map(({ half, devices }) => ({ family: half.family, ifindex: devices.vtep })),
      this.#halves[0]?.devices.underlay ?? 0,
    );
    return this.#halves.flatMap(({ half, devices }, index) => plan(half, devices, there[index]!));
  }

  async #try({ about, operations }: Change, failed: OverlayError[]): Promise<void> {
    try {
      await run(this.node, 'joinOverlay', operations);
    } catch (error) {
      if (operations.every(({ op }) => op.endsWith('.delete')) && isAbsent(error)) return;
      const taken = (error as { code?: string }).code === 'EEXIST';
      failed.push(
        taken
          ? new OverlayError('ERR_OVERLAY_TAKEN', `there is a route to ${about} that podtap did not make, and it stays`, {
              about,
              cause: error,
            })
          : new OverlayError('ERR_OVERLAY_KERNEL', `${about} cannot be reached: ${message(error)}`, { about, cause: error }),
      );
    }
  }

  #tell(): void {
    const now = this.problems;
    const known = this.#told;
    this.#told = new Set(now.map(keyOf));
    for (const problem of now) if (!known.has(keyOf(problem))) this.onProblem?.(problem);
  }

  // ---------------------------------------------------------------- following

  /** A pass in a moment; one that was to come later comes then. */
  #soon(milliseconds = QUIET_MILLISECONDS): void {
    const due = performance.now() + milliseconds;
    if (this.#stopped.signal.aborted || this.#due <= due) return;
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => {
      this.#due = Infinity;
      this.reconcile().then(
        () => this.#kernel.length > 0 && this.#later(),
        () => this.#later(), // it is among the problems
      );
    }, milliseconds);
  }

  /** Somebody may set right what is wrong without our being told. */
  #later(): void {
    if (!this.#isOpen()) return;
    this.#soon(this.#retry);
    this.#retry = Math.min(2 * this.#retry, RETRY_MILLISECONDS.last);
  }

  #isOpen(): boolean {
    try {
      attachment(this.node);
      return true;
    } catch {
      return false;
    }
  }

  async #follow({ changes }: Subscription): Promise<void> {
    for await (const change of changes) if (this.#concerns(change)) this.#soon();
  }

  /** Whether an event may be about something that is not as it should be; our own changes tell of what should. */
  #concerns(change: KernelChange): boolean {
    if (change.type === 'overrun') return true;
    const { type, object } = change;
    switch (object.object) {
      case 'link':
        return object.name === this.underlay.name || object.name === this.bridge || this.#halves.some(({ half, devices }) => object.name === half.device || object.ifindex === devices.vtep); // prettier-ignore
      case 'address':
        return object.ifindex === this.#bridgeIndex ? type === 'deleted' : this.#halves.some(({ devices }) => devices.underlay === object.ifindex || (devices.vtep === object.ifindex && type === 'deleted')); // prettier-ignore
      case 'route':
        return this.#halves.some(({ half, devices }) => {
          const route = half.routes.get(object.dst);
          return route === undefined ? isOurRoute(object, devices) && object.protocol === String(PROTOCOL) && type === 'new' : type === 'deleted' || !routeIsRight(object, route, devices); // prettier-ignore
        });
      case 'neighbor':
        return this.#halves.some(({ half, devices }) => {
          const mac = devices.vtep === object.ifindex ? half.neighbors.get(object.address) : undefined;
          return mac !== undefined && (type === 'deleted' || !neighborIsRight(object, mac));
        });
      case 'fdb':
        return this.#halves.some(({ half, devices }) => {
          const remote = devices.vtep === object.ifindex ? half.fdb.get(object.mac) : undefined;
          return remote !== undefined && (type === 'deleted' || !fdbIsRight(object, remote));
        });
      default:
        return false;
    }
  }

  // ---------------------------------------------------------------- the end

  leave(): Promise<void> {
    return (this.#left ??= this.#end(false));
  }

  keep(): Promise<void> {
    return (this.#left ??= this.#end(true));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.leave();
  }

  async #end(keep: boolean): Promise<void> {
    this.#stopped.abort();
    clearTimeout(this.#timer);
    await this.#last;
    this.#subscription?.close();
    await this.#following;
    // The others first, so that they send nothing into the void; but a registry that is away holds up nothing.
    const told = this.#membership?.leave({ keep });
    told?.catch(() => undefined);
    await Promise.race([
      told?.catch(() => undefined),
      keep ? undefined : new Promise((resolve) => setTimeout(resolve, PATIENCE_MILLISECONDS).unref()),
    ]);
    if (!keep) await this.#takeAway();
    await told;
  }

  async #takeAway(): Promise<void> {
    const names = families.map((family) => deviceName(family, this.network.vni ?? DEFAULT_VNI));
    // Routes by the underlay are the only ones that do not go with a device of ours.
    for (const { half, devices } of this.#halves) {
      const [there] = await readEntries(this.node, [{ family: half.family, ifindex: devices.vtep }], devices.underlay).catch(
        (error: unknown) => {
          if (isAbsent(error)) return [];
          throw error;
        },
      );
      const routes = there?.routes.filter((route) => route.dev === devices.underlay && route.protocol === String(PROTOCOL)) ?? [];
      for (const route of routes) await ignoring(run(this.node, 'Overlay.leave', [deletion(route)]));
    }
    if (this.bridge !== undefined && this.#bridgeIndex !== undefined && !this.#made.has(this.#bridgeIndex)) {
      const link = this.#bridgeIndex;
      const addresses = await readAddresses(this.node, link).catch(() => []);
      for (const address of addresses) if (address.protocol === PROTOCOL) await ignoring(run(this.node, 'Overlay.leave', [{ op: 'address.delete', link, address }])); // prettier-ignore
    }
    await deleteDevices(this.node, [...names, ...(this.bridge === undefined ? [] : [this.bridge])], this.#made);
    await restoreForwarding(this.node, this.#forwarding);
  }
}

/** How long a registry may take to say goodbye before the devices go. */
const PATIENCE_MILLISECONDS = 1000;

async function ignoring(work: Promise<unknown>): Promise<void> {
  await work.catch((error: unknown) => {
    if (!isAbsent(error)) throw error;
  });
}

function left(): OverlayError {
  return new OverlayError('ERR_OVERLAY_LEFT', 'this overlay was left');
}

function keyOf({ code, message, about }: OverlayError): string {
  return `${code} ${about ?? ''} ${message}`;
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
