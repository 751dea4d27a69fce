// What guests send: to an alias, to a literal address of the loopback, or to the world.
import type { ConfigGuest } from '../localhost.js';
import { ether, ipv4, joined, port } from './data.js';
import {
  type Plan,
  behind,
  destination,
  destinationPort,
  fromAddress,
  is,
  isArp,
  isError,
  isFirstFragment,
  isLaterFragment,
  isNotIp,
  knownFragment,
  number,
  outgoing,
  echoRequest,
  protocolOf,
  quoted,
  rememberFragment,
  remembering,
  rememberingEcho,
  setAddresses,
  setDestination,
  setDestinationPort,
  setSource,
  setEchoNumber,
  setSourcePort,
  SHORT,
  source,
  sourcePort,
  times,
  echoTimes,
  toAddress,
  toLoopback,
  towards,
} from './localhost-plan.js';
import {
  type Steps,
  accept,
  compare,
  drop,
  forward,
  goTo,
  isIn,
  isNotIn,
  jump,
  load,
  look,
  masked,
  meta,
  put,
  remember,
  store,
} from './rules.js';

const LOCALHOST = '127.0.0.1';

/** All of the guests, with what their chains have in common. */
export function guestChains(plan: Plan): void {
  arpChain(plan);
  plan.awayChain();
  if (plan.owned) {
    ownedChain(plan);
    sidecarChain(plan, 'sidecar', 'sidecars', LOCALHOST);
    if (plan.config.podHasAddresses) sidecarChain(plan, 'sidecar_own', 'sidecars_own', plan.pod);
  }
  if (plan.several) takenChain(plan);
  for (const guest of plan.config.guests) {
    localChain(plan, guest, 'alias');
    localChain(plan, guest, 'literal');
    if (plan.several) worldChain(plan, guest);
    tapChain(plan, guest);
  }
}

function tapChain(plan: Plan, guest: ConfigGuest): void {
  const { config, several } = plan;
  const chain = `tap_${guest.tap}`;
  plan.chain(chain, { name: 'ingress', priority: 0, devices: [plan.device(guest.tap).name] });
  const first = guest.tap === config.guests[0]!.tap;
  const away = plan.toWorld(guest) ?? [accept];
  if (several) plan.counted('spoofed', chain, [load(0, 'link', 6, 6), compare(0, '!=', ether(config.mac)), drop]);
  plan.rule(chain, isArp, [jump('resolve')]);
  // Its sender: 0.0.0.0 asks whether an address is free.
  if (several) plan.counted('spoofed', chain, isArp, [load(0, 'network', 14, 4), isNotIn('announced', 0), drop]); // prettier-ignore
  if (several) plan.rule(chain, isArp, away);
  // IPv6 is the first guest's alone.
  if (first) plan.rule(chain, isNotIp, away);
  else plan.counted('foreign', chain, isNotIp, [drop]);
  plan.rule(chain, towards(config.aliases, 24), [goTo(`alias_${guest.slot}`)]);
  plan.rule(chain, towards('127.0.0.0', 8), [goTo(`literal_${guest.slot}`)]);
  if (several) plan.rule(chain, [goTo(`world_${guest.slot}`)]);
  else {
    if (config.podHasAddresses) for (const flow of [outgoing, echoRequest]) plan.counted('flowLost', chain, flow, [isIn('pod', 0), drop]);
    plan.counted('fromGuest', chain, away);
  }
}

/**
 * A request is made a reply to itself, and goes back where it came from: for aliases, which exist nowhere, and for a gateway that the guest was
 * given. Whatever is asked for is there: what is behind it is decided when something is sent to it.
 */
function arpChain(plan: Plan): void {
  const { aliases, aliasMac, gateway } = plan.config;
  plan.chain('resolve');
  plan.counted('arpAnswered', 'resolve', arpReply([load(3, 'network', 24, 4), masked(3, 4, Uint8Array.of(255, 255, 255, 0)), compare(4, '==', ipv4(aliases))], aliasMac)); // prettier-ignore
  if (gateway !== undefined)
    plan.counted('arpAnswered', 'resolve', arpReply([load(3, 'network', 24, 4), compare(3, '==', ipv4(gateway.address))], gateway.mac));
}

