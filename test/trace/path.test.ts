// What a trace foretells, against what passes; and each way to lose a packet, against a ping that gets no answer.
import { type Netns, addAddress, addFilter, addQdisc, addRoute, addRule, createTap, createVxlan, deleteLink, deleteRoute, getLink, plumb, setFdb, setLink, setNeighbor, setSysctl } from 'podtap'; // prettier-ignore
import { defineGuest } from 'podtap/guest';
import { ping, runGuest } from 'podtap/lab';
import { type TraceOptions, captureAlong, tracePath } from 'podtap/trace';
import t, { type Test } from 'tap';
import { inside, until } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { NODE1, NODE3, POD_MAC, Stack, VTEP1, VTEP3, createNodes, createSlash16, createSlash32, settled } from '../../examples/labs.js';

const skip = requires('tun', 'bridge');
const overlay = requires('bridge', 'vxlan');

function stackOf(t: Test): Stack {
  const stack = new Stack();
  t.teardown(() => stack[Symbol.asyncDispose]());
  return stack;
}

/** The trace, and that what was captured on its hops while `from` pinged says the same. */
async function foretold(
  t: Test,
  namespaces: Readonly<Record<string, Netns>>,
  sender: Netns,
  options: Omit<TraceOptions, 'namespaces'>,
): Promise<Awaited<ReturnType<typeof tracePath>>> {
  // prettier-ignore
  await settled(namespaces);
  const trace = await tracePath({ namespaces, ...options });
  const { agrees, hops } = await captureAlong(trace, namespaces, () => ping(sender, options.to, { count: 2, interval: 20, timeout: trace.delivered ? 1000 : 100 })); // prettier-ignore
  t.ok(agrees, 'at every hop', { found: hops.flatMap(({ hop, differences }) => differences.map((one) => `${hop.namespace} ${hop.device} ${hop.direction}: ${one}`)) }); // prettier-ignore
  const { received } = await ping(sender, options.to, { timeout: trace.delivered ? 1000 : 100 });
  t.equal(received === 1, trace.delivered, trace.summary);
  return trace;
}

function devices({ hops }: Awaited<ReturnType<typeof tracePath>>): string[] {
  return hops.map(({ namespace, device, direction }) => `${namespace} ${device} ${direction}`);
}

await t.test('scene 1: by the bridges of node and pod', { skip }, async (t) => {
  const stack = stackOf(t);
  const namespaces = await createSlash16(stack);
  const net = stack.use(await plumb(namespaces.pod, { link: 'eth0', tap: 'tap100', mode: 'bridge', label: 'trace/1' }));
  const guest = stack.use(await runGuest(net.tap, net.guest));
  const guests = { unikernel: { namespace: 'pod', network: net.guest } };

  const there = await foretold(t, namespaces, namespaces.client, { guests, from: 'client', to: '172.17.0.5' });
  t.strictSame(devices(there), ['client eth0 out', 'node veth4 in', 'node veth5 out', 'pod eth0 in', 'pod tap100 out']);
  t.strictSame(there.at, { namespace: 'pod', device: 'tap100', guest: 'unikernel' });
  t.strictSame(there.hops[0]!.peer, { namespace: 'node', device: 'veth4' });
  t.match(there.hops[0]!.because, [
    { by: 'route', table: 254 },
    { by: 'neighbor', answer: { by: 'guest', mac: POD_MAC } },
  ]);
  t.match(there.hops[4]!.because, [{ by: 'fdb', bridge: 'br0', entry: { mac: POD_MAC, state: 'noarp' } }]);
  t.match(String(there), /^ {2}5\. pod: tap100 out ==> unikernel\n.* > 02:00:00:bb:bb:b1, IPv4 172\.17\.0\.4 > 172\.17\.0\.5, TTL 64, icmp echo request, length 84$/m); // prettier-ignore
  t.match(JSON.parse(JSON.stringify(there)), { delivered: true, hops: [{ namespace: 'client' }, {}, {}, {}, {}] });

  const back = await foretold(t, namespaces, guest.netns, { guests, from: 'unikernel', to: '172.17.0.4' });
  t.strictSame(devices(back), ['pod tap100 in', 'pod eth0 out', 'node veth5 in', 'node veth4 out', 'client eth0 in']);
  await foretold(t, namespaces, guest.netns, { guests, from: 'unikernel', to: '172.17.0.1' });

  const tcp = await tracePath({ namespaces, guests, from: 'client', to: '172.17.0.5', protocol: 'tcp', ports: { destination: 80 } });
  t.match(tcp.hops.at(-1)!.frame.packet, { protocol: 'tcp', ports: { source: 0, destination: 80 } });
});

