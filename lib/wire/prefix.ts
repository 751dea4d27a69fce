// Prefixes as text: '10.0.0.0/8', 'fd00::/64', 'default'.
import { AF_INET, AF_INET6 } from './constants.js';
import { formatIpv4, formatIpv6, parseIp } from './text.js';

export interface Prefix {
  readonly family: number;
  /** Absent in 'default'. */
  readonly address?: string;
  readonly length: number;
}

/** An address alone is a host: /32 or /128. `family` is that of 'default'. Throws TypeError where the text is no prefix. */
export function parsePrefix(text: string, family: number = AF_INET): Prefix {
  if (text === 'default') return { family, length: 0 };
  const slash = text.indexOf('/');
  const address = slash === -1 ? text : text.slice(0, slash);
  const width = parseIp(address)?.length;
  const length = slash === -1 ? String(8 * (width ?? 0)) : text.slice(slash + 1);
  if (width === undefined || !/^\d{1,3}$/.test(length) || Number(length) > 8 * width) throw new TypeError(`not a prefix: '${text}'`);
  return { family: width === 16 ? AF_INET6 : AF_INET, address, length: Number(length) };
}

/** The address family of a text that holds an address or a prefix; undefined for 'default' and for nothing. */
export function familyOf(text: string | undefined): number | undefined {
  return text === undefined || text === 'default' ? undefined : text.includes(':') ? AF_INET6 : AF_INET;
}

/** How a prefix without an address is written: 'default' would not say of which family. */
export function defaultPrefix(family: number): string {
  return family === AF_INET6 ? '::/0' : '0.0.0.0/0';
}

/** The kernel's spelling of an address with its prefix length: 'FD00:0::2' is 'fd00::2/128'. What is no address stays as it is. */
export function canonicalCidr(text: string): string {
  const [address = '', length] = text.split('/');
  const bytes = parseIp(address);
  if (bytes === undefined) return text;
  return `${bytes.length === 4 ? formatIpv4(bytes, 0) : formatIpv6(bytes, 0)}/${length ?? 8 * bytes.length}`;
}

/** Of one family. */
export function isWithin(address: string, prefix: string): boolean {
  const { address: network = '::', length } = parsePrefix(prefix);
  const bits = (text: string): string => [...(parseIp(text) ?? [])].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  return bits(address).slice(0, length) === bits(network).slice(0, length);
}
