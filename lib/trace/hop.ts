// What a trace says: where a frame is seen, and what decided that it goes there.
import type { Connection } from '../kernel/conntrack.js';
import type { HookProgram } from '../kernel/hooks.js';
import type { Frame, Packet } from '../wire/frame.js';
import type { FdbEntry, Neighbor } from '../wire/neighbor.js';
import type { NftChain, NftRule } from '../wire/nft/message.js';
import type { Route } from '../wire/route.js';
import type { Filter } from '../wire/tc.js';

/** A table, an entry or a program that said where the packet goes; `text` says it in words. */
export type Decision = { readonly text: string } & (
  | { readonly by: 'route'; readonly table: number; readonly route: Route }
  /** Without an entry: who would answer, asked by ARP or neighbour discovery. */
  | { readonly by: 'neighbor'; readonly address: string; readonly mac: string; readonly entry?: Neighbor; readonly answer?: Answer }
  /** Without an entry: the frame is flooded. */
  | { readonly by: 'fdb'; readonly bridge: string; readonly entry?: FdbEntry }
  | { readonly by: 'filter'; readonly filter: Filter }
  /** `entries`: of podtap's programs, what in their maps said so. */
  | { readonly by: 'program'; readonly program: HookProgram; readonly entries?: readonly MapEntry[] }
  /** Of a connection that is known: how its packets are translated. */
  | { readonly by: 'connection'; readonly connection: Connection }
  /** `rule`: the one that said so; absent where it was the chain's policy, or its end. */
  | { readonly by: 'chain'; readonly chain: NftChain; readonly rule?: NftRule }
  | { readonly by: 'macvlan' | 'encapsulation' | 'decapsulation' | 'fragmentation' | 'delivery' }
);

/** An entry of a map that one of podtap's eBPF programs stands on, in words: services, '169.254.77.1 port 53/udp', '127.0.0.11 port 40053'. */
export interface MapEntry {
  readonly map: string;
  readonly key: string;
  readonly value: string;
}

/** Who answers for an address. */
export interface Answer {
  readonly namespace: string;
  /** The interface that answers, or the guest's TAP. */
  readonly device: string;
  readonly mac: string;
  /** 'program': podtap's own, on the interface. */
  readonly by: 'address' | 'proxy_arp' | 'proxy entry' | 'guest' | 'program';
}

/** A frame on a device, as a capture sees it there: going out by it, or coming in. */
export interface Hop {
  readonly namespace: string;
  readonly device: string;
  readonly ifindex: number;
  readonly kind: string;
  /** The device's own. */
  readonly mac: string;
  readonly direction: 'out' | 'in';
  /** Where its wire leads: the other end of a veth, the guest behind a TAP. */
  readonly peer?: { readonly namespace: string; readonly device: string };
  /**
   * MACs, addresses, TTL, lengths; inside of a VXLAN packet, the frame that it carries. A source port of 0 is one that cannot be told:
   * of VXLAN, which takes it from a hash.
   */
  readonly frame: Frame;
  /** What decided that it comes here, in order. */
  readonly because: readonly Decision[];
}

export const lossCodes = [
  'NO_ROUTE', 'UNREACHABLE', 'BLACKHOLE', 'PROHIBITED', 'NOT_FORWARDED', 'RP_FILTER', 'MARTIAN', 'TTL_EXPIRED', 'MTU_EXCEEDED',
  'NO_NEIGHBOR', 'NOT_ADDRESSED', 'FDB_LOCAL', 'FDB_UNKNOWN', 'FDB_MISSING', 'SAME_PORT', 'PORT_BLOCKED',
  'LINK_DOWN', 'NO_CARRIER', 'LINK_GONE', 'REDIRECT_GONE', 'FILTERED', 'SPOOFED', 'NO_VTEP', 'NOT_THE_GUESTS', 'LOOP',
  'OUT_OF_SIGHT', 'UNKNOWN_KIND',
] as const; // prettier-ignore
export type LossCode = (typeof lossCodes)[number];

/** Where the packet ends on its way, and why. */
export interface Loss {
  readonly code: LossCode;
  readonly namespace: string;
  readonly device?: string;
  /** One sentence. */
  readonly reason: string;
  /** What would be told to the sender. */
  readonly icmp?: string;
}

/** What is asked on the way and podtap cannot answer: from there on it holds only if the packet is let pass, as it is. */
export interface Undecided {
  readonly namespace: string;
  /** A sentence: what decides, and why that cannot be told. */
  readonly text: string;
}

/** What the kernel keeps of a packet beside its bytes, within a namespace. */
export interface Beside {
  readonly mark?: number;
  readonly connectionMark?: number;
  /** Absent: 'host'. */
  readonly packetType?: 'host' | 'broadcast' | 'multicast' | 'otherhost';
  /** The packet as connection tracking saw it first. */
  readonly original?: Packet;
  /** Not to be tracked (notrack). */
  readonly untracked?: true;
  /** What NAT was asked already for this connection, and whether it changed it. */
  readonly natted?: { readonly source?: boolean; readonly destination?: boolean };
  /** It was sent to an address of its own host, and comes in by the loopback with its route. */
  readonly routed?: true;
}

interface Seen {
  readonly hops: readonly Hop[];
  readonly because: readonly Decision[];
  readonly notes: readonly string[];
  readonly undecided: readonly Undecided[];
  readonly beside: Beside;
}

/** What has been seen up to a point; grows without changing, for a flooded frame goes several ways. */
export class Trail implements Seen {
  readonly hops: readonly Hop[];
  readonly because: readonly Decision[];
  readonly notes: readonly string[];
  readonly undecided: readonly Undecided[];
  readonly beside: Beside;

  constructor({ hops = [], because = [], notes = [], undecided = [], beside = {} }: Partial<Seen> = {}) {
    this.hops = hops;
    this.because = because;
    this.notes = notes;
    this.undecided = undecided;
    this.beside = beside;
  }

  decide(...decisions: readonly Decision[]): Trail {
    return decisions.length === 0 ? this : new Trail({ ...this, because: [...this.because, ...decisions] });
  }

  see(hop: Omit<Hop, 'because'>): Trail {
    return new Trail({ ...this, hops: [...this.hops, { ...hop, because: this.because }], because: [] });
  }

  note(...texts: readonly string[]): Trail {
    const fresh = texts.filter((text) => !this.notes.includes(text));
    return fresh.length === 0 ? this : new Trail({ ...this, notes: [...this.notes, ...fresh] });
  }

  doubt(...doubts: readonly Undecided[]): Trail {
    const fresh = doubts.filter(({ text }) => !this.undecided.some((one) => one.text === text));
    return fresh.length === 0 ? this : new Trail({ ...this, undecided: [...this.undecided, ...fresh] });
  }

  /** Absent: as a packet is that comes anew, from a guest or over a wire. */
  carry(beside: Beside = {}): Trail {
    return new Trail({ ...this, beside });
  }
}
