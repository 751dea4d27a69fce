import { type LinkRef, check, linkRef } from '../check.js';
import { type PacketOptions, PacketSocket } from '../kernel/packet.js';
import type { Scope } from './scope.js';
import { indexOf } from './table.js';

/**
 * Opens a raw packet socket on an interface: frames as they come and go there, and frames of one's own sent. What tcpdump(8) stands
 * on; for tests, checks and gratuitous ARP.
 *
 * packet(7).
 * @throws PodtapError ENODEV: there is no such interface; EPERM: CAP_NET_RAW is missing
 */
export async function openPacketSocket(scope: Scope, link: LinkRef, settings: PacketOptions = {}): Promise<PacketSocket> {
  return PacketSocket.open(scope, await indexOf(scope, check(linkRef, link, 'openPacketSocket')), settings);
}
