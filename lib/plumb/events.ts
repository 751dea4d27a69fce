// What becomes of a plumbing, from what the kernel tells of its namespace.
import type { GuestNetwork } from '../guest/network.js';
import type { Netns } from '../kernel/netns.js';
import { joined } from '../signal.js';
import { type Change, subscribe } from '../kernel/watch.js';
import { RT_TABLE_MAIN } from '../wire/constants.js';
import type { Problem } from '../primitive/host.js';
import { type Part, type State, snapshot } from '../state/snapshot.js';
import { addressesOf } from './link.js';
import type { PlumbRecord } from './record.js';
import { problemOf } from './datapath/datapath.js';
import { type Wiring, datapathOf, faultParts, faultsOf } from './datapath/datapaths.js';

export type PlumbingEvent =
  /** A monitor has opened the TAP, or has let it go; 'overrun': changes were missed, and the state was read anew; 'gone': the TAP or the namespace is no more. */
  | { readonly type: 'attached' | 'detached' | 'overrun' | 'gone' }
  /** The pod's interface was changed in a way that the guest must be told of. */
  | { readonly type: 'changed'; readonly what: 'mtu' | 'mac' | 'address' | 'route'; readonly guest: GuestNetwork }
  | { readonly type: 'broken' | 'repaired'; readonly problem: Problem };

/** Changes come in bursts: what follows within this time is looked at together. */
const BURST = 5; // milliseconds
/** The kernel does not tell of sockets that listen: they are looked at so often. */
const OFTEN = 500; // milliseconds

/** Of what guests reach of the pod's localhost. */
export interface Followed {
  readonly look: (parts: readonly Part[]) => Promise<State>;
  readonly problems: (state: State) => Promise<readonly Problem[]>;
  /** true: something was done about them. */
  readonly follow: (problems: readonly Problem[]) => Promise<boolean>;
  /** Whether it depends on what nobody tells of. */
  readonly often: () => boolean;
  /** What the last repair has left, and which one that was: 0, there was none. */
  readonly repair: () => { readonly number: number; readonly left: readonly Problem[] };
}

const keyOf = ({ code, message }: Problem): string => `${code} ${message}`;

export async function* eventsOf(
  netns: Netns,
  record: PlumbRecord,
  signal: AbortSignal | undefined,
  localhost: Followed,
): AsyncGenerator<PlumbingEvent, void, undefined> {
  const { wiring } = record;
  const stop = new AbortController();
  const either = joined([stop.signal, signal]);
  const subscription = await subscribe(netns, ['link', 'address', 'neighbor', 'route', 'filter'], { signal: either.signal });
  const changes = subscription.changes[Symbol.asyncIterator]();
  let guest = record.guest;
  let attached: boolean | undefined;
  let broken = new Map<string, Problem>();
  let repairs = localhost.repair().number;
  let next = changes.next();
  try {
    for (;;) {
      // What was mended and breaks again before anybody has looked is told again, or it would stay so.
      const { number, left } = localhost.repair();
      if (number !== repairs) {
        repairs = number;
        const still = new Set(left.map(keyOf));
        for (const [key, problem] of broken) {
          if (still.has(key)) continue;
          broken.delete(key);
          yield { type: 'repaired', problem };
        }
      }
      const parts = [...faultParts(wiring), 'address'] as const;
      const state = await localhost.look(parts);
      const tap = state.links.get(wiring.tap.ifindex);
      const faults = [...faultsOf(wiring, state).map(problemOf), ...(await localhost.problems(state))];
      const problems = new Map(faults.map((fault) => [keyOf(fault), fault]));
      if (tap === undefined || (tap.kind !== 'tun' && tap.kind !== 'macvtap')) {
        // What the guest's end has left on the pod's interface takes the pod's network with it.
        for (const problem of problems.values()) if (problem.code === LEFT) yield* leftOn(netns, record, problem);
        return yield { type: 'gone' };
      }
      // A macvtap's carrier is that of the interface below it.
      if (tap.kind === 'tun' && attached !== tap.carrier && (attached !== undefined || tap.carrier))
        yield { type: tap.carrier ? 'attached' : 'detached' };
      attached = tap.carrier;
      for (const { what, now } of changesFor(guest, wiring, state)) {
        guest = now;
        yield { type: 'changed', what, guest };
      }
      for (const [key, problem] of problems) if (!broken.has(key)) yield { type: 'broken', problem };
      for (const [key, problem] of broken) if (!problems.has(key)) yield { type: 'repaired', problem };
      broken = problems;
      if (await localhost.follow(faults)) continue;
      // The first one is waited for, and then the rest of the burst.
      for (let first = true; ; first = false) {
        const change =
          first && localhost.often()
            ? await Promise.race([next, pause(OFTEN)])
            : first
              ? await next
              : await Promise.race([next, pause(BURST)]);
        if (change === undefined) break;
        if (change.done === true) return;
        next = changes.next();
        if (change.value.type === 'overrun') {
          yield { type: 'overrun' };
          continue;
        }
        const rerouted = rerouteFor(guest, wiring, change.value);
        if (rerouted === undefined) continue;
        guest = rerouted;
        yield { type: 'changed', what: 'route', guest };
      }
    }
  } finally {
    // What is still waited for would keep this from its end until something changes.
    next.catch(() => undefined);
    stop.abort();
    either.release();
    await changes.return?.().catch(() => undefined);
    subscription.close();
  }
}

