import { bits, u32 } from '../attribute.js';

/** TCA_CLS_FLAGS_*: hardware. */
const names = { skip_hw: 1, skip_sw: 2, in_hw: 4, not_in_hw: 8, verbose: 16 };

export const filterFlags = bits(u32, names);

/** Without what the kernel finds out itself; undefined where nothing is left. */
export function sentFlags(flags: readonly string[] | undefined): readonly string[] | undefined {
  const sent = flags?.filter((name) => name !== 'in_hw' && name !== 'not_in_hw');
  return sent === undefined || sent.length === 0 ? undefined : sent;
}
