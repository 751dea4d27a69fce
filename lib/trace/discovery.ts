// Who has an address: ARP's question, or neighbour discovery's (RFC 4861), which is of IPv6 itself and passes its chains, as the answer does.
import { BROADCAST, ETH_P_ARP, ETH_P_IPV6, type Frame } from '../wire/frame.js';
import { parseIp } from '../wire/text.js';
import type { Trail } from './hop.js';
import { passThrough } from './hooks.js';
import type { Passed } from './nft.js';
import type { Place } from './space.js';

const [SOLICITATION, ADVERTISEMENT] = [135, 136];
/** With the MAC as an option: 40 + 24 + 8. */
const LENGTH = 72;
const NO_MAC = '00:00:00:00:00:00';

/** To all, or to those whose address ends alike: the group of solicited nodes. */
export function question(mac: string, source: string, address: string): Frame {
  if (!address.includes(':'))
    return { source: mac, destination: BROADCAST, type: ETH_P_ARP, arp: { operation: 'request', sender: { mac, address: source }, target: { mac: NO_MAC, address } } }; // prettier-ignore
  const [a, b, c] = [...parseIp(address)!.subarray(13)].map((byte) => byte.toString(16).padStart(2, '0'));
  const group = `ff02::1:ff${a}:${parseInt(b! + c!, 16).toString(16)}`;
  return ofDiscovery({ source: mac, destination: `33:33:ff:${a}:${b}:${c}` }, source, group, SOLICITATION);
}

/** Only who hears it counts. */
export function isQuestion({ arp, packet }: Frame): boolean {
  return arp !== undefined || packet?.icmp?.type === SOLICITATION;
}

function ofDiscovery(macs: Pick<Frame, 'source' | 'destination'>, source: string, destination: string, type: number): Frame {
  return {
    ...macs,
    type: ETH_P_IPV6,
    packet: { source, destination, ttl: 255, protocol: 'icmpv6', length: LENGTH, icmp: { type, code: 0 } },
  };
}

/** Out by an interface. */
export async function passOut(place: Place, frame: Frame, trail: Trail, first: boolean): Promise<Passed> {
  const { space, link: oif } = place;
  if (frame.arp !== undefined) return passThrough(['arp'], { space, hook: 'output', oif, first }, frame, trail);
  return passBoth(place, ['output', 'postrouting'], 'oif', frame, trail, first);
}

/** Up to who can answer. */
export async function passIn(place: Place, frame: Frame, trail: Trail, first: boolean): Promise<Passed> {
  const { space, link: iif } = place;
  if (frame.arp !== undefined) return passThrough(['arp'], { space, hook: 'input', iif, first }, frame, trail);
  return passBoth(place, ['prerouting', 'input'], 'iif', frame, trail, first);
}

/** nf_conntrack_icmpv6_error() lets discovery alone. */
async function passBoth(
  { space, link }: Place,
  [one, other]: readonly [string, string],
  end: 'iif' | 'oif',
  frame: Frame,
  trail: Trail,
  first: boolean,
): Promise<Passed> {
  // prettier-ignore
  const passed = await passThrough('stack', { space, hook: one, [end]: link, first }, frame, trail.carry({ ...trail.beside, untracked: true }));
  return passed.verdict.go === 'on' ? passThrough('stack', { space, hook: other, [end]: link, first }, passed.frame, passed.trail) : passed;
}

/** The answer of neighbour discovery: from a host, unless it is a guest's, up to the host that has asked, unless that is a guest. */
export async function passAnswer(
  from: Place | undefined,
  to: Place | undefined,
  answer: { readonly mac: string; readonly address: string; readonly asker: string },
  trail: Trail,
  first: boolean,
): Promise<{ readonly trail: Trail; readonly lost?: string }> {
  // prettier-ignore
  const frame = ofDiscovery({ source: answer.mac, destination: to?.link.mac ?? NO_MAC }, answer.address, answer.asker, ADVERTISEMENT);
  let on = trail;
  for (const [place, pass] of [
    [from, passOut],
    [to, passIn],
  ] as const) {
    // prettier-ignore
    if (place === undefined) continue;
    const passed = await pass(place, frame, on.carry(), first);
    on = passed.trail;
    if (passed.verdict.go === 'lost') return { trail: on, lost: passed.verdict.reason };
  }
  return { trail: on };
}
