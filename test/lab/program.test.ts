// A program as a user of the lab would write it, for node's own test runner; what it says is lab.test.ts's to read.
import assert from 'node:assert';
import { once } from 'node:events';
import net from 'node:net';
import test from 'node:test';
import { createLab } from 'podtap/lab';

await test('client reaches server through the router', async () => {
  await using lab = await createLab({
    nodes: { client: {}, router: { forward: true }, server: {} },
    links: [{ client: '10.0.1.2/24', router: '10.0.1.1/24' }, { router: '10.0.2.1/24', server: '10.0.2.2/24' }], // prettier-ignore
    routes: { client: { default: '10.0.1.1' }, server: { default: '10.0.2.1' } },
  });
  const listening = await lab.server.openSocket({ type: 'tcp-listen', address: '0.0.0.0', port: 80 });
  const server = net.createServer((socket) => socket.end('hi')).listen({ fd: listening });
  const client = new net.Socket({ fd: await lab.client.openSocket({ type: 'tcp-connect', address: '10.0.2.2', port: 80 }) });
  assert.equal(String((await once(client, 'data'))[0]), 'hi');
  server.close();
  client.destroy(); // the lab goes, and may take the other end's FIN with it
});
