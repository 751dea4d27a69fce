// What the tests of exposeLocalhost and addGuest share: a pod that was plumbed, guests behind its TAPs, agents with sockets, by public functions only.
import { type Netns, type Plumbing, type PlumbOptions, createVeth, exposeLocalhost, getLink, plumb } from 'podtap';
import { type Guest, runGuest } from 'podtap/lab';
import type { Test } from 'tap';
import { fresh, inside, until } from '../support/inside.js';
import { directory } from '../transaction/files.js';
import { type Agent, agentsOf } from './world.js';

export const NODE = '10.1.0.1';
export const POD = '10.1.0.2';

export interface Plumbed {
  readonly node: Netns;
  readonly pod: Netns;
  readonly journal: string;
  /** Sidecars of the pod, and who is outside. */
  readonly sidecar: Agent;
  readonly outside: Agent;
  readonly agentIn: (netns: Netns) => Agent;
  readonly plumb: (options?: PlumbOptions) => Promise<Plumbing>;
  /** Behind one of the plumbing's TAPs, told what the plumbing says. */
  readonly guest: (net: Plumbing, name?: string) => Promise<Agent & { readonly netns: Netns; stop(): Promise<void> }>;
}

/** A pod on a node: 10.1.0.2/16, or `address` by `via`. */
export async function podOn(
  t: Test,
  {
    address = `${POD}/16`,
    gateway = NODE,
    onNode = `${NODE}/16`,
  }: { readonly address?: string; readonly gateway?: string | false; readonly onNode?: string } = {},
): Promise<Plumbed> {
  // prettier-ignore
  const [node, pod] = [await fresh(t), await fresh(t)];
  for (const netns of [node, pod]) inside(netns, 'sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1; ip link set lo up'); // prettier-ignore
  await createVeth(node, 'vn', { addresses: [onNode], up: true, peer: { scope: pod, name: 'eth0', addresses: [address], up: true } }); // prettier-ignore
  const off = gateway !== false && address.endsWith('/32');
  if (off) inside(node, `ip address add ${gateway}/32 dev lo; ip route add ${address} dev vn`);
  if (gateway !== false) inside(pod, off ? `ip route add ${gateway} dev eth0 scope link; ip route add default via ${gateway} dev eth0` : `ip route add default via ${gateway}`); // prettier-ignore
  const journal = directory(t);
  const agentIn = agentsOf(t);
  return {
    node,
    pod,
    journal,
    sidecar: agentIn(pod),
    outside: agentIn(node),
    agentIn,
    async plumb(options = {}) {
      const net = await plumb(pod, { link: 'eth0', journal, ...options });
      t.teardown(() => net[Symbol.asyncDispose]());
      return net;
    },
    async guest(net, name = 'default') {
      const { tap, guest: network } = net.guests.find((one) => one.name === name)!;
      const guest: Guest = await runGuest(tap, network);
      t.teardown(() => guest.close());
      await until(async () => (await getLink(pod, tap.ifindex))?.operstate === 'UP');
      return Object.assign(agentIn(guest.netns), { netns: guest.netns, stop: () => guest.close() });
    },
  };
}

export { exposeLocalhost };
