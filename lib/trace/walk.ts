// The way of one frame, as the kernel would take it: out by an interface, over its wire, in by the next one, through bridges, redirects
// and tunnels, up to IP and out again. What each step stands on is in the kernel's net/ (dev.c, bridge/, ipv4/, drivers/net/).
import type { Link } from '../wire/link.js';
import type { InfoOf, PortOf } from '../wire/link.js';
import type { FdbEntry, Neighbor } from '../wire/neighbor.js';
import type { Route } from '../wire/route.js';
import { BROADCAST, ETH_P_IP, ETH_P_IPV6, type Frame, type Packet, frameLength, vxlanLength } from '../wire/frame.js';
import { splitCidr } from '../check.js';
import { type Verdict, classify } from './classify.js';
import type { Answer, Beside, Hop, Loss, LossCode } from './hop.js';
import { Trail } from './hop.js';
import { isQuestion, passAnswer, passIn, passOut, question } from './discovery.js';
import { passBridge, passThrough } from './hooks.js';
import { isInside, lookUp } from './look-up.js';
import type { Guest, Place, Space, World } from './space.js';

/** What became of a frame. 'heard': a question (ARP, neighbour discovery) came to somebody who could answer it. */
export type Outcome = { readonly trail: Trail } & (
  | { readonly end: 'delivered'; readonly namespace: string; readonly device: string; readonly guest?: string }
  | { readonly end: 'lost'; readonly loss: Loss }
  /** `answer`: already given, by a program. */
  | { readonly end: 'heard'; readonly place: Place; readonly guest?: Guest; readonly answer?: Answer }
);

const MOST_HOPS = 128;
const ETHERNET = 14;
/** is_skb_forwardable() leaves room for a VLAN tag. */
const TAG = 4;
const VXLAN_PORT = 8472;

export class Walker {
  constructor(
    readonly world: World,
    /** The first packet of its connection. */
    readonly first: boolean,
  ) {}

  // ---------------------------------------------------------------- devices

  /** A frame goes out by an interface. */
  async transmit(place: Place, frame: Frame, trail: Trail): Promise<readonly Outcome[]> {
    const { space, link } = place;
    if (trail.hops.length > MOST_HOPS) return [lost(trail, 'LOOP', place, `the frame goes in a circle through ${link.name} in ${space.name}`)]; // prettier-ignore
    if (!link.up) return [lost(trail, 'LINK_DOWN', place, `${link.name} in ${space.name} is down`)];
    if (link.kind !== 'bridge' && !link.carrier && link.type !== 'loopback') return [lost(trail, 'NO_CARRIER', place, noCarrier(place))];
    return this.classified(place, 'egress', frame, trail, async (frame, on) => this.leave(place, frame, on.see({ ...(await this.sighting(place)), direction: 'out', frame }))); // prettier-ignore
  }

  private async leave(place: Place, frame: Frame, on: Trail): Promise<readonly Outcome[]> {
    const { space, link } = place;
    switch (link.kind) {
      case 'veth':
        return this.overWire(place, frame, on);
      case 'bridge':
        return this.bridgeSends(place, frame, on);
      case 'vxlan':
        return this.encapsulate(place, frame, on);
      case 'tun':
        return this.toGuest(place, frame, on);
      case 'macvlan':
      case 'macvtap':
        return this.macvlanSends(place, frame, on);
      case 'loopback':
        return this.receive(place, frame, on);
      case 'physical':
        return [lost(on, 'OUT_OF_SIGHT', place, `it goes out by ${link.name} in ${space.name}, a device whose other end no namespace has`)];
      default:
        return [lost(on, 'UNKNOWN_KIND', place, `where a device of the kind ${link.kind} (${link.name} in ${space.name}) sends it is not known to podtap`)]; // prettier-ignore
    }
  }

  /** A frame comes in by an interface. */
  async receive(place: Place, frame: Frame, trail: Trail): Promise<readonly Outcome[]> {
    const { space, link } = place;
    if (trail.hops.length > MOST_HOPS) return [lost(trail, 'LOOP', place, `the frame goes in a circle through ${link.name} in ${space.name}`)]; // prettier-ignore
    if (!link.up) return [lost(trail, 'LINK_DOWN', place, `${link.name} in ${space.name} is down`)];
    const seen = trail.see({ ...(await this.sighting(place)), direction: 'in', frame }).carry(addressed(trail.beside, link, frame));
    return this.classified(place, 'ingress', frame, seen, (frame, on) => this.enter(place, frame, on));
  }

  private async enter(place: Place, frame: Frame, on: Trail): Promise<readonly Outcome[]> {
    const { space, link } = place;
    if (link.portKind === 'bridge') return this.bridgeReceives(place, frame, on);
    if (link.master !== undefined && link.portKind !== 'vrf')
      return [lost(on, 'UNKNOWN_KIND', place, `${link.name} in ${space.name} is a port of a ${link.portKind}, of which podtap does not know what it does`)]; // prettier-ignore
    const taken = await this.macvlanReceives(place, frame, on);
    if (taken.taken !== undefined) return taken.taken;
    const outcomes = await this.up(place, frame, on);
    return [...taken.copies, ...outcomes];
  }

  /** Past what sits on an interface: on, elsewhere, or nowhere; and copies. */
  private async classified(
    place: Place,
    direction: 'ingress' | 'egress',
    frame: Frame,
    trail: Trail,
    on: (frame: Frame, trail: Trail) => Promise<readonly Outcome[]>,
  ): Promise<readonly Outcome[]> {
    const { space, link } = place;
    const passed = await classify(space, link, direction, frame, trail, this.first);
    const { verdict } = passed;
    const outcomes: Outcome[] = [];
    for (const { ifindex, frame } of passed.copies)
      outcomes.push(...(await this.redirect(space, { ifindex, direction: 'egress' }, frame, passed.trail)));
    if (verdict.go === 'lost') return [...outcomes, lost(passed.trail, verdict.code, place, verdict.reason, verdict.icmp)];
    if (verdict.go === 'redirect') return [...outcomes, ...(await this.redirect(space, verdict, passed.frame, passed.trail))];
    if (verdict.go === 'answer') return [...outcomes, { end: 'heard', place, trail: passed.trail, answer: { namespace: space.name, device: link.name, mac: verdict.mac, by: 'program' } }]; // prettier-ignore
    if (verdict.go === 'reply') return [...outcomes, { end: 'delivered', namespace: space.name, device: link.name, trail: passed.trail }];
    if (verdict.go === 'neighbor') return [...outcomes, ...(await this.toNeighbor(space, verdict.ifindex, passed.frame, passed.trail))];
    return [...outcomes, ...(await on(passed.frame, passed.trail))];
  }

