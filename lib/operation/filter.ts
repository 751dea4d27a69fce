import * as v from 'valibot';
import { type LinkRef, type Schema, array, boolean, integer, interfaceName, linkRef, optional, options, text, u16, u32 } from '../check.js';
import { keys } from '../state/resource.js';
import { ownFilter, ownName } from '../state/tc.js';
import { type FlowerOptions, flowerTable } from '../wire/filter/flower.js';
import { decodeInstructions } from '../wire/bpf/classic.js';
import type { BpfOptions } from '../wire/filter/bpf.js';
import type { U32Key, U32Options } from '../wire/filter/u32.js';
import { parseFilterParent, parseHandle, parseU32Handle } from '../wire/handle.js';
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL } from '../wire/message.js';
import { type Filter, RTM_DELTFILTER, RTM_NEWTFILTER, encodeFilter, filterProtocols } from '../wire/tc.js';
import { type ActionRequest, actionSchema, actionWords, linksOf, resolved } from './action.js';
import { lateKeys } from './late-keys.js';
import { type OperationKind, accepts, asRead, device, nameOf, netlink, operation, option, words } from './operation.js';

/**
 * A filter to be added. `parent`: 'ingress' or 'egress' (of clsact, the first of an ingress qdisc too), 'root', or a qdisc's or class's
 * handle. An ingress qdisc knows no hooks: what is added to its 'egress' filters what comes in.
 * With a fixed priority and handle, adding it twice is an error (EEXIST) instead of two filters.
 */
export type FilterRequest = Pick<Filter, 'kind'> &
  Partial<Omit<Filter, 'ifindex' | 'kind' | 'actions'>> & { readonly parent: string; readonly actions?: readonly ActionRequest[] };

export interface FilterAdd {
  readonly op: 'filter.add';
  readonly link: LinkRef;
  readonly filter: FilterRequest;
}
export interface FilterDelete {
  readonly op: 'filter.delete';
  readonly link: LinkRef;
  readonly filter: Pick<FilterRequest, 'parent'> & Partial<Pick<FilterRequest, 'protocol' | 'priority' | 'handle' | 'kind' | 'chain'>>;
}

const where = v.pipe(text, v.check((value) => accepts(parseFilterParent, value), "must be 'ingress', 'egress', 'root' or a handle such as 'ffff:' or '1:'")); // prettier-ignore
const classid = v.pipe(text, v.check((value) => accepts(parseHandle, value), "must be a class such as '1:10'")); // prettier-ignore
const u32Handle = v.pipe(text, v.check((value) => accepts(parseU32Handle, value), "must be a handle of u32 such as '800:' or '800::800'")); // prettier-ignore
const hardware = optional(array(text));
const word = integer(-0x80000000, 0xffffffff);

const u32Key = options({
  mask: word,
  value: word,
  offset: v.pipe(integer(-0x8000, 0xffff), v.multipleOf(4, 'must be a multiple of 4')),
  offsetMask: optional(word),
});
const kinds: Readonly<Record<string, Schema<unknown>>> = {
  u32: options({
    selector: optional(
      options({
        flags: optional(array(text)),
        keys: v.pipe(array(u32Key as Schema<U32Key>), v.maxLength(128, 'must have at most 128 keys')),
        shift: optional(u16),
        offsetMask: optional(u16),
        fixedOffset: optional(u16),
        variableOffset: optional(u16),
        hashOffset: optional(integer(-0x8000, 0x7fff)),
        hashMask: optional(u32),
      }),
    ),
    classid: optional(classid),
    hash: optional(u32Handle),
    link: optional(u32Handle),
    divisor: optional(integer(1, 256)),
    indev: optional(interfaceName),
    mark: optional(options({ value: u32, mask: u32, success: asRead })),
    flags: hardware,
    police: asRead,
    counters: asRead,
    unknown: asRead,
  }),
  matchall: options({ classid: optional(classid), flags: hardware, hits: asRead, unknown: asRead }),
  flower: options({
    keys: optional(options(Object.fromEntries(flowerKeys().map((name) => [name, asRead])))),
    classid: optional(classid),
    indev: optional(interfaceName),
    flags: hardware,
    inHardware: asRead,
    unknown: asRead,
  }),
  bpf: options({
    fd: optional(integer(0, 0x7fffffff)),
    name: optional(text),
    directAction: optional(boolean),
    classid: optional(classid),
    flags: hardware,
    id: asRead,
    tag: asRead,
    operations: optional(v.instance(Uint8Array, 'must be struct sock_filter[] as bytes')),
    police: asRead,
    unknown: asRead,
  }),
};

