// NFT_MSG_*: struct nfgenmsg and the attributes of tables, chains, rules, sets and their elements. uapi/linux/netfilter/nf_tables.h.
import {
  type Unknown,
  type Values,
  be16,
  be32,
  be64,
  bits,
  bytes,
  mapped,
  named,
  nested,
  repeated,
  string,
  table,
  u8,
  unread,
} from '../attribute.js';
import type { Bytes } from '../bytes.js';
import {
  type Message,
  NLM_F_ACK,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  decodeAttributes,
  decodeHeader,
  encodeMessage,
  messageFamily,
} from '../message.js';
import { Naming } from '../names.js';
import { Writer } from '../writer.js';
import { type NftData, type NftExpression, data, expressions } from './expression.js';
import {
  NFNL_MSG_BATCH_BEGIN,
  NFNL_MSG_BATCH_END,
  NFNL_SUBSYS_NFTABLES,
  type NftFamily,
  type NftType,
  VERDICT_TYPE,
  chainFlags,
  dataTypes,
  elementFlags,
  families,
  hooksOf,
  hostOrdered,
  setFlags,
  tableFlags,
  typeLengths,
} from './numbers.js';

const header = [
  ['family', u8],
  ['version', u8],
  ['resource', be16],
] as const;

const s32 = mapped<number, number>(
  be32,
  (value) => value | 0,
  (value) => value >>> 0,
);

const tableTable = table('NFTA_TABLE', {
  name: [1, string],
  flags: [2, bits(be32, tableFlags)],
  use: [3, be32],
  handle: [4, be64],
  userdata: [6, bytes],
  owner: [7, be32],
});
/** Since Linux 6.16 a device can be told by how its name begins. */
const devices = table('NFTA_DEVICE', { name: [1, repeated(string)], prefix: [2, repeated(string)] });
const hook = table('NFTA_HOOK', { hooknum: [1, be32], priority: [2, s32], dev: [3, string], devs: [4, nested(devices)] });
const chainTable = table('NFTA_CHAIN', {
  table: [1, string],
  handle: [2, be64],
  name: [3, string],
  hook: [4, nested(hook)],
  policy: [5, named(be32, new Naming('policy', { drop: 0, accept: 1 }))],
  use: [6, be32],
  type: [7, string],
  counters: [8, bytes],
  flags: [10, bits(be32, chainFlags)],
  id: [11, be32],
  userdata: [12, bytes],
});
const ruleTable = table('NFTA_RULE', {
  table: [1, string],
  chain: [2, string],
  handle: [3, be64],
  expressions: [4, expressions],
  compat: [5, bytes],
  position: [6, be64],
  userdata: [7, bytes],
  id: [9, be32],
  position_id: [10, be32],
  chain_id: [11, be32],
});
const fieldTable = table('NFTA_SET_FIELD', { len: [1, be32] });
const setTable = table('NFTA_SET', {
  table: [1, string],
  name: [2, string],
  flags: [3, bits(be32, setFlags)],
  key_type: [4, be32],
  key_len: [5, be32],
  data_type: [6, be32],
  data_len: [7, be32],
  policy: [8, be32],
  desc: [
    9,
    nested(
      table('NFTA_SET_DESC', { size: [1, be32], concat: [2, nested(table('NFTA_LIST', { elem: [1, repeated(nested(fieldTable))] }))] }),
    ),
  ],
  id: [10, be32],
  timeout: [11, be64],
  gc_interval: [12, be32],
  userdata: [13, bytes],
  obj_type: [15, be32],
  handle: [16, be64],
  type: [19, unread], // the kernel's data structure, by an address; since 6.16
  count: [20, be32],
});
const elementTable = table('NFTA_SET_ELEM', {
  key: [1, data],
  data: [2, data],
  flags: [3, bits(be32, elementFlags)],
  timeout: [4, be64],
  expiration: [5, be64],
  userdata: [6, bytes],
  key_end: [10, data],
});
const elementsTable = table('NFTA_SET_ELEM_LIST', {
  table: [1, string],
  set: [2, string],
  elements: [3, nested(table('NFTA_LIST', { elem: [1, repeated(nested(elementTable))] }))],
  set_id: [4, be32],
});
const generationTable = table('NFTA_GEN', { id: [1, be32], proc_pid: [2, be32], proc_name: [3, string] });

