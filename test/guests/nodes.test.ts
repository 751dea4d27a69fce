// Scene 8 with real guests: one behind podtap in a pod on each of two nodes, and an overlay between them whose MTU is 1450. Where Linux in
// user mode does not boot, QEMU runs them: it takes longer, so that of the datapaths only the default one has its turn, unless GUESTS=all.
import t from 'tap';
import { Netns, type Plumbing, addRoute, createVeth, plumb } from 'podtap';
import { createLab } from 'podtap/lab';
import { dracutCmdline, qemu, uml } from 'podtap/guest';
import { joinOverlay, nodeList } from 'podtap/overlay';
import { type Kind, type Machine, boot, needed } from '../support/machine.js';
import { requires } from '../support/requires.js';
import { all, modes } from './modes.js';
import { journalOf } from './proofs.js';
import { fetchBlob, makeBlob } from './traffic.js';

t.setTimeout(600_000);
const kind: Kind = requires(...needed.uml) === false ? 'uml' : 'qemu';
const skip = requires('tun', 'bridge', 'vxlan', ...needed[kind]);

async function createPod(node: Netns, address: string, gateway: string, mtu: number): Promise<Netns> {
  const pod = await Netns.create();
  const peer = { scope: pod, name: 'eth0', mtu, up: true, addresses: [address] };
  await createVeth(node, 'veth3', { master: 'cni0', mtu, up: true, peer });
  await addRoute(pod, { dst: 'default', via: gateway });
  return pod;
}

function bootGuest(pod: Netns, { guest }: Plumbing): Promise<Machine> {
  if (kind === 'qemu') {
    const { args } = qemu(guest, { properties: { romfile: '' } });
    return boot('qemu', pod, { args, parameters: dracutCmdline(guest, { reader: 'systemd' }).parameters });
  }
  const { args, device } = uml(guest);
  return boot('uml', pod, { args, parameters: dracutCmdline(guest, { devices: [device] }).parameters });
}

for (const { mode } of modes.filter(({ byName, mode }) => byName && (kind === 'uml' || all || mode === 'redirect')))
  await t.test(`${mode}: guests in pods on different nodes, by ${kind}`, { skip }, async (t) => {
    await using lab = await createLab({
      nodes: { vm02: {}, vm03: {}, router: { forward: true } },
      links: [
        { vm02: '192.161.1.5/24', router: '192.161.1.2/24' },
        { vm03: '192.160.0.6/16', router: '192.160.0.2/16' },
      ],
      routes: { vm02: { default: '192.161.1.2' }, vm03: { default: '192.160.0.2' } },
    });
    const registry = nodeList([
      { ipv4: { subnet: '10.244.1.0/24', publicIp: '192.161.1.5', vtepMac: '56:65:b2:90:18:f2' } },
      { ipv4: { subnet: '10.244.3.0/24', publicIp: '192.160.0.6', vtepMac: '46:d8:ad:31:bc:47' } },
    ]);
    await using vm02 = await joinOverlay(lab.vm02, { registry, bridge: true });
    await using vm03 = await joinOverlay(lab.vm03, { registry, bridge: true });
    await using pod1 = await createPod(lab.vm02, '10.244.1.3/24', '10.244.1.1', vm02.mtu);
    await using pod2 = await createPod(lab.vm03, '10.244.3.3/24', '10.244.3.1', vm03.mtu);
    const options = { mode, vmm: kind, tap: { name: 'tap100', attach: 'name' }, journal: journalOf(t) } as const;
    await using net1 = await plumb(pod1, options);
    await using net2 = await plumb(pod2, options);
    const [guest1, guest2] = await Promise.all([bootGuest(pod1, net1), bootGuest(pod2, net2)]);
    await using _ = guest1;
    await using __ = guest2;

    for (const [guest, far] of [
      [guest1, '10.244.3.3'],
      [guest2, '10.244.1.3'],
    ] as const) {
      // prettier-ignore
      t.match(guest.said, /mtu 1450 /);
      t.match(await guest.run(`ping -c 1 -w 9 ${far}`), /1 packets received/);
      // 20 and 8 bytes of headers: as long as the wire is wide, and not to be cut.
      t.match(await guest.run(`ping -c 1 -w 9 -s 1422 ${far}`), /1430 bytes from .* ttl=62/, 'two hops: the nodes');
    }
    const [sum1, sum2] = [await makeBlob(guest1), await makeBlob(guest2)];
    t.equal(await fetchBlob(guest1, '10.244.3.3'), sum2, '8 MB from one node to the other');
    t.equal(await fetchBlob(guest2, '10.244.1.3'), sum1, 'and back');
  });
