// Scene 1: working with TAP devices in Kubernetes.
//
// A pod's eth0 has 172.17.0.5/16 on the node's bridge. A unikernel wants a TAP, and to be told the address. So the configuration of
// eth0 is read, a TAP is made, eth0 gives up its address and its MAC, both go under a bridge, and the guest runs with what eth0 had.
import { readdirSync, readlinkSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { text } from 'node:stream/consumers';
import {
  Netns,
  addAddress,
  addRoute,
  bridgeEnslave,
  cloneMac,
  createBridge,
  createTap,
  createVeth,
  flushAddresses,
  getLink,
  listFdb,
  readAddr,
} from 'podtap';
import { ping, runGuest } from 'podtap/lab';
import { answers, mustHold, show, step, title } from './stage.js';

const PAGE = 'Hello from behind tap100\n';

title("Scene 1: a guest behind a TAP takes over its pod's address");
const before = await held();
await scene();
const after = await step('Everything is gone: no descriptor holds a namespace, a TAP or a connection any more', [], held);
show('held before, and now', [before, after]);
mustHold('nothing is left behind', JSON.stringify(before) === JSON.stringify(after));
console.log('\nScene 1 showed what it must.');

async function scene(): Promise<void> {
  await using node = await Netns.create();
  await using client = await Netns.create();
  await using pod = await Netns.create();

  await step(
    'A node with the bridge k8s_br0, and two pods on it: 172.17.0.4 and 172.17.0.5',
    [
      'ip link add k8s_br0 type bridge; ip address add 172.17.0.1/16 dev k8s_br0; ip link set k8s_br0 up',
      'ip link add veth5 master k8s_br0 type veth peer name eth0 netns POD; ip link set veth5 up',
      'ip -n POD address add 172.17.0.5/16 dev eth0; ip -n POD route add default via 172.17.0.1',
    ],
    async () => {
      await createBridge(node, 'k8s_br0', { up: true });
      await addAddress(node, 'k8s_br0', '172.17.0.1/16');
      for (const [name, scope, address] of [
        ['veth4', client, '172.17.0.4/16'],
        ['veth5', pod, '172.17.0.5/16'],
      ] as const) {
        // prettier-ignore
        await createVeth(node, name, { master: 'k8s_br0', up: true, peer: { scope, name: 'eth0', addresses: [address], up: true } });
        await addRoute(scope, { dst: 'default', via: '172.17.0.1' });
      }
    },
  );
  mustHold("172.17.0.4 pings 172.17.0.5: the pod's own stack answers", await answers(client, '172.17.0.5'));

  const eth0 = await step(
    'Obtain the network configuration of eth0',
    ['ip -d link show dev eth0', 'ip address show dev eth0', 'ip route show table all dev eth0'],
    () => readAddr(pod, 'eth0'),
  );
  const ipv4 = eth0.addresses.filter(({ address }) => !address.includes(':')).map(({ address }) => address);
  show('address, gateway, MAC, MTU', [ipv4, eth0.gateway.ipv4, eth0.mac, eth0.mtu]);

  await using tap = await step(
    'Create a TAP device, tap100',
    [`ip tuntap add dev tap100 mode tap`, `ip link set dev tap100 mtu ${eth0.mtu} up`],
    () => createTap(pod, 'tap100', { mtu: eth0.mtu }),
  );

  await step('Remove the network configuration of eth0', ['ip address flush dev eth0'], () => flushAddresses(pod, 'eth0'));
  const bare = await readAddr(pod, 'eth0');
  mustHold('eth0 has no address and no gateway any more', bare.addresses.length === 0 && bare.gateway.ipv4 === undefined);

  const { guestMac, linkMac } = await step(
    "Hand eth0's MAC to the guest: eth0 gets another one, or it would keep what is meant for the guest",
    ['ip link set dev eth0 address FRESH'],
    () => cloneMac(pod, { from: 'eth0' }),
  );
  show("the guest's MAC, and eth0's from now on", [guestMac, linkMac]);

  const bridge = await step(
    'Create a bridge, and bridge tap100 to eth0',
    [
      'ip link add br0 address FRESH type bridge forward_delay 0 stp_state 0',
      'ip link set dev eth0 master br0',
      'ip link set dev tap100 master br0',
      'ip link set dev br0 up',
    ],
    () => bridgeEnslave(pod, { bridge: 'br0', ports: ['eth0', 'tap100'] }),
  );
  for (const port of ['eth0', 'tap100']) mustHold(`${port} is a port of br0`, (await getLink(pod, port))?.master === bridge.ifindex);
  const local = (await listFdb(pod, { bridge: 'br0' })).filter(({ mac, state }) => mac === guestMac && state === 'permanent');
  mustHold("the guest's MAC is no local entry of br0, which would swallow its frames", local.length === 0);

  await using guest = await step(
    "Run the guest on tap100 with eth0's configuration: its only wire is the TAP's descriptor",
    [`unikernel --net=tap100 --mac=${guestMac} --ipv4=${ipv4[0]} --ipv4-gateway=${eth0.gateway.ipv4}`],
    () => runGuest(tap, { mac: guestMac, mtu: eth0.mtu, addresses: ipv4, routes: [{ dst: 'default', via: eth0.gateway.ipv4! }] }),
  );

  mustHold('the guest reaches its gateway', await answers(guest.netns, '172.17.0.1'));

  const pings = await step('The other pod pings the guest', ['ip netns exec CLIENT ping -c 3 172.17.0.5'], () =>
    ping(client, '172.17.0.5', { count: 3, interval: 100, timeout: 2000 }),
  );
  show(
    'round trips in ms',
    pings.rtt.map((rtt) => rtt.toFixed(2)),
  );
  mustHold('three requests, three replies', pings.received === 3);

  const page = await step('The other pod fetches a page from it', ['ip netns exec CLIENT curl http://172.17.0.5/'], () =>
    fetchPage(client, guest.netns),
  );
  show('page', page);
  mustHold('it is the page that the guest serves', page === PAGE);
}

/** A web server in one namespace, and a request to it from another. */
async function fetchPage(from: Netns, at: Netns): Promise<string> {
  const server = http.createServer((_, response) => response.end(PAGE));
  server.listen({ fd: await at.openSocket({ type: 'tcp-listen', address: '0.0.0.0', port: 80 }) });
  try {
    const fd = await from.openSocket({ type: 'tcp-connect', address: '172.17.0.5', port: 80 });
    const request = http.get('http://172.17.0.5/', {
      createConnection: () => new net.Socket({ fd, readable: true, writable: true }),
    });
    const response = await new Promise<http.IncomingMessage>((resolve, reject) => request.on('response', resolve).on('error', reject));
    return await text(response);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** What keeps a namespace, with all that is in it, a TAP or a connection alive: an open descriptor of this process. */
async function held(): Promise<string[]> {
  await new Promise((resolve) => setTimeout(resolve, 50)); // a web server's sockets close a turn later
  const open = readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return []; // the one that the folder itself was read by
    }
  });
  return open.filter((target) => /^(net|socket|\/dev\/net\/tun)/.test(target)).sort();
}
