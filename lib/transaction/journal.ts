// The journal: a file for each transaction, from before its first change until it is undone, so that another process can undo it
// after a crash. It knows nothing of what it keeps.
import {
  type Stats,
  closeSync,
  constants,
  fsync,
  lstatSync,
  openSync,
  readdirSync,
  renameSync,
  statfsSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { promisify } from 'node:util';
import * as v from 'valibot';
import { abortSignal, check, optional, options } from '../check.js';
import { PodtapError } from '../errors.js';
import { randomHex } from '../random.js';
import { readBootId } from '../kernel/netns.js';
import { turn } from '../kernel/turn.js';
import { journalDirectory } from './directory.js';
import { ENTRY_NAME, type EntryState, FORMAT, type Head, LARGEST, LARGEST_HEAD, bootId, cookie, decode, decodeHead, encode, label, labelSuffix, nameOf, namespacePrefix, netns, state } from './entry.js'; // prettier-ignore
import { journalError } from './failure.js';
import { type Unreadable, readContent } from './file.js';
import { LOCK_SUFFIX, acquire } from './lock.js';

export type { EntryState } from './entry.js';
export type { Unreadable } from './file.js';

export interface Entry {
  readonly id: string;
  readonly path: string;
  /** With the cookie, the namespace for ever. */
  readonly bootId: string;
  readonly cookie: bigint | undefined;
  /** Where the namespace was found: a hint, and for people. */
  readonly netns: string;
  readonly label: string | undefined;
  readonly state: EntryState;
  readonly created: number; // Date.now()
  /** Of an earlier run of the kernel: its namespaces are gone. */
  readonly stale: boolean;
  /** What was written, as far as the journal knows: validate it. */
  readonly body: unknown;
}

export interface NewEntry {
  readonly bootId: string;
  readonly cookie: bigint | undefined;
  readonly netns: string;
  readonly label?: string | undefined;
  readonly state?: EntryState | undefined; // default 'applying'
  readonly body: unknown;
}

const newEntry = options({
  bootId,
  cookie: optional(cookie),
  netns,
  label: optional(label),
  state: optional(state),
  body: optional(v.unknown()),
});
const change = options({ state: optional(state), body: optional(v.unknown()) });
const settings = options({ signal: optional(abortSignal) });

/**
 * The journal in that directory; see `journalDirectory` for the default, and for what is refused.
 * @throws PodtapError ERR_JOURNAL_DIRECTORY, ERR_JOURNAL_PERMISSION, ...
 */
export async function openJournal(directory?: string): Promise<Journal> {
  const known = checked.get(directory);
  if (known !== undefined && identity(known.journal.directory) === known.identity) return known.journal;
  const journal = new Journal(journalDirectory(directory));
  checked.set(directory, { journal, identity: identity(journal.directory) });
  return journal;
}

/** A directory that was found to be safe is so as long as it is the same one: whoever could change what leads there could change us. */
const checked = new Map<string | undefined, { readonly journal: Journal; readonly identity: string | undefined }>();

function identity(directory: string): string | undefined {
  const found = lstatSync(directory, { throwIfNoEntry: false });
  return found === undefined ? undefined : `${found.dev} ${found.ino} ${found.mode} ${found.uid}`;
}

/**
 * Every write is atomic: a reader, and who comes after a crash, sees the entry as it was or as it is. A failed one leaves what was.
 * One writer at a time for each entry: hold the namespace's lock (`lock.ts`).
 */
export class Journal {
  readonly #inMemory: boolean;

  constructor(readonly directory: string) {
    this.#inMemory = inMemory(directory);
  }

  /**
   * A new entry.
   * @throws PodtapError ERR_JOURNAL_LABEL_TAKEN: another one has that label; ERR_JOURNAL_FULL, _READ_ONLY, _PERMISSION, _DIRECTORY, _IO,
   *   _TOO_LARGE: nothing was written
   */
  async write(entry: NewEntry, opts: { readonly signal?: AbortSignal | undefined } = {}): Promise<Entry> {
    const { bootId, cookie, netns, label, state = 'applying', body } = check(newEntry, entry, 'journal.write');
    const { signal } = check(settings, opts, 'journal.write');
    const id = randomHex(8);
    const written: Head = { format: FORMAT, id, bootId, cookie, netns, label, state, created: moment() };
    const bytes = encode(written, body);
    if (label === undefined) {
      await this.#replace(nameOf(written), bytes);
    } else {
      const labels = await acquire(this.directory, 'labels', { signal }).catch((error: unknown) => {
        throw error instanceof PodtapError ? journalError(error.cause, 'be written', this.directory) : error;
      });
      try {
        const [taken] = this.#labelled(label).filter((other) => !isStale(other.head));
        if (taken !== undefined) throw labelTaken(label, taken.head, this.#path(taken.name));
        await this.#replace(nameOf(written), bytes);
      } finally {
        await labels.release();
      }
    }
    return this.#entry(written, body);
  }

  /**
   * Replaces the state, the body, or both; resolves with what the entry is now.
   * @throws PodtapError ERR_JOURNAL_GONE: it was removed meanwhile; those of `write`: the entry is what it was
   */
  async update(entry: Entry, changes: { readonly state?: EntryState; readonly body?: unknown }): Promise<Entry> {
    const given = check(change, changes, 'journal.update');
    const body = 'body' in given ? given.body : entry.body;
    const { id, bootId, cookie, netns, label, created } = entry;
    const written: Head = { format: FORMAT, id, bootId, cookie, netns, label, state: given.state ?? entry.state, created };
    const name = nameOf(written);
    const bytes = encode(written, body);
    if (this.#look(name) === undefined) throw gone(this.#path(name));
    await this.#replace(name, bytes);
    return this.#entry(written, body);
  }

  /** Resolves false where it was removed already. */
  async remove(entry: Entry): Promise<boolean> {
    await turn();
    const path = this.#path(nameOf(entry));
    try {
      unlinkSync(path);
      await this.#syncDirectory();
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
      throw journalError(error, 'remove an entry', path);
    }
  }

  /**
   * All that is there, oldest first, or what this run of the kernel has on one namespace. What is no entry, or a broken one, or not
   * ours, is told in `unreadable` and left as it is. Files of writers that died in the middle of a write are taken away.
   */
  async entries(of?: { readonly cookie: bigint | undefined }): Promise<{ entries: Entry[]; unreadable: Unreadable[] }> {
    const prefix = of === undefined ? '' : namespacePrefix(readBootId(), of.cookie);
    const entries: Entry[] = [];
    const unreadable: Unreadable[] = [];
    await turn();
    for (const name of this.#names(prefix)) {
      await turn();
      const read = this.#read(name);
      if (read === undefined) continue;
      if ('reason' in read) unreadable.push(read);
      else entries.push(read);
    }
    entries.sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1));
    return { entries, unreadable };
  }

  /**
   * The entry with that label; one of an earlier run of the kernel only where no other has it.
   * @throws PodtapError ERR_JOURNAL_UNREADABLE: there is one, and it is broken
   */
  async find(label: string): Promise<Entry | undefined> {
    const [found] = this.#labelled(label).sort(
      (a, b) => Number(isStale(a.head)) - Number(isStale(b.head)) || b.head.created - a.head.created,
    );
    const read = found === undefined ? undefined : this.#read(found.name);
    if (read === undefined || !('reason' in read)) return read;
    throw new PodtapError(`the journal's entry with the label '${label}' cannot be read: ${read.reason} ('${read.path}')`, {
      code: 'ERR_JOURNAL_UNREADABLE',
      path: read.path,
    });
  }

  #look(name: string): Stats | undefined {
    try {
      return lstatSync(this.#path(name), { throwIfNoEntry: false });
    } catch (error) {
      throw journalError(error, 'be read', this.#path(name));
    }
  }

  #path(name: string): string {
    return `${this.directory}/${name}`;
  }

  #entry({ format: _, ...written }: Head, body: unknown): Entry {
    const { id, bootId, cookie, netns, label, state, created } = written;
    return { id, path: this.#path(nameOf(written)), bootId, cookie, netns, label, state, created, stale: isStale(written), body };
  }

  /** What may be entries. */
  #names(prefix = ''): string[] {
    let names: string[];
    try {
      names = readdirSync(this.directory);
    } catch (error) {
      throw journalError(error, 'be read', this.directory);
    }
    return names.filter((name) => {
      if (prefix !== '') return name.startsWith(prefix) && !name.endsWith(LOCK_SUFFIX);
      if (name.endsWith(LOCK_SUFFIX)) return false;
      const writer = TEMPORARY_NAME.exec(name)?.[1];
      if (writer !== undefined) this.#sweep(name, Number(writer));
      return writer === undefined;
    });
  }

  /** Undefined: it was removed meanwhile. */
  #read(name: string): Entry | Unreadable | undefined {
    const path = this.#path(name);
    if (!ENTRY_NAME.test(name)) return { path, reason: 'its name is not that of a journal entry' };
    const content = readContent(path, LARGEST);
    if (content === undefined || 'reason' in content) return content;
    const decoded = decode(content.bytes);
    if ('reason' in decoded) return { path, reason: decoded.reason };
    if (nameOf(decoded.head) !== name) return { path, reason: `it was written as ${nameOf(decoded.head)}, and is a copy, or was renamed` };
    return this.#entry(decoded.head, decoded.body);
  }

  /** Those whose second line has the label; the rest of the file is not looked at. */
  #labelled(label: string): { name: string; head: Head }[] {
    const suffix = `${labelSuffix(label)}.entry`;
    return this.#names().flatMap((name) => {
      const content = name.endsWith(suffix) && ENTRY_NAME.test(name) ? readContent(this.#path(name), LARGEST, LARGEST_HEAD) : undefined;
      if (content === undefined || 'reason' in content) return [];
      const head = decodeHead(content.bytes);
      return head?.label === label && nameOf(head) === name ? [{ name, head }] : [];
    });
  }

  async #replace(name: string, bytes: Uint8Array): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#tryReplace(name, bytes);
        return;
      } catch (error) {
        // Somebody in another pid namespace may have taken our file for that of a dead writer.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt === 3) throw journalError(error, 'be written', this.directory);
      }
    }
  }

  async #tryReplace(name: string, bytes: Uint8Array): Promise<void> {
    await turn();
    const temporary = this.#path(temporaryName());
    const file = openSync(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
    try {
      try {
        for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at);
        if (!this.#inMemory) await sync(file);
      } finally {
        closeSync(file);
      }
      renameSync(temporary, this.#path(name));
    } catch (error) {
      this.#discard(temporary);
      throw error;
    }
    await this.#syncDirectory();
  }

  async #syncDirectory(): Promise<void> {
    if (this.#inMemory) return;
    const directory = openSync(this.directory, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    try {
      await sync(directory);
    } finally {
      closeSync(directory);
    }
  }

  #sweep(name: string, writer: number): void {
    const found = this.#look(name);
    if (found !== undefined && (!isAlive(writer) || Date.now() - found.mtimeMs > LONGEST_WRITE)) this.#discard(this.#path(name));
  }

  #discard(path: string): void {
    try {
      unlinkSync(path);
    } catch {
      // There is another error to be told, or another sweep to come.
    }
  }
}

