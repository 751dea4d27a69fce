// Macvtaps with frames on real devices. Nodes of devices can be made by real root only; what a user namespace can do is in macvtap.test.ts.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { type Macvtap, type Netns, createMacvtap, createVeth, deleteLink, openMacvtap, openPacketSocket } from 'podtap';
import t, { type Test } from 'tap';
import { native } from '../../lib/native.js';
import { fresh, inside, take } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { frame, numberOf, typeOf, udpIsValid } from './frames.js';

const skip = requires('root', 'macvtap');

async function pod(t: Test, ifindex = 9, mac = '02:00:00:00:00:22'): Promise<{ node: Netns; netns: Netns }> {
  const [node, netns] = [await fresh(t), await fresh(t)];
  for (const one of [node, netns]) inside(one, 'sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1');
  await createVeth(node, 'vn', { up: true, mac: '02:00:00:00:00:11', peer: { scope: netns, name: 'eth0', mac, up: true } });
  await createMacvtap(netns, 'mv0', { link: 'eth0', mode: 'passthru', up: true, ifindex });
  return { node, netns };
}

async function opened(t: Test, netns: Netns, options: Parameters<typeof openMacvtap>[2] = {}): Promise<Macvtap> {
  const device = await openMacvtap(netns, 'mv0', options);
  t.teardown(() => device.close());
  return device;
}

function numbers(batches: readonly (readonly Uint8Array[])[]): number[] {
  return batches.flat().filter((one) => typeOf(one) === 0x88b5).map(numberOf); // prettier-ignore
}

/** What the guest gets of frames that the wire sends, and the other way round. */
async function exchange(node: Netns, guest: Macvtap, wanted: readonly number[]): Promise<{ guest: number[]; wire: number[] }> {
  await using socket = await openPacketSocket(node, 'vn', { protocol: 0x88b5, outgoing: false });
  await guest.send(wanted.map((number) => frame(number, 64, { to: '02:00:00:00:00:11' })));
  const wire = numbers(await take(socket.frames(), 1));
  const reading = take(guest.frames(), 1);
  await socket.send(wanted.map((number) => frame(number, 64, { to: guest.mac })));
  return { guest: numbers(await reading), wire };
}

await t.test('frames cross, whatever the other namespaces have', { skip }, async (t) => {
  // The same index and name in three namespaces: /dev has one node by that name at most.
  const pods = [await pod(t), await pod(t), await pod(t, 9, '02:00:00:00:00:33')];
  const guests = await Promise.all(pods.map(({ netns }) => opened(t, netns)));
  t.equal(new Set(guests.map(({ device }) => `${device.major}:${device.minor}`)).size, 3);
  const [major] = /^ *(\d+) macvtap$/m.exec(readFileSync('/proc/devices', 'utf8'))!.slice(1);
  for (const [index, guest] of guests.entries()) {
    t.equal(guest.device.major, Number(major));
    t.match(guest, { name: 'mv0', ifindex: 9, queues: 1, vnetHdr: false, vnetHeaderBytes: 0 });
    t.strictSame(await exchange(pods[index]!.node, guest, [index + 1]), { guest: [index + 1], wire: [index + 1] });
  }
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8');
  t.notMatch(mounts, /tap9/);
  t.equal(readdirSync('/dev').filter((name) => name === 'tap9').length <= 1, true);
});

/** Tells the length of the first frame that comes by one of its two queues. */
const reader = `
import os, select, sys
print('up', flush=True)
ready, _, _ = select.select([3, 4], [], [])
print(len(os.read(ready[0], 2000)), flush=True)
sys.stdin.read()
`;

function lines(from: Readable): () => Promise<string | undefined> {
  const each = createInterface({ input: from })[Symbol.asyncIterator]();
  return async () => (await each.next()).value as string | undefined;
}

