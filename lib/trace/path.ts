// tracePath: the question, the walk, and the answer as values, text and JSON.
import * as v from 'valibot';
import { array, boolean, check, instance, integer, ip, oneOf, optional, options, splitCidr, text, u16, u32 } from '../check.js';
import { invalidArgument } from '../errors.js';
import type { GuestNetwork, GuestRoute } from '../guest/network.js';
import { complete } from '../guest/network.js';
import { Netns } from '../kernel/netns.js';
import { ETH_P_IP, ETH_P_IPV6, type Packet } from '../wire/frame.js';
import type { Decision, Hop, Loss, Undecided } from './hop.js';
import { Trail } from './hop.js';
import { isInside, lookUp } from './look-up.js';
import { type Guest, Space, World } from './space.js';
import { plain, tell } from './text.js';
import { type Outcome, Walker } from './walk.js';

export type TraceNamespaces = Readonly<Record<string, Netns>> | readonly Netns[];

export interface TraceOptions {
  /** All that the packet might pass, by the names that the answer shall call them; of a list: the name of ip-netns(8), else `netns-INODE`. */
  readonly namespaces: TraceNamespaces;
  /** Guests behind a TAP or macvtap, by name: what they were told (`plumbing.guest`, or defineGuest()), and where. Without that it is not known what a guest does. */
  readonly guests?: Readonly<Record<string, { readonly namespace: string | Netns; readonly network: GuestNetwork }>>;
  /** A namespace, or a guest. */
  readonly from: string | Netns;
  /** An address. */
  readonly to: string;
  /** Default 'icmp': an echo request, as ping sends it. */
  readonly protocol?: 'icmp' | 'tcp' | 'udp';
  /** Of TCP and UDP. Without a source the kernel would take one of its own, and what depends on it is not told. */
  readonly ports?: { readonly source?: number; readonly destination: number };
  /** The source address. Default: what the sender's routes say. */
  readonly source?: string;
  /** The mark of the packet (SO_MARK): it stays within its namespace, unless a rule changes it. */
  readonly mark?: number;
  /**
   * As rules that ask for the state of its connection see it. Default 'new': the first packet. An 'established' one is translated as the
   * kernel's table of connections has it, for which both ports must be given.
   */
  readonly connection?: 'new' | 'established';
  /** TTL or hop limit. Default: the sender's (64, mostly). */
  readonly ttl?: number;
  /** Of the IP packet, in bytes. Default: ping's, 84, and of IPv6 104. */
  readonly length?: number;
  /** IPv4: not to be fragmented. Default true, as Linux sends what it may find the path's MTU for. */
  readonly dontFragment?: boolean;
}

export interface PathTrace {
  readonly from: string;
  readonly to: string;
  readonly packet: Packet;
  /** It arrives, and nothing on its way was left undecided. */
  readonly delivered: boolean;
  /** What decides on its way and podtap does not evaluate: `at`, `loss` and `hops` behind it hold only if it lets the packet pass as it is. */
  readonly undecided: readonly Undecided[];
  /** Where it arrives, or would. */
  readonly at?: { readonly namespace: string; readonly device: string; readonly guest?: string };
  /** Where it is lost, and why. */
  readonly loss?: Loss;
  /** Every place where a capture sees it, in order. */
  readonly hops: readonly Hop[];
  /** What was decided behind the last of them. */
  readonly because: readonly Decision[];
  /** What could not be looked at, and how it was taken. */
  readonly notes: readonly string[];
  /** One sentence. */
  readonly summary: string;
  /** Hop by hop, as tcpdump -e would tell of it, with what decided in between. */
  toString(): string;
  /** The same without what JSON cannot hold: big integers as decimal digits, bytes as hexadecimal ones. */
  toJSON(): object;
}