/** `asked` loads the address that is asked for into register 3. RFC 826. */
export function arpReply(asked: Steps, mac: string): Steps {
  const REQUEST = Uint8Array.of(0, 1, 8, 0, 6, 4, 0, 1); // ethernet, IPv4, their lengths
  return [
    ...[load(0, 'network', 0, 8), compare(0, '==', REQUEST)],
    ...asked,
    // Who asks is whom it is for.
    ...[load(5, 'network', 8, 10), store(5, 'network', 18, 10), store(5, 'link', 0, 6)],
    ...[put(8, ether(mac)), store(8, 'network', 8, 6), store(8, 'link', 6, 6)],
    store(3, 'network', 14, 4),
    ...[put(10, port(2)), store(10, 'network', 6, 2)],
    ...[meta(11, 'iif'), forward(11)],
  ];
}

/** The first fragment of what is for a port that a guest owns: the others have no ports. nft(8) lists no datum that comes from another map. */
function ownedChain(plan: Plan): void {
  plan.chain('owned');
  for (const { tap, ports } of plan.config.guests)
    if (ports.length > 0) plan.rule('owned', protocolOf(1), destinationPort(2), [look('owners', 1, 9), compare(9, '==', number(tap)), put(9, number(tap))], rememberFragment('fragments')); // prettier-ignore
}

/**
 * What a guest answers to a process of the pod, which dialled its port by 127.0.0.1 or by the pod's own address: only where the process began,
 * or a guest could reach everything from a port that it owns.
 */
function sidecarChain(plan: Plan, chain: string, set: string, address: string): void {
  plan.chain(chain);
  const known: Steps = [...protocolOf(0), ...destinationPort(1), ...sourcePort(2), isIn(set, 0)];
  const back: Steps = [...setAddresses(address, address), ...toLoopback];
  plan.rule(chain, isFirstFragment, known, [put(9, number(1))], rememberFragment('fragments'));
  for (const steps of remembering(set, known, back)) plan.counted('toSidecar', chain, steps);
  plan.counted('toSidecar', chain, isError, quoted.protocol(0), quoted.sourcePort(1), quoted.destinationPort(2), [isIn(set, 0), put(12, ipv4(address))], quoted.setSource(12), quoted.setDestination(12), back); // prettier-ignore
}

/** An echo request to an alias that there is becomes its own answer. RFC 792. */
function echoAnswer(): Steps {
  return [
    ...is('icmp'),
    ...[load(0, 'transport', 0, 1), compare(0, '==', Uint8Array.of(ECHO_REQUEST))],
    ...[...destination(0), look('hosts', 0, 1)],
    ...[...source(2), isIn('own', 2)],
    ...[put(4, Uint8Array.of(ECHO_REPLY)), store(4, 'transport', 0, 1, { at: 2 })],
    ...[store(0, 'network', 12, 4), store(2, 'network', 16, 4)],
    ...[load(4, 'link', 6, 6), load(6, 'link', 0, 6), store(4, 'link', 0, 6), store(6, 'link', 6, 6)],
    ...[meta(4, 'iif'), forward(4)],
  ];
}
const ECHO_REQUEST = 8;
const ECHO_REPLY = 0;

