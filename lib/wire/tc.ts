// RTM_NEWQDISC, RTM_NEWTFILTER and kin: struct tcmsg and TCA_* of uapi/linux/rtnetlink.h.
import { type Unknown, type Values, bytes, flag, kinded, nested, string, struct, table, u16, u32, u8, unread } from './attribute.js';
import type { Action } from './action.js';
import { type Bytes, littleEndian } from './bytes.js';
import { type BpfOptions, bpf } from './filter/bpf.js';
import { type FlowerOptions, flower } from './filter/flower.js';
import { type MatchallOptions, matchall } from './filter/matchall.js';
import { type U32Options, u32 as u32Filter } from './filter/u32.js';
import { formatFilterParent, formatHandle, formatU32Handle, parseFilterParent, parseHandle, parseU32Handle } from './handle.js';
import { type Message, decodeAttributes, decodeHeader, encodeMessage, messageFamily } from './message.js';
import { Naming } from './names.js';
import { type PrioOptions, fifo, prio } from './qdisc/fifo.js';
import { fqCodel } from './qdisc/fq_codel.js';
import { type HtbOptions, htb } from './qdisc/htb.js';
import { type NetemOptions, netem } from './qdisc/netem.js';
import { none } from './qdisc/none.js';
import { type TbfOptions, tbf } from './qdisc/tbf.js';
import { type Statistics, decodeStatistics, statisticsTable } from './statistics.js';

export const RTM_NEWQDISC = 36;
export const RTM_DELQDISC = 37;
export const RTM_GETQDISC = 38;
export const RTM_NEWTFILTER = 44;
export const RTM_DELTFILTER = 45;
export const RTM_GETTFILTER = 46;

/** The options of each kind of qdisc. Another's are kept as bytes. */
export const qdiscKinds = {
  ingress: none,
  clsact: none,
  noqueue: none,
  mq: none,
  pfifo: fifo,
  bfifo: fifo,
  pfifo_head_drop: fifo,
  pfifo_fast: prio,
  prio,
  fq_codel: fqCodel,
  tbf,
  htb,
  netem,
};

/** The options of each kind of filter. Another's, actions among them, are kept as bytes. */
export const filterKinds = { u32: u32Filter, matchall, flower, bpf };

const header = [
  ['family', u8],
  ['pad1', u8],
  ['pad2', u16],
  ['ifindex', u32],
  ['handle', u32],
  ['parent', u32],
  ['info', u32],
] as const;

const common = {
  kind: [1, string],
  stats: [3, unread], // TCA_STATS2 says it with 64 bits
  xstats: [4, bytes],
  rate: [5, bytes],
  fcnt: [6, bytes],
  stats2: [7, nested(statisticsTable)],
  pad: [9, unread],
  chain: [11, u32],
  ingress_block: [13, u32],
  egress_block: [14, u32],
  ext_warn_msg: [16, string],
} as const;

/** struct tc_sizespec, and the table of sizes. */
const stab = nested(
  table('TCA_STAB', {
    base: [
      1,
      struct([
        ['cell_log', u8],
        ['size_log', u8],
        ['cell_align', u16],
        ['overhead', u32],
        ['linklayer', u32],
        ['mpu', u32],
        ['mtu', u32],
        ['tsize', u32],
      ]),
    ],
    data: [2, bytes],
  }),
);

export const qdiscFamily = messageFamily(
  header,
  table('TCA', {
    ...common,
    options: [2, kinded('kind', qdiscKinds)],
    stab: [8, stab],
    dump_invisible: [10, flag],
    hw_offload: [12, u8],
  }),
);

export const filterFamily = messageFamily(
  header,
  table('TCA', { ...common, options: [2, kinded('kind', filterKinds)], dump_flags: [15, bytes] }),
);

/** TCM_IFINDEX_MAGIC_BLOCK: in place of an ifindex, where the parent is a shared block. */
export const TCM_IFINDEX_MAGIC_BLOCK = 0xffffffff;

const TC_H_INGRESS = 0xfffffff1;

export type QdiscOptions =
  HtbOptions | TbfOptions | NetemOptions | PrioOptions | { readonly limit: number } | NonNullable<(typeof fqCodel)['value']> | Uint8Array;

