// A pod on a node's bridge with another pod beside it, as the guests' tests have it: on a subnet of /16, or with addresses of /32 behind a
// router that is on nobody's subnet and was told where the pod is.
//
//   client (MTU 1500)       node                        pod (MTU 1450)
//   eth0 172.17.0.4 ------- veth4 | k8s_br0 | veth5 --- eth0 172.17.0.5
//        fd00::4                                             fd00::5
import { type Netns, Netns as Namespace, addAddress, addRoute, createBridge, createVeth, setLink, setNeighbor, setSysctl } from 'podtap';

export type Subnet = '/16' | '/32';

/** Of the pod's eth0, as the network plugin made it. */
export const FIRST_MAC = '02:00:00:bb:bb:b1';
export const MTU = 1450;
export const POD = { ipv4: '172.17.0.5', ipv6: 'fd00::5' };
export const CLIENT = { ipv4: '172.17.0.4', ipv6: 'fd00::4' };

export interface Cluster extends AsyncDisposable {
  readonly node: Netns;
  readonly client: Netns;
  readonly pod: Netns;
}

export async function createCluster(subnet: Subnet): Promise<Cluster> {
  const [node, client, pod] = [await Namespace.create(), await Namespace.create(), await Namespace.create()];
  for (const netns of [node, client, pod]) await setSysctl(netns, 'net.ipv6.conf.default.accept_dad', 0);
  const lengths = subnet === '/16' ? [16, 64] : [32, 128];
  await createBridge(node, 'k8s_br0', { mac: '02:00:00:cc:cc:c1', up: true });
  for (const [name, scope, { ipv4, ipv6 }, mac, mtu] of [
    ['veth4', client, CLIENT, '02:00:00:aa:aa:a1', 1500],
    ['veth5', pod, POD, FIRST_MAC, MTU],
  ] as const) {
    const peer = { scope, name: 'eth0', mac, mtu, addresses: [`${ipv4}/${lengths[0]}`, `${ipv6}/${lengths[1]}`], up: true };
    await createVeth(node, name, { master: 'k8s_br0', mtu, up: true, peer });
  }
  if (subnet === '/16') {
    await addAddress(node, 'k8s_br0', '172.17.0.1/16');
    await addAddress(node, 'k8s_br0', 'fd00::1/64');
    for (const netns of [client, pod]) {
      await addRoute(netns, { dst: 'default', via: '172.17.0.1' });
      await addRoute(netns, { dst: '::/0', via: 'fd00::1' });
    }
  } else {
    await routeHosts(node, client, pod);
  }
  // A second less for what is asked while the wire is not plugged in yet.
  for (const [netns, link] of [
    [node, 'k8s_br0'],
    [client, 'eth0'],
  ] as const)
    // prettier-ignore
    for (const family of ['ipv4', 'ipv6']) await setSysctl(netns, `net.${family}.neigh.${link}.retrans_time_ms`, 50);
  return {
    node,
    client,
    pod,
    async [Symbol.asyncDispose]() {
      for (const netns of [node, client, pod]) await netns.close();
    },
  };
}

async function routeHosts(node: Netns, client: Netns, pod: Netns): Promise<void> {
  // The least MTU of its ports, and so of the client's way out by it.
  await setLink(node, 'k8s_br0', { mtu: MTU });
  await addAddress(node, 'k8s_br0', { address: 'fe80::1/64', flags: ['nodad'] });
  // The kernel answers by proxy for what it would send by another device.
  await createVeth(node, 'uplink', { up: true, peer: { name: 'elsewhere', up: true } });
  await addRoute(node, { dst: 'default', dev: 'uplink', scope: 'link' });
  for (const netns of [client, pod]) {
    await addRoute(netns, { dst: '169.254.1.1/32', dev: 'eth0', scope: 'link' });
    await addRoute(netns, { dst: 'default', via: '169.254.1.1', dev: 'eth0' });
    await addRoute(netns, { dst: '::/0', via: 'fe80::1', dev: 'eth0' });
  }
  for (const { ipv4, ipv6 } of [CLIENT, POD]) {
    await addRoute(node, { dst: `${ipv4}/32`, dev: 'k8s_br0', scope: 'link' });
    await addRoute(node, { dst: `${ipv6}/128`, dev: 'k8s_br0' });
  }
  for (const [key, value] of [
    ['ipv4.ip_forward', 1],
    ['ipv6.conf.all.forwarding', 1],
    ['ipv4.conf.k8s_br0.proxy_arp', 1],
    ['ipv4.neigh.k8s_br0.proxy_delay', 0],
    // Else the node tells the pods that they are neighbours, which is not the pods' idea of it.
    ['ipv4.conf.all.send_redirects', 0],
    ['ipv4.conf.k8s_br0.send_redirects', 0],
  ] as const)
    await setSysctl(node, `net.${key}`, value);
  // It was told at the creation of the pod, and does not ask.
  await setNeighbor(node, 'k8s_br0', { address: POD.ipv4, mac: FIRST_MAC, state: 'permanent' });
}
