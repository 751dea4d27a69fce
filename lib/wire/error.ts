// NLMSG_ERROR and NLMSG_DONE with what the kernel has to say beyond an error number: uapi/linux/netlink.h, enum nlmsgerr_attrs
// (since 4.12; missing attributes since 6.0). A success carries warnings in the same way.
import {
  type AnyTable,
  type Unknown,
  bytes,
  decode,
  mapped,
  named,
  nested,
  pathAt,
  string,
  table,
  nameOfType,
  u32,
  u64,
  unread,
} from './attribute.js';
import { Bytes } from './bytes.js';
import { messageFamilyOf } from './families.js';
import { type Message, NLMSG_ERROR, NLMSG_HDRLEN, NLM_F_ACK_TLVS, NLM_F_CAPPED } from './message.js';
import { Naming } from './names.js';

/** NL_ATTR_TYPE_*. */
// prettier-ignore
const attributeTypes = new Naming('attribute type', {
  invalid: 0, flag: 1, u8: 2, u16: 3, u32: 4, u64: 5, s8: 6, s16: 7, s32: 8, s64: 9, binary: 10, string: 11, nul_string: 12, nested: 13,
  nested_array: 14, bitfield32: 15, sint: 16, uint: 17,
});

/** Bounds, as numbers: those over 2^53 (no upper bound, that is) lose their last digits. */
const unsigned = mapped<bigint, number>(u64, Number, (value) => BigInt(value));
const signed = mapped<bigint, number>(
  u64,
  (value) => Number(BigInt.asIntN(64, value)),
  (value) => BigInt.asUintN(64, BigInt(value)),
);

const policy = table('NL_POLICY_TYPE_ATTR', {
  type: [1, named(u32, attributeTypes)],
  min_value_s: [2, signed],
  max_value_s: [3, signed],
  min_value_u: [4, unsigned],
  max_value_u: [5, unsigned],
  min_length: [6, u32],
  max_length: [7, u32],
  policy_idx: [8, u32],
  policy_maxtype: [9, u32],
  bitfield32_mask: [10, u32],
  pad: [11, unread],
  mask: [12, unsigned],
});

export const errorTable = table('NLMSGERR_ATTR', {
  msg: [1, string],
  offs: [2, u32],
  cookie: [3, bytes],
  policy: [4, nested(policy)],
  miss_type: [5, u32],
  miss_nest: [6, u32],
});

/** What an attribute may hold, as far as the kernel says it: NL_POLICY_TYPE_ATTR_*. */
export interface Policy {
  /** 'u32', 'nul_string', 'binary', 'nested', ... */
  readonly type?: string;
  readonly min?: number;
  readonly max?: number;
  /** Bytes. Of a string, without its NUL. */
  readonly minLength?: number;
  readonly maxLength?: number;
  /** The bits that may be set. */
  readonly mask?: number;
}

/** The kernel's answer to one request. */
export interface Ack {
  /** As in errno.h, positive; 0: done. */
  readonly errno: number;
  /** nlmsg_type of the request; absent in NLMSG_DONE. */
  readonly requestType?: number;
  /** Of an error, or the warning that comes with a success. */
  readonly message?: string;
  /** The attribute at fault: bytes from the beginning of the request. */
  readonly offset?: number;
  readonly policy?: Policy;
  /** An attribute that should have been there, and where the nest is that lacks it; without: the message itself. */
  readonly missingType?: number;
  readonly missingNest?: number;
  readonly cookie?: Uint8Array;
  readonly unknown?: readonly Unknown[];
}

