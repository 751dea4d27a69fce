// What stands in registers, keys and data: addresses and ports in the network's byte order, names of interfaces in 16 bytes.
import { ipProtocols } from '../constants.js';
import { parseIp, parseMac } from '../text.js';
import type { NftData } from './expression.js';
import type { NftElement } from './message.js';

export function ipv4(address: string): Uint8Array {
  return fits(address, parseIp(address), 4);
}
export function ipv6(address: string): Uint8Array {
  return fits(address, parseIp(address), 16);
}
export function ether(mac: string): Uint8Array {
  return fits(mac, parseMac(mac), 6);
}
function fits(text: string, bytes: Uint8Array | undefined, length: number): Uint8Array {
  if (bytes?.length !== length) throw new TypeError(`not an address of ${length} bytes: '${text}'`);
  return bytes;
}

export function port(number: number): Uint8Array {
  return Uint8Array.of(number >> 8, number & 0xff);
}
/** 'tcp', 'udp', 'icmp', ... or a number. */
export function protocol(name: string): Uint8Array {
  return Uint8Array.of(ipProtocols.number(name));
}
/** IFNAMSIZ, padded with zeros. */
export function ifname(name: string): Uint8Array {
  const bytes = new Uint8Array(16);
  new TextEncoder().encodeInto(name, bytes.subarray(0, 15));
  return bytes;
}

/** Each padded to 4 bytes, a register of 4. */
export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const sizes = parts.map(({ length }) => 4 * Math.ceil(length / 4));
  const bytes = new Uint8Array(sizes.reduce((sum, size) => sum + size, 0));
  let at = 0;
  for (const [index, part] of parts.entries()) {
    bytes.set(part, at);
    at += sizes[index]!;
  }
  return bytes;
}

export function element(key: Uint8Array, data?: NftData): NftElement {
  return data === undefined ? { key } : { key, data };
}
