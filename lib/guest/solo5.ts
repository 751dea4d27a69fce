import { check, integer, optional, options, text } from '../check.js';
import type { GuestNetwork } from './network.js';
import { shell } from './quote.js';
import { type LossOptions, type Rendered, Report, lossEntries } from './report.js';
import { before, versionSchema } from './version.js';

export interface Solo5Options extends Pick<LossOptions, 'without'> {
  /** The network device's name in the unikernel's manifest. Default 'service', which MirageOS uses; rumprun's is 'tap'. */
  readonly service?: string;
  /** A descriptor of the TAP that the tender inherits, instead of its name. Up to 0.9.3: later tenders refuse it by a mistake of theirs. */
  readonly fd?: number;
  /** Of Solo5, '0.9.3'. Default: a present one, 0.12.1. */
  readonly version?: string;
}

export interface Solo5Rendered extends Rendered {
  /** Options of the tender, to stand before the unikernel's name. */
  readonly args: readonly string[];
  /** The same for a POSIX shell. */
  readonly text: string;
}

const schema = options({
  service: optional(text),
  fd: optional(integer(0, 0x7fffffff)),
  version: versionSchema,
  without: lossEntries.without,
});

/**
 * Network options of a Solo5 tender, `solo5-hvt` or `solo5-spt`: `--net:service=tap100 --net-mac:service=0a:58:ac:11:00:05`. What the
 * unikernel in it is told is its own affair: see `mirage` and `rumprun`. Call it once for each interface: every device of the manifest
 * must be attached.
 *
 * The MTU is the TAP's when the tender starts (since 0.10.0; before, always 1500). The MAC is always passed, since the tender makes a
 * random one else. The TAP must be there, up, with one queue and without vnet_hdr.
 *
 * Solo5, tenders/common/tap_attach.c, tenders/hvt/hvt_module_net.c, tenders/spt/spt_module_net.c; include/mft_abi.h for the names.
 * @throws GuestConfigError the TAP's name reads as a descriptor; a descriptor for a tender that refuses it; an MTU for one that has none
 * @example solo5(guest).args // ['--net:service=tap100', '--net-mac:service=0a:58:ac:11:00:05']
 */
export function solo5(guest: GuestNetwork, settings: Solo5Options = {}): Solo5Rendered {
  const { service = 'service', fd, version, without } = check(schema, settings, 'solo5');
  const report = new Report('solo5', without);
  const { tap, mac, mtu } = report.take(guest);
  if (!/^[A-Za-z0-9]{1,67}$/.test(service))
    throw report.error('service', `solo5: a device of a manifest has a name of 1 to 67 letters and digits; received ${JSON.stringify(service)}`); // prettier-ignore
  if (fd === undefined && tap.startsWith('@'))
    throw report.error('tap', `solo5: the tender takes '${tap}' for a descriptor; rename the TAP`);
  if (fd !== undefined && version !== undefined && !before(version, '0.10.0'))
    throw report.error(
      'fd',
      `solo5: tenders since 0.10.0 refuse every descriptor ('Could not attach interface'); pass the TAP by its name`,
    );
  if (fd !== undefined && version === undefined) report.note('fd', "tenders 0.10.0 to 0.12.1 refuse it ('Could not attach interface')");
  if (mtu !== 1500 && version !== undefined && before(version, '0.10.0'))
    report.lose('mtu', 'mtu', `before 0.10.0 guests have an MTU of 1500, and it is ${mtu}`, 'take a newer Solo5');
  const args = [`--net:${service}=${fd === undefined ? tap : `@${fd}`}`, `--net-mac:${service}=${mac}`];
  return { args, text: shell(args), untold: report.untold };
}
