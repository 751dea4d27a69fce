// Frames as they are on a wire, as far as a path depends on them: Ethernet, 802.1Q, ARP (RFC 826), IPv4 (RFC 791), IPv6 (RFC 8200), the
// ports of TCP and UDP, the types of ICMP, and what is inside a VXLAN packet (RFC 7348).
import { checksum } from './checksum.js';
import { ipProtocols } from './constants.js';
import { formatIp, formatMac, parseIp, parseMac } from './text.js';

export const ETH_P_IP = 0x0800;
export const ETH_P_ARP = 0x0806;
export const ETH_P_IPV6 = 0x86dd;
const ETH_P_8021Q = 0x8100;
const ETH_P_8021AD = 0x88a8;
export const BROADCAST = 'ff:ff:ff:ff:ff:ff';

/** IANA's, and the one that Linux and flannel take. */
const VXLAN_PORTS: readonly number[] = [4789, 8472];

export interface Frame {
  readonly source: string;
  readonly destination: string;
  /** EtherType of what is inside, behind the VLAN tags. */
  readonly type: number;
  /** The VLAN ids, the outer one first. */
  readonly vlans?: readonly number[];
  readonly arp?: ArpPacket;
  readonly packet?: Packet;
}

export interface ArpPacket {
  readonly operation: 'request' | 'reply' | number;
  readonly sender: { readonly mac: string; readonly address: string };
  readonly target: { readonly mac: string; readonly address: string };
}

/** An IP packet. */
export interface Packet {
  readonly source: string;
  readonly destination: string;
  /** TTL, or IPv6's hop limit. */
  readonly ttl: number;
  /** 'icmp', 'tcp', 'udp', 'icmpv6', ..., or a number. */
  readonly protocol: string;
  /** In bytes, with the IP header. */
  readonly length: number;
  /** IPv4: not to be fragmented on the way. IPv6 never is. */
  readonly dontFragment?: boolean;
  /** A fragment behind the first: what is inside cannot be told. In bytes. */
  readonly fragmentOffset?: number;
  readonly ports?: { readonly source: number; readonly destination: number };
  readonly icmp?: { readonly type: number; readonly code: number };
  readonly vxlan?: { readonly vni: number; readonly frame: Frame };
}

/** undefined: too short for Ethernet. What is cut off inside is left out. `vxlanPorts`: UDP ports behind which VXLAN is looked for. */
export function decodeFrame(bytes: Uint8Array, settings: { readonly vxlanPorts?: readonly number[] } = {}): Frame | undefined {
  if (bytes.length < 14) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const vlans: number[] = [];
  let at = 12;
  let type = view.getUint16(at);
  while ((type === ETH_P_8021Q || type === ETH_P_8021AD) && bytes.length >= at + 6) {
    vlans.push(view.getUint16(at + 2) & 0x0fff);
    at += 4;
    type = view.getUint16(at);
  }
  const body = bytes.subarray(at + 2);
  const arp = type === ETH_P_ARP ? decodeArp(body) : undefined;
  const packet = type === ETH_P_IP || type === ETH_P_IPV6 ? decodePacket(body, settings.vxlanPorts ?? VXLAN_PORTS) : undefined;
  return {
    source: formatMac(bytes, 6, 6),
    destination: formatMac(bytes, 0, 6),
    type,
    ...(vlans.length > 0 && { vlans }),
    ...(arp !== undefined && { arp }),
    ...(packet !== undefined && { packet }),
  };
}

function decodeArp(body: Uint8Array): ArpPacket | undefined {
  // Ethernet and IPv4 alone.
  if (body.length < 28 || body[4] !== 6 || body[5] !== 4) return undefined;
  const operation = (body[6]! << 8) | body[7]!;
  return {
    operation: operation === 1 ? 'request' : operation === 2 ? 'reply' : operation,
    sender: { mac: formatMac(body, 8, 6), address: formatIp(body, 14, 4)! },
    target: { mac: formatMac(body, 18, 6), address: formatIp(body, 24, 4)! },
  };
}

function decodePacket(body: Uint8Array, vxlanPorts: readonly number[]): Packet | undefined {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const version = (body[0] ?? 0) >> 4;
  if (version === 4 && body.length >= 20) {
    const length = view.getUint16(2);
    const fragment = view.getUint16(6);
    const fragmentOffset = (fragment & 0x1fff) * 8;
    const rest = fragmentOffset === 0 ? decodeInside(body[9]!, body.subarray(4 * (body[0]! & 15)), vxlanPorts) : {};
    return {
      source: formatIp(body, 12, 4)!,
      destination: formatIp(body, 16, 4)!,
      ttl: body[8]!,
      protocol: ipProtocols.name(body[9]!),
      length,
      dontFragment: (fragment & 0x4000) !== 0,
      ...(fragmentOffset > 0 && { fragmentOffset }),
      ...rest,
    };
  }
  if (version !== 6 || body.length < 40) return undefined;
  return {
    source: formatIp(body, 8, 16)!,
    destination: formatIp(body, 24, 16)!,
    ttl: body[7]!,
    protocol: ipProtocols.name(body[6]!),
    length: view.getUint16(4) + 40,
    ...decodeInside(body[6]!, body.subarray(40), vxlanPorts),
  };
}

