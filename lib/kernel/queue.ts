// Descriptors that hand out datagrams (TAP queues, packet sockets, netlink events): read in batches, waited for without a thread each.
import type { Descriptor, NativeAddon } from '../native.js';
import { native } from '../native.js';
import { align } from '../wire/bytes.js';
import { errnoCode } from '../wire/errno.js';
import { system, systemError } from './system.js';

/** Reads into `into`; how many datagrams there were, or -errno. */
export type ReadBatch = (addon: NativeAddon, descriptor: Descriptor, into: Uint8Array, ends: Uint32Array) => number;

// Datagrams are read to where they stay: what a consumer gets is a part of a chunk that is not written again. A chunk is left when the
// largest datagram (64 KiB and a vnet header) might not fit any more.
const CHUNK_BYTES = 256 * 1024;
const LARGEST_BYTES = 64 * 1024 + 64;
const BATCH_DATAGRAMS = 256;
const BATCHES_IN_A_ROW = 16;

export interface Batch {
  /** Of the bytes read; they are the caller's. */
  readonly bytes: Uint8Array;
  /** Where each datagram ends in them. */
  readonly ends: readonly number[];
  /** Instead of datagrams: the errno of the read. */
  readonly errno: number;
}

/**
 * Batches as they come, until the signal aborts, which ends the iteration without an error, or the descriptor is closed.
 * An errno of the read is a batch of its own (ENOBUFS: an overrun), and its consumer decides whether to go on.
 */
export async function* batches(
  descriptors: readonly Descriptor[],
  read: ReadBatch,
  signal: AbortSignal | undefined,
): AsyncGenerator<Batch, void, undefined> {
  const addon = native();
  let chunk = new Uint8Array(0);
  const ends = new Uint32Array(BATCH_DATAGRAMS);
  const waiting = new Set<Descriptor>();
  let failed: unknown;
  let wake = (): void => undefined;
  const wait = (descriptor: Descriptor): void => {
    waiting.add(descriptor);
    addon
      .wait(descriptor, 'readable')
      .catch((error: unknown) => (failed ??= error))
      .finally(() => {
        waiting.delete(descriptor);
        wake();
      });
  };
  const cancel = (): void => {
    for (const descriptor of waiting) addon.cancelWait(descriptor);
  };
  signal?.addEventListener('abort', cancel);
  const aborted = (): boolean => signal?.aborted === true;
  let inARow = 0;
  try {
    while (!aborted()) {
      let idle = true;
      for (const descriptor of descriptors) {
        if (waiting.has(descriptor)) continue;
        if (chunk.length < LARGEST_BYTES) chunk = new Uint8Array(CHUNK_BYTES);
        const count = read(addon, descriptor, chunk, ends);
        if (count === -EAGAIN) {
          wait(descriptor);
        } else if (count === -EBADF) {
          return; // closed while the consumer had a batch
        } else {
          idle = false;
          const length = count < 0 ? 0 : ends[count - 1]!;
          const bytes = chunk.subarray(0, length);
          chunk = chunk.subarray(align(length));
          yield { bytes, ends: Array.from(ends.subarray(0, Math.max(0, count))), errno: Math.max(0, -count) };
          if (aborted()) return;
        }
      }
      if (idle) {
        inARow = 0;
        // Not a race of the waits: one that lasts would keep a reaction for each time that another one ended.
        await new Promise<void>((resolve) => (wake = resolve));
        if (failed !== undefined) throw failed as Error;
      } else if (++inARow % BATCHES_IN_A_ROW === 0) {
        // A source that is never empty must not keep timers and other I/O from their turn.
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
  } catch (error) {
    if (!isCancelled(error)) throw systemError(error);
  } finally {
    signal?.removeEventListener('abort', cancel);
    cancel();
  }
}

const [EBADF, EAGAIN] = [9, 11];

function isCancelled(error: unknown): boolean {
  return error instanceof Error && errnoCode((error as { errno?: number }).errno ?? 0) === 'ECANCELED';
}

/** Writes to a descriptor, one call after the other: what is waiting for room is not overtaken. */
export class Writing {
  #last: Promise<unknown> = Promise.resolve();

  /** Writes all of them, waiting where the queue is full; how many were written before the first that was refused. */
  writeAll(descriptor: Descriptor, datagrams: readonly Uint8Array[]): Promise<number> {
    const turn = this.#last.then(() => writeAll(descriptor, datagrams));
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}

async function writeAll(descriptor: Descriptor, datagrams: readonly Uint8Array[]): Promise<number> {
  const addon = native();
  let written = 0;
  while (written < datagrams.length) {
    const count = addon.write(descriptor, datagrams, written);
    if (count >= 0) written += count;
    else if (count === -EAGAIN) await system(addon.wait(descriptor, 'writable'));
    else if (written > 0) return written;
    else throw failure(-count, 'write');
  }
  return written;
}

/** Whether it came in time. */
export async function waitFor(descriptor: Descriptor, direction: 'readable' | 'writable', milliseconds: number): Promise<boolean> {
  const timer = setTimeout(() => native().cancelWait(descriptor), Math.ceil(milliseconds));
  try {
    await native().wait(descriptor, direction);
    return true;
  } catch (error) {
    if (isCancelled(error)) return false;
    throw systemError(error);
  } finally {
    clearTimeout(timer);
  }
}

/** For a system call that answered with -errno. */
export function failure(errno: number, syscall: string, path?: string): unknown {
  return systemError(Object.assign(new Error(), { errno, syscall, path }));
}
