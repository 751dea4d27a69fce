import { type BpfInstruction, type Netns, type PacketOptions, type PacketSocket, createVeth, deleteLink, getLink, openPacketSocket, setLink } from 'podtap'; // prettier-ignore
import t, { type Test } from 'tap';
import { native } from '../../lib/native.js';
import { fresh, inside, pause } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { frame, numberOf, typeOf } from './frames.js';

/** Two ends of a wire on which nobody else says a word. */
async function wire(t: Test): Promise<{ netns: Netns; open: (link: string, options?: PacketOptions) => Promise<PacketSocket> }> {
  const netns = await fresh(t);
  const end = { up: true, addrGenMode: 'none' } as const;
  await createVeth(netns, 'v0', { ...end, mac: '02:00:00:00:00:01', peer: { ...end, name: 'v1', mac: '02:00:00:00:00:02' } });
  return {
    netns,
    open: async (link, options) => {
      const socket = await openPacketSocket(netns, link, options);
      t.teardown(() => socket.close());
      return socket;
    },
  };
}

/** The numbers of what has come by now; a last frame, which every socket takes, says that it has. */
async function heard(socket: PacketSocket, from: PacketSocket, options: Parameters<typeof frame>[2] = {}): Promise<number[]> {
  const numbers: number[] = [];
  const last = 0xffffff;
  await from.send([frame(last, 64, options)]);
  for await (const batch of socket.frames()) {
    numbers.push(...batch.map(numberOf));
    if (numbers.at(-1) === last) break;
  }
  return numbers.slice(0, -1);
}

await t.test('frames sent and received', async (t) => {
  const { open } = await wire(t);
  const [near, far] = [await open('v0'), await open('v1')];
  const batch = [frame(1), frame(2, 1514), frame(3, 60)];
  t.equal(await near.send(batch), 3);
  t.equal(await near.send([]), 0);
  const received: Uint8Array[] = [];
  for await (const frames of far.frames()) if (received.push(...frames) >= 3) break;
  t.same(received.map((bytes) => Buffer.from(bytes).toString('hex')), batch.map((bytes) => Buffer.from(bytes).toString('hex'))); // prettier-ignore
  await t.rejects(near.send([frame(1, 1519)]), { code: 'EMSGSIZE' }, 'more than the MTU');
  await t.rejects(near.send([new Uint8Array(13)]), { code: 'EINVAL' }, 'less than a header');
  t.equal(await near.send([frame(1), frame(1, 4000), frame(2)]), 1);
});

await t.test('many, both ways at once', async (t) => {
  const { open } = await wire(t);
  const options = { outgoing: false, bufferSize: 32 << 20 };
  const [near, far] = [await open('v0', options), await open('v1', options)];
  const count = 10_000;
  const collect = async (socket: PacketSocket): Promise<number[]> => {
    const numbers: number[] = [];
    for await (const batch of socket.frames()) if (numbers.push(...batch.map(numberOf)) >= count) break;
    return numbers;
  };
  const collected = [collect(near), collect(far)];
  for (let at = 0; at < count; at += 500) {
    const batch = Array.from({ length: 500 }, (_, index) => frame(at + index, 100));
    t.same(await Promise.all([near.send(batch), far.send(batch)]), [500, 500], { diagnostic: false });
  }
  const expected = Array.from({ length: count }, (_, number) => number);
  for (const numbers of collected) t.same(await numbers, expected);
});

await t.test('a filter keeps what it should', async (t) => {
  const { open } = await wire(t);
  const near = await open('v0');
  // tcpdump -dd 'ether proto 0x88b6': ldh [12]; jeq #0x88b6; ret #262144; ret #0. The last frame is of that type.
  const program: BpfInstruction[] = [[0x28, 0, 0, 12], [0x15, 0, 1, 0x88b6], [0x6, 0, 0, 262144], [0x6, 0, 0, 0]]; // prettier-ignore
  const [filtered, cut] = [await open('v1', { filter: program }), await open('v1', { filter: [[0x6, 0, 0, 20]] })];
  await near.send([frame(1), frame(2, 64, { type: 0x88b6 }), frame(3), frame(4, 64, { type: 0x88b6 }), frame(5, 64, { type: 0x0806 })]);
  t.same(await heard(filtered, near, { type: 0x88b6 }), [2, 4]);
  const first = await cut.frames().next();
  t.same(first.value!.map(({ length }) => length), [20, 20, 20, 20, 20, 20], 'its result is how many bytes are kept'); // prettier-ignore
});

await t.test('a broken filter is refused', async (t) => {
  const { open } = await wire(t);
  const before = native().openDescriptors();
  await t.rejects(open('v1', { filter: [[0x28, 0, 0, 12]] }), { code: 'EINVAL', syscall: 'setsockopt(SO_ATTACH_FILTER)' }, 'no return');
  await t.rejects(open('v1', { filter: [[0x15, 5, 5, 0], [0x6, 0, 0, 0]] }), { code: 'EINVAL' }, 'a jump out of it'); // prettier-ignore
  await t.rejects(open('v1', { filter: [[0xffff, 0, 0, 0]] }), { code: 'EINVAL' }, 'no instruction');
  await t.rejects(open('v1', { filter: [] }), { name: 'TypeError', message: /'filter' must have an instruction/ });
  await t.rejects(open('v1', { filter: [[6, 0, 0] as never] }), { name: 'TypeError', message: /'filter.0.3' must be an integer/ });
  await t.rejects(open('v1', { filter: [[6, 256, 0, 0]] }), { name: 'TypeError' });
  await t.rejects(open('v1', { filter: Array.from({ length: 4097 }, () => [6, 0, 0, 0] as const) }), { name: 'TypeError' });
  t.equal(native().openDescriptors(), before);
});

