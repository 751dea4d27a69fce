// What every kind of drawing shows of a topology, and how it is named: nothing that differs from one run to the next, unless it is asked for.
import type { Topology, TopologyDevice, TopologyEdge, TopologyEnd } from './read.js';
import { isSame } from './read.js';

/** As much of a trace (podtap/trace) as is drawn. */
export interface DrawnPath {
  readonly hops: readonly { readonly namespace: string; readonly device: string }[];
  readonly at?: { readonly guest?: string };
  readonly loss?: { readonly namespace: string; readonly device?: string };
}

export interface DrawOptions {
  /** Drawn above. */
  readonly title?: string;
  /** How a MAC is written; undefined: it is not. Default: not at all, since those that the kernel makes are others in each run. */
  readonly mac?: (mac: string) => string | undefined;
  /** A path to be drawn over the wires, numbered in the order of its steps; where it is lost, that is marked. */
  readonly path?: DrawnPath;
}

export interface Box {
  readonly id: string;
  readonly end: TopologyEnd;
  /** The first is the name. */
  readonly lines: readonly string[];
  readonly look: 'device' | 'bridge' | 'tap' | 'overlay' | 'guest';
  readonly down: boolean;
  /** On the path; lost: where it ends badly. */
  readonly path?: 'on' | 'lost';
}

export interface Line {
  readonly from: string;
  readonly to: string;
  readonly look: 'wire' | 'port' | 'stands on' | 'redirect' | 'overlay' | 'path';
  readonly label?: string;
  /** The steps of the path that go along it, by their numbers, and which way. */
  readonly steps?: { readonly numbers: readonly number[]; readonly way: 'forward' | 'back' | 'both' };
}

export interface Picture {
  readonly title?: string;
  readonly groups: readonly { readonly id: string; readonly name: string; readonly boxes: readonly Box[] }[];
  readonly lines: readonly Line[];
}

/** `prefix` keeps the names of several pictures apart. */
export function pictureOf(topology: Topology, { title, mac, path }: DrawOptions = {}, prefix = ''): Picture {
  const groups: { id: string; name: string; boxes: Box[] }[] = [];
  const ids: { end: TopologyEnd; id: string }[] = [];
  topology.namespaces.forEach(({ name, devices }, n) => {
    const boxes: Box[] = [];
    // By name: which was made first, and has the lower index, may be chance.
    inOrder(devices, ({ name }) => name).forEach((device, d) => {
      if (device.kind === 'loopback') return;
      const end = { namespace: name, device: device.name };
      const id = `${prefix}n${n}d${d}`;
      ids.push({ end, id });
      const known = topology.guests.some(({ at }) => isSame(at, end));
      boxes.push({ id, end, lines: linesOf(device, mac, known), look: lookOf(device), down: !device.up, ...onPath(end, path) });
    });
    topology.guests.forEach((guest, g) => {
      if (guest.at.namespace !== name) return;
      const id = `${prefix}g${g}`;
      ids.push({ end: { namespace: name, device: guest.name }, id });
      const on = path?.at?.guest === guest.name ? { path: 'on' as const } : {};
      boxes.push({ id, end: { namespace: name, device: guest.name }, lines: [guest.name, 'guest', ...withMac(guest.mac, mac), ...guest.addresses], look: 'guest', down: false, ...on }); // prettier-ignore
    });
    groups.push({ id: `${prefix}n${n}`, name, boxes });
  });
  const idOf = (end: TopologyEnd | undefined): string | undefined => end && ids.find((one) => isSame(one.end, end))?.id;
  const lines: Line[] = [];
  const join = (from: TopologyEnd, to: TopologyEnd | undefined, look: Line['look'], label?: string): void => {
    const [a, b] = [idOf(from), idOf(to)];
    if (a !== undefined && b !== undefined) lines.push({ from: a, to: b, look, ...(label !== undefined && { label }) });
  };
  for (const { name, devices } of topology.namespaces)
    for (const { name: device, master } of devices)
      if (master !== undefined) join({ namespace: name, device: master }, { namespace: name, device }, 'port');
  for (const edge of topology.edges) join(edge.from, edge.to, lookOfEdge(edge), labelOf(edge));
  for (const guest of topology.guests) join(guest.at, { namespace: guest.at.namespace, device: guest.name }, 'wire');
  const drawn = walked(
    inOrder(lines, ({ from, to, look }) => `${from} ${to} ${look}`),
    topology,
    path,
    idOf,
  );
  return { ...(title !== undefined && { title }), groups, lines: drawn };
}

function inOrder<T>(all: readonly T[], key: (one: T) => string): readonly T[] {
  return [...all].sort((a, b) => key(a).localeCompare(key(b), 'en', { numeric: true }));
}

