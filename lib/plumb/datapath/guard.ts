// Whether the guest sends with its own MAC and addresses only: two filters of cls_bpf ahead of all that follows, the one for what is the
// guest's, and behind it one that drops the rest. Classic BPF: the kernel takes it in a user namespace, too.
import { PlumbError } from '../../errors.js';
import type { ActionRequest } from '../../operation/action.js';
import type { Operation } from '../../operation/kinds.js';
import type { State } from '../../state/snapshot.js';
import type { Address } from '../../wire/address.js';
import { MOST_INSTRUCTIONS, encodeInstructions } from '../../wire/bpf/classic.js';
import { dropProgram, guardProgram } from '../../wire/bpf/guard.js';
import type { BpfOptions } from '../../wire/filter/bpf.js';
import type { Link } from '../../wire/link.js';
import type { Filter } from '../../wire/tc.js';
import { formatIp, parseMac } from '../../wire/text.js';
import type { Faults, GuestSource } from './datapath.js';
import { filtersOf, hookOf, withoutFilters } from './filters.js';

/** Its own MAC and addresses, also that which it makes itself of its MAC (RFC 4291, appendix A). The unspecified one is known to the check. */
export function sourceOf(mac: string, addresses: readonly Address[]): GuestSource {
  const [a, b, c, d, e, f] = parseMac(mac)!;
  const local = Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, a! ^ 2, b!, c!, 0xff, 0xfe, d!, e!, f!);
  return { mac, addresses: [...new Set([...addresses.map(({ address }) => address.replace(/\/.*/, '')), formatIp(local, 0, 16)!])] };
}

// Localhost's programs stand ahead, and check by themselves from whom they take.
const OWN_PRIORITY = 16;
const REST_PRIORITY = 17;
const REST = encodeInstructions(dropProgram());

/** On the guest's end, where nobody else has filters. */
export interface GuardPlace {
  /** Frames from a guest come in by a TAP, and go out by a macvtap. */
  readonly direction: 'ingress' | 'egress';
  /** What becomes of the guest's own; none: it goes on. */
  readonly action?: ActionRequest;
}

const hooks = {
  ingress: { qdisc: 'ingress', parent: 'ffff:' },
  egress: { qdisc: 'clsact', parent: 'ffff:fff3' },
} as const;

/** @throws PlumbError ERR_PLUMB_CONFLICT: there are more addresses than a program can tell apart */
export function guardOperations(on: string | number, source: GuestSource, { direction, action }: GuardPlace): readonly Operation[] {
  const { qdisc, parent } = hooks[direction];
  return [{ op: 'qdisc.add', link: on, qdisc: { kind: qdisc } }, ...guardFilters(on, source, parent, action)];
}

function guardFilters(on: string | number, source: GuestSource, parent: string, action: ActionRequest | undefined): readonly Operation[] {
  const program = guardProgram(source);
  if (program.length > MOST_INSTRUCTIONS)
    throw new PlumbError(`antiSpoof cannot tell ${source.addresses.length} addresses apart: the program would have ${program.length} instructions, and the kernel takes ${MOST_INSTRUCTIONS}`, { code: 'ERR_PLUMB_CONFLICT' }); // prettier-ignore
  const filter = (priority: number, options: BpfOptions, actions: readonly ActionRequest[]): Operation => ({
    op: 'filter.add',
    link: on,
    filter: { parent, protocol: 'all', priority, handle: '0x1', kind: 'bpf', options, ...(actions.length > 0 && { actions }) },
  });
  // First what lets nothing pass.
  return [
    filter(REST_PRIORITY, { directAction: true, operations: REST }, []),
    filter(OWN_PRIORITY, { operations: encodeInstructions(program) }, action === undefined ? [] : [action]),
  ];
}

/** What a guest may do that it should not. */
export function guardFaults(faults: Faults, state: State, tap: Link, source: GuestSource, { direction, action }: GuardPlace): void {
  const { qdisc, parent } = hooks[direction];
  const there = filtersOf(state, tap.ifindex, direction);
  const program = encodeInstructions(guardProgram(source));
  const own = there.find(
    (filter) =>
      isProgram(filter, OWN_PRIORITY, program, false) && sendsTo(filter) === sendsTo({ actions: action === undefined ? [] : [action] }),
  );
  const rest = there.find((filter) => isProgram(filter, REST_PRIORITY, REST, true));
  if (own !== undefined && rest !== undefined) return;
  const hook = hookOf(state, tap.ifindex);
  const place = direction === 'ingress' ? (hook?.parent ?? parent) : parent;
  const taken = there.filter(({ priority }) => priority === OWN_PRIORITY || priority === REST_PRIORITY);
  const before: readonly Operation[] = hook === undefined ? [{ op: 'qdisc.add', link: tap.ifindex, qdisc: { kind: qdisc } }] : [];
  faults.tell('GUARD_MISSING', `the filters on ${tap.name} that check what the guest sends are not as they were made: it can use other addresses than its own`, 'repair()', ...withoutFilters(taken, state), ...before, ...guardFilters(tap.ifindex, source, place, action)); // prettier-ignore
}

/** undefined: nowhere else. */
function sendsTo({ actions = [] }: { readonly actions?: readonly ActionRequest[] | undefined }): unknown {
  return (actions[0]?.options as { readonly dev?: unknown } | undefined)?.dev;
}

function isProgram({ kind, priority, protocol, chain = 0, options }: Filter, at: number, program: Uint8Array, direct: boolean): boolean {
  if (kind !== 'bpf' || priority !== at || protocol !== 'all' || chain !== 0 || options === undefined || options instanceof Uint8Array) return false; // prettier-ignore
  const { operations, directAction = false } = options as BpfOptions;
  return directAction === direct && operations !== undefined && Buffer.compare(operations, program) === 0;
}
