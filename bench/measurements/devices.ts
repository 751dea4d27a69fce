// Devices made and deleted one by one. Deleting waits for the kernel (RCU), whoever asks.
import { createBridge, createTap, createVeth, deleteLink } from 'podtap';
import { type Bench, type Measurement, contenders, repeat } from '../measurement.js';
import { ipContenders } from '../program.js';

interface Kind {
  readonly name: string;
  readonly title: string;
  readonly create: (bench: Bench, name: string) => Promise<unknown>;
  readonly ip: (name: string) => string;
}

const kinds: readonly Kind[] = [
  {
    name: 'tap',
    title: 'a TAP',
    create: ({ netns }, name) => createTap(netns, name, { up: false }),
    ip: (name) => `tuntap add dev ${name} mode tap`,
  },
  {
    name: 'veth',
    title: 'a pair of veth',
    create: ({ netns }, name) => createVeth(netns, name, { peer: { name: `${name}p` } }),
    ip: (name) => `link add ${name} type veth peer name ${name}p`,
  },
  {
    name: 'bridge',
    title: 'a bridge',
    create: ({ netns }, name) => createBridge(netns, name),
    ip: (name) => `link add ${name} type bridge`,
  },
];

export const deviceMeasurements = kinds.map(({ name, title, create, ip }): Measurement => ({
  name,
  figures: [
    { title: `${title}, made`, unit: 'µs' },
    { title: `${title}, deleted`, unit: 'ms' },
  ],
  prepare: (bench) => {
    const count = bench.quick ? 2 : 5;
    const names = Array.from({ length: count }, (_, index) => `bench${index}`);
    const podtap = async (): Promise<number[]> => [
      await repeat(count, (index) => create(bench, names[index]!)),
      await repeat(count, (index) => deleteLink(bench.netns, names[index]!)),
    ];
    const deletions = names.map((each) => `link delete ${each}`);
    return Promise.resolve({
      contenders: [...contenders(bench, `${name} ${count}`, podtap), ...ipContenders(bench, count, names.map(ip), deletions)],
    });
  },
}));