const netns = instance(Netns as never, 'a Netns from Netns.open() and its kin') as v.GenericSchema<unknown, Netns>;
const place = v.union([text, netns], 'must be the name of a namespace, or one of the namespaces');
const anyObject = v.custom<GuestNetwork>((value) => typeof value === 'object' && value !== null, 'must be what a guest was told: plumbing.guest, or defineGuest()'); // prettier-ignore
const schema = options({
  namespaces: v.union([array(netns), v.record(v.string(), netns)], 'must be namespaces: an object of Netns by name, or an array of Netns'),
  guests: optional(v.record(v.string(), options({ namespace: place, network: anyObject }), 'must be guests by name')),
  from: place,
  to: ip,
  protocol: optional(oneOf('icmp', 'tcp', 'udp')),
  ports: optional(options({ source: optional(u16), destination: u16 })),
  source: optional(ip),
  mark: optional(u32),
  connection: optional(oneOf('new', 'established')),
  ttl: optional(integer(1, 255)),
  length: optional(integer(28, 65535)),
  dontFragment: optional(boolean),
});

/**
 * Follows a packet through namespaces, from kernel state and the kernel's own look-ups, without sending one: where it is seen, with
 * which MACs, addresses and TTL, what decided at each step (routes, neighbours, forwarding entries, filters, podtap's eBPF programs with
 * the entries of their maps, rules of nftables, with what they rewrite, the table of connections, VXLAN), and where it arrives; or where
 * it is lost, and why. What is done by hand with `ip route get`, `ip neigh`, `bridge fdb`, `tc filter show`, `nft list ruleset`,
 * `bpftool map lookup`, `conntrack -G`, `ss` and tcpdump in one namespace after the other.
 *
 * What decides and it cannot evaluate (others' eBPF programs, those of another version of podtap, tables of the old iptables, filters
 * other than u32 and matchall, rules that depend on counts, chance, users or what is inside the packet) stands in `undecided`, and then
 * `delivered` is never true. Nothing is changed, and nothing is sent.
 *
 * @throws TypeError ERR_INVALID_ARG_VALUE: there is no such namespace or guest; NetlinkError; PodtapError
 * @example console.log(String(await tracePath({ namespaces: { pod, node }, from: 'pod', to: '10.244.3.3' })))
 */
export async function tracePath(settings: TraceOptions): Promise<PathTrace> {
  const given = check<TraceOptions>(schema, settings, 'tracePath');
  const world = worldOf(given);
  const { from, to, connection } = given;
  const walker = new Walker(world, connection !== 'established');
  const space = spaceOf(world, from);
  const guest = typeof from === 'string' ? world.guests.find(({ name }) => name === from) : undefined;
  if (space !== undefined && guest !== undefined)
    throw invalidArgument('ERR_INVALID_ARG_VALUE', `tracePath: '${guest.name}' is the name of a namespace and of a guest`);
  if (space === undefined && guest === undefined)
    throw invalidArgument('ERR_INVALID_ARG_VALUE', `tracePath: 'from' must be one of ${[...world.spaces.keys(), ...world.guests.map(({ name }) => name)].join(', ')}; received '${typeof from === 'string' ? from : 'a Netns that is none of them'}'`); // prettier-ignore
  if (given.source !== undefined && given.source.includes(':') !== to.includes(':'))
    throw invalidArgument('ERR_INVALID_ARG_VALUE', "tracePath: 'source' must be of the same family as 'to'");
  const { packet, outcomes } = guest === undefined ? await fromSpace(walker, space!, given) : await fromGuest(walker, guest, given);
  return answer(guest?.name ?? space!.name, to, packet, best(outcomes));
}

function worldOf({ namespaces, guests = {} }: TraceOptions): World {
  const named = Array.isArray(namespaces) ? (namespaces as readonly Netns[]).map((one) => [/^\/run\/netns\/(.*)$/.exec(one.path ?? '')?.[1] ?? `netns-${one.id.inode}`, one] as const) : Object.entries(namespaces); // prettier-ignore
  if (named.length === 0) throw invalidArgument('ERR_INVALID_ARG_VALUE', "tracePath: 'namespaces' must name one at least");
  const spaces = named.map(([name, one]) => new Space(name, one));
  const known = new World(spaces, []);
  const all = Object.entries(guests).map(([name, { namespace, network }]): Guest => {
    const space = spaceOf(known, namespace);
    if (space === undefined) throw invalidArgument('ERR_INVALID_ARG_VALUE', `tracePath: the namespace of the guest '${name}' is none of 'namespaces'`); // prettier-ignore
    return { name, space, network: complete(network, `tracePath: guest '${name}'`) };
  });
  return new World(spaces, all);
}

