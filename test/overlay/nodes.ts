// Two or three nodes of the document, with a router between their subnets, and pods behind the bridges.
import { type Netns, addRoute, createVeth } from 'podtap';
import { createLab } from 'podtap/lab';
import type { ListedNode } from 'podtap/overlay';
import { Netns as Namespace } from 'podtap';

export const ONE = { subnet: '10.244.1.0/24', publicIp: '192.161.1.5', vtepMac: '56:65:b2:90:18:f2' } as const;
export const THREE = { subnet: '10.244.3.0/24', publicIp: '192.160.0.6', vtepMac: '46:d8:ad:31:bc:47' } as const;
/** On the segment of node one. */
export const TWO = { subnet: '10.244.2.0/24', publicIp: '192.161.1.7', vtepMac: 'ba:b9:7e:49:ba:b0' } as const;
export const WIDE_ONE = { subnet: 'fd00:10:244:1::/64', publicIp: 'fd00:161::5', vtepMac: '02:00:00:00:06:01' } as const;
export const WIDE_THREE = { subnet: 'fd00:10:244:3::/64', publicIp: 'fd00:160::6', vtepMac: '02:00:00:00:06:03' } as const;

export const two: readonly ListedNode[] = [{ ipv4: ONE }, { ipv4: THREE }];

/** Nodes one and three in subnets of their own, node two beside node one: by a link of its own, for a segment needs a switch. */
export function underlay(): Promise<Record<'one' | 'three' | 'router', Netns> & AsyncDisposable> {
  return createLab({
    nodes: { one: {}, three: {}, router: { forward: true } },
    links: [
      { one: '192.161.1.5/24 fd00:161::5/64', router: '192.161.1.2/24 fd00:161::2/64' },
      { three: '192.160.0.6/16 fd00:160::6/64', router: '192.160.0.2/16 fd00:160::2/64' },
    ],
    routes: {
      one: { default: '192.161.1.2', '::/0': 'fd00:161::2' },
      three: { default: '192.160.0.2', '::/0': 'fd00:160::2' },
    },
  });
}

/** A pod behind the node's bridge; it takes the bridge's MTU. */
export async function pod(node: Netns, number: number, mtu: number, address: string, wide?: string): Promise<Netns> {
  const netns = await Namespace.create();
  const gateway = address.replace(/\d+\/\d+$/, '1');
  await createVeth(node, `veth${number}`, {
    master: 'cni0',
    mtu,
    up: true,
    peer: { scope: netns, name: 'eth0', mtu, addresses: [address, ...(wide === undefined ? [] : [wide])], up: true },
  });
  await addRoute(netns, { dst: 'default', via: gateway });
  if (wide !== undefined) await addRoute(netns, { dst: '::/0', via: wide.replace(/::.*$/, '::1') });
  return netns;
}
