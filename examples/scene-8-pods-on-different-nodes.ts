// Scene 8: pods on different nodes.
//
// Two nodes, each in a subnet of its own, with a router between them; on each a bridge, cni0, with a pod. The pods' subnets are the
// nodes' own affair, and no router knows them: what one pod sends to the other travels between the nodes in UDP, Ethernet frame and all,
// from one flannel.1 to the other. In each of the pods a guest takes over.
import { Netns, addRoute, createVeth, getLink, listAddresses, listFdb, listNeighbors, listRoutes, openPacketSocket, plumb } from 'podtap';
import { createLab } from 'podtap/lab';
import { joinOverlay, nodeList } from 'podtap/overlay';
import { hasLinux, startGuest } from './guest.js';
import { answers, mustHold, show, step, title } from './stage.js';

title('Scene 8: pods on different nodes talk through flannel.1');
await scene();
console.log('\nScene 8 showed what it must.');

async function scene(): Promise<void> {
  await using lab = await step(
    'VM02 and VM03, in different subnets, and the router between them',
    [
      'ip -n VM02 address add 192.161.1.5/24 dev eth0; ip -n VM02 route add default via 192.161.1.2',
      'ip -n VM03 address add 192.160.0.6/16 dev eth0; ip -n VM03 route add default via 192.160.0.2',
    ],
    () =>
      createLab({
        nodes: { vm02: {}, vm03: {}, router: { forward: true } },
        links: [
          { vm02: '192.161.1.5/24', router: '192.161.1.2/24' },
          { vm03: '192.160.0.6/16', router: '192.160.0.2/16' },
        ],
        routes: { vm02: { default: '192.161.1.2' }, vm03: { default: '192.160.0.2' } },
      }),
  );

  const nodes = nodeList([
    { ipv4: { subnet: '10.244.1.0/24', publicIp: '192.161.1.5', vtepMac: '56:65:b2:90:18:f2' } },
    { ipv4: { subnet: '10.244.3.0/24', publicIp: '192.160.0.6', vtepMac: '46:d8:ad:31:bc:47' } },
  ]);
  await using vm02 = await step(
    'VM02 joins: flannel.1, cni0, and for the other node a route, a neighbour and a forwarding entry',
    [
      'ip link add flannel.1 address 56:65:b2:90:18:f2 mtu 1450 type vxlan id 1 dev eth0 local 192.161.1.5 dstport 8472 nolearning',
      'ip address add 10.244.1.0/32 dev flannel.1; ip link set flannel.1 up',
      'ip link add cni0 type bridge; ip address add 10.244.1.1/24 dev cni0; ip link set cni0 mtu 1450 up',
      'ip neigh replace 10.244.3.0 lladdr 46:d8:ad:31:bc:47 dev flannel.1 nud permanent',
      'bridge fdb replace 46:d8:ad:31:bc:47 dev flannel.1 dst 192.160.0.6 self permanent extern_learn',
      'ip route add 10.244.3.0/24 via 10.244.3.0 dev flannel.1 onlink',
    ],
    () => joinOverlay(lab.vm02, { registry: nodes, bridge: true }),
  );
  await using vm03 = await step('VM03 joins, likewise', [], () => joinOverlay(lab.vm03, { registry: nodes, bridge: true }));

  const [route] = await listRoutes(lab.vm02, { link: 'flannel.1' });
  const [neighbor] = await listNeighbors(lab.vm02, { link: 'flannel.1' });
  const [entry] = await listFdb(lab.vm02, { link: 'flannel.1' });
  const [address] = await listAddresses(lab.vm02, { link: 'cni0', family: 'ipv4' });
  show('cni0', address?.address);
  show('route', [route?.dst, 'via', route?.via, 'dev flannel.1', route?.onlink === true ? 'onlink' : '']);
  show('who is 10.244.3.0', [neighbor?.address, neighbor?.mac, neighbor?.state]);
  show('where that MAC is', [entry?.mac, entry?.dst]);
  mustHold(
    'the route goes by 10.244.3.0, which is on the link',
    route?.dst === '10.244.3.0/24' && route.via === '10.244.3.0' && route.onlink === true,
  );
  mustHold("10.244.3.0 is VM03's flannel.1, for good", neighbor?.mac === '46:d8:ad:31:bc:47' && neighbor.state === 'permanent');
  mustHold('and that is at 192.160.0.6', entry?.mac === neighbor?.mac && entry?.dst === '192.160.0.6');
  mustHold('50 bytes of the MTU are the encapsulation', vm02.mtu === 1450 && (await getLink(lab.vm02, 'cni0'))?.mtu === 1450);

  await using pod1 = await step('POD1 on VM02 has 10.244.1.3', podCommands('10.244.1.3', '10.244.1.1'), () =>
    createPod(lab.vm02, '10.244.1.3/24', '10.244.1.1', vm02.mtu),
  );
  await using pod2 = await step('POD2 on VM03 has 10.244.3.3', podCommands('10.244.3.3', '10.244.3.1'), () =>
    createPod(lab.vm03, '10.244.3.3/24', '10.244.3.1', vm03.mtu),
  );
  const linux = hasLinux();
  await using net1 = await step("A guest takes over POD1's place, and is told what its eth0 had", ["plumb(pod1, { tap: 'tap100' })"], () =>
    plumb(pod1, { tap: 'tap100', label: 'scene/8/pod1' }),
  );
  await using net2 = await step('Another one takes over that of POD2', [], () => plumb(pod2, { tap: 'tap100', label: 'scene/8/pod2' }));
  show('guest 1', [net1.guest.addresses[0]?.address, 'via', net1.guest.gateway.ipv4, `MTU ${net1.guest.mtu}`]);
  show('guest 2', [net2.guest.addresses[0]?.address, 'via', net2.guest.gateway.ipv4, `MTU ${net2.guest.mtu}`]);
  show('they are', linux ? "Linux in user mode: linux.uml, with the arguments that podtap/guest's uml() prints" : 'namespaces behind the TAPs: user-mode Linux is not installed, or does not boot here'); // prettier-ignore
  const [talker, listener] = await Promise.all([startGuest(pod1, net1, linux), startGuest(pod2, net2, linux)]);
  await using _talker = talker;
  await using _listener = listener;

  mustHold('guest 1 reaches guest 2', await talker.reaches('10.244.3.3'));
  mustHold('guest 2 reaches guest 1', await listener.reaches('10.244.1.3'));
  mustHold('and VM02 itself reaches guest 2', await answers(lab.vm02, '10.244.3.3'));
  mustHold('with 1450 bytes in a packet, the whole MTU', await talker.reaches('10.244.3.3', 1450));
  const served = await listener.serve();
  mustHold('8 MB that guest 1 fetches from guest 2 are what they were, by their SHA-256', (await talker.fetch('10.244.3.3')) === served);

  const frame = await step(
    'A closer look at the wire between the router and VM03, while guest 1 pings',
    ['tcpdump -i eth0 -ne udp port 8472'],
    () => capture(lab.vm03, () => talker.reaches('10.244.3.3')),
  );
  show('outer', [`${frame.outer.from} > ${frame.outer.to}`, `UDP port ${frame.port}`, `VNI ${frame.vni}`]);
  show('inner', [
    `${frame.inner.source} > ${frame.inner.destination}`,
    `${frame.inner.from} > ${frame.inner.to}`,
    `TTL ${frame.inner.ttl}`,
  ]);
  mustHold('it goes from node to node, to port 8472, as network 1', frame.outer.from === '192.161.1.5' && frame.outer.to === '192.160.0.6' && frame.port === 8472 && frame.vni === 1); // prettier-ignore
  mustHold('within, from flannel.1 to flannel.1', frame.inner.source === '56:65:b2:90:18:f2' && frame.inner.destination === '46:d8:ad:31:bc:47'); // prettier-ignore
  mustHold("the guest's MAC is not in the frame at all", !frame.hex.includes(net1.guest.mac.replaceAll(':', '')));
  mustHold('one hop is behind it: the node', frame.inner.ttl === 63);

  await step('VM03 leaves', ['ip link delete flannel.1; ip link delete cni0'], () => vm03.leave());
  nodes.update(nodes.nodes.slice(0, 1));
  await vm02.reconcile();
  mustHold('VM02 has no way there any more', (await listRoutes(lab.vm02, { link: 'flannel.1' })).length === 0);
}

