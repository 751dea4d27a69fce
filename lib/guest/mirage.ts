import { check, oneOf, optional, options, text } from '../check.js';
import type { GuestNetwork } from './network.js';
import { parseIp } from '../wire/text.js';
import { commonBits, titles } from './prefix.js';
import { type LossOptions, type Rendered, Report, lossEntries } from './report.js';

export interface MirageOptions extends LossOptions {
  /** What the unikernel was configured with; the flags of the other family are unknown to it then, and end it. Default 'dual'. */
  readonly stack?: 'dual' | 'ipv4' | 'ipv6';
  /** Of several interfaces each has a group, which its flags begin with: 'left' makes --left-ipv4. Default: none. */
  readonly group?: string;
  /** Which flag for DNS servers the unikernel registers. Default: none; an unknown flag ends the guest. */
  readonly dnsFlag?: 'resolver' | 'dns-servers';
}

export interface MirageRendered extends Rendered {
  /** Arguments of the unikernel, to stand behind its name. No character in them needs quoting: parse-argv splits at spaces. */
  readonly args: readonly string[];
  readonly text: string;
}

const schema = options({
  stack: optional(oneOf('dual', 'ipv4', 'ipv6')),
  group: optional(text),
  dnsFlag: optional(oneOf('resolver', 'dns-servers')),
  ...lossEntries,
});

/**
 * Arguments of a MirageOS unikernel that was configured without DHCP: `--ipv4=172.17.0.5/16 --ipv4-gateway=172.17.0.1`, and the same with
 * `ipv6`. One address each; the gateway may be outside of the subnet, so that /32 with 169.254.1.1 works. MAC and MTU are the device's.
 * A pod without IPv4 is told `--ipv6-only=true`, since the library's own IPv4 address (10.0.0.2/24) would be taken else.
 *
 * mirage, lib_runtime/mirage_runtime_network.ml (since 3.0; IPv6 since 3.10); mirage-tcpip, src/ipv4/routing.ml, src/ipv6/ndpv6.ml;
 * parse-argv, src/parse_argv.ml.
 * @throws GuestConfigError several addresses of a family; routes other than the default; /31 with the gateway at its odd address
 * @example mirage(guest).args // ['--ipv4=172.17.0.5/32', '--ipv4-gateway=169.254.1.1']
 */
export function mirage(guest: GuestNetwork, settings: MirageOptions = {}): MirageRendered {
  const { stack = 'dual', group, dnsFlag, without } = check(schema, settings, 'mirage');
  const report = new Report('mirage', without);
  if (group !== undefined && !/^[a-z][a-z0-9_-]*$/i.test(group))
    throw report.error('group', `mirage: a group is a word; received ${JSON.stringify(group)}`);
  const network = report.take(guest);
  const flag = (name: string, value: string): string => `--${group === undefined ? '' : `${group}-`}${name}=${value}`;
  const args: string[] = [];
  if (stack !== 'dual') report.dropFamily(network, stack === 'ipv4' ? 'ipv6' : 'ipv4', `the unikernel's stack is ${titles[stack]} only`);
  const ipv4 = stack === 'ipv6' ? undefined : report.oneAddress(network, 'ipv4');
  const gateway4 = ipv4 === undefined ? undefined : report.onlyGateway(network, 'ipv4');
  if (ipv4 !== undefined) {
    args.push(flag('ipv4', `${ipv4.address}/${ipv4.length}`));
    if (gateway4 !== undefined && ipv4.length === 31 && isOdd(gateway4) && commonBits(gateway4, ipv4.address) === 31)
      report.lose('gateway', 'gateway.ipv4', `${gateway4} is the last address of a /31, which the guest takes for its broadcast address`, `tell it ${ipv4.address}/32: its gateway may be outside of the subnet`); // prettier-ignore
    else if (gateway4 !== undefined) args.push(flag('ipv4-gateway', gateway4));
  }
  const ipv6 = stack === 'ipv4' ? undefined : report.oneAddress(network, 'ipv6');
  const gateway6 = ipv6 === undefined ? undefined : report.onlyGateway(network, 'ipv6');
  if (ipv6 !== undefined) {
    args.push(flag('ipv6', `${ipv6.address}/${ipv6.length}`));
    if (gateway6 !== undefined) args.push(flag('ipv6-gateway', gateway6));
    if (ipv4 === undefined && stack === 'dual') args.push(flag('ipv6-only', 'true'));
  }
  if (ipv4 === undefined && ipv6 === undefined)
    throw report.error('addresses', 'mirage: there is no address, and the guest would take 10.0.0.2/24');
  if (dnsFlag === undefined) report.servers(network, 0);
  else if (network.dns.servers.length > 0) args.push(flag(dnsFlag, network.dns.servers.join(',')));
  report.noSearch(network);
  report.noHostname(network);
  report.noNeighbors(network);
  return { args, text: args.join(' '), untold: report.untold };
}

function isOdd(address: string): boolean {
  return (parseIp(address)!.at(-1)! & 1) === 1;
}