await t.test('scene 3: one sentence says why the ping fails', { skip }, async (t) => {
  const stack = stackOf(t);
  const namespaces = await createSlash32(stack);
  const net = stack.use(await plumb(namespaces.pod, { link: 'eth0', tap: 'tap100', mode: 'bridge', label: 'trace/3', guestMac: 'random' }));
  const guest = stack.use(await runGuest(net.tap, net.guest));
  const guests = { unikernel: { namespace: 'pod', network: net.guest } };
  const { loss, summary } = await foretold(t, namespaces, namespaces.client, { guests, from: 'client', to: '172.17.0.5' });
  t.match(loss, { code: 'FDB_LOCAL', namespace: 'pod', device: 'br0' });
  t.equal(
    summary,
    '172.17.0.4 > 172.17.0.5 is lost in pod: neighbour table of node: 172.17.0.5 is at 02:00:00:bb:bb:b1 (permanent, dev k8s_br0); but 02:00:00:bb:bb:b1 is the MAC of eth0, ' +
      'a port of the bridge br0 in pod, a local entry of its table, so that the bridge takes the frame for its own host, where nobody has 172.17.0.5, ' +
      `instead of sending it to unikernel behind tap100, whose MAC is ${net.guest.mac}.`,
  );
  // The question goes out, only the answer is lost.
  const trace = await tracePath({ namespaces, guests, from: 'unikernel', to: '198.51.100.80' });
  t.ok(trace.delivered);
  const { agrees } = await captureAlong(trace, namespaces, () => ping(guest.netns, '198.51.100.80', { timeout: 100 }));
  t.ok(agrees);
  t.equal((await tracePath({ namespaces, guests, from: 'server', to: '172.17.0.5' })).loss?.code, 'FDB_LOCAL');
});

await t.test('scene 4: by proxy ARP, a router, and the adopted MAC', { skip }, async (t) => {
  const stack = stackOf(t);
  const namespaces = await createSlash32(stack);
  const net = stack.use(await plumb(namespaces.pod, { link: 'eth0', tap: 'tap100', mode: 'bridge', label: 'trace/4' }));
  const guest = stack.use(await runGuest(net.tap, net.guest));
  const guests = { unikernel: { namespace: namespaces.pod, network: net.guest } };
  const there = await foretold(t, namespaces, namespaces.client, { guests, from: 'client', to: '172.17.0.5' });
  t.match(there.hops[0]!.because[1], { by: 'neighbor', address: '169.254.1.1', answer: { namespace: 'node', device: 'k8s_br0', by: 'proxy_arp' } }); // prettier-ignore
  t.equal(there.hops.at(-1)!.frame.packet!.ttl, 63);
  const back = await foretold(t, namespaces, guest.netns, { guests, from: 'unikernel', to: '198.51.100.80' });
  t.match(back.hops[0]!.because, [{ text: 'unikernel was told: default via 169.254.1.1' }, { answer: { by: 'proxy_arp' } }]);
});

await t.test('scene 5: by a redirect', { skip: requires('tun', 'u32') }, async (t) => {
  const stack = stackOf(t);
  const namespaces = await createSlash32(stack);
  const net = stack.use(await plumb(namespaces.pod, { link: 'eth0', tap: 'tap100', mode: 'redirect', label: 'trace/5' }));
  const guest = stack.use(await runGuest(net.tap, net.guest));
  const guests = { unikernel: { namespace: 'pod', network: net.guest } };
  const there = await foretold(t, namespaces, namespaces.client, { guests, from: 'client', to: '172.17.0.5' });
  t.strictSame(devices(there).slice(-2), ['pod eth0 in', 'pod tap100 out']);
  t.match(there.hops.at(-1)!.because, [{ by: 'filter' }]);
  const back = await foretold(t, namespaces, guest.netns, { guests, from: 'unikernel', to: '198.51.100.80' });
  t.strictSame(devices(back).slice(0, 2), ['pod tap100 in', 'pod eth0 out']);
});

