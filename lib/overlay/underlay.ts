import type { LinkRef } from '../check.js';
import { findLink } from '../kernel/link.js';
import type { Netns } from '../kernel/netns.js';
import { listAddresses } from '../primitive/address.js';
import { listRoutes } from '../primitive/route.js';
import type { Address } from '../wire/address.js';
import { OverlayError } from './error.js';
import { type Family, parseAddress, formatAddress, masked, subnet } from './subnet.js';
import type { Underlay } from './wanted.js';

export interface UnderlaySettings {
  readonly underlay?: LinkRef | undefined;
  readonly publicIp?: string | undefined;
  readonly publicIpv6?: string | undefined;
}

/** The underlay's name, and by which addresses the others reach this node. */
export interface FoundUnderlay {
  readonly name: string;
  readonly ipv4?: string;
  readonly ipv6?: string;
}

/**
 * The interface that was named; else the one that has the public address; else, as flannel does it, that of the default route. The public
 * address is the one that was given, which may be another's (a NAT's) where the interface was named; else its first one.
 */
export async function findUnderlay(node: Netns, settings: UnderlaySettings, families: readonly Family[]): Promise<FoundUnderlay> {
  const given = { ipv4: normal('ipv4', settings.publicIp), ipv6: normal('ipv6', settings.publicIpv6) };
  const ifindex = settings.underlay ?? (await indexBy(node, families, given));
  const link = await findLink(node, ifindex);
  if (link === undefined) throw new OverlayError('ERR_OVERLAY_UNDERLAY', `there is no interface '${ifindex}' to be the underlay`, { about: String(ifindex) }); // prettier-ignore
  const addresses = await listAddresses(node, { link: link.ifindex });
  const found: { ipv4?: string; ipv6?: string } = {};
  for (const family of families) {
    const own = ownAddresses(addresses, family);
    const publicIp = given[family] ?? own[0];
    if (publicIp === undefined || own.length === 0) {
      throw new OverlayError('ERR_OVERLAY_UNDERLAY', `'${link.name}' has no ${family} address for the others to reach this node by`, { about: link.name }); // prettier-ignore
    }
    found[family] = publicIp;
  }
  return { name: link.name, ...found };
}

function normal(family: Family, address: string | undefined): string | undefined {
  return address === undefined ? undefined : formatAddress(family, parseAddress(family, address)!);
}

async function indexBy(node: Netns, families: readonly Family[], given: Readonly<Record<Family, string | undefined>>): Promise<number> {
  const publicIp = families.map((family) => given[family]).find((address) => address !== undefined);
  if (publicIp !== undefined) {
    const owner = (await listAddresses(node)).find(({ address }) => address.startsWith(`${publicIp}/`));
    if (owner?.ifindex !== undefined) return owner.ifindex;
    throw new OverlayError('ERR_OVERLAY_UNDERLAY', `no interface has the address ${publicIp}; where it is a NAT's, 'underlay' says which interface to use`, { about: publicIp }); // prettier-ignore
  }
  for (const family of families) {
    const routes = (await listRoutes(node, { family })).filter(({ dst }) => dst === '0.0.0.0/0' || dst === '::/0');
    const [best] = routes.sort((a, b) => (a.metric ?? 0) - (b.metric ?? 0));
    const dev = best?.dev ?? best?.nexthops?.[0]?.dev;
    if (typeof dev === 'number') return dev;
  }
  throw new OverlayError('ERR_OVERLAY_UNDERLAY', "there is no default route that would say which interface is the underlay: name it by 'underlay', or an address of it by 'publicIp'"); // prettier-ignore
}

/** Global ones, the first first. */
function ownAddresses(addresses: readonly Address[], family: Family): string[] {
  return addresses
    .filter(
      ({ address, scope, flags }) =>
        address.includes(':') === (family === 'ipv6') && scope === 'global' && flags?.includes('deprecated') !== true,
    ) // prettier-ignore
    .map(({ address }) => address.slice(0, address.indexOf('/')));
}

/** As it is now: its index and MTU may have changed, and its name says which one it is. */
export async function readUnderlay(node: Netns, { name, ...publicIps }: FoundUnderlay): Promise<Underlay> {
  const link = await findLink(node, name);
  if (link === undefined) throw new OverlayError('ERR_OVERLAY_UNDERLAY', `the underlay '${name}' is gone`, { about: name });
  const addresses = await listAddresses(node, { link: link.ifindex });
  const local: { ipv4?: string; ipv6?: string } = {};
  for (const family of ['ipv4', 'ipv6'] as const) {
    const publicIp = publicIps[family];
    if (publicIp === undefined) continue;
    const own = ownAddresses(addresses, family);
    const address = own.includes(publicIp) ? publicIp : own[0];
    if (address === undefined) throw new OverlayError('ERR_OVERLAY_UNDERLAY', `the underlay '${name}' has no ${family} address any more`, { about: name }); // prettier-ignore
    local[family] = address;
  }
  const segments = addresses
    .filter(({ peer, scope, flags }) => peer === undefined && scope === 'global' && flags?.includes('noprefixroute') !== true)
    .map(({ address }) => {
      const family = address.includes(':') ? 'ipv6' : 'ipv4';
      const [own = '', length] = address.split('/');
      return subnet(family, masked(family, parseAddress(family, own)!, Number(length)), Number(length));
    });
  return { name, ifindex: link.ifindex, mtu: link.mtu, local, segments };
}
