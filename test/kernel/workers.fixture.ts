// Run by workers.test.ts, as a worker: everything that native code does, under way at once and again and again. It loads nothing but
// the addon, so that a hundred of them are soon started.
import { parentPort } from 'node:worker_threads';
import { type Descriptor, native } from '../../lib/native.js';

parentPort!.postMessage('started');
const addon = native();
/** struct nlmsghdr, struct ifinfomsg: RTM_GETLINK, a dump. */
const dump = new Uint8Array(32);
new DataView(dump.buffer).setUint32(0, 32, true);
new DataView(dump.buffer).setUint32(4, 18 | (0x301 << 16), true);
const [into, ends] = [new Uint8Array(256 * 1024), new Uint32Array(256)];
const frame = new Uint8Array(100).fill(0xff);

async function loop(work: () => Promise<unknown>): Promise<void> {
  for (;;) {
    await work().catch(() => undefined);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
/** A wait that comes to nothing, next to one that is cancelled, next to one whose descriptor is closed or collected. */
async function waits(make: () => Promise<Descriptor>): Promise<void> {
  const [one, other] = [await make(), await make()];
  const cancelled = addon.wait(one, 'readable');
  const closed = addon.wait(other, 'readable');
  void addon.wait(await make(), 'readable').catch(() => undefined);
  addon.cancelWait(one);
  addon.close(other);
  await Promise.allSettled([cancelled, closed, addon.wait(one, 'writable')]);
}

const netns = await addon.netnsCreate();
const { socket } = await addon.netnsAttach(netns);
const packet = (): Promise<Descriptor> => addon.packetOpen(netns, { ifindex: 1, protocol: 3, bufferSize: 1 << 20 });
const [sender, reader] = [await packet(), await packet()];
const tun = { name: 'tap%d', flags: 0x1002, queues: 1 };
void loop(() => Promise.all(Array.from({ length: 20 }, () => addon.netlinkRequest(socket, dump))));
void loop(async () => addon.netnsAttach(await addon.netnsCreate()));
void loop(() => waits(packet));
void loop(() => waits(() => addon.netlinkOpen(netns, 0, { groups: [1] })));
void loop(async () => {
  const { queues } = await addon.tunOpen(netns, tun);
  void addon.wait(queues[0]!, 'readable').catch(() => undefined);
  addon.write(queues[0]!, [frame], 0);
  await addon.tunInfo(queues[0]!);
  await addon.closeSlowly(queues[0]!);
});
void loop(async () => addon.sysctlRead(await addon.sysctlOpen(netns, 'ipv4'), 'ip_forward'));
void loop(async () => {
  addon.write(sender, [frame, frame, frame], 0);
  await addon.wait(reader, 'readable');
  addon.readSocket(reader, into, ends);
});
