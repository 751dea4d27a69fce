// Addresses and prefixes as guests are told them.
import { maskTo, splitCidr } from '../check.js';
import { formatIp, parseIp } from '../wire/text.js';

export type Family = 'ipv4' | 'ipv6';
export const families = ['ipv4', 'ipv6'] as const;
export const titles: Readonly<Record<Family, string>> = { ipv4: 'IPv4', ipv6: 'IPv6' };

/** Of an address or a prefix. */
export function familyOf(text: string): Family {
  return text.includes(':') ? 'ipv6' : 'ipv4';
}

/** In the one form that comparisons need (RFC 5952). */
export function canonicalIp(address: string): string {
  const bytes = parseIp(address)!;
  return formatIp(bytes, 0, bytes.length)!;
}

export function canonicalCidr(text: string): string {
  const { address, length } = splitCidr(text);
  return `${canonicalIp(address)}/${length}`;
}

/** The network that an address is on: '172.17.0.5/16' -> '172.17.0.0/16'. */
export function networkOf(text: string): string {
  const { address, length } = splitCidr(text);
  const bytes = parseIp(address)!;
  return `${formatIp(maskTo(bytes, length), 0, bytes.length)!}/${length}`;
}

export function contains(prefix: string, address: string): boolean {
  return familyOf(prefix) === familyOf(address) && networkOf(`${address}/${splitCidr(prefix).length}`) === networkOf(prefix);
}

/** 32 or 128. */
export function widthOf(family: Family): number {
  return family === 'ipv4' ? 32 : 128;
}

/** 16 -> '255.255.0.0'. */
export function netmask(length: number): string {
  return formatIp(maskTo(new Uint8Array(4).fill(255), length), 0, 4)!;
}

/** How many bits two addresses of one family begin with in common. */
export function commonBits(a: string, b: string): number {
  const [one, other] = [parseIp(a)!, parseIp(b)!];
  let bits = 0;
  while (bits < 8 * one.length && (((one[bits >> 3]! ^ other[bits >> 3]!) << (bits & 7)) & 0x80) === 0) bits++;
  return bits;
}

/** fe80::/10. */
export function isLinkLocal6(address: string): boolean {
  return familyOf(address) === 'ipv6' && contains('fe80::/10', address);
}

/** The default route of its family, whatever its prefix is called. */
export function isDefault(dst: string): boolean {
  return dst === '0.0.0.0/0' || dst === '::/0';
}

/** Whether an interface can have it: neither unspecified, nor multicast, nor IPv4's broadcast address. */
export function isUnicast(address: string): boolean {
  const bytes = parseIp(address)!;
  if (bytes.every((byte) => byte === 0)) return false;
  return bytes.length === 16 ? bytes[0] !== 0xff : bytes[0]! >> 4 !== 0xe && !bytes.every((byte) => byte === 0xff);
}
