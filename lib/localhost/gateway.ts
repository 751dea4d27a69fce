// A gateway for guests that cannot have theirs: those whose language or stack refuses one outside of the subnet, and those of pods that have
// none. The guest is told an address of its own subnet, for which the backend answers ARP with the real next hop's MAC; what is sent to that
// goes its way as ever, since the gateway's address stands in no packet that goes through it.
import { commonBits } from '../guest/prefix.js';
import { splitCidr } from '../check.js';
import { PodtapError } from '../errors.js';
import type { GuestNetwork, GuestRoute } from '../guest/network.js';
import { spanOf } from './ranges.js';

export interface Substitute {
  /** The guest's, with the prefix that it is told. */
  readonly address: string;
  readonly gateway: string;
  /** What of the subnet that the guest is told it does not reach any more: it would take them for the network's own or ask for them on the link. */
  readonly unreachable: readonly string[];
}

/** A /30 has room for two; shorter ones take more from the guest. */
const LONGEST = 30;
const SHORTEST = 24;

/**
 * `address`: the guest's first one of IPv4; `gateway`: that of its default route, if there is one; `known`: addresses that must not be taken,
 * since somebody has them. undefined: it has a gateway inside its subnet, and needs no other.
 */
export function substituteFor(address: string, gateway: string | undefined, known: ReadonlySet<string>): Substitute | undefined {
  const { address: own, length } = splitCidr(address);
  if (gateway !== undefined && length < 32 && commonBits(own, gateway) >= length) return undefined;
  // What is on the link stays there where nothing is gained by asking a router for it.
  const lengths = gateway === undefined && length <= LONGEST ? [length] : range(LONGEST, SHORTEST);
  const found = lengths.flatMap((one) => candidate(own, one, known) ?? []);
  const [best = undefined] = [...found.filter(({ gateway: chosen }) => !known.has(chosen)), ...(gateway === undefined ? [] : found)];
  if (best === undefined) throw new PodtapError(`no address is left for a gateway in the subnet of ${address}`, { code: 'ERR_LOCALHOST_NO_RANGE' }); // prettier-ignore
  return gateway === undefined && length <= LONGEST ? { ...best, unreachable: [best.gateway] } : best;
}

function range(from: number, to: number): number[] {
  return Array.from({ length: from - to + 1 }, (_, index) => from - index);
}

/** From the top, where addresses are given out last. */
function candidate(own: string, length: number, known: ReadonlySet<string>): Substitute | undefined {
  const { first, last } = spanOf(`${own}/${length}`)!;
  const self = spanOf(own)!.first;
  if (self === first || self === last) return undefined;
  let chosen: number | undefined;
  for (let number = last - 1; number > first && number > last - 4096; number--) {
    if (number === self) continue;
    chosen ??= number;
    if (known.has(textOf(number))) continue;
    chosen = number;
    break;
  }
  if (chosen === undefined) return undefined;
  const others = last - first < 256 ? range(last, first).filter((number) => number !== self && number !== chosen) : [first, last];
  return { address: `${own}/${length}`, gateway: textOf(chosen), unreachable: others.map(textOf) };
}

function textOf(number: number): string {
  return [24, 16, 8, 0].map((shift) => (number / 2 ** shift) & 0xff).join('.');
}

/** What the guest is told instead. */
export function substituted(guest: GuestNetwork, { address, gateway, unreachable }: Substitute): GuestNetwork {
  const own = address.split('/')[0]!;
  const index = guest.addresses.findIndex((one) => one.address.split('/')[0] === own);
  const before = guest.addresses[index]!;
  const instead = guest.gateway.ipv4;
  const isOfIpv4 = ({ dst }: GuestRoute): boolean => !dst.includes(':');
  const length = splitCidr(address).length;
  const within = (via: string): boolean => commonBits(own, via) >= length;
  const routes = guest.routes.flatMap((route): GuestRoute[] => {
    if (!isOfIpv4(route) || route.type !== undefined) return [route];
    const { via, onlink: _, nexthops, ...rest } = route;
    // The way to the gateway that was: it is asked for no more.
    if (via === undefined && nexthops === undefined) return instead !== undefined && covers(route.dst, instead) ? [] : [route];
    if (via !== undefined && (via.includes(':') || (within(via) && via !== instead))) return [route];
    return [{ ...rest, via: gateway }];
  });
  const seen = new Set<string>();
  const once = routes.filter((route) => {
    const text = JSON.stringify(route);
    return !seen.has(text) && seen.add(text) !== undefined;
  });
  const hasDefault = once.some(({ dst }) => dst === '0.0.0.0/0');
  return {
    ...guest,
    addresses: guest.addresses.map((one, at) => (at === index ? { ...one, address } : one)),
    gateway: { ...guest.gateway, ipv4: gateway },
    routes: hasDefault ? once : [...once, { dst: '0.0.0.0/0', via: gateway }],
    neighbors: guest.neighbors.filter((one) => one.address !== instead),
    substituted: {
      address: { is: address, instead: before.address },
      gateway: { is: gateway, ...(instead !== undefined && { instead }) },
      unreachable,
    },
  };
}

function covers(prefix: string, address: string): boolean {
  const span = spanOf(prefix);
  const one = spanOf(address);
  return span !== undefined && one !== undefined && span.first <= one.first && one.last <= span.last;
}
