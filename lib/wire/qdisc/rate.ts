// struct tc_ratespec (uapi/linux/pkt_sched.h), and the rates of 64 bits beside it. All in bytes a second.
import { type Format, u16, u32, u8 } from '../attribute.js';

type RateField<N extends string> = N | `${N}_${'cell_log' | 'linklayer' | 'overhead' | 'cell_align' | 'mpu'}`;

/** The fields of a tc_ratespec within another struct. */
export function rateFields<const N extends string>(name: N): readonly (readonly [RateField<N>, Format<number>])[] {
  return [
    [`${name}_cell_log`, u8],
    [`${name}_linklayer`, u8],
    [`${name}_overhead`, u16],
    [`${name}_cell_align`, u16],
    [`${name}_mpu`, u16],
    [name, u32],
  ];
}

/** TC_LINKLAYER_ETHERNET: with it the kernel wants no table of transmission times (since 3.8). */
const ETHERNET = 1;

/** Zeros where there is no rate. */
export function rateSpec<const N extends string>(name: N, rate: number | undefined, overhead = 0, mpu = 0): Record<RateField<N>, number> {
  const given = rate !== undefined;
  return {
    [`${name}_cell_log`]: 0,
    [`${name}_linklayer`]: given ? ETHERNET : 0,
    [`${name}_overhead`]: given ? overhead : 0,
    [`${name}_cell_align`]: 0,
    [`${name}_mpu`]: given ? mpu : 0,
    [name]: Math.min(rate ?? 0, 0xffffffff),
  } as Record<RateField<N>, number>;
}

/** What 32 bits do not hold. */
export function rate64(rate: number | undefined): bigint | undefined {
  return rate !== undefined && rate > 0xffffffff ? BigInt(rate) : undefined;
}

export function wholeRate(rate: number, wide: bigint | undefined): number {
  return wide === undefined ? rate : Number(wide);
}
