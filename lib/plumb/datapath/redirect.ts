// The datapath 'redirect': no bridge. What comes in by eth0 leaves by the TAP and the other way round, by a filter on each that redirects
// every frame. eth0 keeps its addresses, its routes and its MAC, which is the guest's too; the pod's stack gets nothing that comes from
// outside, so that nobody but the guest answers to the addresses. What the pod itself sends still goes out: router solicitations, and
// what its processes send, whose answers the guest gets. It says nothing of it that would not be true of the guest: MAC and addresses are
// the same. Measured on Linux 6.18.
import type * as v from 'valibot';
import { integer, oneOf, options } from '../../check.js';
import { PlumbError } from '../../errors.js';
import type { Operation } from '../../operation/kinds.js';
import type { Problem } from '../../primitive/host.js';
import type { State } from '../../state/snapshot.js';
import type { Link } from '../../wire/link.js';
import type { Filter } from '../../wire/tc.js';
import { type Datapath, type Fault, Faults, type Found, type PlanInput, type Planned, missing, seen, tapDevice, wiringEntries } from './datapath.js'; // prettier-ignore
import { choosePriority, hookOf, ownRedirects, redirectFilter, redirectTo, targetOf, withoutFilters } from './filters.js';
import { type GuardPlace, guardFaults, guardOperations, sourceOf } from './guard.js';
import { inletBy } from './inlet.js';
import type { Mark } from '../mark.js';

const priority = integer(1, 65_535);
const schema = options({
  mode: oneOf('redirect'),
  ...wiringEntries,
  classifier: oneOf('matchall', 'u32'),
  /** Of the filter on the pod's interface. */
  priority,
});
export type RedirectWiring = v.InferOutput<typeof schema>;

/** On the TAP there is nobody else, but what localhost may put ahead of it. */
const TAP_PRIORITY = 16;

const unusable: Readonly<Record<string, string>> = {
  loopback: 'is the loopback',
  macvtap: 'is the wire of a guest itself',
};

/** @throws PlumbError ERR_PLUMB_CONFLICT: what hangs on the interface leaves no place for a filter */
export function freeHook(state: State, { ifindex, name }: Link): ReturnType<typeof hookOf> {
  const hook = hookOf(state, ifindex);
  if (hook?.ingressBlock)
    throw new PlumbError(`'${name}' shares its filters with other interfaces (block ${hook.ingressBlock} of its ${hook.kind} qdisc): one of podtap's would redirect what comes in by them, too`, { code: 'ERR_PLUMB_CONFLICT' }); // prettier-ignore
  const [stale] = ownRedirects(state, ifindex);
  if (stale !== undefined)
    throw new PlumbError(`what comes in by '${name}' is redirected by a filter of podtap already, which this journal does not know; take it away: ${deleteWords(stale, state)}`, { code: 'ERR_PLUMB_CONFLICT' }); // prettier-ignore
  return hook;
}

/** What is the guest's own leaves by the pod's interface. */
const guardTo = (link: number): GuardPlace => ({ direction: 'ingress', action: redirectTo(link) });

function plan({ state, link, addresses, asked, tap, guestMac, mtu, mark, fresh, can }: PlanInput): Planned<RedirectWiring> {
  const hook = freeHook(state, link);
  const classifier = can.has('matchall') ? 'matchall' : 'u32';
  const priority = choosePriority(state, link.ifindex, asked.filters);
  const device = tapDevice({ link, asked, tap, mtu, mark, fresh });
  const source = asked.antiSpoof ? sourceOf(guestMac, addresses) : undefined;
  const operations: readonly Operation[] = [
    ...device.operations,
    { op: 'link.set', link: tap, change: { up: true } },
    ...(source !== undefined
      ? guardOperations(tap, source, guardTo(link.ifindex))
      : [
          { op: 'qdisc.add', link: tap, qdisc: { kind: 'ingress' } } as const,
          redirectFilter(tap, link.ifindex, { parent: 'ffff:', priority: TAP_PRIORITY, classifier }),
        ]),
    // Frames for the guest must be frames for eth0, or what is below it drops them (a macvlan's parent, a switch); and what the pod itself sends is the guest's.
    ...(guestMac === link.mac ? [] : [{ op: 'link.set', link: link.ifindex, change: { mac: guestMac } } as const]),
    ...(hook === undefined ? [{ op: 'qdisc.add', link: link.ifindex, qdisc: { kind: 'ingress' } } as const] : []),
    // Until here nothing has changed for anybody.
    redirectFilter(link.ifindex, tap, { parent: hook?.parent ?? 'ffff:', priority, classifier }),
  ];
  return {
    operations,
    wiring: (after) => ({
      mode: 'redirect',
      ...device.wiring(after),
      guestMac,
      linkMac: guestMac,
      classifier,
      priority,
      ...(source !== undefined && { source }),
    }),
  };
}

