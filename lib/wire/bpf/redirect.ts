// The maps of native/bpf/redirect.c: its structs and its numbers.
import { Bytes, littleEndian } from '../bytes.js';
import { formatIp, formatMac, parseIp, parseMac } from '../text.js';
import { Writer } from '../writer.js';

/** Keys of the map `configs`. */
export const TO_GUEST = 0;
export const TO_LINK = 1;

const FALL_BACK_IF_DOWN = 1;
const CHECK_SOURCE = 2;
const ALLOW_ANY_LINK_LOCAL = 4;
const ALLOW_ROUTER = 8;

/** struct config. */
export interface RedirectDirection {
  /** Where to; 0: paused. */
  readonly ifindex: number;
  readonly fallBackIfDown: boolean;
  /** The guest's source is checked: this is its MAC. */
  readonly mac?: string;
  readonly anyLinkLocal: boolean;
  readonly router: boolean;
}

export function encodeDirection({ ifindex, fallBackIfDown, mac, anyLinkLocal, router }: RedirectDirection): Uint8Array {
  const writer = new Writer();
  writer.u32(ifindex);
  writer.u32(
    (fallBackIfDown ? FALL_BACK_IF_DOWN : 0) |
      (mac === undefined ? 0 : CHECK_SOURCE) |
      (anyLinkLocal ? ALLOW_ANY_LINK_LOCAL : 0) |
      (router ? ALLOW_ROUTER : 0),
  );
  writer.bytes(mac === undefined ? new Uint8Array(6) : parseMac(mac)!);
  writer.pad(16);
  return writer.finish();
}

export function decodeDirection(value: Uint8Array): RedirectDirection {
  const { u8, u32 } = Bytes.copy(value);
  const [ifindex = 0, flags = 0] = u32;
  return {
    ifindex,
    fallBackIfDown: (flags & FALL_BACK_IF_DOWN) !== 0,
    ...((flags & CHECK_SOURCE) !== 0 && { mac: formatMac(u8, 8, 6) }),
    anyLinkLocal: (flags & ALLOW_ANY_LINK_LOCAL) !== 0,
    router: (flags & ALLOW_ROUTER) !== 0,
  };
}

export interface Counter {
  readonly packets: bigint;
  readonly bytes: bigint;
}

/** In the order of the map `counters`. */
export const redirectCounters = ['guestRedirected', 'guestPassed', 'linkRedirected', 'linkSpoofed', 'linkFailed'] as const;

/** One value for each CPU, added up. */
export function decodeCounter(values: Uint8Array): Counter {
  const view = new DataView(values.buffer, values.byteOffset, values.byteLength);
  let [packets, bytes] = [0n, 0n];
  for (let at = 0; at + 16 <= values.byteLength; at += 16) {
    packets += view.getBigUint64(at, littleEndian);
    bytes += view.getBigUint64(at + 8, littleEndian);
  }
  return { packets, bytes };
}

/** A key of `configs` or `counters`. */
export function indexKey(index: number): Uint8Array {
  const writer = new Writer();
  writer.u32(index);
  return writer.finish();
}

/** Keys of `sources4` and `sources6`: addresses in network order. */
export function addressKeys(addresses: readonly string[]): { readonly ipv4: readonly Uint8Array[]; readonly ipv6: readonly Uint8Array[] } {
  const keys = addresses.map((address) => parseIp(address)!);
  return { ipv4: keys.filter(({ length }) => length === 4), ipv6: keys.filter(({ length }) => length === 16) };
}

export function addressOfKey(key: Uint8Array): string {
  return formatIp(key, 0, key.length)!;
}