  private async redirect(
    space: Space,
    to: { ifindex: number; direction: 'egress' | 'ingress'; anew?: true },
    frame: Frame,
    trail: Trail,
  ): Promise<readonly Outcome[]> {
    // prettier-ignore
    const link = await space.link(to.ifindex);
    if (link === undefined) return [lost(trail, 'REDIRECT_GONE', { space }, `it is redirected to interface ${to.ifindex} in ${space.name}, which is gone`)]; // prettier-ignore
    if (to.direction === 'egress') return this.transmit({ space, link }, frame, trail);
    // dev_forward_skb() leaves it its mark alone.
    return this.receive({ space, link }, frame, to.anew === true ? trail.carry(scrubbed(trail.beside, space, space)) : trail);
  }

  /** bpf_redirect_neigh(): as the host itself would send it by an interface, with neither chains of IP nor a TTL that goes down. */
  private async toNeighbor(space: Space, ifindex: number, frame: Frame, trail: Trail): Promise<readonly Outcome[]> {
    const link = await space.link(ifindex);
    if (link === undefined) return [lost(trail, 'REDIRECT_GONE', { space }, `it is redirected to interface ${ifindex} in ${space.name}, which is gone`)]; // prettier-ignore
    const place = { space, link };
    const packet = frame.packet!;
    const { mark } = trail.beside;
    const way = await lookUp(space, { packet, oif: ifindex, ...(mark !== undefined && { mark }) });
    if (!('route' in way)) return [lost(trail, way.code, place, way.reason)];
    const found = await this.neighbor(place, way.route.via ?? packet.destination, packet.source, trail.decide(way.decision));
    return 'end' in found ? [found] : this.transmit(place, { ...frame, source: link.mac, destination: found.mac }, found.trail);
  }

  private async overWire(place: Place, frame: Frame, trail: Trail): Promise<readonly Outcome[]> {
    const { space, link } = place;
    const peer = link.peer === undefined ? undefined : await this.world.at(space, link.peer);
    if (peer === 'elsewhere') return [lost(trail, 'OUT_OF_SIGHT', place, `the other end of ${link.name} in ${space.name} is in a namespace that was not given`)]; // prettier-ignore
    if (peer === undefined) return [lost(trail, 'LINK_GONE', place, `the other end of ${link.name} in ${space.name} is gone`)];
    // dev_forward_skb(): the receiving end's MTU counts.
    if (frameLength(frame) > peer.link.mtu + ETHERNET + TAG)
      return [lost(trail, 'MTU_EXCEEDED', peer, `the frame of ${frameLength(frame)} bytes is dropped without a word by ${peer.link.name} in ${peer.space.name}, whose MTU is ${peer.link.mtu}`)]; // prettier-ignore
    return this.receive(peer, frame, trail.carry(scrubbed(trail.beside, space, peer.space)));
  }

  /** What is behind a TAP is a guest: a declared one, or whoever holds it. */
  private async toGuest(place: Place, frame: Frame, trail: Trail): Promise<readonly Outcome[]> {
    const { space, link } = place;
    const guest = this.world.guestAt(place);
    if (isQuestion(frame)) return [{ end: 'heard', place, trail, ...(guest !== undefined && { guest }) }];
    const at = `${link.name} in ${space.name}`;
    if (guest === undefined) {
      const on = trail
        .decide({ by: 'delivery', text: `whoever holds ${at} has it` })
        .note(`what is behind ${at} was not told: whether it takes the frame is not known`);
      return [{ end: 'delivered', namespace: space.name, device: link.name, trail: on }];
    }
    const { mac, addresses } = guest.network;
    if (frame.destination !== mac && !isGroup(frame.destination))
      return [lost(trail, 'NOT_ADDRESSED', place, `the frame is addressed to ${frame.destination}, and ${guest.name} behind ${at} is ${mac}`)]; // prettier-ignore
    const to = frame.packet?.destination;
    if (to !== undefined && !addresses.some(({ address }) => splitCidr(address).address === to))
      return [lost(trail, 'NOT_THE_GUESTS', place, `${to} is no address of ${guest.name} behind ${at}`)];
    const on = trail.decide({ by: 'delivery', text: `${to ?? 'it'} is the address of ${guest.name}, behind ${at}` });
    return [{ end: 'delivered', namespace: space.name, device: link.name, guest: guest.name, trail: on }];
  }

  private async sighting(place: Place): Promise<Omit<Hop, 'because' | 'frame' | 'direction'>> {
    const { space, link } = place;
    const wire = link.kind === 'veth' && link.peer !== undefined ? await this.world.at(space, link.peer) : undefined;
    const guest = this.world.guestAt(place);
    const peer = wire !== undefined && wire !== 'elsewhere' ? { namespace: wire.space.name, device: wire.link.name } : guest !== undefined ? { namespace: space.name, device: guest.name } : undefined; // prettier-ignore
    return { namespace: space.name, device: link.name, ifindex: link.ifindex, kind: link.kind, mac: link.mac, ...(peer !== undefined && { peer }) }; // prettier-ignore
  }

  // ---------------------------------------------------------------- macvlan

