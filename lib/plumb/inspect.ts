// What is plumbed in a namespace, from the kernel's state alone: no journal, and nothing of the process that did it.
import { type Netns, attachment } from '../kernel/netns.js';
import { Tap, type TapHolder, placeIn } from '../kernel/tap.js';
import type { Problem } from '../primitive/host.js';
import { localMac } from '../primitive/mac.js';
import { type State, snapshot } from '../state/snapshot.js';
import type { Link } from '../wire/link.js';
import { type Mark, parseMark } from './mark.js';
import { type Wiring, faultsOf, problemOf, wiringParts } from './wiring.js';

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
  const state = await snapshot(netns, new Set(wiringParts));
  const plumbings: InspectedPlumbing[] = [];
  const problems: Problem[] = [];
  for (const { mark, links } of marked(state)) {
    const tap = links.find(({ kind }) => kind === 'tun');
    const bridge = links.find(({ kind }) => kind === 'bridge');
    const link = state.link(mark.link) ?? [...state.links.values()].find(({ master, ifindex }) => master === bridge?.ifindex && ifindex !== tap?.ifindex); // prettier-ignore
    for (const [what, one] of [
      ['TAP', tap],
      ['bridge', bridge],
      [`interface '${mark.link}'`, link],
    ] as const) {
      if (one !== undefined) continue;
      problems.push({ code: what === 'TAP' ? 'TAP_GONE' : what === 'bridge' ? 'BRIDGE_GONE' : 'LINK_GONE', message: `the ${what} of the plumbing of '${mark.link}' is gone`, fix: 'undo the plumbing, and plumb anew' }); // prettier-ignore
    }
    if (tap === undefined) continue;
    const { label, mode } = mark;
    plumbings.push({
      ...(label !== undefined && { label }),
      mode,
      link: link?.name ?? mark.link,
      tap: tap.name,
      holders: await holdersOf(netns, tap),
    });
    if (link === undefined || bridge === undefined) continue;
    problems.push(...faultsOf(wiringOf(mark, link, tap, bridge), state).map(problemOf));
  }
  return { plumbings, problems, toString: () => told(plumbings, problems) };
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

/** As it must have been meant. */
function wiringOf({ mac }: Mark, link: Link, tap: Link, bridge: Link): Wiring {
  const named = ({ name, ifindex }: Link): Wiring['tap'] => ({ name, ifindex });
  const guestMac = mac ?? '02:00:00:00:00:00'; // somebody wrote the mark who did not know it: that it is nowhere is told
  const info = tap.info instanceof Uint8Array ? undefined : tap.info;
  return {
    mode: 'bridge',
    link: named(link),
    tap: named(tap),
    bridge: named(bridge),
    guestMac,
    // It must be any but the guest's.
    linkMac: link.mac === guestMac ? localMac() : link.mac,
    tapMac: tap.mac,
    mtu: tap.mtu,
    shape: { queues: 1, vnetHdr: info?.vnet_hdr === 1, offload: {} },
    attach: 'name',
  };
}

async function holdersOf(netns: Netns, { name, ifindex, mac, mtu }: Link): Promise<readonly TapHolder[]> {
  return new Tap(placeIn(netns), { ifindex, mac, mtu }, { name, queues: 1, vnetHdr: false, offload: {} }, []).holders();
}

function told(plumbings: readonly InspectedPlumbing[], problems: readonly Problem[]): string {
  const lines = plumbings.map(({ label, mode, link, tap, holders }) => {
    const who = holders.length === 0 ? 'nobody' : holders.map(({ pid, command }) => `${command} (${pid})`).join(', ');
    return `${link} <-> ${tap} by ${mode}${label === undefined ? '' : `, label ${label}`}, held by ${who}`;
  });
  for (const { code, message, fix } of problems) lines.push(`${code}: ${message}`, `  fix: ${fix}`);
  return lines.length === 0 ? 'nothing is plumbed here' : lines.join('\n');
}
