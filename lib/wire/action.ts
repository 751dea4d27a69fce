// TCA_ACT_*: what a filter does with the packets that it matches. uapi/linux/pkt_cls.h, uapi/linux/tc_act/*.
import { type Unknown, type Values, bytes, kinded, list, mapped, nested, string, struct, table, u32, unread } from './attribute.js';
import { type GactOptions, gact } from './action/gact.js';
import type { ActionBody } from './action/generic.js';
import { type MirredOptions, mirred } from './action/mirred.js';
import { type PeditOptions, pedit } from './action/pedit.js';
import { type SkbeditOptions, skbedit } from './action/skbedit.js';
import { formatControl, parseControl } from './control.js';
import { type Statistics, decodeStatistics, statisticsTable } from './statistics.js';

/** The options of each kind of action. Another's are kept as bytes. */
export const actionKinds = { mirred, gact, skbedit, pedit };

/** struct nla_bitfield32. */
const bitfield = struct([
  ['value', u32],
  ['selector', u32],
]);

export const actionTable = table('TCA_ACT', {
  kind: [1, string],
  options: [2, kinded('kind', actionKinds)],
  index: [3, u32],
  stats: [4, nested(statisticsTable)],
  pad: [5, unread],
  cookie: [6, bytes],
  flags: [7, bitfield],
  hw_stats: [8, bitfield],
  used_hw_stats: [9, bitfield],
  in_hw_count: [10, u32],
});

export interface BitField {
  readonly value: number;
  /** Which bits of the value count. */
  readonly selector: number;
}

export type ActionOptions = MirredOptions | GactOptions | SkbeditOptions | PeditOptions | Uint8Array;

/** An action. Actions of kinds that are not known have their options, index and control among them, as bytes. */
export interface Action {
  /** 'mirred', 'gact', 'skbedit', 'pedit', ... */
  readonly kind: string;
  /** In the kernel's list of its kind. Absent in a request: a new one. */
  readonly index?: number;
  /** What comes then: 'pipe', 'stolen', 'ok', 'drop', 'continue', 'reclassify', 'jump 2', 'goto chain 5', ... Absent in a request: what tc(8) takes; after pedit 'pipe', where tc(8) would end the list. */
  readonly control?: string;
  /** At most 16 bytes, for whoever made it (since 4.11). */
  readonly cookie?: Uint8Array;
  readonly options?: ActionOptions;
  /** TCA_ACT_FLAGS_*, TCA_ACT_HW_STATS_*. */
  readonly flags?: BitField;
  readonly hardwareStatistics?: BitField;
  // what the kernel tells, and is not sent
  readonly statistics?: Statistics;
  /** How many hold it, and how many filters do. */
  readonly references?: number;
  readonly bindings?: number;
  readonly times?: NonNullable<ActionBody['times']>;
  readonly usedHardwareStatistics?: BitField;
  readonly inHardware?: number;
  readonly unknown?: readonly Unknown[];
}

/** TCA_*_ACT of every filter: actions in the order in which they run. */
export const actions = mapped(
  list(actionTable),
  (raw): readonly Action[] => raw.map(decodeAction),
  (given: readonly Action[]) => given.map(encodeAction),
);

function decodeAction(raw: Values<typeof actionTable>): Action {
  const { kind, options, index, stats, cookie, flags, hw_stats, used_hw_stats, in_hw_count, unknown } = raw;
  const { generic, times, ...own } =
    options === undefined || options instanceof Uint8Array ? { generic: undefined, times: undefined } : options;
  const number = generic?.index ?? index;
  return {
    kind: kind ?? '',
    ...(number !== undefined && { index: number }),
    ...(generic !== undefined && { control: formatControl(generic.action) }),
    ...(cookie !== undefined && { cookie }),
    ...(options !== undefined && { options: options instanceof Uint8Array ? options : own }),
    ...(flags !== undefined && { flags }),
    ...(hw_stats !== undefined && { hardwareStatistics: hw_stats }),
    ...(stats !== undefined && { statistics: decodeStatistics(stats) }),
    ...(generic?.references !== undefined && { references: generic.references }),
    ...(generic?.bindings !== undefined && { bindings: generic.bindings }),
    ...(times !== undefined && { times }),
    ...(used_hw_stats !== undefined && { usedHardwareStatistics: used_hw_stats }),
    ...(in_hw_count !== undefined && { inHardware: in_hw_count }),
    ...(unknown !== undefined && { unknown }),
  };
}

function encodeAction({ kind, index, control, cookie, options, flags, hardwareStatistics, unknown }: Action): Values<typeof actionTable> {
  const known = Object.hasOwn(actionKinds, kind) && !(options instanceof Uint8Array);
  const generic = { index: index ?? 0, action: parseControl(control ?? defaultControl(kind, options)) };
  // Options that did not fit their kind came as an unknown attribute, and go so.
  const sent = known && (options !== undefined || unknown === undefined) ? { ...options, generic } : options;
  return {
    kind,
    options: sent as Values<typeof actionTable>['options'],
    cookie,
    flags,
    hw_stats: hardwareStatistics,
    unknown,
  };
}

function defaultControl(kind: string, options: ActionOptions | undefined): string {
  if (kind === 'mirred') return (options as MirredOptions | undefined)?.action === 'mirror' ? 'pipe' : 'stolen';
  return kind === 'gact' ? 'ok' : 'pipe';
}