  /** Passthru takes all, else each takes what is for its MAC; groups go to all of them, and to the interface too. */
  private async macvlanReceives(
    place: Place,
    frame: Frame,
    trail: Trail,
  ): Promise<{ taken?: readonly Outcome[]; copies: readonly Outcome[] }> {
    // prettier-ignore
    const above = (await this.world.above(place)).filter(({ link }) => link.kind === 'macvlan' || link.kind === 'macvtap');
    const passthru = above.find(({ link }) => infoOf<'macvlan'>(link).mode === 'passthru');
    const group = isGroup(frame.destination);
    const takers = passthru !== undefined ? [passthru] : above.filter(({ link }) => group || link.mac === frame.destination);
    const outcomes: Outcome[] = [];
    for (const taker of takers.filter(({ link }) => link.up)) {
      const text = `${taker.link.name} in ${taker.space.name}, a ${taker.link.kind} on ${place.link.name}, takes what comes in`;
      outcomes.push(...(await this.handOver(taker, frame, trail.decide({ by: 'macvlan', text }))));
    }
    if (group) return { copies: outcomes };
    return takers.length === 0 ? { copies: [] } : { taken: outcomes, copies: [] };
  }

  private async handOver(taker: Place, frame: Frame, trail: Trail): Promise<readonly Outcome[]> {
    if (taker.link.kind === 'macvlan') return this.receive(taker, frame, trail.carry());
    return this.toGuest(taker, frame, trail.see({ ...(await this.sighting(taker)), direction: 'in', frame }));
  }

  private async macvlanSends(place: Place, frame: Frame, trail: Trail): Promise<readonly Outcome[]> {
    const { space, link } = place;
    const lower = link.lower === undefined ? undefined : await this.world.at(space, link.lower);
    if (lower === 'elsewhere') return [lost(trail, 'OUT_OF_SIGHT', place, `what ${link.name} in ${space.name} stands on is in a namespace that was not given`)]; // prettier-ignore
    if (lower === undefined) return [lost(trail, 'LINK_GONE', place, `what ${link.name} in ${space.name} stands on is gone`)];
    const siblings = (await this.world.above(lower)).filter(
      (one) => one.link.ifindex !== link.ifindex && infoOf<'macvlan'>(one.link).mode === 'bridge',
    );
    const here = infoOf<'macvlan'>(link).mode === 'bridge' ? siblings.find((one) => one.link.mac === frame.destination) : undefined;
    if (here !== undefined) return this.handOver(here, frame, trail.decide({ by: 'macvlan', text: `${here.link.name} on the same ${lower.link.name} has the MAC` })); // prettier-ignore
    return this.transmit(lower, frame, trail.decide({ by: 'macvlan', text: `${link.name} stands on ${lower.link.name}` }));
  }

  // ---------------------------------------------------------------- bridges

  private async bridgeReceives(place: Place, frame: Frame, trail: Trail): Promise<readonly Outcome[]> {
    const { space, link: port } = place;
    const bridge = await space.link(port.master!);
    if (bridge === undefined) return [lost(trail, 'LINK_GONE', place, `the bridge of ${port.name} in ${space.name} is gone`)];
    const { state } = portOf(port);
    if (state !== undefined && state !== 'forwarding')
      return [lost(trail, 'PORT_BLOCKED', place, `${port.name} in ${space.name} is a port of ${bridge.name} in the state ${state}`)];
    const noted = infoOf<'bridge'>(bridge).vlan_filtering === 1 ? trail.note(`${bridge.name} in ${space.name} filters VLANs, which was not looked at`) : trail; // prettier-ignore
    const top = { space, link: bridge };
    const passed = await passThrough(['bridge'], { space, hook: 'prerouting', iif: port, first: this.first }, frame, noted);
    if (passed.verdict.go !== 'on') return [stopped(passed.trail, passed.verdict, place)];
    return this.bridgeForwards(top, port, passed.frame, passed.trail);
  }

  private async bridgeForwards(top: Place, port: Link, frame: Frame, noted: Trail): Promise<readonly Outcome[]> {
    const { space, link: bridge } = top;
    if (isGroup(frame.destination)) {
      const copies = await this.flood(top, port, frame, noted);
      return [...copies, ...(await this.upFromBridge(top, port, frame, noted))];
    }
    const entry = await this.fdbEntry(top, frame.destination);
    if (entry === undefined) return this.floodUnicast(top, port, frame, noted);
    if (isLocal(entry)) {
      const owner = (await space.link(entry.ifindex)) ?? bridge;
      const whose = owner.ifindex === bridge.ifindex ? "the bridge's own" : `that of its port ${owner.name}`;
      const text = `${bridge.name} in ${space.name}: ${frame.destination} is ${whose}, a local entry: the frame is for the host itself`;
      const on = noted.decide({ by: 'fdb', bridge: bridge.name, entry, text });
      return this.upFromBridge(top, port, frame, on, { entry, owner });
    }
    const to = await space.link(entry.ifindex);
    if (to === undefined) return [lost(noted, 'LINK_GONE', top, `the port of ${frame.destination} on ${bridge.name} in ${space.name} is gone`)]; // prettier-ignore
    const on = noted.decide({ by: 'fdb', bridge: bridge.name, entry, text: `${bridge.name} in ${space.name}: ${frame.destination} is at ${to.name} (${entry.state === 'noarp' ? 'static' : 'learned'})` }); // prettier-ignore
    if (to.ifindex === port.ifindex && portOf(port).mode !== 1)
      return [lost(on, 'SAME_PORT', top, `${bridge.name} in ${space.name} does not send a frame out by ${port.name}, where it came in`)];
    return this.outByPort(top, port, to, frame, on);
  }

