// What a namespace has, in one trip to the kernel (two where filters are asked for).
import { type Answer, dumps } from '../kernel/netlink.js';
import { type Scope, attachment } from '../kernel/netns.js';
import { readSysctl } from '../kernel/sysctl.js';
import { decodeAddress, encodeAddressDump } from '../wire/address.js';
import type { Bytes } from '../wire/bytes.js';
import { AF_INET, AF_INET6, AF_UNSPEC } from '../wire/constants.js';
import { type Link, decodeLink, encodeLinkDump } from '../wire/link.js';
import { type Message, NLM_F_DUMP } from '../wire/message.js';
import { type Neighbor, decodeFdb, decodeNeighbor, encodeFdbDump, encodeNeighborDump, isFdb } from '../wire/neighbor.js';
import { decodeRoute, encodeRouteDump } from '../wire/route.js';
import { decodeRule, encodeRuleDump } from '../wire/rule.js';
import { decodeFilter, decodeQdisc, encodeFilterDump, encodeQdiscDump } from '../wire/tc.js';
import { addressResource } from './address.js';
import { existence, settingOf } from './link.js';
import { fdbResource, neighborResource, proxyResource } from './neighbor.js';
import { type Resource, type ResourceKind, type Value, keys } from './resource.js';
import { nftResources } from './nft.js';
import { routeResource } from './route.js';
import { localhostResources } from './localhost.js';
import { ruleResource } from './rule.js';
import { filterResource, isHook, qdiscResource } from './tc.js';
import { tcxResources } from './tcx.js';

/** A table of the kernel. Interfaces are always read. */
export type Part = Exclude<ResourceKind, 'link' | 'setting' | 'sysctl'>;

/** A namespace at one moment: what was asked for, in the order of the kernel's dumps. */
export class State {
  /** By key. Settings of interfaces are asked of `get`. */
  readonly resources: ReadonlyMap<string, Resource>;
  readonly links: ReadonlyMap<number, Link>;

  constructor(
    links: readonly Link[],
    resources: readonly Resource[],
    readonly parts: ReadonlySet<Part>,
    /** Milliseconds of CLOCK_MONOTONIC. */
    readonly time: number,
    /** The learned ones too, as the kernel told them. */
    readonly neighbors: readonly Neighbor[] = [],
  ) {
    this.links = new Map(links.map((link) => [link.ifindex, link]));
    const numbered = new Map<string, Resource>();
    for (const resource of resources) {
      // Routes and rules can be there twice, the same in everything.
      let { key } = resource;
      for (let count = 2; numbered.has(key); count++) key = `${resource.key}#${count}`;
      numbered.set(key, key === resource.key ? resource : { ...resource, key });
    }
    this.resources = numbered;
  }

  /** And what was read beside. */
  with(resources: readonly Resource[]): State {
    return new State([...this.links.values()], [...this.resources.values(), ...resources], this.parts, this.time, this.neighbors);
  }

  /** undefined: it is not there. */
  get(key: string): Value | undefined {
    const link = /^(link|setting)\/(\d+)(?:\/(.*))?$/.exec(key);
    if (link === null) return this.resources.get(key)?.value;
    const found = this.links.get(Number(link[2]));
    if (found === undefined) return undefined;
    return link[1] === 'link' ? existence(found) : settingOf(found, link[3]!);
  }

  /** By name, altname or index. */
  link(ref: string | number): Link | undefined {
    if (typeof ref === 'number') return this.links.get(ref);
    for (const link of this.links.values()) if (link.name === ref || link.altnames?.includes(ref) === true) return link;
    return undefined;
  }
}

/** What is not asked for by one dump of rtnetlink. */
type Elsewhere = 'filter' | 'tcx' | 'localhost' | 'nft';
const elsewhere: ReadonlySet<Part> = new Set<Elsewhere>(['filter', 'tcx', 'localhost', 'nft']);

type Decode = (from: Bytes, message: Message, now: number) => Resource | undefined;

/** What each part asks, and what it makes of the answers. */
const parts: Readonly<Record<Exclude<Part, Elsewhere>, { readonly requests: () => readonly Uint8Array[]; readonly decode: Decode }>> = {
  address: { requests: () => [encodeAddressDump(NLM_F_DUMP, AF_UNSPEC, 0)], decode: (from, message, now) => addressResource(decodeAddress(from, message), now) },
  route: { requests: () => [AF_INET, AF_INET6].map((family) => encodeRouteDump(NLM_F_DUMP, family)), decode: (from, message, now) => routeResource(decodeRoute(from, message), now) },
  rule: { requests: () => [AF_INET, AF_INET6].map((family) => encodeRuleDump(NLM_F_DUMP, family)), decode: (from, message) => ruleResource(decodeRule(from, message)) },
  neighbor: { requests: () => [encodeNeighborDump(NLM_F_DUMP, AF_UNSPEC)], decode: () => undefined }, // see below: the learned ones are kept, too
  proxy: { requests: () => [encodeNeighborDump(NLM_F_DUMP, AF_UNSPEC, 0, true)], decode: (from, message) => proxyResource(decodeNeighbor(from, message)) },
  fdb: { requests: () => [encodeFdbDump(NLM_F_DUMP)], decode: (from, message) => (isFdb(from, message) ? fdbResource(decodeFdb(from, message)) : undefined) },
  qdisc: { requests: () => [encodeQdiscDump(NLM_F_DUMP)], decode: (from, message) => qdiscResource(decodeQdisc(from, message)) },
}; // prettier-ignore

