// Getting back to what was, whoever asks for it: an error, an abort, undo() in another process, recover() after a crash.
import { randomNumber } from '../random.js';
import { setTimeout as delay } from 'node:timers/promises';
import { NetlinkError } from '../errors.js';
import { announce } from '../kernel/announce.js';
import type { Netns } from '../kernel/netns.js';
import { type Operation, command } from '../operation/kinds.js';
import { Target, letThrough, passingRules } from '../operation/restore.js';
import { checkOperations, failedAt, perform } from '../operation/run.js';
import { type Holder, waiting } from '../state/holder.js';
import { Images } from '../state/images.js';
import { describe, reconcile, sysctlsOf } from '../state/reconcile.js';
import { kindOfKey, linkOfKey } from '../state/resource.js';
import { devicesOf } from '../state/route.js';
import { type Part, type State, snapshot } from '../state/snapshot.js';
import { type Value, same } from '../state/value.js';
import type { Address } from '../wire/address.js';
import type { Route } from '../wire/route.js';

export interface Undone {
  /** What was put back or taken away, a line each. */
  readonly undone: readonly string[];
  /** What somebody else has changed, and so stays; and what comes back with something else that is to be undone. */
  readonly leftBehind: readonly string[];
  /** What was tried and did not succeed: with it, the undo is not over. */
  readonly failed: readonly string[];
}

/** How often the state is read and mended: what the kernel does by itself needs two or three of them. */
const ROUNDS = 40;
/** Until then, what comes by itself (local routes, from a work queue) or is refused for now keeps back what should come last. */
const PATIENT_ROUNDS = 32;
/** Of those in which something was tried. */
const TRIES = 8;
const SHORTEST_PAUSE = 2; // milliseconds
const LONGEST_PAUSE = 100;

/**
 * Puts back what `images` tell of. May be repeated: what is as it was is left alone. `prepare` is told, before the first change, of what is
 * not in `images` and may be gone for a moment on the way, such as a route that must stand behind one that comes back. `holders` are other
 * changes in this namespace, which stay: what they are told of must be kept once this one is undone.
 */
export async function undo(
  netns: Netns,
  given: Images,
  prepare: (passing: Images) => Promise<unknown>,
  holders: readonly Holder[] = [],
): Promise<Undone> {
  let images = given;
  const parts = partsOf(images);
  const look = (): Promise<State> => retried(() => snapshot(netns, parts, () => sysctlsOf(images)));
  let state = await look();
  // Of an undo that was killed.
  const passing = passingRules(state);
  if (passing.length > 0) {
    await performEach(netns, passing);
    state = await look();
  }
  for (const holder of holders) images = holder.relieve(images, state);
  const { wants: all, made, leftBehind } = reconcile(images, state);
  const wants = new Map(all);
  const texts = new Map([...all.keys()].map((key) => [key, describe(key, state)]));
  const later: string[] = [];
  const names = made.map((index) => `interface ${state.links.get(index)?.name ?? `if${index}`}`);
  await prepare(passingImages(wants, images, state));
  let failed: readonly string[] = [];
  let told: Promise<void> | undefined;
  if (wants.size > 0) {
    ({ failed, state } = await converge(netns, new Target(state, wants, images.orders), state, look));
    if (failed.length > 0) later.push(...handOver(wants, images, state, holders));
    if (later.length > 0) ({ failed, state } = await converge(netns, new Target(state, wants, images.orders), state, look));
    // The wire may be down: neighbours ask again by themselves.
    told = tell(netns, state, wants).catch(() => undefined);
  }
  if (failed.length > 0) failed = [...failed, ...sourceless(wants, state)];
  // The pod works by now.
  const undeleted = await deleteLinks(netns, made, state);
  await told;
  const undone = [...[...wants.keys()].map((key) => texts.get(key)!), ...names];
  return { undone, leftBehind: [...leftBehind, ...later], failed: [...failed, ...undeleted] };
}

/** Routes that cannot be there before something else is undone; they are wanted here no more. A line each. */
function handOver(wants: Map<string, Value>, images: Images, state: State, holders: readonly Holder[]): string[] {
  const lines: string[] = [];
  for (const [key, value] of wants) {
    if (kindOfKey(key) !== 'route' || value === undefined || same(state.get(key), value)) continue;
    for (const holder of holders) {
      const needed = holder.receive(key, value, images, state);
      if (needed === undefined) continue;
      lines.push(waiting(key, needed, state));
      wants.delete(key);
      break;
    }
  }
  return lines;
}

/** Why the kernel has refused a route, in words: of all that may be missing, it does not say that it is this. */
function sourceless(wants: ReadonlyMap<string, Value>, state: State): string[] {
  const there = new Set([...state.resources.values()].filter(({ kind }) => kind === 'address').map(({ value }) => (value as unknown as Address).address.replace(/\/.*/, ''))); // prettier-ignore
  return [...wants].flatMap(([key, value]) => {
    if (kindOfKey(key) !== 'route' || value === undefined || same(state.get(key), value)) return [];
    const { src } = value as unknown as Route;
    return src === undefined || there.has(src) ? [] : [`${describe(key, state)} needs the address ${src}, which no interface has`];
  });
}