  /** A frame of the bridge's own host. */
  private async bridgeSends(place: Place, frame: Frame, trail: Trail): Promise<readonly Outcome[]> {
    const { space, link: bridge } = place;
    if (isGroup(frame.destination)) return this.flood(place, undefined, frame, trail);
    const entry = await this.fdbEntry(place, frame.destination);
    if (entry === undefined) return this.floodUnicast(place, undefined, frame, trail);
    const to = entry.ifindex === bridge.ifindex ? undefined : await space.link(entry.ifindex);
    if (to === undefined) return [lost(trail, 'FDB_LOCAL', place, `${frame.destination} is the own MAC of ${bridge.name} in ${space.name}`)]; // prettier-ignore
    const how = isLocal(entry) ? `the own MAC of ${to.name}, by which it goes out` : `at ${to.name} (${entry.state === 'noarp' ? 'static' : 'learned'})`; // prettier-ignore
    const text = `${bridge.name} in ${space.name}: ${frame.destination} is ${how}`;
    return this.outByPort(place, undefined, to, frame, trail.decide({ by: 'fdb', bridge: bridge.name, entry, text }));
  }

  private async upFromBridge(top: Place, port: Link, frame: Frame, trail: Trail, local?: LocalEntry): Promise<readonly Outcome[]> {
    const { space, link: bridge } = top;
    const passed = await passThrough(['bridge'], { space, hook: 'input', iif: port, first: this.first }, frame, trail);
    if (passed.verdict.go !== 'on') return [stopped(passed.trail, passed.verdict, top)];
    if (!bridge.up) return [lost(passed.trail, 'LINK_DOWN', top, `${bridge.name} in ${space.name} is down`)];
    const seen = passed.trail.see({ ...(await this.sighting(top)), direction: 'in', frame: passed.frame });
    const { packetType: _, ...beside } = seen.beside;
    const own = seen.carry(passed.frame.destination === bridge.mac ? beside : seen.beside);
    return this.classified(top, 'ingress', passed.frame, own, (frame, on) => this.up(top, frame, on, local));
  }

  private async fdbEntry({ space, link: bridge }: Place, mac: string): Promise<FdbEntry | undefined> {
    return (await space.fdb()).find((entry) => entry.mac === mac && entry.master === bridge.ifindex);
  }

  private async ports({ space, link: bridge }: Place): Promise<readonly Link[]> {
    return [...(await space.links()).values()].filter(({ master }) => master === bridge.ifindex);
  }

  private async floodUnicast(top: Place, from: Link | undefined, frame: Frame, trail: Trail): Promise<readonly Outcome[]> {
    const { space, link: bridge } = top;
    const outcomes = await this.flood(top, from, frame, trail);
    const strangers = outcomes.filter((one) => one.end === 'lost' && one.loss.code === 'NOT_ADDRESSED');
    if (strangers.length < outcomes.length) return outcomes.filter((one) => !strangers.includes(one));
    // One loss of them all: it is the bridge that does not know where to.
    const blocked = (await this.ports(top)).filter((port) => (portOf(port).state ?? 'forwarding') !== 'forwarding');
    const others = strangers.flatMap((one) => (one.end === 'lost' ? [`${one.loss.device} in ${one.loss.namespace}`] : []));
    const where =
      others.length === 0 ? 'has no port to flood the frame to' : `floods the frame to where nobody has it (${others.join(', ')})`;
    const out = blocked.length === 0 ? '' : `; ${blocked.map((port) => `its port ${port.name} is ${portOf(port).state}`).join(', ')}`;
    return [lost(trail, 'FDB_UNKNOWN', top, `${bridge.name} in ${space.name} does not know ${frame.destination}, and ${where}${out}`)];
  }

  private async flood(top: Place, from: Link | undefined, frame: Frame, trail: Trail): Promise<readonly Outcome[]> {
    const { space, link: bridge } = top;
    const group = isGroup(frame.destination);
    const isolated = from !== undefined && portOf(from).isolated === 1;
    const ports = (await this.ports(top)).filter((port) => {
      const { state = 'forwarding', unicast_flood = 1, isolated: alone = 0, bcast_flood = 1 } = portOf(port);
      return port.ifindex !== from?.ifindex && state === 'forwarding' && (group ? bcast_flood : unicast_flood) !== 0 && !(isolated && alone === 1); // prettier-ignore
    });
    const text = `${bridge.name} in ${space.name} does not know ${frame.destination}, and floods it to ${ports.map(({ name }) => name).join(', ')}`; // prettier-ignore
    const on = group ? trail : trail.decide({ by: 'fdb', bridge: bridge.name, text });
    const outcomes: Outcome[] = [];
    for (const port of ports) outcomes.push(...(await this.outByPort(top, from, port, frame, on)));
    return outcomes;
  }

  /** `from`: the port that it came in by; absent: the bridge's own host sends it. */
  private async outByPort(top: Place, from: Link | undefined, port: Link, frame: Frame, trail: Trail): Promise<readonly Outcome[]> {
    const passed = await passBridge(top, from, port, frame, trail, this.first);
    if (passed.verdict.go !== 'on') return [stopped(passed.trail, passed.verdict, { space: top.space, link: port })];
    return this.leaveByPort(top, port, passed.frame, passed.trail);
  }

  private async leaveByPort(top: Place, port: Link, frame: Frame, trail: Trail): Promise<readonly Outcome[]> {
    if (frameLength(frame) > port.mtu + ETHERNET + TAG)
      return [lost(trail, 'MTU_EXCEEDED', { space: top.space, link: port }, `${top.link.name} in ${top.space.name} drops the frame of ${frameLength(frame)} bytes without a word: the MTU of its port ${port.name} is ${port.mtu}`)]; // prettier-ignore
    return this.transmit({ space: top.space, link: port }, frame, trail);
  }

  // ---------------------------------------------------------------- VXLAN

