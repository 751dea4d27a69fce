// A datagram in a frame, by hand: what nobody's stack would send.
import type { Netns } from 'podtap';
import { getLink, openPacketSocket } from 'podtap';

interface Datagram {
  readonly to: string;
  readonly from: string;
  readonly port: number;
  readonly payload: Uint8Array;
}

/** Out of an interface of a namespace, to a MAC. */
export async function sendFrame(at: Netns, link: string, mac: string, datagram: Datagram): Promise<void> {
  const own = (await getLink(at, link))!.mac;
  await using socket = await openPacketSocket(at, link);
  await socket.send([frameOf(mac, own, datagram)]);
}

function frameOf(mac: string, own: string, { to, from, port, payload }: Datagram): Uint8Array {
  const octets = (text: string): number[] => text.split('.').map(Number);
  const bytes = (text: string): number[] => text.split(':').map((byte) => parseInt(byte, 16));
  const length = 28 + payload.length;
  const ip = [0x45, 0, length >> 8, length & 0xff, 0, 7, 0, 0, 64, 17, 0, 0, ...octets(from), ...octets(to)];
  let sum = 0;
  for (let at = 0; at < ip.length; at += 2) sum += (ip[at]! << 8) | ip[at + 1]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  ip[10] = (~sum >> 8) & 0xff;
  ip[11] = ~sum & 0xff;
  const udp = [0x30, 0x39, port >> 8, port & 0xff, (length - 20) >> 8, (length - 20) & 0xff, 0, 0]; // without a checksum
  return Uint8Array.from([...bytes(mac), ...bytes(own), 8, 0, ...ip, ...udp, ...payload]);
}
