import { nested, table, u32, u8 } from '../attribute.js';

/** Times in microseconds, quantum and memory in bytes, limit in packets. */
export const fqCodel = nested(
  table('TCA_FQ_CODEL', {
    target: [1, u32],
    limit: [2, u32],
    interval: [3, u32],
    ecn: [4, u32],
    flows: [5, u32],
    quantum: [6, u32],
    ce_threshold: [7, u32],
    drop_batch_size: [8, u32],
    memory_limit: [9, u32],
    ce_threshold_selector: [10, u8],
    ce_threshold_mask: [11, u8],
  }),
);
