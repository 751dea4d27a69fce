// One of the programs of native/bpf/localhost.c, looked at with one frame: what it finds in its maps and among sockets, and what it
// makes of the frame.
import { UnsupportedError } from '../../errors.js';
import { findSocket } from '../../kernel/diag.js';
import type { HookProgram } from '../../kernel/hooks.js';
import type { LocalhostLook, ProgramsConfig } from '../../kernel/localhost-look.js';
import type { FlowEnds } from '../../wire/bpf/localhost-look.js';
import type { Frame, Packet } from '../../wire/frame.js';
import { changesOf, tellEnd } from '../changes.js';
import type { ClassifierVerdict } from '../classify.js';
import type { Decision, LossCode, MapEntry } from '../hop.js';
import type { Place } from '../space.js';

/** What cannot be told, and all that comes of it with it. */
export class Untold extends Error {}

/** undefined: who comes next decides. */
export type Ran = ClassifierVerdict | undefined;

/** Where a packet goes: its addresses and ports there. */
export interface Ends {
  readonly from: string;
  readonly to: string;
  readonly fromPort: number;
  readonly toPort: number;
}

export const LOCALHOST = '127.0.0.1';
const ZERO_MAC = '00:00:00:00:00:00';
/** The loopback of every namespace. */
const LOOPBACK_INDEX = 1;

/** Last bytes of aliases. */
export const alias = { localhost: 2, pod: 3, peers: 64, literalPeers: 128 } as const;
export const GUESTS = 64;

export class Run {
  frame: Frame;
  readonly copies: { readonly ifindex: number; readonly frame: Frame }[] = [];
  readonly #entries: MapEntry[] = [];
  readonly #said: string[] = [];

  constructor(
    readonly place: Place,
    readonly program: HookProgram,
    readonly look: LocalhostLook,
    readonly config: ProgramsConfig,
    readonly before: Frame,
    /** The first packet of its connection. */
    readonly first: boolean,
  ) {
    this.frame = before;
  }

  /** 'the eBPF program podtap_lh_tap on tap0 in pod'. */
  get name(): string {
    return `the eBPF program ${this.program.name} on ${this.place.link.name} in ${this.place.space.name}`;
  }

