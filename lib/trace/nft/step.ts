// One expression of a rule of nftables: net/netfilter/nft_*.c, each by its name.
import { splitCidr } from '../../check.js';
import type { NftRule } from '../../kernel/nft.js';
import { ETH_P_IPV6 } from '../../wire/frame.js';
import type { Link } from '../../wire/link.js';
import { ifname } from '../../wire/nft/data.js';
import type { NftData, NftExpression } from '../../wire/nft/expression.js';
import { formatIp, parseIp } from '../../wire/text.js';
import { type Datum, type Truth, compare, equal, host16, host32, isKnown, known, not, number32, unknownOf } from './datum.js';
import { fib } from './fib.js';
import { isInside } from '../look-up.js';
import type { Evaluation } from '../nft.js';
import { between, find } from './sets.js';
import { matchesXt, natRange } from './xt.js';

/** What a rule decides. */
export interface Step {
  readonly code: string;
  readonly chain?: string;
  readonly ifindex?: number;
  readonly icmp?: string;
}
/** On to the next expression; out of this rule; what decides, and cannot be told; or a decision. */
export type Stepped = 'on' | 'break' | { readonly why: string } | Step;

/** Verdicts go there. */
const VERDICT = 0;
/** What changes nothing of a packet's way. */
const idle = new Set(['counter', 'log', 'notrack', 'last', 'flow_offload', 'secmark']);

