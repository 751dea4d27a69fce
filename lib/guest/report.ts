// How a renderer says what it cannot tell: by an error, or, where the caller accepted the loss, by a note.
import { array, oneOf, optional, splitCidr } from '../check.js';
import { GuestConfigError, type Loss } from './error.js';
import { type GuestNetwork, type GuestNote, type GuestRoute, complete } from './network.js';
import { type Family, contains, familyOf, isDefault, titles, widthOf } from './prefix.js';

/** What every renderer of a guest's own configuration takes. */
export interface LossOptions {
  /**
   * What the guest may do without, where its language has no words for it: 'ipv4' or 'ipv6' a whole family; 'addresses' all but the first of
   * each; 'gateway' the default route; 'routes' those other than the default; 'mtu' one other than the guest's own. Without it, that is a
   * GuestConfigError. What was left out is in `untold`.
   */
  readonly without?: readonly Loss[];
}

export const lossEntries = { without: optional(array(oneOf('ipv4', 'ipv6', 'addresses', 'gateway', 'routes', 'mtu'))) };

/** Every renderer's result has it. */
export interface Rendered {
  /** What the description has and this text does not say. */
  readonly untold: readonly GuestNote[];
}

/** One network, or several: a guest with several interfaces. */
export type Guests = GuestNetwork | readonly GuestNetwork[];

export class Report {
  readonly untold: GuestNote[] = [];

  constructor(
    /** The renderer's name. */
    readonly guest: string,
    readonly without: readonly Loss[] = [],
  ) {}

  /** The description, checked: it may come from a file. */
  take(network: GuestNetwork): GuestNetwork {
    const told = complete(network, this.guest);
    for (const { address, validLifetime, preferredLifetime } of told.addresses) {
      if (preferredLifetime === 0) this.note('addresses', `${address} is deprecated, which the guest is not told`);
      if (validLifetime !== undefined) this.note('addresses', `${address} ends in ${validLifetime} s, if nobody renews it`);
    }
    return told;
  }

  /** Of a guest that has one interface. */
  takeOne(guests: Guests): GuestNetwork {
    const list = Array.isArray(guests) ? (guests as readonly GuestNetwork[]) : [guests as GuestNetwork];
    if (list.length !== 1)
      throw this.error('interfaces', `${this.guest}: it configures one interface, and there are ${list.length}; use another form for them (cloudInit, dracutCmdline)`); // prettier-ignore
    return this.take(list[0]!);
  }

  takeAll(guests: Guests): readonly GuestNetwork[] {
    const list = Array.isArray(guests) ? (guests as readonly GuestNetwork[]) : [guests as GuestNetwork];
    if (list.length === 0) throw this.error('interfaces', `${this.guest}: there is no interface`);
    return list.map((one) => this.take(one));
  }

  note(field: string, reason: string): void {
    this.untold.push({ field, reason });
  }

  error(field: string, message: string, loss?: Loss): GuestConfigError {
    return new GuestConfigError(message, { guest: this.guest, field, loss });
  }

  /** Throws, unless the caller does without. `what` is a sentence; `instead` says what can be done about it. */
  lose(loss: Loss, field: string, what: string, instead?: string): void {
    if (!this.without.includes(loss)) {
      const ways = [instead, `accept the loss by without: ['${loss}']`].filter((way) => way !== undefined);
      throw this.error(field, `${this.guest}: ${what}; ${ways.join(', or ')}`, loss);
    }
    this.note(field, what);
  }

  /** The family's first address, of a guest that takes one each; undefined: there is none. */
  oneAddress(network: GuestNetwork, family: Family): { readonly address: string; readonly length: number } | undefined {
    const [first, ...others] = network.addresses.filter(({ address }) => familyOf(address) === family);
    if (first === undefined) {
      this.noteRoutes(network, family, 'there is no address of that family');
      return undefined;
    }
    if (others.length > 0) {
      const more = others.map(({ address }) => address).join(', ');
      this.lose('addresses', 'addresses', `the guest takes one ${titles[family]} address, ${first.address}; there are more: ${more}`);
    }
    return splitCidr(first.address);
  }

