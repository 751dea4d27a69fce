// Frames that a guest sends with another's source, in every way there is, and frames that it may send.
import { macBytes, frame, udp } from './frames.js';

/** The guest, whose addresses `source` has, and its neighbour, to whom the frames go. */
export const GUEST = { mac: '02:00:00:00:00:22', address: '10.1.0.2' };
export const NODE = { mac: '02:00:00:00:00:11', address: '10.1.0.1' };

const OWN6 = 'fd000001000000000000000000000002';
const OWN_LL = 'fe8000000000000000000000ff000022';
const OTHER6 = 'fd000001000000000000000000000009';
const OTHER_LL = 'fe8000000000000000000000ff000099';
const NOBODY = '0'.repeat(32);
const ALL_NODES = 'ff020000000000000000000000000001';
export const OTHER_MAC = '02:00:00:00:00:99';

function bytes(hex: string): number[] {
  return hex.match(/../g)!.map((byte) => parseInt(byte, 16));
}
function ethernet(type: number, payload: readonly number[], from = GUEST.mac): Uint8Array {
  return Uint8Array.from([...macBytes(NODE.mac), ...macBytes(from), type >> 8, type & 255, ...payload]);
}
export function ip4(from: string, mac = GUEST.mac): Uint8Array {
  return udp({ mac, address: from, port: 1 }, { ...NODE, port: 2 }, new Uint8Array(8));
}
export function arp(operation: number, mac: string, address: string, from = GUEST.mac): Uint8Array {
  const rest = [
    0,
    operation,
    ...macBytes(mac),
    ...address.split('.').map(Number),
    0,
    0,
    0,
    0,
    0,
    0,
    ...NODE.address.split('.').map(Number),
  ];
  return ethernet(0x0806, [0, 1, 8, 0, 6, 4, ...rest], from);
}
export function ip6(from: string, next: number, payload: readonly number[], mac = GUEST.mac): Uint8Array {
  return ethernet(0x86dd, [0x60, 0, 0, 0, 0, payload.length, next, 255, ...bytes(from), ...bytes(ALL_NODES), ...payload], mac);
}
const ICMPV6 = 58;
function icmp6(from: string, type: number, target = NOBODY): Uint8Array {
  return ip6(from, ICMPV6, [type, 0, 0, 0, 0, 0, 0, 0, ...bytes(target)]);
}
const vlan = (inner: Uint8Array, id = 7): Uint8Array => Uint8Array.from([...inner.subarray(0, 12), 0x81, 0, 0, id, ...inner.subarray(12)]);
/** An extension header of 8 bytes. */
const extension = (next: number): number[] => [next, 0, 1, 4, 0, 0, 0, 0];