await t.test('a redirect by filters: eth0 keeps its address, and has nothing of it', { skip: requires('tun', 'u32') }, async (t) => {
  const stack = stackOf(t);
  const namespaces = await createSlash16(stack);
  const { pod } = namespaces;
  const tap = stack.use(await createTap(pod, 'tap0', { up: true }));
  const [eth0, tap0] = [(await getLink(pod, 'eth0'))!, (await getLink(pod, 'tap0'))!];
  for (const [from, to] of [
    [eth0, tap0],
    [tap0, eth0],
  ] as const) {
    await addQdisc(pod, from.ifindex, { kind: 'ingress' });
    await addFilter(pod, from.ifindex, {
      parent: 'ffff:',
      protocol: 'all',
      priority: 7,
      kind: 'u32',
      options: { selector: { flags: ['terminal'], keys: [{ mask: 0, value: 0, offset: 0 }] } },
      actions: [{ kind: 'mirred', options: { action: 'redirect', direction: 'egress', dev: to.ifindex } }],
    });
  }
  const network = defineGuest({ mac: POD_MAC, mtu: 1500, tap: 'tap0', addresses: [{ address: '172.17.0.5/16' }], gateway: { ipv4: '172.17.0.1' }, routes: [{ dst: '0.0.0.0/0', via: '172.17.0.1' }] }); // prettier-ignore
  const guest = await runGuest(tap, network);
  const guests = { unikernel: { namespace: 'pod', network } };
  const there = await foretold(t, namespaces, namespaces.client, { guests, from: 'client', to: '172.17.0.5' });
  t.strictSame(devices(there).slice(-2), ['pod eth0 in', 'pod tap0 out']);
  t.match(there.hops.at(-1)!.because, [{ by: 'filter', filter: { priority: 7 }, text: 'filter u32 (prio 7) on eth0 in pod redirects to tap0' }]); // prettier-ignore
  await foretold(t, namespaces, guest.netns, { guests, from: 'unikernel', to: '172.17.0.4' });

  await guest.close();
  await tap.close();
  await setNeighbor(namespaces.client, 'eth0', { address: '172.17.0.5', mac: POD_MAC });
  const unheld = await foretold(t, namespaces, namespaces.client, { guests, from: 'client', to: '172.17.0.5' });
  t.match(unheld.loss, { code: 'NO_CARRIER', reason: 'nobody holds the TAP tap0 in pod' });
  await setLink(pod, 'tap0', { up: false });
  const down = await foretold(t, namespaces, namespaces.client, { guests, from: 'client', to: '172.17.0.5' });
  t.match(down.loss, { code: 'LINK_DOWN', namespace: 'pod', device: 'tap0' });
  await deleteLink(pod, 'tap0');
  const gone = await foretold(t, namespaces, namespaces.client, { guests, from: 'client', to: '172.17.0.5' });
  t.match(gone.loss, { code: 'REDIRECT_GONE', reason: 'filter u32 (prio 7) on eth0 in pod redirects to an interface that is gone, and drops all that it matches until it is deleted' }); // prettier-ignore
});

