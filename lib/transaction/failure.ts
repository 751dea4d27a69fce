import { PodtapError } from '../errors.js';

/** A failure of node:fs, in words: what was to be done, why it could not, and what would be right. */
export function journalError(error: unknown, action: string, path: string): PodtapError {
  const { code = 'EIO', errno, syscall } = error as NodeJS.ErrnoException;
  const known = Object.hasOwn(reasons, code) ? reasons[code] : undefined;
  const [kind, reason] = known ?? ['ERR_JOURNAL_IO', 'the file system failed'];
  return new PodtapError(`the journal cannot ${action}: ${reason} (${code}${syscall === undefined ? '' : `, ${syscall}`} '${path}')`, {
    code: kind,
    ...(errno === undefined ? {} : { errno }),
    ...(syscall === undefined ? {} : { syscall }),
    path,
    cause: error,
  });
}

const full = 'the file system is full, and what was written before is unharmed; free space, or give another directory as `journal`';
const forbidden =
  'this user may not (root of a user namespace is there the user that it is outside); give a directory of its own as `journal`';
const gone = 'the directory is gone; make it again, or give another one as `journal`';

const reasons: Readonly<Record<string, readonly [code: string, reason: string]>> = {
  EACCES: ['ERR_JOURNAL_PERMISSION', forbidden],
  EDQUOT: ['ERR_JOURNAL_FULL', full],
  ENOENT: ['ERR_JOURNAL_DIRECTORY', gone],
  ENOSPC: ['ERR_JOURNAL_FULL', full],
  ENOTDIR: ['ERR_JOURNAL_DIRECTORY', 'what is there is no directory; give one as `journal`'],
  EPERM: ['ERR_JOURNAL_PERMISSION', forbidden],
  EROFS: ['ERR_JOURNAL_READ_ONLY', 'the file system is read-only; give a directory elsewhere as `journal`'],
};
