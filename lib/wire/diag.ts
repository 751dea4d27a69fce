// Sockets of a namespace: struct inet_diag_req_v2 and inet_diag_msg of uapi/linux/inet_diag.h, by NETLINK_SOCK_DIAG.
import type { Bytes } from './bytes.js';
import { AF_INET, AF_INET6 } from './constants.js';
import { type Message, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_HDRLEN } from './message.js';
import { formatIp, parseIp } from './text.js';
import { Writer } from './writer.js';

export const NETLINK_SOCK_DIAG = 4;
const SOCK_DIAG_BY_FAMILY = 20;
const REQUEST_BYTES = NLMSG_HDRLEN + 56;
const protocols = { tcp: 6, udp: 17 } as const;

/** include/net/tcp_states.h; a UDP socket that is connected to nobody is told as closed. */
const TCP_ESTABLISHED = 1;
const TCP_CLOSE = 7;
const TCP_LISTEN = 10;

export interface SocketInfo {
  readonly protocol: 'tcp' | 'udp';
  /** Without brackets; one of IPv4 that an IPv6 socket is bound to is '::ffff:127.0.0.1'. */
  readonly address: string;
  readonly port: number;
  /** Whether it takes what comes from anybody: it listens, or is connected to nobody. */
  readonly open: boolean;
}

/** All of a protocol and family, whatever their state. */
export function encodeSocketDump(protocol: SocketInfo['protocol'], family: 'ipv4' | 'ipv6'): Uint8Array {
  const writer = new Writer();
  writer.u32(REQUEST_BYTES);
  writer.u16(SOCK_DIAG_BY_FAMILY);
  writer.u16(NLM_F_REQUEST | NLM_F_DUMP);
  writer.pad(NLMSG_HDRLEN);
  writer.byte(family === 'ipv4' ? AF_INET : AF_INET6);
  writer.byte(protocols[protocol]);
  writer.pad(NLMSG_HDRLEN + 4); // no extensions
  writer.u32(0xffffffff); // all states
  writer.pad(REQUEST_BYTES); // of any address and port
  return writer.finish();
}

/** A packet that comes in: from whom, and for which of the namespace's ends. */
export interface SocketQuestion {
  readonly protocol: SocketInfo['protocol'];
  readonly from: string;
  readonly fromPort: number;
  readonly to: string;
  readonly toPort: number;
  /** By which interface: its ifindex. */
  readonly iif: number;
}

/** The socket that would get a packet, by the kernel's own look-up. */
export function encodeSocketGet({ protocol, from, fromPort, to, toPort, iif }: SocketQuestion): Uint8Array {
  const ipv6 = to.includes(':');
  const here = { address: parseIp(to)!, port: toPort };
  const there = { address: parseIp(from)!, port: fromPort };
  // Of UDP the kernel takes the ends the other way round (udp_dump_one(): "for historical reasons").
  const [source, destination] = protocol === 'tcp' ? [here, there] : [there, here];
  const writer = new Writer();
  writer.u32(REQUEST_BYTES);
  writer.u16(SOCK_DIAG_BY_FAMILY);
  writer.u16(NLM_F_REQUEST | NLM_F_ACK);
  writer.pad(NLMSG_HDRLEN);
  writer.byte(ipv6 ? AF_INET6 : AF_INET);
  writer.byte(protocols[protocol]);
  writer.pad(NLMSG_HDRLEN + 4); // no extensions
  writer.u32(0xffffffff); // all states
  writer.be16(source.port);
  writer.be16(destination.port);
  for (const { address } of [source, destination]) {
    writer.bytes(address);
    writer.pad(writer.length + 16 - address.length);
  }
  writer.u32(iif);
  for (const _ of [1, 2]) writer.u32(0xffffffff); // INET_DIAG_NOCOOKIE
  return writer.finish();
}

const ID = 4;
const BYTES = 72;

/** Whether a socket is one of a connection: TCP's in any state but LISTEN; UDP's with another end. undefined: no message of that kind. */
export function decodeIsConnected(from: Bytes, { start: at, end }: Message, protocol: SocketInfo['protocol']): boolean | undefined {
  if (end - at < BYTES) return undefined;
  return protocol === 'tcp' ? from.u8[at + 1] !== TCP_LISTEN : from.view.getUint16(at + ID + 2) !== 0;
}

/** undefined: it is no message of that kind. */
export function decodeSocket(from: Bytes, { start: at, end }: Message, protocol: SocketInfo['protocol']): SocketInfo | undefined {
  if (end - at < BYTES) return undefined;
  const family = from.u8[at];
  const state = from.u8[at + 1];
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const address = formatIp(from.u8, at + ID + 4, family === AF_INET ? 4 : 16);
  const open = protocol === 'tcp' ? state === TCP_LISTEN : state === TCP_CLOSE || (state === TCP_ESTABLISHED && from.view.getUint16(at + ID + 2) === 0); // prettier-ignore
  return address === undefined ? undefined : { protocol, address, port: from.view.getUint16(at + ID), open };
}
