import t from 'tap';
import { checkHost } from 'podtap';
import { requires } from '../support/requires.js';
import { createMap } from '../../lib/kernel/bpf.js';
import { loadRedirect } from '../../lib/kernel/redirect.js';

// This file, unlike *.root.test.ts, runs in a user namespace.
await t.test('in a user namespace eBPF is refused, and the error says why', async (t) => {
  const refusal = {
    name: 'PodtapError',
    code: 'EPERM',
    errno: -1,
    syscall: 'bpf(BPF_MAP_CREATE)',
    message: /CAP_BPF.*user namespace.*real root/,
  };
  await t.rejects(createMap({ type: 1, keySize: 4, valueSize: 4, maxEntries: 1, flags: 0, name: 'none' }), refusal);
  await t.rejects(loadRedirect({ link: 1, tap: 2 }), refusal);
  t.match((await checkHost()).features, { bpf: false, tcx: false });
});

await t.test('nftables needs no more than that', { skip: requires('nft') }, async (t) => {
  t.match((await checkHost()).features, { nftables: true });
});
