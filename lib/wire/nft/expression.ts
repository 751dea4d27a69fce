// What rules are made of: NFTA_EXPR_*, and the attributes of each kind. Registers: 1 to 4 of 16 bytes, or 8 to 23 of 4 (1 is 8 to 11).
import { type Format, type Values, be32, be64, bits, bytes, kinded, mapped, named, nested, repeated, string, table } from '../attribute.js';
import {
  bitwiseOperations,
  byteorderOperations,
  checksums,
  comparisons,
  ctKeys,
  dynsetOperations,
  families,
  fibFlags,
  fibResults,
  metaKeys,
  natFlags,
  natTypes,
  payloadBases,
  rejectTypes,
  socketKeys,
} from './numbers.js';

/** NF_ACCEPT and kin, NFT_*: the negative ones are nftables' own. */
const verdictCodes: Readonly<Record<string, number>> = { drop: 0, accept: 1, stolen: 2, queue: 3, repeat: 4, continue: -1, break: -2, jump: -3, goto: -4, return: -5 }; // prettier-ignore

const verdictCode = mapped<number, string>(
  be32,
  (code) => Object.keys(verdictCodes).find((name) => verdictCodes[name] === (code | 0)) ?? String(code),
  (name) => (verdictCodes[name] ?? Number(name)) >>> 0,
);

/** A register's contents, or what becomes of the packet. */
export const data = nested(
  table('NFTA_DATA', {
    value: [1, bytes],
    verdict: [2, nested(table('NFTA_VERDICT', { code: [1, verdictCode], chain: [2, string], chain_id: [3, be32] }))],
  }),
);
export type NftData = Format<unknown> & typeof data extends Format<infer T> ? NonNullable<T> : never;

const address = { reg_addr_min: [3, be32], reg_addr_max: [4, be32], reg_proto_min: [5, be32], reg_proto_max: [6, be32] } as const;

export const expressionKinds = {
  immediate: nested(table('NFTA_IMMEDIATE', { dreg: [1, be32], data: [2, data] })),
  payload: nested(
    table('NFTA_PAYLOAD', {
      dreg: [1, be32],
      base: [2, named(be32, payloadBases)],
      offset: [3, be32],
      len: [4, be32],
      sreg: [5, be32],
      csum_type: [6, named(be32, checksums)],
      csum_offset: [7, be32],
      csum_flags: [8, bits(be32, { pseudohdr: 1 })],
    }),
  ),
  meta: nested(table('NFTA_META', { dreg: [1, be32], key: [2, named(be32, metaKeys)], sreg: [3, be32] })),
  cmp: nested(table('NFTA_CMP', { sreg: [1, be32], op: [2, named(be32, comparisons)], data: [3, data] })),
  range: nested(table('NFTA_RANGE', { sreg: [1, be32], op: [2, named(be32, comparisons)], from_data: [3, data], to_data: [4, data] })),
  bitwise: nested(
    table('NFTA_BITWISE', {
      sreg: [1, be32],
      dreg: [2, be32],
      len: [3, be32],
      mask: [4, data],
      xor: [5, data],
      op: [6, named(be32, bitwiseOperations)],
      data: [7, data],
    }),
  ),
  byteorder: nested(
    table('NFTA_BYTEORDER', {
      sreg: [1, be32],
      dreg: [2, be32],
      op: [3, named(be32, byteorderOperations)],
      len: [4, be32],
      size: [5, be32],
    }),
  ),
  lookup: nested(
    table('NFTA_LOOKUP', { set: [1, string], sreg: [2, be32], dreg: [3, be32], set_id: [4, be32], flags: [5, bits(be32, { inv: 1 })] }),
  ),
  dynset: nested(
    table('NFTA_DYNSET', {
      set_name: [1, string],
      set_id: [2, be32],
      op: [3, named(be32, dynsetOperations)],
      sreg_key: [4, be32],
      sreg_data: [5, be32],
      timeout: [6, be64], // ms
      expr: [7, bytes],
      flags: [9, bits(be32, { inv: 1, expr: 2 })],
    }),
  ),
  counter: nested(table('NFTA_COUNTER', { bytes: [1, be64], packets: [2, be64] })),
  nat: nested(
    table('NFTA_NAT', {
      type: [1, named(be32, natTypes)],
      family: [2, named(be32, families)],
      ...address,
      flags: [7, bits(be32, natFlags)],
    }),
  ),
  masq: nested(table('NFTA_MASQ', { flags: [1, bits(be32, natFlags)], reg_proto_min: [2, be32], reg_proto_max: [3, be32] })),
  redir: nested(table('NFTA_REDIR', { reg_proto_min: [1, be32], reg_proto_max: [2, be32], flags: [3, bits(be32, natFlags)] })),
  fwd: nested(table('NFTA_FWD', { sreg_dev: [1, be32], sreg_addr: [2, be32], nfproto: [3, named(be32, families)] })),
  dup: nested(table('NFTA_DUP', { sreg_addr: [1, be32], sreg_dev: [2, be32] })),
  ct: nested(table('NFTA_CT', { dreg: [1, be32], key: [2, named(be32, ctKeys)], direction: [3, bytes], sreg: [4, be32] })),
  fib: nested(table('NFTA_FIB', { dreg: [1, be32], result: [2, named(be32, fibResults)], flags: [3, bits(be32, fibFlags)] })),
  socket: nested(table('NFTA_SOCKET', { key: [1, named(be32, socketKeys)], dreg: [2, be32], level: [3, be32] })),
  tproxy: nested(table('NFTA_TPROXY', { family: [1, named(be32, families)], reg_addr: [2, be32], reg_port: [3, be32] })),
  reject: nested(table('NFTA_REJECT', { type: [1, named(be32, rejectTypes)], icmp_code: [2, bytes] })),
  // What iptables-nft(8) makes of its own matches and targets: nft_compat.h.
  match: nested(table('NFTA_MATCH', { name: [1, string], rev: [2, be32], info: [3, bytes] })),
  target: nested(table('NFTA_TARGET', { name: [1, string], rev: [2, be32], info: [3, bytes] })),
};

type Kinds = { [K in keyof typeof expressionKinds]: (typeof expressionKinds)[K] extends Format<infer T> ? NonNullable<T> : never };

/** One step of a rule: `{ name: 'cmp', data: { sreg: 1, op: '==', data: { value } } }`. Another kind's data are kept as bytes. */
export type NftExpression =
  | { [K in keyof Kinds]: { readonly name: K; readonly data: Kinds[K] } }[keyof Kinds]
  | { readonly name: string; readonly data?: Uint8Array };

const element = nested(table('NFTA_EXPR', { name: [1, string], data: [2, kinded('name', expressionKinds)] }));
const listTable = table('NFTA_LIST', { elem: [1, repeated(element)] });

export const expressions = mapped<Values<typeof listTable>, readonly NftExpression[]>(
  nested(listTable),
  ({ elem }) => (elem ?? []) as unknown as readonly NftExpression[],
  (given) => ({ elem: given }),
);
