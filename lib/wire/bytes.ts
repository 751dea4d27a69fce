/**
 * The views of one aligned buffer. Netlink speaks the host's byte order and aligns to 4 (uapi/linux/netlink.h), and so do
 * typed arrays: they read and write it as it is, faster than DataView, on either kind of machine.
 */
export class Bytes {
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly view: DataView;

  /** `buffer` is used as it is; its length is rounded down to a multiple of 4. */
  constructor(readonly buffer: ArrayBuffer) {
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer, 0, buffer.byteLength >> 1);
    this.u32 = new Uint32Array(buffer, 0, buffer.byteLength >> 2);
    this.view = new DataView(buffer);
  }

  /** Any bytes, copied to where they are aligned and padded to a multiple of 4. */
  static copy(data: Uint8Array): Bytes {
    const bytes = new Bytes(new ArrayBuffer(align(data.length)));
    bytes.u8.set(data);
    return bytes;
  }

  slice(start: number, end: number): Uint8Array {
    return this.u8.slice(start, end);
  }
}

export const littleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** NLMSG_ALIGN, NLA_ALIGN: to a multiple of 4. */
export function align(length: number): number {
  return (length + 3) & ~3;
}