export async function step(on: Evaluation, expression: NftExpression, rule: NftRule): Promise<Stepped> {
  const { registers, image, asked } = on;
  // What no table of attributes was there for.
  if (expression.data instanceof Uint8Array || expression.data === undefined) return plain(on, expression.name);
  const known_ = expression as Exclude<typeof expression, { readonly data?: Uint8Array }>;
  switch (known_.name) {
    case 'immediate': {
      const { dreg = 0, data } = known_.data;
      if (dreg === VERDICT) return verdictOf(data);
      registers.put(dreg, data?.value ?? new Uint8Array());
      return 'on';
    }
    case 'cmp': {
      const { sreg = 0, op = '==', data } = known_.data;
      return decided(compared(registers.load(sreg, data?.value?.length ?? 0), op, data?.value ?? new Uint8Array()));
    }
    case 'range': {
      const { sreg = 0, op = '==', from_data, to_data } = known_.data;
      const [from, to] = [from_data?.value ?? new Uint8Array(), to_data?.value ?? new Uint8Array()];
      const inside = between(registers.load(sreg, from.length), from, to);
      return decided(op === '!=' ? not(inside) : inside);
    }
    case 'bitwise': {
      const { sreg = 0, dreg = 0, len = 4, mask, xor, op = 'mask_xor' } = known_.data;
      if (op !== 'mask_xor') return { why: `a shift of bits (bitwise ${op})` };
      const { bytes, unknown, why } = registers.load(sreg, len);
      const bits = mask?.value ?? new Uint8Array(len);
      registers.store(dreg, {
        bytes: bytes.map((byte, at) => (byte & (bits[at] ?? 0)) ^ (xor?.value?.[at] ?? 0)),
        unknown: unknown.map((one, at) => ((bits[at] ?? 0) === 0 ? 0 : one)),
        why,
      });
      return 'on';
    }
    case 'byteorder': {
      const { sreg = 0, dreg = 0, len = 4, size = 4 } = known_.data;
      const { bytes, unknown, why } = registers.load(sreg, len);
      registers.store(dreg, { bytes: turned(bytes, size), unknown: turned(unknown, size), why });
      return 'on';
    }
    case 'payload':
      return payload(on, known_.data);
    case 'meta':
      return meta(on, known_.data);
    case 'ct':
      return connection(on, known_.data);
    case 'fib': {
      const found = await fib(asked, on.frame, on.beside, known_.data);
      if (typeof found === 'string') return { why: found };
      registers.put(known_.data.dreg ?? 1, found);
      return 'on';
    }
    case 'lookup':
      return lookup(on, known_.data);
    case 'dynset':
      return known_.data.expr === undefined ? 'on' : { why: `what the set ${known_.data.set_name} has counted` };
    case 'counter':
      return 'on';
    case 'nat': {
      const { type = 'snat', reg_addr_min, reg_addr_max = reg_addr_min, reg_proto_min, reg_proto_max = reg_proto_min, flags } = known_.data; // prettier-ignore
      const size = image.family === 'ip6' ? 16 : 4;
      const [address, last] = [reg_addr_min, reg_addr_max].map((register) => (register === undefined ? undefined : registers.load(register, size))); // prettier-ignore
      const [port, lastPort] = [reg_proto_min, reg_proto_max].map((register) => (register === undefined ? undefined : registers.load(register, 2))); // prettier-ignore
      return translate(on, type === 'dnat' ? 'destination' : 'source', [address, last], [port, lastPort], isRandom(flags));
    }
    case 'masq': {
      const { reg_proto_min, reg_proto_max = reg_proto_min, flags } = known_.data;
      const ports = [reg_proto_min, reg_proto_max].map((register) => (register === undefined ? undefined : registers.load(register, 2)));
      return masquerade(on, ports, isRandom(flags));
    }
    case 'redir': {
      const { reg_proto_min, reg_proto_max = reg_proto_min, flags } = known_.data;
      const [port, lastPort] = [reg_proto_min, reg_proto_max].map((register) => (register === undefined ? undefined : registers.load(register, 2))); // prettier-ignore
      return redirect(on, [port, lastPort], isRandom(flags));
    }
    case 'fwd': {
      const { sreg_dev = 1, sreg_addr } = known_.data;
      const device = registers.load(sreg_dev, 4);
      if (sreg_addr !== undefined) return { why: 'a neighbour that it forwards to' };
      return isKnown(device) ? { code: 'redirect', ifindex: number32(device.bytes) } : { why: device.why };
    }
    case 'dup': {
      const { sreg_dev } = known_.data;
      const device = sreg_dev === undefined || asked.device === undefined ? undefined : registers.load(sreg_dev, 4);
      if (device !== undefined && isKnown(device)) on.copies.push({ ifindex: number32(device.bytes), frame: on.frame });
      return 'on';
    }
    case 'reject':
      return { code: 'reject', icmp: known_.data.type === 'tcp_reset' ? 'TCP reset' : 'destination unreachable, by a rule' };
    case 'match':
      return xtMatch(on, known_.data);
    case 'target':
      return xtTarget(on, known_.data, rule);
    default:
      return plain(on, known_.name);
  }
}

/** Whether expressions behind one that cannot be told decide or change anything. */
export function matters(rest: readonly NftExpression[]): boolean {
  return rest.some(({ name, data }) => {
    if (data instanceof Uint8Array || data === undefined) return !idle.has(name) && !['limit', 'quota', 'connlimit', 'numgen', 'hash'].includes(name); // prettier-ignore
    const { dreg, sreg, key, name: target } = data as { dreg?: number; sreg?: number; key?: string; name?: string };
    if (name === 'immediate' || name === 'lookup') return dreg === VERDICT && (data as { data?: NftData }).data?.verdict?.code !== 'continue'; // prettier-ignore
    if (name === 'payload') return sreg !== undefined;
    if (name === 'meta' || name === 'ct') return sreg !== undefined && (key === 'mark' || key === 'pkttype');
    if (name === 'target') return target !== 'LOG';
    return ['nat', 'masq', 'redir', 'fwd', 'dup', 'reject', 'tproxy', 'synproxy', 'queue'].includes(name);
  });
}

