// Which ports Docker's resolver has: by real sockets in a namespace.
import { createSocket } from 'node:dgram';
import { Server } from 'node:net';
import t from 'tap';
import { Netns } from 'podtap';
import { listSockets } from '../../lib/kernel/diag.js';
import { dockerPorts, resolverPorts } from '../../lib/localhost/docker.js';

await t.test('found by its sockets', async (t) => {
  await using pod = await Netns.create();
  t.strictSame(await dockerPorts(pod), {}, 'there is none');
  const udp = createSocket('udp4');
  const tcp = new Server();
  const client = createSocket('udp4');
  t.teardown(() => [udp, tcp, client].map((one) => one.close()));
  udp.bind({ fd: await pod.openSocket({ type: 'udp', address: '127.0.0.11', port: 0 }) });
  const { port } = udp.address();
  t.strictSame(await dockerPorts(pod), { udp: port });
  tcp.listen({ fd: await pod.openSocket({ type: 'tcp-listen', address: '127.0.0.11', port: 0 }) });
  await new Promise<void>((resolve) => tcp.once('listening', () => resolve()));
  const found = await dockerPorts(pod);
  t.equal(found.udp, port);
  t.equal(found.tcp, (tcp.address() as { port: number }).port);
  // Somebody who asks it.
  client.bind({ fd: await pod.openSocket({ type: 'udp', address: '127.0.0.11', port: 7 }) });
  await new Promise<void>((resolve) => client.connect(port, '127.0.0.11', () => resolve()));
  t.strictSame(await dockerPorts(pod), found, 'a client is none');
  t.ok((await listSockets(pod)).some((one) => one.port === 7 && !one.open));
});

await t.test('of several', async (t) => {
  const one = { protocol: 'udp', address: '127.0.0.11', open: true } as const;
  t.strictSame(resolverPorts([{ ...one, port: 900 }, { ...one, port: 53 }, { ...one, port: 40 }]), { udp: 53 }); // prettier-ignore
  t.strictSame(resolverPorts([{ ...one, port: 900 }, { ...one, port: 400 }]), { udp: 400 }); // prettier-ignore
  t.strictSame(resolverPorts([{ ...one, port: 53, address: '127.0.0.1' }, { ...one, port: 53, open: false }]), {}); // prettier-ignore
});
