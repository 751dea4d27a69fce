// What nodes tell each other, and which of it is believed.
import * as v from 'valibot';
import { type Schema, array, boolean, check, integer, interfaceMac, ip, mtu, oneOf, optional, options, text } from '../check.js';
import { sha256 } from '../digest.js';
import { formatMac } from '../wire/text.js';
import { OverlayError } from './error.js';
import { type Family, type Subnet, Subnets, families, formatAddress, holds, parseAddress, parseSubnet } from './subnet.js';

/** Of one family: the pods' subnet on a node, and how the node is reached. */
export interface OverlayEnd {
  /** '10.244.1.0/24': its first address is the node's own on the overlay. */
  readonly subnet: string;
  /** Its address on the underlay. */
  readonly publicIp: string;
  /** The MAC of its VXLAN device. */
  readonly vtepMac: string;
}

/** A node of the overlay. */
export interface OverlayNode {
  readonly ipv4?: OverlayEnd;
  readonly ipv6?: OverlayEnd;
}

/** What all nodes have in common. */
export interface OverlayNetwork {
  /** The prefix that every IPv4 subnet is in, if the registry knows it: '10.244.0.0/16'. A node elsewhere is passed over. */
  readonly ipv4?: string;
  readonly ipv6?: string;
  /** Which families there are. */
  readonly families: readonly Family[];
  /** The VXLAN network's number. Default 1. */
  readonly vni?: number;
  /** UDP port. Default 8472, as Linux and flannel have it; IANA's is 4789. */
  readonly port?: number;
  /** Of the VXLAN devices. Default: the underlay's less the encapsulation, which is 50 bytes by IPv4 and 70 by IPv6. */
  readonly mtu?: number;
  /** Whether nodes in one subnet of the underlay route to each other without encapsulation. Default false. */
  readonly directRouting?: boolean;
  /** Whether the devices learn MACs from what they receive. Default false. */
  readonly learning?: boolean;
}

const MAX_VNI = 0xffffff;

export const networkEntries = {
  vni: optional(integer(0, MAX_VNI)),
  port: optional(integer(1, 0xffff)),
  mtu: optional(mtu),
  directRouting: optional(boolean),
};

const end = (of: Family): Schema<Omit<OverlayEnd, 'vtepMac'> & { vtepMac?: string }> =>
  v.pipe(
    options({
      subnet: v.pipe(
        text,
        v.check(
          (value) => parseSubnet(value)?.family === of,
          `must be an ${of} prefix such as '${of === 'ipv4' ? '10.244.1.0/24' : 'fd00:10:244:1::/64'}', with no bit beyond its length`,
        ),
      ),
      publicIp: v.pipe(ip, v.check((value) => value.includes(':') === (of === 'ipv6'), `must be an ${of} address`)), // prettier-ignore
      vtepMac: optional(interfaceMac),
    }),
  );

/** As a caller gives it: a MAC that is left out is one that follows from the subnet. */
export const givenNode = v.pipe(
  options({ ipv4: optional(end('ipv4')), ipv6: optional(end('ipv6')) }),
  v.check(({ ipv4, ipv6 }) => ipv4 !== undefined || ipv6 !== undefined, "must have 'ipv4', 'ipv6' or both"),
);

/** A MAC that every node can work out: locally administered, from the subnet. */
export function vtepMacOf(subnet: string): string {
  const bytes = Uint8Array.from(sha256(parseSubnet(subnet)?.text ?? subnet).subarray(0, 6)); // prettier-ignore
  bytes[0] = (bytes[0]! & 0xfc) | 0x02; // IEEE 802, 8.4: local, unicast
  return formatMac(bytes, 0, 6);
}

const prefixOrNone = (of: Family): Schema<string | undefined> =>
  optional(v.pipe(text, v.check((value) => parseSubnet(value)?.family === of, `must be an ${of} prefix`))); // prettier-ignore

const networkSchema = v.looseObject({
  families: v.pipe(array(oneOf(...families)), v.minLength(1, 'must be one at least')),
  ipv4: prefixOrNone('ipv4'),
  ipv6: prefixOrNone('ipv6'),
  learning: optional(boolean),
  ...networkEntries,
});

/** What a registry says of the network. @throws OverlayError ERR_OVERLAY_CONFIG */
export function checkNetwork(given: unknown): OverlayNetwork {
  try {
    return check(networkSchema as unknown as Schema<OverlayNetwork>, given, "the registry's network");
  } catch (error) {
    throw new OverlayError('ERR_OVERLAY_CONFIG', (error as Error).message, { about: 'network', cause: error });
  }
}

// ------------------------------------------------------------------ which others there are

export interface Admitted {
  readonly others: readonly OverlayNode[];
  readonly problems: readonly OverlayError[];
}

/** Enough to see what is wrong; a registry full of nonsense must not fill the memory. */
const MAX_PROBLEMS = 100;

/** What was thought of an end of a node before, of itself and without the others: a list of a thousand seldom changes but in one. */
export type Verdicts = WeakMap<OverlayEnd, Verdict>;
type Verdict = { readonly why: string } | { readonly end: OverlayEnd; readonly subnet: Subnet };

