// Frames as they pass an interface, and files of them.
import { open } from 'node:fs/promises';
import * as v from 'valibot';
import { type LinkRef, abortSignal, boolean, check, integer, linkRef, optional, options } from '../check.js';
import { PodtapError } from '../errors.js';
import { findLink, noLink } from '../kernel/link.js';
import type { Netns } from '../kernel/netns.js';
import { type PacketCounts, PacketSocket, RING_BLOCK } from '../kernel/packet.js';
import type { CapturedBytes, PacketType } from '../wire/capture.js';
import { type Frame, decodeFrame } from '../wire/frame.js';
import { encodeInterface, encodePacket, encodeSection, encodeStatistics } from '../wire/pcapng.js';
import type { CaptureFilter } from './filters.js';

export interface CaptureOptions {
  /** Which frames; see icmp(), arp(), udpPort() and their kin, or a program of `tcpdump -dd`. Default: all. */
  readonly filter?: CaptureFilter;
  /** How many frames, and it ends by itself. Default: without end. */
  readonly limit?: number;
  /** Ends it, as `stop()` does. */
  readonly signal?: AbortSignal;
  /** Frames to other MACs too. Default false: unlike tcpdump, it leaves the interface as it is. */
  readonly promiscuous?: boolean;
  /** Of the memory shared with the kernel, in bytes: blocks of 128 KiB, two at least. Default 4 MiB. What comes while it is full is lost, and counted. */
  readonly bufferSize?: number;
}

export interface CapturedFrame {
  /** By the kernel's clock, in nanoseconds since 1970. */
  readonly time: bigint;
  /** 'out': the interface sent it. */
  readonly direction: 'in' | 'out';
  /** 'outgoing', or for whom it came: 'host', 'broadcast', 'multicast', 'otherhost'. */
  readonly type: PacketType;
  /** In bytes, on the wire: more than `bytes` has where the filter cut it. */
  readonly length: number;
  readonly bytes: Uint8Array;
  /** What is in it; undefined where it is too short for Ethernet. */
  readonly frame: Frame | undefined;
}

const BUFFER = 4 << 20;

const schema = options({
  filter: optional(v.any()), // packet.ts looks into it
  limit: optional(integer(1, Number.MAX_SAFE_INTEGER)),
  signal: optional(abortSignal),
  promiscuous: optional(boolean),
  bufferSize: optional(integer(1, 1 << 30)),
});

/**
 * Starts a capture: resolves when it hears, so that what is sent after it is not missed. Frames that come and frames that leave, each
 * with the kernel's time in nanoseconds; those of an interface in a bridge, under a redirect or a macvtap too, before these take them.
 *
 * Like `tcpdump -p -i LINK`. packet(7); CAP_NET_RAW in the namespace.
 * @throws PodtapError ENODEV: there is no such interface; EPERM: CAP_NET_RAW is missing
 * @example
 * await using capturing = await capture(node, 'flannel.1', { filter: icmp() });
 * await ping(pod, '10.244.3.3');
 * for (const { frame } of await capturing.stop()) console.log(frame?.packet?.ttl);
 */
export async function capture(netns: Netns, link: LinkRef, settings: CaptureOptions = {}): Promise<Capture> {
  const given = check(schema, settings, 'capture') as CaptureOptions;
  const found = await findLink(netns, check(linkRef, link, 'capture'));
  if (found === undefined) throw noLink(link);
  const { filter, promiscuous, bufferSize = BUFFER } = given;
  const blocks = Math.max(2, Math.ceil(bufferSize / RING_BLOCK));
  const wanted = { ...(filter !== undefined && { filter }), ...(promiscuous !== undefined && { promiscuous }) };
  return new Capture(found.name, found.ifindex, await PacketSocket.open(netns, found.ifindex, wanted, blocks), given);
}

/** A capture under way. Its frames are read once: by iterating over it, or by `stop()`. */
export class Capture implements AsyncDisposable, AsyncIterable<CapturedFrame> {
  readonly #socket: PacketSocket;
  readonly #stop = new AbortController();
  readonly #limit: number;
  readonly #counted = { received: 0, dropped: 0 };
  #reading = false;
  #closed = false;

