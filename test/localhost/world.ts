// A pod as an engine leaves it, plumbed, with guests behind TAPs and programs everywhere: what the proofs of the pod's localhost stand on.
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Netns, type Plumbing, type PlumbOptions, type Tap, createTap, createVeth, getLink, plumb, setSysctl } from 'podtap';
import { type Guest, runGuest } from 'podtap/lab';
import type { Test } from 'tap';
import type { LocalhostConfig } from '../../lib/localhost/config.js';
import { fresh, inside, until } from '../support/inside.js';
import { root } from '../support/root.js';
import { directory } from '../transaction/files.js';

export const NODE = { mac: '02:00:00:00:00:11', address: '10.1.0.1' };
export const POD = { mac: '02:00:00:00:00:22', address: '10.1.0.2', second: '10.1.0.3' };
export const ALIASES = '169.254.77';
export const LOOPBACK = '127.77.0.0';
export const ALIAS_MAC = '02:75:6e:63:00:01';
/** What the guest dials: of 127.0.0.11, and of 127.0.0.1. */
export const DNS = `${ALIASES}.1`;
export const LOCAL = `${ALIASES}.2`;
export const SUBSTITUTE = '10.1.0.254';

type Protocol = 'tcp' | 'udp';
export interface Answer {
  readonly text?: string;
  readonly length?: number;
  readonly port?: number;
  /** It ends with what was sent. */
  readonly whole?: boolean;
  readonly error?: string;
  readonly received?: number;
  readonly exchanged?: number;
  readonly crossed?: number;
  readonly lost?: number;
  readonly seen?: readonly (readonly [string, number])[];
}
export interface Asking {
  readonly text?: string;
  readonly from?: number | readonly [string, number];
  readonly timeout?: number;
  readonly expect?: number;
  readonly size?: number;
  readonly hold?: string;
  readonly again?: string;
  readonly connected?: boolean;
}