  /** What there is to tell, of a frame that goes on. */
  decisions(): readonly Decision[] {
    const changes = changesOf(this.before, this.frame);
    const parts = [...this.#entries.map(({ map, key, value }) => `${map}: ${key} is ${value}`), ...(changes === '' ? [] : [changes]), ...this.#said]; // prettier-ignore
    if (parts.length === 0) return [];
    const { program } = this;
    return [{ by: 'program', program, ...(this.#entries.length > 0 && { entries: this.#entries }), text: `${this.name.slice('the '.length)}: ${parts.join('; ')}` }]; // prettier-ignore
  }

  say(text: string): void {
    this.#said.push(text);
  }

  found(map: string, key: string, value: string): void {
    this.#entries.push({ map, key, value });
  }

  lost(code: LossCode, why: string): Ran {
    const on = this.#entries.map(({ map, key, value }) => `; ${map}: ${key} is ${value}`).join('');
    return { go: 'lost', code, reason: `${this.name} drops it: ${why}${on}` };
  }

  // ---------------------------------------------------------------- addresses

  isAlias(address: string): boolean {
    return networkOf(address) === networkOf(this.config.aliases);
  }

  alias(last: number): string {
    return `${networkOf(this.config.aliases)}.${last}`;
  }

  /** Which of the guests' addresses; -1: none. */
  index(address: string): number {
    return this.config.addresses.indexOf(address);
  }

  address(index: number): string {
    return this.config.addresses[index] ?? '0.0.0.0';
  }

  /** On the loopback, of the guest in a slot; `literal`: it had dialled 127.x.y.z itself. */
  inner(slot: number, index: number, literal: boolean): string {
    const [a, b, c] = this.config.loopback.split('.').map(Number);
    return `${a}.${b}.${c! | (literal ? 1 : 0)}.${(index << 6) | slot}`;
  }

  /** What `inner` was made of. undefined: it is another address. */
  ofInner(address: string): { readonly slot: number; readonly index: number; readonly literal: boolean } | undefined {
    const [own, other] = [this.config.loopback, address].map((one) => one.split('.').map(Number));
    if (own![0] !== other![0] || own![1] !== other![1] || (own![2]! & 0xfe) !== (other![2]! & 0xfe)) return undefined;
    return { slot: other![3]! & (GUESTS - 1), index: other![3]! >> 6, literal: (other![2]! & 1) === 1 };
  }

  // ---------------------------------------------------------------- maps and sockets

  /** The slot of the guest that has a port; 0: nobody. Only TCP and UDP have such. */
  async owner({ protocol }: Packet, port: number): Promise<number> {
    if (!hasPorts(protocol) || port === 0) return 0;
    const slot = await this.look.owner(protocol, port);
    if (slot !== 0) this.found('owners', `${port}/${protocol}`, `slot ${slot}`);
    return slot;
  }

  /** Of a port that is not told there is none: a new connection has a port that nothing else has. */
  async flow(ends: FlowEnds, which: string): Promise<Awaited<ReturnType<LocalhostLook['flow']>>> {
    if (ends.remotePort === 0 || ends.localPort === 0) return this.untoldPort();
    const flow = await this.look.flow(ends);
    if (flow !== undefined) this.found('flows', which, `of slot ${flow.slot}`);
    return flow;
  }

  /** What the pod itself has for a packet that comes in here. */
  async socket({ protocol }: Packet, { from, fromPort, to, toPort }: Ends): Promise<'connected' | 'open' | undefined> {
    if (!hasPorts(protocol)) return undefined;
    if (fromPort === 0) this.untoldPort();
    const { space, link } = this.place;
    try {
      return await findSocket(space.netns, { protocol, from, fromPort, to, toPort, iif: link.ifindex });
    } catch (error) {
      if (error instanceof UnsupportedError) throw new Untold(`the sockets of ${space.name}, which could not be asked for: ${error.message}`); // prettier-ignore
      throw error;
    }
  }

  /** @throws Untold: a connection that goes on has one, and it was not given */
  untoldPort(): undefined {
    if (!this.first) throw new Untold('the source port, which was not given');
    return undefined;
  }

  // ---------------------------------------------------------------- sending

  rewrite({ from, to, fromPort, toPort }: Ends): void {
    const packet = this.frame.packet!;
    const ports = packet.ports === undefined ? {} : { ports: { source: fromPort, destination: toPort } };
    this.frame = { ...this.frame, packet: { ...packet, source: from, destination: to, ...ports } };
  }

  toLoopback(): Ran {
    this.frame = { ...this.frame, source: ZERO_MAC, destination: ZERO_MAC };
    this.say('hands it to lo, as come in there');
    return { go: 'redirect', ifindex: LOOPBACK_INDEX, direction: 'ingress', anew: true };
  }

  /** What the pod's processes or another guest send to one. */
  async toTap(slot: number): Promise<Ran> {
    const tap = await this.tap(slot);
    if (tap === 0) return this.lost('REDIRECT_GONE', `there is no guest in slot ${slot} any more`);
    this.frame = { ...this.frame, destination: this.config.mac, source: this.config.aliasMac };
    return this.redirect(tap);
  }

  async tap(slot: number): Promise<number> {
    const tap = await this.look.tap(slot);
    if (tap !== 0) this.found('guests', `slot ${slot}`, await this.nameOf(tap));
    return tap;
  }

  async redirect(ifindex: number): Promise<Ran> {
    this.say(`redirects to ${await this.nameOf(ifindex)}`);
    return { go: 'redirect', ifindex, direction: 'egress' };
  }

  async nameOf(ifindex: number): Promise<string> {
    return (await this.place.space.link(ifindex))?.name ?? `interface ${ifindex}`;
  }
}

export function hasPorts(protocol: string): protocol is 'tcp' | 'udp' {
  return protocol === 'tcp' || protocol === 'udp';
}

export function endsOf({ source, destination, ports }: Packet): Ends {
  return { from: source, to: destination, fromPort: ports?.source ?? 0, toPort: ports?.destination ?? 0 };
}

export function isLoopback(address: string): boolean {
  return address.startsWith('127.');
}

export function lastOf(address: string): number {
  return Number(address.slice(address.lastIndexOf('.') + 1));
}

function networkOf(address: string): string {
  return address.slice(0, address.lastIndexOf('.'));
}

/** 'UDP 10.1.0.9 port 80 to 10.1.0.2 port 5353'. */
export function tellEnds({ protocol }: Packet, { from, fromPort, to, toPort }: Ends): string {
  return `${protocol.toUpperCase()} ${tellEnd(from, fromPort)} to ${tellEnd(to, toPort)}`;
}

/** Of a packet that cannot be told: it has no ports. */
export function refuseFragment({ fragmentOffset = 0 }: Packet): void {
  if (fragmentOffset > 0) throw new Untold('what became of its first fragment');
}
