import type { Address } from '../wire/address.js';
import { scopes } from '../wire/constants.js';
import { isWithin } from '../wire/prefix.js';
import { type Resource, type Value, keys } from './resource.js';

/** What a request can set: the others tell of a state ('tentative', 'permanent', 'deprecated', 'secondary'), or are ignored there. */
const settable = new Set(['nodad', 'optimistic', 'home', 'mngtmpaddr', 'noprefixroute', 'autojoin']);
/** Made by the kernel for privacy (RFC 8981), with random bits; it takes none like it from a request. */
const TEMPORARY = 'secondary';

/** `now`: milliseconds of CLOCK_MONOTONIC. undefined for what is not to be put back. */
export function addressResource(address: Address, now: number): Resource | undefined {
  const { ifindex = 0, flags = [], validLifetime, preferredLifetime } = address;
  const family = address.address.includes(':') ? 'ipv6' : 'ipv4';
  if (family === 'ipv6' && flags.includes(TEMPORARY)) return undefined;
  const { peer, broadcast, label, scope, metric, protocol, unknown } = address;
  const kept = flags.filter((flag) => settable.has(flag));
  return {
    kind: 'address',
    key: keys.address(ifindex, address.address, peer),
    link: ifindex,
    group: addressGroup(ifindex, family),
    read: address,
    value: {
      address: address.address,
      ...(peer !== undefined && { peer }),
      ...(broadcast !== undefined && { broadcast }),
      ...(label !== undefined && { label }),
      ...(scope !== undefined && { scope }),
      ...(kept.length > 0 && { flags: kept }),
      ...(validLifetime !== undefined && { validUntil: now + 1000 * validLifetime }),
      ...(preferredLifetime !== undefined && { preferredUntil: preferredLifetime === 0 ? 0 : now + 1000 * preferredLifetime }),
      ...(metric !== undefined && { metric }),
      ...(protocol !== undefined && { protocol }),
      ...(unknown !== undefined && { unknown: unknown as unknown as Value }),
    },
  };
}

export function addressGroup(ifindex: number, family: string): string {
  return `address/${ifindex}/${family}`;
}

/**
 * IPv4 addresses of an interface as they stand when they are added in this order: one in the subnet of another is its secondary and comes
 * last, the others come behind those of their scope and of narrower ones (__inet_insert_ifa() of net/ipv4/devinet.c).
 */
export function inKernelOrder(addresses: readonly Resource[]): Resource[] {
  const primaries: Resource[] = [];
  const secondaries: Resource[] = [];
  const of = ({ value }: Resource): Address => value as unknown as Address;
  const scopeOf = (one: Resource): number => scopes.number(of(one).scope ?? 'global');
  const subnetOf = (one: Resource): string =>
    `${of(one).peer ?? of(one).address.replace(/\/.*/, '')}/${of(one).address.split('/')[1] ?? 32}`;
  const isInSubnet = (one: Resource, other: Resource): boolean => {
    const [subnet, theirs] = [subnetOf(one), subnetOf(other)];
    return subnet.replace(/.*\//, '') === theirs.replace(/.*\//, '') && isWithin(subnet.replace(/\/.*/, ''), theirs);
  };
  for (const one of addresses) {
    if (primaries.some((other) => isInSubnet(one, other))) secondaries.push(one);
    else primaries.splice(primaries.findLastIndex((other) => scopeOf(one) <= scopeOf(other)) + 1, 0, one);
  }
  return [...primaries, ...secondaries];
}

/** The value as a request; undefined where its time is over. */
export function addressRequest(value: Value, now: number): Address | undefined {
  const { validUntil, preferredUntil, ...address } = value as unknown as { validUntil?: number; preferredUntil?: number } & Address;
  const left = (until: number): number => Math.max(0, Math.round((until - now) / 1000));
  if (validUntil !== undefined && left(validUntil) === 0) return undefined;
  return {
    ...address,
    ...(validUntil !== undefined && { validLifetime: left(validUntil) }),
    ...(preferredUntil !== undefined && { preferredLifetime: preferredUntil === 0 ? 0 : left(preferredUntil) }),
  };
}

/** Without duplicate address detection, during which the kernel lets no route come from it. */
export function usableAtOnce(address: Address): Address {
  if (!address.address.includes(':') || address.flags?.includes('nodad') === true) return address;
  return { ...address, flags: ['nodad', ...(address.flags ?? []).filter((flag) => flag !== 'optimistic')] };
}

/** Duplicate address detection is under way: an address that is put back has none. */
export function isTentative(read: object | undefined): boolean {
  const { flags = [] } = (read ?? {}) as Partial<Address>;
  return flags.includes('tentative') && !flags.includes('nodad');
}

/** How an address stands there between being put back and being made what it was. */
export function temporaryForm(value: Value): Value {
  return usableAtOnce(value as unknown as Address) as unknown as Value;
}
