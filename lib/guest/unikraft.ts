import { array, check, optional, options, text } from '../check.js';
import { netmask } from './prefix.js';
import { type Guests, type LossOptions, type Rendered, Report, lossEntries } from './report.js';
import { before, versionSchema } from './version.js';

export interface UnikraftOptions extends LossOptions {
  /** Of Unikraft: since 0.16.1 there is `netdev.ip=`, before `netdev.ipv4_addr=` and its kin, which later ones ignore. Default: a present one. */
  readonly version?: string;
  /** Arguments of the application, behind `--`; `text` has them quoted. */
  readonly app?: readonly string[];
}

export interface UnikraftRendered extends Rendered {
  /** Parameters of the kernel: 'netdev.ip=172.17.0.5/16:172.17.0.1'. */
  readonly parameters: readonly string[];
  /** The command line behind the kernel's name, quoted as ukargparse reads it: parameters, `--`, the application's arguments. */
  readonly text: string;
}

const schema = options({ version: versionSchema, app: optional(array(text)), ...lossEntries });

/**
 * The network parameters of a Unikraft kernel: `netdev.ip=172.17.0.5/16:172.17.0.1:169.254.77.1::podname`, once for each interface, in
 * the order of the devices. One IPv4 address each; the gateway may be outside of the subnet. MAC and MTU are the virtio device's. The
 * image needs CONFIG_LIBUKNETDEV_EINFO_LIBPARAM (and up to four devices unless CONFIG_LIBUKNETDEV_EINFO_LIBPARAM_MAXCOUNT says
 * more): without it the line is ignored and DHCP is started silently.
 *
 * lwIP looks for 169.254.0.0/16 on the link, never by the gateway: a DNS server there must answer ARP (lwIP, etharp_output).
 *
 * Unikraft, lib/uknetdev/netdev.c (0.16.1; tags 0.8.0 to 0.16.0 for the older form); lib-lwip, init.c; lib/ukargparse/argparse.c.
 * @throws GuestConfigError IPv6; several addresses; routes other than the default; more than four interfaces
 * @example unikraft(guest, { app: ['-p', '80'] }).text
 */
export function unikraft(guests: Guests, settings: UnikraftOptions = {}): UnikraftRendered {
  const { version = '0.17.0', app = [], without } = check(schema, settings, 'unikraft');
  const report = new Report('unikraft', without);
  const networks = report.takeAll(guests);
  if (networks.length > 4)
    throw report.error('interfaces', `unikraft: the kernel takes 4 interfaces unless it was built for more, and there are ${networks.length}`); // prettier-ignore
  const old = before(version, '0.16.1');
  const servers = !old ? 2 : before(version, '0.16.0') ? 0 : 1;
  const devices = networks.map((network, index) => {
    report.dropFamily(network, 'ipv6', 'the guest has no IPv6');
    const own = report.oneAddress(network, 'ipv4');
    if (own === undefined) throw report.error('addresses', 'unikraft: there is no IPv4 address, and the guest would ask for one by DHCP');
    const gateway = report.onlyGateway(network, 'ipv4');
    report.noSearch(network);
    report.noNeighbors(network);
    if (old) report.noHostname(network);
    return {
      ...own,
      gateway: gateway ?? '',
      dns: report.servers(network, old && index > 0 ? 0 : servers, 'ipv4'),
      hostname: network.hostname ?? '',
    };
  });
  const list = (name: string, values: readonly string[]): string[] =>
    values.every((value) => value === '') ? [] : [`netdev.${name}=${values.join(' ')}`];
  if (old && devices.length > 1 && devices.some(({ gateway }) => gateway === '') && devices.some(({ gateway }) => gateway !== ''))
    throw report.error(
      'gateway.ipv4',
      'unikraft: before 0.16.1 either every interface has a gateway or none, since a list has no empty place',
    );
  const parameters = old
    ? [
        ...list('ipv4_addr', devices.map(({ address }) => address)), // prettier-ignore
        ...list('ipv4_gw_addr', devices.map(({ gateway }) => gateway)), // prettier-ignore
        ...list('ipv4_subnet_mask', devices.map(({ length }) => netmask(length))), // prettier-ignore
        ...list('ipv4_dns0_addr', devices.slice(0, 1).map(({ dns }) => dns[0] ?? '')), // prettier-ignore
      ]
    : devices.map(({ address, length, gateway, dns, hostname }) => {
        const fields = [`${address}/${length}`, gateway, dns[0] ?? '', dns[1] ?? '', hostname];
        return `netdev.ip=${fields.join(':').replace(/:+$/, '')}`;
      });
  const words = app.length === 0 ? parameters : [...parameters, '--', ...app];
  return { parameters, text: words.map((word) => quoted(report, word)).join(' '), untold: report.untold };
}

/** ukargparse: white space separates; '..' and ".." group; a backslash escapes outside of quotes, and a double quote inside of double ones. */
function quoted(report: Report, word: string): string {
  if (word.includes('\0')) throw report.error('app', 'unikraft: an argument contains NUL, which ends the command line');
  const [name, value] = /^(netdev\.\w+)=([\d. ]+)$/.exec(word)?.slice(1) ?? [];
  if (value?.includes(' ') === true) return `${name}="${value}"`; // a list, as the kernel's documentation writes it
  return /^[\w@%+=:,./[\]-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
