// Which addresses stand for the pod's localhost: a /24 of link-local ones that the guest dials, and a /23 of the loopback's, from which its
// packets come. Chosen against everything that the namespace has; for the same namespace, or the same label, the same ones.
import { sha256 } from '../digest.js';
import { PodtapError } from '../errors.js';
import { formatMac, parseIp } from '../wire/text.js';

export interface Occupied {
  /** IPv4 addresses and prefixes: of interfaces, routes, rules, neighbours; nameservers. Others are passed over. */
  readonly prefixes: Iterable<string>;
  /** What sockets are bound to. */
  readonly bound?: Iterable<string>;
}

export interface Ranges {
  /** '169.254.77.0', of a /24. */
  readonly aliases: string;
  /** '127.77.0.0', of a /23. */
  readonly loopback: string;
  readonly aliasMac: string;
}

/**
 * The third byte of subnets of 169.254.0.0/16 that others use: 0 and 255 are reserved (RFC 3927, 2.1), 1 Calico's gateway, 2 Oracle's volumes,
 * 7 Istio's probes, 10, 20 and 25 resolvers on Kubernetes' nodes (AKS, NodeLocal DNSCache, Kubespray), 42 Cilium, 169 the metadata services of
 * clouds, 170 and 172 to 175 Amazon's for containers and their way out.
 */
export const WELL_KNOWN = new Set([0, 1, 2, 7, 10, 20, 25, 42, 169, 170, 172, 173, 174, 175, 255]);
interface Candidates {
  readonly count: number;
  readonly at: (index: number) => string;
}
const thirds = [...Array(256).keys()].filter((third) => !WELL_KNOWN.has(third));
const linkLocal: Candidates = { count: thirds.length, at: (index) => `169.254.${thirds[index]}.0` };
/** Not those of 127.0.0.0/16 that everybody uses. */
const loopbacks: Candidates = { count: 254 * 128, at: (index) => `127.${(index >> 7) + 1}.${2 * (index & 127)}.0` };

/** @throws PodtapError ERR_LOCALHOST_NO_RANGE: everything is taken */
export function chooseRanges(seed: string, { prefixes, bound = [] }: Occupied): Ranges {
  const taken = [...prefixes, ...bound].flatMap((text) => spanOf(text) ?? []);
  const digest = sha256(`podtap localhost ${seed}`);
  const mac = Uint8Array.from(digest.subarray(8, 14));
  mac[0] = (mac[0]! & 0xfc) | 2; // locally administered, and no group's
  return {
    aliases: choose(linkLocal, 24, digest.readUInt32BE(0), taken, '169.254.0.0/16'),
    loopback: choose(loopbacks, 23, digest.readUInt32BE(4), taken, '127.0.0.0/8'),
    aliasMac: formatMac(mac, 0, 6),
  };
}

interface Span {
  readonly first: number;
  readonly last: number;
}

function choose({ count, at }: Candidates, length: number, start: number, taken: readonly Span[], within: string): string {
  const whole = spanOf(within)!;
  // What has all of it speaks against none of its parts: the loopback's own route, or the one that hosts have for link-local addresses.
  const relevant = taken.filter(({ first, last }) => first <= whole.last && whole.first <= last && !(first <= whole.first && whole.last <= last)); // prettier-ignore
  for (let step = 0; step < count; step++) {
    const candidate = at((start + step) % count);
    const { first, last } = spanOf(`${candidate}/${length}`)!;
    if (!relevant.some((one) => one.first <= last && first <= one.last)) return candidate;
  }
  throw new PodtapError(`there is no /${length} of ${within} left in this namespace: its addresses, routes, rules, nameservers and sockets have them all`, { code: 'ERR_LOCALHOST_NO_RANGE' }); // prettier-ignore
}

/** undefined of what is not IPv4. */
export function spanOf(text: string): Span | undefined {
  const [address = '', length = '32'] = text.replace(/^::ffff:/, '').split('/');
  const bytes = parseIp(address);
  if (bytes?.length !== 4 || !/^\d{1,2}$/.test(length) || Number(length) > 32) return undefined;
  const number = bytes.reduce((sum, byte) => sum * 256 + byte, 0);
  const size = 2 ** (32 - Number(length));
  const first = Math.floor(number / size) * size;
  return { first, last: first + size - 1 };
}
