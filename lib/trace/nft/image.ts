// A frame as rules see it: its bytes, and which of them a frame that was not sent really tells.
import { ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, type Frame, decodeFrame, encodeFrame } from '../../wire/frame.js';
import { ipProtocols } from '../../wire/constants.js';
import type { Datum } from './datum.js';

const ETHERNET = 14;
const [ICMP, TCP, UDP, ICMPV6, SCTP] = [1, 6, 17, 58, 132];
const SYN = 0x02;

export class Image {
  readonly bytes: Uint8Array;
  readonly #unknown: Uint8Array;
  readonly network: number;
  /** Absent of ARP, and of fragments behind the first. */
  readonly transport: number | undefined;
  readonly protocol: number | undefined;
  changed = false;
  #written = false;

  constructor(
    readonly frame: Frame,
    /** The first packet of its connection: of TCP, a SYN. */
    first: boolean,
  ) {
    this.bytes = encodeFrame(frame);
    this.#unknown = new Uint8Array(this.bytes.length).fill(1);
    this.network = ETHERNET + 4 * (frame.vlans?.length ?? 0);
    const { packet, arp } = frame;
    this.#tell(0, this.network);
    if (arp !== undefined) this.#tell(this.network, 28);
    if (packet === undefined) return;
    this.protocol = ipProtocols.number(packet.protocol);
    const ipv6 = frame.type === ETH_P_IPV6;
    const header = ipv6 ? 40 : 20;
    this.#tell(this.network, header);
    // The identification and the checksum; IPv6's flow label.
    if (ipv6) this.#hide(this.network + 1, 3);
    else for (const at of [4, 10]) this.#hide(this.network + at, 2);
    if ((packet.fragmentOffset ?? 0) > 0) return;
    this.transport = this.network + header;
    const { ports, icmp } = packet;
    if (icmp !== undefined && [ICMP, ICMPV6].includes(this.protocol)) this.#tell(this.transport, 2);
    if (![TCP, UDP, SCTP].includes(this.protocol)) return;
    if (ports !== undefined && ports.source !== 0) this.#tell(this.transport, 2);
    if (ports !== undefined) this.#tell(this.transport + 2, 2);
    if (this.protocol === UDP) this.#tell(this.transport + 4, 2);
    if (this.protocol === TCP && first && this.bytes.length > this.transport + 13) {
      this.bytes[this.transport + 13] = SYN;
      this.#tell(this.transport + 13, 1);
    }
  }

  #tell(from: number, length: number): void {
    this.#unknown.fill(0, from, from + length);
  }
  #hide(from: number, length: number): void {
    this.#unknown.fill(1, from, from + length);
  }

  /** undefined: it is not that long. */
  read(at: number, length: number): Datum | undefined {
    if (at < 0 || at + length > this.bytes.length) return undefined;
    return { bytes: this.bytes.slice(at, at + length), unknown: this.#unknown.slice(at, at + length), why: this.#nameOf(at) };
  }

  #nameOf(at: number): string {
    const field = at - (this.transport ?? Infinity);
    if (field < 0) return 'a field of the header that a packet which is not sent does not have';
    if (field < 2 && this.protocol !== ICMP && this.protocol !== ICMPV6) return 'the source port, which was not given';
    if (field < 4 && this.frame.packet?.ports === undefined) return 'the ports, which were not given';
    return 'what is in the packet';
  }

  write(at: number, bytes: Uint8Array): void {
    this.bytes.set(bytes.subarray(0, Math.max(0, this.bytes.length - at)), at);
    this.#tell(at, bytes.length);
    this.changed = true;
    this.#written ||= at + bytes.length > (this.transport ?? Infinity);
  }

  /** With what was written. */
  result(): Frame {
    if (!this.changed) return this.frame;
    const { packet: before } = this.frame;
    const after = decodeFrame(this.bytes)!;
    if (after.packet === undefined || before === undefined) return after;
    const { ports, icmp, vxlan: _, ...rest } = after.packet;
    return {
      ...after,
      packet: {
        ...rest,
        ...(this.#written ? ports !== undefined && { ports } : before.ports !== undefined && { ports: before.ports }),
        ...(this.#written ? icmp !== undefined && { icmp } : before.icmp !== undefined && { icmp: before.icmp }),
        ...(before.vxlan !== undefined && { vxlan: before.vxlan }),
      },
    };
  }

  get family(): 'ip' | 'ip6' | undefined {
    return this.frame.type === ETH_P_IP ? 'ip' : this.frame.type === ETH_P_IPV6 ? 'ip6' : undefined;
  }
  get isArp(): boolean {
    return this.frame.type === ETH_P_ARP;
  }
}
