import type { Netns } from 'podtap';
import { joinOverlay, nodeList } from 'podtap/overlay';
import { ping } from 'podtap/lab';
import t from 'tap';
import { compare, dump } from '../oracle/dump.js';
import { until } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { ONE, THREE, pod, two, underlay } from './nodes.js';

const skip = { skip: requires('vxlan', 'bridge') };

async function reaches(from: Netns, to: string): Promise<boolean> {
  return until(async () => (await ping(from, to, { timeout: 300 })).received > 0, 10_000);
}

await t.test('pods on two nodes talk, and leaving leaves nothing', skip, async (t) => {
  await using lab = await underlay();
  const before = await dump(lab.one);
  const registry = nodeList(two);
  {
    await using one = await joinOverlay(lab.one, { registry, bridge: true });
    await using three = await joinOverlay(lab.three, { registry, bridge: true });
    t.strictSame(one.nodes, [{ ipv4: THREE }]);
    t.strictSame(one.self, { ipv4: ONE });
    t.equal(one.mtu, 1450);
    t.strictSame(one.problems, []);
    t.equal(await one.reconcile(), 0);
    console.error(
      inside(lab.one, 'ip -d link show flannel.1; ip -d link show cni0; ip route; ip neigh; bridge fdb show dev flannel.1; ip addr'),
    );
    await using a = await pod(lab.one, 3, one.mtu, '10.244.1.3/24');
    await using b = await pod(lab.three, 3, three.mtu, '10.244.3.3/24');
    t.ok(await reaches(a, '10.244.3.3'));
    t.ok(await reaches(b, '10.244.1.3'));
    t.ok(await reaches(lab.one, '10.244.3.3'), 'from the node itself');
  }
  t.strictSame(compare(before, await dump(lab.one)), []);
});