  private async encapsulate(place: Place, frame: Frame, trail: Trail): Promise<readonly Outcome[]> {
    const { space, link } = place;
    const info = infoOf<'vxlan'>(link);
    const entries = (await space.fdb()).filter(({ ifindex, dst }) => ifindex === link.ifindex && dst !== undefined);
    const own = entries.filter(({ mac }) => mac === frame.destination);
    const anywhere = info.group ?? info.group6;
    const zero = entries.filter(({ mac }) => mac === '00:00:00:00:00:00');
    const chosen: readonly FdbEntry[] = own.length > 0 && !isGroup(frame.destination) ? own : zero.length > 0 ? zero : anywhere === undefined ? [] : [{ mac: '00:00:00:00:00:00', ifindex: link.ifindex, dst: anywhere }]; // prettier-ignore
    if (chosen.length === 0)
      return [lost(trail, 'FDB_MISSING', place, `${link.name} in ${space.name} has no forwarding entry for ${frame.destination}, and no remote end for what it does not know`)]; // prettier-ignore
    const outcomes: Outcome[] = [];
    for (const entry of chosen) outcomes.push(...(await this.tunnel(place, info, entry, frame, trail)));
    return outcomes;
  }

  private async tunnel(
    { space, link }: Place,
    info: Partial<InfoOf<'vxlan'>>,
    entry: FdbEntry,
    frame: Frame,
    trail: Trail,
  ): Promise<readonly Outcome[]> {
    // prettier-ignore
    const ipv6 = entry.dst!.includes(':');
    const [port, vni] = [entry.port ?? info.port ?? VXLAN_PORT, entry.vni ?? info.id ?? 0];
    const local = ipv6 ? info.local6 : info.local;
    const ttl = info.ttl_inherit === true ? (frame.packet?.ttl ?? 64) : info.ttl === undefined || info.ttl === 0 ? await this.ttl(space, ipv6) : info.ttl; // prettier-ignore
    const dontFragment = info.df === 'set' || (info.df === 'inherit' && frame.packet?.dontFragment === true);
    const draft: Packet = {
      source: local ?? (ipv6 ? '::' : '0.0.0.0'),
      destination: entry.dst!,
      ttl,
      protocol: 'udp',
      length: vxlanLength(frameLength(frame), ipv6),
      ...(!ipv6 && { dontFragment }),
      ports: { source: 0, destination: port },
      vxlan: { vni, frame },
    };
    const text = `${link.name} in ${space.name}: ${frame.destination} is behind ${entry.dst}, UDP port ${port}, VNI ${vni}${entry.mac === frame.destination ? ` (FDB, ${entry.state ?? 'permanent'})` : ' (its default)'}`; // prettier-ignore
    const on = trail.decide({ by: 'encapsulation', text });
    const oif = entry.via ?? (info.link === undefined || info.link === 0 ? undefined : info.link);
    const way = await lookUp(space, { packet: draft, ...(oif !== undefined && { oif }), anySource: local === undefined });
    if (!('route' in way)) return [lost(on, way.code, { space, link }, `for the VXLAN packet: ${way.reason}`)];
    const packet = { ...draft, source: local ?? way.route.src ?? draft.source };
    return this.output(space, packet, way.route, on.decide(way.decision).carry(scrubbed(on.beside, space, space)));
  }

  // ---------------------------------------------------------------- IP

  ttl(space: Space, ipv6: boolean): Promise<number> {
    return space.sysctl(ipv6 ? 'net.ipv6.conf.all.hop_limit' : 'net.ipv4.ip_default_ttl');
  }

  /** A frame has come to the stack of the host. */
  private async up(place: Place, frame: Frame, trail: Trail, local?: LocalEntry): Promise<readonly Outcome[]> {
    const { space, link } = place;
    if (isQuestion(frame)) {
      const passed = await passIn(place, frame, trail, this.first);
      return passed.verdict.go === 'on' ? [{ end: 'heard', place, trail: passed.trail }] : [stopped(passed.trail, passed.verdict, place)];
    }
    // Of the loopback only what was forwarded to it can be somebody else's.
    if (local === undefined && trail.beside.packetType === 'otherhost')
      return [lost(trail, 'NOT_ADDRESSED', place, `the frame is addressed to ${frame.destination}, and ${link.name} in ${space.name} is ${link.mac}`)]; // prettier-ignore
    return this.input(place, frame, trail, local);
  }

  private async input(place: Place, frame: Frame, trail: Trail, local?: LocalEntry): Promise<readonly Outcome[]> {
    const { space, link } = place;
    const ipv6 = frame.type === ETH_P_IPV6;
    const { first } = this;
    const passed = await passThrough('stack', { space, hook: 'prerouting', iif: link, first }, frame, trail);
    if (passed.verdict.go !== 'on') return [stopped(passed.trail, passed.verdict, place)];
    const seen = passed.trail;
    const packet = passed.frame.packet!;
    if (seen.beside.routed === true && link.type === 'loopback') return this.toSelf(place, passed.frame, seen);
    const { mark } = seen.beside;
    const way = await lookUp(space, { packet, iif: link, ...(mark !== undefined && { mark }) });
    if (!('route' in way)) {
      if (local !== undefined && local.owner.ifindex !== link.ifindex && way.code === 'NOT_FORWARDED')
        return [await this.swallowed(place, packet, seen, local)];
      return [lost(seen, way.code, place, way.reason, way.icmp)];
    }
    const decided = seen.decide(way.decision);
    if (way.route.type === 'local') return this.toSelf(place, passed.frame, decided);
    const on = decided;
    if (ipv6 && !(await space.forwards(link, true))) {
      if (local !== undefined && local.owner.ifindex !== link.ifindex) return [await this.swallowed(place, packet, on, local)];
      return [lost(on, 'NOT_FORWARDED', place, `${packet.destination} is no address of ${space.name}, which does not forward what comes in by ${link.name} (net.ipv6.conf.all.forwarding is 0)`)]; // prettier-ignore
    }
    if (packet.ttl <= 1) return [lost(on, 'TTL_EXPIRED', place, `in ${space.name} the TTL of ${packet.source} > ${packet.destination} runs out`, 'time exceeded in transit')]; // prettier-ignore
    const oif = typeof way.route.dev === 'number' ? await space.link(way.route.dev) : undefined;
    const forwarded = { ...passed.frame, packet: { ...packet, ttl: packet.ttl - 1 } };
    const allowed = await passThrough(
      'stack',
      { space, hook: 'forward', iif: link, ...(oif !== undefined && { oif }), first },
      forwarded,
      on,
    );
    if (allowed.verdict.go !== 'on') return [stopped(allowed.trail, allowed.verdict, place)];
    return this.output(space, allowed.frame.packet!, way.route, allowed.trail, link);
  }

