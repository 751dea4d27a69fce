// The proofs of several guests that share the pod's address, by eBPF programs. bpf(2) wants real root.
import t from 'tap';
import { openLocalhostOn } from '../../lib/kernel/localhost.js';
import { filter, proof, statistics, usual } from './ebpf.js';
import * as proofs from './proofs.js';

t.setTimeout(600_000);

await proof('two guests', (t) => proofs.together(t, usual));
await proof('two guests: ebpf, offload', (t) => proofs.together(t, usual, { mode: 'ebpf', offload: true }));
await proof('two guests: bridge, cls_bpf', (t) => proofs.together(t, filter, { mode: 'bridge' }));
await proof("the pod's own upstream", (t) => proofs.upstream(t, usual, { guests: 2 }));
await proof('sidecars', (t) => proofs.sidecars(t, usual, { guests: 2 }));
await proof('neighbours', (t) => proofs.neighbours(t, usual));
await proof('moved', (t) => proofs.moved(t, usual));
await proof('equal source ports, 2 x 2000', (t) => proofs.equalPorts(t, usual, 2, 2000));
await proof('equal source ports, 8 guests', (t) => proofs.equalPorts(t, usual, 8, 200));
await proof('63 guests', (t) => proofs.most(t, usual));
await proof('come and go', (t) =>
  proofs.comeAndGo(t, usual, async ({ pod, link }) => {
    await using opened = await openLocalhostOn(pod, link);
    const flows = await opened!.flows();
    t.equal(flows.get(3), undefined, 'of the guest that is gone no flow is left');
    t.ok(flows.get(1)! > 1 && flows.get(2)! > 1, 'the others have theirs');
  }),
);
await proof('IPv6 is the first one’s', async (t) => {
  const world = await proofs.ipv6(t, usual, { guests: 2 });
  const before = (await statistics(world)).foreign.packets;
  t.strictSame(await proofs.outOf(world, 1, [proofs.neighbourSolicitation]), 0, 'nothing of another one’s comes out');
  // Its own stack may have said something, too.
  t.ok((await statistics(world)).foreign.packets - before >= 1n, 'and it was counted');
});
