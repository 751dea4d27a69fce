// Attributes (struct nlattr) by declarative tables: a table gives, for each attribute of one nest, its kernel name, its number
// and its format. From it come the decoder, the encoder, the TypeScript type, the debug print and the name in an error.
//
// Decoding never fails: what is unknown, or has not the length that its format asks for, is kept as bytes in `unknown`; a length
// that runs out of the nest ends that nest. Structs longer than ours are accepted (newer kernels append fields).
import { type Bytes, littleEndian } from './bytes.js';
import { type Naming, flagBits, flagNames } from './names.js';
import { formatIp, formatMac, parseIp, parseMac } from './text.js';
import type { Writer } from './writer.js';

export const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;

/** An attribute that this version does not know, as it came; `type` with its flag bits. */
export interface Unknown {
  readonly type: number;
  readonly data: Uint8Array;
}

// A number for each format, so that the decoder is one switch: functions kept in the tables made it several times slower.
// prettier-ignore
const enum Tag { U8, U16, U32, U64, S32, BE16, BE32, BE64, String, Bytes, Flag, Mac, Ip, Struct, Nested, List, Kinded, Headed, Numbers, Mapped, Unread }

/** How the bytes of an attribute are read and written. */
export interface Format<T> {
  readonly tag: Tag;
  /** The length of a number in bytes; else the least that is accepted. */
  readonly size: number;
  readonly layout: StructLayout;
  readonly table: AnyTable | undefined;
  readonly kinds: Kinds | undefined;
  readonly mapping: Mapping | undefined;
  readonly repeated: boolean;
  readonly value?: T; // never there: it carries the type
}

function format<T>(tag: Tag, size: number, more: Partial<Format<T>> = {}): Format<T> {
  return {
    tag,
    size,
    layout: more.layout ?? [],
    table: more.table,
    kinds: more.kinds,
    mapping: more.mapping,
    repeated: more.repeated ?? false,
  };
}

export const u8 = format<number>(Tag.U8, 1);
export const u16 = format<number>(Tag.U16, 2);
export const u32 = format<number>(Tag.U32, 4);
/** 64 bits: counters and cookies. */
export const u64 = format<bigint>(Tag.U64, 8);
export const s32 = format<number>(Tag.S32, 4);
/** In network byte order, as be32 and be64. */
export const be16 = format<number>(Tag.BE16, 2);
export const be32 = format<number>(Tag.BE32, 4);
export const be64 = format<bigint>(Tag.BE64, 8);
/** The terminating NUL is written, and not read. */
export const string = format<string>(Tag.String, 0);
export const bytes = format<Uint8Array>(Tag.Bytes, 0);
/** Attributes that are kept as bytes; NLA_F_NESTED is set when they are written. */
export const nest = format<Uint8Array>(Tag.Kinded, 0, { kinds: { by: '', formats: {} } });
/** Present or absent, without a value; `false` is not written. */
export const flag = format<boolean>(Tag.Flag, 0);
/** A link-layer address of any length. */
export const mac = format<string>(Tag.Mac, 0);
/** An IPv4 or IPv6 address, told apart by its length. */
export const ip = format<string>(Tag.Ip, 4);

/** A C struct: fields in order, aligned as C does. */
export function struct<const L extends StructLayout>(layout: L): StructFormat<StructValues<L>> {
  return format(Tag.Struct, 0, { layout }) as StructFormat<StructValues<L>>;
}
export interface StructFormat<T> extends Format<T> {
  readonly tag: Tag.Struct;
}

/** Attributes within an attribute; NLA_F_NESTED is set when it is written. */
export function nested<F extends Fields>(table: Table<F>): Format<Values<Table<F>>> {
  return format(Tag.Nested, 0, { table });
}

/** Nests of one kind, one after another, numbered from 1 when they are written. */
export function list<F extends Fields>(table: Table<F>): Format<readonly Values<Table<F>>[]> {
  return format(Tag.List, 0, { table });
}

/** An attribute that may come several times: an array of its values. */
export function repeated<T>(of: Format<T>): Format<readonly T[]> {
  return { ...of, repeated: true } as unknown as Format<readonly T[]>;
}

/** An attribute whose format depends on the string attribute `by` of the same nest, which comes before it. A kind without an entry: bytes. */
export function kinded<const K extends Kinds['formats']>(by: string, formats: K): Format<KindValue<K> | Uint8Array> {
  return format(Tag.Kinded, 0, { kinds: { by, formats } });
}

