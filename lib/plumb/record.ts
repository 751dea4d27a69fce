// What the journal keeps of a plumbing beside the images: enough to give it back to another process.
import type { Images } from '../state/images.js';
import type { Entry, Journal } from '../transaction/journal.js';
import * as v from 'valibot';
import { defineGuest, type GuestNetwork } from '../guest/network.js';
import { integer } from '../check.js';
import type { LocalhostAsked } from '../localhost/asked.js';
import type { Backend } from '../localhost/backend.js';
import type { LocalhostConfig } from '../localhost/config.js';
import { localhostConfig } from '../operation/localhost-config.js';
import type { Value } from '../state/value.js';
import { type AnyWiring, wiringEntries } from './datapath/datapath.js';
import type { Asked } from './options.js';
import { type Wiring, wiringSchema } from './datapath/datapaths.js';

export interface PlumbRecord {
  readonly wiring: Wiring;
  readonly guest: GuestNetwork;
  readonly asked: Asked;
  readonly localhost?: LocalhostRecord;
  /** Beside the first one. */
  readonly guests?: readonly GuestRecord[];
}

/** What the guests reach of the pod's localhost. */
export interface LocalhostRecord {
  readonly asked: LocalhostAsked;
  readonly backend: Backend;
  readonly hook?: 'tcx' | 'filter';
  readonly why: string;
  readonly config: LocalhostConfig;
  /** Nameservers as the pod has them. */
  readonly servers: readonly string[];
  /** Of nftables: see tableOf. */
  readonly table?: string;
}

/** One of several guests that share the pod's address. */
export interface GuestRecord {
  readonly name: string;
  readonly slot: number;
  readonly ports: readonly string[];
  readonly wiring: Pick<AnyWiring, 'tap' | 'tapMac' | 'mtu' | 'shape' | 'attach'>;
  readonly guest: GuestNetwork;
  /** For a repeated call. */
  readonly asked: Asked['tap'];
}

const backendSchema = v.picklist(['ebpf', 'nft']);
const schema = v.object({
  plumbing: v.object({
    wiring: wiringSchema,
    guest: v.record(v.string(), v.unknown()),
    asked: v.record(v.string(), v.unknown()),
    localhost: v.optional(
      v.object({
        asked: v.object({ services: v.array(v.string()), backend: v.optional(backendSchema) }),
        backend: backendSchema,
        hook: v.optional(v.picklist(['tcx', 'filter'])),
        why: v.string(),
        config: localhostConfig,
        servers: v.array(v.string()),
        table: v.optional(v.string()),
      }),
    ),
    guests: v.optional(
      v.array(
        v.object({
          name: v.string(),
          slot: integer(2, 63),
          ports: v.array(v.string()),
          wiring: v.object({ tap: wiringEntries.tap, tapMac: wiringEntries.tapMac, mtu: wiringEntries.mtu, shape: wiringEntries.shape, attach: wiringEntries.attach }), // prettier-ignore
          guest: v.record(v.string(), v.unknown()),
          asked: v.record(v.string(), v.unknown()),
        }),
      ),
    ),
  }),
});

export function recordValue(record: PlumbRecord): Value {
  return { plumbing: record } as unknown as Value;
}

/** undefined: the entry is none of a plumbing, or not one that this podtap made. */
export function plumbRecord(kept: Value): PlumbRecord | undefined {
  const result = v.safeParse(schema, kept);
  if (!result.success) return undefined;
  const { wiring, guest, asked, localhost, guests } = result.output.plumbing;
  try {
    return {
      wiring,
      guest: defineGuest(guest as unknown as GuestNetwork),
      asked: asked as unknown as Asked,
      ...(localhost !== undefined && { localhost: localhost }),
      ...(guests !== undefined && {
        guests: guests.map((one) => ({ ...one, guest: defineGuest(one.guest as unknown as GuestNetwork), asked: one.asked as unknown as Asked['tap'] })), // prettier-ignore
      }),
    };
  } catch {
    return undefined;
  }
}

/** How it can be undone. */
export type Undoing =
  | { readonly journal: Journal; readonly entry: Entry }
  /** Without a journal: by this process alone. */
  | { readonly images: Images };
