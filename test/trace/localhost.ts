// Paths to the pod's localhost and back, against what really passes: by whichever backend.
import { type Netns, exposeLocalhost, plumb } from 'podtap';
import { defineGuest } from 'podtap/guest';
import { runGuest } from 'podtap/lab';
import { type PathTrace, type TraceOptions, capture, captureAlong, tcpPort, tracePath, udpPort } from 'podtap/trace';
import type { Test } from 'tap';
import { lookUp, runResolver } from '../../examples/dns.js';
import { translate } from '../../examples/docker.js';
import { Stack, createSlash16, settled } from '../../examples/labs.js';
import { type Agent, type World, type WorldOptions, DNS, LOCAL, NODE, POD, worldOf } from '../localhost/world.js';

export interface Expected {
  readonly backend: 'nft' | 'ebpf';
  /** Where it is seen between the guest and the resolver. */
  readonly hops: readonly string[];
}

/** Scene 6: Docker's resolver, as plumb and exposeLocalhost leave it. */
export async function docker(t: Test, { backend, hops }: Expected): Promise<void> {
  const stack = new Stack();
  t.teardown(() => stack[Symbol.asyncDispose]());
  const namespaces: Record<'node' | 'client' | 'pod', Netns> = await createSlash16(stack);
  const { pod } = namespaces;
  const resolver = stack.use(await runResolver(pod, '127.0.0.11', { web: '172.17.0.9' }));
  await translate(pod, resolver.ports);
  const mode = backend === 'ebpf' ? 'ebpf' : 'redirect';
  const net = stack.use(await plumb(pod, { link: 'eth0', tap: 'tap100', mode, label: 'trace/6' }));
  const exposed = await exposeLocalhost(net, { services: ['docker-dns'], backend });
  const guest = stack.use(await runGuest(net.tap, net.guest));
  const guests = { unikernel: { namespace: 'pod', network: net.guest } };
  await settled(namespaces);
  const { address } = exposed.services[0]!;
  const trace = (options: Partial<TraceOptions> = {}): Promise<PathTrace> => tracePath({ namespaces, guests, from: 'unikernel', to: address, protocol: 'udp', ports: { destination: 53 }, ...options }); // prettier-ignore
  const agreed = async (path: PathTrace, act: () => Promise<unknown>): Promise<void> => {
    const { agrees, hops } = await captureAlong(path, namespaces, act);
    t.ok(agrees, { path: String(path), differences: hops.flatMap(({ hop, differences }) => differences.map((one) => `${hop.device} ${hop.direction}: ${one}`)) }); // prettier-ignore
  };
  for (const protocol of ['udp', 'tcp'] as const) {
    const asked = await trace({ protocol });
    t.match(asked, { delivered: true, at: { namespace: 'pod', device: 'lo' }, undecided: [] }, String(asked));
    t.strictSame(asked.hops.map(({ device, direction }) => `${device} ${direction}`), hops); // prettier-ignore
    t.match(asked.hops.at(-1)!.frame.packet, { destination: '127.0.0.11', ports: { destination: resolver.ports[protocol] } });
    await agreed(asked, () => lookUp(guest.netns, address, 'web', protocol));
  }
  // The pod's own way there is by Docker's translation.
  const own = await trace({ from: 'pod', to: '127.0.0.11' });
  t.match(own, { delivered: true, undecided: [] }, String(own));
  t.equal(own.hops.at(-1)!.frame.packet!.ports!.destination, resolver.ports.udp);
  await agreed(own, () => lookUp(pod, '127.0.0.11', 'web'));
  t.match((await trace({ ports: { destination: 54 } })).loss, { code: 'FILTERED' });
  t.match((await trace({ from: 'client', to: '127.0.0.11' })).at, { namespace: 'client' }, 'its own is meant');
}

export interface Traced {
  readonly world: World;
  readonly namespaces: Readonly<Record<string, Netns>>;
  /** From the guest 'one', port 5353, by UDP to the resolver. */
  readonly trace: (options?: Partial<TraceOptions>) => Promise<PathTrace>;
  /** Nothing is undecided, and what passes while `act` runs is what was foretold. */
  readonly alike: (path: PathTrace, act: () => Promise<unknown>) => Promise<void>;
}

const names = ['one', 'two', 'three'];
/** The port of UDP and TCP that the guest in a slot has for its own. */
const ownPort = (slot: number): number => 9000 + slot;

