// Pods as an engine leaves them: eth0 with addresses of both families, on a bridge of the node.
import { Netns, addAddress, addRoute, createBridge, createVeth, setSysctl } from 'podtap';
import type { Test } from 'tap';

export interface Node {
  readonly netns: Netns;
  /** The number is that of its addresses: 10.1.0.NUMBER (from 2), fd00:1::NUMBER in hexadecimal digits. */
  pod(number: number): Promise<Netns>;
}

/** A node with the bridge cni0, 10.1.0.1/16 and fd00:1::1/64; what it makes is closed at the end of the test. */
export async function createNode(t: Pick<Test, 'teardown'>, { ipv6 = true } = {}): Promise<Node> {
  const made: Netns[] = [];
  t.teardown(async () => {
    for (const netns of made) await netns.close();
  });
  const fresh = async (): Promise<Netns> => {
    const netns = await Netns.create();
    made.push(netns);
    // Else the kernel goes on changing addresses for a second.
    await setSysctl(netns, 'net.ipv6.conf.default.accept_dad', 0);
    return netns;
  };
  const netns = await fresh();
  await createBridge(netns, 'cni0', { up: true });
  await addAddress(netns, 'cni0', '10.1.0.1/16');
  await addAddress(netns, 'cni0', 'fd00:1::1/64');
  return {
    netns,
    async pod(number) {
      const scope = await fresh();
      const addresses = [`10.1.${number >> 8}.${number & 255}/16`, ...(ipv6 ? [`fd00:1::${number.toString(16)}/64`] : [])];
      await createVeth(netns, `veth${number}`, { master: 'cni0', up: true, peer: { scope, name: 'eth0', addresses, up: true } });
      await addRoute(scope, { dst: 'default', via: '10.1.0.1' });
      if (ipv6) await addRoute(scope, { dst: '::/0', via: 'fd00:1::1' });
      return scope;
    },
  };
}
