import { type Unknown, mapped, nested, struct, table, u16, u32, u64, unread } from '../attribute.js';
import { formatHandle, parseHandle } from '../handle.js';
import { type ActionBody, generic, readGeneric, times, writeGeneric } from './generic.js';

const skbeditTable = table('TCA_SKBEDIT', {
  tm: [1, times],
  parms: [2, struct(generic)],
  priority: [3, u32],
  queue_mapping: [4, u16],
  mark: [5, u32],
  pad: [6, unread],
  ptype: [7, u16],
  mask: [8, u32],
  flags: [9, u64],
  queue_mapping_max: [10, u16],
});

/** What is known of a packet beside its bytes. Absent: left as it is. */
export interface SkbeditOptions {
  /** The class, as a handle: '1:10'. */
  readonly priority?: string;
  readonly queue?: number;
  /** With it, a queue between the two by hash (since 6.1). */
  readonly queueMax?: number;
  readonly mark?: number;
  /** Which bits of the mark are set. */
  readonly markMask?: number;
  /** PACKET_HOST 0, PACKET_BROADCAST 1, PACKET_MULTICAST 2, PACKET_OTHERHOST 3. */
  readonly packetType?: number;
  /** SKBEDIT_F_INHERITDSFIELD 0x20, SKBEDIT_F_TXQ_SKBHASH 0x40. */
  readonly flags?: bigint;
  readonly unknown?: readonly Unknown[];
}

export const skbedit = mapped(
  nested(skbeditTable),
  ({
    tm,
    parms,
    priority,
    queue_mapping,
    mark,
    ptype,
    mask,
    flags,
    queue_mapping_max,
    unknown,
  }): (SkbeditOptions & ActionBody) | undefined =>
    parms === undefined
      ? undefined
      : {
          generic: readGeneric(parms),
          ...(tm !== undefined && { times: tm }),
          ...(priority !== undefined && { priority: formatHandle(priority) }),
          ...(queue_mapping !== undefined && { queue: queue_mapping }),
          ...(queue_mapping_max !== undefined && { queueMax: queue_mapping_max }),
          ...(mark !== undefined && { mark }),
          ...(mask !== undefined && { markMask: mask }),
          ...(ptype !== undefined && { packetType: ptype }),
          ...(flags !== undefined && flags !== 0n && { flags }),
          ...(unknown !== undefined && { unknown }),
        },
  ({ generic, priority, queue, queueMax, mark, markMask, packetType, flags, unknown }: SkbeditOptions & ActionBody) => ({
    parms: writeGeneric(generic),
    priority: priority === undefined ? undefined : parseHandle(priority),
    queue_mapping: queue,
    mark,
    ptype: packetType,
    mask: markMask,
    flags,
    queue_mapping_max: queueMax,
    unknown,
  }),
);
