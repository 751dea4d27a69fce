// Requests and replies as text, for PODTAP_DEBUG=netlink: a message a paragraph, attributes by their kernel names.
import { type AnyTable, type Attribute, decodeStruct, eachAttribute, eachOfList } from './attribute.js';
import { Bytes } from './bytes.js';
import { type Ack, decodeAck, explain } from './error.js';
import { errnoCode, errnoMessage } from './errno.js';
import { messageFamilyOf, typeName } from './families.js';
import { type Message, NLMSG_DONE, NLMSG_ERROR, NLMSG_HDRLEN, eachMessage } from './message.js';
import { flagNames } from './names.js';

const MAX_BYTES = 64; // of an attribute that is not understood

const flags = { REQUEST: 0x1, MULTI: 0x2, ACK: 0x4, ECHO: 0x8, DUMP_INTR: 0x10, DUMP_FILTERED: 0x20 };
/** 0x100 and above say different things to different messages: uapi/linux/netlink.h. */
const flagsOfGet = { ROOT: 0x100, MATCH: 0x200, ATOMIC: 0x400 };
const flagsOfNew = { REPLACE: 0x100, EXCL: 0x200, CREATE: 0x400, APPEND: 0x800 };
const flagsOfDelete = { NONREC: 0x100, BULK: 0x200 };
const flagsOfAnswer = { CAPPED: 0x100, ACK_TLVS: 0x200 };

/** Every message in `data`. With the `request` that was answered, an error names the attribute that it is about. */
export function describe(data: Uint8Array, options: { readonly request?: Uint8Array } = {}): string {
  const from = Bytes.copy(data);
  const paragraphs: string[] = [];
  let read = 0;
  eachMessage(from, data.length, (message) => {
    paragraphs.push(paragraph(from, message, options.request));
    read = (message.end + 3) & ~3;
  });
  if (read < data.length) paragraphs.push(`no whole message: ${hex(data.subarray(read))}`);
  return paragraphs.join('\n');
}

function paragraph(from: Bytes, message: Message, request: Uint8Array | undefined): string {
  const { type, sequence, start, end } = message;
  const names = flagNames({ ...flags, ...furtherFlags(type) }, message.flags);
  const title = `${[typeName(type), ...(names.length === 0 ? [] : [names.join('|')])].join(' ')} seq ${sequence} ${end - start + NLMSG_HDRLEN} bytes`;
  if (type === NLMSG_ERROR || type === NLMSG_DONE)
    return [`${title}: ${verdict(decodeAck(from, message))}`, ...details(decodeAck(from, message), request)].join('\n');
  const family = messageFamilyOf(type, message.flags, start < end ? from.u8[start]! : 0);
  if (family === undefined) return start === end ? title : `${title}\n  ${hex(from.slice(start, end))}`;
  const header = fields(decodeStruct(family.layout, from, start, end));
  const lines = [header === '' ? title : `${title}: ${header}`];
  describeNest(family.table, from, start + family.size, end, '  ', lines);
  return lines.join('\n');
}

function furtherFlags(type: number): Readonly<Record<string, number>> {
  if (type < 16) return flagsOfAnswer;
  return [flagsOfNew, flagsOfDelete, flagsOfGet, flagsOfNew][type & 3]!; // RTM_*: new, delete, get, set
}

function verdict({ errno, requestType }: Ack): string {
  const to = requestType === undefined ? '' : ` to ${typeName(requestType)}`;
  return errno === 0 ? `done${to}` : `${errnoCode(errno)}, ${errnoMessage(errno)}${to}`;
}

function details(ack: Ack, request: Uint8Array | undefined): string[] {
  const said = explain(request ?? new Uint8Array(), ack) ?? {};
  return Object.entries(said).map(([name, value]) => `  ${name} ${text(value)}`);
}

function describeNest(table: AnyTable, from: Bytes, start: number, end: number, indent: string, lines: string[]): void {
  eachAttribute(table, from, start, end, (attribute) => {
    lines.push(`${indent}${line(attribute, from)}`);
    const { inner, list } = attribute;
    if (inner === undefined) return;
    if (list !== true) return describeNest(inner.table, from, inner.start, attribute.end, `${indent}  `, lines);
    eachOfList(from, inner.start, attribute.end, (number, at, stop) => {
      lines.push(`${indent}  ${number}`);
      describeNest(inner.table, from, at, stop, `${indent}    `, lines);
    });
  });
}

function line(attribute: Attribute, from: Bytes): string {
  const { name, inner } = attribute;
  if (inner === undefined) return `${name} ${text(attribute.value())}`;
  const header = inner.layout === undefined ? '' : fields(decodeStruct(inner.layout, from, attribute.at + 4, attribute.end));
  return header === '' ? name : `${name}: ${header}`;
}

const bitFields = new Set(['flags', 'change', 'optval', 'optmask', 'mask']);

/** The fields of a struct that are not 0. */
function fields(struct: Readonly<Record<string, number | bigint>>): string {
  return Object.entries(struct)
    .filter(([, value]) => value !== 0 && value !== 0n)
    .map(([name, value]) => `${name} ${bitFields.has(name) ? `0x${value.toString(16)}` : value}`)
    .join(', ');
}

function text(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (value instanceof Uint8Array) return hex(value);
  if (Array.isArray(value)) return `[${value.map(text).join(' ')}]`;
  if (typeof value !== 'object' || value === null) return String(value);
  return `{ ${Object.entries(value)
    .map(([name, each]) => `${name} ${text(each)}`)
    .join(', ')} }`;
}

function hex(data: Uint8Array): string {
  const shown = Array.from(data.subarray(0, MAX_BYTES), (byte) => byte.toString(16).padStart(2, '0')).join('');
  return data.length === 0 ? '(empty)' : data.length > MAX_BYTES ? `${shown}... (${data.length} bytes)` : shown;
}
