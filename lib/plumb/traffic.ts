// Whether frames cross, tried with frames of our own: EtherType 0x88b5, for experiments on one's own network (IEEE 802, 9.2.4).
import { randomBytes } from '../random.js';
import type { Netns } from '../kernel/netns.js';
import { type BpfInstruction, PacketSocket } from '../kernel/packet.js';
import { placeIn } from '../kernel/tap.js';
import { ETH_P_ARP, encodeFrame } from '../wire/frame.js';
import { formatMac, parseMac } from '../wire/text.js';
import { deviceOf } from './device.js';
import { type Wiring, datapathOf } from './datapath/datapaths.js';

export type Crossing = 'crossed' | 'lost' | 'skipped';

const LOCAL_EXPERIMENTAL = 0x88b5;
const LONGEST_WAY = 2000; // milliseconds, on a busy machine, too; a TAP has its carrier, and its port forwards, only a moment after it is opened
const AGAIN = 20;

/**
 * To the guest: as the datapath takes what comes from outside, out of the TAP. From the guest: in by the TAP, and seen as it leaves by the pod's interface;
 * it goes to a MAC that nobody has, so that nobody takes it. Where the guest's frames are checked, it is an ARP request of nobody for
 * nothing, which a guest may always send.
 */
export async function traffic(
  netns: Netns,
  wiring: Wiring,
  signal?: AbortSignal,
): Promise<readonly [toGuest: Crossing, fromGuest: Crossing]> {
  const { link, linkMac, guestMac, source } = wiring;
  await using wire = deviceOf(placeIn(netns), wiring);
  await using inside = await datapathOf(wiring.mode).inlet(netns, wiring);
  // What leaves is seen by sockets of all protocols alone (packet(7)); the filter drops the rest.
  await using outside = await PacketSocket.open(netns, link.ifindex, {
    filter: ofType(source === undefined ? LOCAL_EXPERIMENTAL : ETH_P_ARP),
  });
  const token = randomBytes(16);
  const nobody = formatMac(Uint8Array.of(0x02, ...randomBytes(5)), 0, 6);
  // Not AbortSignal.any() of an AbortSignal.timeout(): nobody holds that one, and collected as garbage it never fires (Node.js 20).
  const stop = new AbortController();
  const { signal: late } = stop;
  const timer = setTimeout(() => stop.abort(), LONGEST_WAY);
  const abort = (): void => stop.abort();
  signal?.addEventListener('abort', abort);
  const header = new Uint8Array(wire.vnetHeaderBytes);
  const own = joined(header, source === undefined ? frameOf(nobody, guestMac, token) : probeOf(nobody, guestMac, token));
  const came = async (frames: AsyncIterable<readonly Uint8Array[]>, from: number, to: string): Promise<Crossing> => {
    try {
      for await (const batch of frames) if (batch.some((frame) => isOurs(frame.subarray(from), to, token))) return 'crossed';
    } catch (error) {
      if (!late.aborted) throw error;
    }
    return 'lost';
  };
  const send = async (): Promise<void> => {
    while (!late.aborted) {
      await inside.send(frameOf(guestMac, linkMac, token)).catch(() => 0);
      await wire.send([own]).catch(() => 0);
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
    }
  };
  const arrivals = Promise.all([
    came(wire.frames({ signal: late }), header.length, guestMac),
    came(outside.frames({ signal: late }), 0, nobody),
  ]);
  const sending = send();
  try {
    const result = await arrivals;
    signal?.throwIfAborted();
    return result;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
    stop.abort();
    await sending;
  }
}

/** ldh [12]; jeq TYPE, 0, 1; ret 65535; ret 0 */
function ofType(type: number): readonly BpfInstruction[] {
  return [[0x28, 0, 0, 12], [0x15, 0, 1, type], [0x06, 0, 0, 0xffff], [0x06, 0, 0, 0]]; // prettier-ignore
}

function frameOf(to: string, from: string, token: Uint8Array): Uint8Array {
  return joined(
    parseMac(to)!,
    parseMac(from)!,
    Uint8Array.of(LOCAL_EXPERIMENTAL >> 8, LOCAL_EXPERIMENTAL & 0xff),
    token,
    new Uint8Array(30),
  );
}

function probeOf(to: string, from: string, token: Uint8Array): Uint8Array {
  const [sender, target] = [from, '00:00:00:00:00:00'].map((mac) => ({ mac, address: '0.0.0.0' }));
  const arp = { operation: 'request', sender: sender!, target: target! } as const;
  return joined(encodeFrame({ source: from, destination: to, type: ETH_P_ARP, arp }), token, new Uint8Array(2));
}

function isOurs(frame: Uint8Array, to: string, token: Uint8Array): boolean {
  return (
    frame.length >= 60 &&
    formatMac(frame, 0, 6) === to &&
    Buffer.from(frame.buffer, frame.byteOffset, frame.length).includes(Buffer.from(token))
  );
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
