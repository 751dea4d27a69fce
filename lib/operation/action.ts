import * as v from 'valibot';
import { type LinkRef, type Schema, array, integer, linkRef, oneOf, optional, options, text, u16, u32 } from '../check.js';
import type { Action } from '../wire/action.js';
import type { MirredOptions } from '../wire/action/mirred.js';
import { parseControl } from '../wire/control.js';
import { parseHandle } from '../wire/handle.js';
import { type FindLink, accepts, asRead, device, option } from './operation.js';

/** An action of a filter; where mirred sends to, a name will do. */
export type ActionRequest = Omit<Action, 'options'> & {
  readonly options?: Exclude<Action['options'], MirredOptions> | (Omit<MirredOptions, 'dev'> & { readonly dev: LinkRef });
};

const control = v.pipe(text, v.check((value) => accepts(parseControl, value), "must be a control such as 'pipe', 'stolen', 'ok', 'drop', 'continue' or 'jump 2'")); // prettier-ignore
const handle = v.pipe(text, v.check((value) => accepts(parseHandle, value), "must be a class such as '1:10'")); // prettier-ignore
const word = integer(-0x80000000, 0xffffffff);

/** The options of each kind of action; those of another are given as bytes. */
const kinds: Readonly<Record<string, Schema<unknown>>> = {
  mirred: options({
    action: oneOf('redirect', 'mirror'),
    direction: oneOf('egress', 'ingress'),
    dev: linkRef,
    block: optional(u32),
    unknown: asRead,
  }),
  gact: options({
    chance: optional(options({ type: oneOf('none', 'random', 'deterministic'), value: u16, control })),
    unknown: asRead,
  }),
  skbedit: options({
    priority: optional(handle),
    queue: optional(u16),
    queueMax: optional(u16),
    mark: optional(u32),
    markMask: optional(u32),
    packetType: optional(integer(0, 7)),
    flags: asRead,
    unknown: asRead,
  }),
  pedit: options({
    keys: v.pipe(
      array(
        options({
          header: optional(oneOf('network', 'eth', 'ip4', 'ip6', 'tcp', 'udp')),
          command: optional(oneOf('set', 'add')),
          mask: word,
          value: word,
          offset: integer(-128, 0xffff),
          at: optional(u32),
          offsetMask: optional(u32),
          shift: optional(u32),
        }),
      ),
      v.minLength(1, 'must have a key'),
    ),
    flags: asRead,
    unknown: asRead,
  }),
};

const bytes = v.instance(Uint8Array, 'must be the options as bytes: podtap has no names for those of this kind of action');

export const actionSchema = v.pipe(
  options({
    kind: v.pipe(text, v.check((value) => /^[\w-]{1,15}$/.test(value), "must be a kind of action such as 'mirred' or 'gact'")), // prettier-ignore
    index: optional(u32),
    control: optional(control),
    cookie: optional(v.pipe(v.instance(Uint8Array, 'must be bytes'), v.check(({ length }) => length <= 16, 'must have at most 16 bytes'))), // prettier-ignore
    options: asRead,
    flags: asRead,
    hardwareStatistics: asRead,
    statistics: asRead,
    references: asRead,
    bindings: asRead,
    times: asRead,
    usedHardwareStatistics: asRead,
    inHardware: asRead,
    unknown: asRead,
  }),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed || dataset.value.options === undefined || dataset.value.options instanceof Uint8Array) return;
    const { kind } = dataset.value;
    const result = v.safeParse(Object.hasOwn(kinds, kind) ? kinds[kind]! : bytes, dataset.value.options);
    const [issue] = result.issues ?? [];
    if (issue !== undefined) addIssue({ message: `has wrong options of ${kind}: '${v.getDotPath(issue) ?? 'options'}' ${issue.message}` });
  }),
) as unknown as Schema<ActionRequest>;

export function linksOf(actions: readonly ActionRequest[] | undefined): (LinkRef | undefined)[] {
  return (actions ?? []).map((action) => mirredOf(action)?.dev);
}

export function resolved(action: ActionRequest, find: FindLink): Action {
  const mirred = mirredOf(action);
  return (mirred === undefined ? action : { ...action, options: { ...mirred, dev: find(mirred.dev) } }) as Action;
}

function mirredOf({
  kind,
  options: given,
}: ActionRequest): { readonly dev: LinkRef; readonly action: string; readonly direction: string } | undefined {
  return kind === 'mirred' && given !== undefined && !(given instanceof Uint8Array)
    ? (given as Omit<MirredOptions, 'dev'> & { dev: LinkRef })
    : undefined;
}

/** As tc-mirred(8), tc-skbedit(8) and tc-gact(8); what has no short form there is left to a comment of the filter. */
export function actionWords(action: ActionRequest): (string | number | undefined)[] {
  const mirred = mirredOf(action);
  const cookie = action.cookie === undefined ? [] : ['cookie', Buffer.from(action.cookie).toString('hex')];
  if (mirred !== undefined)
    // What is redirected is stolen, and tc-mirred(8) takes no other word for it.
    return ['action', 'mirred', mirred.direction, mirred.action, 'dev', device(mirred.dev), mirred.action === 'redirect' ? undefined : action.control, ...cookie]; // prettier-ignore
  if (action.kind === 'gact') return ['action', action.control ?? 'ok', ...cookie];
  if (action.kind === 'skbedit' && action.options !== undefined && !(action.options instanceof Uint8Array)) {
    const { mark, markMask, queue, priority } = action.options as { mark?: number; markMask?: number; queue?: number; priority?: string };
    const marked = mark === undefined ? undefined : `${mark}${markMask === undefined ? '' : `/${markMask}`}`;
    return [
      'action',
      'skbedit',
      ...option('mark', marked),
      ...option('queue_mapping', queue),
      ...option('priority', priority),
      action.control,
      ...cookie,
    ];
  }
  return ['action', action.kind];
}
