// The programs of native/bpf/localhost.c: loaded, attached, told what to do, read.
import { PodtapError, UnsupportedError } from '../errors.js';
import { type Counter, decodeCounter, indexKey } from '../wire/bpf/redirect.js';
import { type Contents, decodeTold, eightNobodies, localhostCounters, localhostMaps, slotOfFlow } from '../wire/bpf/localhost.js';
import type { BpfOptions } from '../wire/filter/bpf.js';
import type { LocalhostConfig } from '../wire/localhost.js';
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL } from '../wire/message.js';
import { type Filter, RTM_NEWTFILTER, decodeFilter, decodeQdisc, encodeFilter, encodeFilterDump, encodeQdiscDump } from '../wire/tc.js';
import { type BpfMap, type BpfProgram, type LoadedObject, attachTcx, loadObject, openProgram, ownMap, queryTcx } from './bpf.js';
import { dump, request } from './netlink.js';
import { type Scope, attachment } from './netns.js';
import { localhost } from './programs/localhost.js';

export type LocalhostStatistics = Readonly<Record<(typeof localhostCounters)[number], Counter>>;

const MOST_ATTEMPTS = 10;

/** The loopback of every namespace. */
const LOOPBACK = 1;

type ProgramName = keyof typeof localhost.programs;
const TAP: ProgramName = 'podtap_lh_tap';
const LINK: ProgramName = 'podtap_lh_link';
const LO: ProgramName = 'podtap_lh_lo';
/** By their names in native/bpf/localhost.c. */
export const localhostPrograms = { tap: TAP, link: LINK, lo: LO } as const;

/** Where one of the programs belongs. */
export interface LocalhostPlace {
  readonly ifindex: number;
  readonly direction: 'ingress' | 'egress';
  readonly name: ProgramName;
}

/** In the order in which they are attached: what guests send last, once there is a way back. */
export function localhostPlaces({ link, guests }: LocalhostConfig): readonly LocalhostPlace[] {
  return [
    { ifindex: link, direction: 'ingress', name: LINK },
    { ifindex: LOOPBACK, direction: 'egress', name: LO },
    ...guests.map(({ tap }): LocalhostPlace => ({ ifindex: tap, direction: 'ingress', name: TAP })),
  ];
}

/** The programs, and what they have in common. */
export class Localhost implements AsyncDisposable {
  readonly #maps: Readonly<Record<string, BpfMap>>;

  constructor(
    readonly programs: Readonly<Partial<Record<ProgramName, BpfProgram>>>,
    maps: Readonly<Record<string, BpfMap>>,
  ) {
    this.#maps = maps;
  }

  /** Takes effect at once, for all that are attached. Flows stay, but for those of guests that are no more. */
  async configure(config: LocalhostConfig): Promise<void> {
    const { told, ...maps } = localhostMaps(config);
    for (const [name, contents] of Object.entries(maps)) await this.#fill(name, contents);
    await this.#forget(new Set([0, ...config.guests.map(({ slot }) => slot)]));
    await this.#map('told').set(told!);
  }

  /** What they were told. undefined: nothing yet. */
  async configuration(): Promise<LocalhostConfig | undefined> {
    for (let attempt = 0; ; attempt++) {
      const [value] = await this.#map('told').get([indexKey(0)]);
      try {
        return value === undefined ? undefined : decodeTold(value);
      } catch (error) {
        // The kernel does not write it at a stroke: somebody is about to.
        if (!(error instanceof SyntaxError) || attempt === MOST_ATTEMPTS) throw error;
      }
    }
  }

  async statistics(): Promise<LocalhostStatistics> {
    const values = await this.#map('counters').get(localhostCounters.map((_, index) => indexKey(index)));
    return Object.fromEntries(localhostCounters.map((name, index) => [name, decodeCounter(values[index]!)])) as LocalhostStatistics;
  }