function spaceOf(world: World, ref: string | Netns): Space | undefined {
  return typeof ref === 'string' ? world.spaces.get(ref) : [...world.spaces.values()].find((space) => space.netns === ref || (ref.id.cookie !== undefined && space.netns.id.cookie === ref.id.cookie)); // prettier-ignore
}

const ECHO_REQUEST = 8;
const ECHO_REQUEST_6 = 128;
/** As ping(8): 56 bytes behind the headers of ICMP and IP. */
const [PING, PING_6] = [84, 104];

function packetOf({ to, protocol = 'icmp', ports, dontFragment = true, length }: TraceOptions, source: string, ttl: number): Packet {
  const ipv6 = to.includes(':');
  return {
    source,
    destination: to,
    ttl,
    protocol: protocol === 'icmp' && ipv6 ? 'icmpv6' : protocol,
    length: length ?? (ipv6 ? PING_6 : PING),
    ...(!ipv6 && { dontFragment }),
    ...(protocol === 'icmp' && { icmp: { type: ipv6 ? ECHO_REQUEST_6 : ECHO_REQUEST, code: 0 } }),
    ...(protocol !== 'icmp' && ports !== undefined && { ports: { source: 0, ...ports } }),
  };
}

interface Sent {
  readonly packet: Packet;
  readonly outcomes: readonly Outcome[];
}

async function fromSpace(walker: Walker, space: Space, given: TraceOptions): Promise<Sent> {
  const { to, source, mark, ttl } = given;
  const ipv6 = to.includes(':');
  const any = ipv6 ? '::' : '0.0.0.0';
  const draft = packetOf(given, source ?? any, ttl ?? (await walker.ttl(space, ipv6)));
  const way = await lookUp(space, { packet: draft, anySource: source === undefined, ...(mark !== undefined && { mark }) });
  if (!('route' in way)) {
    const loss: Loss = { code: way.code, namespace: space.name, reason: way.reason };
    return { packet: draft, outcomes: [{ end: 'lost', loss, trail: new Trail() }] };
  }
  const packet = { ...draft, source: source ?? way.route.src ?? any };
  return {
    packet,
    outcomes: await walker.output(
      space,
      packet,
      way.route,
      new Trail({ because: [way.decision], beside: mark === undefined ? {} : { mark } }),
    ),
  };
}

/** As a guest does it that was told this: the most specific of its routes, the table of neighbours, and else a question. */
async function fromGuest(walker: Walker, guest: Guest, given: TraceOptions): Promise<Sent> {
  const { name, space, network } = guest;
  const { to } = given;
  const ipv6 = to.includes(':');
  const own = network.addresses.filter(({ address }) => address.includes(':') === ipv6);
  const onLink = own.find(({ address }) => isInside(to, address));
  const route = onLink !== undefined ? undefined : mostSpecific(network.routes, to);
  const chosen = given.source ?? route?.src ?? splitCidr((onLink ?? own[0])?.address ?? (ipv6 ? '::' : '0.0.0.0')).address;
  const packet = packetOf(given, chosen, given.ttl ?? 64);
  const fail = (loss: Omit<Loss, 'namespace' | 'device'>): Sent => ({ packet, outcomes: [{ end: 'lost', trail: new Trail(), loss: { ...loss, namespace: space.name, device: network.tap } }] }); // prettier-ignore
  if (own.length === 0 || (onLink === undefined && route === undefined)) return fail({ code: 'NO_ROUTE', reason: `${name} was told no way to ${to}` }); // prettier-ignore
  if (route?.type !== undefined) return fail({ code: route.type === 'blackhole' ? 'BLACKHOLE' : route.type === 'prohibit' ? 'PROHIBITED' : 'UNREACHABLE', reason: `${name} was told that ${route.dst} is of the type ${route.type}` }); // prettier-ignore
  const link = await space.link(network.tap);
  if (link === undefined) return fail({ code: 'LINK_GONE', reason: `${network.tap}, behind which ${name} is, is gone` });
  const mtu = Math.min(route?.mtu ?? network.mtu, network.mtu);
  if (packet.length > mtu) return fail({ code: 'MTU_EXCEEDED', reason: `${name} was told an MTU of ${mtu}, and does not send a packet of ${packet.length} bytes` }); // prettier-ignore
  const via = route?.via ?? route?.nexthops?.[0]?.via;
  const said = route === undefined ? `${to} is in ${onLink!.address}, on its link` : `${route.dst.replace(/^(0\.0\.0\.0|::)\/0$/, 'default')}${via === undefined ? ', on its link' : ` via ${via}`}`; // prettier-ignore
  const trail = new Trail().decide({ by: 'route', table: 0, route: { dst: route?.dst ?? onLink!.address, ...(via !== undefined && { via }) }, text: `${name} was told: ${said}` }); // prettier-ignore
  const at = { space, link };
  const send = (frame: Parameters<Walker['receive']>[1], on: Trail): Promise<readonly Outcome[]> => (link.kind === 'macvtap' ? walker.transmit(at, frame, on) : walker.receive(at, frame, on)); // prettier-ignore
  const next = via ?? to;
  const entry = network.neighbors.find(({ address, permanent }) => address === next && permanent === true);
  const found = entry !== undefined
    ? { mac: entry.mac, trail: trail.decide({ by: 'neighbor', address: next, mac: entry.mac, text: `${name} was told: ${next} is at ${entry.mac}` }) }
    : await walker.askFor(at, network.mac, next, chosen, trail, `${name} asks for ${next}`, (frame) => send(frame, new Trail())); // prettier-ignore
  if ('end' in found) return { packet, outcomes: [found] };
  const frame = { source: network.mac, destination: found.mac, type: ipv6 ? ETH_P_IPV6 : ETH_P_IP, packet };
  return { packet, outcomes: await send(frame, found.trail) };
}