/** A struct with attributes behind it, as in a message: VETH_INFO_PEER. Written without NLA_F_NESTED, as ip(8) does. */
export function headed<const L extends StructLayout, F extends Fields>(
  layout: L,
  table: Table<F>,
): Format<Partial<StructValues<L>> & Values<Table<F>>> {
  return format(Tag.Headed, 0, { layout, table });
}

/** A C array of 32-bit numbers; `of` is u32 or s32. */
export function numbers(of: Format<number>): Format<readonly number[]> {
  return format(Tag.Numbers, 0, { mapping: { of, read: same, write: same } });
}

/** A value in another form than the bytes'. Dumps of many messages call `read`: it must not throw; undefined says that the bytes do not fit. */
export function mapped<T, U>(of: Format<T>, read: (value: T) => U | undefined, write: (value: U) => T): Format<U> {
  return format(Tag.Mapped, of.size, { mapping: { of, read, write } as unknown as Mapping });
}

/** A number by its name; one without a name as its digits. */
export function named<N extends string>(of: Format<number>, naming: Naming<N>): Format<string> {
  return mapped<number, string>(
    of,
    (number) => naming.name(number),
    (name) => naming.number(name),
  );
}

/** The names of the bits that are set; bits without a name as hexadecimal. */
export function bits(of: Format<number>, names: Readonly<Record<string, number>>): Format<readonly string[]> {
  return mapped<number, readonly string[]>(
    of,
    (number) => flagNames(names, number),
    (given) => flagBits(names, given),
  );
}

/** Known, but neither kept nor written: padding, and what another attribute says better. */
export const unread = format<undefined>(Tag.Unread, 0);

interface Mapping {
  readonly of: Format<unknown>;
  readonly read: (value: unknown) => unknown;
  readonly write: (value: unknown) => unknown;
}
function same(value: unknown): unknown {
  return value;
}

interface Kinds {
  readonly by: string;
  readonly formats: Readonly<Record<string, Format<unknown>>>;
}
type KindValue<K extends Kinds['formats']> = K[keyof K] extends Format<infer T> ? T : never;

// ------------------------------------------------------------------ tables

export type Fields = Readonly<Record<string, readonly [type: number, format: Format<unknown>]>>;

/** The attributes of one nest. Keys are kernel names in lower case without their prefix: `IFLA_` + `ifname` is IFLA_IFNAME. */
export interface Table<F extends Fields> {
  readonly prefix: string;
  readonly fields: F;
  readonly byType: readonly (Field | undefined)[];
  readonly inOrder: readonly Field[];
  readonly byName: ReadonlyMap<string, Field>;
}
export type AnyTable = Table<Fields>;
interface Field {
  readonly name: string;
  readonly type: number;
  readonly format: Format<unknown>;
  /** In `inOrder`. */
  readonly place: number;
}

export type Values<T> =
  T extends Table<infer F> ? { readonly [N in keyof F]?: ValueOf<F[N][1]> } & { readonly unknown?: readonly Unknown[] | undefined } : never;
type ValueOf<F> = (F extends Format<infer T> ? T : never) | undefined;

export function table<const F extends Fields>(prefix: string, fields: F): Table<F> {
  return new LazyTable(prefix, fields);
}

/** Of the hundred tables a program uses a few: what they are looked up by is made when it is first asked for, not at every start. */
class LazyTable<F extends Fields> implements Table<F> {
  #inOrder: readonly Field[] | undefined;
  #byType: readonly (Field | undefined)[] | undefined;
  #byName: ReadonlyMap<string, Field> | undefined;

  constructor(
    readonly prefix: string,
    readonly fields: F,
  ) {}

