import { check, integer, ip, optional, options } from '../check.js';
import { EchoSocket } from '../kernel/echo.js';
import type { Netns } from '../kernel/netns.js';

export interface PingOptions {
  /** How many requests. Default 1. */
  readonly count?: number;
  /** Milliseconds from one request to the next. Default 1000; the last one is not waited after. */
  readonly interval?: number;
  /** Milliseconds for each reply. Default 1000. */
  readonly timeout?: number;
  /** Bytes behind the ICMP header. Default 56, as ping(8). */
  readonly size?: number;
}
export interface PingResult {
  readonly sent: number;
  readonly received: number;
  /** Milliseconds, of those that were answered. */
  readonly rtt: readonly number[];
}

const milliseconds = integer(0, 0x7fffffff);
const pingOptions = options({
  count: optional(integer(1, 0xffff)),
  interval: optional(milliseconds),
  timeout: optional(milliseconds),
  size: optional(integer(0, 65_000)),
});

/**
 * ICMP echo, v4 or v6, from a socket made inside the namespace: no ping program is needed. Like `ip netns exec NAME ping ADDRESS`.
 * Lost replies are no error; they show in the result.
 * @throws PodtapError ENETUNREACH, ...: there is no way to the address; EPERM: CAP_NET_RAW is missing
 */
export async function ping(from: Netns, address: string, settings: PingOptions = {}): Promise<PingResult> {
  check(ip, address, 'ping');
  const { count = 1, interval = 1000, timeout = 1000, size = 56 } = check(pingOptions, settings, 'ping');
  const socket = await EchoSocket.open(from, address);
  const rtt: number[] = [];
  try {
    for (let sequence = 1; sequence <= count; sequence++) {
      const started = performance.now();
      const took = await socket.exchange(sequence, new Uint8Array(size), timeout);
      if (took !== undefined) rtt.push(took);
      const rest = interval - (performance.now() - started);
      if (sequence < count && rest > 0) await new Promise((resolve) => setTimeout(resolve, rest));
    }
  } finally {
    socket.close();
  }
  return { sent: count, received: rtt.length, rtt };
}
