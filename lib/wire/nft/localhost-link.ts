// What comes in by the pod's interface, and what of the pod's own goes out by it.
import { ipv4, port } from './data.js';
import { arpReply } from './localhost-guest.js';
import {
  type Plan,
  among,
  destinationPort,
  echoReply,
  incoming,
  incoming6,
  isAdvertisement,
  isIpv6,
  outgoing6,
  quotedFlow6,
  isArp,
  isError,
  isFirstFragment,
  isIp,
  isKnownFragment,
  isLaterFragment,
  isNotIp,
  isOwnPackets,
  knownFragment,
  number,
  outgoing,
  protocolOf,
  quoted,
  quotedFlow,
  rememberFragment,
  rememberFragmentIn,
  remembering,
  rememberingEcho,
  setDestinationPort,
  setEchoNumber,
} from './localhost-plan.js';
import { type Steps, accept, compare, copy, drop, forward, goTo, isIn, isNotIn, jump, load, look, masked, put } from './rules.js';

export function linkChains(plan: Plan): void {
  const { config, several } = plan;
  const device = [plan.device(config.link).name];
  const [first, ...others] = config.guests.map(({ tap }) => tap);
  const to = (tap: number): Steps => [put(9, number(tap)), forward(9)];
  /** To the first guest: redirect's filters have let it through; a bridge has its own way. */
  const onward: Steps = config.podHasAddresses ? to(first!) : [accept];
  const copies: Steps = others.flatMap((tap) => [put(9, number(tap)), copy(9)]);

  if (several) inboundChain(plan, to, onward, copies);
  plan.chain('link', { name: 'ingress', priority: 0, devices: device });
  // Nobody outside is an alias, or the loopback, or asks for it.
  for (const offset of [14, 24])
    for (const [network, length] of outsiders(plan)) plan.counted('martian', 'link', isArp, among(offset, network, length), [drop]);
  if (several)
    for (const address of config.addresses)
      plan.counted('arpAnswered', 'link', isArp, arpReply([load(3, 'network', 24, 4), compare(3, '==', ipv4(address))], config.mac));
  // Each of the stacks behind asks for its neighbours itself, and so needs the answers, and what others announce of themselves: of one guest
  // only what is no question for its address is copied, which both would answer.
  const answers: readonly Steps[] = several ? [[]] : [[load(0, 'network', 6, 2), compare(0, '==', port(2))], [load(0, 'network', 24, 4), isNotIn('own', 0)]]; // prettier-ignore
  const toAll: Steps = config.podHasAddresses ? [put(9, number(first!)), copy(9), ...copies] : copies;
  if (config.podHasAddresses || several) for (const which of answers) plan.counted('cloned', 'link', isArp, which, toAll, [accept]);
  if (config.podHasAddresses) {
    plan.counted('toPod', 'link', isIpv6, incoming6, [isIn('pod6', 0), accept]);
    plan.counted('toPod', 'link', quotedFlow6, [isIn('pod6', 0), accept]);
    plan.rule('link', isAdvertisement, [put(9, number(first!)), copy(9), accept]);
  }
  plan.rule('link', isNotIp, onward);
  // Nor reaches it, whatever the pod's sysctls say of route_localnet.
  for (const offset of [12, 16])
    for (const [network, length] of outsiders(plan)) plan.counted('martian', 'link', among(offset, network, length), [drop]);
  if (config.podHasAddresses) {
    plan.counted('toPod', 'link', isLaterFragment, isKnownFragment('pod_fragments'), [accept]);
    plan.rule('link', isFirstFragment, incoming, [isIn('pod', 0)], rememberFragmentIn('pod_fragments'));
    for (const flow of [incoming, echoReply, [...isError, ...quotedFlow]]) plan.counted('toPod', 'link', flow, [isIn('pod', 0), accept]);
  }
  if (several) plan.rule('link', [goTo('inbound')]);
  else plan.counted('toFirst', 'link', onward);

  if (!config.podHasAddresses) return;
  plan.chain('out', { name: 'egress', priority: 0, devices: device });
  for (const steps of remembering('pod6', outgoing6, [accept])) plan.rule('out', isOwnPackets, isIpv6, steps);
  for (const steps of [...remembering('pod', outgoing, [accept]), rememberingEcho('pod', [accept])])
    plan.rule('out', isOwnPackets, isIp, steps);
}

function outsiders({ config }: Plan): readonly (readonly [string, number])[] {
  return [
    ['127.0.0.0', 8],
    [config.aliases, 24],
  ];
}

/** To one of several guests. */
function inboundChain(plan: Plan, to: (tap: number) => Steps, onward: Steps, copies: Steps): void {
  const { guests } = plan.config;
  plan.chain('first');
  plan.chain('inbound');
  plan.rule('inbound', isLaterFragment, knownFragment('fragments'), [forward(9)]);
  plan.rule('inbound', isFirstFragment, [jump('first')]);
  for (const { slot, tap } of guests) {
    const flows = `flows_${slot}`;
    plan.rule('first', incoming, [isIn(flows, 0), put(9, number(tap))], rememberFragment('fragments'));
    // Those whose port was picked have their own again.
    const picked = `picked_${slot}`;
    plan.counted('toFlow', 'inbound', incoming, [look(picked, 0, 9)], setDestinationPort(9), to(tap));
    plan.counted('toFlow', 'inbound', echoReply, [look(picked, 0, 9)], setEchoNumber(9), to(tap));
    plan.counted('toFlow', 'inbound', isError, quotedFlow, [look(picked, 0, 9)], quoted.setSourcePort(9), to(tap));
    for (const flow of [incoming, echoReply, [...isError, ...quotedFlow]])
      plan.counted('toFlow', 'inbound', flow, [isIn(flows, 0)], to(tap));
  }
  if (plan.owned) {
    plan.rule('first', [jump('owned')]);
    plan.counted('toOwner', 'inbound', protocolOf(0), destinationPort(1), [look('owners', 0, 9), forward(9)]);
    plan.counted('toOwner', 'inbound', isError, quoted.protocol(0), quoted.sourcePort(1), [look('owners', 0, 9), forward(9)]);
  }
  if (copies.length > 0) plan.rule('inbound', [load(0, 'link', 0, 1), masked(0, 1, Uint8Array.of(1)), compare(1, '!=', Uint8Array.of(0))], copies); // prettier-ignore
  plan.counted('toFirst', 'inbound', onward);
}
