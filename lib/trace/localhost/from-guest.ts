// podtap_lh_tap: what a guest sends. Function by function as native/bpf/localhost.c has them.
import { zones } from '../../wire/bpf/localhost-look.js';
import { ETH_P_IP, type Packet } from '../../wire/frame.js';
import { ipProtocols } from '../../wire/constants.js';
import { tellEnd } from '../changes.js';
import { type Ran, type Run, LOCALHOST, alias, endsOf, hasPorts, isLoopback, lastOf, refuseFragment, tellEnds } from './run.js'; // prettier-ignore

const ECHO_REQUEST = 8;
const UNASSIGNED = alias.literalPeers + 64;

export async function fromGuest(run: Run): Promise<Ran> {
  const { config, frame, place } = run;
  const slot = await run.look.slot(place.link.ifindex);
  if (slot === undefined) return run.lost('FILTERED', `${place.link.name} is no guest's`);
  const isFirst = place.link.ifindex === config.firstTap;
  const foreign = (what: string): Ran => (isFirst ? undefined : run.lost('FILTERED', `${what} is the first guest's alone`));
  if ((frame.vlans?.length ?? 0) > 0) return foreign('what has a VLAN');
  if (frame.arp !== undefined) return asks(run, isFirst);
  const { packet } = frame;
  if (frame.type !== ETH_P_IP || packet === undefined) return foreign('what is neither ARP nor IPv4');

  if (run.isAlias(packet.destination) || isLoopback(packet.destination)) return toLocalhost(run, slot, packet);
  if (!config.several) return toWorld(run, true, true);
  const index = run.index(packet.source);
  if (!isFirst && (index < 0 || frame.source !== config.mac)) return spoofed(run, packet.source);
  if (index < 0 || (packet.fragmentOffset ?? 0) > 0) return toWorld(run, isFirst, true);
  // Of echo requests it is the id that is seen to, which is not told anyway.
  if (hasPorts(packet.protocol)) run.rewrite({ ...endsOf(packet), fromPort: await findPort(run, slot, packet) });
  return toWorld(run, isFirst, true);
}

function spoofed(run: Run, source: string): Ran {
  const { mac, addresses } = run.config;
  return run.lost('SPOOFED', `a guest may send from ${mac} and ${addresses.filter((one) => one !== undefined).join(', ')} only, not from ${run.frame.source}, ${source}`); // prettier-ignore
}

async function asks(run: Run, isFirst: boolean): Promise<Ran> {
  const { config, frame } = run;
  const { operation, sender, target } = frame.arp!;
  if (operation === 'request') {
    const mac = run.isAlias(target.address) ? config.aliasMac : target.address === config.gateway ? config.gatewayMac : undefined;
    if (mac !== undefined) return { go: 'answer', mac };
  }
  if (isFirst) return undefined;
  const known = sender.address === '0.0.0.0' || run.index(sender.address) >= 0;
  if (frame.source !== config.mac || sender.mac !== config.mac || !known) return spoofed(run, sender.address);
  return toWorld(run, false, false);
}

/** By the datapath, which is the first guest's; what others send would come to nobody. */
async function toWorld(run: Run, isFirst: boolean, isIp: boolean): Promise<Ran> {
  const { config, frame } = run;
  if (isIp && config.noNextHop && frame.destination === config.aliasMac) {
    if (!config.podHasAddresses) return run.lost('FILTERED', 'the pod has no next hop, and no address to look for others with');
    run.say(`the pod has no next hop: by ${await run.nameOf(config.link)}, to whoever has the address there`);
    return { go: 'neighbor', ifindex: config.link };
  }
  return isFirst ? undefined : run.redirect(config.link);
}

// ------------------------------------------------------------------ to the pod's localhost

async function toLocalhost(run: Run, slot: number, packet: Packet): Promise<Ran> {
  const { config } = run;
  const { source, destination, protocol, icmp } = packet;
  const index = run.index(source);
  if (index < 0) return spoofed(run, source);
  refuseFragment(packet);
  if (icmp?.type === ECHO_REQUEST) {
    const literal = isLoopback(destination);
    const host = literal ? await run.look.address('hosts', destination) : undefined;
    if (host !== undefined) run.found('hosts', destination, host);
    if (host === undefined && (literal || !config.known.has(lastOf(destination)))) return closed(run, `${destination} stands for nothing that is declared`); // prettier-ignore
    run.say(`answers the echo request to ${destination} itself`);
    return { go: 'reply' };
  }
  if (!hasPorts(protocol)) return closed(run, `nothing but TCP, UDP and echo requests goes to the pod's localhost`);
  return findLocal(run, slot, index, packet);
}

function closed(run: Run, why: string): Ran {
  return run.lost('FILTERED', `the pod's localhost is closed to guests but for what is declared, and ${why}`);
}