/** [what, the frame, whether it may pass] */
export const cases: readonly (readonly [string, Uint8Array, boolean])[] = [
  ['IPv4', ip4(GUEST.address), true],
  ["IPv4, another's address", ip4('10.1.0.9'), false],
  ["IPv4, another's MAC", ip4(GUEST.address, OTHER_MAC), false],
  ['IPv4, no address', ip4('0.0.0.0'), false],
  ['IPv4 by type, IPv6 by version', Uint8Array.from(ip4(GUEST.address), (byte, at) => (at === 14 ? 0x65 : byte)), false],
  ['IPv4, cut off', ip4(GUEST.address).subarray(0, 28), false],
  ['IPv4 in a VLAN', vlan(ip4(GUEST.address)), false],
  ['IPv4 in a VLAN of priority only', vlan(ip4(GUEST.address), 0), false],
  ['IPv4 in two VLANs', vlan(vlan(ip4(GUEST.address))), false],
  [
    'DHCP',
    udp(
      { mac: GUEST.mac, address: '0.0.0.0', port: 68 },
      { mac: 'ff:ff:ff:ff:ff:ff', address: '255.255.255.255', port: 67 },
      new Uint8Array(240),
    ),
    false,
  ],
  ['ARP request', arp(1, GUEST.mac, GUEST.address), true],
  ['ARP reply', arp(2, GUEST.mac, GUEST.address), true],
  ['ARP probe', arp(1, GUEST.mac, '0.0.0.0'), true],
  ["ARP, another's address", arp(2, GUEST.mac, NODE.address), false],
  ["ARP, another's MAC", arp(2, OTHER_MAC, GUEST.address), false],
  ["ARP, another's MAC on the frame", arp(2, GUEST.mac, GUEST.address, OTHER_MAC), false],
  ['ARP of another kind of network', ethernet(0x0806, [0, 6, ...arp(2, GUEST.mac, GUEST.address).subarray(16)]), false],
  ['ARP, cut off', arp(1, GUEST.mac, GUEST.address).subarray(0, 30), false],
  ['IPv6', ip6(OWN6, 17, [0, 1, 0, 2, 0, 8, 0, 0]), true],
  ['IPv6, link-local', ip6(OWN_LL, 17, [0, 1, 0, 2, 0, 8, 0, 0]), true],
  ["IPv6, another's address", ip6(OTHER6, 17, [0, 1, 0, 2, 0, 8, 0, 0]), false],
  ["IPv6, another's link-local address", ip6(OTHER_LL, 17, [0, 1, 0, 2, 0, 8, 0, 0]), false],
  ["IPv6, another's MAC", ip6(OWN6, 17, [0, 1, 0, 2, 0, 8, 0, 0], OTHER_MAC), false],
  ['IPv6 from nobody', ip6(NOBODY, 17, [0, 1, 0, 2, 0, 8, 0, 0]), false],
  [
    'IPv6 by type, IPv4 by version',
    Uint8Array.from(ip6(OWN6, 17, [0, 1, 0, 2, 0, 8, 0, 0]), (byte, at) => (at === 14 ? 0x45 : byte)),
    false,
  ],
  ['DAD', icmp6(NOBODY, 135, OWN6), true],
  ['DAD of the link-local address', icmp6(NOBODY, 135, OWN_LL), true],
  ["DAD of another's address", icmp6(NOBODY, 135, OTHER6), false],
  ['solicitation', icmp6(OWN6, 135, OTHER6), true],
  ['advertisement', icmp6(OWN6, 136, OWN_LL), true],
  ["advertisement of another's address", icmp6(OWN6, 136, OTHER6), false],
  ['advertisement from nobody', icmp6(NOBODY, 136, OWN6), false],
  ['advertisement, cut off', icmp6(OWN6, 136, OWN6).subarray(0, 70), false],
  ['router solicitation from nobody', icmp6(NOBODY, 133), true],
  ['router advertisement', icmp6(OWN_LL, 134), false],
  ['redirect', icmp6(OWN_LL, 137), false],
  ['echo request', icmp6(OWN6, 128), true],
  ['echo request from nobody', icmp6(NOBODY, 128), false],
  ['MLD report from nobody', ip6(NOBODY, 0, [...extension(ICMPV6), 143, 0, 0, 0, 0, 0, 0, 0]), true],
  ["another's advertisement behind extensions", ip6(OWN6, 0, [...extension(60), ...extension(ICMPV6), 136, 0, 0, 0, 0, 0, 0, 0, ...bytes(OTHER6)]), false], // prettier-ignore
  ['UDP behind extensions', ip6(OWN6, 0, [...extension(60), ...extension(17), 0, 1, 0, 2, 0, 8, 0, 0]), true],
  ['more extensions than anybody needs', ip6(OWN6, 0, [...[60, 60, 60, 60, 17].flatMap(extension), 0, 1, 0, 2, 0, 8, 0, 0]), false],
  ['neither IP nor ARP', frame(1), false],
  ['the end', udp({ ...GUEST, port: 1 }, { ...NODE, port: 3 }, new Uint8Array(8)), true],
];

export const source = { mac: GUEST.mac, addresses: [GUEST.address, 'fd00:1::2', 'fe80::ff00:22'] };
