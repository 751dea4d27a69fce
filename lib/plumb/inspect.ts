// What is plumbed in a namespace, from the kernel's state alone: no journal, and nothing of the process that did it.
import { readHooks } from '../kernel/hooks.js';
import { type Netns, attachment } from '../kernel/netns.js';
import { type TapHolder, placeIn } from '../kernel/tap.js';
import type { Problem } from '../primitive/host.js';
import { type State, snapshot } from '../state/snapshot.js';
import type { Link } from '../wire/link.js';
import { deviceOf } from './device.js';
import { problemOf } from './datapath.js';
import { type DatapathMode, allFaultParts, datapathOf, faultsOf, isMode, modes } from './datapaths.js';
import { warningsOf } from './warnings.js';
import { type Mark, parseMark } from './mark.js';

export interface InspectedPlumbing {
  readonly label?: string;
  readonly mode: string;
  readonly link: string;
  readonly tap: string;
  readonly holders: readonly TapHolder[];
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
  const state = await snapshot(netns, allFaultParts).catch((error: unknown) => {
    if ((error as { code?: unknown }).code !== 'EPERM') throw error;
    return snapshot(netns, new Set([...allFaultParts].filter((part) => part !== 'tcx')));
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
    plumbings.push({
      ...(label !== undefined && { label }),
      mode,
      link: link?.name ?? mark.link,
      tap: tap.name,
      holders: await holdersOf(netns, tap),
    });
  }
  for (const stray of modes.flatMap((mode) => datapathOf(mode).strays?.(state) ?? []))
    if (!problems.some(({ message }) => message === stray.message)) problems.push(stray);
  return { plumbings, problems, ...(warnings.length > 0 && { warnings }), toString: () => told(plumbings, [...problems, ...warnings]) };
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
  const lines = plumbings.map(({ label, mode, link, tap, holders }) => {
    const who = holders.length === 0 ? 'nobody' : holders.map(({ pid, command }) => `${command} (${pid})`).join(', ');
    return `${link} <-> ${tap} by ${mode}${label === undefined ? '' : `, label ${label}`}, held by ${who}`;
  });
  for (const { code, message, fix } of problems) lines.push(`${code}: ${message}`, `  fix: ${fix}`);
  return lines.length === 0 ? 'nothing is plumbed here' : lines.join('\n');
}
