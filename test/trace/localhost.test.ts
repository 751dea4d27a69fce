// Paths to the pod's localhost and back, by podtap's table of nftables, against what really passes.
import t from 'tap';
import { nftOperations } from '../../lib/localhost/nft.js';
import { run } from '../../lib/operation/run.js';
import { snapshot } from '../../lib/state/snapshot.js';
import { requires } from '../support/requires.js';
import { docker, several, tracedWorld } from './localhost.js';

await t.test("scene 6: Docker's resolver", { skip: requires('tun', 'nft', 'iptables', 'u32', 'bridge') }, (t) =>
  docker(t, { backend: 'nft', hops: ['tap100 in', 'lo out', 'lo in'] }),
);

await t.test('scene 6 and 7, by nftables', { skip: requires('tun', 'nft', 'u32') }, async (t) => {
  const traced = await tracedWorld(t);
  const { pod, config } = traced.world;
  await run(pod, 'test', nftOperations(config, await snapshot(pod, new Set(['qdisc', 'filter']))));
  // Not even a question for the gateway is let pass from a strange address.
  await several(t, traced, 'NO_NEIGHBOR');
});