  /** Past the chains of 'input'. */
  private async toSelf(place: Place, frame: Frame, trail: Trail): Promise<readonly Outcome[]> {
    const { space, link } = place;
    const passed = await passThrough('stack', { space, hook: 'input', iif: link, first: this.first }, frame, trail);
    if (passed.verdict.go !== 'on') return [stopped(passed.trail, passed.verdict, place)];
    return this.deliver(place, passed.frame.packet!, passed.trail);
  }

  /** The frame was for the MAC of a port, so that the bridge took it for its own host, where nobody has the address. */
  private async swallowed(place: Place, { destination }: Packet, trail: Trail, { entry, owner }: LocalEntry): Promise<Outcome> {
    const { space, link } = place;
    const told = [...trail.hops].reverse().flatMap((hop) => [...hop.because].reverse()).find((one) => one.by === 'neighbor'); // prettier-ignore
    const why = told === undefined ? `the frame is addressed to ${entry.mac}` : `${told.text}; but ${entry.mac}`;
    const whose = `the MAC of ${owner.name}, a port of the bridge ${link.name} in ${space.name}`;
    const guest = this.world.guests.find((one) => one.space === space && one.network.addresses.some(({ address }) => splitCidr(address).address === destination)); // prettier-ignore
    const instead = guest === undefined ? '' : `, instead of sending it to ${guest.name} behind ${guest.network.tap}, whose MAC is ${guest.network.mac}`; // prettier-ignore
    return lost(trail, 'FDB_LOCAL', place, `${why} is ${whose}, a local entry of its table, so that the bridge takes the frame for its own host, where nobody has ${destination}${instead}`); // prettier-ignore
  }

  private async deliver(place: Place, packet: Packet, trail: Trail): Promise<readonly Outcome[]> {
    const { space, link } = place;
    if (packet.vxlan !== undefined) {
      const { vni, frame } = packet.vxlan;
      const port = packet.ports!.destination;
      const vteps = [...(await space.links()).values()].filter(({ kind }) => kind === 'vxlan').filter((one) => (infoOf<'vxlan'>(one).port ?? VXLAN_PORT) === port); // prettier-ignore
      const vtep = vteps.find((one) => infoOf<'vxlan'>(one).id === vni && one.up);
      if (vtep === undefined) return [lost(trail, 'NO_VTEP', place, `nothing in ${space.name} takes VXLAN packets of VNI ${vni} at UDP port ${port}`)]; // prettier-ignore
      const text = `${vtep.name} in ${space.name} takes VXLAN packets of VNI ${vni} at UDP port ${port}, and takes the frame out`;
      return this.receive(
        { space, link: vtep },
        frame,
        trail.decide({ by: 'decapsulation', text }).carry(scrubbed(trail.beside, space, space)),
      );
    }
    const on = trail.decide({ by: 'delivery', text: `${packet.destination} is an address of ${space.name}` });
    return [{ end: 'delivered', namespace: space.name, device: link.name, trail: on }];
  }

  /** A packet leaves by a route. `from`: where it came in, if it is forwarded. */
  async output(space: Space, packet: Packet, route: Route, trail: Trail, from?: Link): Promise<readonly Outcome[]> {
    if (from !== undefined) return this.byRoute(space, packet, route, trail, from);
    const oif = typeof route.dev === 'number' ? await space.link(route.dev) : undefined;
    const passed = await passThrough('stack', { space, hook: 'output', ...(oif !== undefined && { oif }), first: this.first }, headless(packet), trail); // prettier-ignore
    const at = { space, ...(oif !== undefined && { link: oif }) };
    if (passed.verdict.go !== 'on') return [stopped(passed.trail, passed.verdict, at)];
    const sent = passed.frame.packet!;
    if (!passed.reroute) return this.byRoute(space, sent, route, passed.trail);
    // ip_route_me_harder().
    const { mark } = passed.trail.beside;
    const way = await lookUp(space, { packet: sent, ...(mark !== undefined && { mark }) });
    if (!('route' in way)) return [lost(passed.trail, way.code, at, way.reason)];
    return this.byRoute(space, sent, way.route, passed.trail.decide(way.decision));
  }

  private async byRoute(space: Space, given: Packet, route: Route, trail: Trail, from?: Link): Promise<readonly Outcome[]> {
    const link = typeof route.dev === 'number' ? await space.link(route.dev) : undefined;
    if (link === undefined) return [lost(trail, 'LINK_GONE', { space }, `the route of ${space.name} to ${given.destination} leaves by an interface that is gone`)]; // prettier-ignore
    const place = { space, link };
    if (!link.up) return [lost(trail, 'LINK_DOWN', place, `${link.name} in ${space.name} is down`)];
    const mtu = Math.min(route.mtu ?? link.mtu, link.mtu);
    const ipv6 = given.destination.includes(':');
    const { routed: _, ...beside } = trail.beside;
    const passed = await passThrough('stack', { space, hook: 'postrouting', ...(from !== undefined && { iif: from }), oif: link, first: this.first }, headless(given), trail.carry(route.type === 'local' ? { ...beside, routed: true } : beside)); // prettier-ignore
    if (passed.verdict.go !== 'on') return [stopped(passed.trail, passed.verdict, place)];
    const packet = passed.frame.packet!;
    let on = passed.trail;
    if (packet.length > mtu) {
      if ((ipv6 && from !== undefined) || packet.dontFragment === true)
        return [lost(on, 'MTU_EXCEEDED', place, `the packet of ${packet.length} bytes is not to be fragmented, and the MTU of ${link.name} in ${space.name} is ${mtu}`, from === undefined ? undefined : `${ipv6 ? 'packet too big' : 'fragmentation needed'}, MTU ${mtu}`)]; // prettier-ignore
      on = on.decide({ by: 'fragmentation', text: `${space.name} sends the packet of ${packet.length} bytes in fragments of at most ${mtu}` }); // prettier-ignore
      on = on.note(`fragments are traced as one packet of ${mtu} bytes`);
    }
    const sent = packet.length > mtu ? { ...packet, length: mtu } : packet;
    const found = await this.neighbor(place, route.via ?? packet.destination, packet.source, on);
    if ('end' in found) return [found];
    const type = ipv6 ? ETH_P_IPV6 : ETH_P_IP;
    return this.transmit(place, { source: link.mac, destination: found.mac, type, packet: sent }, found.trail);
  }

