// A change of a plumbing that is there: completely or not at all, and from then on undone with it.
import { PlumbError } from '../errors.js';
import type { Netns } from '../kernel/netns.js';
import { seated } from '../kernel/turn.js';
import type { Operation } from '../operation/kinds.js';
import { keys } from '../state/resource.js';
import { existence } from '../state/link.js';
import { Images } from '../state/images.js';
import type { State } from '../state/snapshot.js';
import { readFor } from '../transaction/member.js';
import { reread, settleSteps } from '../transaction/recover.js';
import { recordOf, recordToValue } from '../transaction/record.js';
import { type Transaction, Work, applies, enters, isOpenTransaction, transaction } from '../transaction/transaction.js';
import { undo } from '../transaction/undo.js';
import { plumbError } from './failure.js';
import { settled } from './localhost/localhost.js';
import { type PlumbRecord, type Undoing, plumbRecord, recordValue } from './record.js';

export interface Step {
  readonly operations: readonly Operation[];
  readonly record: PlumbRecord;
  /** What is to be known of the namespace afterwards, beside what the operations touch: with it `check` is asked. */
  readonly look: (netns: Netns) => Promise<State>;
  /** Throws where what was done is not as it should be. */
  readonly check: (after: State) => void;
  /** Interfaces of the plumbing's own that are deleted once all else is done. */
  readonly gone?: readonly { readonly name: string; readonly ifindex: number; readonly kind: string }[];
}

export interface Stepped {
  readonly record: PlumbRecord;
  readonly undoing: Undoing;
}

/** How long somebody else may be at work in the namespace. */
const PATIENCE = 10_000; // milliseconds

/**
 * `plan` is asked with nobody else at work in the namespace; what it resolves is done. undefined: there is nothing to do. `now`: how it can
 * be undone, and what is recorded, as this process knows it; with a journal, what that one says counts. `commit` is told before anybody else is let in.
 * @throws PlumbError ERR_PLUMB_CONFLICT: the plumbing was undone meanwhile
 */
export async function takeStep(
  netns: Netns,
  now: () => Stepped,
  settings: { readonly signal?: AbortSignal | undefined; readonly outer?: Transaction | undefined },
  plan: (record: PlumbRecord) => Promise<Step | undefined>,
  commit: (stepped: Stepped) => void,
): Promise<void> {
  const { signal, outer } = settings;
  try {
    if (outer !== undefined && isOpenTransaction(outer)) await within(outer, now, signal, plan, commit);
    else await alone(netns, now, signal, plan, commit);
  } catch (error) {
    throw plumbError(error);
  }
}

async function alone(
  netns: Netns,
  now: () => Stepped,
  signal: AbortSignal | undefined,
  plan: (record: PlumbRecord) => Promise<Step | undefined>,
  commit: (stepped: Stepped) => void,
): Promise<void> {
  const first = now().undoing;
  const journal = 'journal' in first ? first.journal : undefined;
  const joins = 'journal' in first ? first.entry : undefined;
  const work = new Work(journal, { signal, patience: PATIENCE, ofUser: false, joins });
  let before: Stepped | undefined;
  let step: Step | undefined;
  let after: State | undefined;
  await work.run(
    netns,
    async (tx) => {
      await tx[enters]();
      before = await fresh(netns, now());
      step = await plan(before.record);
      if (step === undefined) return;
      after = await seated(() => perform(tx, netns, step!, signal));
    },
    async (member) => {
      if (step === undefined) return commit(before!);
      const { undoing } = before!;
      const to = 'journal' in undoing ? { images: recordOf(undoing.entry).images, entry: undoing.entry } : { images: undoing.images, entry: undefined }; // prettier-ignore
      const { gone = [] } = step;
      const then = gone.length === 0 ? undefined : { images: deletion(gone), gone: new Set(gone.map(({ ifindex }) => ifindex)) };
      const { images, entry } = await member.join(after!, recordValue(settled(step.record, after!)), to, then);
      commit({ record: settled(step.record, after!), undoing: entry === undefined ? { images } : { journal: journal!, entry } });
      if (then === undefined) return;
      // It is done, whatever becomes of this: whoever comes next goes on here.
      const undone = await undo(netns, then.images, async () => undefined).catch(() => undefined);
      if (undone?.failed.length === 0) await member.forget().catch(() => undefined);
    },
  );
}

/** What the journal says now; steps that were interrupted are undone first. */
async function fresh(netns: Netns, known: Stepped): Promise<Stepped> {
  const { undoing } = known;
  if (!('journal' in undoing)) return known;
  const { journal } = undoing;
  const entry = await reread(journal, undoing.entry);
  const record = entry?.state === 'applied' ? plumbRecord(recordOf(entry).kept) : undefined;
  if (entry === undefined || record === undefined)
    throw new PlumbError('this plumbing is undone, and nothing can be added to it', { code: 'ERR_PLUMB_CONFLICT' });
  await settleSteps(journal, entry, netns);
  return { record, undoing: { journal, entry } };
}

async function perform(tx: Transaction, netns: Netns, step: Step, signal: AbortSignal | undefined): Promise<State> {
  if (step.operations.length > 0) await tx[applies](step.operations, { signal, state: await readFor(netns, step.operations) });
  const after = await step.look(netns);
  step.check(after);
  return after;
}

function deletion(gone: NonNullable<Step['gone']>): Images {
  const images = new Images();
  for (const { name, ifindex, kind } of gone) images.touch(keys.link(ifindex), undefined, [existence({ name, kind })]);
  return images;
}

/** While the transaction that plumbed is not over: a savepoint of it. */
async function within(
  outer: Transaction,
  now: () => Stepped,
  signal: AbortSignal | undefined,
  plan: (record: PlumbRecord) => Promise<Step | undefined>,
  commit: (stepped: Stepped) => void,
): Promise<void> {
  await transaction(
    outer,
    async (inner) => {
      const { images } = await inner[enters]();
      const { record: before, undoing } = now();
      const step = await plan(before);
      if (step === undefined) return;
      const { operations, gone = [] } = step;
      // In one that is not over what it made itself can be deleted.
      const all = [...operations, ...gone.map(({ ifindex }): Operation => ({ op: 'link.delete', link: ifindex }))];
      const after = await seated(() => perform(inner, outer.netns, { ...step, operations: all }, signal));
      const added = images.observed(after);
      const indexes = new Set(gone.map(({ ifindex }) => ifindex));
      if (!('journal' in undoing))
        return commit({ record: settled(step.record, after), undoing: { images: undoing.images.joined(added, indexes) } });
      const { journal } = undoing;
      // What was undone beside it may have left it something.
      const entry = (await reread(journal, undoing.entry)) ?? undoing.entry;
      const kept = recordOf(entry);
      const record = settled(step.record, after);
      const body = recordToValue({ ...kept, images: kept.images.joined(added, indexes), kept: recordValue(record) });
      commit({ record, undoing: { journal, entry: await journal.update(entry, { body }) } });
    },
    signal === undefined ? {} : { signal },
  );
}
