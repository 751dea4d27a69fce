// User-mode Linux in every datapath that root of a user namespace can make.
import t from 'tap';
import { modes } from './modes.js';
import { proveUml, skipped } from './proofs.js';

t.setTimeout(600_000);
for (const trait of modes.filter(({ byName }) => byName))
  for (const subnet of ['/16', '/32'] as const)
    await t.test(`${trait.mode}, ${subnet}`, { skip: skipped('uml', trait) }, (t) => proveUml(t, trait, subnet));
