// In words, what a rule or a program has made of a frame.
import type { Frame, Packet } from '../wire/frame.js';

/** 'destination 127.0.0.11 port 53 becomes 127.0.0.11 port 40001'. */
export function changesOf(before: Frame, after: Frame): string {
  if (before === after) return '';
  const end = (packet: Packet | undefined, which: 'source' | 'destination'): string | undefined =>
    packet === undefined ? undefined : tellEnd(packet[which], packet.ports?.[which]);
  const pairs: readonly (readonly [string, string | undefined, string | undefined])[] = [
    ['source MAC', before.source, after.source],
    ['destination MAC', before.destination, after.destination],
    ['source', end(before.packet, 'source'), end(after.packet, 'source')],
    ['destination', end(before.packet, 'destination'), end(after.packet, 'destination')],
    ['TTL', String(before.packet?.ttl), String(after.packet?.ttl)],
  ];
  return pairs.filter(([, a, b]) => a !== b).map(([what, a, b]) => `${what} ${a} becomes ${b}`).join(', '); // prettier-ignore
}

/** A port of 0 is one that cannot be told. */
export function tellEnd(address: string, port: number | undefined): string {
  return port === undefined ? address : `${address} port ${port === 0 ? 'any' : port}`;
}
