// The namespaces of a trace, each with its tables, read once; and where the wires between them lead.
import { type LinkHooks, readHooks } from '../kernel/hooks.js';
import { listLegacyTables } from '../kernel/legacy-tables.js';
import { type Connection, type ConnectionTuple, findConnection } from '../kernel/conntrack.js';
import type { Netns } from '../kernel/netns.js';
import { namespaceNumbers } from '../kernel/nsid.js';
import type { GuestNetwork } from '../guest/network.js';
import { listAddresses } from '../primitive/address.js';
import { listLinks } from '../primitive/link.js';
import { listFdb, listNeighbors } from '../primitive/neighbor.js';
import { listRules } from '../primitive/rule.js';
import { readSysctl } from '../primitive/sysctl.js';
import { splitCidr } from '../check.js';
import type { Address } from '../wire/address.js';
import { type Link, type LinkEnd, namedInet6Conf, namedInetConf } from '../wire/link.js';
import type { FdbEntry, Neighbor } from '../wire/neighbor.js';
import type { Rule } from '../wire/rule.js';
import { Ruleset } from './nft/ruleset.js';

/** A guest behind a TAP or macvtap: what it was told is what it does. */
export interface Guest {
  readonly name: string;
  readonly space: Space;
  readonly network: GuestNetwork;
}

/** A namespace as a trace sees it: what was read once stays. */
export class Space {
  #links: Promise<ReadonlyMap<number, Link>> | undefined;
  #addresses: Promise<readonly Address[]> | undefined;
  #neighbors: Promise<readonly Neighbor[]> | undefined;
  #proxies: Promise<readonly Neighbor[]> | undefined;
  #fdb: Promise<readonly FdbEntry[]> | undefined;
  #rules: Promise<readonly Rule[]> | undefined;
  readonly #legacy: Promise<readonly string[] | undefined>[] = [];
  readonly #connections = new Map<string, Promise<Connection | undefined>>();
  readonly ruleset: Ruleset;
  readonly #hooks = new Map<number, Promise<LinkHooks>>();
  readonly #sysctls = new Map<string, Promise<number>>();

  constructor(
    readonly name: string,
    readonly netns: Netns,
  ) {
    this.ruleset = new Ruleset(netns);
  }