/** A process in a namespace that has sockets: agent.py. */
export class Agent {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: Answer & { failed?: string }) => void>();
  #number = 0;
  #errors = '';

  constructor(netns: Netns) {
    this.#child = spawn('nsenter', [`--net=${netns.path!}`, 'python3', join(root, 'test/localhost/agent.py')], { stdio: 'pipe' });
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.#errors += text));
    this.#child.stdin!.on('error', () => undefined);
    createInterface(this.#child.stdout!).on('line', (line) => {
      const { number, ...answer } = JSON.parse(line) as Answer & { number: number };
      this.#waiting.get(number)?.(answer);
      this.#waiting.delete(number);
    });
    this.#child.on('close', () => {
      for (const done of this.#waiting.values()) done({ failed: `the agent ended: ${this.#errors}` });
    });
  }

  async #order(order: object): Promise<Answer> {
    const number = ++this.#number;
    const { failed, ...answer } = await new Promise<Answer & { failed?: string }>((resolve) => {
      this.#waiting.set(number, resolve);
      this.#child.stdin!.write(`${JSON.stringify({ number, ...order })}\n`);
    });
    if (failed !== undefined) throw new Error(failed);
    return answer;
  }

  /** Answers with its name and what was sent. */
  async serve(protocol: Protocol, address: string, port: number, prefix = '', size = 0): Promise<void> {
    await this.#order({ do: 'serve', protocol, address, port, prefix, size });
  }

  ask(protocol: Protocol, address: string, port: number, { from, ...more }: Asking = {}): Promise<Answer> {
    const source = from === undefined ? undefined : typeof from === 'number' ? ['0.0.0.0', from] : from;
    return this.#order({ do: 'ask', protocol, to: [address, port], ...(source !== undefined && { source }), ...more });
  }

  /** The text of the answer, or the error. */
  async says(protocol: Protocol, address: string, port: number, more: Asking = {}): Promise<string | undefined> {
    const text = more.text ?? 'hello';
    const { error, ...answer } = await this.ask(protocol, address, port, { expect: text.length, ...more });
    return error ?? answer.text;
  }

  many(
    protocol: Protocol,
    to: readonly [string, number],
    more: { first: number; count: number; name: string; rounds?: number; timeout?: number; tries?: number },
  ): Promise<Answer> {
    // prettier-ignore
    return this.#order({ do: 'many', protocol, to, ...more });
  }

  /** Echo requests under an id: how many were answered. */
  async echo(to: string, id: number, count: number): Promise<number> {
    return (await this.#order({ do: 'echo', to, id, count })).received!;
  }

  async drop(name: string): Promise<void> {
    await this.#order({ do: 'close', name });
  }

  /** Who asked the servers. */
  async seen(): Promise<readonly (readonly [string, number])[]> {
    return (await this.#order({ do: 'seen' })).seen!;
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.stdin!.end();
    this.#child.kill('SIGKILL');
    await ended;
  }
}

/** Makes agents that end with the test. */
export function agentsOf(t: Test): (netns: Netns) => Agent {
  const agents: Agent[] = [];
  t.teardown(() => Promise.all(agents.map((agent) => agent.close())));
  return (netns) => {
    const agent = new Agent(netns);
    agents.push(agent);
    return agent;
  };
}

export interface WorldOptions {
  readonly mode?: 'redirect' | 'ebpf' | 'bridge';
  /** How many guests; the first one is the plumbing's. */
  readonly guests?: number;
  /** The guests' cards leave checksums and segments to others, as virtio-net does. */
  readonly offload?: boolean;
  readonly ports?: (slot: number) => LocalhostConfig['guests'][number]['ports'];
  readonly services?: readonly Partial<LocalhostConfig['services'][number]>[];
  readonly gateway?: LocalhostConfig['gateway'];
  readonly ipv6?: boolean;
  /** TAPs whose wire the test has in its own hands. */
  readonly bare?: boolean;
  /** All guests' config; default: a default route by the node. */
  readonly routes?: readonly { readonly dst: string; readonly via?: string }[];
}

export interface World {
  readonly t: Test;
  readonly node: Netns;
  readonly pod: Netns;
  readonly link: number;
  readonly plumbing: Plumbing;
  readonly outside: Agent;
  readonly sidecar: Agent;
  readonly guests: readonly { readonly netns: Netns; readonly agent: Agent; readonly tap: Tap; readonly slot: number }[];
  readonly taps: readonly Tap[];
  readonly config: LocalhostConfig;
  /** Another guest, in the next slot; nothing knows of it yet. */
  addTap(): Promise<Tap>;
  addGuest(tap: Tap, slot: number): Promise<World['guests'][number]>;
  /** Waits until a TAP that is held takes frames: carrier is not enough, its queue learns of it from the kernel's linkwatch. */
  up(tap: Tap): Promise<unknown>;
}

/** The real port of `DNS`'s port 53 is 40053 (UDP) or 40054 (TCP). */
export const SERVICES: LocalhostConfig['services'] = [
  { alias: DNS, address: '127.0.0.11', protocol: 'udp', first: 53, last: 53, to: 40_053 },
  { alias: DNS, address: '127.0.0.11', protocol: 'tcp', first: 53, last: 53, to: 40_054 },
  { alias: LOCAL, address: '127.0.0.1', protocol: 'tcp', first: 8080, last: 8080, to: 8080 },
  { alias: LOCAL, address: '127.0.0.1', protocol: 'udp', first: 8181, last: 8181, to: 8181 },
  { alias: LOCAL, address: '127.0.0.1', protocol: 'udp', first: 4444, last: 4444, to: 4444 }, // where nobody listens
  { alias: LOCAL, address: '127.0.0.1', protocol: 'tcp', first: 5000, last: 5099, to: 15_000 },
];

const OFFLOAD = { vnetHdr: true, offload: { csum: true, tso4: true, tso6: true } };

export async function worldOf(t: Test, options: WorldOptions = {}): Promise<World> {
  const { mode = 'redirect', guests: count = 1, offload = false, ports = () => [], services = SERVICES, gateway, ipv6 = false, bare = false, routes } = options; // prettier-ignore
  const [node, pod] = [await fresh(t), await fresh(t)];
  const wide = ipv6 ? 'sysctl -qw net.ipv6.conf.default.accept_dad=0' : 'sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1'; // prettier-ignore
  for (const netns of [node, pod]) inside(netns, wide);
  await createVeth(node, 'vn', {
    ifindex: 11,
    mac: NODE.mac,
    addresses: [`${NODE.address}/24`, ...(ipv6 ? ['fd00:1::1/64'] : [])],
    up: true,
    peer: { scope: pod, name: 'eth0', ifindex: 12, mac: POD.mac, addresses: [`${POD.address}/24`, `${POD.second}/24`, ...(ipv6 ? ['fd00:1::2/64'] : [])], up: true }, // prettier-ignore
  });
  inside(pod, 'ip link set lo up; ip route add default via 10.1.0.1');
  const shape: Partial<NonNullable<Exclude<PlumbOptions['tap'], string>>> = offload ? OFFLOAD : {};
  const plumbing = await plumb(pod, { journal: directory(t), mode, tap: { name: 'tap1', ...shape } });
  t.teardown(() => plumbing[Symbol.asyncDispose]());
  for (const [key, value] of [['route_localnet', 1], ['accept_local', 1]] as const) await setSysctl(pod, `net.ipv4.conf.lo.${key}`, value); // prettier-ignore
  inside(pod, `ip route add local ${LOOPBACK}/23 dev lo mtu 1500`);

  const taps: Tap[] = [plumbing.tap as Tap];
  const addTap = async (): Promise<Tap> => {
    const tap = await createTap(pod, `tap${taps.length + 1}`, shape);
    t.teardown(() => tap.close());
    taps.push(tap);
    return tap;
  };
  const agentIn = agentsOf(t);
  const up = (tap: Tap): Promise<boolean> => until(async () => (await getLink(pod, tap.ifindex))?.operstate === 'UP');
  const guests: World['guests'][number][] = [];
  const addGuest = async (tap: Tap, slot: number): Promise<World['guests'][number]> => {
    const netns = await guestBehind(t, tap, offload, ipv6 && slot === 1, routes);
    await up(tap);
    const guest = { netns, agent: agentIn(netns), tap, slot };
    guests.push(guest);
    return guest;
  };
  while (taps.length < count) await addTap();
  if (!bare) for (const [index, tap] of taps.entries()) await addGuest(tap, index + 1);
  const config: LocalhostConfig = {
    link: 12,
    podHasAddresses: mode !== 'bridge',
    mac: POD.mac,
    addresses: [POD.address, POD.second],
    aliases: `${ALIASES}.0`,
    loopback: LOOPBACK,
    aliasMac: ALIAS_MAC,
    services: services as LocalhostConfig['services'],
    guests: taps.map(({ ifindex }, index) => ({ slot: index + 1, tap: ifindex, ports: ports(index + 1) })),
    ...(gateway !== undefined && { gateway }),
  };
  return { t, node, pod, link: 12, plumbing, outside: agentIn(node), sidecar: agentIn(pod), guests, taps, config, addTap, addGuest, up };
}

const DEFAULT = [{ dst: 'default', via: NODE.address }];

async function guestBehind(t: Test, tap: Tap, offload: boolean, ipv6: boolean, routes: WorldOptions['routes'] = DEFAULT): Promise<Netns> {
  const addresses = [`${POD.address}/24`, `${POD.second}/24`, ...(ipv6 ? ['fd00:1::2/64'] : [])];
  if (!offload) {
    const guest: Guest = await runGuest(tap, { mac: POD.mac, addresses, routes });
    t.teardown(() => guest.close());
    return guest.netns;
  }
  const netns = await Netns.create();
  const card = await createTap(netns, 'eth0', { mac: POD.mac, ...OFFLOAD });
  const pulled = new AbortController();
  const carry = async (from: Tap, to: Tap): Promise<void> => {
    for await (const frames of from.frames({ signal: pulled.signal })) await to.send(frames);
  };
  const wires = [carry(tap, card), carry(card, tap)];
  t.teardown(async () => {
    pulled.abort();
    await Promise.allSettled(wires);
    await card.close();
    await netns.close();
  });
  inside(netns, `ip link set lo up; ${addresses.map((address) => `ip address add ${address} dev eth0`).join('; ')}`);
  for (const { dst, via } of routes) inside(netns, `ip route add ${dst} ${via === undefined ? '' : `via ${via}`} dev eth0`);
  return netns;
}