/** The path goes along the lines that are there, through the bridge between two of its ports; where there is none, it has its own. */
function walked(
  lines: readonly Line[],
  topology: Topology,
  path: DrawnPath | undefined,
  idOf: (end: TopologyEnd) => string | undefined,
): readonly Line[] {
  // prettier-ignore
  const drawn = [...lines];
  const walk = (a: string | undefined, b: string | undefined, number: number): void => {
    if (a === undefined || b === undefined) return;
    const along = ({ from, to, look }: Line): boolean => look !== 'overlay' && ((from === a && to === b) || (from === b && to === a && look !== 'redirect')); // prettier-ignore
    const at = drawn.findIndex(along);
    const line: Line = drawn[at] ?? { from: a, to: b, look: 'path' };
    const way: 'forward' | 'back' = line.from === a ? 'forward' : 'back';
    const { numbers = [], way: before = way } = line.steps ?? {};
    const steps = { numbers: [...numbers, number], way: before === way ? way : ('both' as const) };
    drawn.splice(at === -1 ? drawn.length : at, at === -1 ? 0 : 1, { ...line, steps });
  };
  steps(topology, path).forEach(([from, to], index) => {
    const bridge = bridgeBetween(topology, from, to);
    if (bridge === undefined) return walk(idOf(from), idOf(to), index + 1);
    walk(idOf(from), idOf(bridge), index + 1);
    walk(idOf(bridge), idOf(to), index + 1);
  });
  return drawn;
}

function bridgeBetween({ namespaces }: Topology, a: TopologyEnd, b: TopologyEnd): TopologyEnd | undefined {
  if (a.namespace !== b.namespace) return undefined;
  const devices = namespaces.find(({ name }) => name === a.namespace)?.devices ?? [];
  const [one, other] = [a, b].map(({ device }) => devices.find(({ name }) => name === device)?.master);
  return one === undefined || one !== other ? undefined : { namespace: a.namespace, device: one };
}

/** From each device of the path to the next one, and to the guest at its end. */
function steps({ guests }: Topology, path: DrawnPath | undefined): readonly (readonly [TopologyEnd, TopologyEnd])[] {
  if (path === undefined) return [];
  const ends: TopologyEnd[] = path.hops.map(({ namespace, device }) => ({ namespace, device }));
  const guest = guests.find(({ name }) => name === path.at?.guest);
  if (guest !== undefined) ends.push({ namespace: guest.at.namespace, device: guest.name });
  return ends.flatMap((end, index) => (index === 0 || isSame(ends[index - 1]!, end) ? [] : [[ends[index - 1]!, end] as const]));
}

function onPath(end: TopologyEnd, path: DrawnPath | undefined): { path?: 'on' | 'lost' } {
  if (path === undefined) return {};
  if (path.loss !== undefined && path.loss.namespace === end.namespace && path.loss.device === end.device) return { path: 'lost' };
  return path.hops.some((hop) => isSame(hop, end)) ? { path: 'on' } : {};
}

function linesOf(
  { name, kind, addresses, mac, vni, holders, programs = [] }: TopologyDevice,
  told: DrawOptions['mac'],
  guest: boolean,
): string[] {
  const what = kind === 'tun' ? 'TAP' : kind === 'vxlan' ? `VXLAN ${vni}` : kind;
  const held = guest || holders === undefined || holders.length === 0 ? [] : [`held by ${[...new Set(holders.map(({ command }) => command))].join(', ')}`]; // prettier-ignore
  // What the kernel makes of a MAC is as random as that.
  const own = addresses.filter((address) => !address.startsWith('fe80:'));
  return [name, what, ...withMac(mac, told), ...own, ...held, ...programs.map((program) => `eBPF ${program}`)];
}

function withMac(mac: string, told: DrawOptions['mac']): string[] {
  const text = mac === '' ? undefined : told?.(mac);
  return text === undefined ? [] : [text];
}

function lookOf({ kind }: TopologyDevice): Box['look'] {
  return kind === 'bridge' ? 'bridge' : kind === 'tun' || kind === 'macvtap' ? 'tap' : kind === 'vxlan' ? 'overlay' : 'device';
}

function lookOfEdge({ kind }: TopologyEdge): Line['look'] {
  return kind === 'veth' ? 'wire' : kind;
}

function labelOf(edge: TopologyEdge): string | undefined {
  return edge.kind === 'redirect' ? (edge.by === 'program' ? 'eBPF' : 'tc') : edge.kind === 'overlay' ? `VNI ${edge.vni}` : undefined;
}
