// Pods as an engine leaves them: a namespace with a veth, an address and a default route.
import { setTimeout as delay } from 'node:timers/promises';
import { Netns, addRoute, createVeth } from 'podtap';
import type { Bench } from './measurement.js';

/** The kernel takes namespaces down behind one's back, and holds RTNL for it. */
export const SETTLE_MILLISECONDS = 2000;

/** Their ends in the benchmark's namespace are in the group, and are deleted by it. */
export async function createPod({ netns }: Bench, number: number, group: number): Promise<Netns> {
  const pod = await Netns.create();
  await createVeth(netns, `h${number}`, {
    group,
    up: true,
    peer: { scope: pod, name: 'eth0', up: true, addresses: ['10.1.0.2/24'] },
  });
  await addRoute(pod, { dst: 'default', via: '10.1.0.1' });
  return pod;
}

export async function deletePods({ floor }: Bench, pods: readonly Netns[], group: number): Promise<void> {
  await floor.ask(`fill-links ${group} 0`);
  for (const pod of pods) await pod.close();
  await delay(SETTLE_MILLISECONDS);
}