  /** See capture(). */
  constructor(
    readonly device: string,
    readonly ifindex: number,
    socket: PacketSocket,
    { limit = Infinity, signal }: CaptureOptions,
  ) {
    this.#socket = socket;
    this.#limit = limit;
    const abort = (): void => this.#stop.abort();
    if (signal?.aborted === true) abort();
    else signal?.addEventListener('abort', abort, { signal: this.#stop.signal });
  }

  /** Frames as they come, until the limit, the signal or `stop()`; those that have come by then too. */
  async *[Symbol.asyncIterator](): AsyncGenerator<CapturedFrame, void, undefined> {
    if (this.#reading) throw new PodtapError(`the frames of this capture on ${this.device} are being read already`, { code: 'ERR_HANDLE_CLOSED' }); // prettier-ignore
    this.#reading = true;
    let left = this.#limit;
    for await (const batch of this.#socket.captured({ signal: this.#stop.signal })) {
      for (const captured of batch) {
        yield frameOf(captured);
        if (--left <= 0) return;
      }
    }
  }

  /** Ends the capture. The frames that nobody has read yet, where nobody iterates over it. */
  async stop(): Promise<readonly CapturedFrame[]> {
    this.#stop.abort();
    if (this.#reading) return [];
    const frames: CapturedFrame[] = [];
    for await (const frame of this) frames.push(frame);
    return frames;
  }

  /** Frames until it ends by its limit or signal. */
  async collect(): Promise<readonly CapturedFrame[]> {
    const frames: CapturedFrame[] = [];
    for await (const frame of this) frames.push(frame);
    return frames;
  }

  /** From the beginning: how many frames the filter took, and how many of these found no room. */
  statistics(): PacketCounts {
    if (!this.#closed) {
      const { received, dropped } = this.#socket.statistics();
      this.#counted.received += received;
      this.#counted.dropped += dropped;
    }
    return { ...this.#counted };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.statistics();
    this.#closed = true;
    this.#stop.abort();
    await this.#socket.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function frameOf({ time, length, type, bytes }: CapturedBytes): CapturedFrame {
  return { time, direction: type === 'outgoing' ? 'out' : 'in', type, length, bytes, frame: decodeFrame(bytes) };
}

/** What one interface was heard with: a part of a file. */
export interface CapturedInterface {
  /** As Wireshark shows it: 'vm02/flannel.1'. */
  readonly name: string;
  readonly frames: readonly CapturedFrame[];
  readonly statistics?: PacketCounts;
}

/** The bytes of a pcapng file: the frames of all interfaces in the order of their times. */
export function encodeCaptures(interfaces: readonly CapturedInterface[]): Uint8Array {
  const packets = interfaces.flatMap(({ frames }, of) => frames.map((frame) => ({ ...frame, of })));
  packets.sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0));
  const last = packets.at(-1)?.time ?? 0n;
  const blocks = [
    encodeSection('podtap'),
    ...interfaces.map(({ name }) => encodeInterface({ name })),
    ...packets.map(encodePacket),
    ...interfaces.flatMap(({ statistics }, of) => (statistics === undefined ? [] : [encodeStatistics(of, last, statistics.received, statistics.dropped)])), // prettier-ignore
  ];
  return Buffer.concat(blocks);
}

/**
 * Writes frames of one or several interfaces to a file that Wireshark, tshark and tcpdump read. Mode 0600: what passes a wire is
 * nobody else's. An existing file is replaced.
 *
 * Like `tcpdump -w FILE`, for several interfaces at once.
 */
export async function writeCaptures(path: string, interfaces: readonly CapturedInterface[]): Promise<void> {
  const file = await open(path, 'w', 0o600);
  try {
    // The mode counts for a new file only.
    await file.chmod(0o600);
    await file.writeFile(encodeCaptures(interfaces));
  } finally {
    await file.close();
  }
}