/** A pod with guests 'one' and so on, whose localhost is told, but by nothing yet. */
export async function tracedWorld(t: Test, options: WorldOptions = {}): Promise<Traced> {
  const world = await worldOf(t, { guests: 2, ports: (slot) => (['udp', 'tcp'] as const).map((protocol) => ({ protocol, first: ownPort(slot), last: ownPort(slot) })), ...options }); // prettier-ignore
  const namespaces = { node: world.node, pod: world.pod };
  const told = (tap: string): ReturnType<typeof defineGuest> => defineGuest({ mac: POD.mac, mtu: 1500, tap, addresses: [{ address: `${POD.address}/24` }, { address: `${POD.second}/24` }], routes: [{ dst: '0.0.0.0/0', via: options.gateway?.address ?? NODE.address }] }); // prettier-ignore
  const guests = Object.fromEntries(world.taps.map(({ name }, index) => [names[index]!, { namespace: 'pod', network: told(name) }]));
  return {
    world,
    namespaces,
    trace: (options = {}) => tracePath({ namespaces, guests, from: 'one', to: DNS, protocol: 'udp', ports: { source: 5353, destination: 53 }, ...options }), // prettier-ignore
    async alike(path, act) {
      t.strictSame(path.undecided, [], String(path));
      const last = path.hops.at(-1)!;
      const { protocol, ports } = last.frame.packet!;
      const { agrees, hops } = await captureAlong(path, namespaces, async () => {
        const filter = ports === undefined ? undefined : (protocol === 'tcp' ? tcpPort : udpPort)(ports.destination);
        await using hearing = await capture(namespaces[last.namespace as 'pod'], last.ifindex, { limit: 1, ...(filter !== undefined && { filter }) }); // prettier-ignore
        await act();
        await hearing.collect();
      });
      t.ok(agrees, { path: String(path), differences: hops.flatMap(({ hop, differences }) => differences.map((one) => `${hop.namespace} ${hop.device} ${hop.direction}: ${one}`)) }); // prettier-ignore
    },
  };
}

/** Scenes 6 and 7: services and back, what is closed, ports of guests from outside, and guests among each other. */
export async function several(t: Test, { world, trace, alike }: Traced, spoofed: string): Promise<void> {
  const { sidecar, outside } = world;
  await sidecar.serve('udp', '127.0.0.11', 40_053, 'names:');
  const [one, two] = world.guests;
  const names = await trace();
  t.match(names, { delivered: true, at: { namespace: 'pod', device: 'lo' } }, String(names));
  t.match(names.hops.at(-1)?.frame.packet, { destination: '127.0.0.11', ports: { destination: 40_053 } });
  const dns = (agent: Agent): Promise<unknown> => agent.ask('udp', DNS, 53, { from: 5353, text: 'a', expect: 1 });
  await alike(names, () => dns(one!.agent));
  const inner = names.hops.at(-1)!.frame.packet!.source;
  const answer = await trace({ from: 'pod', source: '127.0.0.11', to: inner, ports: { source: 40_053, destination: 5353 } });
  t.match(answer, { delivered: true, at: { guest: 'one' } }, String(answer));
  t.match(answer.hops.at(-1)?.frame.packet, { source: DNS, destination: POD.address, ports: { source: 53 } });
  await alike(answer, () => dns(one!.agent));
  // The other guest is told apart by its address on the loopback.
  const others = await trace({ from: 'two' });
  t.not(others.hops.at(-1)!.frame.packet!.source, inner);
  await alike(others, () => dns(two!.agent));
  // What was not declared is closed, and the loopback to the outside.
  t.match((await trace({ ports: { source: 5353, destination: 54 } })).loss, { code: 'FILTERED' });
  t.match((await trace({ to: LOCAL, ports: { source: 5353, destination: 99 } })).loss, { code: 'FILTERED' });
  t.match((await trace({ source: '10.1.0.99' })).loss, { code: spoofed });
  t.notOk((await trace({ from: 'node', to: '127.0.0.11' })).hops.some(({ namespace }) => namespace === 'pod'));
  // From outside, each port to its guest.
  for (const [index, guest] of [one, two].entries()) {
    await guest!.agent.serve('udp', POD.address, ownPort(index + 1));
    const inbound = await trace({ from: 'node', to: POD.address, ports: { source: 7000, destination: ownPort(index + 1) } });
    t.match(inbound, { delivered: true, at: { guest: ['one', 'two'][index] } }, String(inbound));
    await alike(inbound, () => outside.ask('udp', POD.address, ownPort(index + 1), { from: 7000, text: 'a', expect: 1 }));
  }
  // Of each other, over localhost.
  const peer = await trace({ to: LOCAL, ports: { source: 5353, destination: ownPort(2) } });
  t.match(peer, { delivered: true, at: { guest: 'two' } }, String(peer));
  await alike(peer, () => one!.agent.ask('udp', LOCAL, ownPort(2), { from: 5353, text: 'a', expect: 1 }));
}
