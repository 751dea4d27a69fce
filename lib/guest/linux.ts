import { check, interfaceName, optional, options } from '../check.js';
import { type OffSubnetOptions, fitGateway, offSubnetEntries } from './gateway.js';
import { netmask } from './prefix.js';
import { type Guests, type LossOptions, type Rendered, Report, lossEntries } from './report.js';

export interface LinuxCmdlineOptions extends LossOptions, OffSubnetOptions {
  /** The guest's name for it, before udev gives it another. Default 'eth0'; 'vec0' of user-mode Linux. */
  readonly device?: string;
}

export interface LinuxCmdlineRendered extends Rendered {
  /** 'ip=172.17.0.5::172.17.0.1:255.255.0.0:podname:eth0:off:169.254.77.1'. None of its characters needs quoting. */
  readonly text: string;
  readonly parameters: readonly string[];
}

const schema = options({ device: optional(interfaceName), ...lossEntries, ...offSubnetEntries });

/** What separates fields and parameters, or groups them. */
const SYNTAX = /[\s:"']/;

/**
 * The kernel's own `ip=`, for guests whose kernel has CONFIG_IP_PNP (Firecracker's have; Debian's have not, and there initramfs-tools
 * reads the same line by klibc's ipconfig, with the same limits; for an initramfs of dracut or systemd see `dracutCmdline`). One
 * interface, one IPv4 address, a gateway in its subnet, two DNS servers, which only land in /proc/net/pnp. MAC and MTU are the device's:
 * the monitor tells them.
 *
 * It cannot say /32: the kernel takes 255.255.255.255 for "not told" and guesses a mask from the address's class; nor a gateway outside of
 * the subnet: see `offSubnetGateway`, where 'omit' tells an address with /32 as /31. The interface needs a carrier, or the guest waits
 * for two minutes.
 *
 * Linux, Documentation/admin-guide/nfs/nfsroot.rst; net/ipv4/ipconfig.c (ip_auto_config_setup, ic_defaults, ic_setup_routes).
 * @throws GuestConfigError IPv6; a second interface or address; /32; a gateway outside of the subnet; routes other than the default
 * @example linuxCmdline(guest).text // 'ip=172.17.0.5::172.17.0.1:255.255.0.0:podname:eth0:off:169.254.77.1'
 */
export function linuxCmdline(guests: Guests, settings: LinuxCmdlineOptions = {}): LinuxCmdlineRendered {
  const { device = 'eth0', offSubnetGateway, without } = check(schema, settings, 'linuxCmdline');
  const report = new Report('linuxCmdline', without);
  const network = report.takeOne(guests);
  const elsewhere = 'tell it by dracutCmdline, cloudInit or a program in the guest';
  if (SYNTAX.test(device)) throw report.error('device', `linuxCmdline: '${device}' contains what separates fields`);
  report.dropFamily(network, 'ipv6', 'ip= has no IPv6', elsewhere);
  const own = report.oneAddress(network, 'ipv4');
  if (own === undefined) throw report.error('addresses', `linuxCmdline: there is no IPv4 address, and ip= has no other; ${elsewhere}`);
  const fitted = fitGateway(report, own, report.onlyGateway(network, 'ipv4'), offSubnetGateway);
  let { length } = fitted;
  if (length === 0) throw report.error('addresses', `linuxCmdline: ${own.address}/0: the kernel takes a mask of 0.0.0.0 for none`);
  if (length === 32) {
    const trouble = `the kernel takes the mask of ${own.address}/32 for none, and guesses one`;
    if (offSubnetGateway !== 'omit')
      throw report.error('addresses', `linuxCmdline: ${trouble}; ${elsewhere}, or tell it as /31 and set the routes in the guest (offSubnetGateway: 'omit')`); // prettier-ignore
    report.note('addresses', `${own.address}/32 is told as /31: ${trouble}`);
    length = 31;
  }
  if (network.hostname?.includes('.') === true)
    report.note('hostname', `${network.hostname}: the kernel takes what is behind the first '.' for a NIS domain`);
  const servers = report.servers(network, 2, 'ipv4');
  report.noSearch(network);
  report.noNeighbors(network);
  const fields = [own.address, '', fitted.gateway, netmask(length), network.hostname, device, 'off', ...servers];
  const text = `ip=${fields.map((field) => field ?? '').join(':')}`;
  return { text, parameters: [text], untold: report.untold };
}