function plain(on: Evaluation, name: string): Stepped {
  if (name === 'notrack') on.beside = { ...on.beside, untracked: true };
  if (idle.has(name)) return 'on';
  const told: Readonly<Record<string, string>> = { limit: 'how much has passed (limit)', quota: 'how much has passed (quota)', connlimit: 'how many connections there are', numgen: 'chance, or a turn (numgen)', socket: 'who has a socket for it', queue: 'a program that is asked (queue)', tproxy: 'a proxy (tproxy)', exthdr: 'options of a header' }; // prettier-ignore
  return { why: told[name] ?? `'${name}'` };
}

function decided(truth: Truth): Stepped {
  return typeof truth === 'string' ? { why: truth } : truth ? 'on' : 'break';
}

function verdictOf(data: NftData | undefined): Step {
  const { code = 'continue', chain } = data?.verdict ?? {};
  return { code, ...(chain !== undefined && { chain }) };
}

function compared(datum: Datum, op: string, wanted: Uint8Array): Truth {
  if (op === '==') return equal(datum, wanted);
  if (op === '!=') return not(equal(datum, wanted));
  const order = compare(datum, wanted);
  if (typeof order === 'string') return order;
  return op === '<' ? order < 0 : op === '<=' ? order <= 0 : op === '>' ? order > 0 : order >= 0;
}

/** Each number of that many bytes by itself: from the network's order to the machine's, or back. */
function turned(bytes: Uint8Array, size: number): Uint8Array {
  if (host16(1)[0] !== 1) return bytes;
  return bytes.map((_, at) => bytes[at - (at % size) + size - 1 - (at % size)] ?? 0);
}

type DataOf<N extends string> = Extract<NftExpression, { readonly name: N; readonly data: object }>['data'] extends infer D ? Exclude<D, Uint8Array> : never; // prettier-ignore

function payload(
  { registers, image, asked }: Evaluation,
  { dreg, sreg, base = 'network', offset = 0, len = 0 }: DataOf<'payload'>,
): Stepped {
  // prettier-ignore
  const at = { link: 0, network: image.network, transport: image.transport }[base as 'link'];
  // What is sent by the host itself has no header of the link yet.
  if (base === 'link' && asked.device === undefined && asked.iif === undefined) return 'break';
  if (base === 'inner') return { why: 'what is inside of a packet' };
  if (at === undefined) return 'break';
  if (sreg !== undefined) {
    const datum = registers.load(sreg, len);
    if (!isKnown(datum)) return { why: datum.why };
    image.write(at + offset, datum.bytes);
    return 'on';
  }
  const read = image.read(at + offset, len);
  if (read === undefined) return 'break';
  registers.store(dreg ?? 1, read);
  return 'on';
}

const packetTypes = ['host', 'broadcast', 'multicast', 'otherhost'] as const;
const hardware: Readonly<Record<string, number>> = { ether: 1, loopback: 772, none: 65534 };
const [NFPROTO_IPV4, NFPROTO_IPV6, NFPROTO_ARP] = [2, 10, 3];