/** What shares an order with what comes back, and what the kernel takes away with an address or a MAC. */
function passingImages(wants: ReadonlyMap<string, unknown>, images: Images, state: State): Images {
  const groups = new Set<string>();
  const links = new Set<number>();
  for (const key of wants.keys()) {
    const kind = kindOfKey(key);
    const link = linkOfKey(key);
    if (kind === 'route' || kind === 'rule') groups.add(key.split('|')[0]!);
    else if (link !== undefined && (kind === 'address' || key.endsWith('/mac'))) links.add(link);
  }
  const found = new Images();
  const onLinks = (index: unknown): boolean => links.has(index as number);
  for (const { kind, key, link, group, value } of state.resources.values()) {
    const { protocol } = value as { protocol?: string };
    if (kind === 'route' && protocol === 'kernel') continue; // comes by itself
    const goes = kind === 'route' ? devicesOf(value as unknown as Route).some(onLinks) : ['address', 'neighbor', 'proxy'].includes(kind) && onLinks(link); // prettier-ignore
    if (!goes && !groups.has(group ?? '')) continue;
    const known = images.touched.get(key);
    found.touch(key, known === undefined ? value : known.before, [undefined]);
    if (group !== undefined && !images.orders.has(group)) found.orders.set(group, [...(found.orders.get(group) ?? []), key]);
  }
  return found;
}

/** Until nothing is left to do: what one step changes, and what the kernel makes of it, is seen when the state is read again. */
async function converge(
  netns: Netns,
  target: Target,
  start: State,
  look: () => Promise<State>,
): Promise<{ readonly failed: readonly string[]; readonly state: State }> {
  let state = start;
  let failed: readonly string[] = [];
  let tries = 0;
  for (let round = 1; round <= ROUNDS && tries < TRIES; round++) {
    const { operations, waiting } = target.missing(state, round <= PATIENT_ROUNDS && tries < TRIES - 2);
    if (operations.length === 0 && !waiting) return { failed: [], state };
    if (operations.length > 0) tries++;
    else await delay(Math.min(LONGEST_PAUSE, SHORTEST_PAUSE * 1.2 ** round));
    const refused = tries > 2 && failed.length > 0;
    failed = await performEach(netns, refused ? [...letThrough(operations, state), ...operations] : operations);
    state = await look();
    const passing = passingRules(state);
    if (passing.length === 0) continue;
    await performEach(netns, passing);
    state = await look();
  }
  const { operations, waiting } = target.missing(state, false);
  const without = operations.map((one) => `${command(one)}: without effect`);
  return { failed: [...failed, ...without, ...(waiting ? ['routes that the kernel makes by itself have not come back'] : [])], state };
}

function partsOf(images: Images): Set<Part> {
  const parts = new Set<Part>();
  const keys = [...images.touched.keys(), ...images.additions.keys()];
  for (const key of keys) {
    const kind = kindOfKey(key);
    if (kind === 'setting' || kind === 'sysctl' || kind === 'address')
      for (const part of ['address', 'route', 'rule', 'neighbor', 'proxy'] as const) parts.add(part);
    else if (kind !== 'link') parts.add(kind);
    // Those that let a route come back are to be found again.
    if (kind === 'route') parts.add('rule');
    // What others have hung on it meanwhile.
    if (kind === 'qdisc') parts.add('filter');
  }
  return parts;
}

/** An answer may be lost, and undoing must not end with that. */
async function retried<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (attempt === 3 || !(error instanceof NetlinkError)) throw error;
    }
  }
}

/** All of them, whatever becomes of one. */
async function performEach(netns: Netns, operations: readonly Operation[]): Promise<string[]> {
  if (operations.length === 0) return [];
  const failed: string[] = [];
  for (let rest = checkOperations('undo', operations); rest.length > 0;) {
    try {
      await perform(netns, rest);
      break;
    } catch (error) {
      const at = failedAt.get(error as object);
      if (at === undefined) throw error;
      failed.push(`${command(rest[at]!)}: ${(error as Error).message}`);
      rest = rest.slice(at + 1);
    }
  }
  return failed;
}

/** In a group of their own, for one at a time would take the kernel 20 ms and more each. */
async function deleteLinks(netns: Netns, made: readonly number[], state: State): Promise<string[]> {
  let left = made.filter((index) => state.links.has(index));
  let failed: string[] = [];
  for (let attempt = 1; left.length > 0 && attempt <= 3; attempt++) {
    const [only] = left;
    failed = await performEach(netns, left.length === 1 ? [{ op: 'link.delete', link: only! }] : together(left, state));
    if (failed.length === 0) return [];
    const now = await retried(() => snapshot(netns, new Set()));
    left = left.filter((index) => now.links.has(index));
  }
  return left.length === 0 ? [] : failed;
}

function together(links: readonly number[], state: State): Operation[] {
  const taken = new Set([...state.links.values()].map((link) => link.group));
  let group: number;
  do group = randomNumber();
  while (group === 0 || taken.has(group));
  return [...links.map((link): Operation => ({ op: 'link.set', link, change: { group } })), { op: 'link.deleteGroup', group }];
}

/** Neighbours have learned where the addresses were meanwhile. */
async function tell(netns: Netns, state: State, wants: ReadonlyMap<string, unknown>): Promise<void> {
  for (const { ifindex, mac, up, carrier } of state.links.values()) {
    const isBack = [...wants.keys()].some((key) => key === `setting/${ifindex}/mac` || key.startsWith(`address/${ifindex}/`));
    if (!isBack || !up || !carrier || mac === '') continue;
    const addresses = [...state.resources.values()]
      .filter(({ kind, link }) => kind === 'address' && link === ifindex)
      .map(({ value }) => (value as unknown as Address).address.replace(/\/.*/, ''));
    if (addresses.length > 0) await announce(netns, ifindex, mac, addresses);
  }
}