/** How packets wait for a link, or, as 'ingress' and 'clsact', where filters hang. */
export interface Qdisc {
  readonly object?: 'qdisc';
  readonly ifindex: number;
  readonly kind: string;
  /** '1:', 'ffff:'; '0:' is 'none', of those that the kernel made. */
  readonly handle: string;
  /** 'root', 'ingress', 'clsact', or a class: '1:10'. See handle.ts. */
  readonly parent: string;
  readonly options?: QdiscOptions;
  /** TCA_STAB: packets count with other sizes than they have. */
  readonly sizes?: NonNullable<(typeof stab)['value']>;
  readonly ingressBlock?: number;
  readonly egressBlock?: number;
  // what the kernel tells, and is not sent
  readonly statistics?: Statistics;
  /** Of the kind's own, as they came. */
  readonly xstats?: Uint8Array;
  readonly offloaded?: boolean;
  readonly references?: number;
  readonly unknown?: readonly Unknown[];
}

/** What there is to say of a qdisc that is added or deleted. */
export type QdiscRequest = Pick<Qdisc, 'ifindex' | 'parent'> & Partial<Qdisc>;

export function decodeQdisc(from: Bytes, message: Message): Qdisc {
  const { ifindex, handle, parent, info } = decodeHeader(qdiscFamily, from, message);
  const attributes = decodeAttributes(qdiscFamily, from, message);
  const { kind, options, stats2, xstats, stab, hw_offload, ingress_block, egress_block, unknown } = attributes;
  return {
    object: 'qdisc',
    ifindex,
    kind: kind ?? '',
    handle: formatHandle(handle),
    parent: parent === TC_H_INGRESS && (kind === 'ingress' || kind === 'clsact') ? kind : formatHandle(parent),
    ...(options !== undefined && !isEmpty(options) && { options: options }),
    ...(stab !== undefined && { sizes: stab }),
    ...(ingress_block !== undefined && { ingressBlock: ingress_block }),
    ...(egress_block !== undefined && { egressBlock: egress_block }),
    ...(stats2 !== undefined && { statistics: decodeStatistics(stats2) }),
    ...(xstats !== undefined && { xstats }),
    ...(hw_offload !== undefined && hw_offload !== 0 && { offloaded: true }),
    ...(info !== 0 && { references: info }),
    ...(unknown !== undefined && { unknown }),
  };
}

function isEmpty(value: object): boolean {
  for (const _ in value) return false;
  return true;
}

/** `type` is RTM_NEWQDISC or RTM_DELQDISC. ingress and clsact have the handle 'ffff:' if none is given. */
export function encodeQdisc(type: number, flags: number, qdisc: QdiscRequest): Uint8Array {
  const { ifindex, kind, handle, parent, options, sizes, ingressBlock, egressBlock, unknown } = qdisc;
  const at = parseHandle(parent);
  return encodeMessage(
    qdiscFamily,
    type,
    flags,
    { ifindex, handle: handle === undefined ? (at === TC_H_INGRESS ? 0xffff0000 : 0) : parseHandle(handle), parent: at },
    {
      kind,
      options: options as Values<typeof qdiscFamily.table>['options'],
      stab: sizes,
      ingress_block: ingressBlock,
      egress_block: egressBlock,
      unknown,
    },
  );
}

/** A dump of RTM_GETQDISC: of the whole namespace, the kernel (6.18) heeds no ifindex. `invisible`: those too that are made by default within others. */
export function encodeQdiscDump(flags: number, invisible = false): Uint8Array {
  return encodeMessage(qdiscFamily, RTM_GETQDISC, flags, {}, { dump_invisible: invisible });
}

// ------------------------------------------------------------------ filters

/** ETH_P_*, with the names of tc(8). */
export const filterProtocols = new Naming('protocol', {
  all: 0x0003,
  ip: 0x0800,
  arp: 0x0806,
  rarp: 0x8035,
  ipv6: 0x86dd,
  '802.1Q': 0x8100,
  '802.1ad': 0x88a8,
  mpls_uc: 0x8847,
  mpls_mc: 0x8848,
  ppp_disc: 0x8863,
  ppp_ses: 0x8864,
  LLDP: 0x88cc,
});

export type FilterOptions = U32Options | MatchallOptions | FlowerOptions | BpfOptions | Uint8Array;

