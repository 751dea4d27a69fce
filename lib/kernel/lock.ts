// flock(2) on files, without waiting: who may wait, and how, is told in transaction/lock.ts.
import { type Descriptor, native } from '../native.js';
import { errnoCode } from '../wire/errno.js';
import { isSystemFailure, system } from './system.js';

/** A lock that is held: until it is released, or the worker or process ends. */
export interface FileLock {
  readonly directory: string;
  readonly name: string;
  readonly descriptor: Descriptor;
}

/** Undefined where somebody else has it: another process, another worker, or another part of this one. */
export async function tryLock(directory: string, name: string): Promise<FileLock | undefined> {
  try {
    return { directory, name, descriptor: await native().lockAcquire(directory, name) };
  } catch (error) {
    if (isSystemFailure(error) && error.syscall === 'flock' && errnoCode(error.errno) === 'EAGAIN') return undefined;
    return system(Promise.reject(error as Error));
  }
}

/** Afterwards the file is gone, unless the next one has made it anew. */
export function unlock(lock: FileLock): Promise<void> {
  return system(native().lockRelease(lock.descriptor, lock.directory, lock.name));
}
