// The maps of native/bpf/localhost.c: its structs and its numbers, made of a configuration.
import type { LocalhostConfig } from '../localhost.js';
import { parseIp, parseMac } from '../text.js';
import { Writer } from '../writer.js';
import { indexKey } from './redirect.js';

export const POD_HAS_ADDRESSES = 1;
export const SEVERAL = 2;
export const LISTENERS = 4;
export const NO_NEXT_HOP = 8;

const ADDRESSES = 4;
const GUESTS = 64;
/** Flows of all guests together; one of N guests, and the pod's own processes, have a part of N + 1 each. */
export const CELLS = 32_768;
const CELL_BYTES = 20;
const LOCALHOST_ALIAS = 2;
const PORTS = 65_536;

type Entry = readonly [key: Uint8Array, value: Uint8Array];
/** What stands in a map, whole. */
export type Contents = readonly Entry[];

/** In the order of the map `counters`: each of packets, and of their bytes with Ethernet's header. */
export const localhostCounters = [
  /** From a guest to a declared service, and back. */
  'toService',
  'fromService',
  /** From a guest to a process of the pod that had dialled it, and what that sends. */
  'toSidecar',
  'fromSidecar',
  /** From one guest to another by localhost. */
  'toPeer',
  /** Dropped: to localhost, and to nothing that is declared. */
  'closed',
  /** Dropped: with a source address, or of several guests a MAC, that is not the guest's. */
  'spoofed',
  /** Dropped: came by the pod's interface, to or from localhost or an alias. */
  'martian',
  'arpAnswered',
  'echoAnswered',
  /** What came by the pod's interface: to a socket of the pod's own; to the owner of the port; to the guest that began it; to the first guest, because nobody else has it. */
  'toPod',
  'toOwner',
  'toFlow',
  'toFirst',
  /** Copies of ARP and of broadcasts. */
  'cloned',
  /** Of several guests: begun; begun under another port because theirs was taken; dropped because none was free. */
  'flowNew',
  'flowClash',
  'flowLost',
  /** To the world, from another guest than the first. */
  'fromGuest',
  /** Dropped: from a TAP that is none of a guest's, or IPv6 and the like of another guest than the first. */
  'foreign',
  /** Dropped: a datagram to a guest that is longer than its TAP's MTU. */
  'tooLong',
  /** Dropped: could not be rewritten. */
  'failed',
] as const;
export type LocalhostCounter = (typeof localhostCounters)[number];

/** Maps by name, with all that shall stand in them; `told` is the last. */
export function localhostMaps(config: LocalhostConfig): Readonly<Record<string, Contents>> {
  return {
    guests: guests(config),
    slots: config.guests.map(({ slot, tap }) => [indexKey(tap), indexKey(slot)]),
    services: services(config),
    answers: answers(config),
    hosts: hosts(config),
    names: names(config),
    owners: owners(config),
    configs: [[indexKey(0), configValue(config)]],
    told: [[indexKey(0), textValue(JSON.stringify(config))]],
  };
}

/** How long the text of `told` may be, in bytes: its value, less the length before it. */
export const LONGEST_TEXT = 65_532;

function textValue(text: string): Uint8Array {
  const writer = new Writer();
  const bytes = new TextEncoder().encode(text);
  writer.u32(bytes.length);
  writer.bytes(bytes);
  writer.pad(LONGEST_TEXT + 4);
  return writer.finish();
}

/** undefined: nothing was told yet. */
export function decodeTold(value: Uint8Array): LocalhostConfig | undefined {
  const length = value[0]! | (value[1]! << 8) | (value[2]! << 16);
  if (length === 0) return undefined;
  return JSON.parse(new TextDecoder().decode(value.subarray(4, 4 + length))) as LocalhostConfig;
}

/** struct config. */
function configValue({
  link,
  podHasAddresses,
  mac,
  addresses,
  aliases,
  loopback,
  aliasMac,
  services,
  guests,
  gateway,
}: LocalhostConfig): Uint8Array {
  const writer = new Writer();
  const several = guests.length > 1;
  const owned = guests.some(({ ports }) => ports.length > 0);
  writer.u32(link);
  writer.u32(
    (podHasAddresses ? POD_HAS_ADDRESSES : 0) |
      (several ? SEVERAL : 0) |
      (several || owned ? LISTENERS : 0) |
      (gateway?.mac === aliasMac ? NO_NEXT_HOP : 0),
  );
  writer.bytes(address(aliases));
  writer.bytes(address(loopback));
  writer.bytes(gateway === undefined ? new Uint8Array(4) : address(gateway.address));
  writer.u32(guests[0]!.tap);
  for (let at = 0; at < ADDRESSES; at++) writer.bytes(at < addresses.length ? address(addresses[at]!) : new Uint8Array(4));
  const known = new Uint32Array(8);
  for (const last of [LOCALHOST_ALIAS, ...services.map(({ alias }) => address(alias)[3]!)]) known[last >> 5]! |= 1 << (last & 31);
  for (const word of known) writer.u32(word);
  writer.bytes(parseMac(mac)!);
  writer.bytes(parseMac(aliasMac)!);
  writer.bytes(gateway === undefined ? new Uint8Array(6) : parseMac(gateway.mac)!);
  writer.pad(writer.length + 2);
  return writer.finish();
}