/** To an alias, or by a guest that has no loopback of its own to 127.x.y.z itself. */
function localChain(plan: Plan, { slot, tap }: ConfigGuest, how: 'alias' | 'literal'): void {
  const { config, local } = plan;
  const chain = `${how}_${slot}`;
  const literal = how === 'literal';
  // As a peer sees this guest, and what this guest has dialled where a peer is meant.
  const asPeer = behind(config.aliases, (literal ? 128 : 64) + slot);
  const dialled = literal ? LOCALHOST : local;
  const from: Steps = [...source(6), look(`${literal ? 'literals' : 'sources'}_${slot}`, 6, 7)];
  const address: Steps = literal ? [...destination(0), ...destination(4)] : [...destination(0), look('hosts', 0, 4)];
  const mine = (protocol: Steps, portOf: Steps): Steps => [...protocol, ...portOf, look('owners', 1, 9), compare(9, '==', number(tap))];
  const toPeer = (device: number): Steps => [...setAddresses(asPeer, plan.pod), ...plan.toGuest(device)];

  plan.chain(chain);
  // Options of IP could lead on from what is declared to what is not.
  plan.counted('closed', chain, [load(0, 'network', 0, 1), compare(0, '!=', Uint8Array.of(0x45)), drop]);
  if (plan.owned) {
    plan.counted('toSidecar', chain, isLaterFragment, toAddress(local), knownFragment('fragments'), [compare(9, '==', number(1))], setAddresses(LOCALHOST, LOCALHOST), toLoopback); // prettier-ignore
    plan.counted('toSidecar', chain, isLaterFragment, toAddress(plan.own), knownFragment('fragments'), [compare(9, '==', number(1))], setAddresses(plan.pod, plan.pod), toLoopback); // prettier-ignore
    plan.counted(
      'toPeer',
      chain,
      isLaterFragment,
      toAddress(dialled),
      knownFragment('fragments'),
      [compare(9, '!=', number(1))],
      toPeer(9),
    );
  }
  plan.counted('toService', chain, isLaterFragment, address, from, setSource(7), setDestination(4), toLoopback);
  if (plan.owned && !literal)
    for (const [peers, seen] of [['peers', local], ['peers_literal', LOCALHOST]] as const) plan.counted('toPeer', chain, isLaterFragment, destination(0), [look(peers, 0, 4), put(7, ipv4(seen))], setSource(7), setDestination(4), plan.toGuest(5)); // prettier-ignore
  plan.counted('closed', chain, isLaterFragment, [drop]);

  if (plan.owned) {
    if (!literal) {
      for (const [to, sidecar] of [[local, 'sidecar'], [plan.own, 'sidecar_own']] as const) {
        if (sidecar === 'sidecar_own' && !config.podHasAddresses) continue;
        plan.rule(chain, toAddress(to), mine(protocolOf(1), sourcePort(2)), [jump(sidecar)]);
        plan.rule(chain, toAddress(to), isError, mine(quoted.protocol(1), quoted.destinationPort(2)), [jump(sidecar)]);
      } // prettier-ignore
      for (const [peers, seen] of [['peers', local], ['peers_literal', LOCALHOST]] as const) {
        const peer: Steps = [...destination(0), look(peers, 0, 4)];
        plan.counted('toPeer', chain, peer, mine(protocolOf(1), sourcePort(2)), [put(7, ipv4(seen))], setSource(7), setDestination(4), plan.toGuest(5)); // prettier-ignore
        plan.counted('toPeer', chain, isError, peer, mine(quoted.protocol(1), quoted.destinationPort(2)), quoted.setSource(4), [put(7, ipv4(seen))], quoted.setDestination(7), setSource(7), setDestination(4), plan.toGuest(5)); // prettier-ignore
      } // prettier-ignore
    }
    const owned: Steps = [...toAddress(dialled), ...fromAddress(plan.pod), ...protocolOf(1), ...destinationPort(2), look('owners', 1, 9)];
    plan.rule(chain, isFirstFragment, toAddress(dialled), fromAddress(plan.pod), [jump('owned')]);
    plan.counted('toPeer', chain, owned, toPeer(9));
    // What it says about a reply of a peer's.
    plan.counted('toPeer', chain, isError, toAddress(dialled), fromAddress(plan.pod), quoted.protocol(1), quoted.sourcePort(2), [look('owners', 1, 9), put(4, ipv4(plan.pod)), put(7, ipv4(asPeer))], quoted.setSource(4), quoted.setDestination(7), toPeer(9)); // prettier-ignore
  }
  plan.counted('toService', chain, destination(0), protocolOf(1), destinationPort(2), [look('forward', 0, 4)], from, setSource(7), setDestination(4), setDestinationPort(5), toLoopback); // prettier-ignore
  plan.counted('toService', chain, destination(0), protocolOf(1), destinationPort(2), [isIn('ranges', 0)], address, from, setSource(7), setDestination(4), toLoopback); // prettier-ignore
  const about: Steps = [...isError, ...quoted.source(0), ...quoted.protocol(1), ...quoted.sourcePort(2)];
  const told: Steps = [...quoted.setSource(4), ...quoted.setDestination(7), ...setSource(7), ...setDestination(4), ...toLoopback];
  plan.counted('toService', chain, about, [look('forward', 0, 4)], from, quoted.setSourcePort(5), told);
  plan.counted('toService', chain, about, [isIn('ranges', 0)], address, from, told);
  if (!literal) plan.counted('echoAnswered', chain, echoAnswer());
  plan.counted('spoofed', chain, source(0), [isNotIn('own', 0), drop]);
  // Closed, whatever else it is.
  plan.counted('closed', chain, [drop]);
}

