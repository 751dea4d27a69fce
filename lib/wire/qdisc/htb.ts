import { type Unknown, flag, mapped, nested, struct, table, u32 } from '../attribute.js';

const htbTable = table('TCA_HTB', {
  init: [
    2,
    struct([
      ['version', u32],
      ['rate2quantum', u32],
      ['defcls', u32],
      ['debug', u32],
      ['direct_pkts', u32],
    ]),
  ],
  direct_qlen: [5, u32],
  offload: [9, flag],
});

/** TC_HTB_PROTOVER. */
const VERSION = 3;

/** Hierarchical token bucket: the qdisc. Its classes are messages of their own (RTM_NEWTCLASS). */
export interface HtbOptions {
  /** The minor number of the class for what no filter classifies; absent or 0: it is sent unshaped. */
  readonly defaultClass?: number;
  /** A class's quantum is its rate divided by this; absent in a request: 10. */
  readonly rate2quantum?: number;
  readonly debug?: number;
  /** Packets that may wait unshaped. */
  readonly directQueueLength?: number;
  readonly offload?: boolean;
  /** Sent unshaped so far. */
  readonly directPackets?: number;
  readonly unknown?: readonly Unknown[];
}

export const htb = mapped(
  nested(htbTable),
  ({ init, direct_qlen, offload, unknown }): HtbOptions | undefined =>
    init === undefined
      ? undefined
      : {
          defaultClass: init.defcls,
          rate2quantum: init.rate2quantum,
          ...(init.debug !== 0 && { debug: init.debug }),
          ...(direct_qlen !== undefined && { directQueueLength: direct_qlen }),
          ...(offload === true && { offload }),
          directPackets: init.direct_pkts,
          ...(unknown !== undefined && { unknown }),
        },
  ({ defaultClass, rate2quantum, debug, directQueueLength, offload, unknown }: HtbOptions) => ({
    init: { version: VERSION, rate2quantum: rate2quantum ?? 10, defcls: defaultClass ?? 0, debug: debug ?? 0, direct_pkts: 0 },
    direct_qlen: directQueueLength,
    offload,
    unknown,
  }),
);
