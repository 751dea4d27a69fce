// Undoing what is in the journal: one entry, or all that were interrupted.
import { TransactionError } from '../errors.js';
import { type NetnsIdentity, locate } from '../kernel/locate.js';
import type { Netns } from '../kernel/netns.js';
import { seated, turn } from '../kernel/turn.js';
import type { Entry, EntryState, Journal, Unreadable } from './journal.js';
import { acquire, namespaceLock, removeDeadLocks } from './lock.js';
import { type Record, recordOf } from './record.js';
import { undo } from './undo.js';

export interface UndoReport {
  readonly state: 'undone' | 'already-undone' | 'namespace-gone';
  /** What somebody else has changed meanwhile, and so stays, a line each. */
  readonly leftBehind: readonly string[];
}

export function identityOf(entry: Entry, record?: Record): NetnsIdentity {
  return { bootId: entry.bootId, cookie: entry.cookie, inode: record?.inode };
}

/** The namespace of an entry, if it is still there. */
export function namespaceOf(entry: Entry, record?: Record): Promise<Netns | undefined> {
  return locate(identityOf(entry, record), entry.netns);
}

/** As it is now: undefined where it is undone. */
export async function reread(journal: Journal, entry: Entry): Promise<Entry | undefined> {
  return (await journal.entries({ cookie: entry.cookie })).entries.find(({ id }) => id === entry.id);
}

/**
 * Undoes what an entry tells of, and removes it. Waits for whoever is at work in the namespace.
 * @throws TransactionError ERR_TRANSACTION_UNDO: something could not be put back; the entry stays, and it can be tried again
 */
export async function undoEntry(journal: Journal, entry: Entry, signal?: AbortSignal): Promise<UndoReport> {
  await turn();
  const netns = await namespaceOf(entry, recordOf(entry));
  if (netns === undefined) {
    await journal.remove(entry);
    return { state: 'namespace-gone', leftBehind: [] };
  }
  try {
    await using _ = await acquire(journal.directory, namespaceLock(netns.id), { signal });
    const now = await reread(journal, entry);
    if (now === undefined) return { state: 'already-undone', leftBehind: [] };
    return { state: 'undone', leftBehind: await undoHeld(journal, now, netns) };
  } finally {
    await netns.close();
  }
}

/** With the lock held. */
export async function undoHeld(journal: Journal, entry: Entry, netns: Netns): Promise<readonly string[]> {
  const { images } = recordOf(entry);
  // A full disk must not keep anybody from undoing.
  const marked = await journal.update(entry, { state: 'undoing' }).catch(() => entry);
  const { undone, leftBehind, failed } = await seated(() => undo(netns, images));
  if (failed.length > 0) {
    throw new TransactionError(`not everything could be put back: ${failed.join('; ')}`, {
      code: 'ERR_TRANSACTION_UNDO',
      undone,
      leftBehind: [...leftBehind, ...failed],
    });
  }
  await journal.remove(marked);
  return leftBehind;
}

/** What recovering found of one entry. */
export interface Found {
  readonly label?: string;
  /** A path by which the namespace can be opened; where it is gone, where it was. */
  readonly netns: string;
  readonly state: EntryState;
}

export interface RecoverReport {
  /** Was interrupted (or finished, where that was asked for), and is undone; `leftBehind` is what others have changed meanwhile. */
  readonly undone: readonly (Found & { readonly leftBehind: readonly string[] })[];
  readonly kept: readonly Found[];
  /** A living process is at work there. */
  readonly busy: readonly Found[];
  /** Their namespaces are gone, and with them all there was to undo. */
  readonly dropped: readonly Found[];
  /** Could not be undone, or not wholly: still in the journal. */
  readonly failed: readonly (Found & { readonly reason: string })[];
  readonly unreadable: readonly Unreadable[];
}

export interface RecoverSettings {
  readonly matches: (label: string | undefined) => boolean;
  readonly finished: 'keep' | 'undo';
  readonly signal?: AbortSignal | undefined;
}

/** Every entry of the journal; one after the other. */
export async function recoverJournal(journal: Journal, { matches, finished, signal }: RecoverSettings): Promise<RecoverReport> {
  const { entries, unreadable } = await journal.entries();
  const report = { undone: [], kept: [], busy: [], dropped: [], failed: [], unreadable: [...unreadable] } as { -readonly [K in keyof RecoverReport]: RecoverReport[K] extends readonly (infer T)[] ? T[] : never }; // prettier-ignore
  // Those that depend on another before it: as long as that one is there, they count as unfinished.
  const records = new Map<Entry, Record>();
  for (const entry of entries) {
    try {
      records.set(entry, recordOf(entry));
    } catch (error) {
      report.unreadable.push({ path: entry.path, reason: (error as Error).message });
    }
  }
  const inOrder = [...records].sort(([, a], [, b]) => Number(b.main !== undefined) - Number(a.main !== undefined));
  for (const [entry, record] of inOrder) {
    signal?.throwIfAborted();
    await turn();
    const main = record.main === undefined ? undefined : entries.find(({ id }) => id === record.main);
    if (!matches(main?.label ?? entry.label)) continue;
    await recoverOne(journal, entry, record, main !== undefined, finished, report);
  }
  await removeDeadLocks(journal.directory);
  return report;
}

type Report = { -readonly [K in keyof RecoverReport]: RecoverReport[K] extends readonly (infer T)[] ? T[] : never };

async function recoverOne(
  journal: Journal,
  entry: Entry,
  record: Record,
  depends: boolean,
  finished: 'keep' | 'undo',
  report: Report,
): Promise<void> {
  const { label } = entry;
  const netns = await namespaceOf(entry, record);
  const found: Found = {
    ...(label !== undefined && { label }),
    netns: netns?.path ?? entry.netns,
    state: depends ? 'applying' : entry.state,
  };
  if (netns === undefined) {
    await journal.remove(entry);
    report.dropped.push(found);
    return;
  }
  try {
    const lock = await acquire(journal.directory, namespaceLock(netns.id), { wait: false });
    if (lock === undefined) {
      report.busy.push(found);
      return;
    }
    try {
      const now = await reread(journal, entry);
      if (now === undefined) return; // undone by somebody meanwhile
      // Its transaction is over: what is 'applied' stays by itself, the rest was told of in case of a crash.
      const over = record.main !== undefined && !depends;
      if (over && now.state === 'applying') await journal.remove(now);
      else if (!depends && now.state === 'applied' && finished === 'keep') report.kept.push(found);
      else report.undone.push({ ...found, leftBehind: await undoHeld(journal, now, netns) });
    } catch (error) {
      report.failed.push({ ...found, reason: (error as Error).message });
    } finally {
      await lock.release();
    }
  } finally {
    await netns.close();
  }
}