  links(): Promise<ReadonlyMap<number, Link>> {
    return (this.#links ??= listLinks(this.netns).then((links) => new Map(links.map((link) => [link.ifindex, link]))));
  }

  /** By name or ifindex. */
  async link(ref: string | number): Promise<Link | undefined> {
    const links = await this.links();
    if (typeof ref === 'number') return links.get(ref);
    return [...links.values()].find(({ name, altnames }) => name === ref || altnames?.includes(ref) === true);
  }

  addresses(): Promise<readonly Address[]> {
    return (this.#addresses ??= listAddresses(this.netns));
  }

  /** The interface that has an address. */
  async owner(address: string): Promise<number | undefined> {
    return (await this.addresses()).find((one) => splitCidr(one.address).address === address)?.ifindex;
  }

  neighbors(): Promise<readonly Neighbor[]> {
    return (this.#neighbors ??= listNeighbors(this.netns));
  }

  /** Addresses that are answered for. */
  proxies(): Promise<readonly Neighbor[]> {
    return (this.#proxies ??= listNeighbors(this.netns, { proxies: true }));
  }

  fdb(): Promise<readonly FdbEntry[]> {
    return (this.#fdb ??= listFdb(this.netns));
  }

  rules(): Promise<readonly Rule[]> {
    return (this.#rules ??= listRules(this.netns));
  }

  /** Of iptables as it was before nftables: those that somebody asked for. undefined: that may not be read. */
  legacyTables(ipv6: boolean): Promise<readonly string[] | undefined> {
    return (this.#legacy[ipv6 ? 1 : 0] ??= listLegacyTables(this.netns, ipv6));
  }

  /** @throws UnsupportedError, NetlinkError: it is not told */
  connection(tuple: ConnectionTuple): Promise<Connection | undefined> {
    const key = JSON.stringify([tuple.protocol, tuple.source, tuple.destination, tuple.ports.source, tuple.ports.destination]);
    const known = this.#connections.get(key) ?? findConnection(this.netns, tuple);
    this.#connections.set(key, known);
    return known;
  }

  hooks({ ifindex }: Link): Promise<LinkHooks> {
    const known = this.#hooks.get(ifindex) ?? readHooks(this.netns, ifindex);
    this.#hooks.set(ifindex, known);
    return known;
  }

  /** net.ipv4.conf.*: the greater of 'all' and the interface's, or what the kernel makes of both. */
  async ipv4(link: Link, name: 'rp_filter' | 'proxy_arp' | 'accept_local' | 'arp_ignore' | 'route_localnet'): Promise<number> {
    const own = namedInetConf(link.inet?.conf ?? [])[name] ?? 0;
    return Math.max(own, await this.sysctl(`net.ipv4.conf.all.${name}`));
  }

  /** Whether it forwards what comes in by an interface. */
  async forwards(link: Link, ipv6: boolean): Promise<boolean> {
    if (!ipv6) return (namedInetConf(link.inet?.conf ?? []).forwarding ?? 0) !== 0;
    const own = namedInet6Conf(link.inet6?.conf ?? []);
    // Since 6.17 an interface can be told to forward by itself.
    return (own.force_forwarding ?? 0) !== 0 || (await this.sysctl('net.ipv6.conf.all.forwarding')) !== 0;
  }

  sysctl(key: string): Promise<number> {
    const known = this.#sysctls.get(key) ?? readSysctl(this.netns, key).then(Number, () => 0);
    this.#sysctls.set(key, known);
    return known;
  }
}

export interface Place {
  readonly space: Space;
  readonly link: Link;
}

/** All that a trace knows of. */
export class World {
  readonly spaces: ReadonlyMap<string, Space>;
  readonly guests: readonly Guest[];
  readonly #numbers = new Map<Space, Promise<ReadonlyMap<number, Netns>>>();

  constructor(spaces: readonly Space[], guests: readonly Guest[]) {
    this.spaces = new Map(spaces.map((space) => [space.name, space]));
    this.guests = guests;
  }

  /** Where an end of a pair is, or what an interface stands on; 'elsewhere': in a namespace that was not given. */
  async at(space: Space, end: LinkEnd): Promise<Place | 'elsewhere' | undefined> {
    let there: Space | undefined = space;
    if (end.netnsid !== undefined) {
      let numbers = this.#numbers.get(space);
      if (numbers === undefined) this.#numbers.set(space, (numbers = namespaceNumbers(space.netns, this.#netnses())));
      const netns = (await numbers).get(end.netnsid);
      there = [...this.spaces.values()].find((one) => one.netns === netns);
      if (there === undefined) return 'elsewhere';
    }
    const link = await there.link(end.ifindex);
    return link === undefined ? undefined : { space: there, link };
  }

  /** Interfaces, in any namespace, that stand on one. */
  async above(place: Place): Promise<readonly Place[]> {
    const found: Place[] = [];
    for (const space of this.spaces.values()) {
      for (const link of (await space.links()).values()) {
        if (link.lower === undefined || link.lower.ifindex !== place.link.ifindex) continue;
        const lower = await this.at(space, link.lower);
        if (lower !== undefined && lower !== 'elsewhere' && lower.space === place.space) found.push({ space, link });
      }
    }
    return found;
  }

  guestAt({ space, link }: Place): Guest | undefined {
    return this.guests.find((guest) => guest.space === space && guest.network.tap === link.name);
  }

  #netnses(): readonly Netns[] {
    return [...this.spaces.values()].map(({ netns }) => netns);
  }
}
