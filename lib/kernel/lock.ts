// flock(2) on files, without waiting: who may wait, and how, is told in transaction/lock.ts.
import { type Descriptor, native } from '../native.js';
import { errnoCode } from '../wire/errno.js';
import { isSystemFailure, systemError } from './system.js';

/** A lock that is held: until it is released, or the worker or process ends. */
export interface FileLock {
  readonly directory: string;
  readonly name: string;
  readonly descriptor: Descriptor;
}

/** Undefined where somebody else has it: another process, another worker, or another part of this one. */
export function tryLock(directory: string, name: string): FileLock | undefined {
  try {
    return { directory, name, descriptor: native().lockAcquire(directory, name) };
  } catch (error) {
    if (isSystemFailure(error) && error.syscall === 'flock' && errnoCode(error.errno) === 'EAGAIN') return undefined;
    throw systemError(error);
  }
}

/** Afterwards the file is gone, unless the next one has made it anew. */
export function unlock(lock: FileLock): void {
  try {
    native().lockRelease(lock.descriptor, lock.directory, lock.name);
  } catch (error) {
    throw systemError(error);
  }
}
