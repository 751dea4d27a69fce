// Where scenes 3 and 4 play: pods with addresses of /32, whose gateway is on no subnet of theirs.
//
//   python app           node: router and proxy ARP                node.js app
//   eth0 aa:aa:a1        k8s_br0 cc:cc:c1                          eth0 bb:bb:b1
//   172.17.0.4/32 ------ veth4 | veth5 --------------------------- 172.17.0.5/32
//                        uplink 198.51.100.1 ---- 198.51.100.80, a server elsewhere
import { type Link, type Netns, Netns as Namespace, addRoute, createBridge, createVeth, listFdb, listLinks, openPacketSocket, setNeighbor, setSysctl } from 'podtap'; // prettier-ignore
import { show, step } from './stage.js';

export const GATEWAY = '169.254.1.1';
export const SERVER = '198.51.100.80';
/** Of the node.js pod's eth0, as the network plugin made it. */
export const FIRST_MAC = '02:00:00:bb:bb:b1';
const CLIENT_MAC = '02:00:00:aa:aa:a1';
export const ROUTER_MAC = '02:00:00:cc:cc:c1';

export interface Cluster extends AsyncDisposable {
  readonly node: Netns;
  readonly client: Netns;
  readonly pod: Netns;
  readonly server: Netns;
}

export async function createCluster(): Promise<Cluster> {
  const [node, client, pod, server] = [
    await Namespace.create(),
    await Namespace.create(),
    await Namespace.create(),
    await Namespace.create(),
  ];
  const cluster: Cluster = {
    node,
    client,
    pod,
    server,
    async [Symbol.asyncDispose]() {
      for (const netns of [node, client, pod, server]) await netns.close();
    },
  };
  await step(
    'Two pods on k8s_br0 with addresses of /32; their gateway is 169.254.1.1, which nobody has',
    [
      'ip -n POD address add 172.17.0.5/32 dev eth0',
      'ip -n POD route add 169.254.1.1 dev eth0 scope link; ip -n POD route add default via 169.254.1.1 dev eth0',
    ],
    async () => {
      for (const netns of [node, client, pod, server]) await setSysctl(netns, 'net.ipv6.conf.default.accept_dad', 0);
      await createBridge(node, 'k8s_br0', { mac: ROUTER_MAC, up: true });
      for (const [name, scope, address, mac] of [
        ['veth4', client, '172.17.0.4/32', CLIENT_MAC],
        ['veth5', pod, '172.17.0.5/32', FIRST_MAC],
      ] as const) {
        const peer = { scope, name: 'eth0', mac, addresses: [address], up: true };
        await createVeth(node, name, { master: 'k8s_br0', up: true, peer });
        await addRoute(scope, { dst: `${GATEWAY}/32`, dev: 'eth0', scope: 'link' });
        await addRoute(scope, { dst: 'default', via: GATEWAY, dev: 'eth0' });
      }
    },
  );
  await step(
    'The node routes between them, and answers for their gateway by proxy ARP: 169.254.1.1 is at cc:cc:c1',
    [
      'sysctl -w net.ipv4.ip_forward=1 net.ipv4.conf.k8s_br0.proxy_arp=1',
      'ip route add 172.17.0.4 dev k8s_br0; ip route add 172.17.0.5 dev k8s_br0; ip route add default via 198.51.100.80',
    ],
    async () => {
      const peer = { scope: server, name: 'eth0', addresses: [`${SERVER}/24`], up: true };
      await createVeth(node, 'uplink', { up: true, addresses: ['198.51.100.1/24'], peer });
      await addRoute(server, { dst: 'default', via: '198.51.100.1' });
      await addRoute(node, { dst: 'default', via: SERVER });
      for (const address of ['172.17.0.4', '172.17.0.5']) await addRoute(node, { dst: `${address}/32`, dev: 'k8s_br0', scope: 'link' });
      for (const [key, value] of [
        ['ip_forward', 1],
        ['conf.k8s_br0.proxy_arp', 1],
        ['neigh.k8s_br0.proxy_delay', 0],
        // Else the node tells the pods that they are neighbours, which is not the pods' idea of it.
        ['conf.all.send_redirects', 0],
        ['conf.k8s_br0.send_redirects', 0],
      ] as const)
        await setSysctl(node, `net.ipv4.${key}`, value);
    },
  );
  await step(
    'The router was told at the creation of the pod where it is, and does not ask: 172.17.0.5 is at bb:bb:b1, the first MAC of eth0',
    [`ip neigh replace 172.17.0.5 lladdr ${FIRST_MAC} dev k8s_br0 nud permanent`],
    () => setNeighbor(node, 'k8s_br0', { address: '172.17.0.5', mac: FIRST_MAC, state: 'permanent' }),
  );
  return cluster;
}

export interface Captured {
  readonly to: string;
  readonly from: string;
}

/** ICMP echo requests to 172.17.0.5 that pass an interface while something is done. */
export async function capture(pod: Netns, link: string, act: () => Promise<unknown>): Promise<readonly Captured[]> {
  await using socket = await openPacketSocket(pod, link);
  const stop = new AbortController();
  const seen: Captured[] = [];
  const reading = (async () => {
    for await (const frames of socket.frames({ signal: stop.signal }))
      for (const frame of frames) if (isEchoRequest(frame)) seen.push({ to: macAt(frame, 0), from: macAt(frame, 6) });
  })().catch((error: unknown) => {
    if (!stop.signal.aborted) throw error;
  });
  await act();
  stop.abort();
  await reading;
  return seen;
}

/** IPv4, without options, ICMP type 8, to 172.17.0.5. */
function isEchoRequest(frame: Uint8Array): boolean {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  return frame.length >= 42 && view.getUint16(12) === 0x0800 && frame[23] === 1 && frame[34] === 8 && frame.subarray(30, 34).join('.') === '172.17.0.5'; // prettier-ignore
}

function macAt(frame: Uint8Array, at: number): string {
  return Array.from(frame.subarray(at, at + 6), (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** As the documents write it: the last three bytes. */
export function short(mac: string): string {
  return mac.split(':').slice(3).join(':');
}

/** Who in the pod answers to a MAC: an interface that has it, or the guest behind the TAP; and what the bridge there thinks. */
export async function ownerOf(pod: Netns, mac: string, guest: { readonly mac: string; readonly tap: string }): Promise<string> {
  const links: readonly Link[] = await listLinks(pod);
  const name = (ifindex: number): string => links.find((link) => link.ifindex === ifindex)?.name ?? `if${ifindex}`;
  const owner = links.find((link) => link.mac === mac)?.name ?? (guest.mac === mac ? 'the guest' : 'nobody');
  const entry = (await listFdb(pod)).find((one) => one.mac === mac && one.ifindex !== undefined && one.master !== undefined);
  const where = entry === undefined ? 'floods it' : entry.state === 'permanent' ? `takes it for its own host's, by an entry of ${name(entry.ifindex)}` : `sends it out by ${name(entry.ifindex)}`; // prettier-ignore
  return `${owner}; the pod's bridge ${where}`;
}

export async function showFrame({ to, from }: Captured, pod: Netns, guest: { readonly mac: string; readonly tap: string }): Promise<void> {
  show('frame', `${short(from)} > ${short(to)}, IPv4, ICMP echo request to 172.17.0.5`);
  show(`who has ${short(to)}`, await ownerOf(pod, to, guest));
  show("the guest's MAC", short(guest.mac));
}
