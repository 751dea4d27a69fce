// The table of a pod's localhost while it is put together: its names, and the steps that several chains have in common.
import type { LocalhostCounter } from '../bpf/localhost.js';
import type { ConfigGuest, LocalhostConfig } from '../localhost.js';
import { parseIp } from '../text.js';
import { ether, ipv4, joined, port, protocol } from './data.js';
import type { NftChange, NftElement, NftHook } from './message.js';
import type { NftType } from './numbers.js';
import {
  type Steps,
  compare,
  count,
  forward,
  forwardTo,
  goTo,
  isIn,
  load,
  look,
  masked,
  meta,
  put,
  remember,
  setMeta,
  store,
} from './rules.js';

export const FAMILY = 'netdev';
export function tableName(link: number): string {
  return `podtap_${link}`;
}

export const LOOPBACK = 1; // ifindex
const HOST = 0; // PACKET_HOST, uapi/linux/if_packet.h
const OTHERHOST = 3; // PACKET_OTHERHOST

/** The most elements that what remembers flows has: one guest's, or the pod's. */
export const FLOWS = 65_536;
const FRAGMENTS = 4096;

/**
 * Seconds. TCP's long one is what RFC 5382 (REQ-5) asks of a NAT, UDP's is more than the two minutes of RFC 4787 (REQ-5); short: a connection
 * that is not answered yet, or that ends.
 */
const TIMES = { long: 7440, short: 120, udp: 180, icmp: 60, fragment: 30 } as const;

/** In elements of one message, which can be 64 KiB long. */
const CHUNK = 400;

/** By which podtap knows its own rules: a comment, as nft(8) keeps it (NFTNL_UDATA_RULE_COMMENT). */
const comment = (text: string): Uint8Array => Uint8Array.of(0, text.length + 1, ...new TextEncoder().encode(`${text}\0`));
const mark = comment('podtap');
/** undefined: it is none of podtap's. Of a rule that counts: as what. */
export function ownComment(userdata: Uint8Array): { readonly counter?: string } | undefined {
  if (userdata[0] !== 0 || userdata[1] !== userdata.length - 2) return undefined;
  const found = /^podtap(?: (\w+))?\0$/.exec(new TextDecoder().decode(userdata.subarray(2)));
  return found === null ? undefined : found[1] === undefined ? {} : { counter: found[1] };
}

/** Of notes, which nft(8) passes over. */
export const NOTE = 0x70;
const LONGEST_NOTE = 250; // of the 256 bytes that the kernel keeps with a rule (NFT_USERDATA_MAXLEN)

export const number = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);

/** An address so far behind another one. */
export function behind(address: string, distance: number): string {
  const bytes = parseIp(address)!;
  const sum = new DataView(bytes.buffer).getUint32(0) + distance;
  return [24, 16, 8, 0].map((shift) => (sum >>> shift) & 0xff).join('.');
}

/** What must be known of an interface. */
export interface Device {
  readonly name: string;
  readonly mtu: number;
}

export class Plan {
  readonly changes: NftChange[] = [];
  readonly #at: { readonly family: typeof FAMILY; readonly table: string };
  /** The pod's address, as the guests have it. */
  readonly pod: string;
  /** 127.0.0.1 or the guest that owns the port; the pod's own address, as the source of a process in it. */
  readonly local: string;
  readonly own: string;
  /** Guests share the address. */
  readonly several: boolean;
  /** Some port is owned: then guests are reached by localhost as well. */
  readonly owned: boolean;

  constructor(
    readonly config: LocalhostConfig,
    readonly device: (ifindex: number) => Device,
  ) {
    this.#at = { family: FAMILY, table: tableName(config.link) };
    this.pod = config.addresses[0]!;
    this.local = behind(config.aliases, 2);
    this.own = behind(config.aliases, 3);
    this.several = config.guests.length > 1;
    this.owned = config.guests.some(({ ports }) => ports.length > 0);
  }

