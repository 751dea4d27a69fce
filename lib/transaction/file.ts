// Reading files that somebody else may have put there.
import { type Stats, closeSync, constants, fstatSync, lstatSync, openSync, readSync } from 'node:fs';
import { octal } from './directory.js';

export interface Unreadable {
  readonly path: string;
  readonly reason: string;
}

/** Of a file that is ours alone and has at most `largest` bytes, the first `most`; else why not. Undefined: there is nothing. */
export function readContent(path: string, largest: number, most = largest): { bytes: Buffer } | Unreadable | undefined {
  try {
    // Before it is opened: to open a device can have effects.
    const before = whyNotOurs(lstatSync(path), largest);
    if (before !== undefined) return { path, reason: before };
    const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const found = fstatSync(file);
      const reason = whyNotOurs(found, largest);
      return reason === undefined ? { bytes: readUpTo(file, Math.min(found.size, most)) } : { path, reason };
    } finally {
      closeSync(file);
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' ? undefined : { path, reason: `it cannot be read: ${message}` };
  }
}

function readUpTo(file: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let at = 0;
  for (let got = 1; got > 0 && at < length; at += got) got = readSync(file, bytes, at, length - at, null);
  return bytes.subarray(0, at);
}

function whyNotOurs(found: Stats, largest: number): string | undefined {
  if (found.isSymbolicLink()) return 'it is a symbolic link';
  if (found.isDirectory()) return 'it is a directory';
  if (!found.isFile()) return 'it is no regular file';
  if (found.uid !== process.geteuid!()) return `it belongs to user ${found.uid}, and this is user ${process.geteuid!()}`;
  if ((found.mode & 0o077) !== 0) return `others may read or write it: its mode is ${octal(found.mode)}, and should be 0600`;
  return found.size > largest ? `it has ${found.size} bytes, and ${largest} are the most that podtap writes` : undefined;
}
