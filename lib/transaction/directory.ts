// Where the journal is, and whether nobody but us can put anything there.
import { type Stats, lstatSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { PodtapError } from '../errors.js';
import { journalError } from './failure.js';

const DEFAULT_PARENT = '/run';
const NAME = 'podtap';

/**
 * The directory that was given, or /run/podtap for root, or $XDG_RUNTIME_DIR/podtap for another user; absolute, made where it was
 * missing (but not its parent), and safe: no symbolic link leads there, it is ours, and others cannot write to it.
 * @throws PodtapError ERR_JOURNAL_DIRECTORY: it is not, for the reason told; ERR_JOURNAL_PERMISSION, _READ_ONLY, _FULL: it cannot be made
 */
export function journalDirectory(given?: string): string {
  const directory = resolve(given ?? defaultDirectory());
  for (const ancestor of ancestors(directory)) checkAncestor(ancestor, directory);
  try {
    if (!isThere(directory)) mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    // Somebody else may have made it meanwhile.
    if (!isThere(directory)) throw journalError(error, 'make its directory', directory);
  }
  const found = look(directory);
  checkKind(found, directory);
  const { uid, mode } = found;
  if (uid !== process.geteuid!())
    throw refused(directory, `it belongs to user ${uid}, and this is user ${process.geteuid!()}; give a directory of one's own`);
  if ((mode & 0o022) !== 0)
    throw refused(directory, `others may write to it (mode ${octal(mode)}); give another one, or take that away: chmod go-w ${directory}`);
  return directory;
}

export function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}

function defaultDirectory(): string {
  if (process.geteuid!() === 0) return `${DEFAULT_PARENT}/${NAME}`;
  const runtime = process.env.XDG_RUNTIME_DIR;
  if (runtime !== undefined && runtime.startsWith('/')) return `${runtime}/${NAME}`;
  throw new PodtapError(
    'there is no place for the journal: XDG_RUNTIME_DIR is not set, and /run/podtap is for root; set it (a login by systemd does), or give a directory as `journal`',
    { code: 'ERR_JOURNAL_DIRECTORY' },
  );
}

/** From the root down to the parent. */
function ancestors(path: string): string[] {
  const parent = dirname(path);
  return parent === path ? [] : [...ancestors(parent), parent];
}

/** Who may rename what is inside could put another directory in the place of ours. */
function checkAncestor(path: string, directory: string): void {
  const found = look(path, directory);
  checkKind(found, path, directory);
  if (!trusted(found.uid)) throw refused(directory, `${path} belongs to user ${found.uid}, who could replace it`);
  if ((found.mode & 0o022) !== 0 && (found.mode & 0o1000) === 0)
    throw refused(directory, `others may write to ${path} (mode ${octal(found.mode)}), and could replace it`);
}

function checkKind(found: Stats, path: string, directory = path): void {
  if (found.isSymbolicLink()) throw refused(directory, `${path} is a symbolic link; give the path that it leads to`);
  if (!found.isDirectory()) throw refused(directory, `${path} is no directory`);
}

function look(path: string, directory = path): Stats {
  try {
    return lstatSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw journalError(error, 'use its directory', path);
    throw refused(directory, `${path} does not exist; make it, or give another directory`, error);
  }
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** Root and ourselves. In a user namespace root's own files may seem to be nobody's: what it does not map looks so. */
function trusted(uid: number): boolean {
  if (uid === 0 || uid === process.geteuid!()) return true;
  if (/^\s*0\s+0\s/.test(readFileSync('/proc/self/uid_map', 'latin1'))) return false;
  return uid === Number(readFileSync('/proc/sys/kernel/overflowuid', 'latin1'));
}

function refused(directory: string, reason: string, cause?: unknown): PodtapError {
  return new PodtapError(`'${directory}' cannot be the journal's directory: ${reason}`, {
    code: 'ERR_JOURNAL_DIRECTORY',
    path: directory,
    cause,
  });
}