  chain(name: string, hook?: NftHook): void {
    this.changes.push({ add: { chain: { ...this.#at, name, ...(hook && { hook }) } } });
  }
  rule(chain: string, ...steps: readonly Steps[]): void {
    this.changes.push({ add: { rule: { ...this.#at, chain, expressions: steps.flat(), userdata: mark } } });
  }
  /** One that counts what becomes of frames, by a name that the eBPF backend has for the same; the last step is what becomes of them. */
  counted(counter: LocalhostCounter, chain: string, ...steps: readonly Steps[]): void {
    const all = steps.flat();
    const expressions = [...all.slice(0, -1), count, all.at(-1)!];
    this.changes.push({ add: { rule: { ...this.#at, chain, expressions, userdata: comment(`podtap ${counter}`) } } });
  }
  /** Bytes in rules that do nothing. */
  note(chain: string, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += LONGEST_NOTE) {
      const part = bytes.subarray(at, at + LONGEST_NOTE);
      this.changes.push({ add: { rule: { ...this.#at, chain, userdata: Uint8Array.of(NOTE, part.length, ...part) } } });
    }
  }
  set(
    name: string,
    key: readonly NftType[],
    elements: readonly NftElement[],
    more: { readonly data?: readonly NftType[]; readonly flags?: readonly string[] } = {},
  ): void {
    // prettier-ignore
    this.changes.push({ add: { set: { ...this.#at, name, key, ...more } } });
    for (let at = 0; at < elements.length; at += CHUNK)
      this.changes.push({ add: { elements: { ...this.#at, set: name, elements: elements.slice(at, at + CHUNK) } } });
  }
  /** One that rules fill. */
  memory(name: string, key: readonly NftType[], data?: readonly NftType[]): void {
    const size = name === 'fragments' ? FRAGMENTS : FLOWS;
    this.changes.push({ add: { set: { ...this.#at, name, key, ...(data && { data }), flags: ['timeout', 'dynamic'], size } } });
  }

  /** What a frame that podtap sends to a guest has for its addresses. */
  toGuest(device: number): Steps {
    const macs = Uint8Array.of(...ether(this.config.mac), ...ether(this.config.aliasMac));
    return [put(12, macs), store(12, 'link', 0, 12), forward(device)];
  }
  /** Whether the gateway that the guests were given is nobody: then it is the pod's stack that knows the neighbours. */
  get isNobodysGateway(): boolean {
    const { gateway, aliasMac, podHasAddresses } = this.config;
    return podHasAddresses && gateway?.mac === aliasMac;
  }
  /** Out by the pod's interface, as something that comes from a guest. */
  get toLink(): Steps {
    return this.isNobodysGateway ? [goTo('away')] : this.#toLink;
  }
  get #toLink(): Steps {
    return [...passing, put(15, number(this.config.link)), forward(15)];
  }
  /** What is sent to nobody is for whom it is addressed to: `fwd ip` asks for the neighbour, and takes one off the TTL. */
  awayChain(): void {
    if (!this.isNobodysGateway) return;
    const nobody: Steps = [load(0, 'link', 0, 6), compare(0, '==', ether(this.config.aliasMac))];
    this.chain('away');
    this.rule('away', isIp, nobody, passing, destination(9), [put(15, number(this.config.link)), forwardTo(15, 9)]);
    this.rule('away', this.#toLink);
  }
  /** What the datapath makes of it, where that is a bridge; redirect's filters have let it through. Others than the first guest are no ports. */
  toWorld({ tap }: ConfigGuest): Steps | undefined {
    return this.config.podHasAddresses || tap !== this.config.guests[0]!.tap ? this.toLink : undefined;
  }
}

// ------------------------------------------------------------------ steps. Registers 12 to 15 are for what is sent on.

/** Marked as nothing of the pod's own, which is HOST: that chain which remembers the pod's flows does not look at it. */
const passing: Steps = [put(15, Uint8Array.of(OTHERHOST)), setMeta('pkttype', 15)];

/** To the pod's own stack, as if it came in by the loopback: where a frame of another's MAC would be dropped. */
export const toLoopback: Steps = [
  put(15, Uint8Array.of(HOST)),
  setMeta('pkttype', 15),
  put(12, new Uint8Array(12)),
  store(12, 'link', 0, 12),
  put(15, number(LOOPBACK)),
  forward(15),
];

const ofProtocol = (number: number): Steps => [meta(0, 'protocol'), compare(0, '==', port(number))];
export const isIp = ofProtocol(0x0800);
export const isArp = ofProtocol(0x0806);
export const isNotIp: Steps = [meta(0, 'protocol'), compare(0, '!=', port(0x0800))];
export const isOwnPackets: Steps = [meta(0, 'pkttype'), compare(0, '==', Uint8Array.of(HOST))];

export const source = (to: number): Steps => [load(to, 'network', 12, 4)];
export const destination = (to: number): Steps => [load(to, 'network', 16, 4)];
export const protocolOf = (to: number): Steps => [meta(to, 'l4proto')];
export const sourcePort = (to: number): Steps => [load(to, 'transport', 0, 2)];
export const destinationPort = (to: number): Steps => [load(to, 'transport', 2, 2)];
export const is = (kind: string): Steps => [meta(11, 'l4proto'), compare(11, '==', protocol(kind))];

export const fromAddress = (address: string): Steps => [...source(11), compare(11, '==', ipv4(address))];
export const toAddress = (address: string): Steps => [...destination(11), compare(11, '==', ipv4(address))];
/** The address so far behind the beginning of the network header is of a prefix. */
export function among(offset: number, prefix: string, length: number): Steps {
  const mask = new Uint8Array(4).map((_, index) => (0xff00 >> Math.min(8, Math.max(0, length - 8 * index))) & 0xff);
  return [load(10, 'network', offset, 4), masked(10, 11, mask), compare(11, '==', ipv4(prefix))];
}
export const towards = (prefix: string, length: number): Steps => among(16, prefix, length);

export const setSource = (from: number): Steps => [store(from, 'network', 12, 4, { at: 10, l4: true })];
export const setDestination = (from: number): Steps => [store(from, 'network', 16, 4, { at: 10, l4: true })];
export const setSourcePort = (from: number): Steps => [store(from, 'transport', 0, 2, { l4: true })];
export const setDestinationPort = (from: number): Steps => [store(from, 'transport', 2, 2, { l4: true })];
export const setAddresses = (from: string, to: string): Steps => [
  put(12, ipv4(from)),
  ...setSource(12),
  put(13, ipv4(to)),
  ...setDestination(13),
];

// IPv6, of which the pod's own flows are remembered.

export const isIpv6 = ofProtocol(0x86dd);
export const flowKey6: readonly NftType[] = ['inet_proto', 'ipv6_addr', 'inet_service', 'ipv6_addr', 'inet_service'];
const SOURCE6 = 8;
const DESTINATION6 = 24;
export const outgoing6: Steps = [meta(0, 'l4proto'), load(1, 'network', DESTINATION6, 16), load(5, 'transport', 2, 2), load(6, 'network', SOURCE6, 16), load(10, 'transport', 0, 2)]; // prettier-ignore
export const incoming6: Steps = [meta(0, 'l4proto'), load(1, 'network', SOURCE6, 16), load(5, 'transport', 0, 2), load(6, 'network', DESTINATION6, 16), load(10, 'transport', 2, 2)]; // prettier-ignore
const ICMPV6 = Uint8Array.of(58);
const isIcmp6: Steps = [...isIpv6, meta(11, 'l4proto'), compare(11, '==', ICMPV6), load(11, 'transport', 0, 1)];
export const isAdvertisement: Steps = [...isIcmp6, compare(11, '==', Uint8Array.of(136))]; // of a neighbour, RFC 4861
/** The flow of the packet that an error of ICMPv6 quotes. */
export const quotedFlow6: Steps = [...isIcmp6, isIn('errors6', 11), load(0, 'transport', 8 + 6, 1), load(1, 'transport', 8 + DESTINATION6, 16), load(5, 'transport', 8 + 42, 2), load(6, 'transport', 8 + SOURCE6, 16), load(10, 'transport', 8 + 40, 2)]; // prettier-ignore

// Fragments: the first has the ports.

/** Not the first, and so without ports. */
export const isLaterFragment: Steps = [load(10, 'network', 6, 2), masked(10, 11, port(0x1fff)), compare(11, '!=', port(0))];
/** The first of several. */
export const isFirstFragment: Steps = [load(10, 'network', 6, 2), masked(10, 11, port(0x3fff)), compare(11, '==', port(0x2000))];
/** What its datagram is known by, from register 5. */
const FRAGMENT = 5;
const fragment: Steps = [load(5, 'network', 12, 4), load(6, 'network', 16, 4), load(7, 'network', 4, 2), load(8, 'network', 9, 1)];
export const fragmentKey: readonly NftType[] = ['ipv4_addr', 'ipv4_addr', 'inet_service', 'inet_proto'];
export const knownFragment = (map: string): Steps => [...fragment, look(map, FRAGMENT, 9)];
export const isKnownFragment = (set: string): Steps => [...fragment, isIn(set, FRAGMENT)];
/** Where its later fragments go: what register 9 has. */
export const rememberFragment = (map: string): Steps => [...fragment, remember('update', map, FRAGMENT, TIMES.fragment, 9)];
export const rememberFragmentIn = (set: string): Steps => [...fragment, remember('update', set, FRAGMENT, TIMES.fragment)];

// Flows: protocol, address and port of the other end, own address and port. ICMP's echo has its number for the own port.

export const flowKey: readonly NftType[] = ['inet_proto', 'ipv4_addr', 'inet_service', 'ipv4_addr', 'inet_service'];
export const outgoing: Steps = [...protocolOf(0), ...destination(1), ...destinationPort(2), ...source(3), ...sourcePort(4)];
export const incoming: Steps = [...protocolOf(0), ...source(1), ...sourcePort(2), ...destination(3), ...destinationPort(4)];
const ofType = (type: number): Steps => [...is('icmp'), load(11, 'transport', 0, 1), compare(11, '==', Uint8Array.of(type))];
/** Of either kind of message; ICMP's checksum follows. */
export const setEchoNumber = (from: number): Steps => [store(from, 'transport', 4, 2, { at: 2 })];
const ECHO = 8;
const ECHO_REPLY = 0;
export const echoRequest: Steps = [
  ...ofType(ECHO),
  ...protocolOf(0),
  ...destination(1),
  put(2, port(0)),
  ...source(3),
  load(4, 'transport', 4, 2),
];
export const echoReply: Steps = [
  ...ofType(ECHO_REPLY),
  ...protocolOf(0),
  ...source(1),
  put(2, port(0)),
  ...destination(3),
  load(4, 'transport', 4, 2),
];

// ICMP's errors quote the packet that they are about, behind 8 bytes of their own. Its header has no options, or it is passed over.

const QUOTED = 8;
const HEADER = 20;
export const isError: Steps = [
  ...is('icmp'),
  load(11, 'transport', 0, 1),
  isIn('errors', 11),
  load(11, 'transport', QUOTED, 1),
  compare(11, '==', Uint8Array.of(0x45)),
];
export const quoted = {
  source: (to: number): Steps => [load(to, 'transport', QUOTED + 12, 4)],
  destination: (to: number): Steps => [load(to, 'transport', QUOTED + 16, 4)],
  protocol: (to: number): Steps => [load(to, 'transport', QUOTED + 9, 1)],
  sourcePort: (to: number): Steps => [load(to, 'transport', QUOTED + HEADER, 2)],
  destinationPort: (to: number): Steps => [load(to, 'transport', QUOTED + HEADER + 2, 2)],
  /** The quoted header's checksum follows, and so ICMP's stays as it is. */
  setSource: (from: number): Steps => [store(from, 'transport', QUOTED + 12, 4, { at: QUOTED + 10 })],
  setDestination: (from: number): Steps => [store(from, 'transport', QUOTED + 16, 4, { at: QUOTED + 10 })],
  /** ICMP's checksum follows; the quoted one is not looked at by anybody. */
  setSourcePort: (from: number): Steps => [store(from, 'transport', QUOTED + HEADER, 2, { at: 2 })],
  setDestinationPort: (from: number): Steps => [store(from, 'transport', QUOTED + HEADER + 2, 2, { at: 2 })],
};
/** Of the packet that it quotes: the flow of one that went out. */
export const quotedFlow: Steps = [
  ...quoted.protocol(0),
  ...quoted.destination(1),
  ...quoted.destinationPort(2),
  ...quoted.source(3),
  ...quoted.sourcePort(4),
];

export const SHORT = TIMES.short;
export const LONG = TIMES.long;

/**
 * How long a flow is remembered behind a packet, and what its time begins anew with. A pure acknowledgement changes nothing of a time: the last
 * one of a connection comes behind its end.
 */
export const times: readonly (readonly [when: Steps, op: 'add' | 'update', seconds: number])[] = (() => {
  const flags = (mask: number): Steps => [load(10, 'transport', 13, 1), masked(10, 11, Uint8Array.of(mask)), compare(11, '!=', Uint8Array.of(0))]; // prettier-ignore
  const FIN_SYN_RST = 0x07;
  const PSH = 0x08;
  return [
    [[...is('tcp'), ...flags(FIN_SYN_RST)], 'update', TIMES.short],
    [[...is('tcp'), ...flags(PSH)], 'update', TIMES.long],
    [is('tcp'), 'add', TIMES.short],
    [is('udp'), 'update', TIMES.udp],
  ] as const;
})();
export const echoTimes = [[is('icmp'), 'update', TIMES.icmp]] as const;

/** A flow is remembered, or its time begins anew, and then goes on; where there is no room for it, nothing of that. `key` is loaded from register 0. */
export function remembering(set: string, key: Steps, then: Steps): readonly Steps[] {
  return times.map(([when, op, seconds]) => [...when, ...key, remember(op, set, 0, seconds), ...then]);
}
export const rememberingEcho = (set: string, then: Steps): Steps => [...echoRequest, remember('update', set, 0, TIMES.icmp), ...then];

/** The key of maps of services: address, protocol and port. And what they have for it: address and port. */
export const serviceKey: readonly NftType[] = ['ipv4_addr', 'inet_proto', 'inet_service'];
export const serviceData: readonly NftType[] = ['ipv4_addr', 'inet_service'];
export const endpoint = (address: string, kind: string, at: number): Uint8Array => joined(ipv4(address), protocol(kind), port(at));
