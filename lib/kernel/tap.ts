import { readFile, readdir, readlink, stat } from 'node:fs/promises';
import { abortSignal, check, integer, optional, options } from '../check.js';
import { PodtapError, UnsupportedError } from '../errors.js';
import { type Descriptor, type SystemFailure, type TunSpec, native } from '../native.js';
import { errnoCode } from '../wire/errno.js';
import { IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TAP, IFF_TUN_EXCL, IFF_VNET_HDR, TUN_F } from '../wire/tun.js';
import { pass } from './gate.js';
import { findLink } from './link.js';
import { type Netns, type Scope, attachment, netnsOf } from './netns.js';
import { Writing, batches, failure } from './queue.js';
import { system } from './system.js';
import { subscribe } from './watch.js';

export type { TunSpec };

/** What the guest's side of a TAP can take from the kernel as it is (TUNSETOFFLOAD): frames with checksums left open, and larger than the MTU. */
export interface TapOffload {
  readonly csum?: boolean;
  readonly tso4?: boolean;
  readonly tso6?: boolean;
  /** UDP segmentation, both families. Since Linux 6.2. */
  readonly uso?: boolean;
}

export interface TapHolder {
  readonly pid: number;
  readonly command: string;
  readonly queues: number;
}

/** Descriptors of a TAP's queues; theirs who asked. Close them once the child process has them, or the carrier stays up when the VMM dies. */
export interface TapFds extends AsyncDisposable {
  readonly fds: readonly number[];
  /** For child_process.spawn: a stdio array with the descriptors from index `first` (3) on, and the numbers that the child sees. */
  stdio(first?: number): { stdio: ('ignore' | 'inherit' | number)[]; childFds: number[] };
  close(): void;
}

/** How a TAP's queues are opened; every later opener must say the same, because the flags are the last opener's. */
export interface TapShape {
  readonly name: string;
  readonly queues: number;
  /** Default: where there are several queues. One that can have several may be opened with one. */
  readonly multiQueue?: boolean;
  readonly vnetHdr: boolean;
  readonly offload: TapOffload;
}

/** The namespace that a TAP is in, for as long as some work needs it. */
export interface TapPlace {
  readonly id: Netns['id'];
  use<T>(work: (netns: Netns) => Promise<T>): Promise<T>;
}

/** One that is open, and stays so until its owner closes it. */
export function placeIn(scope: Scope): TapPlace {
  const netns = netnsOf(scope);
  return { id: netns.id, use: (work) => work(netns) };
}

// struct virtio_net_hdr without mergeable buffers: the kernel's default (uapi/linux/virtio_net.h). It persists, so it is always set.
const VNET_HEADER_BYTES = 10;
/** For a change of carrier that no event tells of: a TAP that is down has none. */
const POLL_MILLISECONDS = 250;

export function tunSpec(shape: TapShape, more: Partial<TunSpec> & { exclusive?: boolean } = {}): TunSpec {
  const { exclusive, ...rest } = more;
  const { vnetHdr, offload } = shape;
  return {
    name: shape.name,
    queues: shape.queues,
    flags:
      IFF_TAP |
      IFF_NO_PI |
      (vnetHdr ? IFF_VNET_HDR : 0) |
      ((shape.multiQueue ?? shape.queues > 1) ? IFF_MULTI_QUEUE : 0) |
      (exclusive === true ? IFF_TUN_EXCL : 0),
    // Both survive from the last opener, and a guest that knows nothing of them would get frames it cannot read: always set.
    vnetHeaderSize: VNET_HEADER_BYTES,
    offload:
      (offload.csum === true ? TUN_F.csum : 0) |
      (offload.tso4 === true ? TUN_F.tso4 : 0) |
      (offload.tso6 === true ? TUN_F.tso6 : 0) |
      (offload.uso === true ? TUN_F.uso4 | TUN_F.uso6 : 0),
    ...rest,
  };
}

