// What must work alike in Node, Bun and Deno: plain JavaScript, no test framework. Prints 'smoke ok'.
import assert from 'node:assert/strict';
import net from 'node:net';
import { once } from 'node:events';
import {
  Netns,
  addAddress,
  addRoute,
  bridgeEnslave,
  checkHost,
  cloneMac,
  createTap,
  deleteLink,
  getLink,
  listLinks,
  listRoutes,
  openPacketSocket,
  readAddr,
  readSysctl,
  setLink,
  setSysctl,
  watch,
} from 'podtap';
import { GuestConfigError, guestOf, linuxCmdline, qemu } from 'podtap/guest';
import { createLab, ping, runGuest } from 'podtap/lab';

const lab = await createLab({
  nodes: { client: {}, pod: {} },
  links: [{ client: '10.0.0.1/24 fd00::1/64', pod: '10.0.0.2/24 fd00::2/64' }],
});

// requests, both families, many at once
assert.equal((await ping(lab.client, '10.0.0.2')).received, 1);
assert.equal((await ping(lab.client, 'fd00::2')).received, 1);
const eth0 = await readAddr(lab.pod, 'eth0');
assert.deepEqual(
  eth0.addresses.map(({ address }) => address).filter((address) => !address.startsWith('fe80')),
  ['10.0.0.2/24', 'fd00::2/64'],
);
await addRoute(lab.pod, { dst: '10.9.0.0/16', via: '10.0.0.1', metric: 7 });
assert.equal((await listRoutes(lab.pod, { family: 'ipv4' })).filter(({ metric }) => metric === 7).length, 1);
assert.ok((await Promise.all(Array.from({ length: 200 }, () => getLink(lab.pod, 'eth0')))).every((link) => link?.name === 'eth0'));
await setSysctl(lab.pod, 'net.ipv4.conf.eth0.rp_filter', 2);
assert.equal(await readSysctl(lab.pod, 'net.ipv4.conf.eth0.rp_filter'), '2');

// what the guest is told
const told = guestOf(eth0, { tap: 'tap100' });
assert.deepEqual(
  told.addresses.map(({ address }) => address),
  ['10.0.0.2/24', 'fd00::2/64'],
);
assert.equal(qemu(told).args[0], '-netdev');
assert.equal(linuxCmdline(told, { without: ['ipv6'] }).text, 'ip=10.0.0.2:::255.255.255.0::eth0:off');
assert.throws(() => linuxCmdline(told), GuestConfigError);

// errors
await assert.rejects(addAddress(lab.pod, 'eth0', '10.0.0.2/99'), { code: 'ERR_INVALID_ARG_VALUE' });
await assert.rejects(addAddress(lab.pod, 'eth0', '10.0.0.2/24'), { code: 'EEXIST', name: 'NetlinkError', errno: -17 });
await assert.rejects(Netns.open('/nowhere'), { code: 'ERR_NETNS_GONE' });

// events
const stop = new AbortController();
const seen = [];
const watching = (async () => {
  for await (const event of watch(lab.pod, { groups: ['link'], resync: true, signal: stop.signal })) {
    seen.push(event.type);
    if (event.type === 'snapshot') await setLink(lab.pod, 'lo', { mtu: 1400 });
    if (event.type === 'new' && event.object.name === 'lo') stop.abort();
  }
})();
await watching;
assert.deepEqual(seen.slice(0, 2), ['snapshot', 'new']);

// a guest behind a TAP, by frames through this process
const tap = await createTap(lab.pod, 'tap100', { mtu: 1500 });
const { guestMac } = await cloneMac(lab.pod, { from: 'eth0' });
await bridgeEnslave(lab.pod, { bridge: 'br0', ports: ['eth0', 'tap100'] });
const guest = await runGuest(tap, { mac: guestMac, addresses: ['10.0.0.3/24'] });
assert.equal((await ping(lab.client, '10.0.0.3', { timeout: 3000 })).received, 1);

// a connection; Bun's net.Socket does not read from a descriptor, its net.connect does, and Deno (2.9) has neither
if (globalThis.Deno === undefined) {
  const server = net.createServer((socket) => socket.end('hi'));
  server.listen({ fd: await guest.netns.openSocket({ type: 'tcp-listen', address: '0.0.0.0', port: 80 }) });
  const fd = await lab.client.openSocket({ type: 'tcp-connect', address: '10.0.0.3', port: 80 });
  const client = globalThis.Bun === undefined ? new net.Socket({ fd, readable: true, writable: true }) : net.connect({ fd });
  assert.equal(String((await once(client, 'data'))[0]), 'hi');
  client.destroy();
  server.close();
}

// raw frames
const wire = await openPacketSocket(lab.client, 'eth0', { outgoing: false });
const frames = wire.frames();
const next = frames.next();
await ping(lab.pod, '10.0.0.1', { timeout: 100 }).catch(() => undefined);
await ping(guest.netns, '10.0.0.1');
assert.ok((await next).value[0].length >= 14);
await frames.return();
await wire.close();

// a program inside; it waits to be listened to, because Bun (1.4) drops what a program that has ended wrote
const child = await lab.pod.spawn('sh', ['-c', 'read line; readlink /proc/self/ns/net'], { stdio: ['pipe', 'pipe', 'inherit'] });
const output = once(child.stdout, 'data');
child.stdin.end('go\n');
assert.equal(String((await output)[0]).trim(), `net:[${lab.pod.id.inode}]`);

assert.equal((await checkHost()).features.bridge, true);
await guest.close();
await tap.close();
assert.equal(await deleteLink(lab.pod, 'tap100'), true);
assert.equal((await listLinks(lab.pod, { kind: 'tun' })).length, 0);
await lab[Symbol.asyncDispose]();
await assert.rejects(getLink(lab.pod, 'eth0'), { code: 'ERR_NETNS_CLOSED' });
console.log('smoke ok');
