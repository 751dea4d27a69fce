import { array, check, either, splitCidr, text } from '../check.js';
import type { GuestNetwork } from './network.js';
import { netmask } from './prefix.js';
import { type Rendered, Report, describe, otherRoutes } from './report.js';

export interface KeywordsRendered<T> extends Rendered {
  /** The template with values in it: a text for a text, a list for a list. */
  readonly text: T;
  /** By keyword, without the angle brackets; absent: the network has no such thing. */
  readonly values: Readonly<Record<string, string | undefined>>;
}

type Field = readonly [field: string, value: (network: GuestNetwork) => string | undefined];

const first = (network: GuestNetwork, family: 'ipv4' | 'ipv6'): ReturnType<typeof splitCidr> | undefined =>
  network.addresses.map(({ address }) => splitCidr(address)).find((one) => one.family === family);

/** Every keyword there is. Those without a number are IPv4's. */
const keywordTable: Readonly<Record<string, Field>> = {
  tap: ['tap', ({ tap }) => tap],
  link: ['link', ({ link }) => link],
  mac: ['mac', ({ mac }) => mac],
  mtu: ['mtu', ({ mtu }) => String(mtu)],
  ip: ['addresses', (network) => first(network, 'ipv4')?.address],
  cidr: ['addresses', (network) => lengthOf(first(network, 'ipv4'))],
  mask: ['addresses', (network) => mask(first(network, 'ipv4')?.length)],
  gw: ['gateway.ipv4', ({ gateway }) => gateway.ipv4],
  ip6: ['addresses', (network) => first(network, 'ipv6')?.address],
  cidr6: ['addresses', (network) => lengthOf(first(network, 'ipv6'))],
  gw6: ['gateway.ipv6', ({ gateway }) => gateway.ipv6],
  dns: ['dns.servers', ({ dns }) => dns.servers[0]],
  search: ['dns.search', ({ dns }) => (dns.search.length === 0 ? undefined : dns.search.join(' '))],
  hostname: ['hostname', ({ hostname }) => hostname],
};

function lengthOf(own: { readonly length: number } | undefined): string | undefined {
  return own === undefined ? undefined : String(own.length);
}
function mask(length: number | undefined): string | undefined {
  return length === undefined ? undefined : netmask(length);
}

const KEYWORD = new RegExp(`<(${Object.keys(keywordTable).join('|')})>`, 'g');
const schema = either(text, array(text), 'must be a text or a list of texts');

/**
 * For any other guest: a template, in which `<tap>` `<ip>` `<cidr>` `<mask>` `<gw>` `<mac>` `<mtu>` `<dns>` are replaced, and `<ip6>`
 * `<cidr6>` `<gw6>` `<search>` `<hostname>` `<link>`. `<cidr>` is the prefix length alone, `<mask>` the same in dotted form; `<ip>` is the first IPv4
 * address, `<dns>` the first server, whatever its family; what else stands in angle brackets is left as it is. A list is replaced word by
 * word, for execve; a text is not quoted for any shell: no value but `<tap>` and `<link>` has a character that would need it.
 *
 * The keywords `<tap>`, `<ip>`, `<cidr>` and `<gw>` are those of the Nabla containers' blog (2019-03-26, k8s-network).
 * @throws GuestConfigError the template asks for what the network has not
 * @example keywords(guest, ['--net=<tap>', '--ip=<ip>/<cidr>', '--gw=<gw>']).text
 */
export function keywords<const T extends string | readonly string[]>(
  guest: GuestNetwork,
  template: T,
): KeywordsRendered<T extends string ? string : readonly string[]> {
  // prettier-ignore
  const report = new Report('keywords');
  const network = report.take(guest);
  const given = check(schema, template, 'keywords');
  const values = Object.fromEntries(Object.entries(keywordTable).map(([name, [, value]]) => [name, value(network)]));
  const used = new Set<string>();
  const fill = (word: string): string =>
    word.replace(KEYWORD, (_, name: string) => {
      used.add(name);
      const value = values[name];
      if (value === undefined)
        throw report.error(keywordTable[name]![0], `keywords: the template asks for <${name}>, and the network has no such thing`);
      return value;
    });
  const filled = typeof given === 'string' ? fill(given) : given.map(fill);
  const asked = (name: string): boolean => used.has(name);
  for (const family of ['ipv4', 'ipv6'] as const) {
    const own = network.addresses.map(({ address }) => address).filter((address) => splitCidr(address).family === family);
    const told = asked(family === 'ipv4' ? 'ip' : 'ip6') ? 1 : 0;
    const routes = otherRoutes(network, family).map(describe);
    const gateway = network.gateway[family];
    if (gateway !== undefined && !asked(family === 'ipv4' ? 'gw' : 'gw6')) routes.unshift(`default via ${gateway}`);
    if (routes.length > 0) report.note('routes', `${routes.join(', ')}: not in the template`);
    if (own.length > told) report.note('addresses', `${own.slice(told).join(', ')}: not in the template`);
  }
  const servers = network.dns.servers.slice(asked('dns') ? 1 : 0);
  if (servers.length > 0) report.note('dns.servers', `${servers.join(', ')}: not in the template`);
  return { text: filled as T extends string ? string : readonly string[], values, untold: report.untold };
}