function meta(on: Evaluation, { dreg = 1, sreg, key = '' }: DataOf<'meta'>): Stepped {
  const { registers, image, asked, beside } = on;
  if (sreg !== undefined) {
    if (key === 'nftrace' || key === 'priority') return 'on';
    if (key !== 'mark' && key !== 'pkttype') return { why: `what it sets (meta ${key})` };
    const datum = registers.load(sreg, key === 'mark' ? 4 : 1);
    if (!isKnown(datum)) return { why: datum.why };
    if (key === 'mark') on.beside = { ...beside, mark: number32(datum.bytes) };
    else on.beside = { ...beside, packetType: packetTypes[datum.bytes[0]!] ?? 'otherhost' };
    return 'on';
  }
  const put = (bytes: Uint8Array | undefined): Stepped => {
    if (bytes === undefined) return 'break';
    registers.put(dreg, bytes);
    return 'on';
  };
  const type = (link: Link | undefined): Stepped => link !== undefined && hardware[link.type] === undefined ? { why: `the kind of ${link.name}` } : put(link && host16(hardware[link.type]!)); // prettier-ignore
  const { iif, oif } = asked;
  switch (key) {
    case 'length':
      return put(host32((image.frame.packet?.length ?? 28) + (asked.hook === 'egress' ? image.network : 0)));
    case 'protocol':
      return put(Uint8Array.of(image.frame.type >> 8, image.frame.type & 0xff));
    case 'nfproto':
      return put(Uint8Array.of(on.base.family === 'netdev' ? 5 : on.base.family === 'bridge' ? 7 : image.isArp ? NFPROTO_ARP : image.family === 'ip6' ? NFPROTO_IPV6 : NFPROTO_IPV4)); // prettier-ignore
    case 'l4proto':
      return put(image.protocol === undefined ? undefined : Uint8Array.of(image.protocol));
    case 'mark':
      return put(host32(beside.mark ?? 0));
    case 'iif':
      return put(host32(iif?.ifindex ?? 0));
    case 'oif':
      return put(host32(oif?.ifindex ?? 0));
    case 'iifname':
      return put(ifname(iif?.name ?? ''));
    case 'oifname':
      return put(ifname(oif?.name ?? ''));
    case 'iiftype':
      return type(iif);
    case 'oiftype':
      return type(oif);
    case 'iifgroup':
      return put(iif && host32(iif.group));
    case 'oifgroup':
      return put(oif && host32(oif.group));
    case 'iifkind':
      return put(iif && ifname(linkKind(iif)));
    case 'oifkind':
      return put(oif && ifname(linkKind(oif)));
    case 'pkttype':
      return put(Uint8Array.of(packetTypes.indexOf(beside.packetType ?? 'host')));
    case 'skuid':
    case 'skgid':
      return asked.hook === 'output' || (asked.hook === 'postrouting' && iif === undefined) ? { why: `whose socket it is (meta ${key})` } : 'break'; // prettier-ignore
    case 'nftrace':
    case 'secpath':
      return put(Uint8Array.of(0));
    default:
      return { why: `meta ${key}` };
  }
}

function linkKind({ kind }: Link): string {
  return kind === 'physical' || kind === 'loopback' ? '' : kind;
}

/** NF_CT_STATE_BIT(). */
const states = { invalid: 1, established: 2, related: 4, new: 8, untracked: 64 } as const;
/** IPS_*. */
const [SEEN_REPLY, ASSURED, SRC_NAT, DST_NAT] = [2, 4, 16, 32];

export function stateOf(on: Evaluation): number {
  if (!on.tracked) return on.beside.untracked === true ? states.untracked : states.invalid;
  return on.asked.first ? states.new : states.established;
}

function connection(on: Evaluation, { dreg = 1, key = '', sreg, direction }: DataOf<'ct'>): Stepped {
  const { registers, asked, beside } = on;
  if (sreg !== undefined) {
    if (key !== 'mark') return 'on'; // labels, zones, helpers: nothing of the way
    const datum = registers.load(sreg, 4);
    if (!isKnown(datum)) return { why: datum.why };
    on.beside = { ...beside, connectionMark: number32(datum.bytes) };
    return 'on';
  }
  const put = (bytes: Uint8Array): Stepped => (registers.put(dreg, bytes), 'on');
  if (key === 'state') return put(host32(stateOf(on)));
  if (!on.tracked) return 'break';
  const { original } = beside;
  const told = asked.first && original !== undefined && (direction?.[0] ?? 0) === 0;
  const port = (number: number | undefined): Stepped => number === undefined || number === 0 ? { why: 'the ports, which were not given' } : put(Uint8Array.of(number >> 8, number & 0xff)); // prettier-ignore
  switch (key) {
    case 'direction':
      return put(Uint8Array.of(0));
    case 'mark':
      return asked.first ? put(host32(beside.connectionMark ?? 0)) : { why: 'the mark of its connection' };
    case 'status':
      if (!asked.first) return (registers.store(dreg, unknownOf(4, `the state of its connection (${SEEN_REPLY | ASSURED})`)), 'on');
      return put(host32((beside.natted?.destination === true ? DST_NAT : 0) | (beside.natted?.source === true ? SRC_NAT : 0)));
    case 'zone':
      return put(host16(0));
    case 'saddr':
    case 'ip saddr':
    case 'ip6 saddr':
      return told ? put(parseIp(original.source)!) : { why: 'the beginning of its connection' };
    case 'daddr':
    case 'ip daddr':
    case 'ip6 daddr':
      return told ? put(parseIp(original.destination)!) : { why: 'the beginning of its connection' };
    case 'proto-src':
      return told ? port(original.ports?.source) : { why: 'the beginning of its connection' };
    case 'proto-dst':
      return told ? port(original.ports?.destination) : { why: 'the beginning of its connection' };
    default:
      return { why: `the connection (ct ${key})` };
  }
}