  // ---------------------------------------------------------------- neighbours

  /** At which MAC a neighbour is: by the table, else by who would answer. */
  private async neighbor(place: Place, address: string, source: string, trail: Trail): Promise<{ mac: string; trail: Trail } | Outcome> {
    const { space, link } = place;
    if (link.type === 'loopback' || link.flags.includes('NOARP')) return { mac: link.mac, trail };
    const entry = (await space.neighbors()).find((one) => one.address === address && one.ifindex === link.ifindex && isUsable(one));
    if (entry !== undefined) {
      const text = `neighbour table of ${space.name}: ${address} is at ${entry.mac} (${entry.state}, dev ${link.name})`;
      return { mac: entry.mac, trail: trail.decide({ by: 'neighbor', address, mac: entry.mac, entry, text }) };
    }
    const ask = async (frame: Frame): Promise<readonly Outcome[]> => {
      const passed = await passOut(place, frame, new Trail(), this.first);
      return passed.verdict.go === 'on' ? this.transmit(place, passed.frame, passed.trail) : [stopped(passed.trail, passed.verdict, place)];
    };
    const why = `${space.name} has no neighbour entry for ${address} on ${link.name}`;
    const asker = await this.asker(place, address, source);
    if (asker === undefined) return lost(trail, 'NO_NEIGHBOR', place, `${why}, and no link-local address there to ask from`);
    return this.askFor(place, link.mac, address, asker, trail, why, ask, place);
  }

  /**
   * The source of the packet, where it is the host's own; else one of its addresses, those of the interface first (arp_solicit()). Of IPv6
   * an address of the interface, else its link-local one (ndisc_solicit()). undefined: there is none.
   */
  private async asker({ space, link }: Place, address: string, source: string): Promise<string | undefined> {
    const ipv6 = address.includes(':');
    const family = (await space.addresses()).filter((one) => one.address.includes(':') === ipv6);
    const on = family.filter(({ ifindex }) => ifindex === link.ifindex);
    if (ipv6) {
      const own = on.map((one) => ({ ...one, address: splitCidr(one.address).address }));
      return own.some((one) => one.address === source) ? source : own.find(({ scope }) => scope === 'link')?.address;
    }
    if ((await space.owner(source)) !== undefined) return source;
    const best = on.find((one) => isInside(address, one.address)) ?? on[0] ?? family.find(({ scope }) => scope !== 'host');
    return best === undefined ? source : splitCidr(best.address).address;
  }

  /** Sends the question where `ask` puts it, and hears who would answer. `host`: who asks, where it is no guest. */
  async askFor(
    place: Place,
    mac: string,
    address: string,
    source: string,
    trail: Trail,
    why: string,
    ask: (frame: Frame) => Promise<readonly Outcome[]>,
    host?: Place,
  ): Promise<{ mac: string; trail: Trail } | Outcome> {
    // prettier-ignore
    const outcomes = await ask(question(mac, source, address));
    const answers: (Answer & { readonly trail: Trail })[] = [];
    const silent: string[] = [];
    const refusals: string[] = [];
    // What decides of the question, and of the answer, decides whether there is one.
    let asking = trail;
    for (const outcome of outcomes) {
      if (outcome.end === 'lost' && outcome.loss.code === 'FILTERED') refusals.push(outcome.loss.reason);
      if (outcome.end !== 'heard') continue;
      const { place: there, guest } = outcome;
      const answer = outcome.answer ?? (await this.answer(outcome, address, source));
      if (answer === undefined) silent.push(`${there.link.name} in ${there.space.name}`);
      if (answer === undefined) continue;
      const from = guest === undefined && outcome.answer === undefined ? there : undefined;
      const passed = address.includes(':') ? await passAnswer(from, host, { mac: answer.mac, address, asker: source }, outcome.trail, this.first) : outcome; // prettier-ignore
      if ('lost' in passed) {
        refusals.push(`the answer of ${there.link.name} in ${there.space.name} is lost: ${passed.lost}`);
        asking = asking.doubt(...passed.trail.undecided);
      } else answers.push({ ...answer, trail: passed.trail });
    }
    const [chosen] = [...answers].sort((a, b) => Number(a.by !== 'address' && a.by !== 'guest') - Number(b.by !== 'address' && b.by !== 'guest')); // prettier-ignore
    const asked = address.includes(':') ? 'neighbour discovery' : 'ARP';
    if (chosen === undefined) {
      const nobody = silent.length > 0 ? `of those who hear the question (${silent.join(', ')}) nobody has the address, or answers for it` : refusals.length === 0 ? 'nobody hears the question' : 'nobody answers'; // prettier-ignore
      const whom = [nobody, ...refusals].join('; ');
      asking = asking.doubt(...outcomes.flatMap((one) => one.trail.undecided));
      return lost(asking, 'NO_NEIGHBOR', place, `${why}, and asked by ${asked}, ${whom}`, 'destination host unreachable');
    }
    const { trail: heard, ...answer } = chosen;
    const how = { program: `podtap's eBPF program on ${answer.device} in ${answer.namespace}`, address: `${answer.device} in ${answer.namespace}, which has it,`, guest: `the guest behind ${answer.device} in ${answer.namespace}`, proxy_arp: `${answer.device} in ${answer.namespace}, by ${address.includes(':') ? 'proxy_ndp' : 'proxy ARP'},`, 'proxy entry': `${answer.device} in ${answer.namespace}, by a proxy entry,` }[answer.by]; // prettier-ignore
    const text = `${why}; asked by ${asked}, ${how} answers: it is at ${answer.mac}`;
    const others = answers.filter((one) => one.mac !== answer.mac);
    const on = trail.doubt(...heard.undecided).decide({ by: 'neighbor', address, mac: answer.mac, answer, text });
    return { mac: answer.mac, trail: others.length === 0 ? on : on.note(`several answer for ${address}: ${answers.map((one) => `${one.device} in ${one.namespace} (${one.mac})`).join(', ')}`) }; // prettier-ignore
  }

