// Finding plumbings again, and undoing them, from any process: by the journal.
import * as v from 'valibot';
import { type LinkRef, abortSignal, check, linkRef, oneOf, optional, options, text } from '../check.js';
import { PodtapError } from '../errors.js';
import { Netns, type NetnsRef, attachment } from '../kernel/netns.js';
import { openJournal } from '../transaction/journal.js';
import { type RecoverReport, type UndoReport, recoverJournal, standingOf, undoAll, undoEntry } from '../transaction/recover.js';
import { recordOf } from '../transaction/record.js';
import { Plumbing } from './plumbing.js';
import { plumbRecord } from './record.js';

const which = options({ label: optional(text), link: optional(linkRef), journal: optional(text) });

/**
 * A plumbing that is there, made by whatever process: by its label, by its interface, or the first of the namespace.
 * @returns undefined: there is none (any more)
 * @throws PodtapError ERR_JOURNAL_UNREADABLE
 * @example await using net = await openPlumbing(pod, { label: 'vm/7' }) // does not undo it at the end: it was there already
 */
export async function openPlumbing(
  netns: Netns,
  settings: { readonly label?: string; readonly link?: LinkRef; readonly journal?: string } = {},
): Promise<Plumbing | undefined> {
  const { label, link, journal: directory } = check(which, settings, 'openPlumbing');
  attachment(netns);
  if (netns.id.cookie === undefined) return undefined;
  const journal = await openJournal(directory);
  const { entries } = await journal.entries({ cookie: netns.id.cookie });
  const standing = await standingOf(journal, entries);
  for (const entry of entries) {
    const record = plumbRecord(recordOf(entry).kept);
    if (record === undefined || standing(entry) !== 'finished') continue;
    const { name, ifindex } = record.wiring.link;
    if (label !== undefined && entry.label !== label) continue;
    if (link !== undefined && link !== name && link !== ifindex) continue;
    return new Plumbing(netns, record, { journal, entry }, false);
  }
  return undefined;
}

const target = v.custom<{ label: string } | { netns: NetnsRef }>(
  (value) => typeof value === 'object' && value !== null && ('label' in value ? typeof value.label === 'string' : 'netns' in value),
  'must be { label } or { netns }',
);

/**
 * Undoes what was plumbed with that label, or everything that was plumbed in that namespace. Needs no pid, and no living namespace: where
 * it is gone, so is all there was to undo, and the journal forgets it.
 * @returns 'already-undone' also where the journal knows no such label (any more)
 * @throws TransactionError ERR_TRANSACTION_UNDO: something could not be put back; it can be called again
 * @example await unplumb({ label: container.id })
 */
export async function unplumb(
  what: { readonly label: string } | { readonly netns: NetnsRef },
  settings: { readonly journal?: string; readonly signal?: AbortSignal } = {},
): Promise<UndoReport> {
  const given = check(target, what, 'unplumb');
  const { journal: directory, signal } = check(options({ journal: optional(text), signal: optional(abortSignal) }), settings, 'unplumb');
  const journal = await openJournal(directory);
  if ('label' in given) {
    const entry = await journal.find(given.label);
    return entry === undefined ? { state: 'already-undone', leftBehind: [] } : undoEntry(journal, entry, { signal });
  }
  let netns: Netns;
  try {
    netns = await Netns.open(given.netns);
  } catch (error) {
    if (error instanceof PodtapError && error.code === 'ERR_NETNS_GONE') return { state: 'namespace-gone', leftBehind: [] };
    throw error;
  }
  try {
    return await undoAll(journal, netns, signal);
  } finally {
    await netns.close();
  }
}

export interface RecoverOptions {
  /** Only what has such a label. Default: all, those without one too. */
  readonly label?: string | RegExp;
  /** Default 'keep': what was finished stays. */
  readonly finished?: 'keep' | 'undo';
  /** The journal's directory. */
  readonly journal?: string;
  readonly signal?: AbortSignal;
}

/**
 * Undoes what was interrupted: by a crash or a kill. For the start of a runtime. What a living process is working
 * on is left alone, and plumbings that were finished are kept unless told otherwise. Entries whose namespaces are gone are dropped.
 * @returns what became of each entry; nothing is thrown because of one
 * @example for (const { label, netns } of (await recover({ label: /^vm\// })).kept) ...
 */
export async function recover(settings: RecoverOptions = {}): Promise<RecoverReport> {
  const { label, finished = 'keep', journal: directory, signal } = check(recoverOptions, settings, 'recover');
  const journal = await openJournal(directory);
  const matches = (one: string | undefined): boolean => {
    if (label === undefined) return true;
    if (one === undefined) return false;
    if (typeof label === 'string') return one === label;
    label.lastIndex = 0; // of a global one
    return label.test(one);
  };
  return recoverJournal(journal, { matches, finished, signal });
}

const recoverOptions = options({
  label: optional(
    v.custom<string | RegExp>((value) => typeof value === 'string' || value instanceof RegExp, 'must be a string or a RegExp'),
  ),
  finished: optional(oneOf('keep', 'undo')),
  journal: optional(text),
  signal: optional(abortSignal),
});