function mostSpecific(routes: readonly GuestRoute[], to: string): GuestRoute | undefined {
  const length = ({ dst }: GuestRoute): number => (dst === 'default' ? 0 : splitCidr(dst).length);
  const [best] = routes
    .filter(({ dst, via }) => isInside(to, dst === 'default' ? (((via ?? to).includes(':') ? '::/0' : '0.0.0.0/0')) : dst))
    .sort((a, b) => length(b) - length(a) || (a.metric ?? 0) - (b.metric ?? 0)); // prettier-ignore
  return best;
}

/** Of the ways that a flooded frame takes: that on which it arrives; else that on which it came furthest among those that were meant. */
function best(outcomes: readonly Outcome[]): Outcome {
  const rank = (outcome: Outcome): number => {
    if (outcome.end === 'delivered')
      return outcome.guest === undefined && outcome.trail.notes.length + outcome.trail.undecided.length > 0 ? 1 : 0;
    if (outcome.end === 'heard') return 5;
    return ['NOT_ADDRESSED', 'NO_CARRIER', 'LINK_DOWN', 'OUT_OF_SIGHT'].includes(outcome.loss.code) ? 4 : 2;
  };
  return [...outcomes].sort((a, b) => rank(a) - rank(b) || b.trail.hops.length - a.trail.hops.length)[0]!;
}

function answer(from: string, to: string, packet: Packet, outcome: Outcome): PathTrace {
  const { hops, because, notes, undecided } = outcome.trail;
  const loss = outcome.end === 'lost' ? outcome.loss : undefined;
  const at = outcome.end !== 'delivered' ? undefined : { namespace: outcome.namespace, device: outcome.device, ...(outcome.guest !== undefined && { guest: outcome.guest }) }; // prettier-ignore
  const sure = undecided.length === 0;
  const end = loss !== undefined
    ? `${sure ? 'is' : 'would be'} lost in ${loss.namespace}: ${loss.reason}`
    : `${sure ? 'reaches' : 'would reach'} ${at?.guest ?? at?.namespace} by ${at?.device}, seen ${hops.length} times on its way`; // prettier-ignore
  const summary = `${packet.source} > ${to} ${end}${sure ? '' : `; but ${undecided.map(({ text }) => text).join('; ')}`}.`;
  const values = { from, to, packet, delivered: loss === undefined && sure, undecided, ...(at !== undefined && { at }), ...(loss !== undefined && { loss }), hops, because, notes, summary }; // prettier-ignore
  return {
    ...values,
    toString: () => tell(values),
    toJSON: () => plain(values) as object,
  };
}
