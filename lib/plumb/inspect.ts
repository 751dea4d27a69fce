// What is plumbed in a namespace, from the kernel's state alone: no journal, and nothing of the process that did it.
import { readHooks } from '../kernel/hooks.js';
import { type Netns, attachment } from '../kernel/netns.js';
import { type TapHolder, placeIn } from '../kernel/tap.js';
import type { Problem } from '../primitive/host.js';
import { type State, snapshot } from '../state/snapshot.js';
import type { Link } from '../wire/link.js';
import { deviceOf } from './device.js';
import { problemOf } from './datapath/datapath.js';
import { type DatapathMode, allFaultParts, datapathOf, faultsOf, isMode, modes } from './datapath/datapaths.js';
import { warningsOf } from './warnings.js';
import type { ConfigService } from '../localhost/config.js';
import { inForce } from './localhost/localhost.js';
import { GUEST, type Mark, parseMark } from './mark.js';

export interface InspectedPlumbing {
  readonly label?: string;
  readonly mode: string;
  readonly link: string;
  readonly tap: string;
  readonly holders: readonly TapHolder[];
  /** Of further guests; absent where there are none. */
  readonly guests?: readonly { readonly name: string; readonly tap: string; readonly holders: readonly TapHolder[] }[];
  /** What guests reach of the pod's localhost: 'alias:ports -> address:ports/protocol'; absent where nothing carries it. */
  readonly localhost?: { readonly backend: string; readonly services: readonly string[] };
}

export interface Inspection {
  readonly plumbings: readonly InspectedPlumbing[];
  readonly problems: readonly Problem[];
  /** What of others sits on plumbed interfaces, and what it means; it is no fault. Absent where nothing does. */
  readonly warnings?: readonly Problem[];
  /** A line for each, and for each problem with what mends it. */
  toString(): string;
}

/**
 * What podtap has plumbed here, as far as the kernel's state tells, and what is wrong with it. Interfaces that podtap made are known by
 * their alias.
 *
 * @example console.log(String(await inspect(pod)))
 */
export async function inspect(netns: Netns): Promise<Inspection> {
  attachment(netns);
  // In a user namespace nobody may ask for programs.
  const parts = new Set([...allFaultParts, 'localhost' as const]);
  const state = await snapshot(netns, parts).catch((error: unknown) => {
    if ((error as { code?: unknown }).code !== 'EPERM') throw error;
    return snapshot(netns, new Set([...parts].filter((part) => part !== 'tcx')));
  });
  const plumbings: InspectedPlumbing[] = [];
  const problems: Problem[] = [];
  const warnings: Problem[] = [];
  for (const { mark, links } of marked(state)) {
    if (!isMode(mark.mode)) continue;
    const { link, tap, wiring, problems: missing } = datapathOf(mark.mode).find(mark, links, state);
    problems.push(...missing);
    if (wiring !== undefined) problems.push(...faultsOf(wiring, state).map(problemOf));
    if (link !== undefined) warnings.push(...(await readHooks(netns, link.ifindex).then((hooks) => warningsOf(hooks, mark.mode as DatapathMode), () => []))); // prettier-ignore
    if (tap === undefined) continue;
    const { label, mode } = mark;
    const guests = await guestsOf(netns, state, link?.name ?? mark.link);
    const carried = link === undefined ? undefined : inForce(state, link.ifindex);
    plumbings.push({
      ...(label !== undefined && { label }),
      mode,
      link: link?.name ?? mark.link,
      tap: tap.name,
      holders: await holdersOf(netns, tap),
      ...(guests.length > 0 && { guests }),
      ...(carried !== undefined && { localhost: { backend: carried.backend, services: carried.config.services.map(serviceText) } }),
    });
  }
  for (const stray of modes.flatMap((mode) => datapathOf(mode).strays?.(state) ?? []))
    if (!problems.some(({ message }) => message === stray.message)) problems.push(stray);
  return { plumbings, problems, ...(warnings.length > 0 && { warnings }), toString: () => told(plumbings, [...problems, ...warnings]) };
}

async function guestsOf(netns: Netns, state: State, link: string): Promise<NonNullable<InspectedPlumbing['guests']>> {
  const found = [];
  for (const one of state.links.values()) {
    const mark = parseMark(one.alias);
    if (mark?.mode === GUEST && mark.link === link) found.push({ name: mark.label ?? '', tap: one.name, holders: await holdersOf(netns, one) }); // prettier-ignore
  }
  return found;
}

function serviceText({ alias, address, protocol, first, last, to }: ConfigService): string {
  const ports = (from: number): string => (first === last ? `${from}` : `${from}-${from + last - first}`);
  return `${alias}:${ports(first)} -> ${address}:${ports(to)}/${protocol}`;
}

/** Interfaces with the same mark belong together. */
function marked(state: State): readonly { readonly mark: Mark; readonly links: readonly Link[] }[] {
  const found = new Map<string, { mark: Mark; links: Link[] }>();
  for (const link of state.links.values()) {
    const mark = parseMark(link.alias);
    if (mark === undefined) continue;
    const known = found.get(link.alias!);
    if (known === undefined) found.set(link.alias!, { mark, links: [link] });
    else known.links.push(link);
  }
  return [...found.values()];
}

async function holdersOf(netns: Netns, { name, ifindex, mac, mtu, kind }: Link): Promise<readonly TapHolder[]> {
  const shape = { queues: 1, vnetHdr: false, offload: {} };
  return deviceOf(placeIn(netns), { mode: kind === 'macvtap' ? 'macvtap' : '', tap: { name, ifindex }, tapMac: mac, mtu, shape })
    .holders()
    .catch((error: unknown) => {
      // Whose descriptors a macvtap's are not everybody may ask.
      if ((error as { code?: unknown }).code !== 'EPERM') throw error;
      return [];
    });
}

function told(plumbings: readonly InspectedPlumbing[], problems: readonly Problem[]): string {
  const who = (holders: readonly TapHolder[]): string =>
    holders.length === 0 ? 'nobody' : holders.map(({ pid, command }) => `${command} (${pid})`).join(', ');
  const lines = plumbings.flatMap(({ label, mode, link, tap, holders, guests = [], localhost }) => [
    `${link} <-> ${tap} by ${mode}${label === undefined ? '' : `, label ${label}`}, held by ${who(holders)}`,
    ...guests.map((guest) => `  ${guest.name} on ${guest.tap}, held by ${who(guest.holders)}`),
    ...(localhost?.services ?? []).map((service) => `  localhost by ${localhost!.backend}: ${service}`),
  ]);
  for (const { code, message, fix } of problems) lines.push(`${code}: ${message}`, `  fix: ${fix}`);
  return lines.length === 0 ? 'nothing is plumbed here' : lines.join('\n');
}