await t.test('what leaves by the device too, or not', async (t) => {
  const { open } = await wire(t);
  const [near, far, both, incoming] = [await open('v0'), await open('v1'), await open('v0'), await open('v0', { outgoing: false })];
  await near.send([frame(1), frame(2)]);
  await far.send([frame(3)]);
  await near.send([frame(4)]);
  t.same(await heard(both, far), [1, 2, 3, 4]);
  t.same(await heard(incoming, far), [3, 0xffffff]);
});

await t.test('promiscuous, while it is open', async (t) => {
  const { netns, open } = await wire(t);
  const promiscuity = async (): Promise<number | undefined> => (await getLink(netns, 'v1'))!.promiscuity;
  t.equal(await promiscuity(), 0);
  const plain = await open('v1');
  t.equal(await promiscuity(), 0);
  const all = await open('v1', { promiscuous: true });
  t.equal(await promiscuity(), 1);
  await all.close();
  t.equal(await promiscuity(), 0);
  await plain.close();
  await plain.close();
  await t.rejects(plain.send([frame(1)]), { code: 'ERR_HANDLE_CLOSED' });
  await t.rejects(plain.frames().next(), { code: 'ERR_HANDLE_CLOSED' });
});

await t.test('of one protocol', async (t) => {
  const { open } = await wire(t);
  const [near, arp] = [await open('v0'), await open('v1', { protocol: 0x0806 })];
  await near.send([frame(1), frame(2, 64, { type: 0x0806 }), frame(3, 64, { type: 0x0800 })]);
  t.same(await heard(arp, near, { type: 0x0806 }), [2]);
  await t.rejects(open('v1', { protocol: 0x10000 }), { name: 'TypeError', message: /'protocol'/ });
});

await t.test('nothing of other devices, nor from before it was bound', async (t) => {
  const { netns, open } = await wire(t);
  await createVeth(netns, 'w0', { up: true, addrGenMode: 'none', peer: { name: 'w1', up: true, addrGenMode: 'none' } });
  const [near, other] = [await open('v0'), await open('w0')];
  let going = true;
  const noise = (async () => {
    while (going) {
      await other.send(Array.from({ length: 50 }, () => frame(7)));
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  for (let round = 0; round < 20; round++) t.same(await heard(await open('v1'), near), [], { diagnostic: false });
  going = false;
  await noise;
  t.pass('20 sockets');
});

await t.test('a name, an index, an absent one', async (t) => {
  const { netns, open } = await wire(t);
  const near = await open('v0');
  const byIndex = await openPacketSocket(netns, (await getLink(netns, 'v1'))!.ifindex);
  t.same(await heard(byIndex, near), []);
  await byIndex[Symbol.asyncDispose]();
  await t.rejects(openPacketSocket(netns, 'absent'), { code: 'ENODEV' });
  await t.rejects(openPacketSocket(netns, 4711), { code: 'ENODEV' });
  await t.rejects(openPacketSocket(netns, 0), { name: 'TypeError' });
});

await t.test('the end of an iteration', async (t) => {
  const { netns, open } = await wire(t);
  const near = await open('v0');
  const before = native().openDescriptors();
  const idle = await open('v1');
  const controller = new AbortController();
  const aborted = idle.frames({ signal: controller.signal }).next();
  await pause(5);
  controller.abort();
  t.same(await aborted, { done: true, value: undefined });
  const waiting = idle.frames().next();
  await pause(5);
  await idle.close();
  t.same(await waiting, { done: true, value: undefined });
  const busy = await open('v1');
  await near.send([frame(1)]);
  const frames = busy.frames();
  t.equal((await frames.next()).value!.length, 1);
  await near.send([frame(2)]);
  await busy.close();
  t.same(await frames.next(), { done: true, value: undefined }, 'closed by the reader');
  t.equal(native().openDescriptors(), before);
  const down = await open('v1');
  const broken = t.rejects(down.frames().next(), { code: 'ENETDOWN' });
  await pause(5);
  await setLink(netns, 'v1', { up: false });
  await broken;
  await setLink(netns, 'v1', { up: true });
  const gone = t.rejects(down.frames().next(), { code: 'ENETDOWN' });
  await pause(5);
  await deleteLink(netns, 'v1');
  await gone;
});

await t.test('a queue that is full is waited for, in the order of the calls', { skip: requires('tbf') }, async (t) => {
  const { netns, open } = await wire(t);
  inside(netns, 'tc qdisc add dev v0 root tbf rate 80mbit burst 4000 limit 10000000');
  const [near, far] = [await open('v0'), await open('v1', { bufferSize: 32 << 20 })];
  let ticks = 0;
  const timer = setInterval(() => ticks++, 5);
  // 3 MB: more than a socket's buffer, 300 ms of that rate.
  const calls = Array.from({ length: 4 }, (_, call) =>
    near.send(Array.from({ length: 500 }, (_, index) => frame(call * 500 + index, 1500))),
  );
  const numbers: number[] = [];
  for await (const batch of far.frames()) if (numbers.push(...batch.map(numberOf)) >= 2000) break;
  clearInterval(timer);
  t.same(await Promise.all(calls), [500, 500, 500, 500]);
  t.same(
    numbers,
    Array.from({ length: 2000 }, (_, number) => number),
  );
  t.ok(ticks > 5, `${ticks} ticks meanwhile`);
  t.equal(typeOf(frame(1)), 0x88b5);
  inside(netns, 'tc qdisc replace dev v0 root tbf rate 8kbit burst 2000 limit 10000000');
  const stuck = near.send(Array.from({ length: 500 }, (_, index) => frame(index, 1500)));
  await pause(20);
  const rejected = t.rejects(stuck, { name: 'PodtapError', code: 'ECANCELED' });
  await near.close();
  await rejected;
});
