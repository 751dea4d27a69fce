// Undoing what is in the journal: one entry, or all that were interrupted.
import { TransactionError } from '../errors.js';
import { type NetnsIdentity, locate } from '../kernel/locate.js';
import { type Netns, share } from '../kernel/netns.js';
import { seated, turn } from '../kernel/turn.js';
import { Images } from '../state/images.js';
import { Holders } from './holders.js';
import type { Entry, EntryState, Journal, Unreadable } from './journal.js';
import { acquire, namespaceLock, removeDeadLocks } from './lock.js';
import { type Record, isReadable, recordOf, recordToValue } from './record.js';
import { undo } from './undo.js';

export interface UndoReport {
  readonly state: 'undone' | 'already-undone' | 'namespace-gone';
  /** What is not as it was, a line each: what somebody else has changed meanwhile, and so stays; what another plumbing of the pod holds up, and comes back when that is undone. */
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
export async function undoEntry(
  journal: Journal,
  entry: Entry,
  settings: { readonly signal?: AbortSignal | undefined; readonly netns?: Netns | undefined } = {},
): Promise<UndoReport> {
  const { signal } = settings;
  await turn();
  const netns = settings.netns === undefined ? await namespaceOf(entry, recordOf(entry)) : share(settings.netns);
  if (netns === undefined) {
    await journal.remove(entry);
    return { state: 'namespace-gone', leftBehind: [] };
  }
  try {
    await using _ = await acquire(journal.directory, namespaceLock(netns.id), { signal });
    const { entries } = await journal.entries({ cookie: entry.cookie });
    const now = entries.find(({ id }) => id === entry.id);
    if (now === undefined) return { state: 'already-undone', leftBehind: [] };
    // A part of what was interrupted: none of it stays.
    const whole = entries.find(({ id }) => id === recordOf(now).main);
    const undone = whole !== undefined && (await standingOf(journal, entries))(whole) === 'unfinished' ? whole : now;
    return { state: 'undone', leftBehind: await undoHeld(journal, [undone], netns) };
  } finally {
    await netns.close();
  }
}

/** Everything that was done in a namespace. Waits for whoever is at work there. @throws as `undoEntry` */
export async function undoAll(journal: Journal, netns: Netns, signal?: AbortSignal): Promise<UndoReport> {
  await using _ = await acquire(journal.directory, namespaceLock(netns.id), { signal });
  const { entries } = await journal.entries({ cookie: netns.id.cookie });
  const standing = await standingOf(journal, entries);
  const leftBehind: string[] = [];
  for (const entry of entries) {
    if (!isWhole(entry)) continue;
    const { joins } = recordOf(entry);
    if (joins !== undefined && entries.some(({ id }) => id === joins)) continue; // goes with that one
    if (standing(entry) === 'over') await journal.remove(entry);
    else leftBehind.push(...(await undoHeld(journal, [entry], netns)));
  }
  const { entries: finished } = await journal.entries({ cookie: netns.id.cookie });
  if (finished.length > 0) leftBehind.push(...(await undoHeld(journal, finished, netns)));
  return { state: entries.length === 0 ? 'already-undone' : 'undone', leftBehind };
}

/**
 * With the lock held. Several, oldest first, are undone as one: what was before the first of them may need what was before another, such as
 * a route of one interface with the address of another.
 */
export async function undoHeld(journal: Journal, given: readonly Entry[], netns: Netns): Promise<readonly string[]> {
  const { all, entries, imagesOf } = await withSteps(journal, given);
  const images = new Images();
  for (const entry of entries) images.add(imagesOf(entry));
  let marked = [...entries];
  /** A full disk must not keep anybody from undoing. */
  const mark = async (oldest: Images): Promise<void> => {
    const changes = marked.map((entry, index) => ({ state: 'undoing' as const, ...(index === 0 && { body: bodyOf(entry, oldest) }) })); // prettier-ignore
    marked = await Promise.all(marked.map((entry, index) => journal.update(entry, changes[index]!).catch(() => entry)));
  };
  const original = imagesOf(entries[0]!);
  const touching = async (passing: Images): Promise<void> => {
    const oldest = new Images();
    for (const one of [original, passing]) oldest.add(one);
    await mark(oldest);
  };
  const [first] = entries;
  const beside = Holders.beside(journal, all, new Set(entries.map(({ id }) => id)), first!.created);
  const { undone, leftBehind, failed } = await seated(() => undo(netns, images, touching, beside.all));
  if (failed.length > 0) {
    await mark(original); // whoever removes what is in the way must not find it again
    throw new TransactionError(`not everything could be put back: ${failed.join('; ')}`, {
      code: 'ERR_TRANSACTION_UNDO',
      undone,
      leftBehind: [...leftBehind, ...failed],
    });
  }
  await beside.keep();
  for (const entry of marked.reverse()) {
    for (const part of await partsOf(journal, entry)) await journal.remove(part);
    await journal.remove(entry);
  }
  return leftBehind;
}

/** Of a step that was added to something, what is left of it to undo are the images for then. */
function bodyOf(entry: Entry, images: Images): Entry['body'] {
  const record = recordOf(entry);
  return recordToValue(record.then === undefined ? { ...record, images } : { ...record, then: images });
}

/** A step that was interrupted goes with what it joins. `all`: what the journal has on the namespace. */
async function withSteps(
  journal: Journal,
  given: readonly Entry[],
): Promise<{ readonly all: readonly Entry[]; readonly entries: readonly Entry[]; readonly imagesOf: (entry: Entry) => Images }> {
  const all = (await journal.entries({ cookie: given[0]!.cookie })).entries.filter(isReadable);
  const steps = all.filter((one) => given.some(({ id }) => id === recordOf(one).joins) && !given.some(({ id }) => id === one.id));
  return {
    all,
    entries: [...given, ...steps],
    imagesOf: (entry) => {
      const { images, then } = recordOf(entry);
      return isJoined(entry, all) ? (then ?? new Images()) : images;
    },
  };
}

/** Whether a step was added to what it joins. */
function isJoined(entry: Entry, entries: Iterable<Entry>): boolean {
  const { joins } = recordOf(entry);
  if (joins === undefined) return false;
  for (const one of entries) if (one.id === joins) return recordOf(one).joined === entry.id;
  return false;
}

/** With the lock held: undoes steps that were interrupted, and what those that were not have left for later. */
export async function settleSteps(journal: Journal, entry: Entry, netns: Netns): Promise<void> {
  const { entries } = await journal.entries({ cookie: entry.cookie });
  for (const step of entries.filter(isReadable)) if (recordOf(step).joins === entry.id) await undoHeld(journal, [step], netns);
}

/** Of all that a transaction did in a namespace, and not of something in it that stays. */
function isWhole(entry: Entry): boolean {
  return recordOf(entry).kept === undefined;
}

/** What stays of a transaction, with entries of its own: with that one it is undone, too. */
async function partsOf(journal: Journal, entry: Entry): Promise<readonly Entry[]> {
  if (!isWhole(entry)) return [];
  return (await journal.entries({ cookie: entry.cookie })).entries.filter((one) => isReadable(one) && !isWhole(one) && recordOf(one).main === entry.id); // prettier-ignore
}

/** 'over': its transaction is, and it was for the case of a crash. */
export type Standing = 'unfinished' | 'finished' | 'over';

/**
 * An entry depends on another one (`main`), and that one on the first of its transaction: as long as all of these are there, the transaction
 * is unfinished. It is over at the moment at which the first one goes.
 */
export async function standingOf(journal: Journal, known: readonly Entry[]): Promise<(entry: Entry) => Standing> {
  const readable = (entries: readonly Entry[]): Map<string, Entry> => new Map(entries.filter(isReadable).map((entry) => [entry.id, entry]));
  let entries = readable(known);
  // The first one can be another namespace's.
  const isElsewhere = (entry: Entry): boolean => isWhole(entry) && !entries.has(recordOf(entry).main ?? entry.id);
  if ([...entries.values()].some(isElsewhere)) entries = readable((await journal.entries()).entries);
  return (entry) => {
    const { main, kept, joins, then } = recordOf(entry);
    if (joins !== undefined) return then === undefined && isJoined(entry, entries.values()) ? 'over' : 'unfinished';
    if (main === undefined) return entry.state === 'applied' ? 'finished' : 'unfinished';
    const seen = new Set<string>(); // a circle, which podtap writes nowhere, has an end, too
    for (let at: string | undefined = main; at !== undefined && !seen.has(at); at = recordOf(entries.get(at)!).main) {
      if (!entries.has(at)) return kept === undefined ? 'over' : entry.state === 'applied' ? 'finished' : 'unfinished';
      seen.add(at);
    }
    return 'unfinished';
  };
}

/** What recovering found of one entry. */
export interface Found {
  readonly label?: string;
  /** A path by which the namespace can be opened; where it is gone, where it was. */
  readonly netns: string;
  readonly state: EntryState;
  /** Only what was about to be added to it: it is there itself, and among `kept`. */
  readonly step?: true;
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
  const readable: Entry[] = [];
  for (const entry of entries) {
    try {
      recordOf(entry);
      readable.push(entry);
    } catch (error) {
      report.unreadable.push({ path: entry.path, reason: (error as Error).message });
    }
  }
  const standing = await standingOf(journal, readable);
  /** The labels of a transaction are those of what stays of it. */
  const isMeant = (entry: Entry): boolean => {
    const main = recordOf(entry).main;
    const parts = readable.filter(
      (one) => recordOf(one).main === entry.id || (main !== undefined && one.id === main) || one.id === recordOf(entry).joins,
    );
    const labels = [entry, ...parts].map((one) => one.label).filter((one) => one !== undefined);
    return labels.length === 0 ? matches(undefined) : labels.some(matches);
  };
  // What is unfinished first; of that, what others depend on comes last, and what stays of it goes with it.
  const rank = (entry: Entry): number => (standing(entry) === 'finished' ? 3 : isWhole(entry) ? (recordOf(entry).main === undefined ? 1 : 0) : 2); // prettier-ignore
  const groups: Entry[][] = [];
  for (const entry of readable.sort((a, b) => rank(a) - rank(b)).filter(isMeant)) {
    const { joins } = recordOf(entry);
    const whole = readable.find(({ id }) => id === joins);
    // It goes with that one.
    if (whole !== undefined && standing(entry) !== 'over' && (standing(whole) !== 'finished' || finished === 'undo')) continue;
    const before = standing(entry) === 'finished' && finished === 'undo' ? groups.find(([first]) => standing(first!) === 'finished' && first!.cookie === entry.cookie && first!.cookie !== undefined) : undefined; // prettier-ignore
    if (before === undefined) groups.push([entry]);
    else before.push(entry);
  }
  for (const group of groups) {
    signal?.throwIfAborted();
    await turn();
    await recoverTogether(journal, group, { standing: standing(group[0]!), step: stepOf(group[0]!, readable) }, finished, report);
  }
  await removeDeadLocks(journal.directory);
  return report;
}

/** Of an entry that joins another that stays: that one's label, and whether it was added by then, so that there is nothing to tell. */
interface Step {
  readonly label: string | undefined;
  readonly isJoined: boolean;
}

function stepOf(entry: Entry, entries: readonly Entry[]): Step | undefined {
  const { joins } = recordOf(entry);
  const whole = entries.find(({ id }) => id === joins);
  return whole === undefined ? undefined : { label: whole.label, isJoined: isJoined(entry, entries) };
}

type Report = { -readonly [K in keyof RecoverReport]: RecoverReport[K] extends readonly (infer T)[] ? T[] : never };

/** Entries of one namespace. */
async function recoverTogether(
  journal: Journal,
  entries: readonly Entry[],
  { standing, step }: { readonly standing: Standing; readonly step: Step | undefined },
  finished: 'keep' | 'undo',
  report: Report,
): Promise<void> {
  const [first] = entries;
  let netns: Netns | undefined;
  const found = ({ label = step?.label, netns: where, state }: Entry): Found => ({
    ...(label !== undefined && { label }),
    netns: netns?.path ?? where,
    state: standing === 'unfinished' && state === 'applied' ? 'applying' : state,
    ...(step !== undefined && { step: true }),
  });
  try {
    netns = await namespaceOf(first!, recordOf(first!));
    if (netns === undefined) {
      for (const entry of entries) {
        await journal.remove(entry);
        report.dropped.push(found(entry));
      }
      return;
    }
    const lock = await acquire(journal.directory, namespaceLock(netns.id), { wait: false });
    if (lock === undefined) {
      report.busy.push(...entries.map(found));
      return;
    }
    try {
      const there = new Map((await journal.entries({ cookie: first!.cookie })).entries.map((entry) => [entry.id, entry]));
      // The others are undone by somebody meanwhile, or with what they are part of.
      const now = entries.flatMap(({ id }) => there.get(id) ?? []);
      if (now.length === 0) return;
      if (standing === 'over') for (const entry of now) await journal.remove(entry);
      else if (standing === 'finished' && finished === 'keep' && now.every(({ state }) => state === 'applied'))
        report.kept.push(...now.map(found)); // prettier-ignore
      else {
        const parts = (await Promise.all(now.map((entry) => partsOf(journal, entry)))).flat();
        const leftBehind = await undoHeld(journal, now, netns);
        if (step?.isJoined === true) return;
        // Told once, and of what has a label where there is such.
        const told = parts.length > 0 ? parts : now;
        report.undone.push(...told.map((entry, index) => ({ ...found(entry), leftBehind: index === 0 ? leftBehind : [] })));
      }
    } finally {
      await lock.release();
    }
  } catch (error) {
    report.failed.push(...entries.map((entry) => ({ ...found(entry), reason: (error as Error).message })));
  } finally {
    await netns?.close();
  }
}
