import { Bytes, align, littleEndian } from './bytes.js';

/** Bytes that grow as they are written. Attributes and messages are begun and ended, and their lengths filled in then. */
export class Writer {
  #bytes = new Bytes(new ArrayBuffer(256));
  length = 0;

  byte(value: number): void {
    this.#room(1);
    this.#bytes.u8[this.length++] = value;
  }
  u16(value: number): void {
    this.#room(2);
    this.#bytes.view.setUint16(this.length, value, littleEndian);
    this.length += 2;
  }
  u32(value: number): void {
    this.#room(4);
    this.#bytes.view.setUint32(this.length, value, littleEndian);
    this.length += 4;
  }
  u64(value: bigint): void {
    this.#room(8);
    this.#bytes.view.setBigUint64(this.length, value, littleEndian);
    this.length += 8;
  }
  be16(value: number): void {
    this.#room(2);
    this.#bytes.view.setUint16(this.length, value);
    this.length += 2;
  }
  be32(value: number): void {
    this.#room(4);
    this.#bytes.view.setUint32(this.length, value);
    this.length += 4;
  }
  be64(value: bigint): void {
    this.#room(8);
    this.#bytes.view.setBigUint64(this.length, value);
    this.length += 8;
  }
  bytes(data: Uint8Array): void {
    this.#room(data.length);
    this.#bytes.u8.set(data, this.length);
    this.length += data.length;
  }
  text(value: string): void {
    for (let index = 0; index < value.length; index++) {
      const code = value.charCodeAt(index);
      if (code > 127) return this.bytes(new TextEncoder().encode(value.slice(index)));
      this.byte(code);
    }
  }
  /** Zeros up to `length`. */
  pad(length: number): void {
    this.#room(length - this.length);
    this.#bytes.u8.fill(0, this.length, length);
    this.length = length;
  }

  beginAttribute(type: number): number {
    const start = this.length;
    this.u16(0);
    this.u16(type);
    return start;
  }
  endAttribute(start: number): void {
    const length = this.length - start;
    // nla_len counts header and payload, not the padding behind it, in 16 bits.
    if (length > 0xffff) throw new RangeError(`a netlink attribute holds at most 65531 bytes; this one has ${length - 4}`);
    this.#bytes.view.setUint16(start, length, littleEndian);
    this.pad(align(this.length));
  }
  attribute(type: number, data: Uint8Array): void {
    const start = this.beginAttribute(type);
    this.bytes(data);
    this.endAttribute(start);
  }

  setU16(at: number, value: number): void {
    this.#bytes.view.setUint16(at, value, littleEndian);
  }
  setU32(at: number, value: number): void {
    this.#bytes.view.setUint32(at, value, littleEndian);
  }

  /** What was written. */
  finish(): Uint8Array {
    return this.#bytes.u8.slice(0, this.length);
  }

  #room(more: number): void {
    const needed = this.length + more;
    if (needed <= this.#bytes.u8.length) return;
    const grown = new Bytes(new ArrayBuffer(align(Math.max(needed, 2 * this.#bytes.u8.length))));
    grown.u8.set(this.#bytes.u8.subarray(0, this.length));
    this.#bytes = grown;
  }
}
