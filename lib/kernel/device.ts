// What TAPs and macvtaps have in common: an interface whose wire is a descriptor, or several.
import { readFile, readdir } from 'node:fs/promises';
import { abortSignal, check, integer, optional, options } from '../check.js';
import { PodtapError } from '../errors.js';
import { type Descriptor, type TunSpec, native } from '../native.js';
import { errnoCode } from '../wire/errno.js';
import { IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TAP, IFF_TUN_EXCL, IFF_VNET_HDR, TUN_F } from '../wire/tun.js';
import { type Netns, type Scope, netnsOf } from './netns.js';
import { Writing, batches, failure } from './queue.js';
import { system } from './system.js';

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

/** An interface whose wire is a descriptor. */
export abstract class TapDevice implements AsyncDisposable {
  readonly name: string;
  readonly ifindex: number;
  /** Of the host's side, when it was opened. */
  readonly mac: string;
  readonly mtu: number;
  readonly queues: number;
  readonly vnetHdr: boolean;
  /** Bytes of struct virtio_net_hdr before each frame that is read or sent; 0 without vnetHdr. */
  readonly vnetHeaderBytes: number;
  readonly #writing = new Writing();
  #held: readonly Descriptor[];
  #opening: Promise<void> | undefined;
  #closed = false;
  /** Of the queues that are held. */
  readonly #idle = new Set<Descriptor>();

  constructor(
    link: { readonly ifindex: number; readonly mac: string; readonly mtu: number },
    shape: TapShape,
    held: readonly Descriptor[],
    /** For messages: 'TAP', 'macvtap'. */
    readonly kind: string,
  ) {
    this.#held = held;
    this.name = shape.name;
    this.ifindex = link.ifindex;
    this.mac = link.mac;
    this.mtu = link.mtu;
    this.queues = shape.queues;
    this.vnetHdr = shape.vnetHdr;
    this.vnetHeaderBytes = shape.vnetHdr ? VNET_HEADER_BYTES : 0;
  }

  /** Opens all queues anew. */
  protected abstract openQueues(): Promise<readonly Descriptor[]>;
  /** How many of a process's descriptors are queues of it. */
  protected abstract queuesOf(pid: number): Promise<number>;

  /**
   * Descriptors for a child process, one for each queue, with the flags, offloads and header size of this handle set anew. What this
   * object held is handed over.
   * @throws PodtapError EBUSY: somebody holds a single-queue TAP; ENODEV: it is gone
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

  /** Who has it open, as far as this process may see: from /proc/PID/fd. Like fuser(1). */
  async holders(): Promise<readonly TapHolder[]> {
    this.checkOpen();
    const found: TapHolder[] = [];
    for (const pid of (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry)).map(Number)) {
      const queues = await this.queuesOf(pid);
      if (queues > 0) found.push({ pid, command: (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')).trim(), queues });
    }
    return found;
  }

  /** Frames that the kernel sends out by it, in batches, each with its vnet header in front if there is one; until the signal aborts or it is closed or gone. */
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

  /** Puts frames on the wire, as if they came in by it; how many, before the first that was refused. */
  async send(frames: readonly Uint8Array[]): Promise<number> {
    const [first] = await this.#hold();
    return this.#writing.writeAll(first!, frames);
  }

  /**
   * Lets only the first `count` queues take part: the kernel spreads flows over all that are attached, and drops what goes to one
   * that nobody reads. TUNSETQUEUE.
   * @throws PodtapError EINVAL: it has one queue
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

  protected checkOpen(): void {
    if (this.#closed) throw new PodtapError(`this handle on the ${this.kind} '${this.name}' is closed`, { code: 'ERR_HANDLE_CLOSED' });
  }

  async #hold(): Promise<readonly Descriptor[]> {
    for (;;) {
      this.checkOpen();
      if (this.#held.length > 0) return this.#held;
      // Of several that need them at the same time the first opens them for all; but one of those may be takeFds.
      await (this.#opening ??= this.#open());
    }
  }

  async #open(): Promise<void> {
    try {
      const opened = await this.openQueues();
      if (this.#closed) await closeTun({ queues: opened });
      else this.#held = opened;
    } finally {
      this.#opening = undefined;
    }
  }
}

export const signalOption = options({ signal: optional(abortSignal) });

/** Closes queues. */
export async function closeTun({ queues }: { readonly queues: readonly Descriptor[] }): Promise<void> {
  await Promise.all(queues.map((queue) => native().closeSlowly(queue)));
}