/**
 * What a guest cannot begin as it is, since the reply would be another guest's, or the pod's: it gets another port. So do echo requests, which
 * have a number for one.
 */
function takenChain(plan: Plan): void {
  const { config } = plan;
  const sets = [...(config.podHasAddresses ? ['pod'] : []), ...config.guests.map(({ slot }) => `flows_${slot}`)];
  plan.chain('taken');
  plan.chain('clash');
  for (const { slot } of config.guests) plan.chain(`picking_${slot}`);
  if (plan.owned) plan.rule('taken', protocolOf(0), sourcePort(1), [isIn('owned', 0), goTo('clash')]);
  for (const set of sets) for (const { flow } of ports) plan.rule('taken', flow, [isIn(set, 0), goTo('clash')]);
  // Nobody takes by itself what may be picked for another one.
  const top = 0x10000 - (1 << PICKED);
  plan.rule('taken', protocolOf(0), [isIn('ported', 0)], sourcePort(0), [masked(0, 1, port(top)), compare(1, '==', port(top)), goTo('clash')]); // prettier-ignore
  for (const { slot, tap } of config.guests) plan.rule('clash', [meta(0, 'iif'), compare(0, '==', number(tap)), goTo(`picking_${slot}`)]);
}

/** Where a flow of its own has its port: what is loaded of one that goes out, and how another port gets there. */
const ports: readonly {
  readonly flow: Steps;
  readonly own: (to: number) => Steps;
  readonly set: (from: number) => Steps;
  readonly tcp: boolean;
}[] = [
  { flow: [...protocolOf(0), isIn('ported', 0), ...outgoing], own: sourcePort, set: setSourcePort, tcp: true },
  { flow: echoRequest, own: (to) => [load(to, 'transport', 4, 2)], set: setEchoNumber, tcp: false },
];

/** Ports that are picked, of 16 bits: so many at the top, of which each guest has its share, where it meets nobody but itself. */
const PICKED = 12;
/** Of many guests fewer, or the table would be long: what fails is tried again by whoever has sent it. */
const tries = (guests: number): number => (guests > 8 ? 4 : 16);