  /** How many flows each slot has at the moment; the pod's own processes are slot 0. */
  async flows(): Promise<ReadonlyMap<number, number>> {
    const counts = new Map<number, number>();
    for (const [, value] of await this.#map('flows').entries()) counts.set(slotOfFlow(value), (counts.get(slotOfFlow(value)) ?? 0) + 1);
    return counts;
  }

  /** The programs once more, with the same maps; theirs who asks. */
  loadAnew(): Promise<LoadedObject> {
    return loadObject(localhost, this.#maps);
  }

  async close(): Promise<void> {
    for (const handle of [...Object.values(this.programs), ...Object.values(this.#maps)]) await handle.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** What is right stays as it is, so that nothing is missing meanwhile. */
  async #fill(name: string, contents: Contents): Promise<void> {
    const map = this.#map(name);
    // Of an array nothing can be deleted: zeros are nothing.
    const isArray = name === 'owners';
    const all = await map.entries();
    const there = isArray ? all.filter(([, value]) => value.some((byte) => byte !== 0)) : all;
    const wanted = new Set(contents.map(([key]) => String(key)));
    const old = new Map(there.map(([key, value]) => [String(key), String(value)]));
    await map.set(contents.filter(([key, value]) => old.get(String(key)) !== String(value)));
    const gone = there.map(([key]) => key).filter((key) => !wanted.has(String(key)));
    if (isArray) await map.set(gone.map((key) => [key, eightNobodies]));
    else await map.delete(gone);
  }

  async #forget(slots: ReadonlySet<number>): Promise<void> {
    const map = this.#map('flows');
    await map.delete((await map.entries()).filter(([, value]) => !slots.has(slotOfFlow(value))).map(([key]) => key));
  }

  #map(name: string): BpfMap {
    return ownMap(this.#maps, name);
  }
}

/**
 * Takes some 2 MB of the kernel's memory, and needs Linux 5.12 (atomic operations of programs).
 * @throws BpfLoadError; PodtapError EPERM; UnsupportedError
 */
export async function loadLocalhost(config: LocalhostConfig): Promise<Localhost> {
  const { programs, maps } = await loadObject(localhost);
  const loaded = new Localhost(programs, maps);
  try {
    await loaded.configure(config);
    return loaded;
  } catch (error) {
    await loaded.close();
    throw error;
  }
}

export interface LocalhostAttachment {
  readonly config: LocalhostConfig;
  readonly hook: 'tcx' | 'filter';
  /** Of filters. Default 1. */
  readonly priority?: number;
}

/**
 * Loads the programs, and attaches them for good, ahead of others: they stay when this process ends, and hold their maps.
 * @throws as loadLocalhost and attachTcx; PodtapError ENOENT: an interface has no qdisc for filters; NetlinkError
 */
export async function attachLocalhost(scope: Scope, { config, hook, priority = 1 }: LocalhostAttachment): Promise<void> {
  await using loaded = await loadLocalhost(config);
  for (const place of localhostPlaces(config)) await attach(scope, place, loaded.programs[place.name]!, hook, priority);
}

async function attach(
  scope: Scope,
  { ifindex, direction, name }: LocalhostPlace,
  program: BpfProgram,
  hook: 'tcx' | 'filter',
  priority: number,
): Promise<void> {
  if (hook === 'tcx') return attachTcx(scope, { ifindex, direction }, program, { order: 'first' });
  const parent = await parentOf(scope, ifindex, direction);
  const options = { fd: program.fd, name, directAction: true };
  const filter = { ifindex, parent, priority, protocol: 'all', handle: '0x1', kind: 'bpf', options };
  await request(attachment(scope).socket, [encodeFilter(RTM_NEWTFILTER, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, filter)]);
}

async function parentOf(scope: Scope, ifindex: number, direction: 'ingress' | 'egress'): Promise<string> {
  const parent = (await hooksOf(scope, ifindex))?.[direction];
  if (parent !== undefined) return parent;
  const kinds = direction === 'egress' ? 'clsact' : 'ingress or clsact';
  throw new PodtapError(`ENOENT: interface ${ifindex} has no ${kinds} qdisc, on which a filter could stand`, { code: 'ENOENT' });
}

/** The places of filters on an interface. undefined: it has none. */
async function hooksOf(scope: Scope, ifindex: number): Promise<{ readonly ingress: string; readonly egress?: string } | undefined> {
  const qdiscs = await dump(attachment(scope).socket, encodeQdiscDump(NLM_F_DUMP), decodeQdisc);
  const kind = qdiscs.find((qdisc) => qdisc.ifindex === ifindex && (qdisc.kind === 'ingress' || qdisc.kind === 'clsact'))?.kind;
  if (kind === undefined) return undefined;
  return kind === 'clsact' ? { ingress: 'ffff:fff2', egress: 'ffff:fff3' } : { ingress: 'ffff:' };
}

/** One of the programs that is attached. */
export interface LocalhostAttached extends LocalhostPlace {
  readonly id: number;
  readonly hook: 'tcx' | 'filter';
  readonly priority?: number;
}

/** Those that are on an interface. Where nobody may ask for programs there are none: to attach one wants the same. */
export async function findLocalhost(scope: Scope, ifindex: number): Promise<readonly LocalhostAttached[]> {
  const found: LocalhostAttached[] = [];
  for (const direction of ['ingress', 'egress'] as const) {
    for (const { id } of await programsOn(scope, ifindex, direction)) {
      await using program = await openProgram(id);
      const { name } = await program.info();
      if (isOwn(name)) found.push({ ifindex, direction, name, id, hook: 'tcx' });
    }
  }
  const hooks = await hooksOf(scope, ifindex);
  for (const [direction, parent] of Object.entries(hooks ?? {}) as ['ingress' | 'egress', string][]) {
    for (const { kind, options, priority } of await filtersOn(scope, ifindex, parent)) {
      const { name = '', id } = kind === 'bpf' && options !== undefined ? (options as BpfOptions) : {};
      if (id !== undefined && isOwn(name)) found.push({ ifindex, direction, name, id, hook: 'filter', priority });
    }
  }
  return found;
}

async function programsOn(scope: Scope, ifindex: number, direction: 'ingress' | 'egress'): Promise<readonly { readonly id: number }[]> {
  try {
    return (await queryTcx(scope, { ifindex, direction })).programs;
  } catch (error) {
    if (error instanceof UnsupportedError) return [];
    throw error;
  }
}

async function filtersOn(scope: Scope, ifindex: number, parent: string): Promise<readonly Filter[]> {
  return dump(attachment(scope).socket, encodeFilterDump(NLM_F_DUMP, ifindex, parent), decodeFilter);
}

function isOwn(name: string): name is ProgramName {
  return Object.hasOwn(localhost.programs, name);
}

/**
 * By the id of the program that is on the pod's interface: to be told, and to be read. undefined where it is another one.
 * @throws PodtapError ENOENT: there is no such program
 */
export async function openLocalhost(id: number): Promise<Localhost | undefined> {
  const program = await openProgram(id);
  try {
    const { name } = await program.info();
    if (name === LINK) return new Localhost({ [LINK]: program }, await program.openMaps());
  } catch (error) {
    await program.close();
    throw error;
  }
  await program.close();
  return undefined;
}

/** What is in force on the pod's interface. undefined: nothing. */
export async function openLocalhostOn(scope: Scope, link: number): Promise<Localhost | undefined> {
  const [own] = (await findLocalhost(scope, link)).filter(({ name }) => name === LINK);
  return own === undefined ? undefined : openLocalhost(own.id);
}

/**
 * Tells the programs on the pod's interface something else, and attaches those that are missing: to the TAPs of further guests.
 * @throws PodtapError ENOENT: there are none
 */
export async function configureLocalhost(scope: Scope, config: LocalhostConfig): Promise<void> {
  const [own] = (await findLocalhost(scope, config.link)).filter(({ name }) => name === LINK);
  await using opened = own && (await openLocalhost(own.id));
  if (own === undefined || opened === undefined)
    throw new PodtapError(`ENOENT: the programs of the pod's localhost are not on interface ${config.link}`, { code: 'ENOENT' });
  await opened.configure(config);
  const missing: LocalhostPlace[] = [];
  for (const place of localhostPlaces(config))
    if (!(await findLocalhost(scope, place.ifindex)).some(({ name }) => name === place.name)) missing.push(place);
  if (missing.length === 0) return;
  await using loaded = await opened.loadAnew();
  for (const place of missing) await attach(scope, place, loaded.programs[place.name]!, own.hook, own.priority ?? 1);
}
