import * as v from 'valibot';
import { boolean, check, integer, optional, options, u16 } from '../check.js';
import { PodtapError } from '../errors.js';
import { type Descriptor, native } from '../native.js';
import { type BpfInstruction, encodeInstructions } from '../wire/bpf/classic.js';
import { type CapturedBytes, decodeCaptured } from '../wire/capture.js';
import { type Scope, attachment } from './netns.js';
import { Writing, batches, failure } from './queue.js';
import { system } from './system.js';

const [DRAIN_BYTES, DRAIN_FRAMES] = [256 * 1024, 256];
/** Milliseconds, more than two of the kernel's: see kPatience of native/packet_ring.h. */
const HANDED_OVER = 25;
/** Bytes of a block of a ring. */
export const RING_BLOCK = 128 * 1024;
const ETH_P_ALL = 3; // uapi/linux/if_ether.h

export type { BpfInstruction };

export interface PacketOptions {
  /** Which frames, by EtherType. Default: all. */
  readonly protocol?: number;
  /** Which of them, by a classic BPF program; its result is how many bytes are kept. Default: all, whole. */
  readonly filter?: readonly BpfInstruction[];
  /** Frames that leave by the device too. Default true. */
  readonly outgoing?: boolean;
  /** Frames to other MACs too. Default false. */
  readonly promiscuous?: boolean;
  /** Of the receive buffer, in bytes. */
  readonly bufferSize?: number;
}

export interface PacketCounts {
  /** Frames that the filter took, those that were dropped among them. */
  readonly received: number;
  /** Those of them for which the buffer had no room. */
  readonly dropped: number;
}

const instruction = v.strictTuple(
  [u16, integer(0, 255), integer(0, 255), integer(0, 0xffffffff)],
  'must be an instruction: [code, jt, jf, k]',
);
const packetOptions = options({
  protocol: optional(u16),
  filter: optional(
    v.pipe(v.array(instruction), v.minLength(1, 'must have an instruction'), v.maxLength(4096, 'must have at most 4096 instructions')),
  ),
  outgoing: optional(boolean),
  promiscuous: optional(boolean),
  bufferSize: optional(integer(1, 0x7fffffff)),
});

/** Frames as they are on a device: packet(7), a raw one. */
export class PacketSocket implements AsyncDisposable {
  #descriptor: Descriptor | undefined;
  readonly #writing = new Writing();

  private constructor(descriptor: Descriptor) {
    this.#descriptor = descriptor;
  }

  /** @throws PodtapError ENODEV: no such device; EPERM: CAP_NET_RAW is missing */
  static async open(scope: Scope, ifindex: number, settings: PacketOptions = {}, ringBlocks = 0): Promise<PacketSocket> {
    const { filter, protocol = ETH_P_ALL, ...rest } = check(packetOptions, settings, 'openPacketSocket');
    const spec = { ifindex, protocol, ringBlocks, ...rest, ...(filter !== undefined && { filter: encodeInstructions(filter) }) };
    return new PacketSocket(await system(native().packetOpen(attachment(scope).netns, spec)));
  }

  /** Frames from now on, in batches, until the signal aborts or the socket is closed. */
  async *frames(settings: { readonly signal?: AbortSignal } = {}): AsyncGenerator<readonly Uint8Array[], void, undefined> {
    const read: Parameters<typeof batches>[1] = (addon, descriptor, into, ends) => addon.readSocket(descriptor, into, ends);
    for await (const { bytes, ends, errno } of batches([this.#open()], read, settings.signal)) {
      if (errno !== 0) throw failure(errno, 'recv');
      yield ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
    }
  }

  /**
   * The same with the kernel's time and how each was addressed, of a socket with a ring. After an abort also what had come by then, which
   * the kernel hands over some milliseconds later.
   */
  async *captured(settings: { readonly signal?: AbortSignal } = {}): AsyncGenerator<readonly CapturedBytes[], void, undefined> {
    const read: Parameters<typeof batches>[1] = (addon, descriptor, into, ends) => addon.readPackets(descriptor, into, ends);
    const decode = (bytes: Uint8Array, ends: readonly number[]): readonly CapturedBytes[] =>
      ends.map((end, index) => decodeCaptured(bytes.subarray(ends[index - 1] ?? 0, end)));
    const descriptor = this.#open();
    for await (const { bytes, ends, errno } of batches([descriptor], read, settings.signal)) {
      if (errno !== 0) throw failure(errno, 'recv');
      yield decode(bytes, ends);
    }
    const end = BigInt(Date.now() + 1) * 1_000_000n;
    await new Promise((resolve) => setTimeout(resolve, HANDED_OVER));
    for (;;) {
      const [into, ends] = [new Uint8Array(DRAIN_BYTES), new Uint32Array(DRAIN_FRAMES)];
      const count = read(native(), descriptor, into, ends);
      if (count <= 0) return;
      const frames = decode(into, [...ends.subarray(0, count)]);
      const before = frames.filter(({ time }) => time < end);
      yield before;
      if (before.length < frames.length) return;
    }
  }

  /** Since the last call. */
  statistics(): PacketCounts {
    return native().packetStatistics(this.#open());
  }

  /** How many were sent before the first that was refused. */
  async send(frames: readonly Uint8Array[]): Promise<number> {
    return this.#writing.writeAll(this.#open(), frames);
  }

  close(): Promise<void> {
    const descriptor = this.#descriptor;
    this.#descriptor = undefined;
    // In another thread: the kernel waits for RCU, 10 ms and more (packet_release, synchronize_net).
    return descriptor === undefined ? Promise.resolve() : native().closeSlowly(descriptor);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #open(): Descriptor {
    if (this.#descriptor === undefined) throw new PodtapError('this packet socket is closed', { code: 'ERR_HANDLE_CLOSED' });
    return this.#descriptor;
  }
}