function podCommands(address: string, gateway: string): string[] {
  return [
    'ip link add veth3 master cni0 mtu 1450 type veth peer name eth0 mtu 1450 netns POD; ip link set veth3 up',
    `ip -n POD address add ${address}/24 dev eth0; ip -n POD route add default via ${gateway}`,
  ];
}

async function createPod(node: Netns, address: string, gateway: string, mtu: number): Promise<Netns> {
  const pod = await Netns.create();
  await createVeth(node, 'veth3', {
    master: 'cni0',
    mtu,
    up: true,
    peer: { scope: pod, name: 'eth0', mtu, up: true, addresses: [address] },
  });
  await addRoute(pod, { dst: 'default', via: gateway });
  return pod;
}

interface Frame {
  readonly hex: string;
  readonly port: number;
  readonly vni: number;
  readonly outer: { readonly from: string; readonly to: string };
  readonly inner: {
    readonly source: string;
    readonly destination: string;
    readonly from: string;
    readonly to: string;
    readonly ttl: number;
  };
}

/** The first VXLAN frame from 10.244.1.3 that comes in by eth0 while something is done. */
async function capture(node: Netns, act: () => Promise<unknown>): Promise<Frame> {
  await using wire = await openPacketSocket(node, 'eth0', { outgoing: false });
  const acted = act();
  for await (const frames of wire.frames({ signal: AbortSignal.timeout(10_000) })) {
    for (const bytes of frames.map((frame) => Buffer.from(frame))) {
      // Ethernet is 14 bytes, IPv4 20, UDP 8, VXLAN 8 (RFC 7348), and then comes Ethernet again.
      if (bytes.length < 84 || bytes.readUInt16BE(12) !== 0x0800 || bytes[23] !== 17 || bytes.readUInt16BE(36) !== 8472) continue;
      const inner = bytes.subarray(50);
      if (ip(inner, 26) !== '10.244.1.3') continue;
      await acted;
      return {
        hex: bytes.toString('hex'),
        port: 8472,
        vni: bytes.readUIntBE(46, 3),
        outer: { from: ip(bytes, 26), to: ip(bytes, 30) },
        inner: { source: mac(inner, 6), destination: mac(inner, 0), from: ip(inner, 26), to: ip(inner, 30), ttl: inner[22]! },
      };
    }
  }
  throw new Error('no VXLAN frame came by');
}

function ip(bytes: Buffer, at: number): string {
  return [...bytes.subarray(at, at + 4)].join('.');
}

function mac(bytes: Buffer, at: number): string {
  return bytes.toString('hex', at, at + 6).replace(/..(?=.)/g, '$&:');
}
