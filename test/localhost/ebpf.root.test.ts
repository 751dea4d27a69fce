// The proofs of one guest's way to the pod's localhost, by eBPF programs. bpf(2) wants real root.
import t from 'tap';
import { filter, proof, statistics, usual } from './ebpf.js';
import * as proofs from './proofs.js';

t.setTimeout(600_000);

for (const [mode, offload] of [
  ['redirect', false],
  ['redirect', true],
  ['ebpf', false],
  ['bridge', true],
] as const)
  await proof(`services: ${mode}${offload ? ', offload' : ''}`, async (t) => {
    const counted = await statistics(await proofs.services(t, usual, { mode, offload }));
    for (const name of ['toService', 'fromService', 'echoAnswered', 'closed'] as const) t.ok(counted[name].packets > 0n, name);
    t.equal(counted.closed.packets, 1n, 'nobody’s alias');
    t.ok(counted.toService.bytes > 3_000_000n && counted.fromService.bytes > 3_000_000n);
    for (const name of ['spoofed', 'martian', 'flowNew', 'foreign', 'tooLong', 'failed'] as const) t.equal(counted[name].packets, 0n, name);
  });
await proof('services: bridge, cls_bpf', async (t) => void (await proofs.services(t, filter, { mode: 'bridge' })));
await proof('surroundings', (t) => proofs.surroundings(t, usual));
await proof('literal 127.x.y.z', (t) => proofs.literal(t, usual));
for (const mode of ['redirect', 'ebpf'] as const)
  await proof(`the pod's own upstream: ${mode}`, (t) => proofs.upstream(t, usual, { mode }));
await proof('sidecars', (t) => proofs.sidecars(t, usual, {}));
await proof('sidecars: bridge, offload', (t) => proofs.sidecars(t, usual, { mode: 'bridge', offload: true }));
await proof('gateway', (t) => proofs.substitute(t, usual));
await proof('IPv6', async (t) => void (await proofs.ipv6(t, usual, {})));
