// What stands before each frame that readPackets (native/packet.cc) reads: struct PacketHeader.
import { littleEndian } from './bytes.js';

export const CAPTURE_HEADER = 24;

/** PACKET_*: uapi/linux/if_packet.h. */
const types = ['host', 'broadcast', 'multicast', 'otherhost', 'outgoing', 'loopback'] as const;
export type PacketType = (typeof types)[number];

export interface CapturedBytes {
  /** Nanoseconds since 1970, by the kernel's clock when the frame passed. */
  readonly time: bigint;
  /** On the wire; more than `bytes` has where the filter cut it. */
  readonly length: number;
  /** 'outgoing': sent by the interface. The others came in: for its own MAC, for all, for a group, for another one. */
  readonly type: PacketType;
  /** Whole, with the VLAN tag that the kernel keeps beside it. */
  readonly bytes: Uint8Array;
}

const MACS = 12;

/** A header and the frame behind it. */
export function decodeCaptured(record: Uint8Array): CapturedBytes {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  const tagProtocol = view.getUint16(14, littleEndian);
  const frame = record.subarray(CAPTURE_HEADER);
  const known = {
    time: view.getBigUint64(0, littleEndian),
    length: view.getUint32(8, littleEndian),
    type: types[view.getUint8(16)] ?? 'host',
  };
  if (tagProtocol === 0 || frame.length < MACS) return { ...known, bytes: frame };
  const bytes = new Uint8Array(frame.length + 4);
  bytes.set(frame.subarray(0, MACS));
  new DataView(bytes.buffer).setUint16(MACS, tagProtocol);
  new DataView(bytes.buffer).setUint16(MACS + 2, view.getUint16(12, littleEndian));
  bytes.set(frame.subarray(MACS), MACS + 4);
  return { ...known, length: known.length + 4, bytes };
}
