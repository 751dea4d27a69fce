import { type Unknown, bytes, mapped, nested, string, struct, table, u32 as number, unread } from '../attribute.js';
import { type Action, actions } from '../action.js';
import { Bytes } from '../bytes.js';
import { formatHandle, formatU32Handle, parseHandle, parseU32Handle } from '../handle.js';
import { flagBits, flagNames } from '../names.js';
import { Writer } from '../writer.js';
import { filterFlags, sentFlags } from './flags.js';

const selectorFlags = { terminal: 1, offset: 2, varoffset: 4, eat: 8 };
const SELECTOR_SIZE = 16;
const KEY_SIZE = 16;

/** Four bytes of the packet, compared under a mask: both as numbers in the order of the packet. */
export interface U32Key {
  readonly mask: number;
  readonly value: number;
  /** In bytes from the network header, a multiple of 4; negative: the link-layer header, the destination MAC at -14. */
  readonly offset: number;
  /** -1: from where the transport header was found ('nexthdr+'). */
  readonly offsetMask?: number;
}

/** struct tc_u32_sel. */
export interface U32Selector {
  /** 'terminal' (a match ends the search: what has actions or a class), 'offset', 'varoffset', 'eat'. */
  readonly flags?: readonly string[];
  readonly keys: readonly U32Key[];
  /** For a linked table: where the next header is. */
  readonly shift?: number;
  readonly offsetMask?: number;
  readonly fixedOffset?: number;
  readonly variableOffset?: number;
  /** For a linked table: what its hash is made of. */
  readonly hashOffset?: number;
  readonly hashMask?: number;
}

const selector = mapped(bytes, decodeSelector, encodeSelector);

/** struct tc_u32_pcnt: looked at, matched; then for each key, which is left out. */
const counters = mapped<Uint8Array, { readonly seen: bigint; readonly hits: bigint }>(
  bytes,
  (data) => {
    if (data.length < 16) return undefined;
    const { buffer } = Bytes.copy(data);
    const [seen, hits] = new BigUint64Array(buffer, 0, 2);
    return { seen: seen!, hits: hits! };
  },
  () => new Uint8Array(),
);

const u32Table = table('TCA_U32', {
  classid: [1, number],
  hash: [2, number],
  link: [3, number],
  divisor: [4, number],
  sel: [5, selector],
  police: [6, bytes],
  act: [7, actions],
  indev: [8, string],
  pcnt: [9, counters],
  mark: [
    10,
    struct([
      ['value', number],
      ['mask', number],
      ['success', number],
    ]),
  ],
  flags: [11, filterFlags],
  pad: [12, unread],
});

/** Comparisons of 32-bit words. An entry of a table of hashes, or ('divisor') a table. */
export interface U32Options {
  readonly selector?: U32Selector;
  /** Where a match is sent: '1:10'. */
  readonly classid?: string;
  /** The table and bucket where the entry stands: '800:'. Absent in a request: the root table. */
  readonly hash?: string;
  /** The table where the search goes on: '1:'. */
  readonly link?: string;
  /** How many buckets the table has. */
  readonly divisor?: number;
  readonly indev?: string;
  /** `success` counts, and is not sent. */
  readonly mark?: { readonly value: number; readonly mask: number; readonly success?: number };
  /** 'skip_hw', 'skip_sw', 'in_hw', 'not_in_hw'. */
  readonly flags?: readonly string[];
  readonly police?: Uint8Array;
  readonly counters?: { readonly seen: bigint; readonly hits: bigint };
  readonly unknown?: readonly Unknown[];
}

export const u32 = mapped(
  nested(u32Table),
  (raw): U32Options & { actions?: readonly Action[] } => {
    const { classid, hash, link, divisor, sel, police, act, indev, pcnt, mark, flags, unknown } = raw;
    return {
      ...(sel !== undefined && { selector: sel }),
      ...(act !== undefined && { actions: act }),
      ...(classid !== undefined && { classid: formatHandle(classid) }),
      ...(hash !== undefined && { hash: formatU32Handle(hash) }),
      ...(link !== undefined && { link: formatU32Handle(link) }),
      ...(divisor !== undefined && { divisor }),
      ...(indev !== undefined && { indev }),
      ...(mark !== undefined && { mark }),
      ...(flags !== undefined && flags.length > 0 && { flags }),
      ...(police !== undefined && { police }),
      ...(pcnt !== undefined && { counters: pcnt }),
      ...(unknown !== undefined && { unknown }),
    };
  },
  (options: U32Options & { actions?: readonly Action[] }) => ({
    classid: options.classid === undefined ? undefined : parseHandle(options.classid),
    hash: options.hash === undefined ? undefined : parseU32Handle(options.hash),
    link: options.link === undefined ? undefined : parseU32Handle(options.link),
    divisor: options.divisor,
    sel: options.selector,
    police: options.police,
    act: options.actions,
    indev: options.indev,
    mark: options.mark === undefined ? undefined : { ...options.mark, success: 0 },
    flags: sentFlags(options.flags),
    unknown: options.unknown,
  }),
);

function decodeSelector(data: Uint8Array): U32Selector | undefined {
  const nkeys = data[2];
  if (nkeys === undefined || data.length < SELECTOR_SIZE + nkeys * KEY_SIZE) return undefined;
  const { view, u16, u32, u8 } = Bytes.copy(data);
  const [shift, offsetMask, fixedOffset, variableOffset] = [u8[1]!, view.getUint16(4), u16[3]!, signed(u16[4]!)];
  const [hashOffset, hashMask] = [signed(u16[5]!), view.getUint32(12)];
  return {
    ...(u8[0] !== 0 && { flags: flagNames(selectorFlags, u8[0]!) }),
    keys: Array.from({ length: nkeys }, (_, index) => {
      const at = SELECTOR_SIZE + index * KEY_SIZE;
      const mask = u32[(at + 12) >> 2]! | 0;
      return {
        mask: view.getUint32(at),
        value: view.getUint32(at + 4),
        offset: u32[(at + 8) >> 2]! | 0,
        ...(mask !== 0 && { offsetMask: mask }),
      };
    }),
    ...(shift !== 0 && { shift }),
    ...(offsetMask !== 0 && { offsetMask }),
    ...(fixedOffset !== 0 && { fixedOffset }),
    ...(variableOffset !== 0 && { variableOffset }),
    ...(hashOffset !== 0 && { hashOffset }),
    ...(hashMask !== 0 && { hashMask }),
  };
}

function encodeSelector(selector: U32Selector): Uint8Array {
  const writer = new Writer();
  writer.byte(flagBits(selectorFlags, selector.flags ?? []));
  writer.byte(selector.shift ?? 0);
  writer.byte(selector.keys.length);
  writer.byte(0);
  writer.be16(selector.offsetMask ?? 0);
  writer.u16(selector.fixedOffset ?? 0);
  writer.u16(selector.variableOffset ?? 0);
  writer.u16(selector.hashOffset ?? 0);
  writer.be32(selector.hashMask ?? 0);
  for (const { mask, value, offset, offsetMask } of selector.keys) {
    writer.be32(mask);
    writer.be32(value);
    writer.u32(offset);
    writer.u32(offsetMask ?? 0);
  }
  return writer.finish();
}

function signed(half: number): number {
  return (half << 16) >> 16;
}