  /** For guests that have no words for a family. */
  dropFamily(network: GuestNetwork, family: Family, why: string, instead?: string): void {
    const has = network.addresses.map(({ address }) => address).filter((address) => familyOf(address) === family);
    if (has.length > 0) this.lose(family, 'addresses', `${why}, and there is ${has.join(', ')}`, instead);
    this.noteRoutes(network, family, why);
  }

  noteRoutes(network: GuestNetwork, family: Family, why: string): void {
    const lost = network.routes.filter(({ dst }) => familyOf(dst) === family);
    if (lost.length > 0) this.note('routes', `${lost.map(describe).join(', ')}: ${why}`);
  }

  /** For guests that are told a gateway and no other route. */
  onlyGateway(network: GuestNetwork, family: Family): string | undefined {
    for (const route of otherRoutes(network, family))
      this.lose('routes', 'routes', `the guest takes no route but the default by one gateway, and there is ${describe(route)}`);
    const gateway = network.gateway[family];
    const mtu = network.routes.find((route) => isDefaultBy(route, family, gateway))?.mtu;
    if (mtu !== undefined && mtu < network.mtu)
      this.lose('mtu', 'routes', `the default route has an MTU of ${mtu}, which the guest is not told`, `give the guest an mtu of ${mtu}`);
    return gateway;
  }

  /** The first `count` servers that the guest can be told. */
  servers(network: GuestNetwork, count: number, only?: Family): readonly string[] {
    const usable = network.dns.servers.filter((server) => only === undefined || familyOf(server) === only);
    const told = usable.slice(0, count);
    const rest = network.dns.servers.filter((server) => !told.includes(server));
    if (rest.length > 0) this.note('dns.servers', `${rest.join(', ')}: ${count === 0 ? 'there is no word for servers' : `the guest takes ${count}${only === undefined ? '' : `, ${titles[only]} only`}`}`); // prettier-ignore
    return told;
  }

  noSearch({ dns: { search } }: GuestNetwork): void {
    if (search.length > 0) this.note('dns.search', `${search.join(', ')}: there is no word for domains to search`);
  }

  noHostname({ hostname }: GuestNetwork): void {
    if (hostname !== undefined) this.note('hostname', `${hostname}: there is no word for a host name`);
  }

  /** Guests ask by ARP and ND: only what was set by hand could be missed. */
  noNeighbors({ neighbors }: GuestNetwork): void {
    const set = neighbors.filter(({ permanent }) => permanent === true).map(({ address, mac }) => `${address} at ${mac}`);
    if (set.length > 0) this.note('neighbors', `${set.join(', ')}: there is no word for neighbours`);
  }
}

function isDefaultBy(route: GuestRoute, family: Family, gateway: string | undefined): boolean {
  const { dst, via, nexthops, type } = route;
  return isDefault(dst) && familyOf(dst) === family && via !== undefined && via === gateway && nexthops === undefined && type === undefined;
}

/** What is not said by naming the gateway. The route to a gateway outside of the subnets goes without saying. */
export function otherRoutes(network: GuestNetwork, family: Family): readonly GuestRoute[] {
  const gateway = network.gateway[family];
  const chosen = network.routes.find((route) => isDefaultBy(route, family, gateway));
  return network.routes.filter(
    (route) =>
      familyOf(route.dst) === family &&
      route !== chosen &&
      !(isOnLink(route) && gateway !== undefined && route.dst === `${gateway}/${widthOf(family)}`),
  );
}

/** A destination on the link itself. */
export function isOnLink({ via, nexthops, type }: GuestRoute): boolean {
  return via === undefined && nexthops === undefined && type === undefined;
}

/** As ip-route(8) prints it. */
export function describe({ dst, via, metric, type, nexthops }: GuestRoute): string {
  const legs = (nexthops ?? []).map((leg) => `nexthop${leg.via === undefined ? '' : ` via ${leg.via}`}`);
  const words = [type, dst, via === undefined ? undefined : `via ${via}`, metric === undefined ? undefined : `metric ${metric}`, ...legs];
  return words.filter((word) => word !== undefined).join(' ');
}

/** Whether a gateway is in none of the given subnets. */
export function isOffSubnet(gateway: string, subnets: readonly string[]): boolean {
  return !subnets.some((subnet) => contains(subnet, gateway));
}
