// Frames by which an interface tells its neighbours which MAC an address has now.
import { checksum } from './checksum.js';
import { parseIp, parseMac } from './text.js';
import { Writer } from './writer.js';

const ETH_P_ARP = 0x0806; // uapi/linux/if_ether.h
const ETH_P_IPV6 = 0x86dd;
const ICMPV6 = 58;
/** Everybody on the wire: ff02::1 (RFC 4291, 2.7.1), at the MAC of RFC 2464, 7. */
const ALL_NODES = 'ff02::1';
const ALL_NODES_MAC = Uint8Array.of(0x33, 0x33, 0, 0, 0, 1);
const BROADCAST = new Uint8Array(6).fill(0xff);

/** A gratuitous ARP request (RFC 5227, 3), or an unsolicited neighbour advertisement that overrides (RFC 4861, 7.2.6). */
export function announcement(mac: string, address: string): Uint8Array {
  const own = parseMac(mac)!;
  const ip = parseIp(address)!;
  return ip.length === 4 ? arpAnnouncement(own, ip) : neighborAdvertisement(own, ip);
}

function arpAnnouncement(mac: Uint8Array, ip: Uint8Array): Uint8Array {
  const arp = Uint8Array.of(0, 1, 8, 0, 6, 4, 0, 1); // Ethernet, IPv4, lengths, request (RFC 826)
  return joined(BROADCAST, mac, etherType(ETH_P_ARP), arp, mac, ip, new Uint8Array(6), ip);
}

function neighborAdvertisement(mac: Uint8Array, ip: Uint8Array): Uint8Array {
  const TARGET_LINK_ADDRESS = 2;
  const destination = parseIp(ALL_NODES)!;
  const override = 0x20;
  const icmp = joined(Uint8Array.of(136, 0, 0, 0, override, 0, 0, 0), ip, Uint8Array.of(TARGET_LINK_ADDRESS, 1), mac);
  const pseudo = joined(ip, destination, Uint8Array.of(0, 0, 0, icmp.length, 0, 0, 0, ICMPV6), icmp);
  new DataView(icmp.buffer).setUint16(2, checksum(pseudo));
  const header = joined(Uint8Array.of(0x60, 0, 0, 0, 0, icmp.length, ICMPV6, 255), ip, destination);
  return joined(ALL_NODES_MAC, mac, etherType(ETH_P_IPV6), header, icmp);
}

function etherType(type: number): Uint8Array {
  return Uint8Array.of(type >> 8, type & 0xff);
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const writer = new Writer();
  for (const part of parts) for (const byte of part) writer.byte(byte);
  return writer.finish();
}
