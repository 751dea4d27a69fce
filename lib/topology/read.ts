// The wiring of several namespaces as one graph, read from the kernel.
import * as v from 'valibot';
import { array, check, instance, optional, options, splitCidr, text } from '../check.js';
import { NetlinkError, PodtapError, UnsupportedError } from '../errors.js';
import type { GuestNetwork } from '../guest/network.js';
import { type HookProgram, readHooks } from '../kernel/hooks.js';
import { Netns } from '../kernel/netns.js';
import { namespaceNumbers } from '../kernel/nsid.js';
import { openRedirect } from '../kernel/redirect.js';
import { Tap, type TapHolder, placeIn } from '../kernel/tap.js';
import { listAddresses } from '../primitive/address.js';
import { listLinks } from '../primitive/link.js';
import { listFdb } from '../primitive/neighbor.js';
import type { MirredOptions } from '../wire/action/mirred.js';
import type { Link, LinkEnd } from '../wire/link.js';

export interface TopologyDevice {
  readonly name: string;
  readonly ifindex: number;
  readonly kind: string;
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  readonly carrier: boolean;
  readonly addresses: readonly string[];
  /** The bridge, bond or VRF that it is a port of. */
  readonly master?: string;
  readonly alias?: string;
  /** Of a TAP: who has it open. */
  readonly holders?: readonly TapHolder[];
  /** eBPF programs on its tcx, that are not podtap's. */
  readonly programs?: readonly string[];
  /** Of a VXLAN. */
  readonly vni?: number;
}

export interface TopologyNamespace {
  readonly name: string;
  readonly devices: readonly TopologyDevice[];
}

export interface TopologyGuest {
  readonly name: string;
  readonly mac: string;
  readonly addresses: readonly string[];
  readonly at: TopologyEnd;
}

export interface TopologyEnd {
  readonly namespace: string;
  readonly device: string;
}

/** What joins two devices. Absent `to`: the other end is in no namespace that was given. */
export type TopologyEdge = { readonly from: TopologyEnd; readonly to?: TopologyEnd } & (
  | { readonly kind: 'veth' | 'stands on' }
  | { readonly kind: 'redirect'; readonly by: 'filter' | 'program'; readonly gone?: true }
  /** To a VXLAN's other end. */
  | { readonly kind: 'overlay'; readonly vni: number; readonly remote: string }
);

export interface Topology {
  readonly namespaces: readonly TopologyNamespace[];
  readonly guests: readonly TopologyGuest[];
  readonly edges: readonly TopologyEdge[];
}

export interface TopologyOptions {
  /** Guests behind TAPs, by name: what they were told. Without it a TAP has its holders only. */
  readonly guests?: Readonly<Record<string, { readonly namespace: string; readonly network: GuestNetwork }>>;
}

const netns = instance(Netns as never, 'a Netns from Netns.open() and its kin') as v.GenericSchema<unknown, Netns>;
const namespacesSchema = v.union([array(netns), v.record(v.string(), netns)], 'must be namespaces: an object of Netns by name, or an array of Netns'); // prettier-ignore
const anyNetwork = v.custom<GuestNetwork>((value) => typeof value === 'object' && value !== null, 'must be what a guest was told');
const optionsSchema = options({ guests: optional(v.record(v.string(), options({ namespace: text, network: anyNetwork }))) });

type Named = readonly (readonly [name: string, netns: Netns])[];

/** Reads the wiring of namespaces; see index.ts for what is made of it. */
export async function readTopology(
  given: Readonly<Record<string, Netns>> | readonly Netns[],
  settings: TopologyOptions,
): Promise<Topology> {
  const namespaces = check<typeof given>(namespacesSchema, given, 'topology');
  const { guests = {} } = check<TopologyOptions>(optionsSchema, settings, 'topology');
  const named: Named = Array.isArray(namespaces) ? (namespaces as readonly Netns[]).map((one) => [nameOf(one), one] as const) : Object.entries(namespaces); // prettier-ignore
  const links = new Map<string, readonly Link[]>();
  // Older kernels do not tell them in the order of their indexes.
  for (const [name, one] of named)
    links.set(
      name,
      [...(await listLinks(one))].sort((a, b) => a.ifindex - b.ifindex),
    );
  const devices: TopologyNamespace[] = [];
  const edges: TopologyEdge[] = [];
  for (const [name, one] of named) {
    devices.push({ name, devices: await devicesOf(one, links.get(name)!) });
    edges.push(...(await edgesOf(name, one, named, links)));
  }
  return {
    namespaces: devices,
    guests: Object.entries(guests).map(([name, { namespace, network }]) => ({
      name,
      mac: network.mac,
      addresses: network.addresses.map(({ address }) => address),
      at: { namespace, device: network.tap },
    })),
    edges: edges.filter((edge, index) => !isDouble(edge, edges.slice(0, index))),
  };
}

