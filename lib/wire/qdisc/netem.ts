import { type Unknown, bytes, headed, mapped, s32, struct, table, u32, u64, unread } from '../attribute.js';

const chance = struct([
  ['probability', u32],
  ['correlation', u32],
]);

/** struct tc_netem_qopt with attributes behind it. */
const netemWire = headed(
  [
    ['latency', u32],
    ['limit', u32],
    ['lost', u32],
    ['gap', u32],
    ['duplicate', u32],
    ['deviation', u32],
  ],
  table('TCA_NETEM', {
    corr: [
      1,
      struct([
        ['delay', u32],
        ['loss', u32],
        ['duplicate', u32],
      ]),
    ],
    delay_dist: [2, bytes],
    reorder: [3, chance],
    corrupt: [4, chance],
    loss: [5, bytes],
    rate: [
      6,
      struct([
        ['rate', u32],
        ['packet_overhead', s32],
        ['cell_size', u32],
        ['cell_overhead', s32],
      ]),
    ],
    ecn: [7, u32],
    rate64: [8, u64],
    pad: [9, unread],
    latency64: [10, u64],
    jitter64: [11, u64],
    slot: [12, bytes],
    slot_dist: [13, bytes],
    prng_seed: [14, u64],
  }),
);

/** Ticks of 64 ns, in which the struct counts; the 64-bit attributes count nanoseconds (since 4.15). */
const TICK = 64;
const CERTAIN = 0xffffffff;

/** The network emulator. Chances are from 0 to 1. */
export interface NetemOptions {
  /** Packets. */
  readonly limit: number;
  /** Nanoseconds, as its deviation. */
  readonly delay?: number;
  readonly jitter?: number;
  /** The table of the deviation's distribution; the kernel does not tell it. */
  readonly distribution?: Uint8Array;
  readonly loss?: number;
  readonly duplicate?: number;
  readonly corrupt?: number;
  readonly reorder?: number;
  /** Every so many packets one overtakes. */
  readonly gap?: number;
  /** How much each depends on the one before. */
  readonly correlation?: {
    readonly delay?: number;
    readonly loss?: number;
    readonly duplicate?: number;
    readonly corrupt?: number;
    readonly reorder?: number;
  };
  /** Bytes a second. */
  readonly rate?: number;
  readonly packetOverhead?: number;
  readonly cellSize?: number;
  readonly cellOverhead?: number;
  readonly ecn?: boolean;
  /** TCA_NETEM_LOSS, _SLOT, _SLOT_DIST, as they came. */
  readonly lossModel?: Uint8Array;
  readonly slot?: Uint8Array;
  readonly slotDistribution?: Uint8Array;
  readonly seed?: bigint;
  readonly unknown?: readonly Unknown[];
}

export const netem = mapped(
  netemWire,
  (raw): NetemOptions => {
    const { corr, delay_dist, reorder, corrupt, loss, rate, ecn, rate64, latency64, jitter64, slot, slot_dist, prng_seed, unknown } = raw;
    const delay = latency64 === undefined ? (raw.latency ?? 0) * TICK : Number(latency64);
    const jitter = jitter64 === undefined ? (raw.deviation ?? 0) * TICK : Number(jitter64);
    const correlation = {
      ...(corr !== undefined && corr.delay !== 0 && { delay: fraction(corr.delay) }),
      ...(corr !== undefined && corr.loss !== 0 && { loss: fraction(corr.loss) }),
      ...(corr !== undefined && corr.duplicate !== 0 && { duplicate: fraction(corr.duplicate) }),
      ...(corrupt !== undefined && corrupt.correlation !== 0 && { corrupt: fraction(corrupt.correlation) }),
      ...(reorder !== undefined && reorder.correlation !== 0 && { reorder: fraction(reorder.correlation) }),
    };
    return {
      limit: raw.limit ?? 0,
      ...(delay !== 0 && { delay }),
      ...(jitter !== 0 && { jitter }),
      ...(delay_dist !== undefined && { distribution: delay_dist }),
      ...(raw.lost !== undefined && raw.lost !== 0 && { loss: fraction(raw.lost) }),
      ...(raw.duplicate !== undefined && raw.duplicate !== 0 && { duplicate: fraction(raw.duplicate) }),
      ...(corrupt !== undefined && corrupt.probability !== 0 && { corrupt: fraction(corrupt.probability) }),
      ...(reorder !== undefined && reorder.probability !== 0 && { reorder: fraction(reorder.probability) }),
      ...(raw.gap !== undefined && raw.gap !== 0 && { gap: raw.gap }),
      ...(Object.keys(correlation).length > 0 && { correlation }),
      ...(rate !== undefined && { rate: rate64 === undefined ? rate.rate : Number(rate64) }),
      ...(rate !== undefined && rate.packet_overhead !== 0 && { packetOverhead: rate.packet_overhead }),
      ...(rate !== undefined && rate.cell_size !== 0 && { cellSize: rate.cell_size }),
      ...(rate !== undefined && rate.cell_overhead !== 0 && { cellOverhead: rate.cell_overhead }),
      ...(ecn !== undefined && ecn !== 0 && { ecn: true }),
      ...(loss !== undefined && { lossModel: loss }),
      ...(slot !== undefined && { slot }),
      ...(slot_dist !== undefined && { slotDistribution: slot_dist }),
      ...(prng_seed !== undefined && { seed: prng_seed }),
      ...(unknown !== undefined && { unknown }),
    };
  },
  (options: NetemOptions) => {
    const { delay, jitter, correlation, reorder, corrupt, rate } = options;
    return {
      latency: ticks(delay),
      deviation: ticks(jitter),
      limit: options.limit,
      lost: share(options.loss),
      gap: options.gap ?? 0,
      duplicate: share(options.duplicate),
      corr: { delay: share(correlation?.delay), loss: share(correlation?.loss), duplicate: share(correlation?.duplicate) },
      delay_dist: options.distribution,
      reorder: reorder === undefined ? undefined : { probability: share(reorder), correlation: share(correlation?.reorder) },
      corrupt: corrupt === undefined ? undefined : { probability: share(corrupt), correlation: share(correlation?.corrupt) },
      loss: options.lossModel,
      rate:
        rate === undefined
          ? undefined
          : {
              rate: Math.min(rate, 0xffffffff),
              packet_overhead: options.packetOverhead ?? 0,
              cell_size: options.cellSize ?? 0,
              cell_overhead: options.cellOverhead ?? 0,
            },
      ecn: options.ecn === undefined ? undefined : Number(options.ecn),
      rate64: rate !== undefined && rate > 0xffffffff ? BigInt(rate) : undefined,
      latency64: delay === undefined ? undefined : BigInt(delay),
      jitter64: jitter === undefined ? undefined : BigInt(jitter),
      slot: options.slot,
      slot_dist: options.slotDistribution,
      prng_seed: options.seed,
      unknown: options.unknown,
    };
  },
);

function fraction(share: number): number {
  return share === CERTAIN ? 1 : share / 2 ** 32;
}
function share(fraction = 0): number {
  return Math.min(CERTAIN, Math.round(fraction * 2 ** 32));
}
function ticks(nanoseconds = 0): number {
  return Math.min(0xffffffff, Math.floor(nanoseconds / TICK));
}