await t.test('descriptors for a child process, which the holders are told of', { skip }, async (t) => {
  const { netns, node } = await pod(t);
  const guest = await opened(t, netns, { queues: 2 });
  // Another one, which this process holds all the while.
  await (await opened(t, (await pod(t)).netns)).send([frame(1)]);
  t.same(await guest.holders(), []);
  const before = native().openDescriptors();
  const fds = await guest.takeFds();
  t.equal(fds.fds.length, 2);
  t.equal(native().openDescriptors(), before);
  for (const fd of fds.fds) t.match(readlinkSync(`/proc/self/fd/${fd}`), /tap9/);
  t.same(await guest.holders(), [{ pid: process.pid, command: readFileSync('/proc/self/comm', 'utf8').trim(), queues: 2 }]);
  const { stdio, childFds } = fds.stdio();
  t.same(childFds, [3, 4]);
  const child = spawn('python3', ['-c', reader], { stdio: ['pipe', 'pipe', ...stdio.slice(2)] });
  const said = lines(child.stdout!);
  t.equal(await said(), 'up');
  fds.close();
  t.same((await guest.holders()).map(({ pid, queues }) => ({ pid, queues })), [{ pid: child.pid!, queues: 2 }]); // prettier-ignore
  await using socket = await openPacketSocket(node, 'vn');
  await socket.send([frame(1, 77, { to: guest.mac })]);
  t.equal(await said(), '77');
  child.stdin!.end();
  await once(child, 'close');
  t.equal((await guest.holders()).length, 0);
  // What was handed over can be opened anew.
  t.equal(await guest.send([frame(1)]), 1);
});

await t.test('the vnet header and the offloads are those of the last opener, set always', { skip }, async (t) => {
  const { netns, node } = await pod(t);
  inside(node, 'ip addr add 10.1.0.1/24 dev vn; ip neigh add 10.1.0.2 lladdr 02:00:00:00:00:22 dev vn nud permanent');
  const first = async (guest: Macvtap): Promise<Uint8Array> => {
    for await (const batch of guest.frames()) {
      const found = batch.find((one) => typeOf(one.subarray(guest.vnetHeaderBytes)) === 0x0800);
      if (found !== undefined) return found;
    }
    throw new Error('closed');
  };
  const send = (): string =>
    inside(node, `python3 -c "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('10.1.0.2', 2))"`);
  {
    await using able = await openMacvtap(netns, 'mv0', { vnetHdr: true, offload: { csum: true, tso4: true } });
    t.equal(able.vnetHeaderBytes, 10);
    const reading = first(able);
    await able.send([]);
    send();
    const one = await reading;
    t.equal(one[0]! & 1, 1, 'VIRTIO_NET_HDR_F_NEEDS_CSUM: left open');
    t.equal(udpIsValid(one.subarray(10)), false);
  }
  // With the header still, because without it the kernel leaves nothing open, whatever was set.
  for (const vnetHdr of [true, false]) {
    await using plain = await openMacvtap(netns, 'mv0', { vnetHdr });
    const reading = first(plain);
    await plain.send([]);
    send();
    t.equal(udpIsValid((await reading).subarray(plain.vnetHeaderBytes)), true, 'filled in');
  }
});

await t.test('what cannot be opened', { skip }, async (t) => {
  const { netns } = await pod(t);
  await t.rejects(openMacvtap(netns, 'eth0'), { code: 'EINVAL', message: /no macvtap but of kind veth/ });
  await t.rejects(openMacvtap(netns, 'nosuch'), { code: 'ENODEV' });
  await t.rejects(openMacvtap(netns, 'mv0', { offload: { csum: true } }), { code: 'ERR_INVALID_ARG_VALUE' });
  await t.rejects(openMacvtap(netns, 'mv0', { queue: 2 } as object), { code: 'ERR_INVALID_ARG_VALUE', message: /did you mean 'queues'/ });
  const guest = await opened(t, netns);
  await deleteLink(netns, 'mv0');
  await t.rejects(guest.send([frame(1)]), { code: 'ENODEV', message: /'mv0' with ifindex 9 is gone/ });
  await createMacvtap(netns, 'mv0', { link: 'eth0', mode: 'bridge', ifindex: 10 });
  await t.rejects(guest.send([frame(1)]), { code: 'ENODEV' });
  await guest.close();
  await t.rejects(guest.send([frame(1)]), { code: 'ERR_HANDLE_CLOSED', message: /macvtap 'mv0'/ });
});
