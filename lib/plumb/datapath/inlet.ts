// Frames of our own that take the way of those that come in by the pod's interface: without another namespace's help nothing can be sent
// to it, but a filter can send on what came in elsewhere as if it had come in there.
import type { Netns } from '../../kernel/netns.js';
import { Tap, placeIn } from '../../kernel/tap.js';
import { randomNumber } from '../../random.js';
import { checkOperations, perform } from '../../operation/run.js';
import type { Operation } from '../../operation/kinds.js';
import { ownCookie } from '../../state/tc.js';
import type { AnyWiring, Inlet } from './datapath.js';
import { terminal } from './filters.js';

/** By a TAP that lives as long as it is held, so that nothing is left of it whatever happens. */
export async function inletBy(netns: Netns, { link }: AnyWiring): Promise<Inlet> {
  const name = `probe${randomNumber() % 1_000_000}`;
  const shape = { queues: 1, vnetHdr: false, offload: {} };
  const [made] = (await perform(netns, checkOperations('verify', [{ op: 'tap.create', name, persist: false, ...shape }]))).outcomes;
  const { ifindex, queues } = made!.tun!;
  const tap = new Tap(placeIn(netns), { ifindex, mac: '', mtu: 0 }, { name, ...shape }, queues);
  const to = { action: 'redirect', direction: 'ingress', dev: link.ifindex } as const;
  const operations: readonly Operation[] = [
    { op: 'link.set', link: ifindex, change: { addrGenMode: 'none' } },
    { op: 'link.set', link: ifindex, change: { up: true } },
    { op: 'qdisc.add', link: ifindex, qdisc: { kind: 'ingress' } },
    { op: 'filter.add', link: ifindex, filter: { parent: 'ffff:', protocol: 'all', priority: 1, kind: 'u32', options: terminal, actions: [{ kind: 'mirred', cookie: ownCookie('probe'), options: to }] } }, // prettier-ignore
  ];
  try {
    await perform(netns, checkOperations('verify', operations));
  } catch (error) {
    await tap.close();
    throw error;
  }
  return { send: (frame) => tap.send([frame]), [Symbol.asyncDispose]: () => tap.close() };
}