export const tableFamily = messageFamily(header, tableTable);
export const chainFamily = messageFamily(header, chainTable);
export const ruleFamily = messageFamily(header, ruleTable);
export const setFamily = messageFamily(header, setTable);
export const elementsFamily = messageFamily(header, elementsTable);
export const generationFamily = messageFamily(header, generationTable);
const batchFamily = messageFamily(header, table('NFNL_BATCH', { genid: [1, be32] }));

const kinds = {
  table: { first: 0, family: tableFamily },
  chain: { first: 3, family: chainFamily },
  rule: { first: 6, family: ruleFamily },
  set: { first: 9, family: setFamily },
  elements: { first: 12, family: elementsFamily },
} as const;
export type NftKind = keyof typeof kinds;

function messageType(kind: NftKind, verb: 'new' | 'get' | 'delete'): number {
  return (NFNL_SUBSYS_NFTABLES << 8) | (kinds[kind].first + { new: 0, get: 1, delete: 2 }[verb]);
}
const NFT_MSG_GETGEN = (NFNL_SUBSYS_NFTABLES << 8) | 16;

// ------------------------------------------------------------------ values

export interface NftTable {
  readonly family: NftFamily;
  readonly name: string;
  /** 'dormant': its chains see nothing; 'owner': it goes with the socket that made it. */
  readonly flags?: readonly string[];
  readonly handle?: bigint;
  /** How many chains, sets and others it has. */
  readonly use?: number;
  readonly userdata?: Uint8Array;
  readonly unknown?: readonly Unknown[];
}

export interface NftChain {
  readonly family: NftFamily;
  readonly table: string;
  readonly name: string;
  /** 'filter', 'nat', 'route': of one that hangs on a hook. */
  readonly type?: string;
  readonly hook?: NftHook;
  /** 'accept', 'drop': what becomes of what no rule decides about. */
  readonly policy?: string;
  readonly handle?: bigint;
  readonly use?: number;
  readonly flags?: readonly string[];
  readonly userdata?: Uint8Array;
  readonly unknown?: readonly Unknown[];
}

export interface NftHook {
  /** 'prerouting', 'input', 'forward', 'output', 'postrouting', 'ingress', 'egress'. */
  readonly name: string;
  /** The lower one is asked first. */
  readonly priority: number;
  /** Of ingress and egress; told also 'eth*'. */
  readonly devices?: readonly string[];
}

export interface NftRule {
  readonly family: NftFamily;
  readonly table: string;
  readonly chain: string;
  readonly handle?: bigint;
  /** Told: the handle of the rule before it. In a request: behind which it is added, before which it is inserted. */
  readonly position?: bigint;
  readonly expressions?: readonly NftExpression[];
  /** nft(8) keeps comments there. */
  readonly userdata?: Uint8Array;
  readonly unknown?: readonly Unknown[];
}

export interface NftSet {
  readonly family: NftFamily;
  readonly table: string;
  /** '__set%d' of an anonymous one: the kernel numbers it. */
  readonly name: string;
  /** One type, or several that are joined, each padded to 4 bytes. */
  readonly key?: readonly NftType[];
  /** Of a map: likewise, or 'verdict'. */
  readonly data?: readonly NftType[] | 'verdict';
  /** 'anonymous', 'constant', 'interval', 'timeout', 'dynamic'; 'map' and 'concat' follow from the others. */
  readonly flags?: readonly string[];
  /** By which expressions of the same batch name one that has no name yet. */
  readonly id?: number;
  /** Of its elements, in ms. */
  readonly timeout?: bigint;
  /** The most elements. */
  readonly size?: number;
  /** How many there are: told since Linux 6.16. */
  readonly count?: number;
  readonly handle?: bigint;
  readonly userdata?: Uint8Array;
  readonly unknown?: readonly Unknown[];
}

