// What the pod's processes send over the loopback: replies to guests, whose address there says whose, and what is for a guest's port.
import { ipv4 } from './data.js';
import {
  type Plan,
  destination,
  destinationPort,
  LONG,
  fromAddress,
  is,
  isError,
  isLaterFragment,
  isNotIp,
  protocolOf,
  quoted,
  remembering,
  setAddresses,
  setDestination,
  setSource,
  setSourcePort,
  source,
  sourcePort,
  toAddress,
  towards,
} from './localhost-plan.js';
import { type Steps, accept, compare, drop, goTo, isIn, look, meta, ordered, put, remember } from './rules.js';

export function loopbackChains(plan: Plan): void {
  const { config } = plan;
  backChain(plan);
  plan.chain('loopback', { name: 'ingress', priority: 0, devices: ['lo'] });
  if (plan.owned) sidecarsChain(plan, 'outward', 'sidecars', '127.0.0.1', plan.local);
  if (plan.owned && config.podHasAddresses) sidecarsChain(plan, 'outward_own', 'sidecars_own', plan.pod, plan.own);
  plan.rule('loopback', isNotIp, [accept]);
  plan.rule('loopback', towards(config.loopback, 23), [goTo('back')]);
  if (!plan.owned) return;
  for (const [chain, address] of [
    ['outward', '127.0.0.1'],
    ['outward_own', plan.pod],
  ] as const)
    if (chain === 'outward' || config.podHasAddresses) plan.rule('loopback', toAddress(address), fromAddress(address), [goTo(chain)]);
}

function backChain(plan: Plan): void {
  plan.chain('back');
  const from: Steps = [...source(1), ...protocolOf(2), ...sourcePort(3)];
  for (const literal of [false, true]) {
    // The guest's address, and its TAP.
    const guest: Steps = [...destination(0), look(literal ? 'back_literal' : 'back', 0, 4)];
    const alias: Steps = literal ? [] : [look('alias_of', 1, 6), ...setSource(6)];
    const there: Steps = [...setDestination(4), ...plan.toGuest(5)];
    plan.counted(
      'fromService',
      'back',
      isLaterFragment,
      guest,
      source(1),
      literal ? [] : [look('alias_of', 1, 6)],
      literal ? [] : setSource(6),
      there,
    );
    plan.counted('fromService', 'back', guest, from, [look('backward', 1, 6)], literal ? [] : setSource(6), setSourcePort(7), there);
    plan.counted('fromService', 'back', guest, from, [isIn('ranges_real', 1)], alias, there);
    // About what the guest has sent.
    const about: Steps = [...isError, ...guest, ...quoted.destination(1), ...quoted.protocol(2), ...quoted.destinationPort(3)];
    const told: Steps = literal ? [] : [...quoted.setDestination(6), ...setSource(6)];
    plan.counted('fromService', 'back', about, [look('backward', 1, 6)], quoted.setDestinationPort(7), quoted.setSource(4), told, there);
    plan.counted(
      'fromService',
      'back',
      about,
      [isIn('ranges_real', 1)],
      literal ? [] : [look('alias_of', 1, 6)],
      quoted.setSource(4),
      told,
      there,
    );
    plan.counted('closed', 'back', guest, [drop]);
  }
}

/** A process dials `address`, and the guest that owns the port sees it come from `seen`. */
function sidecarsChain(plan: Plan, chain: string, set: string, address: string, seen: string): void {
  const there: Steps = [...setAddresses(seen, plan.pod), ...plan.toGuest(6)];
  plan.chain(chain);
  plan.chain(`${chain}_new`);
  // A guest's reply, which has just come here.
  plan.rule(chain, protocolOf(0), destinationPort(1), sourcePort(2), [isIn(set, 0), accept]);
  // The pod's own connection from a port that a guest owns, and the answer to it.
  const own = set.replace('sidecars', 'pods');
  plan.rule(chain, protocolOf(0), sourcePort(1), destinationPort(2), [isIn(own, 0), accept]);
  plan.rule(chain, protocolOf(4), sourcePort(5), [isIn('owned', 4)], protocolOf(0), destinationPort(1), sourcePort(2), [remember('update', own, 0, LONG)]); // prettier-ignore
  plan.rule(chain, protocolOf(4), destinationPort(5), [look('owners', 4, 6), goTo(`${chain}_new`)]);
  plan.counted('fromSidecar', chain, isError, quoted.protocol(0), quoted.destinationPort(1), quoted.sourcePort(2), [isIn(set, 0)], quoted.protocol(4), quoted.sourcePort(5), [look('owners', 4, 6), put(12, ipv4(plan.pod)), put(13, ipv4(seen))], quoted.setSource(12), quoted.setDestination(13), there); // prettier-ignore
  // The route to the guests has their MTU, but this one is the loopback's: a datagram that is longer cannot be taken apart here.
  const mtu = Math.min(...plan.config.guests.map(({ tap }) => plan.device(tap).mtu));
  plan.counted('tooLong', `${chain}_new`, is('udp'), [
    meta(11, 'length'),
    ordered(11),
    compare(11, '>', Uint8Array.of(0, 0, mtu >> 8, mtu & 255)),
    drop,
  ]);
  const flow: Steps = [...protocolOf(0), ...sourcePort(1), ...destinationPort(2)];
  for (const steps of remembering(set, flow, [...protocolOf(4), ...destinationPort(5), look('owners', 4, 6), ...there])) plan.counted('fromSidecar', `${chain}_new`, steps); // prettier-ignore
  plan.counted('flowLost', `${chain}_new`, [drop]);
}
