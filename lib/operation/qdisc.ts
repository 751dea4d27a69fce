import * as v from 'valibot';
import { type LinkRef, linkRef, optional, options, text, u32 } from '../check.js';
import { keys } from '../state/resource.js';
import { formatHandle, parseHandle } from '../wire/handle.js';
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL } from '../wire/message.js';
import { type Qdisc, RTM_DELQDISC, RTM_NEWQDISC, encodeQdisc, qdiscKinds } from '../wire/tc.js';
import { type OperationKind, accepts, asRead, device, netlink, operation, option, words } from './operation.js';

/** What there is to say of a qdisc that is added: its kind, where it hangs ('root', 'ingress', 'clsact', '1:10'), its handle and options. */
export type QdiscRequest = Pick<Qdisc, 'kind'> & Partial<Omit<Qdisc, 'ifindex' | 'kind'>>;

export interface QdiscAdd {
  readonly op: 'qdisc.add';
  readonly link: LinkRef;
  readonly qdisc: QdiscRequest;
}
export interface QdiscDelete {
  readonly op: 'qdisc.delete';
  readonly link: LinkRef;
  readonly qdisc: { readonly parent: string; readonly kind?: string; readonly handle?: string };
}

const handle = v.pipe(text, v.check((value) => accepts(parseHandle, value), "must be a handle such as '1:', '1:10' or 'ffff:', or 'root', 'ingress', 'clsact'")); // prettier-ignore
const kind = v.pipe(text, v.check((value) => /^[\w-]{1,15}$/.test(value), "must be a kind of qdisc such as 'ingress', 'clsact', 'tbf' or 'fq_codel'")); // prettier-ignore

const qdiscSchema = options({
  object: optional(v.literal('qdisc')),
  ifindex: asRead,
  kind,
  handle: optional(handle),
  parent: optional(handle),
  options: optional(
    v.custom<object>((value) => typeof value === 'object' && value !== null, "must be options of the qdisc's kind, or their bytes"),
  ),
  sizes: asRead,
  ingressBlock: optional(u32),
  egressBlock: optional(u32),
  statistics: asRead,
  xstats: asRead,
  offloaded: asRead,
  references: asRead,
  unknown: asRead,
});

/** ingress and clsact have a place of their own. */
function parentOf({ kind, parent }: { readonly kind?: string | undefined; readonly parent?: string | undefined }): string {
  return parent ?? (kind === 'ingress' || kind === 'clsact' ? kind : 'root');
}

const DEFAULT_TX_QUEUE_LEN = 1000; // packets: include/linux/netdevice.h

export const qdiscAdd: OperationKind<QdiscAdd> = {
  schema: v.pipe(
    operation('qdisc.add', { link: linkRef, qdisc: qdiscSchema }),
    v.check(
      ({ qdisc }) => qdisc.options === undefined || qdisc.options instanceof Uint8Array || Object.hasOwn(qdiscKinds, qdisc.kind),
      'must have its options as bytes: podtap has no names for those of this kind',
    ),
  ),
  links: ({ link }) => [link],
  requests: ({ link, qdisc }, find) => [
    netlink(encodeQdisc(RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, { ...qdisc, ifindex: find(link), parent: parentOf(qdisc) })),
  ],
  parts: () => ['qdisc'],
  touches: ({ link, qdisc }, on) => {
    const index = on.find(link);
    on.mayChange(keys.qdisc(index, placeOf(qdisc)));
    // Any qdisc, ingress too, gives a length to the queue of an interface that has none: net/sched/sch_api.c, qdisc_create().
    if (on.state.links.get(index)?.txQueueLength === 0) on.will(keys.setting(index, 'txQueueLength'), 0, DEFAULT_TX_QUEUE_LEN);
  },
  command: ({ link, qdisc }) =>
    words(
      'tc',
      'qdisc',
      'add',
      'dev',
      device(link),
      ...placeWords(qdisc),
      ...(hook(qdisc.kind) ? [] : [qdisc.kind]),
      ...optionWords(qdisc),
    ),
};

export const qdiscDelete: OperationKind<QdiscDelete> = {
  schema: operation('qdisc.delete', {
    link: linkRef,
    qdisc: options({ ...qdiscSchema.entries, parent: handle, kind: optional(kind), options: asRead }),
  }),
  links: ({ link }) => [link],
  requests: ({ link, qdisc: { parent, kind, handle } }, find) => {
    const which = { ...(kind !== undefined && { kind }), ...(handle !== undefined && { handle }) };
    return [netlink(encodeQdisc(RTM_DELQDISC, NLM_F_ACK, { parent, ...which, ifindex: find(link) }))];
  },
  parts: () => ['qdisc', 'filter'],
  touches: ({ link, qdisc }, on) => {
    const index = on.find(link);
    const key = keys.qdisc(index, placeOf(qdisc));
    const before = on.state.get(key) as { readonly kind: string } | undefined;
    if (before !== undefined && !hook(before.kind) && !on.isOurs(index))
      on.refuse(`deleting the qdisc '${before.kind}'`, 'its classes and their filters are not kept');
    on.will(key, undefined);
    on.mayGo('filter', ({ link: one }) => one === index);
  },
  command: ({ link, qdisc }) => words('tc', 'qdisc', 'delete', 'dev', device(link), ...placeWords(qdisc)),
};

/** As the kernel tells it. */
function placeOf(qdisc: { readonly kind?: string; readonly parent?: string }): string {
  return formatHandle(parseHandle(parentOf(qdisc)));
}

function hook(kind: string): boolean {
  return kind === 'ingress' || kind === 'clsact';
}

function placeWords(qdisc: { readonly kind?: string; readonly parent?: string; readonly handle?: string }): (string | undefined)[] {
  const parent = parentOf(qdisc);
  if (parent === 'ingress' || parent === 'clsact') return [qdisc.kind ?? parent];
  return [...(parent === 'root' ? ['root'] : ['parent', parent]), ...option('handle', qdisc.handle)];
}

/** tc(8)'s words for options are as many as kinds; those with a plain value of the same name. */
function optionWords({ options: given }: QdiscRequest): (string | undefined)[] {
  if (given === undefined || given instanceof Uint8Array) return [];
  return Object.entries(given).flatMap(([name, value]) => (typeof value === 'number' ? [name, String(value)] : []));
}
