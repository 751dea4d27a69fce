// User-mode Linux in every datapath that root of a user namespace can make: what must be answered, and what must not.
import t from 'tap';
import { modes } from './modes.js';
import { proveKeptMac, proveRandomMac, proveUml, skipped } from './proofs.js';

t.setTimeout(600_000);
for (const trait of modes.filter(({ byName }) => byName)) {
  const skip = skipped('uml', trait);
  for (const subnet of ['/16', '/32'] as const) {
    await t.test(`${trait.mode}, ${subnet}, eth0's MAC`, { skip }, (t) => proveUml(t, trait, subnet));
    if (!trait.keepsMac) await t.test(`${trait.mode}, ${subnet}, a random MAC`, { skip }, (t) => proveRandomMac(t, trait, subnet));
  }
  if (trait.mode === 'bridge') await t.test("bridge, /16, eth0's MAC, which eth0 has kept", { skip }, (t) => proveKeptMac(t));
}