export interface NftElement {
  readonly key?: Uint8Array;
  /** Of an interval of joined keys: its last one. */
  readonly keyEnd?: Uint8Array;
  readonly data?: NftData;
  /** 'interval_end': the first key behind an interval; 'catchall'. */
  readonly flags?: readonly string[];
  /** In ms; told: how long it has left. */
  readonly timeout?: bigint;
  readonly expiration?: bigint;
}

export interface NftElements {
  readonly family: NftFamily;
  readonly table: string;
  readonly set: string;
  readonly setId?: number;
  readonly elements?: readonly NftElement[];
}

// ------------------------------------------------------------------ decoding

type Attributes<F extends { readonly table: unknown }> = Values<F['table']>;

function familyName(from: Bytes, message: Message): NftFamily {
  return families.name(decodeHeader(tableFamily, from, message).family) as NftFamily;
}

function defined<T extends object>(values: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as never;
}

export function decodeTable(from: Bytes, message: Message): NftTable {
  const { name = '', flags, ...rest } = decodeAttributes(tableFamily, from, message);
  return defined({ family: familyName(from, message), name, flags: flags?.length === 0 ? undefined : flags, handle: rest.handle, use: rest.use, userdata: rest.userdata, unknown: rest.unknown }); // prettier-ignore
}

export function decodeChain(from: Bytes, message: Message): NftChain {
  const family = familyName(from, message);
  const { table = '', name = '', hook, flags, type, policy, handle, use, userdata, unknown } = decodeAttributes(chainFamily, from, message);
  return defined({ family, table, name, type, hook: hook && decodeHook(family, hook), policy, handle, use, flags: flags?.length === 0 ? undefined : flags, userdata, unknown }); // prettier-ignore
}

function decodeHook(family: NftFamily, { hooknum = 0, priority = 0, dev, devs }: Values<typeof hook>): NftHook {
  const devices = dev !== undefined ? [dev] : devs && [...(devs.name ?? []), ...(devs.prefix ?? []).map((prefix) => `${prefix}*`)];
  return { name: hooksOf(family).name(hooknum), priority, ...(devices !== undefined && { devices }) };
}

export function decodeRule(from: Bytes, message: Message): NftRule {
  const { table = '', chain = '', handle, position, expressions, userdata, unknown } = decodeAttributes(ruleFamily, from, message);
  return defined({ family: familyName(from, message), table, chain, handle, position, expressions, userdata, unknown });
}

export function decodeSet(from: Bytes, message: Message): NftSet {
  const { table = '', name = '', flags, key_type, data_type, desc, id, timeout, handle, count, userdata, unknown } = decodeAttributes(setFamily, from, message); // prettier-ignore
  const map = flags?.includes('map') === true;
  return defined({
    family: familyName(from, message),
    table,
    name,
    key: typesOf(key_type ?? 0),
    data: !map || data_type === undefined ? undefined : data_type === VERDICT_TYPE ? ('verdict' as const) : typesOf(data_type),
    flags: flags?.length === 0 ? undefined : flags,
    id,
    timeout,
    size: desc?.size,
    count,
    handle,
    userdata,
    unknown,
  });
}

export function decodeElements(from: Bytes, message: Message): NftElements {
  const { table = '', set = '', elements } = decodeAttributes(elementsFamily, from, message);
  const each = (elements?.elem ?? []).map(
    ({ key, key_end, data, flags, timeout, expiration }) =>
      defined({ key: key?.value, keyEnd: key_end?.value, data: data as NftData | undefined, flags: flags?.length === 0 ? undefined : flags, timeout, expiration }) as NftElement, // prettier-ignore
  );
  return { family: familyName(from, message), table, set, elements: each };
}

/** The number of the ruleset: each batch that is carried out makes the next one. */
export function decodeGeneration(from: Bytes, message: Message): number {
  return decodeAttributes(generationFamily, from, message).id ?? 0;
}