async function findLocal(run: Run, slot: number, index: number, packet: Packet): Promise<Ran> {
  const { look } = run;
  const ends = endsOf(packet);
  const { to, fromPort, toPort } = ends;
  const protocol = packet.protocol as 'tcp' | 'udp';
  const [literal, last] = [isLoopback(to), lastOf(to)];
  const isOne = literal ? to === LOCALHOST : last === alias.localhost;
  const self = literal || last === alias.localhost ? LOCALHOST : run.address(0);
  const dialled = `${tellEnd(to, toPort)}/${protocol}`;

  if (!literal && last >= alias.peers) {
    const peer = last & (alias.peers - 1);
    const byLiteral = last >= alias.literalPeers;
    const key = { remote: slot, local: byLiteral ? 1 : 0, remotePort: fromPort, localPort: toPort, protocol: ipProtocols.number(protocol), zone: zones.peer + peer }; // prettier-ignore
    const flow = last >= UNASSIGNED || peer === 0 ? undefined : await run.flow(key, `slot ${peer} port ${toPort} to slot ${slot} port ${fromPort}/${protocol}`); // prettier-ignore
    if (flow === undefined) return closed(run, `the guest behind ${to} has sent nothing that this answers`);
    run.rewrite({ ...ends, from: byLiteral ? LOCALHOST : run.alias(alias.localhost), to: run.address(flow.index) });
    return run.toTap(peer);
  }
  if ((isOne || (!literal && last === alias.pod)) && (await isAnswerToPod(run, packet, slot, self))) {
    run.rewrite({ ...ends, from: self, to: self });
    return run.toLoopback();
  }
  if (isOne) {
    const peer = await run.owner(packet, toPort);
    if (peer !== 0) {
      run.rewrite({ ...ends, from: run.alias((literal ? alias.literalPeers : alias.peers) + slot), to: run.address(0) });
      return run.toTap(peer);
    }
  }
  const target = await look.target('services', to, protocol, toPort);
  if (target === undefined) return closed(run, `${dialled} is no such service`);
  const port = (toPort + target.shift) & 0xffff;
  run.found('services', dialled, tellEnd(target.address, port));
  const host = await look.address('hosts', to);
  if (host === undefined) return closed(run, `${to} is no such address`);
  run.found('hosts', to, host);
  run.rewrite({ from: run.inner(slot, index, literal), to: host, fromPort, toPort: port });
  return run.toLoopback();
}

/** Of a process that has dialled the guest. */
async function isAnswerToPod(run: Run, packet: Packet, slot: number, self: string): Promise<boolean> {
  const { fromPort, toPort } = endsOf(packet);
  if (!hasPorts(packet.protocol) || fromPort === 0 || (await run.look.owner(packet.protocol, fromPort)) !== slot) return false;
  if (packet.protocol === 'udp') {
    const key = {
      remote: self,
      local: slot,
      remotePort: toPort,
      localPort: fromPort,
      protocol: ipProtocols.number('udp'),
      zone: zones.pod,
    };
    return (await run.flow(key, `the pod's ${tellEnd(self, toPort)} to slot ${slot} port ${fromPort}/udp`)) !== undefined;
  }
  const there = await run.socket(packet, { from: self, fromPort, to: self, toPort });
  const here = await run.socket(packet, { from: self, fromPort: toPort, to: self, toPort: fromPort });
  if (there !== 'connected' || here === 'connected') return false;
  run.say(`it answers a connection of the pod's ${tellEnd(self, toPort)}`);
  return true;
}

// ------------------------------------------------------------------ several guests, to the world

/** The port that a packet has outside; 0: it cannot be told. */
async function findPort(run: Run, slot: number, packet: Packet): Promise<number> {
  const ends = endsOf(packet);
  const { from, to, fromPort, toPort } = ends;
  if (fromPort === 0) return 0;
  const owner = await run.owner(packet, fromPort);
  if (owner === slot) return fromPort;
  const key = { remote: to, local: from, remotePort: toPort, localPort: fromPort, protocol: ipProtocols.number(packet.protocol), zone: zones.world }; // prettier-ignore
  const said = tellEnds(packet, ends);
  let flow = await run.flow(key, said);
  if (flow?.slot === slot && flow.port === fromPort) return fromPort;
  const moved = await run.flow({ ...key, zone: zones.moved + slot }, `${said}, moved`);
  const port = moved?.port ?? fromPort;
  if (moved !== undefined) {
    flow = await run.flow({ ...key, localPort: port }, tellEnds(packet, { ...ends, fromPort: port }));
    if (flow?.slot === slot && flow.port === fromPort) return port;
  }
  const taken =
    flow !== undefined
      ? "another guest's flow has its port"
      : (port === fromPort ? owner : await run.owner(packet, port)) !== 0
        ? 'its port is that of another guest'
        : run.config.podHasAddresses && (await run.socket(packet, { from: to, fromPort: toPort, to: from, toPort: port })) !== undefined
          ? "a socket of the pod's own has its port"
          : undefined;
  if (taken === undefined) return port;
  run.say(`${taken}: it gets a free one, by chance`);
  return 0;
}
