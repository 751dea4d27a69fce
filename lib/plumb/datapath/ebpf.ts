// The datapath 'ebpf': as redirect, by a program on tcx, or in filters of cls_bpf where the kernel has no tcx. If the TAP is gone, down, or
// held by nobody, the program leaves what comes in to the pod, in the kernel, without any process. It is attached for good and holds its
// maps; whoever comes finds it by its name. eBPF is for root of the machine: in a user namespace the kernel loads no programs.
import type * as v from 'valibot';
import { integer, oneOf, options } from '../../check.js';
import { TO_GUEST, TO_LINK } from '../../operation/ebpf.js';
import type { Operation } from '../../operation/kinds.js';
import { ownName } from '../../state/tc.js';
import type { TcxProgram } from '../../state/tcx.js';
import type { State } from '../../state/snapshot.js';
import type { Link } from '../../wire/link.js';
import { type Datapath, type Fault, Faults, type Found, type PlanInput, type Planned, missing, seen, tapDevice, wiringEntries } from './datapath.js'; // prettier-ignore
import { choosePriority, hookOf, ingressFilters, withoutFilters } from './filters.js';
import { sourceOf } from './guard.js';
import { inletBy } from './inlet.js';
import type { Mark } from '../mark.js';
import { freeHook, redirect } from './redirect.js';

const schema = options({
  mode: oneOf('ebpf'),
  ...wiringEntries,
  hook: oneOf('tcx', 'filter'),
  order: oneOf('first', 'last'),
  /** Of the filter on the pod's interface. */
  priority: integer(1, 65_535),
});
export type EbpfWiring = v.InferOutput<typeof schema>;

/** Whether one of podtap's programs is on an interface, in whatever way. */
function isOn(state: State, ifindex: number, name: string): boolean {
  return programs(state, ifindex, name).length > 0 || filters(state, ifindex, name).length > 0;
}

function programs(state: State, ifindex: number, name: string): readonly TcxProgram[] {
  return [...state.resources.values()]
    .filter(({ kind, link }) => kind === 'tcx' && link === ifindex)
    .map(({ value }) => value as unknown as TcxProgram)
    .filter((program) => program.name === name);
}

function filters(state: State, ifindex: number, name: string): ReturnType<typeof ingressFilters> {
  return ingressFilters(state, ifindex).filter((filter) => ownName(filter) === name);
}

function plan({ state, link, addresses, asked, tap, guestMac, mtu, mark, fresh, can }: PlanInput): Planned<EbpfWiring> {
  const qdisc = freeHook(state, link);
  const hook = can.has('tcx') ? 'tcx' : 'filter';
  const order = asked.filters;
  const priority = choosePriority(state, link.ifindex, order);
  const device = tapDevice({ link, asked, tap, mtu, mark, fresh });
  const source = asked.antiSpoof ? sourceOf(guestMac, addresses) : undefined;
  const ingress = (on: string | number): Operation => ({ op: 'qdisc.add', link: on, qdisc: { kind: 'ingress' } });
  const operations: readonly Operation[] = [
    ...device.operations,
    { op: 'link.set', link: tap, change: { up: true } },
    ...(hook === 'filter' ? [ingress(tap)] : []),
    ...(guestMac === link.mac ? [] : [{ op: 'link.set', link: link.ifindex, change: { mac: guestMac } } as const]),
    ...(hook === 'filter' && qdisc === undefined ? [ingress(link.ifindex)] : []),
    {
      op: 'ebpf.attach',
      link: link.ifindex,
      tap,
      hook,
      order,
      parent: qdisc?.parent ?? 'ffff:',
      priority,
      ...(source !== undefined && { source }),
    },
  ];
  const wiring = (after: State): EbpfWiring => ({
    mode: 'ebpf',
    ...device.wiring(after),
    guestMac,
    linkMac: guestMac,
    hook,
    order,
    priority,
    ...(source !== undefined && { source }),
  });
  return { operations, wiring };
}

function faults(wiring: EbpfWiring, state: State): readonly Fault[] {
  const faults = new Faults(state);
  const link = faults.link('LINK', wiring.link);
  const tap = faults.link('TAP', wiring.tap);
  if (link === undefined || tap === undefined) return faults.found;
  const { hook, order, priority, source } = wiring;
  const lacking = [[tap, TO_LINK], [link, TO_GUEST]].filter(([of, name]) => !isOn(state, (of as Link).ifindex, name as string)) as [Link, string][]; // prettier-ignore
  // They have maps in common: both anew.
  const left = [[tap, TO_LINK], [link, TO_GUEST]].flatMap(([of, name]): Operation[] => {
    const { ifindex } = of as Link;
    const detached = programs(state, ifindex, name as string).map(({ direction, id }): Operation => ({ op: 'tcx.detach', link: ifindex, direction, id })); // prettier-ignore
    const ingress: Operation[] = hook === 'filter' && hookOf(state, ifindex) === undefined ? [{ op: 'qdisc.add', link: ifindex, qdisc: { kind: 'ingress' } }] : []; // prettier-ignore
    return [...detached, ...withoutFilters(filters(state, ifindex, name as string), state), ...ingress];
  }); // prettier-ignore
  for (const [index, [{ name }, program]] of lacking.entries())
    faults.tell('PROGRAM_MISSING', `the program ${program} is not on ${name} any more: ${program === TO_LINK ? 'what the guest sends' : 'what is meant for the guest'} goes to the pod`, 'repair()', ...(index > 0 ? [] : [...left, { op: 'ebpf.attach', link: link.ifindex, tap: tap.ifindex, hook, order, parent: hookOf(state, link.ifindex)?.parent ?? 'ffff:', priority, ...(source !== undefined && { source }) } as const])); // prettier-ignore
  faults.down(link, tap);
  faults.mac(link, wiring.guestMac);
  faults.mtu(link, tap, wiring.mtu, 'the guest gets frames that are longer than it was told');
  return faults.found;
}

function find(mark: Mark, links: readonly Link[], state: State): Found<EbpfWiring> {
  const tap = links.find(({ kind }) => kind === 'tun');
  const link = state.link(mark.link);
  const problems = missing(mark, [['TAP', tap], [`interface '${mark.link}'`, link]]); // prettier-ignore
  // Whoever may not ask for programs cannot tell whether they are there.
  if (link === undefined || tap === undefined || !state.parts.has('tcx')) return { link, tap, problems };
  const [filter] = filters(state, link.ifindex, TO_GUEST);
  const hook = filter === undefined ? 'tcx' : 'filter';
  const wiring: EbpfWiring = { mode: 'ebpf', ...seen(link, tap), guestMac: mark.mac ?? link.mac, hook, order: 'last', priority: filter?.priority ?? 65_535 }; // prettier-ignore
  return { link, tap, wiring, problems };
}

export const ebpf: Datapath<EbpfWiring> = {
  mode: 'ebpf',
  schema,
  parts: ['qdisc', 'filter', 'tcx'],
  partsAfter: ['neighbor', 'proxy', 'qdisc', 'filter', 'tcx'],
  faultParts: ['qdisc', 'filter', 'tcx'],
  abilities: ['tcx'],
  keepsAddresses: true,
  refusal: redirect.refusal,
  plan,
  faults,
  find,
  inlet: inletBy,
};
