// Which socket would get a packet, by the kernel's own look-up, against sockets of this process.
import { type Socket as Datagrams, createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, type Server, connect, createServer } from 'node:net';
import { Netns } from 'podtap';
import t, { type Test } from 'tap';
import { type SocketQuestion, findSocket } from '../../lib/kernel/diag.js';
import { inside } from '../support/inside.js';

interface Asking {
  readonly ask: (protocol: 'tcp' | 'udp', fromPort: number, toPort: number, more?: Partial<SocketQuestion>) => Promise<string | undefined>;
}

async function here(t: Test): Promise<Asking> {
  const netns = await Netns.current();
  t.teardown(() => netns.close());
  inside(netns, 'ip link set lo up');
  return { ask: (protocol, fromPort, toPort, more = {}) => findSocket(netns, { protocol, fromPort, toPort, from: '127.0.0.1', to: '127.0.0.1', iif: 1, ...more }) }; // prettier-ignore
}

async function listening(t: Test, address: string): Promise<number> {
  const server: Server = createServer((socket) => socket.on('error', () => undefined)).listen(0, address);
  t.teardown(() => server.close());
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

await t.test('TCP: who listens, and both ends of a connection', async (t) => {
  const { ask } = await here(t);
  const port = await listening(t, '127.0.0.1');
  const client = connect(port, '127.0.0.1');
  t.teardown(() => client.destroy());
  await once(client, 'connect');
  const own = client.localPort!;
  t.equal(await ask('tcp', 9, port), 'open');
  t.equal(await ask('tcp', 9, port, { to: '127.0.0.2' }), undefined, 'of another address');
  t.equal(await ask('udp', 9, port), undefined);
  t.equal(await ask('tcp', own, port), 'connected');
  t.equal(await ask('tcp', port, own), 'connected');
  t.equal(await ask('tcp', 9, own), undefined);
  const wide = await listening(t, '::');
  t.equal(await ask('tcp', 9, wide), 'open', 'of both families');
  t.equal(await ask('tcp', 9, wide, { from: '::1', to: '::1' }), 'open');
  t.equal(await ask('tcp', 9, port, { from: '::1', to: '::1' }), undefined);
});

await t.test('UDP: open, and connected to one sender', async (t) => {
  const { ask } = await here(t);
  const sockets: Datagrams[] = [createSocket('udp4'), createSocket('udp4')];
  t.teardown(() => sockets.forEach((socket) => socket.close()));
  const [open, connected] = sockets as [Datagrams, Datagrams];
  open.bind(0, '127.0.0.1');
  await once(open, 'listening');
  const port = open.address().port;
  connected.connect(port, '127.0.0.1');
  await once(connected, 'connect');
  const own = connected.address().port;
  t.equal(await ask('udp', 9, port), 'open');
  t.equal(await ask('udp', port, own), 'connected');
  t.equal(await ask('udp', 9, own), undefined, 'from another sender');
  t.equal(await ask('udp', own, 9), undefined);
  t.equal(await ask('tcp', 9, port), undefined);
});
