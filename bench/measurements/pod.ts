// What a pod gets, by the primitives in sequence: eth0 read, a TAP, the address taken off, a bridge, another MAC. Each pod is a
// namespace of its own, and each contender gets fresh ones. Entering it is not counted.
import { type Netns, bridgeEnslave, cloneMac, createTap, deleteAddress, readAddr } from 'podtap';
import { type Contender, type Measurement, PODTAP, median, timed } from '../measurement.js';
import { createPod, deletePods } from '../pods.js';
import { ipBatch, ipScript } from '../program.js';
import type { Worker } from '../worker.js';

const GROUP = 88;

export const podMeasurement: Measurement = {
  name: 'pod',
  figures: [{ title: 'a pod: readAddr, createTap, deleteAddress, bridgeEnslave, cloneMac', unit: 'µs' }],
  prepare: async (bench) => {
    const each = bench.quick ? 2 : 4;
    const pods: Netns[] = [];
    const shells = bench.ip ? [shell('ip -batch', ipBatch), shell('ip, one process each', ipScript)] : [];
    const competing = [
      { name: 'C', plumb: byWorker(bench.floor) },
      { name: PODTAP, plumb },
      ...bench.peers.map(({ name, worker }) => ({ name, plumb: byWorker(worker) })),
      ...shells,
    ];
    // All of them first: no namespace is made or taken down while another is measured.
    const contenders: Contender[] = [];
    for (const { name, plumb } of competing) {
      const own: Netns[] = [];
      for (let count = 0; count < each * (bench.rounds + 1); count++) own.push(await createPod(bench, pods.length + own.length, GROUP));
      pods.push(...own);
      contenders.push({
        name,
        round: async () => {
          const samples: number[] = [];
          for (const pod of own.splice(0, each)) samples.push(await plumb(pod));
          return [median(samples)];
        },
      });
    }
    return {
      contenders,
      restore: async () => {
        for (const worker of [bench.floor, ...bench.peers.map((peer) => peer.worker)]) await worker.ask(`enter ${bench.netns.path}`);
        await deletePods(bench, pods, GROUP);
      },
    };
  },
};

async function plumb(pod: Netns): Promise<number> {
  return timed(async () => {
    const eth0 = await readAddr(pod, 'eth0');
    await createTap(pod, 'tap100');
    for (const address of eth0.addresses) if (!address.address.includes(':')) await deleteAddress(pod, eth0.ifindex, address);
    await bridgeEnslave(pod, { bridge: 'br0', ports: ['eth0', 'tap100'] });
    await cloneMac(pod, { from: 'eth0' });
  });
}

function byWorker(worker: Worker): (pod: Netns) => Promise<number> {
  return async (pod) => {
    await worker.ask(`enter ${pod.path}`);
    const [nanoseconds] = await worker.ask('pod');
    return nanoseconds!;
  };
}

const commands = [
  'link show dev eth0',
  'address show dev eth0',
  'route show',
  '-6 route show',
  'rule show',
  '-6 rule show',
  'neighbour show dev eth0',
  'tuntap add dev tap100 mode tap',
  'link set dev tap100 up',
  'address delete 10.1.0.2/24 dev eth0',
  'link add br0 type bridge',
  'link set dev eth0 master br0',
  'link set dev tap100 master br0',
  'link set dev br0 up',
  'link set dev eth0 address 02:00:00:00:02:01',
];

function shell(name: string, run: typeof ipBatch): { name: string; plumb: (pod: Netns) => Promise<number> } {
  // A batch takes no options.
  const batch = commands.map((command) => (run === ipBatch ? command.replace(/^-6 /, '') : command));
  return { name, plumb: async (pod) => (await run(batch, pod.path)).nanoseconds };
}
