// A guest in JavaScript: it answers ARP and ICMP echo requests that come to it by a TAP.
import type { Tap } from 'podtap';

const BROADCAST = 'ff:ff:ff:ff:ff:ff';

export interface Guest extends AsyncDisposable {
  /** What came: 'arp who-has 10.0.0.2', 'icmp echo from 10.0.0.1', 'other'. */
  readonly seen: readonly string[];
}

/** Holds the TAP until it is disposed of. */
export function startGuest(tap: Tap, self: { readonly mac: string; readonly address: string }): Guest {
  const seen: string[] = [];
  const stop = new AbortController();
  const own = { mac: bytes(self.mac.split(':'), 16), ip: bytes(self.address.split('.'), 10) };
  const running = (async () => {
    for await (const frames of tap.frames({ signal: stop.signal })) {
      const answers = frames.map((frame) => answer(frame, own, self.mac, seen)).filter((frame) => frame !== undefined);
      if (answers.length > 0) await tap.send(answers);
    }
  })().catch((error: unknown) => {
    if (!stop.signal.aborted) throw error;
  });
  return {
    seen,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}

function bytes(parts: readonly string[], radix: number): Uint8Array {
  return Uint8Array.from(parts, (part) => parseInt(part, radix));
}
function macOf(frame: Uint8Array, at: number): string {
  return Array.from(frame.subarray(at, at + 6), (byte) => byte.toString(16).padStart(2, '0')).join(':');
}
function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.every((byte, index) => byte === b[index]);
}

function answer(frame: Uint8Array, own: { mac: Uint8Array; ip: Uint8Array }, mac: string, seen: string[]): Uint8Array | undefined {
  const to = macOf(frame, 0);
  const type = (frame[12]! << 8) | frame[13]!;
  if (to !== BROADCAST && to !== mac) return undefined;
  if (type === 0x0806 && frame[21] === 1) {
    // RFC 826: sender's MAC at 22 and address at 28, the target's at 32 and 38.
    seen.push(`arp who-has ${frame.subarray(38, 42).join('.')}`);
    if (!same(frame.subarray(38, 42), own.ip)) return undefined;
    const reply = frame.slice(0, 42);
    reply[21] = 2;
    reply.set(frame.subarray(22, 32), 32);
    reply.set(own.mac, 22);
    reply.set(own.ip, 28);
    return addressed(reply, frame, own.mac);
  }
  if (type === 0x0800 && frame[23] === 1 && frame[34] === 8 && same(frame.subarray(30, 34), own.ip)) {
    seen.push(`icmp echo from ${frame.subarray(26, 30).join('.')}`);
    const reply = frame.slice();
    reply.set(frame.subarray(26, 30), 30);
    reply.set(own.ip, 26);
    reply[34] = 0;
    // From 8 to 0: the sum grows by 0x0800 (RFC 1624).
    const sum = ((reply[36]! << 8) | reply[37]!) + 0x0800;
    const folded = (sum & 0xffff) + (sum >>> 16);
    reply[36] = folded >> 8;
    reply[37] = folded & 255;
    return addressed(reply, frame, own.mac);
  }
  seen.push('other');
  return undefined;
}

function addressed(reply: Uint8Array, request: Uint8Array, mac: Uint8Array): Uint8Array {
  reply.set(request.subarray(6, 12), 0);
  reply.set(mac, 6);
  return reply;
}
