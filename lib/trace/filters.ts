// Ready classic BPF programs for captures: what tcpdump(8) would make of `icmp`, `arp`, `udp port N` and the like.
import { check, integer, u16 } from '../check.js';
import type { BpfInstruction } from '../kernel/packet.js';
import { ETH_P_ARP, ETH_P_IP, ETH_P_IPV6 } from '../wire/frame.js';

/** uapi/linux/bpf_common.h. */
const LDH = 0x28; // A = u16 at k
const LDB = 0x30; // A = u8 at k
const LDH_X = 0x48; // A = u16 at X + k
const LDX_MSH = 0xb1; // X = 4 * (u8 at k & 15): the length of IPv4's header
const JEQ = 0x15;
const JSET = 0x45;
const RET = 0x06;

const WHOLE = 0x40000;
const [TYPE, IPV4, IPV6] = [12, 14, 14];
const [ICMP, TCP, UDP, ICMPV6] = [1, 6, 17, 58];

export type CaptureFilter = readonly BpfInstruction[];

/** Jumps are written by how many instructions they pass over; 'yes' and 'no' are the two last ones. */
type Line = readonly [code: number, jt: number | 'yes' | 'no', jf: number | 'yes' | 'no', k: number];

function program(lines: readonly Line[]): CaptureFilter {
  const target = (jump: number | 'yes' | 'no', at: number): number => jump === 'yes' ? lines.length - at - 1 : jump === 'no' ? lines.length - at : jump; // prettier-ignore
  return [
    ...lines.map(([code, jt, jf, k], at): BpfInstruction => [code, target(jt, at), target(jf, at), k]),
    [RET, 0, 0, WHOLE],
    [RET, 0, 0, 0],
  ];
}

/** Frames of an EtherType. Like `tcpdump ether proto TYPE`. */
export function etherType(type: number): CaptureFilter {
  return program([
    [LDH, 0, 0, TYPE],
    [JEQ, 'yes', 'no', check(u16, type, 'etherType')],
  ]);
}

/** Like `tcpdump arp`. */
export function arp(): CaptureFilter {
  return etherType(ETH_P_ARP);
}

/** ICMP and ICMPv6. Like `tcpdump 'icmp or icmp6'`. */
export function icmp(): CaptureFilter {
  return program([
    [LDH, 0, 0, TYPE],
    [JEQ, 0, 2, ETH_P_IP],
    [LDB, 0, 0, IPV4 + 9],
    [JEQ, 'yes', 'no', ICMP],
    [JEQ, 0, 'no', ETH_P_IPV6],
    [LDB, 0, 0, IPV6 + 6],
    [JEQ, 'yes', 'no', ICMPV6],
  ]);
}

/** UDP from or to a port, IPv4 and IPv6. Like `tcpdump udp port N`. */
export function udpPort(port: number): CaptureFilter {
  return portOf(UDP, check(integer(1, 0xffff), port, 'udpPort'));
}

/** Like `tcpdump tcp port N`. */
export function tcpPort(port: number): CaptureFilter {
  return portOf(TCP, check(integer(1, 0xffff), port, 'tcpPort'));
}

/** Fragments behind the first have no ports. */
function portOf(protocol: number, port: number): CaptureFilter {
  return program([
    [LDH, 0, 0, TYPE],
    [JEQ, 0, 6, ETH_P_IPV6],
    [LDB, 0, 0, IPV6 + 6],
    [JEQ, 0, 'no', protocol],
    [LDH, 0, 0, IPV6 + 40],
    [JEQ, 'yes', 0, port],
    [LDH, 0, 0, IPV6 + 42],
    [JEQ, 'yes', 'no', port],
    [JEQ, 0, 'no', ETH_P_IP],
    [LDB, 0, 0, IPV4 + 9],
    [JEQ, 0, 'no', protocol],
    [LDH, 0, 0, IPV4 + 6],
    [JSET, 'no', 0, 0x1fff],
    [LDX_MSH, 0, 0, IPV4],
    [LDH_X, 0, 0, IPV4],
    [JEQ, 'yes', 0, port],
    [LDH_X, 0, 0, IPV4 + 2],
    [JEQ, 'yes', 'no', port],
  ]);
}
