// Debian's kernel in QEMU in every datapath that root of a user namespace can make.
import t from 'tap';
import { all, modes } from './modes.js';
import { proveQemuByDescriptor, proveQemuByName, proveQemuPluggedIn, skipped } from './proofs.js';

t.setTimeout(600_000);
for (const trait of modes) {
  const skip = skipped('qemu', trait);
  for (const subnet of all ? (['/16', '/32'] as const) : (['/32'] as const)) {
    if (trait.byName) {
      await t.test(`${trait.mode}, ${subnet}, by name, killed and restarted`, { skip }, (t) => proveQemuByName(t, trait, subnet));
      await t.test(`${trait.mode}, ${subnet}, up already`, { skip }, (t) => proveQemuPluggedIn(t, trait, subnet));
    }
    await t.test(`${trait.mode}, ${subnet}, two queues`, { skip }, (t) => proveQemuByDescriptor(t, trait, subnet, 2));
    if (all || !trait.byName)
      await t.test(`${trait.mode}, ${subnet}, one descriptor`, { skip }, (t) => proveQemuByDescriptor(t, trait, subnet, 1));
  }
}
