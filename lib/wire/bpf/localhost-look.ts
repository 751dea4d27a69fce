// The maps of native/bpf/localhost.c as its programs look into them: keys, and what stands there.
import { Bytes, littleEndian } from '../bytes.js';
import { formatIpv4, formatMac, parseIp } from '../text.js';
import { Writer } from '../writer.js';
import { LISTENERS, NO_NEXT_HOP, POD_HAS_ADDRESSES, SEVERAL } from './localhost.js';

/** struct config. */
export interface ProgramsConfig {
  /** 0: the programs let everything pass. */
  readonly link: number;
  readonly podHasAddresses: boolean;
  readonly several: boolean;
  readonly listeners: boolean;
  readonly noNextHop: boolean;
  /** The first address of a /24, and of a /23. */
  readonly aliases: string;
  readonly loopback: string;
  readonly gateway?: string;
  readonly firstTap: number;
  /** By index. */
  readonly addresses: readonly (string | undefined)[];
  /** Last bytes of aliases that answer echo requests. */
  readonly known: ReadonlySet<number>;
  readonly mac: string;
  readonly aliasMac: string;
  readonly gatewayMac: string;
}

/** In bytes. */
const AT = { aliases: 8, loopback: 12, gateway: 16, addresses: 24, known: 40, mac: 72, aliasMac: 78, gatewayMac: 84 };
const ADDRESSES = 4;

export function decodeProgramsConfig(value: Uint8Array): ProgramsConfig {
  const { u8, u32 } = Bytes.copy(value);
  const [link = 0, flags = 0] = u32;
  const address = (at: number): string | undefined => {
    const text = formatIpv4(u8, at);
    return text === '0.0.0.0' ? undefined : text;
  };
  const gateway = address(AT.gateway);
  const known = Array.from({ length: 256 }, (_, last) => last).filter((last) => ((u32[AT.known / 4 + (last >> 5)]! >>> (last & 31)) & 1) === 1); // prettier-ignore
  return {
    link,
    podHasAddresses: (flags & POD_HAS_ADDRESSES) !== 0,
    several: (flags & SEVERAL) !== 0,
    listeners: (flags & LISTENERS) !== 0,
    noNextHop: (flags & NO_NEXT_HOP) !== 0,
    aliases: formatIpv4(u8, AT.aliases),
    loopback: formatIpv4(u8, AT.loopback),
    ...(gateway !== undefined && { gateway }),
    firstTap: u32[5]!,
    addresses: Array.from({ length: ADDRESSES }, (_, index) => address(AT.addresses + 4 * index)),
    known: new Set(known),
    mac: formatMac(u8, AT.mac, 6),
    aliasMac: formatMac(u8, AT.aliasMac, 6),
    gatewayMac: formatMac(u8, AT.gatewayMac, 6),
  };
}

/** Of `hosts` and `names`, and what stands there. */
export function addressKey(address: string): Uint8Array {
  return parseIp(address)!;
}
export function decodeAddress(value: Uint8Array): string {
  return formatIpv4(value, 0);
}

/** struct target: the address, and by how much the port is higher there, modulo 65536. */
export function decodeTarget(value: Uint8Array): { readonly address: string; readonly shift: number } {
  return { address: formatIpv4(value, 0), shift: u16Of(value, 4) };
}

/** Of `slots` and `guests`: the number, and of a guest its TAP first. */
export function decodeNumber(value: Uint8Array): number {
  return new DataView(value.buffer, value.byteOffset).getUint32(0, littleEndian);
}

/** In which value of `owners` a port's slot is, and where in it. */
export function ownerPlace(protocol: 'tcp' | 'udp', port: number): { readonly index: number; readonly at: number } {
  const place = (protocol === 'udp' ? 65_536 : 0) + port;
  return { index: place >> 3, at: place & 7 };
}

/** struct flow_key. Ends are addresses, or slots and indexes where the zone says so; of both, the ports. */
export interface FlowEnds {
  readonly remote: string | number;
  readonly local: string | number;
  readonly remotePort: number;
  readonly localPort: number;
  /** IANA's number. */
  readonly protocol: number;
  readonly zone: number;
}
/** Zones; to some of them a slot is added. */
export const zones = { world: 0, peer: 0, pod: 64, moved: 128 } as const;

export function flowKey({ remote, local, remotePort, localPort, protocol, zone }: FlowEnds): Uint8Array {
  const writer = new Writer();
  for (const end of [remote, local]) {
    if (typeof end === 'string') writer.bytes(parseIp(end)!);
    else writer.u32(end);
  }
  writer.be16(remotePort);
  writer.be16(localPort);
  writer.byte(protocol);
  writer.byte(zone);
  writer.u16(0);
  return writer.finish();
}

/** struct flow, without its time. */
export function decodeFlow(value: Uint8Array): { readonly slot: number; readonly index: number; readonly port: number } {
  return { slot: value[0]!, index: value[1]!, port: (value[2]! << 8) | value[3]! };
}

function u16Of(value: Uint8Array, at: number): number {
  return new DataView(value.buffer, value.byteOffset).getUint16(at, littleEndian);
}
