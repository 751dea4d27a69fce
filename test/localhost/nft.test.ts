// The proofs of the pod's localhost, by nftables. In a user namespace, which is enough.
import type { Netns } from 'podtap';
import t, { type Test } from 'tap';
import { checkOperations, perform } from '../../lib/operation/run.js';
import type { LocalhostConfig } from '../../lib/localhost/config.js';
import { nftOperations } from '../../lib/localhost/nft.js';
import { snapshot } from '../../lib/state/snapshot.js';
import { requires } from '../support/requires.js';
import * as proofs from './proofs.js';

t.setTimeout(900_000);
const skip = requires('tun');
const only = process.env.ONLY;
const proof = async (name: string, run: (t: Test) => Promise<unknown>): Promise<void> => {
  if (only === undefined || name.includes(only)) await t.test(name, { skip }, run);
};

async function apply(pod: Netns, config: LocalhostConfig): Promise<void> {
  const state = await snapshot(pod, new Set(['qdisc', 'filter']));
  await perform(pod, checkOperations('localhost', nftOperations(config, state)));
}
const nft: proofs.Backend = { name: 'nft', attach: apply, configure: apply, blind: true };

for (const [mode, offload] of [
  ['redirect', false],
  ['redirect', true],
  ['bridge', true],
] as const)
  await proof(`one guest's services: ${mode}${offload ? ', offload' : ''}`, (t) => proofs.services(t, nft, { mode, offload }));
await proof('surroundings', (t) => proofs.surroundings(t, nft));
await proof('literal 127.x.y.z', (t) => proofs.literal(t, nft));
await proof("the pod's own upstream", (t) => proofs.upstream(t, nft, {}));
await proof("the pod's own upstream: 2 guests", (t) => proofs.upstream(t, nft, { guests: 2 }));
await proof('closed', (t) => proofs.closed(t, nft));
await proof('from outside', (t) => proofs.fromOutside(t, nft));
await proof('sidecars', (t) => proofs.sidecars(t, nft, {}));
await proof('sidecars: bridge, offload', (t) => proofs.sidecars(t, nft, { mode: 'bridge', offload: true }));
await proof('gateway', (t) => proofs.substitute(t, nft));
await proof('two guests', (t) => proofs.together(t, nft));
await proof('two guests: offload', (t) => proofs.together(t, nft, { offload: true }));
await proof('two guests: bridge', (t) => proofs.together(t, nft, { mode: 'bridge' }));
await proof('neighbours', (t) => proofs.neighbours(t, nft));
await proof('equal source ports, 2 x 2000', (t) => proofs.equalPorts(t, nft, 2, 2000));
await proof('equal source ports, 8 guests', (t) => proofs.equalPorts(t, nft, 8, 200));
await proof('come and go', (t) => proofs.comeAndGo(t, nft));
await proof('flood', (t) => proofs.flood(t, nft, 200_000));
await proof('IPv6, one guest', (t) => proofs.ipv6(t, nft, {}));
await proof('IPv6, two guests', (t) => proofs.ipv6(t, nft, { guests: 2 }));