function faults(wiring: RedirectWiring, state: State): readonly Fault[] {
  const faults = new Faults(state);
  const { classifier, priority, source } = wiring;
  const link = faults.link('LINK', wiring.link);
  const tap = faults.link('TAP', wiring.tap);
  if (link !== undefined) for (const filter of lost(state, link.ifindex)) tellLost(faults, state, link, filter);
  if (link === undefined || tap === undefined) return faults.found;

  const hook = (of: Link): { parent: string; before: readonly Operation[] } => {
    const { parent = 'ffff:' } = hookOf(state, of.ifindex) ?? {};
    return { parent, before: hookOf(state, of.ifindex) === undefined ? [{ op: 'qdisc.add', link: of.ifindex, qdisc: { kind: 'ingress' } }] : [] }; // prettier-ignore
  };
  for (const [from, to, at, why] of [
    [tap, link, TAP_PRIORITY, 'what the guest sends goes to the pod'],
    [link, tap, priority, 'what is meant for the guest goes to the pod'],
  ] as const) {
    if (from === tap && source !== undefined) {
      guardFaults(faults, state, tap, source, guardTo(link.ifindex));
      continue;
    }
    if (ownRedirects(state, from.ifindex).some((filter) => targetOf(filter) === to.ifindex)) continue;
    const { parent, before } = hook(from);
    const repair = [...withoutFilters(ownRedirects(state, from.ifindex), state), ...before, redirectFilter(from.ifindex, to.ifindex, { parent, priority: at, classifier })]; // prettier-ignore
    faults.tell('FILTER_MISSING', `the filter that redirects from ${from.name} to ${to.name} is gone: ${why}`, `tc filter add dev ${from.name} parent ${parent} pref ${at} ${classifier} action mirred egress redirect dev ${to.name}, or repair()`, ...repair); // prettier-ignore
  }
  faults.down(link, tap);
  faults.mac(link, wiring.guestMac);
  faults.mtu(link, tap, wiring.mtu, 'the guest gets frames that are longer than it was told');
  return faults.found;
}

/** Of podtap's filters on an interface those that send to one that is gone. */
function lost(state: State, ifindex: number): readonly Filter[] {
  return ownRedirects(state, ifindex).filter((filter) => !state.links.has(targetOf(filter)));
}

function tellLost(faults: Faults, state: State, link: Link, filter: Filter): void {
  const { code, message, fix } = lostProblem(link, filter, state);
  faults.tell(code, message, fix, ...withoutFilters([filter], state));
}

function lostProblem({ name }: Link, filter: Filter, state: State): Problem {
  return {
    code: 'REDIRECT_TARGET_GONE',
    message: `the filter of podtap on ${name} redirects to an interface that is gone: all that comes in by ${name} is lost, and the pod has no network`,
    fix: `${deleteWords(filter, state)}, or repair(): the pod has it again; then undo the plumbing, and plumb anew`,
  };
}

function deleteWords({ ifindex, parent, protocol, priority }: Filter, state: State): string {
  return `tc filter delete dev ${state.links.get(ifindex)?.name ?? `if${ifindex}`} parent ${parent} protocol ${protocol} pref ${priority}`;
}

function find(mark: Mark, links: readonly Link[], state: State): Found<RedirectWiring> {
  const tap = links.find(({ kind }) => kind === 'tun');
  const [out] = tap === undefined ? [] : ownRedirects(state, tap.ifindex);
  const link = state.link(mark.link) ?? (out === undefined ? undefined : state.links.get(targetOf(out)));
  const problems = missing(mark, [['TAP', tap], [`interface '${mark.link}'`, link]]); // prettier-ignore
  if (link === undefined || tap === undefined) return { link, tap, problems };
  const [own] = ownRedirects(state, link.ifindex);
  const classifier = (own ?? out)?.kind === 'matchall' ? 'matchall' : 'u32';
  const wiring: RedirectWiring = {
    mode: 'redirect',
    ...seen(link, tap),
    guestMac: link.mac,
    classifier,
    priority: own?.priority ?? 65_535,
  };
  return { link, tap, wiring, problems };
}

export const redirect: Datapath<RedirectWiring> = {
  mode: 'redirect',
  schema,
  parts: ['qdisc', 'filter'],
  partsAfter: ['neighbor', 'proxy', 'qdisc', 'filter'],
  faultParts: ['qdisc', 'filter'],
  abilities: ['matchall'],
  keepsAddresses: true,
  refusal: ({ kind }) => unusable[kind],
  plan,
  faults,
  find,
  strays: (state) =>
    [...state.links.values()].flatMap((link) => lost(state, link.ifindex).map((filter) => lostProblem(link, filter, state))),
  inlet: inletBy,
};
