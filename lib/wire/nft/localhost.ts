// The pod's localhost by nftables alone: a table of family netdev whose chains see frames where they come in, on the guests' TAPs, the pod's
// interface and the loopback, and send them on changed. What a guest dials is translated without any state: each guest has a source address
// of its own on the loopback, so that a reply says whose it is. State is kept of what goes out to the world, where guests share an address,
// and of what processes of the pod begin. Pure: from a configuration to the changes that make the table.
import type { Counter } from '../bpf/redirect.js';
import type { LocalhostConfig } from '../localhost.js';
import { ipv4, joined, port, protocol } from './data.js';
import type { NftExpression } from './expression.js';
import { guestChains } from './localhost-guest.js';
import { linkChains } from './localhost-link.js';
import { loopbackChains } from './localhost-loopback.js';
import {
  type Device,
  FAMILY,
  NOTE,
  Plan,
  behind,
  endpoint,
  flowKey,
  flowKey6,
  fragmentKey,
  number,
  ownComment,
  serviceData,
  serviceKey,
  tableName,
} from './localhost-plan.js';
import type { NftChange, NftElement, NftRule } from './message.js';

export { FAMILY, tableName };

/** Sets that rules fill: what they have in them stays when the table is made anew. */
export function isMemory(set: string): boolean {
  return /^((flows|moved|picked)_\d+|pod6?|sidecars|sidecars_own|pods|pods_own|fragments|pod_fragments)$/.test(set);
}

/** What a range of ports that keeps its numbers is worth an interval; fewer are told one by one. */
const FEW = 16;
/** nftables cannot add: a range whose ports are others in the pod is told port by port. */
const MOST_MOVED = 4096;

/** What nftables cannot do for a configuration that other backends take: undefined where there is nothing. */
export function whyNot({ services }: LocalhostConfig): string | undefined {
  const moved = services.find(({ first, last, to }) => to !== first && last - first >= MOST_MOVED);
  if (moved === undefined) return undefined;
  return `nftables cannot count: of a range whose ports are others in the pod each port is an entry, and ${moved.last - moved.first + 1} are more than ${MOST_MOVED}`;
}

/** All of the table but itself, to be made where there is none of its chains. `device`: the interfaces that it names. */
export function localhostTable(config: LocalhostConfig, device: (ifindex: number) => Device): readonly NftChange[] {
  const plan = new Plan(config, device);
  const { addresses, guests } = config;

  plan.set(
    'errors',
    ['icmp_type'],
    [3, 11, 12].map((type) => ({ key: Uint8Array.of(type) })),
  ); // unreachable, time exceeded, parameter problem
  plan.set('ported', ['inet_proto'], ['tcp', 'udp'].map((kind) => ({ key: protocol(kind) }))); // prettier-ignore
  plan.set('own', ['ipv4_addr'], addresses.map((one) => ({ key: ipv4(one) }))); // prettier-ignore
  plan.set('announced', ['ipv4_addr'], ['0.0.0.0', ...addresses].map((one) => ({ key: ipv4(one) }))); // prettier-ignore
  services(plan);
  owners(plan);
  if (plan.several)
    for (const { slot } of guests) {
      plan.memory(`flows_${slot}`, flowKey);
      for (const name of ['moved', 'picked']) plan.memory(`${name}_${slot}`, flowKey, ['inet_service']);
    }
  plan.memory('fragments', fragmentKey, ['iface_index']);
  if (config.podHasAddresses) {
    plan.memory('pod', flowKey);
    plan.memory('pod6', flowKey6);
    plan.set('errors6', ['icmpv6_type'], [1, 2, 3, 4].map((type) => ({ key: Uint8Array.of(type) }))); // prettier-ignore
    plan.memory('pod_fragments', fragmentKey);
  }
  for (const name of ['sidecars', 'sidecars_own', 'pods', 'pods_own']) plan.memory(name, ['inet_proto', 'inet_service', 'inet_service']);

  guestChains(plan);
  loopbackChains(plan);
  linkChains(plan);
  plan.chain(CONFIG);
  plan.note(CONFIG, new TextEncoder().encode(JSON.stringify(config)));
  return plan.changes;
}

/** A chain that nothing leads to, whose rules say of what the table was made: so whoever comes can read it. */
const CONFIG = 'config';

/** Of what a table was made: undefined where it does not say. */
export function configurationOf(rules: readonly NftRule[]): LocalhostConfig | undefined {
  const notes = rules.filter(({ chain, userdata }) => chain === CONFIG && userdata?.[0] === NOTE).map(({ userdata }) => userdata!.subarray(2)); // prettier-ignore
  try {
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(notes.flatMap((note) => [...note])))) as LocalhostConfig;
  } catch {
    return undefined;
  }
}

/** Whether podtap has made it. */
export function isOwn({ userdata }: NftRule): boolean {
  return userdata !== undefined && (userdata[0] === NOTE || ownComment(userdata) !== undefined);
}

/** What rules have counted, by what became of frames. */
export function countersOf(rules: readonly NftRule[]): ReadonlyMap<string, Counter> {
  const found = new Map<string, Counter>();
  for (const rule of rules) {
    const [name, one] = [nameOf(rule), rule.expressions?.find(isCounter)];
    if (name === undefined || one === undefined) continue;
    const { packets = 0n, bytes = 0n } = one.data;
    const { packets: before, bytes: so } = found.get(name) ?? { packets: 0n, bytes: 0n };
    found.set(name, { packets: before + packets, bytes: so + bytes });
  }
  return found;
}

