// Frames as the tests send them.

/** Ethernet: from one locally administered MAC to another, EtherType 0x88b5 (for experiments, IEEE 802). */
export function frame(number: number, size = 64, options: { readonly to?: string; readonly type?: number } = {}): Uint8Array {
  const bytes = new Uint8Array(size);
  bytes.set(macBytes(options.to ?? 'ff:ff:ff:ff:ff:ff'));
  bytes.set(macBytes('02:00:00:00:00:99'), 6);
  const view = new DataView(bytes.buffer);
  view.setUint16(12, options.type ?? 0x88b5);
  view.setUint32(14, number);
  for (let at = 18; at < size; at++) bytes[at] = number + at;
  return bytes;
}

/** Its number where it is one of `frame`, whole; else -1. */
export function numberOf(bytes: Uint8Array): number {
  if (bytes.length < 18) return -1;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const number = view.getUint32(14);
  return bytes.every((byte, at) => at < 18 || byte === ((number + at) & 0xff)) ? number : -1;
}

export function typeOf(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint16(12);
}

export function macBytes(mac: string): Uint8Array {
  return Uint8Array.from(mac.split(':'), (octet) => parseInt(octet, 16));
}

/** UDP over IPv4; the UDP checksum 0 says that there is none. */
export function udp(from: { mac: string; address: string; port: number }, to: typeof from, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(42 + payload.length);
  const view = new DataView(bytes.buffer);
  bytes.set(macBytes(to.mac));
  bytes.set(macBytes(from.mac), 6);
  view.setUint16(12, 0x0800);
  view.setUint16(14, 0x4500);
  view.setUint16(16, 28 + payload.length);
  view.setUint16(22, 0x4011);
  bytes.set(from.address.split('.').map(Number), 26);
  bytes.set(to.address.split('.').map(Number), 30);
  view.setUint16(24, ~sum(bytes.subarray(14, 34)) & 0xffff);
  view.setUint16(34, from.port);
  view.setUint16(36, to.port);
  view.setUint16(38, 8 + payload.length);
  bytes.set(payload, 42);
  return bytes;
}

/** Whether the UDP checksum of an IPv4 frame is right: the sum over all that it covers, the pseudo-header too. */
export function udpIsValid(bytes: Uint8Array): boolean {
  const length = bytes.length - 34;
  const pseudo = Uint8Array.of(...bytes.subarray(26, 34), 0, 17, length >> 8, length & 255);
  return (bytes[40] !== 0 || bytes[41] !== 0) && sum(Uint8Array.of(...pseudo, ...bytes.subarray(34))) === 0xffff;
}

/** RFC 1071. */
function sum(data: Uint8Array): number {
  let total = 0;
  for (let at = 0; at < data.length; at += 2) total += (data[at]! << 8) | (data[at + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}