await t.test('scene 8: through VXLAN, a router, and out again', { skip: overlay }, async (t) => {
  const stack = stackOf(t);
  const { overlays, ...namespaces } = await createNodes(stack);
  const trace = await foretold(t, { ...namespaces }, namespaces.pod1, { from: 'pod1', to: '10.244.3.3' });
  t.strictSame(devices(trace), [
    'pod1 eth0 out', 'vm02 veth3 in', 'vm02 cni0 in', 'vm02 flannel.1 out', 'vm02 eth0 out', 'router eth0 in', 'router eth1 out', 'vm03 eth0 in',
    'vm03 flannel.1 in', 'vm03 cni0 out', 'vm03 veth3 out', 'pod2 eth0 in',
  ]); // prettier-ignore
  const outer = trace.hops[6]!.frame.packet!;
  t.match(outer, { source: NODE1, destination: NODE3, ttl: 63, ports: { destination: 8472 }, length: 134 });
  t.match(outer.vxlan, { vni: 1, frame: { source: VTEP1, destination: VTEP3, packet: { source: '10.244.1.3', ttl: 63 } } });
  t.match(trace.hops[3]!.because, [{ by: 'route', route: { via: '10.244.3.0', onlink: true } }, { by: 'neighbor', entry: { state: 'permanent' } }]); // prettier-ignore
  t.equal(trace.hops.at(-1)!.frame.packet!.ttl, 62);
  // From the node itself, and with a packet that just fits.
  await foretold(t, { ...namespaces }, namespaces.vm02, { from: 'vm02', to: '10.244.3.3' });
  t.ok((await tracePath({ namespaces: { ...namespaces }, from: 'pod1', to: '10.244.3.3', length: 1450 })).delivered);
  t.match((await tracePath({ namespaces: { ...namespaces }, from: 'pod1', to: '10.244.3.3', length: 1451 })).loss, { code: 'MTU_EXCEEDED', namespace: 'pod1' }); // prettier-ignore

  const lost = async (code: string, namespace: string): Promise<void> => {
    const { loss } = await foretold(t, { ...namespaces }, namespaces.pod1, { from: 'pod1', to: '10.244.3.3' });
    t.match(loss, { code, namespace });
  };
  const { router, pod1, vm02 } = namespaces;
  t.match((await tracePath({ namespaces: { pod1, vm02 }, from: 'pod1', to: '10.244.3.3' })).loss, { code: 'OUT_OF_SIGHT', device: 'eth0' });
  await setNeighbor(vm02, 'eth0', { address: '192.161.1.2', mac: '02:00:00:00:00:99' });
  await lost('NOT_ADDRESSED', 'router');
  await setNeighbor(vm02, 'eth0', { address: '192.161.1.2', mac: (await getLink(router, 'eth0'))!.mac });
  await setLink(router, 'eth1', { mtu: 120 });
  t.match((await tracePath({ namespaces: { ...namespaces }, from: 'pod1', to: '10.244.3.3' })).notes.join(), /fragments are traced/);
  await setLink(router, 'eth1', { mtu: 1500 });
  await overlays[1]!.leave();
  await lost('NO_VTEP', 'vm03');
  await overlays[0]!.leave();
  await createVxlan(vm02, 'flannel.1', { id: 1, dstPort: 8472, local: NODE1, learning: false, mac: VTEP1, up: true });
  await addRoute(vm02, { dst: '10.244.3.0/24', via: '10.244.3.0', dev: 'flannel.1', onlink: true });
  await setNeighbor(vm02, 'flannel.1', { address: '10.244.3.0', mac: VTEP3 });
  const missing = await foretold(t, { ...namespaces }, vm02, { from: 'vm02', to: '10.244.3.3' });
  t.match(missing.loss, { code: 'FDB_MISSING', device: 'flannel.1' });
});

