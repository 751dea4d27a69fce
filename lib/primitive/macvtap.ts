import { type LinkRef, check, linkRef, options } from '../check.js';
import { PodtapError, invalidArgument } from '../errors.js';
import { placeIn } from '../kernel/device.js';
import { findLink, noLink } from '../kernel/link.js';
import { Macvtap, findDevice } from '../kernel/macvtap.js';
import { offloadNeedsHeader, tapShape } from '../operation/tap.js';
import type { Scope } from './scope.js';
import type { TapOptions } from './tap.js';

/**
 * Opens a macvtap that is there, to hand out its descriptors or to read and write frames: by the number of its character device, wherever
 * the device's node is or is not. Several queues: each frame goes to one of them.
 *
 * Like `exec 3<>/dev/tapN`, N the ifindex, where /dev has that namespace's; and TUNSETIFF, TUNSETVNETHDRSZ, TUNSETOFFLOAD, which outlive
 * who has set them and are set always. Documentation/networking/tuntap.rst, drivers/net/tap.c. Since Linux 5.2.
 * @throws PodtapError ENODEV: there is no such interface; EINVAL: it is no macvtap; EPERM: what is missing
 * @example
 * await createMacvtap(pod, 'macvtap0', { link: 'eth0', mode: 'passthru', up: true });
 * await using fds = await (await openMacvtap(pod, 'macvtap0', { vnetHdr: true })).takeFds();
 */
export async function openMacvtap(
  scope: Scope,
  link: LinkRef,
  settings: Pick<TapOptions, 'queues' | 'vnetHdr' | 'offload'> = {},
): Promise<Macvtap> {
  const { queues = 1, vnetHdr = false, offload = {} } = check(options(tapShape), settings, 'openMacvtap');
  if (!vnetHdr && Object.values(offload).includes(true))
    throw invalidArgument('ERR_INVALID_ARG_VALUE', `openMacvtap: 'offload' ${offloadNeedsHeader}`);
  const found = await findLink(scope, check(linkRef, link, 'openMacvtap'));
  if (found === undefined) throw noLink(link);
  if (found.kind !== 'macvtap')
    throw new PodtapError(`EINVAL: '${found.name}' is no macvtap but of kind ${found.kind}`, { code: 'EINVAL' });
  const device = await findDevice(scope, found.name, found.ifindex);
  return new Macvtap(placeIn(scope), found, { name: found.name, queues, vnetHdr, offload }, device);
}