  /** arp_process(), ndisc_recv_ns(). */
  private async answer({ place, guest }: Outcome & { end: 'heard' }, address: string, source: string): Promise<Answer | undefined> {
    const { space, link } = place;
    const at = { namespace: space.name, device: link.name };
    if (link.kind === 'tun' || link.kind === 'macvtap') {
      if (guest !== undefined) return guest.network.addresses.some((one) => splitCidr(one.address).address === address) ? { ...at, mac: guest.network.mac, by: 'guest' } : undefined; // prettier-ignore
      return undefined;
    }
    const proxied = (await space.proxies()).some((one) => one.address === address && (one.ifindex === link.ifindex || one.ifindex === 0));
    const mine = { ...at, mac: link.mac };
    if (address.includes(':')) {
      if ((await space.addresses()).some((one) => one.ifindex === link.ifindex && splitCidr(one.address).address === address)) return { ...mine, by: 'address' }; // prettier-ignore
      return proxied ? { ...mine, by: 'proxy entry' } : undefined;
    }
    const packet: Packet = { source, destination: address, ttl: 64, protocol: '0', length: 28 };
    const way = await lookUp(space, { packet, iif: link });
    if (!('route' in way)) return undefined;
    if (way.route.type === 'local') return (await this.ignoresArp(place, address, source)) ? undefined : { ...mine, by: 'address' };
    if (way.route.type !== 'unicast' || way.route.dev === link.ifindex || !(await space.forwards(link, false))) return undefined;
    if ((await space.ipv4(link, 'proxy_arp')) !== 0) return { ...mine, by: 'proxy_arp' };
    return proxied ? { ...mine, by: 'proxy entry' } : undefined;
  }

  /** arp_ignore: Documentation/networking/ip-sysctl.rst. */
  private async ignoresArp({ space, link }: Place, address: string, source: string): Promise<boolean> {
    const mode = await space.ipv4(link, 'arp_ignore');
    if (mode === 0) return false;
    const own = (await space.addresses()).find((one) => one.ifindex === link.ifindex && splitCidr(one.address).address === address);
    if (mode === 1) return own === undefined;
    if (mode === 2) return own === undefined || !isInside(source, own.address);
    if (mode === 3) return own?.scope === 'host';
    return mode === 8;
  }
}

// ------------------------------------------------------------------

interface LocalEntry {
  readonly entry: FdbEntry;
  /** The port whose MAC it is, or the bridge. */
  readonly owner: Link;
}

function lost(trail: Trail, code: LossCode, at: { readonly space: Space; readonly link?: Link }, reason: string, icmp?: string): Outcome {
  const loss: Loss = { code, namespace: at.space.name, reason, ...(at.link !== undefined && { device: at.link.name }), ...(icmp !== undefined && { icmp }) }; // prettier-ignore
  return { end: 'lost', loss, trail };
}

function stopped(trail: Trail, verdict: Exclude<Verdict, { go: 'on' }>, at: { readonly space: Space; readonly link?: Link }): Outcome {
  if (verdict.go === 'redirect') return lost(trail, 'UNKNOWN_KIND', at, `in ${at.space.name} a chain sends a packet out by an interface`);
  return lost(trail, verdict.code, at, verdict.reason, verdict.icmp);
}

/** What the host itself sends, before it has a header of the link. */
function headless(packet: Packet): Frame {
  const none = '00:00:00:00:00:00';
  return { source: none, destination: none, type: packet.destination.includes(':') ? ETH_P_IPV6 : ETH_P_IP, packet };
}

/** eth_type_trans(): for whom it is. What a rule has said before stays, where the MAC does not say otherwise. */
function addressed(beside: Beside, link: Link, { destination }: Frame): Beside {
  if (destination === link.mac) return beside;
  return { ...beside, packetType: destination === BROADCAST ? 'broadcast' : isGroup(destination) ? 'multicast' : 'otherhost' };
}

/** skb_scrub_packet(): what goes over a wire or through a tunnel keeps the mark, if that, within its namespace. */
function scrubbed({ mark }: Beside, from: Space, to: Space): Beside {
  return from === to && mark !== undefined ? { mark } : {};
}

function noCarrier({ space, link }: Place): string {
  if (link.kind === 'tun') return `nobody holds the TAP ${link.name} in ${space.name}`;
  return `${link.name} in ${space.name} has no carrier${link.kind === 'veth' ? ': its other end is down' : ''}`;
}

function infoOf<K extends 'vxlan' | 'bridge' | 'macvlan'>({ info }: Link): Partial<InfoOf<K>> {
  return info === undefined || info instanceof Uint8Array ? {} : (info as Partial<InfoOf<K>>);
}

function portOf({ port }: Link): Partial<PortOf<'bridge'>> {
  return port === undefined || port instanceof Uint8Array ? {} : port;
}

function isLocal({ local, state }: FdbEntry): boolean {
  return local === true || state === 'permanent';
}

function isUsable({ mac, state }: Neighbor): boolean {
  return mac !== '' && state !== 'failed' && state !== 'incomplete' && state !== 'none';
}

export function isGroup(mac: string): boolean {
  return (parseInt(mac.slice(0, 2), 16) & 1) === 1;
}
