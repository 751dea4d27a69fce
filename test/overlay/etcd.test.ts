import { getLink, listFdb, listNeighbors, listRoutes } from 'podtap';
import { ping } from 'podtap/lab';
import { etcdRegistry, joinOverlay } from 'podtap/overlay';
import t from 'tap';
import { until } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { pod, underlay } from './nodes.js';
import { PREFIX, config, etcd, flannel } from './server.js';

const skip = { skip: requires('vxlan', 'bridge') };

await t.test('two nodes find each other, and a flannel node', skip, async (t) => {
  const server = await etcd(t);
  await server.put(`${PREFIX}/config`, config());
  await using lab = await underlay();
  const registry = (): ReturnType<typeof etcdRegistry> => etcdRegistry({ endpoints: [server.url] });
  {
    await using one = await joinOverlay(lab.one, { registry: registry(), bridge: true });
    await using three = await joinOverlay(lab.three, { registry: registry(), bridge: true });
    t.ok(await until(() => one.nodes.length === 1));
    t.strictSame(one.nodes, [three.self]);
    t.strictSame(three.nodes, [one.self]);
    const key = one.self.ipv4!.subnet.replace('/', '-');
    const kept = await server.get(`${PREFIX}/subnets/${key}`);
    t.equal(kept?.value, flannel('192.161.1.5', (await getLink(lab.one, 'flannel.1'))!.mac));
    t.not(kept?.lease, '0');
    const [a, b] = [one, three].map(({ self }) => self.ipv4!.subnet.replace('.0/24', '.3/24'));
    await using from = await pod(lab.one, 3, one.mtu, a!);
    await using _to = await pod(lab.three, 3, three.mtu, b!);
    t.ok(await until(async () => (await ping(from, b!.replace('/24', ''), { timeout: 300 })).received > 0));

    await server.put(`${PREFIX}/subnets/10.244.200.0-24`, flannel('192.161.1.99', '0a:00:00:00:00:99'));
    t.ok(await until(async () => (await listRoutes(lab.one)).some(({ dst }) => dst === '10.244.200.0/24')));
    t.ok(
      (await listNeighbors(lab.one, { link: 'flannel.1' })).some(
        ({ address, mac }) => address === '10.244.200.0' && mac === '0a:00:00:00:00:99',
      ),
    );
    t.ok((await listFdb(lab.one, { link: 'flannel.1' })).some(({ mac, dst }) => dst === '192.161.1.99' && mac === '0a:00:00:00:00:99'));
    await server.delete(`${PREFIX}/subnets/10.244.200.0-24`);
    t.ok(await until(async () => !(await listRoutes(lab.one)).some(({ dst }) => dst === '10.244.200.0/24')));
  }
  t.strictSame(await server.keys(), []);
});