function flowerKeys(): string[] {
  return Object.keys(flowerTable.fields).flatMap((name) => (name.startsWith('key_') ? [name.slice(4)] : name === 'l2_miss' ? [name] : []));
}

const bytes = v.instance(Uint8Array, 'must be the options as bytes: podtap has no names for those of this kind of filter');

const filterSchema = v.pipe(
  options({
    object: optional(v.literal('filter')),
    ifindex: asRead,
    parent: where,
    protocol: optional(nameOf(filterProtocols)),
    priority: optional(u16),
    handle: optional(text),
    chain: optional(u32),
    kind: v.pipe(text, v.check((value) => /^[\w-]{1,15}$/.test(value), "must be a kind of filter: 'u32', 'matchall', 'flower', 'bpf'")), // prettier-ignore
    options: asRead,
    actions: optional(array(actionSchema)),
    statistics: asRead,
    unknown: asRead,
  }),
  v.check(
    ({ kind, handle }) => handle === undefined || goodHandle(kind, handle),
    "must have a handle of its kind: '800::800' of u32, else '0x1'",
  ),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed || dataset.value.options === undefined || dataset.value.options instanceof Uint8Array) return;
    const { kind } = dataset.value;
    const [issue] = v.safeParse(Object.hasOwn(kinds, kind) ? kinds[kind]! : bytes, dataset.value.options).issues ?? [];
    if (issue !== undefined) addIssue({ message: `has wrong options of ${kind}: '${v.getDotPath(issue) ?? 'options'}' ${issue.message}` });
  }),
);

function goodHandle(kind: string | undefined, handle: string): boolean {
  return kind === 'u32' ? accepts(parseU32Handle, handle) : /^(0x[0-9a-f]{1,8}|\d{1,10})$/i.test(handle);
}

export const filterAdd: OperationKind<FilterAdd> = {
  schema: operation('filter.add', { link: linkRef, filter: filterSchema }),
  links: ({ link, filter }) => [link, ...linksOf(filter.actions)],
  requests: ({ link, filter: { actions, ...filter } }, find) => {
    const protocol = filter.protocol ?? 'all';
    const options = sentOptions(filter.kind, protocol, filter.options);
    const request = {
      ...filter,
      protocol,
      ...(options !== undefined && { options }),
      ifindex: find(link),
      ...(actions !== undefined && { actions: actions.map((action) => resolved(action, find)) }),
    };
    return [netlink(encodeFilter(RTM_NEWTFILTER, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, request), lateKeys(request))];
  },
  parts: () => ['filter'],
  touches: ({ link, filter }, on) => {
    const own = ownName(filter);
    if (own === undefined) return on.mayAdd(keys.filter(on.find(link)));
    const { key, value } = ownFilter(on.find(link), own);
    on.will(key, value);
  },
  command: ({ link, filter }) =>
    words(
      'tc',
      'filter',
      'add',
      'dev',
      device(link),
      ...placeWords(filter),
      filter.kind,
      ...matchWords(filter),
      ...(filter.actions ?? []).flatMap(actionWords),
    ),
};

/**
 * As tc(8) sends them: empty ones too, without which classifiers refuse; and flower's eth_type, without which the kernel passes over
 * ip_proto and whatever else is found behind it, and matches every packet of the protocol. Of frames with VLANs, or of PPPoE, it tells the
 * innermost EtherType, and wants the outermost, which is the protocol.
 */
