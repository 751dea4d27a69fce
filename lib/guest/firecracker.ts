import { check, optional, options, text } from '../check.js';
import type { GuestNetwork } from './network.js';
import { type LossOptions, type Rendered, Report, lossEntries } from './report.js';
import { before, versionSchema } from './version.js';

export interface FirecrackerOptions extends Pick<LossOptions, 'without'> {
  /** `iface_id`, which stands in the path of the request too. Default 'eth0'. */
  readonly id?: string;
  /** Of Firecracker. Before 1.16.0 there is no `mtu`. Default: a present one. */
  readonly version?: string;
}

export interface FirecrackerInterface {
  readonly iface_id: string;
  readonly host_dev_name: string;
  readonly guest_mac: string;
  /** Only where it is not 1500: before 1.16.0 the whole request would be refused (400). */
  readonly mtu?: number;
}

export interface FirecrackerRendered extends Rendered {
  /** The body of PUT /network-interfaces/{iface_id}, and an element of `network-interfaces` in a configuration file. */
  readonly interface: FirecrackerInterface;
  /** An element of `network_overrides` in PUT /snapshot/load (since 1.12): the TAP of a machine that is restored. */
  readonly networkOverride: { readonly iface_id: string; readonly host_dev_name: string };
  readonly path: string;
  /** `interface` as JSON. */
  readonly text: string;
}

const schema = options({ id: optional(text), version: versionSchema, without: lossEntries.without });

/**
 * A network interface of a Firecracker machine: `{ iface_id, host_dev_name, guest_mac, mtu }`. It opens the TAP by its name, with one queue
 * and vnet_hdr, and makes one if there is none. What the guest is told stands in `boot_args`: see `linuxCmdline`.
 *
 * A restored machine keeps MAC and addresses of the one it was: they are in its memory.
 *
 * Firecracker, src/firecracker/swagger/firecracker.yaml (NetworkInterface, NetworkOverride); src/vmm/src/vmm_config/net.rs; parsed_request.rs
 * (checked_id); CHANGELOG.md.
 * @throws GuestConfigError an id other than letters, digits and '_'; an MTU before 1.16.0
 * @example await put(sock, '/network-interfaces/eth0', firecracker(guest).interface)
 */
export function firecracker(guest: GuestNetwork, settings: FirecrackerOptions = {}): FirecrackerRendered {
  const { id = 'eth0', version, without } = check(schema, settings, 'firecracker');
  const report = new Report('firecracker', without);
  const { tap, mac, mtu } = report.take(guest);
  if (!/^[A-Za-z0-9_]+$/.test(id))
    throw report.error('id', `firecracker: an iface_id is letters, digits and '_'; received ${JSON.stringify(id)}`);
  if (mtu > 0xffff) throw report.error('mtu', `firecracker: the MTU goes up to 65535, and it is ${mtu}`);
  const old = version !== undefined && before(version, '1.16.0');
  if (old && mtu !== 1500) report.lose('mtu', 'mtu', `before 1.16.0 there is no mtu, and it is ${mtu}`, 'set it in the guest');
  const card = { iface_id: id, host_dev_name: tap, guest_mac: mac, ...(mtu !== 1500 && !old && { mtu }) };
  const networkOverride = { iface_id: id, host_dev_name: tap };
  return { interface: card, networkOverride, path: `/network-interfaces/${id}`, text: JSON.stringify(card), untold: report.untold };
}