const LEFT = 'REDIRECT_TARGET_GONE';

/** Told, and told again when whoever reads this has mended it at once. */
async function* leftOn(netns: Netns, { wiring }: PlumbRecord, problem: Problem): AsyncGenerator<PlumbingEvent, void, undefined> {
  yield { type: 'broken', problem };
  const now = faultsOf(wiring, await snapshot(netns, faultParts(wiring)));
  if (!now.some(({ code }) => code === LEFT)) yield { type: 'repaired', problem };
}

/** What somebody has given to the pod's interface since, the guest should have. */
function* changesFor(guest: GuestNetwork, wiring: Wiring, state: State): Generator<{ what: 'mtu' | 'address'; now: GuestNetwork }> {
  const link = state.links.get(wiring.link.ifindex);
  if (link === undefined) return;
  let now = guest;
  const mtu = Math.min(wiring.mtu, link.mtu);
  if (mtu !== guest.mtu) yield { what: 'mtu', now: (now = { ...now, mtu }) };
  // What is told in the place of another is that one here.
  const real = (address: string): string => (address === guest.substituted?.address.is ? guest.substituted.address.instead : address);
  const known = new Set(guest.addresses.map(({ address }) => real(address)));
  const there = addressesOf(state, wiring.link.ifindex);
  const added = there.filter(({ address, scope }) => scope !== 'link' && !known.has(address));
  // Where the interface keeps its addresses, one can also be taken away.
  const left = datapathOf(wiring.mode).keepsAddresses ? now.addresses.filter(({ address }) => there.some((one) => one.address === real(address))) : now.addresses; // prettier-ignore
  if (added.length > 0 || left.length < now.addresses.length)
    yield { what: 'address', now: { ...now, addresses: [...left, ...added.map(({ address }) => ({ address }))] } };
}

/** A route by the pod's interface that somebody adds or deletes; those of the kernel come and go with addresses. */
function rerouteFor(guest: GuestNetwork, wiring: Wiring, { type, object }: Exclude<Change, { type: 'overrun' }>): GuestNetwork | undefined {
  if (object.object !== 'route' || object.dev !== wiring.link.ifindex || object.protocol === 'kernel' || object.table !== RT_TABLE_MAIN) return undefined; // prettier-ignore
  const { dst, via, onlink, metric, mtu } = object;
  const others = guest.routes.filter((route) => route.dst !== dst || route.via !== via || (route.metric ?? 0) !== (metric ?? 0));
  if (type === 'deleted') return others.length === guest.routes.length ? undefined : { ...guest, routes: others };
  const route = { dst, ...(via !== undefined && { via }), ...(onlink === true && { onlink }), ...(metric !== undefined && { metric }), ...(mtu !== undefined && { mtu }) }; // prettier-ignore
  return { ...guest, routes: [...others, route] };
}

function pause(milliseconds: number): Promise<undefined> {
  return new Promise((resolve) => void setTimeout(resolve, milliseconds, undefined));
}
