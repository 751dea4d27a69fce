// Joins an interface and a TAP, and ends: `redirect.fixture.js tcx|cls_bpf NETNS LINK TAP`.
import { Netns, addFilter, addQdisc } from 'podtap';
import { attachTcx } from '../../lib/kernel/bpf.js';
import { loadRedirect } from '../../lib/kernel/redirect.js';

const [kind, path = '', ...indexes] = process.argv.slice(2);
const [link = 0, tap = 0] = indexes.map(Number);
await using netns = await Netns.open(path);
await using redirect = await loadRedirect({ link, tap });
for (const [ifindex, program] of [
  [link, redirect.toGuest!],
  [tap, redirect.toLink!],
] as const) {
  if (kind === 'tcx') {
    await attachTcx(netns, { ifindex, direction: 'ingress' }, program);
    continue;
  }
  await addQdisc(netns, ifindex, { kind: 'clsact' });
  const { name } = await program.info();
  const options = { fd: program.fd, name, directAction: true };
  await addFilter(netns, ifindex, { parent: 'ingress', protocol: 'all', priority: 1, handle: '0x1', kind: 'bpf', options });
}
