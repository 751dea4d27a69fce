import { mapped, bytes, struct, u32 } from '../attribute.js';
import { Bytes } from '../bytes.js';
import { Writer } from '../writer.js';

/** pfifo, bfifo, pfifo_head_drop: struct tc_fifo_qopt. `limit` in packets; of bfifo in bytes. */
export const fifo = struct([['limit', u32]]);

/** struct tc_prio_qopt. */
export interface PrioOptions {
  readonly bands: number;
  /** The band of each of the 16 priorities. */
  readonly priomap: readonly number[];
}

/** prio, and pfifo_fast, which only tells it. */
export const prio = mapped<Uint8Array, PrioOptions>(
  bytes,
  (data) => (data.length < 20 ? undefined : { bands: Bytes.copy(data).u32[0]!, priomap: [...data.subarray(4, 20)] }),
  ({ bands, priomap }) => {
    const writer = new Writer();
    writer.u32(bands);
    for (let priority = 0; priority < 16; priority++) writer.byte(priomap[priority] ?? 0);
    return writer.finish();
  },
);
