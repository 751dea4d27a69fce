// Failures of system calls, from native code to errors that programs can branch on.
import { PodtapError } from '../errors.js';
import type { SystemFailure } from '../native.js';
import { errnoCode, errnoMessage } from '../wire/errno.js';
import { turn } from './turn.js';

/** Awaits native work; a failed system call becomes an error with a code (`EPERM`) and a stack that shows who asked. */
export async function system<T>(work: Promise<T>, translate?: (failure: SystemFailure) => Error | undefined): Promise<T> {
  try {
    const result = await work;
    await turn(); // many may have been answered at once
    return result;
  } catch (error) {
    throw systemError(error, translate);
  }
}

export function systemError(error: unknown, translate?: (failure: SystemFailure) => Error | undefined): unknown {
  if (!isSystemFailure(error)) return error;
  const translated = translate?.(error);
  if (translated !== undefined) return translated;
  const where = error.path === undefined ? error.syscall : `${error.syscall} '${error.path}'`;
  const code = errnoCode(error.errno);
  return new PodtapError(`${code}: ${errnoMessage(error.errno)}, ${where}`, {
    code,
    errno: -error.errno,
    syscall: error.syscall,
    path: error.path,
  });
}

export function isSystemFailure(error: unknown): error is SystemFailure {
  return (
    error instanceof Error &&
    typeof (error as Partial<SystemFailure>).errno === 'number' &&
    typeof (error as Partial<SystemFailure>).syscall === 'string'
  );
}