  get inOrder(): readonly Field[] {
    return (this.#inOrder ??= Object.entries(this.fields).map(([name, [type, format]], place) => ({ name, type, format, place })));
  }

  get byType(): readonly (Field | undefined)[] {
    return (this.#byType ??= byNumber(this.inOrder));
  }

  get byName(): ReadonlyMap<string, Field> {
    return (this.#byName ??= new Map(this.inOrder.map((field) => [field.name, field])));
  }
}

function byNumber(fields: readonly Field[]): readonly (Field | undefined)[] {
  const byType: (Field | undefined)[] = Array<undefined>(Math.max(0, ...fields.map((field) => field.type)) + 1).fill(undefined);
  for (const field of fields) byType[field.type] = field;
  return byType;
}

// ------------------------------------------------------------------ structs

export type StructLayout = readonly (readonly [name: string, format: Format<number> | Format<bigint>])[];
export type StructValues<L extends StructLayout> = { readonly [P in L[number] as P[0]]: P[1] extends Format<infer T> ? T : never };

/** Fields that the bytes are too short for (an older kernel's struct) are 0. */
export function decodeStruct<const L extends StructLayout>(layout: L, from: Bytes, start: number, end: number): StructValues<L> {
  const values: Record<string, number | bigint> = {};
  let at = start;
  for (const [name, { tag, size }] of layout) {
    at = start + alignTo(at - start, size);
    values[name] = at + size <= end ? readNumber(tag, from, at) : tag === Tag.U64 ? 0n : 0;
    at += size;
  }
  return values as StructValues<L>;
}

/** Fields that are not given are 0. */
export function encodeStruct(layout: StructLayout, to: Writer, values: Readonly<Record<string, number | bigint>>): void {
  const start = to.length;
  let largest = 1;
  for (const [name, { tag, size }] of layout) {
    to.pad(start + alignTo(to.length - start, size));
    writeNumber(tag, to, values[name] ?? 0);
    largest = Math.max(largest, size);
  }
  to.pad(start + alignTo(to.length - start, largest));
}

export function structSize(layout: StructLayout): number {
  let size = 0;
  let largest = 1;
  for (const [, of] of layout) {
    size = alignTo(size, of.size) + of.size;
    largest = Math.max(largest, of.size);
  }
  return alignTo(size, largest);
}

function alignTo(length: number, alignment: number): number {
  return Math.ceil(length / alignment) * alignment;
}

// ------------------------------------------------------------------ decoding

export function decode<F extends Fields>(table: Table<F>, from: Bytes, start: number, end: number): Values<Table<F>> {
  const { byType } = table;
  const values: Record<string, unknown> = {};
  let unknown: Unknown[] | undefined;
  let at = start;
  while (at + 4 <= end) {
    const length = from.u16[at >> 1]!;
    if (length < 4 || at + length > end) break;
    const type = from.u16[(at >> 1) + 1]!;
    const field = byType[type & NLA_TYPE_MASK];
    const value = field === undefined ? undefined : read(field.format, from, at + 4, at + length, values);
    if (value === UNREAD) {
      // nothing to keep
    } else if (value === undefined) (unknown ??= []).push({ type, data: from.slice(at + 4, at + length) });
    else if (field!.format.repeated) ((values[field!.name] ??= []) as unknown[]).push(value);
    else values[field!.name] = value;
    at += (length + 3) & ~3;
  }
  if (unknown !== undefined) values.unknown = unknown;
  return values as Values<Table<F>>;
}

/** The values of a table by attribute number; what is not known stands at 0. For a struct: where it begins, to be read with `structLength`. */
export type Slots<T> =
  T extends Table<infer F>
    ? { readonly [N in keyof F as F[N][0]]?: SlotOf<F[N][1]> } & { readonly 0?: readonly Unknown[] | undefined }
    : never;
type SlotOf<F> = F extends StructFormat<unknown> ? number | undefined : ValueOf<F>;

const slots: unknown[] = [];

/**
 * As `decode`, for the families that are dumped by the hundred thousand (routes, neighbours): three times as fast, because no
 * property is stored by a computed name. The result is valid until the next call.
 */
export function decodeSlots<F extends Fields>(table: Table<F>, from: Bytes, start: number, end: number): Slots<Table<F>> {
  const { byType } = table;
  for (let type = 0; type < byType.length; type++) slots[type] = undefined;
  let at = start;
  while (at + 4 <= end) {
    const length = from.u16[at >> 1]!;
    if (length < 4 || at + length > end) break;
    const type = from.u16[(at >> 1) + 1]!;
    const field = byType[type & NLA_TYPE_MASK];
    const value =
      field === undefined ? undefined : field.format.tag === Tag.Struct ? at + 4 : read(field.format, from, at + 4, at + length, none);
    if (value === UNREAD) {
      // nothing to keep
    } else if (value === undefined) ((slots[0] ??= []) as Unknown[]).push({ type, data: from.slice(at + 4, at + length) });
    else slots[field!.type] = value;
    at += (length + 3) & ~3;
  }
  return slots as Slots<Table<F>>;
}
const none = {};

/** The length of the struct that `decodeSlots` found at `at`. */
export function structLength(from: Bytes, at: number): number {
  return from.u16[(at - 4) >> 1]! - 4;
}

const UNREAD = Symbol('unread');

/** The attributes that a value of a `bytes` attribute holds. */
export function decodeBytes<F extends Fields>(table: Table<F>, from: Bytes): Values<Table<F>> {
  return decode(table, from, 0, from.u8.length);
}

/** undefined: the bytes do not fit the format. */
function read(format: Format<unknown>, from: Bytes, start: number, end: number, siblings: Readonly<Record<string, unknown>>): unknown {
  const length = end - start;
  if (length < format.size) return undefined;
  switch (format.tag) {
    case Tag.U8:
      return from.u8[start];
    case Tag.U16:
      return from.u16[start >> 1];
    case Tag.U32:
      return from.u32[start >> 2];
    case Tag.U64:
    case Tag.S32:
    case Tag.BE16:
    case Tag.BE32:
    case Tag.BE64:
      return readNumber(format.tag, from, start);
    case Tag.String:
      return readString(from, start, end);
    case Tag.Bytes:
      return from.slice(start, end);
    case Tag.Flag:
      return length === 0 || from.u8[start] !== 0; // some are told as a byte: IFLA_VXLAN_TTL_INHERIT
    case Tag.Mac:
      return formatMac(from.u8, start, length);
    case Tag.Ip:
      return formatIp(from.u8, start, length);
    case Tag.Struct:
      return decodeStruct(format.layout, from, start, end);
    case Tag.Nested:
      return decode(format.table!, from, start, end);
    case Tag.List:
      return readList(format.table!, from, start, end);
    case Tag.Kinded:
      return read(resolve(format, siblings), from, start, end, siblings);
    case Tag.Headed: {
      const size = alignTo(structSize(format.layout), 4);
      return length < size
        ? undefined
        : { ...decodeStruct(format.layout, from, start, end), ...decode(format.table!, from, start + size, end) };
    }
    case Tag.Numbers:
      return readNumbers(format.mapping!.of.tag, from, start, end);
    case Tag.Mapped: {
      const { of, read: map } = format.mapping!;
      const value = read(of, from, start, end, siblings);
      return value === undefined ? undefined : map(value);
    }
    case Tag.Unread:
      return UNREAD;
  }
}

/** undefined where the last one is cut off, so that nothing is lost. */
function readNumbers(tag: Tag, from: Bytes, start: number, end: number): number[] | undefined {
  if ((end - start) % 4 !== 0) return undefined;
  const count = (end - start) >> 2;
  const values = new Array<number>(count);
  for (let index = 0, at = start >> 2; index < count; index++, at++) values[index] = tag === Tag.S32 ? from.u32[at]! | 0 : from.u32[at]!;
  return values;
}

function readList(table: AnyTable, from: Bytes, start: number, end: number): unknown[] {
  const values: unknown[] = [];
  let at = start;
  while (at + 4 <= end) {
    const length = from.u16[at >> 1]!;
    if (length < 4 || at + length > end) break;
    values.push(decode(table, from, at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return values;
}

function readNumber(tag: Tag, from: Bytes, at: number): number | bigint {
  switch (tag) {
    case Tag.U8:
      return from.view.getUint8(at);
    case Tag.U16:
      return from.view.getUint16(at, littleEndian);
    case Tag.S32:
      return from.view.getInt32(at, littleEndian);
    case Tag.BE16:
      return from.view.getUint16(at);
    case Tag.BE32:
      return from.view.getUint32(at);
    case Tag.U64:
      return from.view.getBigUint64(at, littleEndian);
    case Tag.BE64:
      return from.view.getBigUint64(at);
    default:
      return from.view.getUint32(at, littleEndian);
  }
}

const utf8 = new TextDecoder();

/** Short ASCII (names, kinds) without TextDecoder, whose call alone costs more. */
function readString(from: Bytes, start: number, end: number): string {
  let stop = start;
  let text = '';
  while (stop < end && from.u8[stop] !== 0) {
    const byte = from.u8[stop++]!;
    if (byte > 127 || stop - start > 32) return utf8.decode(from.u8.subarray(start, nulOr(from.u8, stop, end)));
    text += String.fromCharCode(byte);
  }
  return text;
}
function nulOr(u8: Uint8Array, from: number, end: number): number {
  const nul = u8.indexOf(0, from);
  return nul === -1 || nul > end ? end : nul;
}

// ------------------------------------------------------------------ encoding

/** Writes what is defined, in the table's order, then `unknown` as it came. A value that does not fit its format throws: the caller has checked it. */
export function encode<F extends Fields>(table: Table<F>, to: Writer, values: Values<Table<F>>): void {
  const given = values as Readonly<Record<string, unknown>>;
  for (const { name, type, format } of fieldsOf(table, given)) {
    const value = given[name];
    if (!format.repeated) write(format, to, type, value, given);
    else for (const each of value as readonly unknown[]) write(format, to, type, each, given);
  }
  for (const { type, data } of (given.unknown as readonly Unknown[] | undefined) ?? []) to.attribute(type, data);
}

/** The fields of the values that there are, in the table's order: a handful, where the table may have seventy. */
function fieldsOf({ byName }: AnyTable, given: Readonly<Record<string, unknown>>): readonly Field[] {
  const found: Field[] = [];
  for (const name in given) {
    const field = given[name] === undefined ? undefined : byName.get(name);
    if (field === undefined) continue;
    let at = found.length;
    while (at > 0 && found[at - 1]!.place > field.place) at--;
    found.splice(at, 0, field);
  }
  return found;
}

function write(format: Format<unknown>, to: Writer, type: number, value: unknown, siblings: Readonly<Record<string, unknown>>): void {
  if (format.tag === Tag.Kinded) {
    // Bytes of a kind without a table are a nest, as far as one knows: link info data and tc options are.
    return value instanceof Uint8Array
      ? to.attribute(type | NLA_F_NESTED, value)
      : write(resolve(format, siblings), to, type, value, siblings);
  }
  if (format.tag === Tag.Mapped) {
    const { of, write: map } = format.mapping!;
    return write(of, to, type, map(value), siblings);
  }
  if ((format.tag === Tag.Flag && value === false) || format.tag === Tag.Unread) return;
  const start = to.beginAttribute(format.tag === Tag.Nested || format.tag === Tag.List ? type | NLA_F_NESTED : type);
  switch (format.tag) {
    case Tag.String:
      to.text(value as string);
      to.byte(0);
      break;
    case Tag.Bytes:
      to.bytes(value as Uint8Array);
      break;
    case Tag.Flag:
      break;
    case Tag.Mac:
      if (value !== '') to.bytes(fits(parseMac(value as string), value)); // devices without addresses have neighbours with an empty one
      break;
    case Tag.Ip:
      to.bytes(fits(parseIp(value as string), value));
      break;
    case Tag.Struct:
      encodeStruct(format.layout, to, value as Record<string, number | bigint>);
      break;
    case Tag.Nested:
      encode(format.table!, to, value as Values<AnyTable>);
      break;
    case Tag.Headed:
      encodeStruct(format.layout, to, value as Record<string, number | bigint>);
      to.pad(start + 4 + alignTo(structSize(format.layout), 4));
      encode(format.table!, to, value as Values<AnyTable>);
      break;
    case Tag.Numbers:
      for (const number of value as readonly number[]) to.u32(number);
      break;
    case Tag.List:
      (value as readonly Values<AnyTable>[]).forEach((each, index) => {
        const nest = to.beginAttribute((index + 1) | NLA_F_NESTED);
        encode(format.table!, to, each);
        to.endAttribute(nest);
      });
      break;
    default:
      writeNumber(format.tag, to, value as number | bigint);
  }
  to.endAttribute(start);
}

function fits(parsed: Uint8Array | undefined, text: unknown): Uint8Array {
  if (parsed === undefined) throw new TypeError(`not an address: ${String(text)}`);
  return parsed;
}

function writeNumber(tag: Tag, to: Writer, value: number | bigint): void {
  switch (tag) {
    case Tag.U8:
      return to.byte(Number(value));
    case Tag.U16:
      return to.u16(Number(value));
    case Tag.BE16:
      return to.be16(Number(value));
    case Tag.BE32:
      return to.be32(Number(value));
    case Tag.U64:
      return to.u64(BigInt(value));
    case Tag.BE64:
      return to.be64(BigInt(value));
    default:
      return to.u32(Number(value));
  }
}

// ------------------------------------------------------------------ names

/** One attribute of a nest: for errors and for the debug print. */
export interface Attribute {
  /** 'IFLA_MTU'; 'IFLA_99' where the number is not known. */
  readonly name: string;
  /** Of its header, and the end of its payload. */
  readonly at: number;
  readonly end: number;
  /** The attributes in it; `start` is behind the struct that may stand before them. */
  readonly inner?: { readonly table: AnyTable; readonly start: number; readonly layout?: StructLayout };
  /** In it are nests of one kind, with numbers for names. */
  readonly list?: boolean;
  /** Its value, where it holds no attributes. */
  value(): unknown;
}

/** Every attribute of a nest, known or not, until `visit` returns false. */
export function eachAttribute(
  table: AnyTable,
  from: Bytes,
  start: number,
  end: number,
  visit: (attribute: Attribute) => boolean | void,
): void {
  const seen: Record<string, unknown> = {};
  let at = start;
  while (at + 4 <= end) {
    const length = from.u16[at >> 1]!;
    if (length < 4 || at + length > end) return;
    const field = table.byType[from.u16[(at >> 1) + 1]! & NLA_TYPE_MASK];
    const of = field === undefined ? bytes : resolve(field.format, seen);
    const attribute: Attribute = {
      name: field === undefined ? `${table.prefix}_${from.u16[(at >> 1) + 1]! & NLA_TYPE_MASK}` : attributeName(table, field.name),
      at,
      end: at + length,
      value: ((body: number, end: number) => () => {
        const value = read(of, from, body, end, seen);
        return value === undefined || value === UNREAD ? from.slice(body, end) : value;
      })(at + 4, at + length),
      ...innerOf(of, at + 4),
    };
    if (visit(attribute) === false) return;
    if (of.tag === Tag.String) seen[field!.name] = attribute.value();
    at += (length + 3) & ~3;
  }
}

function innerOf(of: Format<unknown>, start: number): Pick<Attribute, 'inner' | 'list'> {
  if (of.tag === Tag.Mapped) return innerOf(of.mapping!.of, start);
  if (of.table === undefined) return {};
  if (of.tag === Tag.Headed) return { inner: { table: of.table, start: start + alignTo(structSize(of.layout), 4), layout: of.layout } };
  return { inner: { table: of.table, start }, list: of.tag === Tag.List };
}

/** The nests of a list, with their numbers. */
export function eachOfList(from: Bytes, start: number, end: number, visit: (number: number, start: number, end: number) => void): void {
  for (let at = start; at + 4 <= end; at += (from.u16[at >> 1]! + 3) & ~3) {
    const length = from.u16[at >> 1]!;
    if (length < 4 || at + length > end) return;
    visit(from.u16[(at >> 1) + 1]! & NLA_TYPE_MASK, at + 4, at + length);
  }
}

/** Where `offset` is: the attributes around it and the one whose header is there, outermost first. Empty where there is none. */
export function pathAt(table: AnyTable, from: Bytes, start: number, end: number, offset: number): readonly Attribute[] {
  let path: readonly Attribute[] = [];
  eachAttribute(table, from, start, end, (attribute) => {
    if (offset >= attribute.end) return true;
    if (offset < attribute.at) return false;
    const { inner } = attribute;
    let within: readonly Attribute[] = [];
    if (inner !== undefined && offset > attribute.at) {
      if (attribute.list !== true) within = pathAt(inner.table, from, inner.start, attribute.end, offset);
      else
        eachOfList(
          from,
          inner.start,
          attribute.end,
          (_, at, end) => void (offset >= at && offset < end && (within = pathAt(inner.table, from, at, end, offset))),
        );
    }
    path = [attribute, ...within];
    return false;
  });
  return path;
}

/** The kernel's name of the attribute whose header is at `offset`: 'IFLA_LINKINFO.IFLA_INFO_DATA.IFLA_BR_AGEING_TIME'. */
export function nameAt(table: AnyTable, from: Bytes, start: number, end: number, offset: number): string | undefined {
  const path = pathAt(table, from, start, end, offset);
  return path.length === 0 ? undefined : path.map(({ name }) => name).join('.');
}

export function attributeName(table: AnyTable, field: string): string {
  return `${table.prefix}_${field.toUpperCase()}`;
}

/** The name of an attribute by its number, of one that is missing, say. */
export function nameOfType(table: AnyTable, type: number): string {
  const field = table.byType[type];
  return field === undefined ? `${table.prefix}_${type}` : attributeName(table, field.name);
}

function resolve(of: Format<unknown>, siblings: Readonly<Record<string, unknown>>): Format<unknown> {
  if (of.tag !== Tag.Kinded) return of;
  const kind = siblings[of.kinds!.by];
  return typeof kind === 'string' && Object.hasOwn(of.kinds!.formats, kind) ? of.kinds!.formats[kind]! : bytes;
}
