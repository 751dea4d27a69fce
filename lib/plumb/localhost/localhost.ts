// What the guests of a plumbing reach of the pod's localhost: from what was asked for and what the namespace has, to what is to be done.
import { inspect } from 'node:util';
import { PlumbError, UnsupportedError } from '../../errors.js';
import type { GuestNetwork } from '../../guest/network.js';
import { listSockets } from '../../kernel/diag.js';
import type { Netns } from '../../kernel/netns.js';
import type { LocalhostAsked } from '../../localhost/asked.js';
import { type Backend, type ChosenBackend, chooseBackend } from '../../localhost/backend.js';
import type { LocalhostConfig } from '../../localhost/config.js';
import { isSame, resolverPorts } from '../../localhost/docker.js';
import { SYSCTLS, localhostOperations, localhostParts, localhostProblems, occupiedPrefixes } from '../../localhost/plan.js';
import { chooseRanges } from '../../localhost/ranges.js';
import {
  DNS_PORT,
  type RealPorts,
  type Service,
  aliasesOf,
  configServices,
  parseGuestPorts,
  parseService,
} from '../../localhost/services.js';
import type { Operation } from '../../operation/kinds.js';
import { type Problem, checkHost } from '../../primitive/host.js';
import { keys } from '../../state/resource.js';
import type { Part, State } from '../../state/snapshot.js';
import { type Value, canonical } from '../../state/value.js';
import { readFor } from '../../transaction/member.js';
import { datapathOf } from '../datapath/datapaths.js';
import type { GuestRecord, LocalhostRecord, PlumbRecord } from '../record.js';

/** Before it is known how it is carried, whatever may be: beside what `occupiedPrefixes` and the operations look at. */
const PARTS: readonly Part[] = ['address', 'route', 'rule', 'neighbor', 'proxy', 'qdisc', 'filter'];

/** A state with all that planning asks for. */
export async function localhostState(netns: Netns, backend: Backend): Promise<State> {
  return readFor(netns, [], [...PARTS, ...localhostParts(backend)], SYSCTLS);
}

let features: Promise<Readonly<Record<string, boolean>>> | undefined;

/** Tried once in a process. @throws UnsupportedError */
export async function backendFor(wanted: Backend | undefined, { mode }: PlumbRecord['wiring']): Promise<ChosenBackend> {
  features ??= checkHost().then((found) => found.features);
  const known = await features.catch((error: unknown) => {
    features = undefined;
    throw error;
  });
  const chosen = chooseBackend(known, wanted);
  if (chosen.backend === 'nft' && mode === 'ebpf')
    throw new UnsupportedError("the backend 'nft' does not go with mode 'ebpf': its programs take the frames before nftables sees them; take the backend 'ebpf', or mode 'redirect'", { feature: 'localhost by nft in mode ebpf' }); // prettier-ignore
  return chosen;
}

export interface LocalhostChange {
  /** Absent: as it was. */
  readonly asked?: LocalhostAsked;
  readonly guests?: readonly GuestRecord[];
  readonly gateway?: { readonly address: string; readonly mac: string | undefined };
  /** Also what seems to be right. */
  readonly anew?: boolean;
}

export interface PlannedLocalhost {
  readonly operations: readonly Operation[];
  readonly record: PlumbRecord & { readonly localhost: LocalhostRecord };
}

/**
 * From the namespace as it is, with the plumbing in it or about to be.
 * @throws PlumbError ERR_PLUMB_NO_RESOLVER, ERR_PLUMB_NO_ADDRESS, ERR_PLUMB_CONFLICT; UnsupportedError; TypeError
 */
