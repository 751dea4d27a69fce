// Run by test/overlay/runtimes.test.ts under each runtime: a node joins by the etcd that it is given, follows another one, and leaves.
import { Netns, createVeth, listLinks } from '../../dist/bundle/index.js';
import { etcdRegistry, joinOverlay } from '../../dist/bundle/overlay.js';

const registry = () => etcdRegistry({ endpoints: [process.argv[2]] });
const until = async (question) => {
  for (let tries = 0; !question(); tries++) {
    if (tries === 500) throw new Error(`still not: ${question}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};

const node = await Netns.create();
await createVeth(node, 'eth0', { up: true, addresses: ['192.161.1.5/24'], peer: { name: 'wire', up: true } });
const overlay = await joinOverlay(node, { registry: registry(), bridge: true, publicIp: '192.161.1.5' });
const joining = { network: { families: ['ipv4'] }, ipv4: { publicIp: '192.161.1.9' } };
const other = await registry().join(joining, () => undefined);
await until(() => overlay.nodes.length === 1);
if ((await overlay.reconcile()) !== 0) throw new Error('it was not at rest');
await other.leave();
await until(() => overlay.nodes.length === 0);
await overlay.leave();
if ((await listLinks(node)).some(({ name }) => name === 'flannel.1')) throw new Error('it is still there');
await node.close();
console.log('overlay ok');
