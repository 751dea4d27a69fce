import { array, boolean, check, interfaceName, optional, options, text } from '../check.js';
import { type OffSubnetOptions, fitGateway, offSubnetEntries } from './gateway.js';
import { isLinkLocal6 } from './prefix.js';
import { type Guests, type LossOptions, type Rendered, Report, isOffSubnet, lossEntries } from './report.js';

export interface RumprunOptions extends LossOptions, OffSubnetOptions {
  /** The guest's name for it. Default 'ukvmif0', on Solo5; 'vioif0' on virtio, 'xenif0' on Xen. */
  readonly interface?: string;
  /** The interface is made by the guest. Default: true for ukvmif0, false else. */
  readonly cloner?: boolean;
  /** The program and its arguments, which the guest splits at white space; single quotes group. */
  readonly cmdline?: string;
  /** 'NAME=VALUE'. */
  readonly env?: readonly string[];
  /** Of nabla's fork only. */
  readonly cwd?: string;
}

export interface RumprunRendered extends Rendered {
  /** Keys in their order; some may be there several times. */
  readonly entries: readonly (readonly [key: string, value: string | Readonly<Record<string, string>>])[];
  /** The JSON, in which a double quote or a backslash cannot be written: rumprun does not unescape. */
  readonly text: string;
}

const schema = options({
  interface: optional(interfaceName),
  cloner: optional(boolean),
  cmdline: optional(text),
  env: optional(array(text)),
  cwd: optional(text),
  ...lossEntries,
  ...offSubnetEntries,
});

/**
 * The JSON that configures a rumprun unikernel (and nabla's): every value a string, the mask a prefix length, no key that rumprun does
 * not know. One interface, one address of each family. A gateway outside of the subnet ends the guest: see `offSubnetGateway`. There is
 * no key for DNS servers (they are in the image's /etc/resolv.conf), and the MTU is 1500; the MAC is the device's.
 *
 * rumprun, lib/librumprun_base/config.c; buildrump.sh, brlib/libnetconfig/netconfig.c, for what a mask may be.
 * @throws GuestConfigError a second interface or address; routes other than the default; a gateway outside of the subnet, or a
 *   link-local one; an IPv6 prefix length that is no multiple of 8; an MTU other than 1500; a quote, backslash or control character
 * @example rumprun(guest, { cmdline: '/app.nabla a b' }).text
 */
export function rumprun(guests: Guests, settings: RumprunOptions = {}): RumprunRendered {
  const given = check(schema, settings, 'rumprun');
  const { interface: name = 'ukvmif0', cloner = name.startsWith('ukvmif'), cmdline, env = [], cwd, offSubnetGateway, without } = given;
  const report = new Report('rumprun', without);
  const network = report.takeOne(guests);
  if (network.mtu !== 1500)
    report.lose('mtu', 'mtu', `the guest's MTU is 1500, and the network's ${network.mtu}`, 'clamp the MSS of its connections on the host');
  const nets: Record<string, string>[] = [];
  const ipv4 = report.oneAddress(network, 'ipv4');
  if (ipv4 !== undefined) {
    const fitted = fitGateway(report, ipv4, report.onlyGateway(network, 'ipv4'), offSubnetGateway);
    // A mask of '0' is undefined behaviour there, and comes out as /32.
    if (fitted.length === 0) throw report.error('addresses', `rumprun: ${ipv4.address}/0: the guest takes a mask of 0 for 32`);
    nets.push({ type: 'inet', method: 'static', addr: ipv4.address, mask: String(fitted.length), ...(fitted.gateway !== undefined && { gw: fitted.gateway }) }); // prettier-ignore
  }
  const ipv6 = report.oneAddress(network, 'ipv6');
  if (ipv6 !== undefined) {
    if (ipv6.length === 0 || ipv6.length % 8 !== 0) {
      report.lose('ipv6', 'addresses', `the guest takes IPv6 prefix lengths that are multiples of 8, and there is ${ipv6.address}/${ipv6.length}`); // prettier-ignore
    } else {
      let gateway = report.onlyGateway(network, 'ipv6');
      if (gateway !== undefined && (isLinkLocal6(gateway) || isOffSubnet(gateway, [`${ipv6.address}/${ipv6.length}`]))) {
        report.lose('gateway', 'gateway.ipv6', `the guest refuses a gateway outside of its subnet, and names no interface with a link-local one: ${gateway}`); // prettier-ignore
        gateway = undefined;
      }
      nets.push({ type: 'inet6', method: 'static', addr: ipv6.address, mask: String(ipv6.length), ...(gateway !== undefined && { gw: gateway }) }); // prettier-ignore
    }
  }
  if (nets.length === 0) throw report.error('addresses', 'rumprun: there is no address');
  report.servers(network, 0);
  report.noSearch(network);
  report.noNeighbors(network);

  const entries: [string, string | Record<string, string>][] = [];
  if (cmdline !== undefined) entries.push(['cmdline', cmdline]);
  for (const variable of env) entries.push(['env', variable]);
  if (network.hostname !== undefined) entries.push(['hostname', network.hostname]);
  // The interface is made once.
  nets.forEach((net, index) => entries.push(['net', { if: name, ...(cloner && index === 0 && { cloner: 'True' }), ...net }]));
  if (cwd !== undefined) entries.push(['cwd', cwd]);
  const json = (key: string, value: string): string => `${JSON.stringify(key)}:${literal(report, key, value)}`;
  const members = entries.map(
    ([key, value]) =>
    typeof value === 'string'
      ? json(key, value)
      : `${JSON.stringify(key)}:{${Object.entries(value).map(([inner, one]) => json(inner, one)).join(',')}}`, // prettier-ignore
  );
  return { entries, text: `{${members.join(',')}}`, untold: report.untold };
}

/** Unlike JSON.stringify it escapes nothing, since what is escaped stays so. */
function literal(report: Report, key: string, value: string): string {
  const bad = /["\\\x00-\x1f\x7f]/.exec(value)?.[0];
  if (bad !== undefined)
    throw report.error(key, `rumprun: '${key}' contains ${JSON.stringify(bad)}, which cannot be written: rumprun does not unescape; use single quotes for grouping`); // prettier-ignore
  return `"${value}"`;
}