/** struct guest, of all slots: those that are free have nothing. */
function guests({ guests }: LocalhostConfig): Contents {
  const share = Math.floor(CELLS / (guests.length + 1));
  const order = [0, ...guests.map(({ slot }) => slot)];
  return Array.from({ length: GUESTS }, (_, slot): Entry => {
    const at = order.indexOf(slot);
    const writer = new Writer();
    writer.u32(guests.find((guest) => guest.slot === slot)?.tap ?? 0);
    writer.u32(at === -1 ? 0 : at * share);
    writer.u32(at === -1 ? 0 : share);
    return [indexKey(slot), writer.finish()];
  });
}

function services({ services }: LocalhostConfig): Contents {
  return services.flatMap((service) =>
    [service.alias, service.address].flatMap((dialled) =>
      blocks(service.first, service.last).map(([port, bits]): Entry => [
        portKey(dialled, service.protocol, port, bits),
        target(service.address, service.to - service.first),
      ]),
    ),
  );
}

function answers({ services }: LocalhostConfig): Contents {
  return services.flatMap(({ alias, address, protocol, first, last, to }) =>
    blocks(to, to + last - first).map(([port, bits]): Entry => [portKey(address, protocol, port, bits), target(alias, first - to)]),
  );
}

function hosts({ services }: LocalhostConfig): Contents {
  return unique(
    services.flatMap((service) => [service.alias, service.address].map((dialled): Entry => [address(dialled), address(service.address)])),
  );
}

function names({ services }: LocalhostConfig): Contents {
  return unique(services.map((service): Entry => [address(service.address), address(service.alias)]));
}

/** Eight ports in a value, TCP's before UDP's; zeros are left out. */
function owners({ guests }: LocalhostConfig): Contents {
  const slots = new Uint8Array(2 * PORTS);
  for (const { slot, ports } of guests)
    for (const { protocol, first, last } of ports) {
      const from = protocol === 'udp' ? PORTS : 0;
      slots.fill(slot, from + first, from + last + 1);
    }
  const found: Entry[] = [];
  for (let at = 0; at < slots.length; at += 8) {
    const eight = slots.slice(at, at + 8);
    if (eight.some((slot) => slot !== 0)) found.push([indexKey(at / 8), eight]);
  }
  return found;
}

/** A range as prefixes of 16 bits: [first port, bits]. */
function blocks(first: number, last: number): [number, number][] {
  const found: [number, number][] = [];
  for (let at = first; at <= last;) {
    let size = at === 0 ? PORTS : at & -at;
    while (at + size - 1 > last) size /= 2;
    found.push([at, 16 - Math.log2(size)]);
    at += size;
  }
  return found;
}

/** struct port_key, with the last 16 of its bits as far as they count. */
export function portKey(dialled: string, protocol: 'tcp' | 'udp', port: number, bits = 16): Uint8Array {
  const writer = new Writer();
  writer.u32(48 + bits);
  writer.bytes(address(dialled));
  writer.byte(protocol === 'tcp' ? 6 : 17);
  writer.byte(0);
  writer.be16(port);
  return writer.finish();
}

/** struct target. */
function target(to: string, shift: number): Uint8Array {
  const writer = new Writer();
  writer.bytes(address(to));
  writer.u16(shift & 0xffff);
  writer.u16(0);
  return writer.finish();
}

/** One of each key. */
function unique(entries: Contents): Contents {
  return [...new Map(entries.map((entry) => [String(entry[0]), entry])).values()];
}

function address(text: string): Uint8Array {
  return parseIp(text)!;
}

/** struct flow, of which only the slot is asked. */
export function slotOfFlow(value: Uint8Array): number {
  return value[0]!;
}

/** struct cell without a flow. */
export const emptyCell = new Uint8Array(CELL_BYTES);
export const eightNobodies = new Uint8Array(8);
