// A node joins an overlay that has a thousand others, and one of these changes. Each round has a fresh device; taking it away is not counted.
import { Netns, createVeth, getLink } from 'podtap';
import { type ListedNode, joinOverlay, nodeList } from 'podtap/overlay';
import { type Contender, type Measurement, PODTAP, median, timed } from '../measurement.js';
import { ipBatch, program } from '../program.js';

const NODES = 1000;
/** As in bench/floor/overlay.c. */
const CHANGES = 5;

const subnet = (node: number): string => `10.${240 + (node >> 8)}.${node & 255}.0`;
const publicIp = (node: number): string => `192.161.${1 + (node >> 8)}.${node & 255}`;
const hex = (number: number): string => number.toString(16).padStart(2, '0');
const mac = (node: number): string => `02:00:00:00:${hex(node >> 8)}:${hex(node & 255)}`;
const self: ListedNode = { ipv4: { subnet: '10.250.0.0/24', publicIp: '192.161.0.5', vtepMac: '02:00:00:00:ff:ff' } };

function nodes(changed?: string): readonly ListedNode[] {
  const others = Array.from({ length: NODES }, (_, node) => ({
    ipv4: { subnet: `${subnet(node)}/24`, publicIp: publicIp(node), vtepMac: node === 7 && changed !== undefined ? changed : mac(node) },
  }));
  return [self, ...others];
}

export const overlayMeasurement: Measurement = {
  name: 'overlay',
  figures: [
    { title: `an overlay of ${NODES} other nodes, joined`, unit: 'ms' },
    { title: 'one of them changed, and followed', unit: 'ms' },
  ],
  prepare: async (bench) => {
    const node = await Netns.create();
    await createVeth(node, 'eth0', { up: true, addresses: ['192.161.0.5/16'], peer: { name: 'wire', up: true } });
    const { ifindex } = (await getLink(node, 'eth0'))!;
    const floor = async (): Promise<readonly number[]> => {
      await bench.floor.ask(`enter ${node.path}`);
      const figures = (await bench.floor.ask(`overlay ${ifindex} ${NODES}`)).slice();
      await bench.floor.ask(`enter ${bench.netns.path}`);
      return figures;
    };
    const contenders: Contender[] = [
      { name: 'C', round: floor },
      { name: PODTAP, round: () => podtap(node) },
      ...(bench.ip ? [{ name: 'ip -batch, bridge -batch', round: () => batches(node) }] : []),
    ];
    return { contenders, restore: () => node.close() };
  },
};

async function podtap(node: Netns): Promise<number[]> {
  const registry = nodeList(nodes());
  let overlay: Awaited<ReturnType<typeof joinOverlay>> | undefined;
  const joined = await timed(async () => (overlay = await joinOverlay(node, { registry, publicIp: '192.161.0.5' })));
  const samples: number[] = [];
  for (let change = 0; change < CHANGES; change++) {
    const list = nodes(`02:00:00:01:00:0${change}`);
    samples.push(await timed(() => (registry.update(list), overlay!.reconcile())));
  }
  await overlay!.leave();
  return [joined, median(samples)];
}

async function batches(node: Netns): Promise<number[]> {
  const others = Array.from({ length: NODES }, (_, index) => index);
  const bridgeBatch = (commands: readonly string[]): Promise<{ nanoseconds: number }> =>
    program('nsenter', [`--net=${node.path}`, 'bridge', '-batch', '-'], commands.join('\n'));
  const first = await ipBatch(
    [
      'link add flannel.1 mtu 1450 type vxlan id 1 dev eth0 local 192.161.0.5 dstport 8472 nolearning',
      'link set dev flannel.1 up',
      'address add 10.250.0.0/32 dev flannel.1',
      ...others.map((one) => `neigh replace ${subnet(one)} lladdr ${mac(one)} dev flannel.1 nud permanent`),
    ],
    node.path,
  );
  const second = await bridgeBatch(others.map((one) => `fdb replace ${mac(one)} dev flannel.1 dst ${publicIp(one)} self permanent`));
  const third = await ipBatch(others.map((one) => `route add ${subnet(one)}/24 via ${subnet(one)} dev flannel.1 onlink`), node.path); // prettier-ignore
  const changes: number[] = [];
  let old = mac(7);
  for (let change = 0; change < CHANGES; change++) {
    const fresh = `02:00:00:01:00:0${change}`;
    const near = await ipBatch([`neigh replace ${subnet(7)} lladdr ${fresh} dev flannel.1 nud permanent`], node.path);
    const far = await bridgeBatch([`fdb replace ${fresh} dev flannel.1 dst ${publicIp(7)} self permanent`, `fdb delete ${old} dev flannel.1`]); // prettier-ignore
    changes.push(near.nanoseconds + far.nanoseconds);
    old = fresh;
  }
  await ipBatch(['link delete flannel.1'], node.path);
  return [first.nanoseconds + second.nanoseconds + third.nanoseconds, median(changes)];
}
