// struct nlmsghdr (uapi/linux/netlink.h) and the message families that stand behind it.
import {
  type AnyTable,
  type Fields,
  type StructLayout,
  type StructValues,
  type Table,
  type Values,
  decode,
  decodeStruct,
  encode,
  encodeStruct,
  structSize,
} from './attribute.js';
import { type Bytes, align } from './bytes.js';
import { Writer } from './writer.js';

export const NLMSG_HDRLEN = 16;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLMSG_OVERRUN = 4;

export const NLM_F_REQUEST = 0x001;
export const NLM_F_MULTI = 0x002;
export const NLM_F_ACK = 0x004;
export const NLM_F_ECHO = 0x008;
export const NLM_F_DUMP_INTR = 0x010;
export const NLM_F_DUMP = 0x300;
// of requests that make something
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
// of answers that are errors
export const NLM_F_CAPPED = 0x100;
export const NLM_F_ACK_TLVS = 0x200;

/** The struct that follows nlmsghdr in the messages of one family, and the attributes behind it. */
export interface MessageFamily<L extends StructLayout, F extends Fields> {
  readonly layout: L;
  readonly size: number;
  readonly table: Table<F>;
}
export type AnyFamily = MessageFamily<StructLayout, Fields>;

export function messageFamily<const L extends StructLayout, F extends Fields>(layout: L, table: Table<F>): MessageFamily<L, F> {
  return { layout, size: align(structSize(layout)), table };
}

/** One message within the bytes that came; read its body at once, it is valid only during the call. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** Of the body, behind nlmsghdr. */
  readonly start: number;
  readonly end: number;
}

/** Every whole message. A length that is too short or runs out of the bytes ends them. */
export function eachMessage(from: Bytes, length: number, visit: (message: Message) => void): void {
  let at = 0;
  while (at + NLMSG_HDRLEN <= length) {
    const size = from.u32[at >> 2]!;
    if (size < NLMSG_HDRLEN || at + size > length) return;
    const type = from.u16[(at >> 1) + 2]!;
    visit({ type, flags: from.u16[(at >> 1) + 3]!, sequence: from.u32[(at >> 2) + 2]!, start: at + NLMSG_HDRLEN, end: at + size });
    at += align(size);
  }
}

/** One for all: nothing that is written into a message is a message itself. */
const writer = new Writer();

/** A request, whole. Sequence number and sender are filled in when it is sent. */
export function encodeMessage<L extends StructLayout, F extends Fields>(
  family: MessageFamily<L, F>,
  type: number,
  flags: number,
  header: Partial<StructValues<L>>,
  attributes: Values<Table<F>>,
): Uint8Array {
  writer.length = 0;
  writer.u32(0);
  writer.u16(type);
  writer.u16(flags | NLM_F_REQUEST);
  writer.u32(0);
  writer.u32(0);
  encodeStruct(family.layout, writer, header as Record<string, number | bigint>);
  writer.pad(align(writer.length));
  encode(family.table, writer, attributes);
  writer.setU32(0, writer.length);
  return writer.finish();
}

export function decodeHeader<L extends StructLayout, F extends Fields>(
  family: MessageFamily<L, F>,
  from: Bytes,
  message: Message,
): StructValues<L> {
  return decodeStruct(family.layout, from, message.start, message.end);
}

export function decodeAttributes<L extends StructLayout, F extends Fields>(
  family: MessageFamily<L, F>,
  from: Bytes,
  message: Message,
): Values<Table<F>> {
  return decode(family.table, from, message.start + family.size, message.end);
}

export type { AnyTable };
