// podtap_lh_link: what comes by the pod's interface. Function by function as native/bpf/localhost.c has them.
import { zones } from '../../wire/bpf/localhost-look.js';
import { ipProtocols } from '../../wire/constants.js';
import { ETH_P_IP, ETH_P_IPV6, type Packet } from '../../wire/frame.js';
import { tellEnd } from '../changes.js';
import { type Ends, type Ran, type Run, Untold, endsOf, hasPorts, isLoopback, refuseFragment, tellEnds } from './run.js';

const PASS = { go: 'on' } as const;
const [ECHO_REPLY, NEIGHBOR_ADVERTISEMENT] = [0, 136];
/** A guest's slot; 0: the first guest's, for nobody else has it. */
type Whose = number | 'pod';

export async function fromLink(run: Run): Promise<Ran> {
  const { config, frame } = run;
  if ((frame.vlans?.length ?? 0) > 0) return undefined;
  if (frame.arp !== undefined) return hears(run);
  const { packet } = frame;
  if (packet === undefined) return undefined;
  if (frame.type === ETH_P_IPV6) return fromLinkIpv6(run, packet);
  if (frame.type !== ETH_P_IP) return undefined;
  const strange = [packet.source, packet.destination].find((one) => isLoopback(one) || run.isAlias(one));
  if (strange !== undefined) return martian(run, strange);
  if (!config.several && !config.podHasAddresses) return undefined;
  if ((parseInt(frame.destination.slice(0, 2), 16) & 1) === 1) {
    await copyToOthers(run);
    return undefined;
  }
  if (frame.destination !== config.mac || run.index(packet.destination) < 0) return undefined;
  refuseFragment(packet);
  const ends = endsOf(packet);
  const { slot, toPort } = await whose(run, packet, ends);
  run.rewrite({ ...ends, toPort });
  if (slot === 'pod') return PASS;
  return slot === 0 ? undefined : deliver(run, slot);
}

function martian(run: Run, address: string): Ran {
  return run.lost('MARTIAN', `${address} is of the pod's localhost, to which nobody comes from outside`);
}

async function hears(run: Run): Promise<Ran> {
  const { config, frame } = run;
  const { operation, sender, target } = frame.arp!;
  const strange = [target.address, sender.address].find((one) => isLoopback(one) || run.isAlias(one));
  if (strange !== undefined) return martian(run, strange);
  if (operation === 'request' && target.address !== sender.address)
    return config.several && run.index(target.address) >= 0 ? { go: 'answer', mac: config.mac } : undefined;
  await copyToOthers(run);
  if (!config.podHasAddresses) return undefined;
  run.copies.push({ ifindex: config.firstTap, frame });
  return PASS;
}

/** Not to the first one, whose datapath has the frame next. */
async function copyToOthers(run: Run): Promise<void> {
  for (const tap of (await run.look.taps()).values()) if (tap !== run.config.firstTap) run.copies.push({ ifindex: tap, frame: run.frame });
}

async function deliver(run: Run, slot: number): Promise<Ran> {
  const tap = await run.tap(slot);
  if (tap === 0) return run.lost('REDIRECT_GONE', `there is no guest in slot ${slot} any more`);
  return tap === run.config.firstTap ? undefined : run.redirect(tap);
}

async function whose(run: Run, packet: Packet, ends: Ends): Promise<{ readonly slot: Whose; readonly toPort: number }> {
  const { config } = run;
  const { from, fromPort, to, toPort } = ends;
  const ported = hasPorts(packet.protocol);
  const found = ported && config.podHasAddresses ? await run.socket(packet, ends) : undefined;
  if (found === 'connected') {
    run.say(`a socket of the pod's own is connected to ${tellEnd(from, fromPort)}: the packet is the pod's`);
    return { slot: 'pod', toPort };
  }
  if (config.several && packet.icmp?.type === ECHO_REPLY) throw new Untold('the id of the echo reply, which was not given');
  if (config.several && ported) {
    const key = { remote: from, local: to, remotePort: fromPort, localPort: toPort, protocol: ipProtocols.number(packet.protocol), zone: zones.world }; // prettier-ignore
    const flow = await run.flow(key, tellEnds(packet, ends));
    if (flow !== undefined) return { slot: flow.slot & 63, toPort: flow.port };
  }
  const slot = ported ? await run.owner(packet, toPort) : 0;
  if (slot !== 0) return { slot, toPort };
  if (found === 'open' && (packet.protocol === 'udp' || config.listeners)) {
    run.say(`no guest has declared port ${toPort}/${packet.protocol}, and a socket of the pod's own has it: the packet is the pod's`);
    return { slot: 'pod', toPort };
  }
  if (config.several) run.say(`nobody else has it: it is the first guest's`);
  return { slot: 0, toPort };
}

async function fromLinkIpv6(run: Run, packet: Packet): Promise<Ran> {
  const { config, frame } = run;
  if (!config.podHasAddresses) return undefined;
  if (packet.icmp?.type === NEIGHBOR_ADVERTISEMENT) {
    run.copies.push({ ifindex: config.firstTap, frame });
    return PASS;
  }
  const { protocol } = packet;
  if (!hasPorts(protocol)) return undefined;
  const ends = endsOf(packet);
  const found = await run.socket(packet, ends);
  const open = found === 'open' && (protocol === 'udp' || config.listeners) && (await run.look.owner(protocol, ends.toPort)) === 0;
  if (found !== 'connected' && !open) return undefined;
  run.say(`a socket of the pod's own has ${tellEnds(packet, ends)}: the packet is the pod's`);
  return PASS;
}