/** The same changes, where the first rule that counts something begins with what was counted before. */
export function countingOn(changes: readonly NftChange[], counters: ReadonlyMap<string, Counter>): readonly NftChange[] {
  const left = new Map(counters);
  return changes.map((change) => {
    if (change.add === undefined || !('rule' in change.add)) return change;
    const { rule } = change.add;
    const name = nameOf(rule);
    const counter = name === undefined ? undefined : left.get(name);
    if (counter === undefined) return change;
    left.delete(name!);
    return { add: { rule: { ...rule, expressions: rule.expressions!.map((one) => (isCounter(one) ? { name: 'counter', data: counter } : one)) } } }; // prettier-ignore
  });
}

function nameOf({ userdata }: NftRule): string | undefined {
  return userdata === undefined ? undefined : ownComment(userdata)?.counter;
}

function isCounter(one: NftExpression): one is Extract<NftExpression, { readonly name: 'counter' }> {
  return one.name === 'counter' && !(one.data instanceof Uint8Array);
}

function services(plan: Plan): void {
  const { config } = plan;
  const [forward, backward, ranges, real]: NftElement[][] = [[], [], [], []];
  const to = (address: string, at: number): { value: Uint8Array } => ({ value: joined(ipv4(address), port(at)) });
  const hosts = new Map<string, string>([[plan.local, '127.0.0.1']]);
  for (const { alias, address, protocol: kind, first, last, to: start } of config.services) {
    hosts.set(alias, address);
    if (start === first && last - first >= FEW) {
      for (const one of [alias, address]) ranges!.push({ key: endpoint(one, kind, first), keyEnd: endpoint(one, kind, last) });
      real!.push({ key: endpoint(address, kind, first), keyEnd: endpoint(address, kind, last) });
      continue;
    }
    for (let at = first; at <= last; at++) {
      const there = start + at - first;
      for (const one of [alias, address]) forward!.push({ key: endpoint(one, kind, at), data: to(address, there) });
      backward!.push({ key: endpoint(address, kind, there), data: to(alias, at) });
    }
  }
  plan.set('forward', serviceKey, forward!, { data: serviceData });
  plan.set('backward', serviceKey, backward!, { data: serviceData });
  plan.set('ranges', serviceKey, ranges!, { flags: ['interval'] });
  plan.set('ranges_real', serviceKey, real!, { flags: ['interval'] });
  const pairs = [...hosts];
  plan.set('hosts', ['ipv4_addr'], pairs.map(([alias, address]) => ({ key: ipv4(alias), data: { value: ipv4(address) } })), { data: ['ipv4_addr'] }); // prettier-ignore
  plan.set('alias_of', ['ipv4_addr'], pairs.map(([alias, address]) => ({ key: ipv4(address), data: { value: ipv4(alias) } })), { data: ['ipv4_addr'] }); // prettier-ignore
}

/** By which addresses guests are known, and by which ports. */
function owners(plan: Plan): void {
  const { addresses, aliases, guests, loopback } = plan.config;
  const guest = (address: string, tap: number): { value: Uint8Array } => ({ value: joined(ipv4(address), number(tap)) });
  for (const [from, back, distance] of [
    ['sources', 'back', 0],
    ['literals', 'back_literal', 256],
  ] as const) {
    // A quarter of a /24 for each of its addresses.
    const seen = (slot: number, address: number): string => behind(loopback, distance + 64 * address + slot);
    for (const { slot } of guests)
      plan.set(`${from}_${slot}`, ['ipv4_addr'], addresses.map((one, index) => ({ key: ipv4(one), data: { value: ipv4(seen(slot, index)) } })), { data: ['ipv4_addr'] }); // prettier-ignore
    const elements = guests.flatMap(({ slot, tap }) => addresses.map((one, index) => ({ key: ipv4(seen(slot, index)), data: guest(one, tap) }))); // prettier-ignore
    plan.set(back, ['ipv4_addr'], elements, { data: ['ipv4_addr', 'iface_index'] });
  }
  for (const [peers, distance] of [['peers', 64], ['peers_literal', 128]] as const)
    plan.set(peers, ['ipv4_addr'], guests.map(({ slot, tap }) => ({ key: ipv4(behind(aliases, distance + slot)), data: guest(plan.pod, tap) })), { data: ['ipv4_addr', 'iface_index'] }); // prettier-ignore
  const owned = guests.flatMap(
    ({ tap, ports }) =>
    ports.map(({ protocol: kind, first, last }) => ({ key: joined(protocol(kind), port(first)), keyEnd: joined(protocol(kind), port(last)), data: { value: number(tap) } })), // prettier-ignore
  );
  plan.set('owners', ['inet_proto', 'inet_service'], owned, { data: ['iface_index'], flags: ['interval'] });
  // The same without a datum: what is not in it can be asked for.
  plan.set('owned', ['inet_proto', 'inet_service'], owned.map(({ key, keyEnd }) => ({ key, keyEnd })), { flags: ['interval'] }); // prettier-ignore
}
