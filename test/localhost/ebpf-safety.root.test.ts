// What must not get to the pod's localhost, by eBPF programs. bpf(2) wants real root.
import t from 'tap';
import { openLocalhostOn } from '../../lib/kernel/localhost.js';
import { CELLS } from '../../lib/wire/bpf/localhost.js';
import { proof, statistics, usual } from './ebpf.js';
import * as proofs from './proofs.js';

t.setTimeout(900_000);

await proof('closed', (t) => proofs.closed(t, usual, async (world) => (await statistics(world)).closed.packets));
await proof('from outside', (t) => proofs.fromOutside(t, usual));
await proof('no door', (t) => proofs.noDoor(t, usual));
await proof('flood', (t) =>
  proofs.flood(t, usual, 1_000_000, async ({ pod, link }) => {
    await using opened = await openLocalhostOn(pod, link);
    const { flowNew } = await opened!.statistics();
    t.ok(flowNew.packets > 990_000n, `${flowNew.packets} were begun`);
    const flows = await opened!.flows();
    t.ok(flows.get(3)! <= CELLS / 4, `${flows.get(3)} are left of the flood, a quarter of ${CELLS}`);
    t.ok(flows.get(2)! > 100, 'the other guest has its own');
  }),
);
