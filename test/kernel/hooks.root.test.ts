// Programs of others, which want real root.
import { type Netns, createVeth, getLink, setLink } from 'podtap';
import t, { type Test } from 'tap';
import { attachTcx, linkTcx, loadProgram } from '../../lib/kernel/bpf.js';
import { readHooks } from '../../lib/kernel/hooks.js';
import { attachment } from '../../lib/kernel/netns.js';
import { request } from '../../lib/kernel/netlink.js';
import { native } from '../../lib/native.js';
import { RTM_SETLINK, encodeLink } from '../../lib/wire/link.js';
import { NLM_F_ACK } from '../../lib/wire/message.js';
import { fresh } from '../support/inside.js';
import { requires } from '../support/requires.js';

const skip = requires('root', 'tcx');
const pass = Uint8Array.of(0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0); // r0 = 2 (XDP_PASS); exit

async function pod(t: Test): Promise<Netns> {
  const [node, netns] = [await fresh(t), await fresh(t)];
  await createVeth(node, 'vn', { up: true, peer: { scope: netns, name: 'eth0', up: true } });
  return netns;
}

await t.test('tcx, with names, tags and links', { skip }, async (t) => {
  const netns = await pod(t);
  const { ifindex } = (await getLink(netns, 'eth0'))!;
  await using theirs = await loadProgram('theirs', { instructions: pass });
  await using second = await loadProgram('second', { instructions: pass });
  await attachTcx(netns, { ifindex, direction: 'ingress' }, theirs);
  await using link = await linkTcx(netns, { ifindex, direction: 'ingress' }, second, { order: 'first' });
  await attachTcx(netns, { ifindex, direction: 'egress' }, theirs);
  const { tcx, xdp, unread } = await readHooks(netns, 'eth0');
  const { id, tag } = await theirs.info();
  t.strictSame(tcx, {
    ingress: [
      { id: (await second.info()).id, linkId: (await link.info()).id, name: 'second', tag },
      { id, name: 'theirs', tag },
    ],
    egress: [{ id, name: 'theirs', tag }],
  });
  t.equal(xdp, undefined);
  t.strictSame(unread, []);
});

await t.test('XDP', { skip }, async (t) => {
  const netns = await pod(t);
  const { ifindex } = (await getLink(netns, 'eth0'))!;
  const BPF_PROG_TYPE_XDP = 6;
  const { program } = await native().bpfProgramLoad({ type: BPF_PROG_TYPE_XDP, name: 'xdp_theirs', license: 'GPL', instructions: pass, relocations: [], maps: [] }); // prettier-ignore
  for (const mode of ['skb', 'drv']) {
    const xdp = { fd: native().number(program!), flags: [mode] };
    await request(attachment(netns).socket, [encodeLink(RTM_SETLINK, NLM_F_ACK, { ifindex, xdp })]);
    t.match((await readHooks(netns, ifindex)).xdp, { mode, program: { name: 'xdp_theirs' } });
    await request(attachment(netns).socket, [encodeLink(RTM_SETLINK, NLM_F_ACK, { ifindex, xdp: { fd: -1, flags: [mode] } })]);
  }
  native().close(program!);
  t.equal((await readHooks(netns, ifindex)).xdp, undefined);
  await setLink(netns, 'eth0', { up: false });
});
