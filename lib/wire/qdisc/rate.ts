// struct tc_ratespec, and rates of 64 bits beside it.
import { u16, u32, u8 } from '../attribute.js';

/** The fields of a tc_ratespec within another struct. */
export function rateFields<const N extends string>(name: N) {
  return [
    [`${name}_cell_log`, u8],
    [`${name}_linklayer`, u8],
    [`${name}_overhead`, u16],
    [`${name}_cell_align`, u16],
    [`${name}_mpu`, u16],
    [name, u32],
  ] as const;
}

/** TC_LINKLAYER_ETHERNET: with it the kernel wants no table of transmission times. */
export const ETHERNET = 1;

/** Bytes a second, as the 32 bits of tc_ratespec hold them. */
export function clipped(rate: number): number {
  return Math.min(rate, 0xffffffff);
}

export function rate64(rate: number | undefined): bigint | undefined {
  return rate !== undefined && rate > 0xffffffff ? BigInt(rate) : undefined;
}

export function wholeRate(clipped: number, wide: bigint | undefined): number {
  return wide === undefined ? clipped : Number(wide);
}