await t.test('lost', { skip: requires('bridge') }, async (t) => {
  type Lab = Awaited<ReturnType<typeof createSlash32>>;
  const cases: readonly { name: string; code: string; at: string; reason: RegExp; options?: Partial<TraceOptions>; spoil: (lab: Lab) => Promise<unknown> }[] = [
    { name: 'no route', code: 'NO_ROUTE', at: 'node', reason: /no route to 172\.17\.0\.5/, spoil: async ({ node, client }) => { await setNeighbor(client, 'eth0', { address: '169.254.1.1', mac: '02:00:00:cc:cc:c1' }); await deleteRoute(node, { dst: '172.17.0.5/32' }); await deleteRoute(node, { dst: 'default' }); } },
    { name: 'a blackhole', code: 'BLACKHOLE', at: 'node', reason: /blackhole|forbids/, spoil: ({ node }) => blocked(node, 'blackhole') },
    { name: 'unreachable', code: 'UNREACHABLE', at: 'node', reason: /forbids/, spoil: ({ node }) => blocked(node, 'unreachable') },
    { name: 'prohibited', code: 'PROHIBITED', at: 'node', reason: /forbids/, spoil: ({ node }) => blocked(node, 'prohibit') },
    { name: 'a node that does not forward', code: 'NOT_FORWARDED', at: 'node', reason: /does not forward what comes in by k8s_br0/, spoil: async ({ node, client }) => { await setNeighbor(client, 'eth0', { address: '169.254.1.1', mac: '02:00:00:cc:cc:c1' }); await setSysctl(node, 'net.ipv4.ip_forward', 0); } },
    { name: 'the reverse path', code: 'RP_FILTER', at: 'node', reason: /rp_filter is 1/, spoil: async ({ node, client }) => { await setNeighbor(client, 'eth0', { address: '169.254.1.1', mac: '02:00:00:cc:cc:c1' }); await deleteRoute(node, { dst: '172.17.0.4/32' }); await setSysctl(node, 'net.ipv4.conf.k8s_br0.rp_filter', 1); } },
    { name: 'a MAC that nobody has', code: 'FDB_UNKNOWN', at: 'node', reason: /k8s_br0 in node does not know 02:00:00:00:00:99, and floods the frame to where nobody has it \(eth0 in client, eth0 in pod\)$/, spoil: ({ node }) => setNeighbor(node, 'k8s_br0', { address: '172.17.0.5', mac: '02:00:00:00:00:99' }) },
    { name: 'an end that is down', code: 'FDB_UNKNOWN', at: 'node', reason: /where nobody has it \(eth0 in client\); its port veth5 is disabled/, spoil: async ({ node, pod }) => { await setLink(pod, 'eth0', { up: false }); await until(async () => (await getLink(node, 'veth5'))?.operstate === 'LOWERLAYERDOWN'); } },
    { name: 'the way out is down', code: 'NO_ROUTE', at: 'client', reason: /no route/, spoil: ({ client }) => setLink(client, 'eth0', { up: false }) },
    { name: 'a bridge that is down', code: 'PORT_BLOCKED', at: 'node', reason: /disabled/, spoil: async ({ node, client }) => { await setNeighbor(client, 'eth0', { address: '169.254.1.1', mac: '02:00:00:cc:cc:c1' }); await setLink(node, 'k8s_br0', { up: false }); } },
    { name: 'nobody answers', code: 'NO_NEIGHBOR', at: 'client', reason: /asked by ARP, of those who hear the question \(.*\) nobody has the address/, spoil: ({ node }) => setSysctl(node, 'net.ipv4.conf.k8s_br0.proxy_arp', 0) },
    { name: 'no proxy for what is on the same wire', code: 'NO_NEIGHBOR', at: 'client', reason: /asked by ARP/, spoil: async ({ client, pod }) => { await addRoute(client, { dst: '172.17.0.5/32', dev: 'eth0', scope: 'link' }); await setSysctl(pod, 'net.ipv4.conf.eth0.arp_ignore', 8); } },
    { name: 'one that keeps silent', code: 'NO_NEIGHBOR', at: 'node', reason: /eth0 in server/, options: { to: '198.51.100.80' }, spoil: ({ server }) => setSysctl(server, 'net.ipv4.conf.eth0.arp_ignore', 8) },
    { name: 'the last hop', code: 'TTL_EXPIRED', at: 'node', reason: /the TTL of 172\.17\.0\.4 > 172\.17\.0\.5 runs out/, spoil: ({ client }) => setSysctl(client, 'net.ipv4.ip_default_ttl', 1) },
    { name: 'a narrow way', code: 'MTU_EXCEEDED', at: 'node', reason: /1450 bytes is not to be fragmented, and the MTU of uplink in node is 1400/, options: { to: '198.51.100.80', length: 1450 }, spoil: ({ node }) => setLink(node, 'uplink', { mtu: 1400 }) },
    { name: 'a narrow port', code: 'MTU_EXCEEDED', at: 'node', reason: /without a word: the MTU of its port veth5 is 1400/, options: { length: 1450 }, spoil: async ({ node }) => { await setLink(node, 'veth5', { mtu: 1400 }); await setLink(node, 'k8s_br0', { mtu: 1500 }); } },
    { name: "the node's own address as source", code: 'MARTIAN', at: 'node', reason: /172\.17\.0\.4, the source, is an address of node itself/, spoil: async ({ node, client }) => { await setNeighbor(client, 'eth0', { address: '169.254.1.1', mac: '02:00:00:cc:cc:c1' }); await addAddress(node, 'lo', '172.17.0.4/32'); } },
    { name: 'back by the port where it came in', code: 'SAME_PORT', at: 'node', reason: /does not send a frame out by veth4, where it came in/, spoil: async ({ node, client }) => { await addRoute(client, { dst: '172.17.0.5/32', dev: 'eth0', scope: 'link' }); await setNeighbor(client, 'eth0', { address: '172.17.0.5', mac: POD_MAC }); inside(node, 'bridge link set dev veth5 learning off'); await setFdb(node, 'veth4', { mac: POD_MAC, state: 'noarp', flags: ['master'] }); } },
    { name: 'the host of another address', code: 'NOT_FORWARDED', at: 'server', reason: /203\.0\.113\.9 is no address of server/, options: { to: '203.0.113.9' }, spoil: async () => undefined },
  ]; // prettier-ignore
  for (const { name, code, at, reason, options, spoil } of cases) {
    await t.test(name, async (t) => {
      const stack = stackOf(t);
      const lab = await createSlash32(stack);
      await spoil(lab);
      const namespaces: Readonly<Record<string, Netns>> = { ...lab };
      const to = options?.to ?? '172.17.0.5';
      const size = options?.length === undefined ? {} : { size: options.length - 28 };
      const trace = await tracePath({ namespaces, from: 'client', ...options, to });
      t.match(trace.loss, { code, namespace: at }, trace.summary);
      t.match(trace.loss?.reason, reason);
      const failed = (error: { code?: string }): { received: number } => (error.code === undefined ? { received: 1 } : { received: 0 });
      const { agrees, hops } = await captureAlong(trace, namespaces, () => ping(lab.client, to, { timeout: 60, ...size }).catch(failed));
      // Where a question is asked first and has no answer, nothing is sent.
      t.ok(agrees || code === 'NO_NEIGHBOR', { differences: hops.flatMap(({ differences }) => differences) });
      t.equal((await ping(lab.client, to, { timeout: 60, ...size }).catch(failed)).received, 0, 'and no answer comes');
    });
  }

  await t.test('hops and sizes', async (t) => {
    const lab = await createSlash32(stackOf(t));
    const namespaces = { ...lab };
    const trace = (options: Partial<TraceOptions>): ReturnType<typeof tracePath> => tracePath({ namespaces, from: 'client', to: '172.17.0.5', ...options }); // prettier-ignore
    t.match((await trace({ ttl: 1 })).loss, { code: 'TTL_EXPIRED', namespace: 'node', icmp: 'time exceeded in transit' });
    t.ok((await trace({ ttl: 2 })).delivered);
    t.ok((await trace({ length: 1500 })).delivered);
    t.match((await trace({ length: 1501 })).loss, { code: 'MTU_EXCEEDED', namespace: 'client' });
    t.ok((await trace({ length: 1501, dontFragment: false })).delivered);
    await setLink(lab.node, 'veth5', { mtu: 1400 });
    await setLink(lab.node, 'veth4', { mtu: 1500 });
    const silent = (await trace({ length: 1450 })).loss;
    t.match(silent, { code: 'MTU_EXCEEDED', namespace: 'node' });
    t.equal((await ping(lab.client, '172.17.0.5', { size: 1422, timeout: 60 })).received, 0);
    t.equal((await ping(lab.client, '172.17.0.5', { size: 1300 })).received, 1);
  });
});