/** Of NLMSG_ERROR, which every acknowledgement is, and NLMSG_DONE, which ends a dump. */
export function decodeAck(from: Bytes, { type, flags, start, end }: Message): Ack {
  const value = end - start >= 4 ? from.u32[start >> 2]! | 0 : 0;
  // Negative numbers are errors; NLMSG_DONE may carry what a dump returned, which is none.
  const errno = value < 0 ? -value : 0;
  const error = type === NLMSG_ERROR;
  const quoted = error && end - start >= 4 + NLMSG_HDRLEN;
  const request = quoted ? { requestType: from.u16[(start + 8) >> 1]! } : {};
  if ((flags & NLM_F_ACK_TLVS) === 0 || (error && !quoted)) return { errno, ...request };
  // Behind the error number NLMSG_ERROR quotes the request: its header, and its payload too unless the answer is capped.
  const length = !error ? 0 : (flags & NLM_F_CAPPED) !== 0 ? NLMSG_HDRLEN : from.u32[(start + 4) >> 2]!;
  // Aligned without `&`: a hostile length of 2^32 - 1 must not become negative.
  const attributes = decode(errorTable, from, start + 4 + Math.ceil(length / 4) * 4, end);
  return {
    errno,
    ...request,
    ...(attributes.msg !== undefined && { message: attributes.msg }),
    ...(attributes.offs !== undefined && { offset: attributes.offs }),
    ...(attributes.policy !== undefined && { policy: readable(attributes.policy) }),
    ...(attributes.miss_type !== undefined && { missingType: attributes.miss_type }),
    ...(attributes.miss_nest !== undefined && { missingNest: attributes.miss_nest }),
    ...(attributes.cookie !== undefined && { cookie: attributes.cookie }),
    ...(attributes.unknown !== undefined && { unknown: attributes.unknown }),
  };
}

function readable(attributes: ReturnType<typeof decode<typeof policy.fields>>): Policy {
  const min = attributes.min_value_s ?? attributes.min_value_u;
  const max = attributes.max_value_s ?? attributes.max_value_u;
  const mask = attributes.mask ?? attributes.bitfield32_mask;
  return {
    ...(attributes.type !== undefined && { type: attributes.type }),
    ...(min !== undefined && { min }),
    ...(max !== undefined && { max }),
    ...(attributes.min_length !== undefined && { minLength: attributes.min_length }),
    ...(attributes.max_length !== undefined && { maxLength: attributes.max_length }),
    ...(mask !== undefined && { mask }),
  };
}

/** NetlinkError.extack. */
export interface Explanation {
  readonly message?: string;
  /** By its kernel name, with those around it: 'IFLA_LINKINFO.IFLA_INFO_DATA.IFLA_BR_AGEING_TIME'. */
  readonly attribute?: string;
  readonly offset?: number;
  readonly policy?: Policy;
  /** Likewise. */
  readonly missing?: string;
}

/** What the kernel said about a request, in words: offsets and numbers become names. undefined where it said nothing. */
export function explain(request: Uint8Array, ack: Ack): Explanation | undefined {
  const { message, offset, policy, missingType, missingNest } = ack;
  if (message === undefined && offset === undefined && policy === undefined && missingType === undefined) return undefined;
  const attribute = offset === undefined ? undefined : pathIn(request, offset)?.name;
  const missing = missingType === undefined ? undefined : missingIn(request, missingType, missingNest);
  return {
    ...(message !== undefined && { message }),
    ...(attribute !== undefined && { attribute }),
    ...(offset !== undefined && { offset }),
    ...(policy !== undefined && { policy }),
    ...(missing !== undefined && { missing }),
  };
}

/** The attribute of a request at an offset, and the table of what is in it. */
function pathIn(request: Uint8Array, offset: number): { name: string; inner: AnyTable | undefined } | undefined {
  const family = familyOf(request);
  if (family === undefined) return undefined;
  const path = pathAt(family.table, Bytes.copy(request), NLMSG_HDRLEN + family.size, request.length, offset);
  return path.length === 0 ? undefined : { name: path.map(({ name }) => name).join('.'), inner: path[path.length - 1]!.inner?.table };
}

function missingIn(request: Uint8Array, type: number, nest: number | undefined): string {
  if (nest === undefined) {
    const family = familyOf(request);
    return family === undefined ? `attribute ${type}` : nameOfType(family.table, type);
  }
  const around = pathIn(request, nest);
  return around?.inner === undefined
    ? `${around?.name ?? `the nest at ${nest}`}: attribute ${type}`
    : `${around.name}.${nameOfType(around.inner, type)}`;
}

function familyOf(request: Uint8Array) {
  if (request.length <= NLMSG_HDRLEN) return undefined;
  const from = Bytes.copy(request);
  return messageFamilyOf(from.u16[2]!, from.u16[3]!, request[NLMSG_HDRLEN]!);
}
