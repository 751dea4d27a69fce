// Locks between processes, workers and the parts of one program, by flock(2) on files in the journal's directory. One for each
// namespace lasts as long as an operation there, and keeps recover() off the work of the living.
import { setTimeout as timer } from 'node:timers/promises';
import { readdirSync } from 'node:fs';
import { PodtapError } from '../errors.js';
import { type FileLock, tryLock, unlock } from '../kernel/lock.js';

/** Ends names of lock files. They are empty, and gone when nobody holds them, but for those of holders that were killed. */
export const LOCK_SUFFIX = '.lock';

export interface Lock extends AsyncDisposable {
  /** Lets go; calling it again does nothing. */
  release(): Promise<void>;
}

/** The lock of a namespace, by what names it for ever; before Linux 5.14 by its inode. */
export function namespaceLock(id: { readonly cookie: bigint | undefined; readonly inode: bigint }): string {
  return id.cookie === undefined ? `inode-${id.inode}` : `netns-${id.cookie}`;
}

/**
 * Takes the lock of that name. It is not reentrant: who holds it and asks again waits for itself. It is let go by `release()`,
 * and where its process dies or its worker ends. Within one worker or main thread, who came first gets it first.
 * @param settings.wait false: resolves undefined at once where somebody else holds it. Default true
 * @throws the signal's reason, where it was aborted while waiting; PodtapError ERR_LOCK: the file cannot be used
 */
export async function acquire(directory: string, name: string, settings?: { wait?: true; signal?: AbortSignal | undefined }): Promise<Lock>;
export async function acquire(
  directory: string,
  name: string,
  settings: { wait?: boolean; signal?: AbortSignal | undefined },
): Promise<Lock | undefined>;
export async function acquire(
  directory: string,
  name: string,
  settings: { wait?: boolean; signal?: AbortSignal | undefined } = {},
): Promise<Lock | undefined> {
  const { wait = true, signal } = settings;
  if (!/^[\w-]+$/.test(name)) throw new Error(`'${name}' is no name for a lock`);
  signal?.throwIfAborted();
  const file = name + LOCK_SUFFIX;
  if (wait) return inLine(`${directory}/${file}`, signal, () => keepTrying(directory, file, signal));
  return attempt(directory, file, signal);
}

/** Takes away the files of holders that were killed, where nobody has come for the lock since. */
export async function removeDeadLocks(directory: string): Promise<void> {
  for (const file of readdirSync(directory).filter((name) => name.endsWith(LOCK_SUFFIX))) {
    const lock = await attempt(directory, file, undefined).catch(() => undefined); // what is no lock of ours stays
    await lock?.release();
  }
}

// Asked again and again, because who waits in flock(2) can only be woken by a signal: a thread of each waiter would be held, and
// the end of its worker would have to wait for somebody else's. Operations take milliseconds.
const SHORTEST = 1;
const LONGEST = 20; // milliseconds

async function keepTrying(directory: string, file: string, signal: AbortSignal | undefined): Promise<Lock> {
  for (let delay = SHORTEST; ; delay = Math.min(LONGEST, delay * 1.5)) {
    const lock = await attempt(directory, file, signal);
    if (lock !== undefined) return lock;
    await released(`${directory}/${file}`, delay * (0.5 + Math.random() / 2), signal);
  }
}

async function attempt(directory: string, file: string, signal: AbortSignal | undefined): Promise<Lock | undefined> {
  let held: FileLock | undefined;
  try {
    held = tryLock(directory, file);
  } catch (error) {
    throw unusable(error, `${directory}/${file}`);
  }
  if (held === undefined) return undefined;
  const lock = new HeldLock(held);
  if (signal?.aborted !== true) return lock;
  await lock.release();
  throw signal.reason;
}

class HeldLock implements Lock {
  #held: FileLock | undefined;

  constructor(held: FileLock) {
    this.#held = held;
  }

  async release(): Promise<void> {
    const held = this.#held;
    if (held === undefined) return;
    this.#held = undefined;
    unlock(held);
    sleepers.get(`${held.directory}/${held.name}`)?.();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }
}

/** A lock among the parts of this worker or main thread alone, where nothing is to be written anywhere. */
export async function acquireHere(name: string, signal?: AbortSignal): Promise<Lock> {
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  return new Promise<Lock>((resolve, reject) => {
    inLine(name, signal, () => {
      resolve({ release: async () => release(), [Symbol.asyncDispose]: async () => release() });
      return held;
    }).catch(reject);
  });
}

// ------------------------------------------------------------------ within one thread

/** By path: resolves when the last one in line has the lock or has given up. */
const lines = new Map<string, Promise<void>>();
/** By path: wakes the first in line. */
const sleepers = new Map<string, () => void>();

/** One at a time asks the kernel, in the order of the calls. */
async function inLine<T>(path: string, signal: AbortSignal | undefined, act: () => Promise<T>): Promise<T> {
  const before = lines.get(path);
  let leave = (): void => undefined;
  const own = new Promise<void>((resolve) => (leave = resolve));
  lines.set(path, own);
  try {
    if (before !== undefined) await unlessAborted(before, signal);
    return await act();
  } finally {
    // Who was aborted in the middle of the line keeps the place until those before it are through.
    void (before ?? Promise.resolve()).then(() => {
      leave();
      if (lines.get(path) === own) lines.delete(path);
    });
  }
}

async function unlessAborted(work: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return work;
  signal.throwIfAborted();
  let abort = (): void => undefined;
  const aborted = new Promise<void>((_resolve, reject) => {
    abort = () => reject(signal.reason as Error);
    signal.addEventListener('abort', abort);
  });
  try {
    await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** The time is over, or this thread has let the lock go. */
async function released(path: string, milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  const woken = new AbortController();
  sleepers.set(path, () => woken.abort());
  try {
    const sleep = timer(milliseconds, undefined, { signal: woken.signal }).catch(() => undefined);
    await unlessAborted(sleep, signal);
  } finally {
    woken.abort();
    sleepers.delete(path);
  }
}

function unusable(error: unknown, path: string): unknown {
  if (!(error instanceof PodtapError)) return error;
  const { code, errno, syscall } = error;
  const reason = reasons[code] ?? 'podtap cannot use it as a lock';
  return new PodtapError(`the lock '${path}': ${reason} (${code}, ${syscall})`, { code: 'ERR_LOCK', ...(errno === undefined ? {} : { errno }), ...(syscall === undefined ? {} : { syscall }), path, cause: error }); // prettier-ignore
}

const reasons: Readonly<Record<string, string>> = {
  EACCES: 'this user may not write its directory; give another one as the journal',
  EINVAL: 'it is no regular file; whoever put it there, remove it',
  ELOOP: 'it is a symbolic link, which podtap follows nowhere here; remove it',
  EISDIR: 'it is a directory; remove it',
  ENOENT: 'its directory is gone',
  ENOSPC: 'the file system is full; free space, or give another directory as the journal',
  ENOTDIR: 'its directory is a symbolic link, or none at all; give the directory itself',
  EPERM: 'it belongs to another user; remove it',
  EROFS: 'the file system is read-only; give another directory as the journal',
};