/** All namespaces of this machine that this process may enter: by their ip-netns(8) names, or by a process that lives in them. */
export async function withMachine<T>(act: (namespaces: Readonly<Record<string, Netns>>) => Promise<T>): Promise<T> {
  const opened: Record<string, Netns> = {};
  try {
    for (const { path, pids } of await Netns.list()) {
      const name = path?.split('/').at(-1) ?? `pid ${pids[0]}`;
      const one = await Netns.open(path ?? { pid: pids[0]! }).catch((error: unknown) => {
        // Gone meanwhile, or not ours to enter; of a name also: the file is there, and nothing is mounted on it (any more).
        if (error instanceof PodtapError || (error as { code?: unknown }).code === 'ERR_INVALID_ARG_VALUE') return undefined;
        throw error;
      });
      if (one !== undefined) opened[name] = one;
    }
    return await act(opened);
  } finally {
    for (const one of Object.values(opened)) await one.close();
  }
}

function nameOf({ path, id }: Netns): string {
  return /^\/run\/netns\/(.*)$/.exec(path ?? '')?.[1] ?? `netns-${id.inode}`;
}

async function devicesOf(one: Netns, links: readonly Link[]): Promise<readonly TopologyDevice[]> {
  const addresses = await listAddresses(one);
  const devices: TopologyDevice[] = [];
  for (const link of links) {
    const { name, ifindex, kind, mac, mtu, up, carrier, alias } = link;
    const master = links.find((other) => other.ifindex === link.master)?.name;
    const vni = kind === 'vxlan' && link.info !== undefined && !(link.info instanceof Uint8Array) ? (link.info.id as number) : undefined;
    const programs = await unlessGone(foreignPrograms(one, ifindex));
    devices.push({
      name, ifindex, kind, mac, mtu, up, carrier,
      addresses: addresses.filter((address) => address.ifindex === ifindex).map(({ address }) => address),
      ...(master !== undefined && { master }),
      ...(alias !== undefined && { alias }),
      ...(kind === 'tun' && { holders: await holdersOf(one, link) }),
      ...(programs.length > 0 && { programs }),
      ...(vni !== undefined && { vni }),
    }); // prettier-ignore
  }
  return devices;
}

/** An interface, or a program on it, may go while a whole machine is read. */
async function unlessGone<T>(found: Promise<readonly T[]>): Promise<readonly T[]> {
  try {
    return await found;
  } catch (error) {
    if (!['ENODEV', 'ENOENT'].includes(String((error as { code?: unknown }).code))) throw error;
    return [];
  }
}

async function holdersOf(one: Netns, { name, ifindex, mac, mtu }: Link): Promise<readonly TapHolder[]> {
  return new Tap(placeIn(one), { ifindex, mac, mtu }, { name, queues: 1, vnetHdr: false, offload: {} }, []).holders();
}

async function foreignPrograms(one: Netns, ifindex: number): Promise<readonly string[]> {
  const { tcx } = await readHooks(one, ifindex);
  return [...tcx.ingress, ...tcx.egress].filter(({ name }) => !isOurs(name)).map(({ id, name }) => name ?? `program ${id}`);
}

function isOurs(name: string | undefined): boolean {
  return name?.startsWith('podtap_') === true;
}

