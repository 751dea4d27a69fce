// What stays in a namespace while something else there is undone, as the journal knows it.
import { Holder } from '../state/holder.js';
import type { Entry, Journal } from './journal.js';
import { type Record, isReadable, recordOf, recordToValue } from './record.js';

export class Holders {
  readonly all: readonly Holder[];
  readonly #journal: Journal;
  readonly #entries: readonly { readonly entry: Entry; readonly record: Record; readonly holder: Holder }[];

  private constructor(journal: Journal, entries: readonly Entry[], since: number) {
    this.#journal = journal;
    this.#entries = entries.map((entry) => {
      const record = recordOf(entry);
      return { entry, record, holder: new Holder(record.images, entry.created < since) };
    });
    this.all = this.#entries.map(({ holder }) => holder);
  }

  /** `entries`: of the namespace, read with its lock held. `undone`: ids of those that are undone, all parts of which go with them; `since`: when the first of them began. */
  static beside(journal: Journal, entries: readonly Entry[], undone: ReadonlySet<string>, since: number): Holders {
    const stays = entries.filter((entry) => {
      if (undone.has(entry.id) || !isReadable(entry)) return false;
      const { main, kept } = recordOf(entry);
      return kept !== undefined && !undone.has(main ?? '');
    });
    return new Holders(journal, stays, since);
  }

  /** Before what has been undone is forgotten. */
  async keep(): Promise<void> {
    for (const { entry, record, holder } of this.#entries)
      if (holder.changed !== undefined) await this.#journal.update(entry, { body: recordToValue({ ...record, images: holder.changed }) });
  }
}
