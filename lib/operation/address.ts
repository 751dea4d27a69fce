import * as v from 'valibot';
import { type LinkRef, type Schema, array, sameFamily, cidr, ifindex, ip, linkRef, optional, options, text, u32, u8 } from '../check.js';
import { keys } from '../state/resource.js';
import { devicesOf } from '../state/route.js';
import type { Value } from '../state/value.js';
import { type Address, RTM_DELADDR, RTM_NEWADDR, encodeAddress, isAddressFlag } from '../wire/address.js';
import { scopes } from '../wire/constants.js';
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from '../wire/message.js';
import type { Route } from '../wire/route.js';
import { type OperationKind, device, netlink, operation, option, words } from './operation.js';
import type { Touching } from './touching.js';

export interface AddressAdd {
  readonly op: 'address.add';
  readonly link: LinkRef;
  readonly address: Address;
  /** Changes the flags and lifetimes of one that is there, instead of failing with EEXIST. */
  readonly replace?: boolean;
}
export interface AddressDelete {
  readonly op: 'address.delete';
  readonly link: LinkRef;
  readonly address: Address;
}

const IFNAMSIZ = 16; // of labels too, with the terminating NUL: uapi/linux/if.h

const flag = v.pipe(text, v.check(isAddressFlag, "must be a flag of ip-address(8), such as 'nodad' or 'noprefixroute'"));
const scope = v.pipe(
  text,
  v.check((value) => scopes.has(value), "must be 'global', 'site', 'link', 'host' or a number"),
);
const label = v.pipe(
  text,
  v.check((value) => Buffer.byteLength(value) < IFNAMSIZ, 'must have at most 15 bytes'),
);
const unknown = array(v.any());

const fields: Schema<Address> = options({
  object: optional(v.literal('address')),
  address: cidr,
  ifindex: optional(ifindex),
  peer: optional(ip),
  broadcast: optional(ip),
  label: optional(label),
  scope: optional(scope),
  flags: optional(array(flag)),
  validLifetime: optional(u32),
  preferredLifetime: optional(u32),
  metric: optional(u32),
  protocol: optional(u8),
  unknown: optional(unknown),
});
/** What is read from the kernel can be added again as it is. */
export const addressSchema = sameFamily(fields, ['peer', 'address'], ['broadcast', 'address']);

/** In the primitives, text stands for an address with nothing but its prefix length. */
export function toAddress(address: string | Address): Address {
  return typeof address === 'string' ? { address } : address;
}

export const addressAdd: OperationKind<AddressAdd> = {
  schema: operation('address.add', {
    link: linkRef,
    address: addressSchema,
    replace: optional(v.boolean()),
  }),
  links: ({ link }) => [link],
  requests: ({ link, address, replace }, find) => [
    netlink(encodeAddress(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | (replace === true ? NLM_F_REPLACE : NLM_F_EXCL), find(link), address)),
  ],
  parts: () => ['address'],
  touches: ({ link, address }, on) => on.mayChange(keys.address(on.find(link), address.address, address.peer)),
  command: ({ link, address, replace }) => `ip address ${replace === true ? 'replace' : 'add'} ${addressWords(link, address)}`,
};

export const addressDelete: OperationKind<AddressDelete> = {
  schema: operation('address.delete', { link: linkRef, address: addressSchema }),
  links: ({ link }) => [link],
  requests: ({ link, address: { address, peer } }, find) => [
    netlink(encodeAddress(RTM_DELADDR, NLM_F_ACK, find(link), { address, ...(peer !== undefined && { peer }) })),
  ],
  parts: () => ['address', 'route', 'neighbor', 'proxy'],
  touches: ({ link, address }, on) => {
    const index = on.find(link);
    on.will(keys.address(index, address.address, address.peer), undefined);
    if (address.address.includes(':')) touchIpv6(address, index, on);
    else touchIpv4(index, on);
  },
  command: ({ link, address }) => words('ip', 'address', 'delete', ...ownWords(address), 'dev', device(link)),
};

// What goes with an address, as measured on Linux 6.18: its secondaries, unless promote_secondaries is set; routes with that source, of
// any interface; with the last one every route of the interface. What the kernel makes for an address in table local goes and comes with it.
function touchIpv4(index: number, on: Touching): void {
  const isIpv4 = (text: string): boolean => !text.includes(':');
  on.mayGo('address', ({ link, value }) => link === index && isIpv4((value as unknown as Address).address));
  const sources = on.addressesOf(index);
  for (const { kind, key, value } of on.state.resources.values()) {
    const route = value as unknown as Route;
    if (kind !== 'route' || !isIpv4(route.dst)) continue;
    const here = devicesOf(route).includes(index);
    // Where a secondary takes the place of its primary, the kernel's routes get its source.
    if (here && route.protocol === 'kernel') on.mayChange(key);
    else if (here || sources.has(route.src)) on.will(key, undefined);
  }
  // With the last address the interface forgets ARP, proxies and permanent neighbours too (fib_disable_ip, arp_ifdown).
  for (const kind of ['neighbor', 'proxy'] as const)
    on.mayGo(kind, ({ link, value }) => link === index && isIpv4((value as { address: string }).address));
}

/** Routes stay, without that source: in all tables, of all interfaces. The kernel's own for it go, or are given an end: that of an address that is left. */
function touchIpv6({ address }: Address, index: number, on: Touching): void {
  const [own] = address.split('/');
  for (const { kind, key, value } of on.state.resources.values()) {
    if (kind !== 'route') continue;
    const { src, ...route } = value as { [name: string]: Value; src?: string; dst: string; protocol: string };
    if (!route.dst.includes(':')) continue;
    if (src === own) on.will(key, undefined, route);
    else if (route.protocol === 'kernel' && devicesOf(value as unknown as Route).includes(index)) on.mayChange(key);
  }
}

/** Flags that the kernel keeps by itself and ip(8) does not take. */
const reported = new Set(['permanent', 'tentative', 'dadfailed', 'deprecated', 'secondary', 'stable-privacy']);

function ownWords({ address, peer }: Address): (string | undefined)[] {
  const [local, length] = address.split('/');
  return peer === undefined ? [address] : [local, 'peer', length === undefined ? peer : `${peer}/${length}`];
}

function addressWords(link: LinkRef, address: Address): string {
  return words(
    ...ownWords(address),
    ...option('broadcast', address.broadcast),
    ...option('label', address.label),
    ...option('scope', address.scope),
    ...option('metric', address.metric),
    'dev',
    device(link),
    ...option('valid_lft', address.validLifetime),
    ...option('preferred_lft', address.preferredLifetime ?? address.validLifetime), // ip(8) takes it for for ever
    ...(address.flags ?? []).filter((name) => !reported.has(name)),
  );
}