/** What went wrong with /dev/net/tun, in the words of who must mend it. */
export function tunFailure(failure: SystemFailure): Error | undefined {
  const code = errnoCode(failure.errno);
  const details = { errno: -failure.errno, syscall: failure.syscall, path: failure.path };
  if (failure.path === '/dev/net/tun') {
    const why =
      code === 'ENOENT' || code === 'ENXIO' || code === 'ENODEV'
        ? 'there is no /dev/net/tun: load the module tun (CONFIG_TUN), or in a container give it the device (mknod /dev/net/tun c 10 200)'
        : code === 'EACCES' || code === 'EPERM'
          ? '/dev/net/tun is closed to this user: its mode, or the device cgroup of the container, must allow reading and writing'
          : undefined;
    if (why !== undefined) return new PodtapError(`${code}: ${why}`, { code: 'ERR_TUN_UNAVAILABLE', ...details });
  }
  // It cannot be the others (tunSpec): they are older than any kernel with network namespaces as podtap needs them.
  if (code === 'EINVAL' && failure.syscall === 'ioctl(TUNSETOFFLOAD)') {
    return new UnsupportedError("this kernel's TAPs cannot leave UDP segments to the guest ('offload': uso): they can since Linux 6.2", {
      feature: 'tap offload uso',
      minimumKernel: '6.2',
    });
  }
  if (code === 'EPERM' && failure.syscall === 'ioctl(TUNSETIFF)') {
    return new PodtapError('EPERM: making or opening this TAP needs CAP_NET_ADMIN in its namespace, or to be its owner or in its group', {
      code,
      ...details,
    });
  }
  return undefined;
}

/**
 * A TAP device: an interface whose wire is a descriptor. Holds none until one is needed, if the device is persistent, so that a
 * monitor can open it by name.
 */
export class Tap implements AsyncDisposable {
  readonly name: string;
  readonly ifindex: number;
  /** Of the host's side, when the TAP was opened. */
  readonly mac: string;
  readonly mtu: number;
  readonly queues: number;
  readonly vnetHdr: boolean;
  /** Bytes of struct virtio_net_hdr before each frame that is read or sent; 0 without vnetHdr. */
  readonly vnetHeaderBytes: number;
  readonly #place: TapPlace;
  readonly #shape: TapShape;
  readonly #writing = new Writing();
  #held: readonly Descriptor[];
  #opening: Promise<void> | undefined;
  #closed = false;
  /** Of the queues that are held. */
  readonly #idle = new Set<Descriptor>();

  /** For the primitives: see createTap and openTap. */
  constructor(
    place: TapPlace,
    link: { readonly ifindex: number; readonly mac: string; readonly mtu: number },
    shape: TapShape,
    held: readonly Descriptor[],
  ) {
    this.#place = place;
    this.#shape = shape;
    this.#held = held;
    this.name = shape.name;
    this.ifindex = link.ifindex;
    this.mac = link.mac;
    this.mtu = link.mtu;
    this.queues = shape.queues;
    this.vnetHdr = shape.vnetHdr;
    this.vnetHeaderBytes = shape.vnetHdr ? VNET_HEADER_BYTES : 0;
  }

