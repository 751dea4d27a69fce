import { array, check, interfaceName, oneOf, optional, options, splitCidr } from '../check.js';
import type { GuestNetwork, GuestRoute } from './network.js';
import { families, familyOf, isDefault, isLinkLocal6, widthOf } from './prefix.js';
import { type Guests, type LossOptions, type Rendered, Report, describe, isOnLink, isOffSubnet, lossEntries } from './report.js';

export interface DracutCmdlineOptions extends LossOptions {
  /** Who reads it: 'dracut' (its network-legacy module; default), or 'systemd' (systemd-network-generator, in dracut since 050 too). */
  readonly reader?: 'dracut' | 'systemd';
  /** The guest's names for its interfaces. Default: 'eth0', 'eth1', ... */
  readonly devices?: readonly string[];
}

export interface DracutCmdlineRendered extends Rendered {
  /** The parameters, joined by spaces. None of their characters needs quoting. */
  readonly text: string;
  readonly parameters: readonly string[];
}

const schema = options({ reader: optional(oneOf('dracut', 'systemd')), devices: optional(array(interfaceName)), ...lossEntries });

/**
 * `ip=`, `nameserver=` and `rd.route=` as an initramfs reads them: `ip=172.17.0.5::172.17.0.1:16:podname:eth0:none:1450`. Prefix lengths, MTU,
 * IPv6 (in brackets), routes, several interfaces. The MAC is the device's.
 *
 * A gateway outside of the subnet is told of a /32 (or /128) as its peer: `ip=172.17.0.5:169.254.1.1:169.254.1.1:32:...`; of a wider prefix
 * by a route to it on the link, which systemd-network-generator does not take (the newer ones refuse routes without a gateway). dracut
 * takes one `ip=` for each interface, thus one address; systemd-network-generator takes several. Neither has a word for domains to
 * search or route metrics.
 *
 * dracut.cmdline(7); dracut, modules.d/35network-legacy/parse-ip-opts.sh, ifup.sh, 40network/net-lib.sh; systemd, src/network/generator/network-generator.c.
 * @throws GuestConfigError several addresses, for dracut; routes that lead nowhere or have several legs; for systemd a gateway
 *   outside of a subnet wider than /32, routes without a gateway
 * @example dracutCmdline(guest, { reader: 'systemd' }).text
 */
