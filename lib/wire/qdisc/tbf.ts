import { type Unknown, bytes, mapped, nested, struct, table, u32, u64, unread } from '../attribute.js';
import { rate64, rateFields, rateSpec, wholeRate } from './rate.js';

const tbfTable = table('TCA_TBF', {
  parms: [1, struct([...rateFields('rate'), ...rateFields('peakrate'), ['limit', u32], ['buffer', u32], ['mtu', u32]])],
  rtab: [2, bytes],
  ptab: [3, bytes],
  rate64: [4, u64],
  prate64: [5, u64],
  burst: [6, u32],
  pburst: [7, u32],
  pad: [8, unread],
});

/** Token bucket filter. */
export interface TbfOptions {
  /** Bytes a second. */
  readonly rate: number;
  readonly peakrate?: number;
  /** Bytes that may wait. */
  readonly limit: number;
  /** The bucket, in bytes. Of a request; the kernel tells `buffer`. */
  readonly burst?: number;
  /** Of the peak rate's bucket; of a request. */
  readonly peakBurst?: number;
  /** The bucket, as the time that it lasts, in ticks of 64 ns. */
  readonly buffer?: number;
  /** The peak rate's bucket, likewise. */
  readonly mtu?: number;
  /** Bytes added to each packet, and its least size. */
  readonly overhead?: number;
  readonly mpu?: number;
  readonly unknown?: readonly Unknown[];
}

export const tbf = mapped(
  nested(tbfTable),
  ({ parms, rate64, prate64, unknown }): TbfOptions | undefined =>
    parms === undefined
      ? undefined
      : {
          rate: wholeRate(parms.rate, rate64),
          ...(parms.peakrate !== 0 && { peakrate: wholeRate(parms.peakrate, prate64) }),
          limit: parms.limit,
          buffer: parms.buffer,
          ...(parms.mtu !== 0 && { mtu: parms.mtu }),
          ...(parms.rate_overhead !== 0 && { overhead: parms.rate_overhead }),
          ...(parms.rate_mpu !== 0 && { mpu: parms.rate_mpu }),
          ...(unknown !== undefined && { unknown }),
        },
  ({ rate, peakrate, limit, burst, peakBurst, buffer, mtu, overhead, mpu, unknown }: TbfOptions) => ({
    parms: {
      ...rateSpec('rate', rate, overhead, mpu),
      ...rateSpec('peakrate', peakrate, overhead, mpu),
      limit,
      buffer: buffer ?? 0,
      mtu: mtu ?? 0,
    },
    rate64: rate64(rate),
    prate64: rate64(peakrate),
    burst,
    pburst: peakBurst,
    unknown,
  }),
);