// ------------------------------------------------------------------ files

const TEMPORARY_NAME = /^tmp-(\d{1,10})-[0-9a-f]{16}$/;
/** Milliseconds after which a writer is dead even if a process has its number. */
const LONGEST_WRITE = 600_000;

function temporaryName(): string {
  return `tmp-${process.pid}-${randomHex(8)}`;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

const TMPFS_MAGIC = 0x01021994; // uapi/linux/magic.h
const RAMFS_MAGIC = 0x858458f6;

/** There, nothing outlives the kernel, and fsync(2) has nothing to do; on a disk it takes milliseconds, and so another thread. */
function inMemory(directory: string): boolean {
  try {
    return [TMPFS_MAGIC, RAMFS_MAGIC].includes(statfsSync(directory).type);
  } catch {
    return false;
  }
}

const sync = promisify(fsync);

let last = 0;

/** Milliseconds since 1970; of two entries the later one has the higher number. */
function moment(): number {
  last = Math.max(Date.now(), last + 1);
  return last;
}

function isStale(entry: { readonly bootId: string }): boolean {
  return entry.bootId !== readBootId();
}

// ------------------------------------------------------------------ errors

function labelTaken(label: string, by: Head, path: string): PodtapError {
  const since = new Date(by.created).toISOString();
  return new PodtapError(
    `the label '${label}' is taken, since ${since}, by what was done in the namespace ${by.netns}; undo that, or choose another label`,
    { code: 'ERR_JOURNAL_LABEL_TAKEN', path },
  );
}

function gone(path: string): PodtapError {
  return new PodtapError(`the journal's entry '${path}' was removed meanwhile: what it tells of is undone`, {
    code: 'ERR_JOURNAL_GONE',
    path,
  });
}
