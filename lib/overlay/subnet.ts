// Prefixes as numbers: whether one lies in another, and which one comes next.
import { formatIp, parseIp } from '../wire/text.js';

export type Family = 'ipv4' | 'ipv6';
export const families = ['ipv4', 'ipv6'] as const;

export interface Subnet {
  readonly family: Family;
  /** The first address of it. */
  readonly address: bigint;
  readonly length: number;
  /** '10.244.1.0/24', in the form in which the kernel writes it. */
  readonly text: string;
}

export function widthOf(family: Family): number {
  return family === 'ipv6' ? 128 : 32;
}

/** undefined where the text is no prefix, or has bits set beyond its length. */
export function parseSubnet(text: string): Subnet | undefined {
  const match = /^([0-9a-fA-F.:]{2,45})\/(\d{1,3})$/.exec(text);
  const bytes = match === null ? undefined : parseIp(match[1]!);
  if (bytes === undefined) return undefined;
  const family = bytes.length === 16 ? 'ipv6' : 'ipv4';
  const length = Number(match![2]);
  const address = toNumber(bytes);
  if (length > widthOf(family) || masked(family, address, length) !== address) return undefined;
  return subnet(family, address, length);
}

export function subnet(family: Family, address: bigint, length: number): Subnet {
  return { family, address, length, text: `${formatAddress(family, address)}/${length}` };
}

function toNumber(bytes: Uint8Array): bigint {
  let number = 0n;
  for (let at = 0; at < bytes.length; at += 4) {
    number = (number << 32n) | BigInt(((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0);
  }
  return number;
}

/** undefined where the text is no address of that family. */
export function parseAddress(family: Family, text: string): bigint | undefined {
  const bytes = parseIp(text);
  return bytes?.length === widthOf(family) / 8 ? toNumber(bytes) : undefined;
}

export function formatAddress(family: Family, address: bigint): string {
  const length = widthOf(family) / 8;
  const bytes = Uint8Array.from({ length }, (_, index) => Number((address >> BigInt(8 * (length - 1 - index))) & 0xffn));
  return formatIp(bytes, 0, length)!;
}

export function masked(family: Family, address: bigint, length: number): bigint {
  const rest = BigInt(widthOf(family) - length);
  return (address >> rest) << rest;
}

export function sizeOf(family: Family, length: number): bigint {
  return 1n << BigInt(widthOf(family) - length);
}

export function holds(
  { family, address, length }: Subnet,
  inner: { readonly family: Family; readonly address: bigint; readonly length?: number },
): boolean {
  return family === inner.family && length <= (inner.length ?? widthOf(family)) && masked(family, inner.address, length) === address;
}

export function overlap(a: Subnet, b: Subnet): boolean {
  return holds(a, b) || holds(b, a);
}

/** Prefixes that do not overlap. Nearly always all of them are equally long, and then a look-up is enough. */
export class Subnets {
  readonly #byLength = new Map<number, Map<bigint, Subnet>>();

  /** The one that it overlaps, which keeps its place; undefined where it was taken in. */
  add(one: Subnet): Subnet | undefined {
    for (const [length, known] of this.#byLength) {
      const found =
        length <= one.length ? known.get(masked(one.family, one.address, length)) : [...known.values()].find((other) => holds(one, other));
      if (found !== undefined) return found;
    }
    const same = this.#byLength.get(one.length) ?? new Map<bigint, Subnet>();
    this.#byLength.set(one.length, same.set(one.address, one));
    return undefined;
  }
}