/** Joined types have six bits each. */
function typesOf(number: number): readonly NftType[] {
  const types: NftType[] = [];
  for (let rest = number; rest !== 0; rest >>>= 6) types.unshift(dataTypes.name(rest & 63) as NftType);
  return types;
}
function typeNumber(types: readonly string[]): number {
  return types.reduce((number, type) => number * 64 + dataTypes.number(type), 0);
}
/** Of each, as it stands in a key: padded to the next register. */
function fieldLengths(types: readonly NftType[]): number[] {
  return types.map((type) => typeLengths[type] ?? 4);
}
function lengthOf(types: readonly NftType[]): number {
  const lengths = fieldLengths(types);
  return lengths.length === 1 ? lengths[0]! : lengths.reduce((sum, length) => sum + 4 * Math.ceil(length / 4), 0);
}

// ------------------------------------------------------------------ encoding

/** One object. As in nft's JSON. */
export type NftObject =
  | { readonly table: NftTable }
  | { readonly chain: NftChain }
  | { readonly rule: NftRule }
  | { readonly set: NftSet }
  | { readonly elements: NftElements };

/**
 * 'add' makes what is not there (a rule: at the end of its chain, or behind `position`), 'create' refuses where it is; 'insert' is a rule's: at the
 * beginning, or before `position`; 'replace' a rule's with a handle. 'delete' of a rule without a handle: all of the chain; of elements
 * without a list: all of the set.
 */
export type NftChange = { readonly [V in 'add' | 'create' | 'insert' | 'replace' | 'delete']?: NftObject };

const verbs = {
  add: NLM_F_CREATE,
  create: NLM_F_CREATE | NLM_F_EXCL,
  insert: NLM_F_CREATE,
  replace: NLM_F_REPLACE,
  delete: 0,
} as const;

/** What is asked, and of what. */
export function partsOf(change: NftChange): { verb: keyof typeof verbs; kind: NftKind; object: NftObject } {
  const [[verb, object] = []] = Object.entries(change).filter(([, object]) => object !== undefined) as [keyof typeof verbs, NftObject][];
  const [kind] = Object.keys(object ?? {}) as NftKind[];
  return { verb: verb!, kind: kind!, object: object! };
}

/** All or nothing: between the messages that begin and end it. `generation`: only if the ruleset is still that one (ERESTART). */
export function encodeBatch(changes: readonly NftChange[], generation?: number): readonly Uint8Array[] {
  const edge = { family: 0, version: 0, resource: NFNL_SUBSYS_NFTABLES };
  return [
    encodeMessage(batchFamily, NFNL_MSG_BATCH_BEGIN, 0, edge, generation === undefined ? {} : { genid: generation }),
    // One that is answered in any case, so that silence is never taken for consent.
    ...changes.map((change, index) => encodeChange(change, index === changes.length - 1 ? NLM_F_ACK : 0)),
    encodeMessage(batchFamily, NFNL_MSG_BATCH_END, 0, edge, {}),
  ];
}

function encodeChange(change: NftChange, more: number): Uint8Array {
  const { verb, kind, object } = partsOf(change);
  const flags = verbs[verb] | more | (verb === 'add' && kind === 'rule' ? NLM_F_APPEND : 0);
  const type = messageType(kind, verb === 'delete' ? 'delete' : 'new');
  const encode = encoders[kind] as (type: number, flags: number, value: unknown, deletes: boolean) => Uint8Array;
  return encode(type, flags, (object as Record<string, unknown>)[kind], verb === 'delete');
}

const head = (family: NftFamily): { family: number } => ({ family: families.number(family) });