async function edgesOf(
  name: string,
  one: Netns,
  named: Named,
  links: ReadonlyMap<string, readonly Link[]>,
): Promise<readonly TopologyEdge[]> {
  // prettier-ignore
  const numbers = await namespaceNumbers(one, named.map(([, other]) => other)); // prettier-ignore
  const own = links.get(name)!;
  const end = ({ ifindex, netnsid }: LinkEnd): TopologyEnd | undefined => {
    const there = netnsid === undefined ? name : named.find(([, other]) => other === numbers.get(netnsid))?.[0];
    const link = there === undefined ? undefined : links.get(there)!.find((other) => other.ifindex === ifindex);
    return there === undefined || link === undefined ? undefined : { namespace: there, device: link.name };
  };
  const edges: TopologyEdge[] = [];
  for (const link of own) {
    const from = { namespace: name, device: link.name };
    const joined = (kind: 'veth' | 'stands on', other: LinkEnd): TopologyEdge => {
      const to = end(other);
      return { kind, from, ...(to !== undefined && { to }) };
    };
    if (link.peer !== undefined) edges.push(joined('veth', link.peer));
    if (link.lower !== undefined) edges.push(joined('stands on', link.lower));
    for (const { by, ifindex } of await unlessGone(redirectsOf(one, link))) {
      const to = end({ ifindex });
      edges.push({ kind: 'redirect', by, from, ...(to === undefined ? { gone: true as const } : { to }) });
    }
  }
  return [...edges, ...(await overlaysOf(name, one, own, named, links))];
}

/** Where filters and podtap's programs send what comes in. */
async function redirectsOf(one: Netns, { ifindex }: Link): Promise<readonly { by: 'filter' | 'program'; ifindex: number }[]> {
  const { tcx, filters } = await readHooks(one, ifindex);
  const found: { by: 'filter' | 'program'; ifindex: number }[] = [];
  for (const { actions = [] } of filters.ingress)
    for (const { kind, options: given } of actions)
      if (kind === 'mirred' && given !== undefined && !(given instanceof Uint8Array) && (given as MirredOptions).action === 'redirect') found.push({ by: 'filter', ifindex: (given as MirredOptions).dev }); // prettier-ignore
  for (const program of tcx.ingress) {
    const to = await targetOf(program);
    if (to !== undefined && to !== 0) found.push({ by: 'program', ifindex: to });
  }
  return found;
}

async function targetOf({ id, name }: HookProgram): Promise<number | undefined> {
  if (!isOurs(name)) return undefined;
  try {
    await using opened = await openRedirect(id);
    const config = await opened?.targets();
    return name === 'podtap_to_guest' ? config?.tap : config?.link;
  } catch (error) {
    if (error instanceof PodtapError || error instanceof UnsupportedError) return undefined;
    throw error;
  }
}

async function overlaysOf(
  name: string,
  one: Netns,
  own: readonly Link[],
  named: Named,
  links: ReadonlyMap<string, readonly Link[]>,
): Promise<readonly TopologyEdge[]> {
  // prettier-ignore
  const vxlans = own.filter(({ kind }) => kind === 'vxlan');
  if (vxlans.length === 0) return [];
  const edges: TopologyEdge[] = [];
  const fdb = await listFdb(one);
  for (const link of vxlans) {
    const info = link.info as { id?: number };
    for (const { mac, dst, ifindex, vni = info.id ?? 0 } of fdb) {
      if (ifindex !== link.ifindex || dst === undefined) continue;
      const there = await ownerOf(dst, named);
      const vtep = there === undefined ? undefined : links.get(there)!.find((other) => other.kind === 'vxlan' && (other.info as { id?: number }).id === vni && (other.mac === mac || mac === '00:00:00:00:00:00')); // prettier-ignore
      edges.push({ kind: 'overlay', vni, remote: dst, from: { namespace: name, device: link.name }, ...(there !== undefined && vtep !== undefined && { to: { namespace: there, device: vtep.name } }) }); // prettier-ignore
    }
  }
  return edges;
}

async function ownerOf(address: string, named: Named): Promise<string | undefined> {
  for (const [name, one] of named) {
    const all = await listAddresses(one).catch((error: unknown) => {
      if (error instanceof NetlinkError) return [];
      throw error;
    });
    if (all.some((other) => splitCidr(other.address).address === address)) return name;
  }
  return undefined;
}

/** A wire, or an overlay, is told by both of its ends. */
function isDouble(edge: TopologyEdge, before: readonly TopologyEdge[]): boolean {
  if (edge.kind !== 'veth' && edge.kind !== 'overlay') return false;
  const { from, to } = edge;
  return to !== undefined && before.some((other) => other.kind === edge.kind && other.to !== undefined && isSame(other.to, from) && isSame(other.from, to)); // prettier-ignore
}

export function isSame(a: TopologyEnd, b: TopologyEnd): boolean {
  return a.namespace === b.namespace && a.device === b.device;
}