export async function planLocalhost(
  netns: Netns,
  state: State,
  record: PlumbRecord,
  chosen: ChosenBackend,
  change: LocalhostChange,
): Promise<PlannedLocalhost> {
  // prettier-ignore
  const { wiring, localhost: was } = record;
  refuse(record);
  const asked = change.asked ?? was?.asked ?? { services: [] };
  const guests = change.guests ?? record.guests ?? [];
  // One whose TAP somebody has deleted is told of until it is removed, and keeps nobody else from anything.
  const there = guests.filter((one) => state.links.has(one.wiring.tap.ifindex) || record.guests?.includes(one) !== true);
  const services = asked.services.map((name) => parseService(name, 'localhost'));
  const servers = was?.servers ?? record.guest.dns.servers;
  const sockets = await socketsOf(netns, services);
  const found = services.some(({ finds }) => finds === 'docker') ? resolverPorts(sockets) : {};
  // One that is gone may come back: what was found of it stays, and is told.
  const docker = isSame(found, {}) && was !== undefined ? realPorts(was.config) : found;
  checkResolver(services, docker);
  const addresses = record.guest.addresses.map(({ address }) => address.replace(/\/.*/, '')).filter((address) => !address.includes(':'));
  if (addresses.length === 0) throw new PlumbError(`'${wiring.link.name}' has no IPv4 address, and a guest reaches the pod's localhost by IPv4 only: ::1 is the one loopback address of IPv6, and there are none to translate to`, { code: 'ERR_PLUMB_NO_ADDRESS' }); // prettier-ignore
  const ranges = was?.config ?? chooseRanges(seedOf(netns, record), {
    prefixes: [...occupiedPrefixes(state), ...servers, ...services.map(({ address }) => address)],
    bound: sockets.map(({ address }) => address),
  }); // prettier-ignore
  const known = new Map(was?.config.services.map(({ address, alias }) => [address, alias]));
  const aliases = aliasesOf(services, ranges.aliases, known);
  const gateway = change.gateway ?? was?.config.gateway;
  const config: LocalhostConfig = {
    link: wiring.link.ifindex,
    podHasAddresses: datapathOf(wiring.mode).keepsAddresses,
    mac: wiring.guestMac,
    addresses: addresses.slice(0, MOST_ADDRESSES),
    aliases: ranges.aliases,
    loopback: ranges.loopback,
    aliasMac: ranges.aliasMac,
    services: configServices(services, aliases, docker),
    guests: [
      { slot: FIRST_SLOT, tap: wiring.tap.ifindex, ports: [] },
      ...there.map(({ slot, ports, wiring: { tap } }) => ({ slot, tap: tap.ifindex, ports: parseGuestPorts(ports, 'localhost') })),
    ],
    ...(gateway !== undefined && { gateway: { address: gateway.address, mac: gateway.mac ?? ranges.aliasMac } }),
  };
  const localhost: LocalhostRecord = {
    asked,
    backend: chosen.backend,
    ...(chosen.hook !== undefined && { hook: chosen.hook }),
    why: chosen.why,
    config,
    servers,
  };
  const tell = (guest: GuestNetwork): GuestNetwork => ({
    ...guest,
    dns: { ...guest.dns, servers: toldServers(servers, services, aliases) },
  });
  const changed = {
    ...record,
    localhost,
    guest: tell(record.guest),
    ...(guests.length > 0 || record.guests !== undefined ? { guests: guests.map((one) => ({ ...one, guest: tell(one.guest) })) } : {}),
  };
  return {
    operations: localhostOperations(state, { ...chosen, hook: chosen.hook, config, mtu: mtuOf(changed), anew: change.anew ?? false }),
    record: changed,
  };
}

export const FIRST_SLOT = 1;
/** Of the programs' tables. */
const MOST_ADDRESSES = 4;

/** @throws UnsupportedError */
export function refuse({ wiring }: PlumbRecord): void {
  if (wiring.mode === 'macvtap')
    throw new UnsupportedError(`a guest on a macvtap cannot reach the pod's localhost: what it sends does not come by the pod's own stack; plumb in mode 'redirect', 'ebpf' or 'bridge'`, { feature: 'localhost in mode macvtap' }); // prettier-ignore
}

/** Of the guests' wires the shortest: what comes by the loopback may be for any of them. */
export function mtuOf({ wiring, guests = [] }: PlumbRecord): number {
  return Math.min(wiring.mtu, ...guests.map((one) => one.wiring.mtu));
}

/** The same for the same label; without one, for the same namespace. */
function seedOf({ id }: Netns, { wiring, asked }: PlumbRecord): string {
  return asked.label ?? `${id.bootId} ${id.cookie ?? id.inode} ${wiring.link.name}`;
}

/** Where the kernel does not tell them, they are needed for Docker's ports alone. */
async function socketsOf(netns: Netns, services: readonly Service[]): Promise<Awaited<ReturnType<typeof listSockets>>> {
  return listSockets(netns).catch((error: unknown) => {
    if (error instanceof UnsupportedError && !services.some(({ finds }) => finds !== undefined)) return [];
    throw error;
  });
}

function checkResolver(services: readonly Service[], docker: RealPorts): void {
  if (!services.some(({ finds }) => finds === 'docker') || docker.tcp !== undefined || docker.udp !== undefined) return;
  throw new PlumbError("'docker-dns': nothing listens on 127.0.0.11 in this namespace; Docker's resolver is in containers on user-defined networks, from their start on", { code: 'ERR_PLUMB_NO_RESOLVER', transient: true }); // prettier-ignore
}

