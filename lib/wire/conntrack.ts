// The table of connections: IPCTNL_MSG_CT_* and the attributes of uapi/linux/netfilter/nfnetlink_conntrack.h, as far as a translation is told.
import { type Values, be16, be32, bits, ip, nested, table, u8 } from './attribute.js';
import type { Bytes } from './bytes.js';
import { AF_INET, AF_INET6, ipProtocols } from './constants.js';
import { type Message, decodeAttributes, encodeMessage, messageFamily } from './message.js';

const NFNL_SUBSYS_CTNETLINK = 1;
const GET = (NFNL_SUBSYS_CTNETLINK << 8) | 1;

const header = [
  ['family', u8],
  ['version', u8],
  ['resource', be16],
] as const;

const addresses = table('CTA_IP', { v4_src: [1, ip], v4_dst: [2, ip], v6_src: [3, ip], v6_dst: [4, ip] });
const protocol = table('CTA_PROTO', { num: [1, u8], src_port: [2, be16], dst_port: [3, be16] });
const tuple = table('CTA_TUPLE', { ip: [1, nested(addresses)], proto: [2, nested(protocol)] });

/** IPS_*: of the bits those that tell of a translation, and whether it was answered. */
const statuses = { expected: 1, seen_reply: 2, assured: 4, confirmed: 8, src_nat: 0x10, dst_nat: 0x20, dying: 0x200 };

export const connectionFamily = messageFamily(
  header,
  table('CTA', {
    tuple_orig: [1, nested(tuple)],
    tuple_reply: [2, nested(tuple)],
    status: [3, bits(be32, statuses)],
    timeout: [7, be32],
    mark: [8, be32],
  }),
);

/** One direction of a connection of TCP or UDP. */
export interface ConnectionTuple {
  readonly protocol: 'tcp' | 'udp';
  readonly source: string;
  readonly destination: string;
  readonly ports: { readonly source: number; readonly destination: number };
}

export interface Connection {
  /** As its first packet was before it was translated. */
  readonly original: ConnectionTuple;
  /** As what answers comes in. */
  readonly reply: ConnectionTuple;
  readonly status: readonly string[];
  readonly mark: number;
}

/** The connection that has a tuple, in either direction. */
export function encodeConnectionGet({ protocol, source, destination, ports }: ConnectionTuple): Uint8Array {
  const ipv6 = destination.includes(':');
  const ends = ipv6 ? { v6_src: source, v6_dst: destination } : { v4_src: source, v4_dst: destination };
  const proto = { num: ipProtocols.number(protocol), src_port: ports.source, dst_port: ports.destination };
  return encodeMessage(connectionFamily, GET, 0, { family: ipv6 ? AF_INET6 : AF_INET }, { tuple_orig: { ip: ends, proto } });
}

export function decodeConnection(from: Bytes, message: Message): Connection {
  const { tuple_orig, tuple_reply, status = [], mark = 0 } = decodeAttributes(connectionFamily, from, message);
  return { original: tupleOf(tuple_orig), reply: tupleOf(tuple_reply), status, mark };
}

function tupleOf({ ip = {}, proto = {} }: Values<typeof tuple> = {}): ConnectionTuple {
  return {
    protocol: ipProtocols.name(proto.num ?? 0) as 'tcp',
    source: ip.v4_src ?? ip.v6_src ?? '',
    destination: ip.v4_dst ?? ip.v6_dst ?? '',
    ports: { source: proto.src_port ?? 0, destination: proto.dst_port ?? 0 },
  };
}