/** Milliseconds of CLOCK_MONOTONIC, which all processes of this run of the kernel share. */
export function monotonic(): number {
  return Number(process.hrtime.bigint() / 1_000_000n);
}

/** A place of an interface where filters are. */
export interface FilterPlace {
  readonly ifindex: number;
  readonly parent: string;
}

/** What to ask for some tables, and the state that the answers make. Of filters those in the given places; programs take trips of their own. */
export class Reading {
  readonly requests: readonly Uint8Array[];
  readonly #wanted: ReadonlySet<Part>;
  readonly #asked: readonly Exclude<Part, Elsewhere>[];

  constructor(wanted: ReadonlySet<Part>, places: readonly FilterPlace[] = []) {
    const all = wanted.has('filter') ? new Set([...wanted, 'qdisc' as const]) : wanted;
    const tables = [...all]
      .filter((part): part is Exclude<Part, Elsewhere> => !elsewhere.has(part))
      .map((part) => ({ part, requests: parts[part].requests() }));
    this.#wanted = wanted;
    this.#asked = tables.flatMap(({ part, requests }) => requests.map(() => part));
    this.requests = [encodeLinkDump(), ...tables.flatMap(({ requests }) => requests), ...filterDumps(places)];
  }

  read([links, ...tables]: readonly Answer[]): State {
    const time = monotonic();
    const resources: Resource[] = [];
    const neighbors: Neighbor[] = [];
    tables.forEach((answer, index) => {
      const part = this.#asked[index];
      if (part === undefined) decodeAll(answer, decodeHooked, time, resources);
      else if (part === 'neighbor') neighbors.push(...answer.messages.map((message) => decodeNeighbor(answer.from, message)));
      else decodeAll(answer, parts[part].decode, time, resources);
    });
    for (const neighbor of neighbors) {
      const resource = neighborResource(neighbor);
      if (resource !== undefined) resources.push(resource);
    }
    const found = links!.messages.map((message) => decodeLink(links!.from, message));
    return new State(found, resources, this.#wanted, time, neighbors);
  }
}

const decodeHooked: Decode = (from, message) => filterResource(decodeFilter(from, message));

function decodeAll({ from, messages }: Answer, decode: Decode, time: number, into: Resource[]): void {
  for (const message of messages) {
    const resource = decode(from, message, time);
    if (resource !== undefined) into.push(resource);
  }
}

/** @throws DumpInterruptedError: it kept changing; NetlinkError; PodtapError, where a sysctl cannot be read */
export async function snapshot(
  scope: Scope,
  wanted: ReadonlySet<Part>,
  sysctls: (links: readonly Link[]) => Iterable<string> = () => [],
): Promise<State> {
  const { socket } = attachment(scope);
  const reading = new Reading(wanted);
  const answers = await dumps(socket, reading.requests);
  const state = reading.read(answers);
  const also: Resource[] = [];
  if (wanted.has('filter')) {
    const requests = filterDumps(hooksOf([...state.resources.values()]));
    for (const answer of requests.length === 0 ? [] : await dumps(socket, requests)) decodeAll(answer, decodeHooked, state.time, also);
  }
  if (wanted.has('tcx')) for (const { ifindex } of state.links.values()) also.push(...(await tcxResources(scope, ifindex)));
  if (wanted.has('localhost')) also.push(...(await localhostResources(scope, state)));
  if (wanted.has('nft')) also.push(...(await nftResources(scope)));
  for (const key of sysctls([...state.links.values()])) {
    const value = await readSysctl(scope, key).catch(absent);
    if (value !== undefined) also.push({ kind: 'sysctl', key: keys.sysctl(key), value });
  }
  return also.length === 0 ? state : state.with(also);
}

/** Filters of classful qdiscs are not podtap's concern. */
export function hooksOf(resources: readonly Resource[]): readonly FilterPlace[] {
  return resources.flatMap(({ kind, link, value }) => (kind === 'qdisc' ? hookPlaces(link!, value as { kind: string }) : []));
}

/** Of an ingress or clsact qdisc. */
export function hookPlaces(ifindex: number, qdisc: { readonly kind: string }): readonly FilterPlace[] {
  if (!isHook(qdisc)) return [];
  return (qdisc.kind === 'ingress' ? ['ffff:'] : ['ingress', 'egress']).map((parent) => ({ ifindex, parent }));
}

function filterDumps(places: readonly FilterPlace[]): readonly Uint8Array[] {
  return places.map(({ ifindex, parent }) => encodeFilterDump(NLM_F_DUMP, ifindex, parent));
}

/** Of an interface that is not there (yet), or that has no IPv6. */
function absent(error: unknown): undefined {
  if ((error as { code?: unknown }).code !== 'ENOENT') throw error;
}
