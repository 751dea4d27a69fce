// The proofs of the pod's localhost, by eBPF programs. bpf(2) wants real root.
import { addQdisc } from 'podtap';
import t, { type Test } from 'tap';
import { attachLocalhost, configureLocalhost, openLocalhostOn } from '../../lib/kernel/localhost.js';
import { CELLS } from '../../lib/wire/bpf/localhost.js';
import { requires } from '../support/requires.js';
import * as proofs from './proofs.js';
import type { World } from './world.js';

t.setTimeout(900_000);
const skip = requires('tun', 'root', 'tcx');
const only = process.env.ONLY;
const proof = async (name: string, run: (t: Test) => Promise<void>): Promise<void> => {
  if (only === undefined || name.includes(only)) await t.test(name, { skip }, run);
};

const tcx: proofs.Backend = {
  name: 'tcx',
  attach: (pod, config) => attachLocalhost(pod, { config, hook: 'tcx' }),
  configure: configureLocalhost,
};
const filter: proofs.Backend = {
  name: 'cls_bpf',
  attach: async (pod, config) => {
    for (const link of ['lo', config.link, ...config.guests.map(({ tap }) => tap)]) await addQdisc(pod, link, { kind: 'clsact' });
    await attachLocalhost(pod, { config, hook: 'filter' });
  },
  configure: configureLocalhost,
};
const counted =
  (name: 'closed' | 'spoofed') =>
  async (world: World): Promise<bigint> => {
    await using opened = await openLocalhostOn(world.pod, world.link);
    return (await opened!.statistics())[name].packets;
  };

for (const [mode, offload] of [
  ['redirect', false],
  ['redirect', true],
  ['ebpf', false],
  ['bridge', true],
] as const)
  await proof(`one guest's services: ${mode}${offload ? ', offload' : ''}`, (t) => proofs.services(t, tcx, { mode, offload }));
await proof("one guest's services: bridge, cls_bpf", (t) => proofs.services(t, filter, { mode: 'bridge' }));
await proof('surroundings', (t) => proofs.surroundings(t, tcx));
await proof('literal 127.x.y.z', (t) => proofs.literal(t, tcx));
for (const mode of ['redirect', 'ebpf'] as const) await proof(`the pod's own upstream: ${mode}`, (t) => proofs.upstream(t, tcx, { mode }));
await proof("the pod's own upstream: 2 guests", (t) => proofs.upstream(t, tcx, { guests: 2 }));
await proof('closed', (t) => proofs.closed(t, tcx, counted('closed')));
await proof('from outside', (t) => proofs.fromOutside(t, tcx));
await proof('sidecars', (t) => proofs.sidecars(t, tcx, {}));
await proof('sidecars: bridge, offload', (t) => proofs.sidecars(t, tcx, { mode: 'bridge', offload: true }));
await proof('gateway', (t) => proofs.substitute(t, tcx));
await proof('two guests', (t) => proofs.together(t, tcx));
await proof('two guests: ebpf, offload', (t) => proofs.together(t, tcx, { mode: 'ebpf', offload: true }));
await proof('two guests: bridge, cls_bpf', (t) => proofs.together(t, filter, { mode: 'bridge' }));
await proof('neighbours', (t) => proofs.neighbours(t, tcx));
await proof('equal source ports, 2 x 2000', (t) => proofs.equalPorts(t, tcx, 2, 2000));
await proof('equal source ports, 8 guests', (t) => proofs.equalPorts(t, tcx, 8, 200));
await proof('come and go', (t) => proofs.comeAndGo(t, tcx));
await proof('flood', (t) =>
  proofs.flood(t, tcx, 1_000_000, async ({ pod, link }) => {
    await using opened = await openLocalhostOn(pod, link);
    const { flowNew } = await opened!.statistics();
    t.ok(flowNew.packets > 990_000n, `${flowNew.packets} were begun`);
    const flows = await opened!.flows();
    t.ok(flows.get(3)! <= CELLS / 4, `${flows.get(3)} are left of the flood, a quarter of ${CELLS}`);
    t.ok(flows.get(2)! > 100, 'the other guest has its own');
  }),
);
await proof('IPv6, one guest', (t) => proofs.ipv6(t, tcx, {}));
await proof('IPv6, two guests', (t) => proofs.ipv6(t, tcx, { guests: 2 }));
