// pcapng, as Wireshark and tcpdump read it: draft-ietf-opsawg-pcapng. Section header, interface descriptions, enhanced packets,
// interface statistics; in the host's byte order, which the section header tells.
import { Writer } from './writer.js';

const SECTION_HEADER = 0x0a0d0d0a;
const INTERFACE_DESCRIPTION = 1;
const INTERFACE_STATISTICS = 5;
const ENHANCED_PACKET = 6;
const BYTE_ORDER = 0x1a2b3c4d;
const NANOSECONDS = 9; // if_tsresol: 10^-9 s

export interface PcapngInterface {
  /** Shown beside each of its packets. */
  readonly name: string;
  readonly description?: string;
  /** Of the interface, as a filter that cut its frames counted them; 0: whole. */
  readonly snapLength?: number;
}

export interface PcapngPacket {
  /** Index of the interface, from 0. */
  readonly of: number;
  readonly time: bigint;
  readonly length: number;
  readonly type: 'host' | 'broadcast' | 'multicast' | 'otherhost' | 'outgoing' | 'loopback';
  readonly bytes: Uint8Array;
}

/** LINKTYPE_ETHERNET. */
const ETHERNET = 1;

export function encodeSection(application: string): Uint8Array {
  return block(SECTION_HEADER, (writer) => {
    writer.u32(BYTE_ORDER);
    writer.u16(1);
    writer.u16(0);
    writer.u64(0xffffffffffffffffn); // the section's length is not known
    option(writer, 4, text(application)); // shb_userappl
    endOfOptions(writer);
  });
}

export function encodeInterface({ name, description, snapLength = 0 }: PcapngInterface): Uint8Array {
  return block(INTERFACE_DESCRIPTION, (writer) => {
    writer.u16(ETHERNET);
    writer.u16(0);
    writer.u32(snapLength);
    option(writer, 2, text(name));
    if (description !== undefined) option(writer, 3, text(description));
    option(writer, 9, Uint8Array.of(NANOSECONDS));
    endOfOptions(writer);
  });
}

/** epb_flags: bits 0 and 1 are the direction (1 in, 2 out), 2 to 4 how it was addressed. */
const flags = { host: 1 | (1 << 2), multicast: 1 | (2 << 2), broadcast: 1 | (3 << 2), otherhost: 1 | (4 << 2), outgoing: 2, loopback: 0 };

export function encodePacket({ of, time, length, type, bytes }: PcapngPacket): Uint8Array {
  return block(ENHANCED_PACKET, (writer) => {
    writer.u32(of);
    stamp(writer, time);
    writer.u32(bytes.length);
    writer.u32(length);
    writer.bytes(bytes);
    align(writer);
    const word = new Writer();
    word.u32(flags[type]);
    option(writer, 2, word.finish());
    endOfOptions(writer);
  });
}

/** `received` and `dropped` as PACKET_STATISTICS counts them. */
export function encodeStatistics(of: number, time: bigint, received: number, dropped: number): Uint8Array {
  return block(INTERFACE_STATISTICS, (writer) => {
    writer.u32(of);
    stamp(writer, time);
    for (const [code, value] of [
      [4, received], // isb_ifrecv
      [7, dropped], // isb_osdrop
    ] as const) {
      const long = new Writer();
      long.u64(BigInt(value));
      option(writer, code, long.finish());
    }
    endOfOptions(writer);
  });
}

/** Total length in front and behind, so that a file can be read backwards. */
function block(type: number, body: (writer: Writer) => void): Uint8Array {
  const writer = new Writer();
  writer.u32(type);
  writer.u32(0);
  body(writer);
  const length = writer.length + 4;
  writer.u32(length);
  writer.setU32(4, length);
  return writer.finish();
}

/** The upper half of the 64 bits first, in either byte order. */
function stamp(writer: Writer, time: bigint): void {
  writer.u32(Number(time >> 32n));
  writer.u32(Number(time & 0xffffffffn));
}

function option(writer: Writer, code: number, value: Uint8Array): void {
  writer.u16(code);
  writer.u16(value.length);
  writer.bytes(value);
  align(writer);
}

function endOfOptions(writer: Writer): void {
  writer.u16(0);
  writer.u16(0);
}

function align(writer: Writer): void {
  writer.pad((writer.length + 3) & ~3);
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}
