import { array, boolean, check, interfaceName, optional, options, splitCidr } from '../check.js';
import * as v from 'valibot';
import type { GuestNetwork, GuestRoute } from './network.js';
import { families, familyOf, isLinkLocal6 } from './prefix.js';
import {
  type Guests,
  type LossOptions,
  type Rendered,
  Report,
  describe,
  isOnLink,
  isOffSubnet,
  lossEntries,
  otherRoutes,
} from './report.js';
import { type Yaml, yaml } from './yaml.js';

export interface CloudInitOptions extends LossOptions {
  /** Of network-config. Default 2. 1: where the guest has no netplan, for its gateways outside of the subnet. */
  readonly version?: 1 | 2;
  /** Whether the guest has netplan, which is given version 2 as it is. Elsewhere cloud-init translates it, and drops `on-link` silently. Default true. */
  readonly netplan?: boolean;
  /** What the interfaces are renamed to; they are found by their MACs. Default: as in the pod. */
  readonly names?: readonly string[];
}

export interface CloudInitRendered extends Rendered {
  /** The file network-config of a NoCloud volume. */
  readonly text: string;
  readonly networkConfig: Readonly<Record<string, unknown>>;
  /** For meta-data, which needs an `instance-id` too. */
  readonly metaData: { readonly 'local-hostname'?: string };
  /** The same for the kernel's command line, where it goes before every other source. */
  readonly kernelParameter: string;
}

const schema = options({
  version: optional(v.picklist([1, 2], 'must be 1 or 2')),
  netplan: optional(boolean),
  names: optional(array(interfaceName)),
  ...lossEntries,
});

/**
 * cloud-init's network-config, version 2 (or 1): every address of both families, routes with metrics, gateways outside of the subnet, MTU,
 * DNS servers and domains; interfaces are found by their MACs. Every text in it is quoted: YAML reads some MACs as numbers.
 *
 * Version 2 says a gateway outside of the subnet by `on-link: true`, routes on the link by `scope: link`, routes that lead nowhere by
 * `type`: words that only netplan knows. Version 1 says a gateway outside of the subnet too, to guests whose network is netplan's or
 * systemd-networkd's, if their cloud-init is newer than 22.4.
 *
 * cloud-init, doc/rtd/reference/network-config-format-v2.rst, -v1.rst, datasources/nocloud.rst; cloudinit/net/network_state.py
 * (_v2_to_v1_ipcfg), netplan.py (should_add_gateway_onlink_flag). netplan, doc/netplan-yaml.md.
 * @throws GuestConfigError routes with several legs; for version 1, or without netplan, what only netplan knows; an interface's name
 * @example await writeFile('seed/network-config', cloudInit(guest).text)
 */
export function cloudInit(guests: Guests, settings: CloudInitOptions = {}): CloudInitRendered {
  const { version = 2, netplan = true, names, without } = check(schema, settings, 'cloudInit');
  const report = new Report('cloudInit', without);
  const networks = report.takeAll(guests);
  const called = names ?? networks.map(({ link }) => link);
  if (called.length !== networks.length || new Set(called).size !== called.length)
    throw report.error('names', `cloudInit: there are ${networks.length} interfaces, and names for ${new Set(called).size}: ${called.join(', ')}; say names: ['eth0', 'eth1']`); // prettier-ignore
  const bad = called.find((name) => !/^[\w.-]+$/.test(name));
  if (bad !== undefined)
    throw report.error(
      'names',
      `cloudInit: an interface's name is letters, digits, '.', '-' and '_' there; received ${JSON.stringify(bad)}`,
    );
  const macs = new Set(networks.map(({ mac }) => mac));
  if (macs.size !== networks.length) throw report.error('mac', 'cloudInit: interfaces are found by their MACs, and two have the same');
  const hosts = [...new Set(networks.map(({ hostname }) => hostname).filter((name) => name !== undefined))];
  for (const other of hosts.slice(1)) report.note('hostname', `${other}: a guest has one name, ${hosts[0]!}`);
  const each = networks.map((network, index) => ({ network, name: called[index]! }));
  const networkConfig: { readonly [key: string]: Yaml } =
    version === 2
      ? { version, ethernets: Object.fromEntries(each.map(({ network, name }) => [name, ethernet(report, network, name, netplan)])) }
      : { version, config: each.map(({ network, name }) => physical(report, network, name)) };
  for (const { network } of each) report.noNeighbors(network);
  const text = yaml(networkConfig);
  return {
    text,
    networkConfig,
    metaData: hosts[0] === undefined ? {} : { 'local-hostname': hosts[0] },
    kernelParameter: `network-config=${btoa(text)}`,
    untold: report.untold,
  };
}

// ------------------------------------------------------------------ version 2