async function lookup(
  { registers, asked, base }: Evaluation,
  { set: name = '', sreg = 1, dreg, flags }: DataOf<'lookup'>,
): Promise<Stepped> {
  // prettier-ignore
  const { ruleset } = asked.space;
  const set = await ruleset.set(base.family, base.table, name);
  if (set === undefined) return { why: `the set ${name}, which is gone` };
  const elements = await ruleset.elements(set);
  const length = elements.find(({ key }) => key !== undefined)?.key?.length ?? 0;
  const found = find(set, elements, registers.load(sreg, length));
  if ('why' in found) return found;
  if (flags?.includes('inv') === true) return found.element === undefined ? 'on' : 'break';
  if (found.element === undefined) return 'break';
  const { data } = found.element;
  if (dreg === undefined) return 'on';
  if (set.flags?.includes('object') === true) return { why: `an object of the map ${name}` };
  if (dreg === VERDICT || data?.verdict !== undefined) return verdictOf(data);
  registers.put(dreg, data?.value ?? new Uint8Array());
  return 'on';
}

// ------------------------------------------------------------------ NAT

type Pair = readonly (Datum | undefined)[];

/** Then even a port that is free is not kept. */
function isRandom(flags: readonly string[] = []): boolean {
  return flags.includes('random') || flags.includes('random_fully');
}

function translate(
  on: Evaluation,
  which: 'source' | 'destination',
  [address, last]: Pair,
  [port, lastPort]: Pair,
  random = false,
): Stepped {
  const { image } = on;
  const ported = on.frame.packet?.ports !== undefined;
  if (random && ported && (port === undefined || lastPort === undefined || Buffer.compare(port.bytes, lastPort.bytes) !== 0)) return { why: 'chance: it takes any port' }; // prettier-ignore
  for (const [one, other, what] of [
    [address, last, 'addresses'],
    [port, lastPort, 'ports'],
  ] as const) {
    if (one === undefined) continue;
    if (!isKnown(one)) return { why: one.why };
    if (other !== undefined && Buffer.compare(one.bytes, other.bytes) !== 0) return { why: `which of several ${what} it takes` };
  }
  const ipv6 = image.frame.type === ETH_P_IPV6;
  const at = image.network + (ipv6 ? 8 : 12) + (which === 'destination' ? (ipv6 ? 16 : 4) : 0);
  // What is not given is as connection tracking saw it first, whatever was written since.
  const { original } = on.beside;
  const first = original?.ports?.[which] ?? 0;
  const to = address?.bytes ?? parseIp(original?.[which] ?? '') ?? image.bytes.slice(at, at + (ipv6 ? 16 : 4));
  const given = port?.bytes ?? (first === 0 ? undefined : Uint8Array.of(first >> 8, first & 0xff));
  on.mapped = true;
  // To what it was anyway: nothing is done.
  if (original !== undefined && formatIp(to, 0, to.length) === original[which] && (given === undefined || (given[0]! << 8) + given[1]! === first)) return { code: 'accept' }; // prettier-ignore
  on.translated = true;
  image.write(at, to);
  if (given !== undefined && image.transport !== undefined) image.write(image.transport + (which === 'destination' ? 2 : 0), given);
  return { code: 'accept' };
}

