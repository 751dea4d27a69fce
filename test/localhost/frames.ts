// Frames as the proofs of the pod's localhost send them.
import { macBytes } from '../kernel/frames.js';

export interface Packet {
  readonly mac: string;
  readonly address: string;
  readonly port?: number;
}

function octets(address: string): number[] {
  return address.split('.').map(Number);
}

/** RFC 1071. */
function sum(...parts: readonly Uint8Array[]): number {
  let total = 0;
  for (const data of parts) for (let at = 0; at < data.length; at += 2) total += (data[at]! << 8) | (data[at + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return ~total & 0xffff;
}

export function ethernet(from: string, to: string, type: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(14 + payload.length);
  bytes.set(macBytes(to));
  bytes.set(macBytes(from), 6);
  bytes.set([type >> 8, type & 255], 12);
  bytes.set(payload, 14);
  return bytes;
}

export function ipv4(
  from: Packet,
  to: Packet,
  { protocol, payload = new Uint8Array(8), options = [] }: { protocol: number; payload?: Uint8Array; options?: readonly number[] },
): Uint8Array {
  const long = 20 + options.length;
  const length = long + payload.length;
  const header = Uint8Array.of(0x40 | (long / 4), 0, length >> 8, length & 255, 0, 0, 0, 0, 64, protocol, 0, 0, ...octets(from.address), ...octets(to.address), ...options); // prettier-ignore
  const checksum = sum(header);
  header.set([checksum >> 8, checksum & 255], 10);
  const packet = new Uint8Array(length);
  packet.set(header);
  packet.set(payload, long);
  return ethernet(from.mac, to.mac, 0x0800, packet);
}

function pseudo(from: Packet, to: Packet, protocol: number, length: number): Uint8Array {
  return Uint8Array.of(...octets(from.address), ...octets(to.address), 0, protocol, length >> 8, length & 255);
}

export function udp(from: Packet, to: Packet, text = 'hello'): Uint8Array {
  const data = new TextEncoder().encode(text);
  const [a = 0, b = 0] = [from.port, to.port];
  const length = 8 + data.length;
  const payload = Uint8Array.of(a >> 8, a & 255, b >> 8, b & 255, length >> 8, length & 255, 0, 0, ...data);
  const checksum = sum(pseudo(from, to, 17, length), payload) || 0xffff;
  payload.set([checksum >> 8, checksum & 255], 6);
  return ipv4(from, to, { protocol: 17, payload });
}

/** What begins a connection, where no other flags are wanted. */
export function tcp(from: Packet, to: Packet, flags = 2): Uint8Array {
  const [a = 0, b = 0] = [from.port, to.port];
  const payload = Uint8Array.of(a >> 8, a & 255, b >> 8, b & 255, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0x20, 0, 0, 0, 0, 0);
  const checksum = sum(pseudo(from, to, 6, payload.length), payload);
  payload.set([checksum >> 8, checksum & 255], 16);
  return ipv4(from, to, { protocol: 6, payload });
}

/** The message without its checksum. */
export function icmp(from: Packet, to: Packet, message: Uint8Array): Uint8Array {
  const checksum = sum(message);
  message.set([checksum >> 8, checksum & 255], 2);
  return ipv4(from, to, { protocol: 1, payload: message });
}

/** RFC 826. */
export function arp(operation: number, from: Packet, to: Packet, frameTo = to.mac): Uint8Array {
  const payload = Uint8Array.of(0, 1, 8, 0, 6, 4, 0, operation, ...macBytes(from.mac), ...octets(from.address), ...macBytes(to.mac), ...octets(to.address)); // prettier-ignore
  return ethernet(from.mac, frameTo, 0x0806, payload);
}

export function isArpAnswer(frame: Uint8Array, address: string): boolean {
  return frame[12] === 8 && frame[13] === 6 && frame[21] === 2 && octets(address).every((octet, at) => frame[28 + at] === octet);
}

export function portsOf(frame: Uint8Array, at = 34): readonly [from: number, to: number] {
  return [(frame[at]! << 8) | frame[at + 1]!, (frame[at + 2]! << 8) | frame[at + 3]!];
}

/** Whether the sums of IPv4, and of UDP, TCP or ICMP in it, are right; of a packet without options that is no fragment. */
export function isWhole(frame: Uint8Array): boolean {
  const length = (frame[16]! << 8) | frame[17]!;
  const payload = frame.subarray(34, 14 + length);
  if (sum(frame.subarray(14, 34)) !== 0) return false;
  if (frame[23] === 1) return sum(payload) === 0 && (payload[0] === 0 || payload[0] === 8 || sum(payload.subarray(8, 28)) === 0);
  const pseudo = Uint8Array.of(...frame.subarray(26, 34), 0, frame[23]!, payload.length >> 8, payload.length & 255);
  return sum(pseudo, payload) === 0;
}
