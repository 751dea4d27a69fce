// Bytes of which some are not known, as of a packet that was not sent: comparing them may have no answer.

export interface Datum {
  readonly bytes: Uint8Array;
  /** 1 where the byte is not known. */
  readonly unknown: Uint8Array;
  /** What it is that is not known. */
  readonly why: string;
}

/** Yes, no, or why that cannot be told. */
export type Truth = boolean | string;

export function known(bytes: Uint8Array): Datum {
  return { bytes, unknown: new Uint8Array(bytes.length), why: '' };
}

export function unknownOf(length: number, why: string): Datum {
  return { bytes: new Uint8Array(length), unknown: new Uint8Array(length).fill(1), why };
}

export function part({ bytes, unknown, why }: Datum, from: number, length: number): Datum {
  return { bytes: bytes.slice(from, from + length), unknown: unknown.slice(from, from + length), why };
}

export function isKnown({ unknown }: Datum): boolean {
  return !unknown.includes(1);
}

export function equal({ bytes, unknown, why }: Datum, wanted: Uint8Array): Truth {
  let open = false;
  for (const [index, byte] of wanted.entries()) {
    if (unknown[index] === 1) open = true;
    else if (bytes[index] !== byte) return false;
  }
  return open ? why : true;
}

/** Below 0, 0 or above, as memcmp() has it; or why that cannot be told. */
export function compare({ bytes, unknown, why }: Datum, other: Uint8Array): number | string {
  for (const [index, byte] of other.entries()) {
    if (unknown[index] === 1) return why;
    const difference = (bytes[index] ?? 0) - byte;
    if (difference !== 0) return difference;
  }
  return 0;
}

export function not(truth: Truth): Truth {
  return typeof truth === 'string' ? truth : !truth;
}

/** In the order of the machine: what nftables calls host endian. */
export function host32(number: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(number).buffer);
}
export function host16(number: number): Uint8Array {
  return new Uint8Array(Uint16Array.of(number).buffer);
}
export function number32(bytes: Uint8Array): number {
  return new Uint32Array(bytes.slice(0, 4).buffer)[0] ?? 0;
}