await t.test('routes by rules and marks, and who has the address itself', { skip: requires('bridge') }, async (t) => {
  const lab = await createSlash32(stackOf(t));
  const namespaces = { ...lab };
  await addRoute(lab.node, { dst: '172.17.0.5/32', dev: 'k8s_br0', scope: 'link', table: 7 });
  await addRule(lab.node, { priority: 100, from: '172.17.0.4/32', table: 7 });
  const trace = await tracePath({ namespaces, from: 'client', to: '172.17.0.5' });
  t.match(trace.hops[3]!.because[0], { by: 'route', table: 7, text: 'route of node: 172.17.0.5/32 dev k8s_br0 (table 7, by rule 100)' });
  t.match((await tracePath({ namespaces, from: 'client', to: '172.17.0.4' })).at, { namespace: 'client', device: 'lo' });
  await addRoute(lab.node, { dst: '172.17.0.5/32', type: 'blackhole', table: 8 });
  await addRule(lab.node, { priority: 50, mark: 9, table: 8 });
  t.equal((await tracePath({ namespaces, from: 'node', to: '172.17.0.5', mark: 9 })).loss?.code, 'BLACKHOLE');
  t.ok((await tracePath({ namespaces, from: 'node', to: '172.17.0.5' })).delivered);
});

await t.test('mistakes are told', async (t) => {
  const stack = stackOf(t);
  const pod = await stack.netns();
  const wrong = (options: object): Promise<unknown> => tracePath({ namespaces: { pod }, from: 'pod', to: '10.0.0.1', ...options });
  await t.rejects(wrong({ from: 'pot' }), {
    code: 'ERR_INVALID_ARG_VALUE',
    message: "tracePath: 'from' must be one of pod; received 'pot'",
  });
  await t.rejects(wrong({ to: 'here' }), { code: 'ERR_INVALID_ARG_VALUE' });
  await t.rejects(wrong({ protocoll: 'tcp' }), { message: /did you mean 'protocol'\?/ });
  await t.rejects(wrong({ source: 'fd00::1' }), { message: /same family/ });
  await t.rejects(wrong({ namespaces: {} }), { code: 'ERR_INVALID_ARG_VALUE' });
  t.match((await tracePath({ namespaces: [pod], from: pod, to: '10.0.0.1' })).from, /^netns-\d+$/);
});

async function blocked(node: Netns, type: string): Promise<void> {
  await deleteRoute(node, { dst: '172.17.0.5/32' });
  await addRoute(node, { dst: '172.17.0.5/32', type });
}