const encoders = {
  table: (type: number, flags: number, { family, name, flags: own, userdata }: NftTable, deletes: boolean) =>
    encodeMessage(tableFamily, type, flags, head(family), { name, ...(!deletes && { flags: own ?? [], userdata }) }),
  chain: (type: number, flags: number, { family, table, name, type: kind, hook, policy, userdata }: NftChain, deletes: boolean) =>
    encodeMessage(chainFamily, type, flags, head(family), {
      table,
      name,
      ...(!deletes && { hook: hook && encodeHook(family, hook), policy, type: kind ?? (hook && 'filter'), userdata }),
    }),
  rule: (type: number, flags: number, { family, table, chain, handle, position, expressions, userdata }: NftRule, deletes: boolean) =>
    encodeMessage(ruleFamily, type, flags, head(family), {
      table,
      chain,
      handle,
      ...(!deletes && { position, expressions: expressions ?? [], userdata }),
    }),
  set: (type: number, flags: number, given: NftSet, deletes: boolean) =>
    encodeMessage(setFamily, type, flags, head(given.family), deletes ? { table: given.table, name: given.name } : setAttributes(given)),
  elements: (type: number, flags: number, { family, table, set, setId, elements }: NftElements) =>
    encodeMessage(elementsFamily, type, flags, head(family), {
      table,
      set,
      set_id: setId,
      ...(elements !== undefined && { elements: { elem: elements.map(encodeElement) } }),
    }),
};

function encodeHook(family: NftFamily, { name, priority, devices }: NftHook): Values<typeof hook> {
  // One device as one: what takes several is newer (Linux 5.5 for ingress).
  const where = devices === undefined ? {} : devices.length === 1 ? { dev: devices[0] } : { devs: { name: devices } };
  return { hooknum: hooksOf(family).number(name), priority, ...where };
}

function setAttributes({ table, name, key = [], data, flags = [], id, timeout, size, userdata }: NftSet): Attributes<typeof setFamily> {
  const joined = key.length > 1 && flags.includes('interval');
  const all = new Set([...flags, ...(data === undefined ? [] : ['map']), ...(joined ? ['concat'] : [])]);
  const concat = joined ? { elem: fieldLengths(key).map((len) => ({ len })) } : undefined;
  return {
    table,
    name,
    flags: [...all],
    key_type: typeNumber(key),
    key_len: lengthOf(key),
    ...(data !== undefined && (data === 'verdict' ? { data_type: VERDICT_TYPE, data_len: 16 } : { data_type: typeNumber(data), data_len: lengthOf(data) })), // prettier-ignore
    ...((size !== undefined || concat !== undefined) && { desc: { size, concat } }),
    id: id ?? 0, // the kernel asks for one, needed or not
    timeout,
    userdata: userdata ?? byteOrders(key, data),
  };
}

/** NFTNL_UDATA_SET_KEYBYTEORDER and ..._DATABYTEORDER: without them nft(8) takes numbers and names for big-endian, and prints nonsense. */
function byteOrders(key: readonly NftType[], data: NftSet['data']): Uint8Array {
  const writer = new Writer();
  const say = (which: number, types: NftSet['data']): void => {
    const order = types === 'verdict' || types?.length !== 1 ? 0 : hostOrdered.has(types[0]!) ? 1 : 2;
    writer.byte(which);
    writer.byte(4);
    writer.u32(order);
  };
  say(0, key);
  if (data !== undefined) say(1, data);
  return writer.finish();
}

function encodeElement({ key, keyEnd, data, flags, timeout, expiration }: NftElement): Values<typeof elementTable> {
  return {
    key: key && { value: key },
    data,
    flags: flags?.length === 0 ? undefined : flags,
    timeout,
    expiration,
    key_end: keyEnd && { value: keyEnd },
  };
}

/** A whole table of the kernel's: of one family, or 'unspec' for all. Of rules, of a table or chain of it; of elements, of one set. */
export function encodeDump(
  kind: NftKind,
  family: NftFamily,
  of: { readonly table?: string; readonly chain?: string; readonly set?: string } = {},
): Uint8Array {
  return encodeMessage(kinds[kind].family as typeof ruleFamily, messageType(kind, 'get'), NLM_F_DUMP, head(family), of as object);
}

export function encodeGenerationGet(): Uint8Array {
  return encodeMessage(generationFamily, NFT_MSG_GETGEN, 0, { family: 0 }, {});
}
