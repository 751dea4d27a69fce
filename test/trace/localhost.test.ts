// Paths to the pod's localhost and back, by podtap's table of nftables, against what really passes.
import { type Netns, exposeLocalhost, plumb } from 'podtap';
import { defineGuest } from 'podtap/guest';
import { runGuest } from 'podtap/lab';
import { type PathTrace, type TraceOptions, capture, captureAlong, tracePath, udpPort } from 'podtap/trace';
import t from 'tap';
import { lookUp, runResolver } from '../../examples/dns.js';
import { translate } from '../../examples/docker.js';
import { Stack, createSlash16, settled } from '../../examples/labs.js';
import { nftOperations } from '../../lib/localhost/nft.js';
import { run } from '../../lib/operation/run.js';
import { snapshot } from '../../lib/state/snapshot.js';
import { DNS, LOCAL, NODE, POD, worldOf } from '../localhost/world.js';
import { requires } from '../support/requires.js';

await t.test(
  "scene 6: Docker's resolver, as plumb and exposeLocalhost leave it",
  { skip: requires('tun', 'nft', 'iptables', 'u32', 'bridge') },
  async (t) => {
    const stack = new Stack();
    t.teardown(() => stack[Symbol.asyncDispose]());
    const namespaces: Record<'node' | 'client' | 'pod', Netns> = await createSlash16(stack);
    const { pod } = namespaces;
    const resolver = stack.use(await runResolver(pod, '127.0.0.11', { web: '172.17.0.9' }));
    await translate(pod, resolver.ports);
    const net = stack.use(await plumb(pod, { link: 'eth0', tap: 'tap100', mode: 'redirect', label: 'trace/6' }));
    const exposed = await exposeLocalhost(net, { services: ['docker-dns'], backend: 'nft' });
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
      t.strictSame(asked.hops.map(({ device, direction }) => `${device} ${direction}`), ['tap100 in', 'lo out', 'lo in']); // prettier-ignore
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
  },
);

await t.test('scene 6 and 7, by nftables', { skip: requires('tun', 'nft', 'u32') }, async (t) => {
  const world = await worldOf(t, { guests: 2, ports: (slot) => [{ protocol: 'udp', first: 9000 + slot, last: 9000 + slot }] });
  const { node, pod, sidecar, outside, config } = world;
  await run(pod, 'test', nftOperations(config, await snapshot(pod, new Set(['qdisc', 'filter']))));
  await sidecar.serve('udp', '127.0.0.11', 40_053, 'names:');
  const [one, two] = world.guests;
  const namespaces: Record<string, Netns> = { node, pod };
  const told = (tap: string): ReturnType<typeof defineGuest> => defineGuest({ mac: POD.mac, mtu: 1500, tap, addresses: [{ address: `${POD.address}/24` }], routes: [{ dst: '0.0.0.0/0', via: NODE.address }] }); // prettier-ignore
  const guests = { one: { namespace: 'pod', network: told('tap1') }, two: { namespace: 'pod', network: told('tap2') } };
  const trace = (options: Partial<TraceOptions>): Promise<PathTrace> => tracePath({ namespaces, guests, from: 'one', to: DNS, protocol: 'udp', ports: { source: 5353, destination: 53 }, ...options }); // prettier-ignore
  const alike = async (path: PathTrace, act: () => Promise<unknown>): Promise<void> => {
    const last = path.hops.at(-1)!;
    const { agrees, hops } = await captureAlong(path, namespaces, async () => {
      await using hearing = await capture(namespaces[last.namespace]!, last.ifindex, { filter: udpPort(last.frame.packet!.ports!.destination), limit: 1 }); // prettier-ignore
      await act();
      await hearing.collect();
    });
    t.strictSame(path.undecided, [], String(path));
    t.ok(agrees, { path: String(path), differences: hops.flatMap(({ hop, differences }) => differences.map((one) => `${hop.namespace} ${hop.device} ${hop.direction}: ${one}`)) }); // prettier-ignore
  };
  const names = await trace({});
  t.match(names, { delivered: true, at: { namespace: 'pod', device: 'lo' } }, String(names));
  t.match(names.hops.at(-1)?.frame.packet, { destination: '127.0.0.11', ports: { destination: 40_053 } });
  await alike(names, () => one!.agent.ask('udp', DNS, 53, { from: 5353, text: 'a', expect: 1 }));
  const inner = names.hops.at(-1)!.frame.packet!.source;
  const answer = await trace({ from: 'pod', source: '127.0.0.11', to: inner, ports: { source: 40_053, destination: 5353 } });
  t.match(answer, { delivered: true, at: { guest: 'one' } }, String(answer));
  t.match(answer.hops.at(-1)?.frame.packet, { source: DNS, destination: POD.address, ports: { source: 53 } });
  await alike(answer, () => one!.agent.ask('udp', DNS, 53, { from: 5353, text: 'a', expect: 1 }));
  // What was not declared is closed, and the loopback to the outside.
  t.match((await trace({ ports: { source: 5353, destination: 54 } })).loss, { code: 'FILTERED' });
  t.match((await trace({ to: LOCAL, ports: { source: 5353, destination: 99 } })).loss, { code: 'FILTERED' });
  t.match((await trace({ source: '10.1.0.99' })).loss, { code: 'NO_NEIGHBOR' }, 'not even its question for the gateway is let pass');
  t.notOk((await trace({ from: 'node', to: '127.0.0.11' })).hops.some(({ namespace }) => namespace === 'pod'));
  // From outside, each port to its guest.
  for (const [index, guest] of [one, two].entries()) {
    await guest!.agent.serve('udp', POD.address, 9001 + index);
    const inbound = await trace({ from: 'node', to: POD.address, ports: { source: 7000, destination: 9001 + index } });
    t.match(inbound, { delivered: true, at: { guest: ['one', 'two'][index] } }, String(inbound));
    await alike(inbound, () => outside.ask('udp', POD.address, 9001 + index, { from: 7000, text: 'a', expect: 1 }));
  }
  // Of each other, over localhost.
  const peer = await trace({ to: LOCAL, ports: { source: 5353, destination: 9002 } });
  t.match(peer, { delivered: true, at: { guest: 'two' } }, String(peer));
  await alike(peer, () => one!.agent.ask('udp', LOCAL, 9002, { from: 5353, text: 'a', expect: 1 }));
});
