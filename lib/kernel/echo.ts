import { type Descriptor, native } from '../native.js';
import { checksum } from '../wire/checksum.js';
import { type Scope, attachment } from './netns.js';
import { system } from './system.js';
import { failure, waitFor } from './queue.js';

// RFC 792 and RFC 4443
const ECHO = { ipv4: { request: 8, reply: 0 }, ipv6: { request: 128, reply: 129 } } as const;
const HEADER_BYTES = 8;

/** ICMP echo requests to one address, from a raw socket made inside a namespace. */
export class EchoSocket {
  readonly #socket: Descriptor;
  readonly #family: 'ipv4' | 'ipv6';
  readonly #identifier = crypto.getRandomValues(new Uint16Array(1))[0]!;
  readonly #into = new Uint8Array(70_000);
  readonly #ends = new Uint32Array(1);

  private constructor(socket: Descriptor, family: 'ipv4' | 'ipv6') {
    this.#socket = socket;
    this.#family = family;
  }

  /** @throws PodtapError ENETUNREACH, EHOSTUNREACH: no route to there; EPERM: CAP_NET_RAW is missing */
  static async open(scope: Scope, address: string, scopeId?: number): Promise<EchoSocket> {
    const wide = address.includes(':');
    const spec = { type: 'icmp', family: wide ? 6 : 4, address, port: 0, ...(scopeId !== undefined && { scopeId }) } as const;
    return new EchoSocket(await system(native().socketOpen(attachment(scope).netns, spec)), wide ? 'ipv6' : 'ipv4');
  }

  /** Sends one request; resolves the round trip in milliseconds, or undefined where no reply came in time. */
  async exchange(sequence: number, payload: Uint8Array, milliseconds: number): Promise<number | undefined> {
    const request = this.#request(sequence, payload);
    const started = performance.now();
    const written = native().write(this.#socket, [request], 0);
    if (written < 0 && !transient.has(-written)) throw failure(-written, 'send');
    for (;;) {
      const left = milliseconds - (performance.now() - started);
      if (left <= 0) return undefined;
      const count = native().readSocket(this.#socket, this.#into, this.#ends);
      if (count > 0 && this.#answers(sequence, this.#ends[0]!)) return performance.now() - started;
      if (count <= 0) await waitFor(this.#socket, 'readable', left);
    }
  }

  close(): void {
    native().close(this.#socket);
  }

  #request(sequence: number, payload: Uint8Array): Uint8Array {
    const packet = new Uint8Array(HEADER_BYTES + payload.length);
    const view = new DataView(packet.buffer);
    packet[0] = ECHO[this.#family].request;
    view.setUint16(4, this.#identifier);
    view.setUint16(6, sequence);
    packet.set(payload, HEADER_BYTES);
    // Of ICMPv6 the kernel sums itself, because the addresses are part of it (RFC 3542, 3.1).
    if (this.#family === 'ipv4') view.setUint16(2, checksum(packet));
    return packet;
  }

  #answers(sequence: number, end: number): boolean {
    // raw(7): an IPv4 datagram comes with its header, an ICMPv6 one without.
    const start = this.#family === 'ipv4' ? (this.#into[0]! & 0xf) * 4 : 0;
    if (end < start + HEADER_BYTES) return false;
    const view = new DataView(this.#into.buffer, start);
    return view.getUint8(0) === ECHO[this.#family].reply && view.getUint16(4) === this.#identifier && view.getUint16(6) === sequence;
  }
}

/** What a later try may mend: EHOSTUNREACH, ECONNREFUSED of an earlier packet (an ICMP error), ENOBUFS. */
const transient = new Set([113, 111, 105]);