/** Of the pod's nameservers, those that are exposed by the address that the guest dials; where the pod's are not known, these alone. */
function toldServers(servers: readonly string[], services: readonly Service[], aliases: ReadonlyMap<string, string>): readonly string[] {
  const resolvers = services.filter(({ first, last, protocols }) => first <= DNS_PORT && DNS_PORT <= last && protocols.includes('udp'));
  const exposed = new Map(resolvers.map(({ address }) => [address, aliases.get(address)!]));
  return servers.length === 0 ? [...new Set(exposed.values())] : servers.map((server) => exposed.get(server) ?? server);
}

// ------------------------------------------------------------------ what the caller is told

export interface ExposedService {
  /** As it was asked for: '127.0.0.1:8080/tcp', 'docker-dns'. */
  readonly service: string;
  /** What the guest dials, '169.254.77.2'; its ports are these. */
  readonly address: string;
  readonly first: number;
  readonly last: number;
  readonly protocols: readonly ('tcp' | 'udp')[];
}

export interface ExposedLocalhost {
  readonly backend: Backend;
  /** Why this one, in words. */
  readonly why: string;
  readonly services: readonly ExposedService[];
  /** The address that stands for the pod's 127.0.0.1, and for other guests' ports. */
  readonly localhost: string;
  /** What a service lacks, such as a resolver that cannot ask others. */
  readonly problems: readonly Problem[];
}

export function exposed(record: PlumbRecord): ExposedLocalhost | undefined {
  const { localhost } = record;
  if (localhost === undefined) return undefined;
  const { asked, backend, why, config } = localhost;
  const services = asked.services.map((name): ExposedService => {
    const { address, first, last, protocols } = parseService(name, 'localhost');
    const mine = config.services.filter((one) => one.address === address && one.first === first && one.last === last);
    return { service: name, address: mine[0]!.alias, first, last, protocols: protocols.filter((one) => mine.some(({ protocol }) => protocol === one)) }; // prettier-ignore
  });
  return { backend, why, services, localhost: config.aliases.replace(/0$/, '2'), problems: shortcomings(record) };
}

/** Told, not refused: what of a service cannot work here. */
export function shortcomings({ wiring, guest, localhost }: PlumbRecord): readonly Problem[] {
  if (localhost === undefined) return [];
  const found: Problem[] = [];
  const left = guest.addresses.map(({ address }) => address.replace(/\/.*/, '')).filter((address) => !address.includes(':') && !localhost.config.addresses.includes(address)); // prettier-ignore
  if (left.length > 0)
    found.push({ code: 'ADDRESSES_LEFT_OUT', message: `'${wiring.link.name}' has more than ${MOST_ADDRESSES} IPv4 addresses: what a guest sends to the pod's localhost from ${left.join(', ')} is dropped`, fix: `have the guest send from ${localhost.config.addresses[0]}` }); // prettier-ignore
  if (!localhost.config.podHasAddresses && localhost.asked.services.includes('docker-dns'))
    found.push({ code: 'RESOLVER_WITHOUT_UPSTREAM', message: `mode '${wiring.mode}' leaves the pod no address: Docker's resolver knows the names of containers, and cannot ask a nameserver outside by the pod's network for others`, fix: "mode 'redirect' or 'ebpf'" }); // prettier-ignore
  const { services } = localhost.config;
  for (const protocol of ['tcp', 'udp'] as const)
    if (localhost.asked.services.includes('docker-dns') && !services.some((one) => one.protocol === protocol && one.address === '127.0.0.11')) // prettier-ignore
      found.push({ code: 'RESOLVER_INCOMPLETE', message: `Docker's resolver does not listen on ${protocol.toUpperCase()} here`, fix: 'start the container anew, then repair()' }); // prettier-ignore
  return found;
}

// ------------------------------------------------------------------ how it is now

export function localhostFaultParts(record: PlumbRecord): readonly Part[] {
  return record.localhost === undefined ? [] : localhostParts(record.localhost.backend);
}

/** A state with what `localhostFaults` and the datapath's look at. */
export function lookAt(netns: Netns, record: PlumbRecord, also: Iterable<Part>, operations: readonly Operation[] = []): Promise<State> {
  return readFor(netns, operations, [...also, ...localhostFaultParts(record)], record.localhost === undefined ? [] : SYSCTLS);
}

/** What no table of the kernel tells, as it is now; absent: nobody has asked. */
export interface Observed {
  /** Where Docker's resolver listens. */
  readonly docker?: RealPorts | undefined;
  /** The MAC of the next hop for which a gateway stands in. */
  readonly nextHop?: string | undefined;
}