  /**
   * Descriptors for a child process, one for each queue, with the flags, offloads and header size of this TAP set anew. What this
   * object held is handed over.
   * @throws PodtapError EBUSY: somebody holds a single-queue TAP; ENODEV: the TAP is gone
   */
  async takeFds(): Promise<TapFds> {
    const addon = native();
    const descriptors = await this.#hold();
    if (this.#idle.size > 0) await this.setActiveQueues(this.queues);
    this.#held = [];
    const fds = descriptors.map((descriptor) => addon.release(descriptor));
    let open = true;
    const close = (): void => {
      if (open) fds.forEach((fd) => addon.closeNumber(fd));
      open = false;
    };
    return {
      fds,
      stdio: (first = 3) => ({
        stdio: [...Array.from({ length: first }, (_, index) => (index === 0 ? ('ignore' as const) : ('inherit' as const))), ...fds],
        childFds: fds.map((_, index) => first + index),
      }),
      close,
      [Symbol.asyncDispose]: () => Promise.resolve(close()),
    };
  }

  /** Who has it open, as far as this process may see: from /proc/PID/fd, with the device asked of each descriptor where that is allowed. Like fuser(1). */
  async holders(): Promise<readonly TapHolder[]> {
    this.#check();
    const found: TapHolder[] = [];
    for (const pid of (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry)).map(Number)) {
      const queues = await this.#queuesOf(pid);
      if (queues > 0) found.push({ pid, command: (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')).trim(), queues });
    }
    return found;
  }

  /** Resolves when somebody (a monitor, or this object) has a queue of it open: when the TAP has carrier. */
  async waitAttached(settings: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const gone = (): never => {
      throw new PodtapError(`the TAP '${this.name}' is gone`, { code: 'ENODEV' });
    };
    await this.#place.use((netns) =>
      this.#waitCarrier(netns, (carrier) => (carrier === undefined ? gone() : carrier), settings, 'waitAttached'),
    );
  }

  /** Resolves when nobody has it open any more, or the TAP is gone. */
  async waitDetached(settings: { readonly signal?: AbortSignal } = {}): Promise<void> {
    await this.#place.use((netns) => this.#waitCarrier(netns, (carrier) => carrier !== true, settings, 'waitDetached'));
  }

  /** Frames that the kernel sends out by the TAP, in batches, each with its vnet header in front if there is one; until the signal aborts or the TAP is closed or gone. */
  async *frames(settings: { readonly signal?: AbortSignal } = {}): AsyncGenerator<readonly Uint8Array[], void, undefined> {
    const { signal } = check(signalOption, settings, 'frames');
    const held = await this.#hold();
    for await (const { bytes, ends, errno } of batches(
      held,
      (addon, descriptor, into, offsets) => addon.readTun(descriptor, into, offsets),
      signal,
    )) {
      if (errnoCode(errno) === 'EBADFD') return; // the device was deleted: its wire ends
      if (errno !== 0) throw failure(errno, 'read', this.name);
      yield ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
    }
  }

  /** Puts frames on the wire, as if they came in by the TAP; how many, before the first that was refused. */
  async send(frames: readonly Uint8Array[]): Promise<number> {
    const [first] = await this.#hold();
    return this.#writing.writeAll(first!, frames);
  }

  /**
   * Lets only the first `count` queues take part: the kernel spreads flows over all that are attached, and drops what goes to one
   * that nobody reads. TUNSETQUEUE.
   * @throws PodtapError EINVAL: the TAP has one queue
   */
  async setActiveQueues(count: number): Promise<void> {
    check(integer(1, this.queues), count, 'setActiveQueues');
    const held = await this.#hold();
    for (const [index, queue] of held.entries()) {
      const attached = index < count;
      if (attached === !this.#idle.has(queue)) continue; // the kernel refuses to say it twice
      await system(native().tunSetQueue(queue, attached));
      if (attached) this.#idle.delete(queue);
      else this.#idle.add(queue);
    }
  }

  /** This handle was closed, and opens nothing any more. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Closes our descriptors and deletes nothing; but a TAP that is not persistent lives only as long as somebody holds it. */
  async close(): Promise<void> {
    const queues = this.#held;
    this.#held = [];
    this.#closed = true;
    await Promise.all([closeTun({ queues }), this.#opening?.catch(() => undefined)]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #check(): void {
    if (this.#closed) throw new PodtapError(`this handle on the TAP '${this.name}' is closed`, { code: 'ERR_HANDLE_CLOSED' });
  }

  async #hold(): Promise<readonly Descriptor[]> {
    for (;;) {
      this.#check();
      if (this.#held.length > 0) return this.#held;
      // Of several that need them at the same time the first opens them for all; but one of those may be takeFds.
      await (this.#opening ??= this.#open());
    }
  }

  async #open(): Promise<void> {
    try {
      const opened = await this.#place.use((netns) => openQueues(netns, this.#shape, this.ifindex));
      if (this.#closed) await closeTun({ queues: opened });
      else this.#held = opened;
    } finally {
      this.#opening = undefined;
    }
  }

  async #queuesOf(pid: number): Promise<number> {
    let queues = 0;
    for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
      const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '');
      if (target === '/dev/net/tun' && (await this.#isOurs(pid, Number(fd)))) queues++;
    }
    return queues;
  }

  async #isOurs(pid: number, fd: number): Promise<boolean> {
    const { inode } = this.#place.id;
    try {
      const { name, netnsInode } = await native().tunOf(pid, fd);
      return name === this.name && netnsInode === inode;
    } catch {
      // Not ours to ask (ptrace(2) access), or an old kernel: the name must do, in a process of the TAP's namespace.
      const info = await readFile(`/proc/${pid}/fdinfo/${fd}`, 'latin1').catch(() => '');
      const process = await stat(`/proc/${pid}/ns/net`, { bigint: true }).catch(() => undefined);
      return /^iff:\t(.*)$/m.exec(info)?.[1] === this.name && process?.ino === inode;
    }
  }

  async #waitCarrier(
    netns: Netns,
    done: (carrier: boolean | undefined) => boolean,
    settings: { readonly signal?: AbortSignal },
    where: string,
  ): Promise<void> {
    this.#check();
    const { signal } = check(signalOption, settings, where);
    signal?.throwIfAborted();
    const stop = new AbortController();
    const abort = (): void => stop.abort();
    signal?.addEventListener('abort', abort);
    // Subscribed before it is looked at, so that no change falls between.
    const events = await subscribe(netns, ['link'], { signal: stop.signal });
    const changes = events.changes[Symbol.asyncIterator]();
    try {
      let next = changes.next();
      for (;;) {
        if (done((await findLink(netns, this.ifindex))?.carrier)) return;
        const event = await Promise.race([next, pause(POLL_MILLISECONDS, stop.signal)]);
        signal?.throwIfAborted();
        if (event !== undefined) next = changes.next();
      }
    } finally {
      stop.abort();
      signal?.removeEventListener('abort', abort);
      await changes.return?.().catch(() => undefined);
      events.close();
    }
  }
}

const signalOption = options({ signal: optional(abortSignal) });

export interface OpenedTun {
  readonly name: string;
  readonly ifindex: number;
  readonly flags: number;
  readonly vnetHeaderSize: number;
  /** Empty where they were not to be held. */
  readonly queues: readonly Descriptor[];
}

/** Makes or opens a TAP; every ioctl in one trip. */
export function openTun(scope: Scope, spec: TunSpec): Promise<OpenedTun> {
  const open = (): Promise<OpenedTun> => native().tunOpen(attachment(scope).netns, spec);
  return system(pass(`TUNSETIFF ${spec.name}`, open, { syscall: 'ioctl(TUNSETIFF)' }, closeTun), tunFailure);
}

/**
 * What the driver can: IFF_* bits of TUNGETFEATURES.
 * @throws PodtapError ERR_TUN_UNAVAILABLE
 */
export function tunFeatures(): Promise<number> {
  return system(native().tunFeatures(), tunFailure);
}

/** Closes what `hold` kept. */
export async function closeTun({ queues }: Pick<OpenedTun, 'queues'>): Promise<void> {
  await Promise.all(queues.map((queue) => native().closeSlowly(queue)));
}

/** Opens the queues of a TAP that exists. TUNSETIFF makes one where there is none, so what was opened is compared with what was meant. */
export async function openQueues(scope: Scope, shape: TapShape, ifindex: number): Promise<readonly Descriptor[]> {
  const { queues, ...info } = await openTun(scope, tunSpec(shape, { hold: true }));
  if (info.ifindex === ifindex) return queues;
  await closeTun({ queues });
  throw new PodtapError(`the TAP '${shape.name}' with ifindex ${ifindex} is gone`, { code: 'ENODEV' });
}

function pause(milliseconds: number, signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve(undefined);
    };
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener('abort', end);
  });
}
