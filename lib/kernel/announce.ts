import { announcement } from '../wire/announce.js';
import type { Scope } from './netns.js';
import { PacketSocket } from './packet.js';

/** Tells the neighbours of an interface that these addresses are at its MAC: gratuitous ARP, unsolicited neighbour advertisements. */
export async function announce(scope: Scope, ifindex: number, mac: string, addresses: readonly string[]): Promise<void> {
  await using socket = await PacketSocket.open(scope, ifindex, { protocol: 0 }); // 0: it receives nothing
  await socket.send(addresses.map((address) => announcement(mac, address)));
}