/**
 * The other nodes of the registry's list. What a registry says is the word of everybody who may write there: a subnet outside of the
 * network would take away routes, one inside of ours our pods, a public address on the overlay would encapsulate for ever. Of two that
 * contradict each other the first is believed.
 */
export function admit(
  network: OverlayNetwork,
  self: OverlayNode,
  nodes: readonly OverlayNode[],
  verdicts: Verdicts = new WeakMap(),
): Admitted {
  const problems: OverlayError[] = [];
  const subnets = { ipv4: new Subnets(), ipv6: new Subnets() };
  const remotes = { ipv4: new Map<string, string>(), ipv6: new Map<string, string>() };
  const whole = { ipv4: prefixOf(network.ipv4), ipv6: prefixOf(network.ipv6) };
  for (const family of families) {
    const own = prefixOf(self[family]?.subnet);
    if (own !== undefined) subnets[family].add(own);
  }
  const others: OverlayNode[] = [];
  for (const node of nodes) {
    const admitted: { ipv4?: OverlayEnd; ipv6?: OverlayEnd } = {};
    for (const family of families) {
      const own = self[family];
      const given = node[family] as OverlayEnd | null | undefined;
      if (typeof given !== 'object' || given === null || own === undefined || !network.families.includes(family) || isSame(own, given)) continue; // prettier-ignore
      let verdict = verdicts.get(given);
      if (verdict === undefined) verdicts.set(given, (verdict = judge(family, given, whole[family])));
      const why = 'why' in verdict ? verdict.why : contradiction(verdict, own, remotes[family], subnets[family]);
      if (why === undefined) admitted[family] = (verdict as { end: OverlayEnd }).end;
      else if (problems.length < MAX_PROBLEMS)
        problems.push(
          new OverlayError('ERR_OVERLAY_NODE', `the node of ${told(given.subnet)} is passed over: ${why}`, { about: told(given.subnet) }),
        );
    }
    if (admitted.ipv4 !== undefined || admitted.ipv6 !== undefined) others.push(admitted);
  }
  return { others, problems };
}

/** Of this node itself. */
function isSame(own: OverlayEnd, other: OverlayEnd): boolean {
  return own.subnet === other.subnet && own.publicIp === other.publicIp && own.vtepMac === other.vtepMac;
}

function prefixOf(text: string | undefined): Subnet | undefined {
  return text === undefined ? undefined : parseSubnet(text);
}

/** Text of a stranger's, fit to be printed. */
function told(text: unknown): string {
  return JSON.stringify(String(text).slice(0, 80)).slice(1, -1);
}

/** Whether it could be true at all. */
function judge(family: Family, end: OverlayEnd, network: Subnet | undefined): Verdict {
  if (![end.subnet, end.publicIp, end.vtepMac].every((one: unknown) => typeof one === 'string'))
    return { why: 'that is not how a node is told' };
  const subnet = parseSubnet(end.subnet);
  if (subnet?.family !== family || subnet.text !== end.subnet) return { why: `that is no ${family} prefix` };
  if (network !== undefined && !(holds(network, subnet) && subnet.length > network.length)) return { why: `it is not in ${network.text}` };
  if (subnet.length < SHORTEST[family]) return { why: `it is wider than any node's` };
  if (!v.is(interfaceMac, end.vtepMac)) return { why: `its VTEP's MAC is ${told(end.vtepMac)}, which no interface can have` };
  const address = parseAddress(family, end.publicIp);
  if (address === undefined || !isUnicast(family, address))
    return { why: `its public address is ${told(end.publicIp)}, which no node can have` };
  if (network !== undefined && holds(network, { family, address }))
    return { why: `its public address ${end.publicIp} is on the overlay itself` };
  return { end: { subnet: subnet.text, publicIp: formatAddress(family, address), vtepMac: end.vtepMac.toLowerCase() }, subnet };
}

/** Whether it can be true beside what was believed before it. */
function contradiction(
  { end, subnet }: Extract<Verdict, { end: OverlayEnd }>,
  own: OverlayEnd,
  remotes: Map<string, string>,
  subnets: Subnets,
): string | undefined {
  if (end.publicIp === own.publicIp) return `it has this node's public address ${own.publicIp}`;
  if (end.vtepMac === own.vtepMac) return `it has this node's VTEP MAC ${own.vtepMac}`;
  const remote = remotes.get(end.vtepMac);
  if (remote !== undefined && remote !== end.publicIp) return `its VTEP MAC ${end.vtepMac} is that of the node at ${remote}`;
  const taken = subnets.add(subnet);
  if (taken !== undefined) return `it overlaps ${taken.text}, which is another's`;
  remotes.set(end.vtepMac, end.publicIp);
  return undefined;
}

/** A default route, or half of one, is nobody's pods. */
const SHORTEST = { ipv4: 8, ipv6: 16 };

const notUnicast = {
  ipv4: ['0.0.0.0/8', '127.0.0.0/8', '224.0.0.0/3'].map((text) => parseSubnet(text)!),
  ipv6: ['::/127', '::ffff:0.0.0.0/96', 'ff00::/8'].map((text) => parseSubnet(text)!),
};
function isUnicast(family: Family, address: bigint): boolean {
  return !notUnicast[family].some((prefix) => holds(prefix, { family, address }));
}