/** nf_nat_masquerade.c: an address of the interface that it leaves by. */
async function masquerade(on: Evaluation, ports: Pair, random = false): Promise<Stepped> {
  const address = await addressOf(on, on.asked.oif);
  return address === undefined ? { code: 'drop' } : translate(on, 'source', [known(parseIp(address)!)], ports, random);
}

/** nf_nat_redirect.c: to the host itself. */
async function redirect(on: Evaluation, port: Pair, random = false): Promise<Stepped> {
  const ipv6 = on.image.family === 'ip6';
  const address = on.asked.hook === 'output' ? (ipv6 ? '::1' : '127.0.0.1') : await addressOf(on, on.asked.iif);
  return address === undefined ? { code: 'drop' } : translate(on, 'destination', [known(parseIp(address)!)], port, random);
}

async function addressOf({ asked: { space }, image, frame }: Evaluation, link: Link | undefined): Promise<string | undefined> {
  const ipv6 = image.family === 'ip6';
  const own = (await space.addresses()).filter(({ ifindex, address, scope }) => ifindex === link?.ifindex && address.includes(':') === ipv6 && scope === 'global'); // prettier-ignore
  const best = own.find(({ address }) => isInside(frame.packet!.destination, address)) ?? own[0];
  return best === undefined ? undefined : splitCidr(best.address).address;
}

// ------------------------------------------------------------------ iptables-nft

async function xtMatch(on: Evaluation, { name = '', rev = 0, info }: DataOf<'match'>): Promise<Stepped> {
  const { image, asked } = on;
  const transport = (at: number, length: number): Datum | undefined => image.transport === undefined ? undefined : image.read(image.transport + at, length); // prettier-ignore
  const truth = await matchesXt(name, rev, info ?? new Uint8Array(), {
    source: transport(0, 2),
    destination: transport(2, 2),
    flags: transport(13, 1),
    state: stateOf(on),
    typeOf: async (which) => {
      const found = await fib(asked, on.frame, on.beside, { result: 'type', flags: [which === 'source' ? 'saddr' : 'daddr'] });
      return typeof found === 'string' ? 1 : number32(found);
    },
  });
  return truth === undefined ? { why: `iptables' match '${name}'` } : decided(truth);
}

function xtTarget(
  on: Evaluation,
  { name = '', rev = 0, info = new Uint8Array() }: DataOf<'target'>,
  _rule: NftRule,
): Stepped | Promise<Stepped> {
  // prettier-ignore
  if (name === 'LOG' || name === 'NFLOG' || name === 'TRACE') return 'on';
  if (name === 'REJECT') return { code: 'reject', icmp: 'destination unreachable, by a rule' };
  const range = ['DNAT', 'SNAT', 'MASQUERADE', 'REDIRECT'].includes(name) ? natRange(rev, info, on.image.family === 'ip6') : undefined;
  if (range === undefined) return { why: `iptables' target '${name}'` };
  const address = (one: string | undefined): Datum | undefined => (one === undefined ? undefined : known(parseIp(one)!));
  const port = (one: number | undefined): Datum | undefined => (one === undefined ? undefined : known(Uint8Array.of(one >> 8, one & 0xff)));
  const ports = [port(range.port), port(range.lastPort)];
  if (name === 'MASQUERADE') return masquerade(on, ports, range.random);
  if (name === 'REDIRECT') return redirect(on, ports, range.random);
  return translate(on, name === 'DNAT' ? 'destination' : 'source', [address(range.address), address(range.lastAddress)], ports, range.random); // prettier-ignore
}