/** A filter of traffic control. A dump has those without handle as well that stand for all of one priority. */
export interface Filter {
  readonly object?: 'filter';
  /** TCM_IFINDEX_MAGIC_BLOCK: the parent is the number of a shared block. */
  readonly ifindex: number;
  /** The qdisc or class: 'ffff:', 'ffff:fff2', 'ffff:fff3', '1:'. See handle.ts. In a request also 'ingress', 'egress', and 'root' for the root qdisc. */
  readonly parent: string;
  /** 'all', 'ip', 'ipv6', 'arp', '802.1Q', ... or '0x88cc'. */
  readonly protocol: string;
  /** 1 to 65535; the lower one is asked first. 0 in a request: the kernel chooses (from 49152 downwards). */
  readonly priority: number;
  /** '800::800' of u32, else '0x1'. */
  readonly handle?: string;
  readonly chain?: number;
  readonly kind: string;
  readonly options?: FilterOptions;
  readonly actions?: readonly Action[];
  readonly statistics?: Statistics;
  readonly unknown?: readonly Unknown[];
}

/** A filter to be added or deleted. To delete without a handle: all of that priority; without priority: all of that parent. */
export type FilterRequest = Pick<Filter, 'ifindex' | 'parent'> & Partial<Filter>;

export function decodeFilter(from: Bytes, message: Message): Filter {
  const { ifindex, handle, parent, info } = decodeHeader(filterFamily, from, message);
  const { kind, options, chain, stats2, unknown } = decodeAttributes(filterFamily, from, message);
  const { actions, ...own } = options === undefined || options instanceof Uint8Array ? { actions: undefined } : options;
  const protocol = swap(info & 0xffff);
  return {
    object: 'filter',
    ifindex,
    parent: ifindex === TCM_IFINDEX_MAGIC_BLOCK ? String(parent) : formatFilterParent(parent),
    protocol: protocolName(protocol),
    priority: info >>> 16,
    ...(handle !== 0 && { handle: kind === 'u32' ? formatU32Handle(handle) : `0x${handle.toString(16)}` }),
    ...(chain !== undefined && { chain }),
    kind: kind ?? '',
    ...(options !== undefined && { options: options instanceof Uint8Array ? options : own }),
    ...(actions !== undefined && { actions }),
    ...(stats2 !== undefined && { statistics: decodeStatistics(stats2) }),
    ...(unknown !== undefined && { unknown }),
  };
}

function protocolName(number: number): string {
  const name = filterProtocols.name(number);
  return name === String(number) ? `0x${number.toString(16).padStart(4, '0')}` : name;
}

/** tcm_info holds the protocol in network order, whatever the machine's. */
function swap(half: number): number {
  return littleEndian ? ((half & 0xff) << 8) | (half >>> 8) : half;
}

/** `type` is RTM_NEWTFILTER or RTM_DELTFILTER. */
export function encodeFilter(type: number, flags: number, filter: FilterRequest): Uint8Array {
  const { kind, options, actions, chain, handle, unknown } = filter;
  const block = filter.ifindex === TCM_IFINDEX_MAGIC_BLOCK;
  const body = options instanceof Uint8Array || (options === undefined && actions === undefined) ? options : { ...options, actions };
  return encodeMessage(
    filterFamily,
    type,
    flags,
    {
      ifindex: filter.ifindex,
      handle: handle === undefined ? 0 : kind === 'u32' ? parseU32Handle(handle) : Number(handle),
      parent: block ? Number(filter.parent) : parseFilterParent(filter.parent),
      info: (((filter.priority ?? 0) << 16) | swap(filter.protocol === undefined ? 0 : filterProtocols.number(filter.protocol))) >>> 0,
    },
    { kind, options: body as Values<typeof filterFamily.table>['options'], chain, unknown },
  );
}

/** A dump of RTM_GETTFILTER, of one parent; 'root' for the root qdisc's. `chain`: of that one only. */
export function encodeFilterDump(flags: number, ifindex: number, parent: string, chain?: number): Uint8Array {
  const block = ifindex === TCM_IFINDEX_MAGIC_BLOCK;
  return encodeMessage(
    filterFamily,
    RTM_GETTFILTER,
    flags,
    { ifindex, parent: block ? Number(parent) : parseFilterParent(parent) },
    { chain },
  );
}
