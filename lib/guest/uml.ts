import { check, oneOf, optional, options, text } from '../check.js';
import type { GuestNetwork } from './network.js';
import { shell } from './quote.js';
import { type LossOptions, type Rendered, Report, lossEntries } from './report.js';

export interface UmlOptions extends Pick<LossOptions, 'without'> {
  /** 'vector' (default): `vec0:`, in every kernel with CONFIG_UML_NET_VECTOR. 'tuntap': `eth0=tuntap`, in kernels before 6.16; no MTU. */
  readonly driver?: 'vector' | 'tuntap';
  /** The guest's name for it: 'vec' or 'eth' and a number. Default 'vec0' or 'eth0'. */
  readonly device?: string;
}

export interface UmlRendered extends Rendered {
  readonly args: readonly string[];
  /** The same for a POSIX shell. */
  readonly text: string;
  /** The guest's name for its interface: what `linuxCmdline(guest, { device })` wants. */
  readonly device: string;
}

const schema = options({ driver: optional(oneOf('vector', 'tuntap')), device: optional(text), without: lossEntries.without });

/**
 * The network argument of user-mode Linux: `vec0:transport=tap,ifname=tap100,depth=128,gro=1,mac=...,mtu=1450`, or the older
 * `eth0=tuntap,tap100,MAC`. The TAP must be there, and up. What the guest is told stands on the same command line: see `linuxCmdline`.
 *
 * Linux, Documentation/virt/uml/user_mode_linux_howto_v2.rst; arch/um/drivers/vector_kern.c, vector_user.c; tuntap_kern.c (until 6.15).
 * @throws GuestConfigError a TAP with a comma in its name; an MTU other than 1500 for tuntap
 * @example uml(guest, { driver: 'tuntap' }).args // ['eth0=tuntap,tap100,0a:58:ac:11:00:05']
 */
export function uml(guest: GuestNetwork, settings: UmlOptions = {}): UmlRendered {
  const { driver = 'vector', device = driver === 'vector' ? 'vec0' : 'eth0', without } = check(schema, settings, 'uml');
  const report = new Report('uml', without);
  const { tap, mac, mtu } = report.take(guest);
  if (!(driver === 'vector' ? /^vec\d{1,3}$/ : /^eth\d{1,3}$/).test(device))
    throw report.error('device', `uml: devices of the driver ${driver} are called ${driver === 'vector' ? 'vec' : 'eth'} and a number; received ${JSON.stringify(device)}`); // prettier-ignore
  if (/[,=\s"]/.test(tap))
    throw report.error('tap', `uml: ${JSON.stringify(tap)} contains what is syntax there, and cannot be quoted; rename the TAP`);
  if (driver === 'tuntap' && mtu !== 1500)
    report.lose('mtu', 'mtu', `tuntap has no word for an MTU, and it is ${mtu}`, "use driver: 'vector' or set it in the guest");
  const args = [driver === 'vector' ? `${device}:transport=tap,ifname=${tap},depth=128,gro=1,mac=${mac},mtu=${mtu}` : `${device}=tuntap,${tap},${mac}`]; // prettier-ignore
  return { args, text: shell(args), device, untold: report.untold };
}