function sentOptions(kind: string, protocol: string, given: Filter['options']): Filter['options'] {
  if (given instanceof Uint8Array || !Object.hasOwn(kinds, kind)) return given;
  if (kind !== 'flower' || protocol === 'all') return given ?? {};
  const flower = (given ?? {}) as FlowerOptions;
  const wrapped = Object.keys(flower.keys ?? {}).some((name) => /^(c?vlan|pppoe|ppp)_/.test(name));
  const eth_type = (wrapped ? undefined : flower.keys?.eth_type) ?? filterProtocols.number(protocol);
  return { ...flower, keys: { ...flower.keys, eth_type } };
}

export const filterDelete: OperationKind<FilterDelete> = {
  schema: operation('filter.delete', {
    link: linkRef,
    filter: v.pipe(
      options({
        parent: where,
        protocol: optional(nameOf(filterProtocols)),
        priority: optional(u16),
        handle: optional(text),
        kind: optional(text),
        chain: optional(u32),
        // of one that was listed
        object: asRead,
        ifindex: asRead,
        options: asRead,
        actions: asRead,
        statistics: asRead,
        unknown: asRead,
      }),
      v.check(
        ({ kind, handle }) => handle === undefined || goodHandle(kind, handle),
        "must have a handle of its kind: '800::800' of u32, else '0x1'",
      ),
    ),
  }),
  links: ({ link }) => [link],
  requests: ({ link, filter: { parent, protocol, priority, handle, kind, chain } }, find) => {
    const which = Object.entries({ protocol, priority, handle, kind, chain }).filter(([, value]) => value !== undefined);
    return [netlink(encodeFilter(RTM_DELTFILTER, NLM_F_ACK, { parent, ...Object.fromEntries(which), ifindex: find(link) }))];
  },
  parts: () => ['filter'],
  touches: ({ link }, on) => {
    const index = on.find(link);
    on.mayGo('filter', ({ link: one }) => one === index);
  },
  command: ({ link, filter }) => words('tc', 'filter', 'delete', 'dev', device(link), ...placeWords(filter), filter.kind),
};

function placeWords({ parent, protocol, priority, handle, chain }: FilterDelete['filter']): (string | number | undefined)[] {
  // tc(8) takes the root qdisc where no place is named; its word 'root' is none that the kernel knows for filters.
  const place = parent === 'ingress' || parent === 'egress' ? [parent] : parent === 'root' ? [] : ['parent', parent];
  return [
    ...place,
    ...option('protocol', protocol ?? (priority === undefined ? undefined : 'all')),
    ...option('pref', priority),
    ...option('chain', chain),
    ...option('handle', handle),
  ];
}

function matchWords({ kind, options: given }: FilterRequest): readonly (string | number | undefined)[] {
  if (given === undefined || given instanceof Uint8Array) return [];
  if (kind === 'flower') return Object.entries((given as { keys?: object }).keys ?? {}).flatMap(([name, value]) => [name, String(value)]);
  if (kind === 'bpf') return bpfWords(given);
  if (kind !== 'u32') return option('classid', (given as { classid?: string }).classid);
  const { selector, classid, link, divisor } = given as U32Options;
  const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`;
  const keys = (selector?.keys ?? []).flatMap(({ value, mask, offset }) => ['match', 'u32', hex(value), hex(mask), 'at', offset]);
  return [...option('divisor', divisor), ...keys, ...option('classid', classid), ...option('link', link)];
}

/** A classic program as tc-bpf(8) takes it: how many instructions, and their four numbers each. */
function bpfWords({ operations, directAction = false, classid }: BpfOptions): readonly (string | undefined)[] {
  const program = operations === undefined ? undefined : decodeInstructions(operations);
  const bytecode = program === undefined ? undefined : [program.length, ...program.map((one) => one.join(' '))].join(',');
  return [...(directAction ? ['direct-action'] : []), ...option('bytecode', bytecode), ...option('classid', classid)];
}
