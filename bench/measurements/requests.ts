// Single requests, each awaited, and many in one trip.
import { addAddress, deleteAddress, getLink, setLink } from 'podtap';
import { Netns } from '../../lib/kernel/netns.js';
import type { Operation } from '../../lib/operation/kinds.js';
import { run } from '../../lib/operation/run.js';
import { type Bench, type Measurement, contenders, repeat } from '../measurement.js';
import { ipContenders } from '../program.js';

/** As in bench/floor/requests.c. */
const CHANGES = 100;
const IP_TIMES = 10;

interface Request {
  readonly name: string;
  readonly title: string;
  readonly times: number;
  /** What more it may take than the floor: a trip to another thread and back. */
  readonly trips?: number;
  readonly once: (bench: Bench, index: number) => Promise<unknown>;
  readonly ip: (link: string, index: number) => readonly string[];
}

const TRIP = 40_000;

/** No public function makes many changes in one trip: the library's own one does, outside of the bundle, where a Netns is another class. */
let own: Promise<Netns> | undefined;

const requests: readonly Request[] = [
  {
    name: 'getlink',
    title: 'a link by its index',
    times: 500,
    trips: 1,
    once: ({ netns, link }) => getLink(netns, link.ifindex),
    ip: (link) => [`link show dev ${link}`],
  },
  {
    name: 'updown',
    title: 'a link up, and down',
    times: 200,
    trips: 2,
    once: async ({ netns, link }) => {
      await setLink(netns, link.ifindex, { up: true });
      await setLink(netns, link.ifindex, { up: false });
    },
    ip: (link) => [`link set dev ${link} up`, `link set dev ${link} down`],
  },
  {
    name: 'address',
    title: 'an address added, and deleted',
    times: 200,
    trips: 2,
    once: async ({ netns, link }) => {
      await addAddress(netns, link.ifindex, '10.99.0.1/24');
      await deleteAddress(netns, link.ifindex, '10.99.0.1/24');
    },
    ip: (link) => [`address add 10.99.0.1/24 dev ${link}`, `address delete 10.99.0.1/24 dev ${link}`],
  },
  {
    name: 'mac',
    title: 'another MAC',
    times: 200,
    trips: 1,
    once: ({ netns, link }, index) => setLink(netns, link.ifindex, { mac: `02:00:00:00:01:0${index % 2}` }),
    ip: (link, index) => [`link set dev ${link} address 02:00:00:00:01:0${index % 2}`],
  },
  {
    name: 'change',
    title: `${CHANGES} changes of a link, in one trip where that is possible`,
    times: 10,
    once: async ({ link }) =>
      run(
        await (own ??= Netns.open({ pid: process.pid })),
        'bench',
        Array.from({ length: CHANGES }, (_, index): Operation => ({
          op: 'link.set',
          link: link.ifindex,
          change: { txQueueLength: 1000 + (index % 2) },
        })),
      ),
    ip: (link) => Array.from({ length: CHANGES }, (_, index) => `link set dev ${link} txqueuelen ${1000 + (index % 2)}`),
  },
];

export const requestMeasurements = requests.map(({ name, title, times, trips, once, ip }): Measurement => ({
  name,
  figures: [{ title, unit: 'µs', ...(trips !== undefined && { target: { more: trips * TRIP } }) }],
  prepare: (bench) => {
    const { link } = bench;
    const ipTimes = name === 'change' ? 1 : IP_TIMES;
    const commands = Array.from({ length: ipTimes }, (_, index) => ip(link.name, index)).flat();
    return Promise.resolve({
      contenders: [
        ...contenders(bench, `${name} ${link.ifindex} ${times}`, async () => [await repeat(times, (index) => once(bench, index))]),
        ...ipContenders(bench, ipTimes, commands),
      ],
    });
  },
}));
