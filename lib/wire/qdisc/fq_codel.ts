import { mapped, nested, table, u32, u8 } from '../attribute.js';

/**
 * The kernel keeps times in units of 1.024 µs, and rounds down both when it is told them and when it tells them: 5000 comes back as 4999,
 * which, sent again, would be 4998. The least that it would have kept so: itself where the division leaves nothing, else one more.
 */
const time = mapped(
  u32,
  (told) => (told % 128 === 0 ? told : told + 1),
  (time) => time,
);

/** Times in microseconds, quantum and memory in bytes, limit in packets. */
export const fqCodel = nested(
  table('TCA_FQ_CODEL', {
    target: [1, time],
    limit: [2, u32],
    interval: [3, time],
    ecn: [4, u32],
    flows: [5, u32],
    quantum: [6, u32],
    ce_threshold: [7, time],
    drop_batch_size: [8, u32],
    memory_limit: [9, u32],
    ce_threshold_selector: [10, u8],
    ce_threshold_mask: [11, u8],
  }),
);
