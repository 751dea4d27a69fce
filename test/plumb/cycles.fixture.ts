// Plumbs a pod and undoes it, so many times, in one process; prints what is there after the warm-up and at the end, and thirty sizes.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { listAddresses, listLinks, listNeighbors, listRoutes, plumb } from 'podtap';
import { native } from '../../lib/native.js';
import { createNode } from '../support/pod.js';

const cycles = Number(process.argv[2]);
const journal = '/run/podtap';
const teardowns: (() => unknown)[] = [];
const node = await createNode({ teardown: (work: () => unknown) => void teardowns.push(work) });
const pod = await node.pod(2);

async function state(): Promise<object> {
  const routes = (await listRoutes(pod, { table: 'all' })).map((route) => JSON.stringify(route)).sort();
  return {
    descriptors: readdirSync('/proc/self/fd').length,
    owned: native().openDescriptors(),
    threads: readdirSync('/proc/self/task').length,
    journal: existsSync(journal) ? readdirSync(journal) : [],
    links: (await listLinks(pod)).map(({ name, mac, mtu, flags, master }) => JSON.stringify({ name, mac, mtu, flags, master })),
    nodeLinks: (await listLinks(node.netns)).length,
    addresses: (await listAddresses(pod)).map(({ address, flags, ifindex }) => JSON.stringify({ address, flags, ifindex })),
    routes,
    neighbors: (await listNeighbors(pod)).filter(({ state }) => state === 'permanent').length,
  };
}

/** Bytes, when the garbage is gone. */
async function measure(): Promise<void> {
  for (let round = 0; round < 3; round++) {
    (globalThis as { gc?: () => void }).gc!();
    await new Promise((resolve) => setImmediate(resolve)); // finalizers
  }
  resident.push(Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'))![1]) * 1024);
  heap.push(process.memoryUsage().heapUsed);
}

const resident: number[] = [];
const heap: number[] = [];
let first: object | undefined;
for (let thirtieth = 1; thirtieth <= 30; thirtieth++) {
  const upTo = Math.round((cycles * thirtieth) / 30);
  for (let count = Math.round((cycles * (thirtieth - 1)) / 30); count < upTo; count++) {
    const net = await plumb(pod, { tap: 'tap0', label: `vm/${count % 7}`, hostname: 'guest' });
    const { state, leftBehind } = await net.undo();
    if (state !== 'undone' || leftBehind.length > 0) throw new Error(`cycle ${count}: ${state}, ${leftBehind.join('; ')}`);
  }
  await measure();
  if (thirtieth === 10) first = await state();
}
console.log(JSON.stringify({ first, last: await state(), resident, heap }));
for (const teardown of teardowns) await teardown();
