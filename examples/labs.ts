// The networks of the scenes, without their words: for scenes 9 and 10, the pictures and the tests.
import { type Link, Netns, addAddress, addRoute, createBridge, createVeth, listLinks, setNeighbor, setSysctl } from 'podtap';
import { type Overlay, joinOverlay, nodeList } from 'podtap/overlay';
import { createLab } from 'podtap/lab';

/** Closed in the reverse order when the lab ends. */
export class Stack implements AsyncDisposable {
  readonly #all: AsyncDisposable[] = [];
  use<T extends AsyncDisposable>(one: T): T {
    this.#all.push(one);
    return one;
  }
  async netns(): Promise<Netns> {
    const netns = this.use(await Netns.create());
    // Else an address is tentative for a second.
    await setSysctl(netns, 'net.ipv6.conf.default.accept_dad', 0);
    return netns;
  }
  async [Symbol.asyncDispose](): Promise<void> {
    for (const one of this.#all.reverse()) await one[Symbol.asyncDispose]();
  }
}

export const CLIENT_MAC = '02:00:00:aa:aa:a1';
export const POD_MAC = '02:00:00:bb:bb:b1';
export const ROUTER_MAC = '02:00:00:cc:cc:c1';
export const GATEWAY = '169.254.1.1';

/**
 * Until every wire carries: the kernel may take a second to notice that one was plugged in (linkwatch), and a bridge sends nothing to a
 * port before that. For three seconds at most: a TAP that nobody holds never does.
 */
export async function settled(namespaces: Readonly<Record<string, Netns>>): Promise<void> {
  const forwards = ({ up, operstate, portKind, port }: Link): boolean =>
    !up || (operstate !== 'DOWN' && operstate !== 'LOWERLAYERDOWN' && (portKind !== 'bridge' || (port as { state?: string }).state === 'forwarding')); // prettier-ignore
  for (const deadline = Date.now() + 3000; Date.now() < deadline;) {
    const links = await Promise.all(Object.values(namespaces).map((netns) => listLinks(netns)));
    if (links.flat().every((link) => forwards(link))) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Scene 1: two pods in one subnet on the node's bridge. */
export async function createSlash16(stack: Stack): Promise<{ node: Netns; client: Netns; pod: Netns }> {
  const [node, client, pod] = [await stack.netns(), await stack.netns(), await stack.netns()];
  await createBridge(node, 'k8s_br0', { mac: ROUTER_MAC, up: true });
  await addAddress(node, 'k8s_br0', '172.17.0.1/16');
  for (const [name, scope, address, mac] of [
    ['veth4', client, '172.17.0.4/16', CLIENT_MAC],
    ['veth5', pod, '172.17.0.5/16', POD_MAC],
  ] as const) {
    await createVeth(node, name, { master: 'k8s_br0', up: true, peer: { scope, name: 'eth0', mac, addresses: [address], up: true } });
    await addRoute(scope, { dst: 'default', via: '172.17.0.1' });
  }
  await settled({ node, client, pod });
  return { node, client, pod };
}

/** Scenes 3 and 4: pods with /32, a router that answers for their gateway and knows one of them by heart. */
export async function createSlash32(stack: Stack): Promise<{ node: Netns; client: Netns; pod: Netns; server: Netns }> {
  const [node, client, pod, server] = [await stack.netns(), await stack.netns(), await stack.netns(), await stack.netns()];
  await createBridge(node, 'k8s_br0', { mac: ROUTER_MAC, up: true });
  for (const [name, scope, address, mac] of [
    ['veth4', client, '172.17.0.4/32', CLIENT_MAC],
    ['veth5', pod, '172.17.0.5/32', POD_MAC],
  ] as const) {
    await createVeth(node, name, { master: 'k8s_br0', up: true, peer: { scope, name: 'eth0', mac, addresses: [address], up: true } });
    await addRoute(scope, { dst: `${GATEWAY}/32`, dev: 'eth0', scope: 'link' });
    await addRoute(scope, { dst: 'default', via: GATEWAY, dev: 'eth0' });
    await addRoute(node, { dst: address, dev: 'k8s_br0', scope: 'link' });
  }
  await createVeth(node, 'uplink', {
    up: true,
    addresses: ['198.51.100.1/24'],
    peer: { scope: server, name: 'eth0', addresses: ['198.51.100.80/24'], up: true },
  });
  await addRoute(server, { dst: 'default', via: '198.51.100.1' });
  await addRoute(node, { dst: 'default', via: '198.51.100.80' });
  for (const [key, value] of [
    ['ip_forward', 1],
    ['conf.k8s_br0.proxy_arp', 1],
    ['neigh.k8s_br0.proxy_delay', 0],
    ['conf.all.send_redirects', 0],
    ['conf.k8s_br0.send_redirects', 0],
  ] as const)
    await setSysctl(node, `net.ipv4.${key}`, value);
  await setNeighbor(node, 'k8s_br0', { address: '172.17.0.5', mac: POD_MAC });
  await settled({ node, client, pod, server });
  return { node, client, pod, server };
}

export const VTEP1 = '56:65:b2:90:18:f2';
export const VTEP3 = '46:d8:ad:31:bc:47';
export const NODE1 = '192.161.1.5';
export const NODE3 = '192.160.0.6';

export interface Nodes {
  readonly vm02: Netns;
  readonly vm03: Netns;
  readonly router: Netns;
  readonly pod1: Netns;
  readonly pod2: Netns;
  readonly overlays: readonly Overlay[];
}

/** Scene 8: two nodes with a router between them, and a pod on each. */
export async function createNodes(stack: Stack): Promise<Nodes> {
  const { vm02, vm03, router } = stack.use(
    await createLab({
      nodes: { vm02: {}, vm03: {}, router: { forward: true } },
      links: [
        { vm02: `${NODE1}/24`, router: '192.161.1.2/24' },
        { vm03: `${NODE3}/16`, router: '192.160.0.2/16' },
      ],
      routes: { vm02: { default: '192.161.1.2' }, vm03: { default: '192.160.0.2' } },
    }),
  );
  const registry = nodeList([
    { ipv4: { subnet: '10.244.1.0/24', publicIp: NODE1, vtepMac: VTEP1 } },
    { ipv4: { subnet: '10.244.3.0/24', publicIp: NODE3, vtepMac: VTEP3 } },
  ]);
  const overlays = [await joinOverlay(vm02, { registry, bridge: true }), await joinOverlay(vm03, { registry, bridge: true })];
  for (const overlay of overlays) stack.use(overlay);
  const pod = async (node: Netns, address: string, via: string): Promise<Netns> => {
    const netns = await stack.netns();
    await createVeth(node, 'veth3', { master: 'cni0', mtu: 1450, up: true, peer: { scope: netns, name: 'eth0', mtu: 1450, up: true, addresses: [address] } }); // prettier-ignore
    await addRoute(netns, { dst: 'default', via });
    return netns;
  };
  const pod1 = await pod(vm02, '10.244.1.3/24', '10.244.1.1');
  const pod2 = await pod(vm03, '10.244.3.3/24', '10.244.3.1');
  await settled({ vm02, vm03, router, pod1, pod2 });
  return { vm02, vm03, router, pod1, pod2, overlays };
}
