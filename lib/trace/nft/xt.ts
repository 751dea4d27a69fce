// Matches and targets of iptables-nft(8), as far as they are the usual ones: uapi/linux/netfilter/xt_*.h, nf_nat.h. In the machine's order
// but for ports and addresses of NAT.
import { formatIp } from '../../wire/text.js';
import { type Datum, type Truth, compare, equal, not } from './datum.js';

export interface XtPacket {
  readonly source: Datum | undefined;
  readonly destination: Datum | undefined;
  readonly flags: Datum | undefined;
  /** Bits of NF_CT_STATE_BIT. */
  readonly state: number;
  /** RTN_* of its source or destination. */
  typeOf(which: 'source' | 'destination'): Promise<number>;
}

/** undefined: not one of those that are known. */
export async function matchesXt(name: string, revision: number, info: Uint8Array, packet: XtPacket): Promise<Truth | undefined> {
  const view = new DataView(info.buffer, info.byteOffset, info.byteLength);
  const u16 = (at: number): number => view.getUint16(at, true);
  const port = (datum: Datum | undefined, at: number, inverted: boolean): Truth => {
    if (datum === undefined) return false;
    const inside = inPorts(datum, u16(at), u16(at + 2));
    return inverted ? not(inside) : inside;
  };
  if (name === 'comment') return true;
  if (name === 'udp' && info.length >= 9) return all(port(packet.source, 0, (info[8]! & 1) !== 0), port(packet.destination, 4, (info[8]! & 2) !== 0)); // prettier-ignore
  if (name === 'tcp' && info.length >= 12) {
    const [, mask = 0, wanted = 0, inverted = 0] = info.subarray(8, 12);
    if (info[8] !== 0) return undefined; // an option of TCP
    const flags = mask === 0 ? true : packet.flags === undefined ? false : equal(masked(packet.flags, mask), Uint8Array.of(wanted));
    return all(port(packet.source, 0, (inverted & 1) !== 0), port(packet.destination, 4, (inverted & 2) !== 0), (inverted & 4) !== 0 ? not(flags) : flags); // prettier-ignore
  }
  if (name === 'conntrack' && revision >= 2 && info.length >= 154) {
    const STATE = 1;
    if (u16(146) !== STATE) return undefined;
    return ((u16(150) & packet.state) !== 0) !== ((u16(148) & STATE) !== 0);
  }
  if (name === 'addrtype' && revision === 1 && info.length >= 8) {
    const flags = view.getUint32(4, true);
    if ((flags & ~3) !== 0) return undefined; // of one interface only
    const type = async (which: 'source' | 'destination', mask: number, inverted: boolean): Promise<boolean> => mask === 0 || ((mask >> (await packet.typeOf(which))) & 1) !== Number(inverted); // prettier-ignore
    return (await type('source', u16(0), (flags & 1) !== 0)) && (await type('destination', u16(2), (flags & 2) !== 0));
  }
  return undefined;
}

function inPorts({ bytes, unknown, why }: Datum, from: number, to: number): Truth {
  const big = (port: number): Uint8Array => Uint8Array.of(port >> 8, port & 0xff);
  if (from === 0 && to === 0xffff) return true;
  const datum = { bytes, unknown, why };
  const [low, high] = [compare(datum, big(from)), compare(datum, big(to))];
  if (typeof low === 'string') return low;
  return low >= 0 && typeof high === 'number' && high <= 0;
}

function masked(datum: Datum, mask: number): Datum {
  return { ...datum, bytes: datum.bytes.map((byte) => byte & mask) };
}

function all(...truths: readonly Truth[]): Truth {
  if (truths.includes(false)) return false;
  return truths.find((truth) => typeof truth === 'string') ?? true;
}

/** What NAT shall make of it; an address that is left out stays. */
export interface NatRange {
  readonly address?: string;
  readonly lastAddress?: string;
  readonly port?: number;
  readonly lastPort?: number;
  /** --random, --random-fully. */
  readonly random: boolean;
}

const [MAP_IPS, PROTO_SPECIFIED] = [1, 2];
/** NF_NAT_RANGE_PROTO_RANDOM, ..._RANDOM_FULLY. */
const PROTO_RANDOM = 4 | 16;

/** struct nf_nat_ipv4_multi_range_compat of revision 0 (IPv4), struct nf_nat_range and nf_nat_range2 of the later ones. */
export function natRange(revision: number, info: Uint8Array, ipv6: boolean): NatRange | undefined {
  const view = new DataView(info.buffer, info.byteOffset, info.byteLength);
  const old = revision === 0 && !ipv6;
  const [flagsAt, min, max, ports, size] = old ? [4, 8, 12, 16, 4] : [0, 4, 20, 36, ipv6 ? 16 : 4];
  if (info.length < ports + 4) return undefined;
  const flags = view.getUint32(flagsAt, true);
  return {
    ...((flags & MAP_IPS) !== 0 && { address: formatIp(info, min, size)!, lastAddress: formatIp(info, max, size)! }),
    random: (flags & PROTO_RANDOM) !== 0,
    ...((flags & PROTO_SPECIFIED) !== 0 && { port: view.getUint16(ports), lastPort: view.getUint16(ports + 2) }),
  };
}
