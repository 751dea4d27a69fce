// Large tables to JavaScript objects, against C that receives the same messages and looks at none.
import { type Netns, addAddress, deleteAddress, listLinks, listNeighbors, listRoutes, setLink } from 'podtap';
import { type Bench, type Contender, type Measurement, contenders, timed } from '../measurement.js';
import { program } from '../program.js';

interface Table {
  readonly name: string;
  readonly title: string;
  readonly count: number;
  readonly command: 'routes' | 'neighbors' | 'links';
  readonly ratio: number;
  readonly list: (bench: Bench) => Promise<readonly unknown[]>;
  readonly ip: readonly string[];
  readonly fill: (bench: Bench, count: number) => Promise<unknown>;
  readonly empty: (bench: Bench) => Promise<unknown>;
}

const GROUP = 99;

/** With carrier: the kernel says of every route without one that it is 'linkdown'. Down, it forgets routes and neighbours. */
async function bothEnds(netns: Netns, { name, ifindex }: Bench['link'], up: boolean): Promise<void> {
  await setLink(netns, ifindex, { up });
  await setLink(netns, `${name}p`, { up });
}

const routes = {
  command: 'routes',
  list: ({ netns }: Bench) => listRoutes(netns, { family: 'ipv4' }),
  ip: ['-j', '-4', 'route', 'show'],
  fill: async ({ netns, floor, link }: Bench, count: number) => {
    await bothEnds(netns, link, true);
    await addAddress(netns, link.ifindex, '10.0.0.1/24');
    await floor.ask(`fill-routes ${link.ifindex} ${count}`);
  },
  empty: async ({ netns, link }: Bench) => {
    await deleteAddress(netns, link.ifindex, '10.0.0.1/24');
    await bothEnds(netns, link, false);
  },
} as const;

const tables: readonly Table[] = [
  { name: 'routes-10k', title: '10,000 routes', count: 10_000, ratio: 1.8, ...routes },
  { name: 'routes-100k', title: '100,000 routes', count: 100_000, ratio: 1.8, ...routes },
  {
    name: 'neighbors-10k',
    title: '10,000 neighbours',
    count: 10_000,
    command: 'neighbors',
    ratio: 2,
    list: ({ netns }) => listNeighbors(netns, { family: 'ipv4' }),
    ip: ['-j', '-4', 'neighbour', 'show', 'nud', 'all'],
    fill: async ({ netns, floor, link }, count) => {
      await bothEnds(netns, link, true);
      await floor.ask(`fill-neighbors ${link.ifindex} ${count}`);
    },
    empty: ({ netns, link }) => bothEnds(netns, link, false),
  },
  {
    name: 'links-1k',
    title: '1,000 links',
    count: 1000,
    command: 'links',
    ratio: 2,
    list: ({ netns }) => listLinks(netns),
    ip: ['-j', '-d', 'link', 'show'],
    fill: ({ floor }, count) => floor.ask(`fill-links ${GROUP} ${count / 2}`),
    empty: ({ floor }) => floor.ask(`fill-links ${GROUP} 0`),
  },
];

export const dumpMeasurements = tables.map(({ name, title, count, command, ratio, list, ip, fill, empty }): Measurement => ({
  name,
  figures: [{ title, unit: 'ms', target: { ratio } }],
  prepare: async (bench) => {
    await fill(bench, count);
    const podtap = async (): Promise<number[]> => {
      let found: readonly unknown[] = [];
      const nanoseconds = await timed(async () => (found = await list(bench)));
      if (found.length < count) throw new Error(`${found.length} of ${count} ${command}`);
      return [nanoseconds];
    };
    // pyroute2 takes seconds.
    const all: Contender[] = contenders(bench, command, podtap, { rounds: 1 });
    if (bench.ip) all.push({ name: 'ip -json, JSON.parse', round: async () => [await ipJson(ip)] });
    return { contenders: all, restore: async () => void (await empty(bench)) };
  },
}));

async function ipJson(args: readonly string[]): Promise<number> {
  return timed(async () => {
    const { output } = await program('ip', args);
    JSON.parse(output);
  });
}