const [ICMP, TCP, UDP, ICMPV6, SCTP] = [1, 6, 17, 58, 132];

function decodeInside(protocol: number, body: Uint8Array, vxlanPorts: readonly number[]): Pick<Packet, 'ports' | 'icmp' | 'vxlan'> {
  if (body.length < 4) return {};
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  if (protocol === ICMP || protocol === ICMPV6) return { icmp: { type: body[0]!, code: body[1]! } };
  if (protocol !== TCP && protocol !== UDP && protocol !== SCTP) return {};
  const ports = { source: view.getUint16(0), destination: view.getUint16(2) };
  if (protocol !== UDP || !vxlanPorts.includes(ports.destination) || body.length < 16) return { ports };
  // Of the flags only the one that says that the VNI counts is always set.
  const frame = (body[8]! & 0x08) === 0 ? undefined : decodeFrame(body.subarray(16), { vxlanPorts });
  return frame === undefined ? { ports } : { ports, vxlan: { vni: view.getUint32(12) >>> 8, frame } };
}

const ETHERNET = 14;
/** What VXLAN puts in front of a frame: UDP's header and its own. */
const VXLAN = 16;

/** The bytes of a frame, with zeros for what is not known of it. Checksums are those of the IP header alone. */
export function encodeFrame(frame: Frame): Uint8Array {
  const body = frame.arp !== undefined ? encodeArp(frame.arp) : frame.packet !== undefined ? encodePacket(frame.packet) : new Uint8Array();
  const tags = frame.vlans ?? [];
  const bytes = new Uint8Array(ETHERNET + 4 * tags.length + body.length);
  const view = new DataView(bytes.buffer);
  bytes.set(parseMac(frame.destination) ?? [], 0);
  bytes.set(parseMac(frame.source) ?? [], 6);
  let at = 12;
  for (const vlan of tags) {
    view.setUint16(at, ETH_P_8021Q);
    view.setUint16(at + 2, vlan);
    at += 4;
  }
  view.setUint16(at, frame.type);
  bytes.set(body, at + 2);
  return bytes;
}

function encodeArp({ operation, sender, target }: ArpPacket): Uint8Array {
  const code = operation === 'request' ? 1 : operation === 'reply' ? 2 : operation;
  const head = [0, 1, ETH_P_IP >> 8, 0, 6, 4, code >> 8, code & 255];
  return Uint8Array.of(...head, ...parseMac(sender.mac)!, ...parseIp(sender.address)!, ...parseMac(target.mac)!, ...parseIp(target.address)!); // prettier-ignore
}

function encodePacket(packet: Packet): Uint8Array {
  const source = parseIp(packet.source)!;
  const protocol = ipProtocols.number(packet.protocol);
  const header = source.length === 4 ? 20 : 40;
  const bytes = new Uint8Array(Math.max(packet.length, header + 8));
  const view = new DataView(bytes.buffer);
  if (header === 20) {
    bytes[0] = 0x45;
    view.setUint16(2, packet.length);
    view.setUint16(6, (packet.dontFragment === true ? 0x4000 : 0) | ((packet.fragmentOffset ?? 0) / 8));
    bytes[8] = packet.ttl;
    bytes[9] = protocol;
    bytes.set(source, 12);
    bytes.set(parseIp(packet.destination)!, 16);
    view.setUint16(10, checksum(bytes.subarray(0, header)));
  } else {
    bytes[0] = 0x60;
    view.setUint16(4, packet.length - header);
    bytes[6] = protocol;
    bytes[7] = packet.ttl;
    bytes.set(source, 8);
    bytes.set(parseIp(packet.destination)!, 24);
  }
  if (packet.icmp !== undefined) bytes.set([packet.icmp.type, packet.icmp.code], header);
  if (packet.ports !== undefined) {
    view.setUint16(header, packet.ports.source);
    view.setUint16(header + 2, packet.ports.destination);
  }
  if (protocol === UDP) view.setUint16(header + 4, packet.length - header);
  if (packet.vxlan !== undefined) {
    bytes[header + 8] = 0x08;
    view.setUint32(header + 12, packet.vxlan.vni << 8);
    bytes.set(encodeFrame(packet.vxlan.frame).subarray(0, bytes.length - header - VXLAN), header + VXLAN);
  }
  return bytes;
}

/** Of an IP packet with a VXLAN packet of a frame of that many bytes in it. */
export function vxlanLength(frame: number, ipv6: boolean): number {
  return frame + VXLAN + (ipv6 ? 40 : 20);
}

/** In bytes, with the Ethernet header, without the checksum behind it. */
export function frameLength({ packet, arp, vlans }: Frame): number {
  return ETHERNET + 4 * (vlans?.length ?? 0) + (packet?.length ?? (arp === undefined ? 0 : 28));
}