export function dracutCmdline(guests: Guests, settings: DracutCmdlineOptions = {}): DracutCmdlineRendered {
  const { reader = 'dracut', devices, without } = check(schema, settings, 'dracutCmdline');
  const report = new Report('dracutCmdline', without);
  const networks = report.takeAll(guests);
  const names = devices ?? networks.map((_, index) => `eth${index}`);
  if (names.length !== networks.length || new Set(names).size !== names.length)
    throw report.error('devices', `dracutCmdline: there are ${networks.length} interfaces, and names for ${new Set(names).size}`);
  const bad = names.find((name) => /["'[\]\\]/.test(name));
  if (bad !== undefined) throw report.error('devices', `dracutCmdline: '${bad}' contains what is syntax there`);
  const parameters = networks.flatMap((network, index) => oneInterface(report, network, names[index]!, reader));
  const servers = [...new Set(networks.flatMap(({ dns }) => dns.servers))];
  parameters.push(...servers.map((server) => `nameserver=${server}`));
  return { text: parameters.join(' '), parameters, untold: report.untold };
}

function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

function oneInterface(report: Report, network: GuestNetwork, device: string, reader: 'dracut' | 'systemd'): string[] {
  const { mtu, hostname = '' } = network;
  let told = network.addresses.map(({ address }) => address);
  if (told.length === 0) throw report.error('addresses', `dracutCmdline: there is no address, and ip= would ask for one`);
  if (reader === 'dracut' && told.length > 1) {
    const others = told.slice(1);
    const loss = others.every((one) => familyOf(one) === 'ipv6') && familyOf(told[0]!) === 'ipv4' ? 'ipv6' : 'addresses';
    report.lose(loss, 'addresses', `dracut takes one address for each interface, ${told[0]!}; there is more: ${others.join(', ')}`, "use reader: 'systemd' where systemd-network-generator reads it"); // prettier-ignore
    told = told.slice(0, 1);
  }
  const lines: string[] = [];
  const covered = new Set<GuestRoute>();
  const near = [...told]; // what is on the link
  const onLink = (dst: string): string => `rd.route=${dst.includes(':') ? `[${dst}]` : dst}::${device}`;
  for (const family of families) {
    const own = told.filter((one) => familyOf(one) === family);
    const gateway = own.length === 0 ? undefined : network.gateway[family];
    const { peer, usable } = gateway === undefined ? {} : place(report, gateway, own, reader);
    own.forEach((one, index) => {
      const { address, length } = splitCidr(one);
      const first = index === 0;
      const fields = [bracketed(address), first && peer !== undefined ? bracketed(peer) : '', first && usable !== undefined ? bracketed(usable) : '', length, hostname, device, 'none', mtu]; // prettier-ignore
      lines.push(`ip=${fields.join(':')}`);
    });
    if (own.length === 0) continue;
    if (usable !== undefined) {
      const host = `${usable}/${widthOf(family)}`;
      if (peer === undefined && !isLinkLocal6(usable) && isOffSubnet(usable, near)) {
        lines.push(onLink(host));
        for (const route of network.routes) if (isOnLink(route) && route.dst === host) covered.add(route);
      }
      near.push(host);
    }
    for (const route of network.routes) {
      // The peer makes the route to itself, the gateway field the default route.
      const isGateway = gateway !== undefined && route.via === gateway && isDefault(route.dst) && familyOf(route.dst) === family;
      const toPeer = peer !== undefined && isOnLink(route) && route.dst === `${peer}/${widthOf(family)}`;
      if ((isGateway && !covered.has(route)) || toPeer) {
        covered.add(route);
        if (route.mtu !== undefined && route.mtu < mtu) report.lose('mtu', 'routes', `no word for the MTU ${route.mtu} of ${describe(route)}`, `give the guest an mtu of ${route.mtu}`); // prettier-ignore
      }
    }
  }
  if (reader === 'dracut') near.push(...network.routes.filter(isOnLink).map(({ dst }) => dst));
  // Those on the link first: others may lead by them.
  for (const route of [...network.routes].sort((a, b) => Number(isOnLink(b)) - Number(isOnLink(a)))) {
    if (covered.has(route)) continue;
    if (!told.some((one) => familyOf(one) === familyOf(route.dst)))
      report.note('routes', `${describe(route)}: no address of its family is told`);
    else if (isOnLink(route) && reader === 'dracut') lines.push(onLink(route.dst));
    else lines.push(...byGateway(report, network, route, device, near));
    if (isOnLink(route) && route.mtu !== undefined && route.mtu < mtu) report.lose('mtu', 'routes', `no word for the MTU ${route.mtu} of ${describe(route)}`); // prettier-ignore
  }
  report.noSearch(network);
  report.noNeighbors(network);
  return lines;
}

/** How a gateway is told: in the gateway field, and outside of the subnets as the peer of a /32 too. */
function place(
  report: Report,
  gateway: string,
  own: readonly string[],
  reader: string,
): { readonly peer?: string; readonly usable?: string } {
  // prettier-ignore
  if (isLinkLocal6(gateway) || !isOffSubnet(gateway, own)) return { usable: gateway };
  const { address, length, family } = splitCidr(own[0]!);
  if (length === widthOf(family)) return { peer: gateway, usable: gateway };
  // dracut sets the default route once more after the others (net-lib.sh, setup_net).
  if (reader === 'dracut') return { usable: gateway };
  report.lose('gateway', `gateway.${family}`, `the gateway ${gateway} is outside of ${own.join(', ')}, which can be told of a /${widthOf(family)} only`, `give the guest ${address}/${widthOf(family)}`); // prettier-ignore
  return {};
}

function byGateway(report: Report, network: GuestNetwork, route: GuestRoute, device: string, near: readonly string[]): readonly string[] {
  const { dst, via, type, nexthops, metric, mtu } = route;
  const why =
    type !== undefined || nexthops !== undefined
      ? 'no word for routes that lead nowhere or have several legs'
      : via === undefined
        ? 'systemd-network-generator takes no route without a gateway'
        : familyOf(via) !== familyOf(dst)
          ? 'no word for a gateway of the other family'
          : !isLinkLocal6(via) && isOffSubnet(via, near)
            ? 'no word for a gateway outside of the subnets'
            : undefined;
  if (why !== undefined || via === undefined) {
    report.lose('routes', 'routes', `${why}: ${describe(route)}`);
    return [];
  }
  if (mtu !== undefined && mtu < network.mtu) report.lose('mtu', 'routes', `no word for the MTU ${mtu} of ${describe(route)}`, `give the guest an mtu of ${mtu}`); // prettier-ignore
  if (metric !== undefined) report.note('routes', `${describe(route)}: no word for the metric`);
  return [`rd.route=${familyOf(dst) === 'ipv6' ? `[${dst}]` : dst}:${bracketed(via)}:${device}`];
}
