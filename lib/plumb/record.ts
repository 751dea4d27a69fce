// What the journal keeps of a plumbing beside the images: enough to give it back to another process.
import type { Images } from '../state/images.js';
import type { Entry, Journal } from '../transaction/journal.js';
import * as v from 'valibot';
import { defineGuest, type GuestNetwork } from '../guest/network.js';
import type { Value } from '../state/value.js';
import type { Asked } from './options.js';
import { type Wiring, wiringSchema } from './datapaths.js';

export interface PlumbRecord {
  readonly wiring: Wiring;
  readonly guest: GuestNetwork;
  readonly asked: Asked;
}

const schema = v.object({
  plumbing: v.object({ wiring: wiringSchema, guest: v.record(v.string(), v.unknown()), asked: v.record(v.string(), v.unknown()) }),
});

export function recordValue(record: PlumbRecord): Value {
  return { plumbing: record } as unknown as Value;
}

/** undefined: the entry is none of a plumbing, or not one that this podtap made. */
export function plumbRecord(kept: Value): PlumbRecord | undefined {
  const result = v.safeParse(schema, kept);
  if (!result.success) return undefined;
  const { wiring, guest, asked } = result.output.plumbing;
  try {
    return { wiring, guest: defineGuest(guest as unknown as GuestNetwork), asked: asked as unknown as Asked };
  } catch {
    return undefined;
  }
}

/** How it can be undone. */
export type Undoing =
  | { readonly journal: Journal; readonly entry: Entry }
  /** Without a journal: by this process alone. */
  | { readonly images: Images };
