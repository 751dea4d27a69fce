// Counters of qdiscs, classes and actions: TCA_STATS2 and TCA_ACT_STATS, uapi/linux/gen_stats.h.
import { type Unknown, type Values, bytes, struct, table, u32, u64, unread } from './attribute.js';

const basic = struct([
  ['bytes', u64],
  ['packets', u32],
]);

export const statisticsTable = table('TCA_STATS', {
  basic: [1, basic],
  rate_est: [2, bytes],
  queue: [
    3,
    struct([
      ['qlen', u32],
      ['backlog', u32],
      ['drops', u32],
      ['requeues', u32],
      ['overlimits', u32],
    ]),
  ],
  app: [4, bytes],
  rate_est64: [5, bytes],
  pad: [6, unread],
  basic_hw: [7, basic],
  pkt64: [8, u64],
});

export interface Statistics {
  readonly bytes: bigint;
  readonly packets: bigint;
  /** Packets in the queue now, and their bytes. */
  readonly qlen: number;
  readonly backlog: number;
  readonly drops: number;
  readonly requeues: number;
  readonly overlimits: number;
  /** Done by hardware, of the whole. */
  readonly hardware?: { readonly bytes: bigint; readonly packets: bigint };
  /** The kind's own counters, as they came. */
  readonly app?: Uint8Array;
  readonly unknown?: readonly Unknown[];
}

export function decodeStatistics(attributes: Values<typeof statisticsTable>): Statistics {
  const { basic, queue, pkt64, basic_hw, app, unknown } = attributes;
  return {
    bytes: basic?.bytes ?? 0n,
    packets: pkt64 ?? BigInt(basic?.packets ?? 0), // the 32-bit count overflows; TCA_STATS_PKT64 since 5.5
    qlen: queue?.qlen ?? 0,
    backlog: queue?.backlog ?? 0,
    drops: queue?.drops ?? 0,
    requeues: queue?.requeues ?? 0,
    overlimits: queue?.overlimits ?? 0,
    ...(basic_hw !== undefined && basic_hw.bytes !== 0n && { hardware: { bytes: basic_hw.bytes, packets: BigInt(basic_hw.packets) } }),
    ...(app !== undefined && { app }),
    ...(unknown !== undefined && { unknown }),
  };
}