function ethernet(report: Report, network: GuestNetwork, name: string, netplan: boolean): Yaml {
  const { mac, mtu, addresses, dns } = network;
  const routes = network.routes.map((route) => netplanRoute(report, network, route, netplan)).filter((route) => route !== undefined);
  return {
    match: { macaddress: mac },
    'set-name': name,
    mtu,
    addresses: addresses.map(({ address }) => address),
    ...(routes.length > 0 && { routes }),
    ...((dns.servers.length > 0 || dns.search.length > 0) && {
      nameservers: { ...(dns.servers.length > 0 && { addresses: dns.servers }), ...(dns.search.length > 0 && { search: dns.search }) },
    }),
  };
}

function netplanRoute(report: Report, network: GuestNetwork, route: GuestRoute, netplan: boolean): Yaml | undefined {
  const { dst, via, type, nexthops, metric, mtu, src } = route;
  const only = 'only netplan knows the word; say version: 1';
  const lose = (what: string, instead?: string): undefined => {
    report.lose('routes', 'routes', `${what}: ${describe(route)}`, instead);
    return undefined;
  };
  if (nexthops !== undefined) return lose('no word for routes with several legs');
  if (via !== undefined && familyOf(via) !== familyOf(dst)) return lose('no word for a gateway of the other family');
  if (!netplan) {
    if (type !== undefined) return lose('no word for routes that lead nowhere');
    if (via === undefined) return lose('no word for routes on the link');
    const family = familyOf(dst);
    if (route.onlink === true && !isLinkLocal6(via)) {
      if (network.gateway[family] !== via) return lose(`the gateway is outside of the subnets, and ${only}`);
      report.lose('gateway', `gateway.${family}`, `the gateway ${via} is outside of the subnets, and ${only}`);
      return undefined;
    }
  }
  return {
    to: dst,
    ...(via === undefined ? (type === undefined ? { scope: 'link' } : { type }) : { via, ...(route.onlink === true && netplan && { 'on-link': true }) }), // prettier-ignore
    ...(metric !== undefined && { metric }),
    ...(mtu !== undefined && { mtu }),
    ...(src !== undefined && netplan && { from: src }),
  };
}

// ------------------------------------------------------------------ version 1

function physical(report: Report, network: GuestNetwork, name: string): Yaml {
  const { mac, mtu, addresses, dns } = network;
  const subnets: Record<string, Yaml>[] = addresses.map(({ address }) => ({
    type: familyOf(address) === 'ipv6' ? 'static6' : 'static',
    address,
  }));
  for (const family of families) {
    const own = subnets.find(({ address }) => familyOf(address as string) === family);
    if (own === undefined) {
      report.noteRoutes(network, family, 'there is no address of that family');
      continue;
    }
    const inside = addresses.map(({ address }) => address);
    const routes: Yaml[] = [];
    for (const route of otherRoutes(network, family)) {
      const { dst, via, metric, mtu: routeMtu } = route;
      const why =
        route.type !== undefined || route.nexthops !== undefined
          ? 'no word for routes that lead nowhere or have several legs'
          : isOnLink(route) || via === undefined
            ? 'no word for routes on the link'
            : familyOf(via) !== family || (!isLinkLocal6(via) && isOffSubnet(via, inside) && via !== network.gateway[family])
              ? 'no word for gateways outside of the subnets but the default one'
              : undefined;
      if (why !== undefined) {
        report.lose('routes', 'routes', `${why}: ${describe(route)}`, 'say version: 2 to a guest with netplan');
        continue;
      }
      if (routeMtu !== undefined && routeMtu < mtu) report.lose('mtu', 'routes', `no word for the MTU ${routeMtu} of ${describe(route)}`);
      const { address: target, length } = splitCidr(dst);
      routes.push({ destination: `${target}/${length}`, gateway: via!, ...(metric !== undefined && { metric }) });
    }
    const gateway = network.gateway[family];
    if (gateway !== undefined) {
      own.gateway = gateway;
      if (!isLinkLocal6(gateway) && isOffSubnet(gateway, inside))
        report.note('gateway', `${gateway} is outside of the subnets: cloud-init 22.4 did not say so to the guest, later ones do where its network is netplan's or networkd's`); // prettier-ignore
    }
    if (routes.length > 0) own.routes = routes;
    const chosen = network.routes.find((route) => route.via === gateway && /^(0\.0\.0\.0|::)\/0$/.test(route.dst));
    if (chosen?.mtu !== undefined && chosen.mtu < mtu)
      report.lose('mtu', 'routes', `no word for the MTU ${chosen.mtu} of ${describe(chosen)}`);
  }
  const [first] = subnets;
  if (first !== undefined) {
    if (dns.servers.length > 0) first.dns_nameservers = dns.servers;
    if (dns.search.length > 0) first.dns_search = dns.search;
  } else {
    report.servers(network, 0);
    report.noSearch(network);
  }
  return { type: 'physical', name, mac_address: mac, mtu, subnets };
}