/** The first packet of a flow whose port is taken: it gets one of the guest's share, at random, that is free at that place. */
function pickingChain(plan: Plan, guest: ConfigGuest, away: Steps): void {
  const { config } = plan;
  const { slot } = guest;
  const chain = `picking_${slot}`;
  const sets = [...(config.podHasAddresses ? ['pod'] : []), ...config.guests.map((one) => `flows_${one.slot}`)];
  const free = 1 << (PICKED - Math.ceil(Math.log2(config.guests.length)));
  const base = 0x10000 - (1 << PICKED) + free * config.guests.indexOf(guest);
  for (const { flow, own, set } of ports)
    for (let attempt = 0; attempt < tries(config.guests.length); attempt++) {
      const random: Steps = [meta(11, 'random'), masked(11, 4, joined(port(free - 1)), joined(port(base)))];
      const unused: Steps = [
        ...sets.map((one) => isNotIn(one, 0)),
        // Protocol and port, next to each other.
        ...(plan.owned ? [...protocolOf(5), masked(4, 6, ALL), isNotIn('owned', 5)] : []),
      ];
      // Both ways: what the guest says and what it becomes; and what was picked, as the guest knows it.
      const kept: Steps = [
        remember('add', `flows_${slot}`, 0, SHORT),
        ...own(9),
        remember('add', `picked_${slot}`, 0, SHORT, 9),
        masked(4, 9, ALL),
        ...own(4),
        remember('add', `moved_${slot}`, 0, SHORT, 9),
      ];
      plan.counted('flowClash', chain, flow, random, unused, kept, set(9), away);
    }
  plan.counted('flowLost', chain, [drop]);
}
const ALL = Uint8Array.of(255, 255, 255, 255);

/** What has another port, and goes on having it: both its names are remembered as long as anything is said. */
function movedRules(plan: Plan, { slot }: ConfigGuest, away: Steps): void {
  const [moved, picked, flows] = [`moved_${slot}`, `picked_${slot}`, `flows_${slot}`];
  plan.chain(moved);
  for (const { flow, own, set, tcp } of ports) {
    plan.rule(`world_${slot}`, flow, [look(moved, 0, 9), goTo(moved)]);
    // Its own port is one that was picked for another flow of this guest.
    plan.rule(`world_${slot}`, flow, [look(picked, 0, 9), goTo(`picking_${slot}`)]);
    for (const [when, op, seconds] of tcp ? times : echoTimes) {
      const all: Steps = [
        look(moved, 0, 9),
        ...own(10),
        // It is there, and keeps its datum, whatever is said here: nft(8) lists none that comes from a map, nor a key.
        remember(op, moved, 0, seconds, 10),
        ...set(9),
        ...own(4),
        remember(op, flows, 0, seconds),
        remember(op, picked, 0, seconds, 10),
      ];
      plan.counted('fromGuest', moved, when, flow, all, away);
    }
  }
  plan.counted('flowLost', moved, [drop]);
}

/** One of several guests, to the world. */
function worldChain(plan: Plan, guest: ConfigGuest): void {
  const { slot, tap } = guest;
  const chain = `world_${slot}`;
  const flows = `flows_${slot}`;
  const away = plan.toWorld(guest) ?? [accept];
  plan.chain(chain);
  plan.chain(`going_${slot}`);
  plan.counted('spoofed', chain, source(0), [isNotIn('own', 0), drop]);
  plan.counted('fromGuest', chain, isLaterFragment, away);
  // Who owns the port gets what comes for it, without anything remembered.
  if (plan.owned)
    plan.counted('fromGuest', chain, protocolOf(0), sourcePort(1), [look('owners', 0, 9), compare(9, '==', number(tap))], away);
  movedRules(plan, guest, away);
  for (const { flow } of ports) plan.rule(chain, flow, [isIn(flows, 0), goTo(`going_${slot}`)]);
  plan.rule(chain, [jump('taken')]);
  plan.rule(chain, [goTo(`going_${slot}`)]);

  for (const steps of remembering(flows, outgoing, away)) plan.counted('fromGuest', `going_${slot}`, steps);
  plan.counted('fromGuest', `going_${slot}`, rememberingEcho(flows, away));
  // There is no room for another flow.
  for (const kind of ['tcp', 'udp']) plan.counted('flowLost', `going_${slot}`, is(kind), [drop]);
  plan.counted('flowLost', `going_${slot}`, echoRequest, [drop]);
  plan.counted('fromGuest', `going_${slot}`, away);
  pickingChain(plan, guest, away);
}