/** What is not as it was made. */
export function localhostFaults(record: PlumbRecord, state: State, { docker, nextHop }: Observed = {}): readonly Problem[] {
  const { localhost, guests = [] } = record;
  if (localhost === undefined) return [];
  const { backend, config } = localhost;
  const table = backend === 'nft' ? tableOf(state, config) : undefined;
  const problems = [...localhostProblems(state, { backend, config, mtu: mtuOf(record) })];
  if (problems.length === 0 && localhost.table !== undefined && table !== localhost.table)
    problems.push({ code: 'LOCALHOST_CHANGED', message: `somebody else has changed podtap's table of nftables for ${record.wiring.link.name}`, fix: 'repair()' }); // prettier-ignore
  for (const { name, wiring } of guests) {
    const tap = state.links.get(wiring.tap.ifindex);
    if (tap === undefined) problems.push({ code: 'GUEST_TAP_GONE', message: `${wiring.tap.name}, the TAP of the guest '${name}', is gone`, fix: `removeGuest('${name}'), and add it anew` }); // prettier-ignore
    else if (!tap.up) problems.push({ code: 'LINK_DOWN', message: `${tap.name} is down`, fix: `ip link set dev ${tap.name} up, or repair()` }); // prettier-ignore
  }
  if (docker !== undefined && !isSame(docker, realPorts(config)))
    problems.push(docker.tcp === undefined && docker.udp === undefined
      ? { code: 'RESOLVER_GONE', message: "nothing listens on 127.0.0.11 any more: guests' questions are refused there", fix: 'start the container anew, then repair()' }
      : { code: 'RESOLVER_MOVED', message: `Docker's resolver listens on other ports now: ${inspect(docker)} instead of ${inspect(realPorts(config))}`, fix: 'repair()' }); // prettier-ignore
  const told = config.gateway;
  if (told !== undefined && nextHop !== undefined && nextHop !== told.mac)
    problems.push({ code: 'GATEWAY_MAC_CHANGED', message: `the next hop ${record.guest.substituted?.gateway.instead} has the MAC ${nextHop}, and guests are told ${told.mac} for ${told.address}`, fix: 'repair()' }); // prettier-ignore
  return problems;
}

/** undefined: Docker's resolver is not exposed. */
export async function dockerNow(netns: Netns, { localhost }: PlumbRecord): Promise<RealPorts | undefined> {
  if (localhost?.asked.services.includes('docker-dns') !== true) return undefined;
  return resolverPorts(await listSockets(netns));
}

/** Of Docker's resolver, as it is exposed. */
export function realPorts({ services }: LocalhostConfig): RealPorts {
  const of = (protocol: 'tcp' | 'udp'): number | undefined =>
    services.find((one) => one.protocol === protocol && one.address === '127.0.0.11' && one.first === DNS_PORT)?.to;
  const [tcp, udp] = [of('tcp'), of('udp')];
  return { ...(tcp !== undefined && { tcp }), ...(udp !== undefined && { udp }) };
}

/** One plumbing of a namespace has its localhost: two would answer for the same loopback. */
export function checkAlone(state: State, { wiring }: PlumbRecord): void {
  for (const { kind, link } of state.resources.values())
    if (kind === 'localhost' && link !== wiring.link.ifindex)
      throw new PlumbError(`the guests of '${state.links.get(link!)?.name ?? link}' have this pod's localhost already, and those of '${wiring.link.name}' cannot have it, too`, { code: 'ERR_PLUMB_CONFLICT' }); // prettier-ignore
}

/** Whether a configuration is in force here that no record tells of: `find` of inspect. */
export function inForce(state: State, link: number): { readonly backend: Backend; readonly config: LocalhostConfig } | undefined {
  return state.get(keys.localhost(link)) as { readonly backend: Backend; readonly config: LocalhostConfig } | undefined;
}

export function conflict(what: string, was: unknown, is: unknown): PlumbError {
  return new PlumbError(`${what} was ${inspect(was)}, and now is ${inspect(is)}`, { code: 'ERR_PLUMB_CONFLICT' });
}

/** What podtap's own parts of the table were when it was made: text that is the same as long as they are. */
export function tableOf(state: State, { link }: LocalhostConfig): string | undefined {
  const value = state.get(keys.nft(link)) as { readonly parts?: Value } | undefined;
  return value?.parts === undefined ? undefined : canonical(value.parts);
}

/** With what can be known only once it was done. */
export function settled(record: PlumbRecord, after: State): PlumbRecord {
  const { localhost } = record;
  if (localhost?.backend !== 'nft') return record;
  const table = tableOf(after, localhost.config);
  return { ...record, localhost: { ...localhost, ...(table !== undefined && { table }) } };
}
