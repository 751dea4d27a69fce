// Scene 10: a look at the wiring.
//
// The pictures of the documents, before and after, drawn from the kernel's state: as a tree, as Mermaid for a README, and by Graphviz
// as SVG, with the path of a packet over it.
import { plumb } from 'podtap';
import { runGuest } from 'podtap/lab';
import { topology } from 'podtap/topology';
import { drawSvg } from 'podtap/topology/svg';
import { tracePath } from 'podtap/trace';
import { Stack, createNodes, createSlash16 } from './labs.js';
import { told } from './pictures.js';
import { mustHold, print, show, step, title } from './stage.js';

title('Scene 10: a look at the wiring');
await plumbed();
await overlay();
console.log('\nScene 10 showed what it must.');

async function plumbed(): Promise<void> {
  await using stack = new Stack();
  const namespaces = await createSlash16(stack);
  const before = await step('Two pods on a node, before anything is plumbed', ['topology({ node, client, pod })'], () => topology(namespaces)); // prettier-ignore
  print(String(before));
  mustHold("each eth0 is a wire's end", before.edges.filter(({ kind }) => kind === 'veth').length === 2);

  const net = stack.use(await plumb(namespaces.pod, { link: 'eth0', tap: 'tap100', mode: 'bridge', label: 'scene/10' }));
  stack.use(await runGuest(net.tap, net.guest));
  const guests = { unikernel: { namespace: 'pod', network: net.guest } };
  const after = await step('The same with a guest behind tap100', ["plumb(pod, { link: 'eth0', tap: 'tap100', mode: 'bridge' })"], () =>
    topology(namespaces, { guests }),
  );
  print(String(after));
  const pod = after.namespaces.find(({ name }) => name === 'pod')!;
  const device = (name: string): (typeof pod.devices)[number] | undefined => pod.devices.find((one) => one.name === name);
  mustHold('eth0 and tap100 are ports of br0', device('eth0')?.master === 'br0' && device('tap100')?.master === 'br0');
  mustHold('eth0 has no address of IPv4 any more', device('eth0')?.addresses.every((address) => address.includes(':')) === true);
  mustHold('this process holds the TAP', device('tap100')?.holders?.some(({ pid }) => pid === process.pid) === true);

  const path = await tracePath({ namespaces, guests, from: 'client', to: '172.17.0.5' });
  const text = await step('As Mermaid, with the path of a ping', ['after.toMermaid({ path })'], async () =>
    after.toMermaid({ mac: told, path }),
  );
  print(text);
  const svg = await step('By Graphviz, before and after side by side', ['drawSvg([before, after])'], () =>
    drawSvg([
      { topology: before, title: 'before', mac: told },
      { topology: after, title: 'after', mac: told, path },
    ]),
  );
  show('SVG', `${svg.length} characters, ${svg.match(/<g /g)?.length} groups`);
  mustHold('both are in it', svg.includes('>before<') && svg.includes('>after<') && svg.includes('>unikernel<'));
}

async function overlay(): Promise<void> {
  await using stack = new Stack();
  const { overlays: _, ...namespaces } = await createNodes(stack);
  const wiring = await step('Two nodes with an overlay, and a pod on each', ['topology({ vm02, vm03, router, pod1, pod2 })'], () => topology(namespaces)); // prettier-ignore
  print(String(wiring));
  mustHold('flannel.1 of the one is joined to that of the other', wiring.edges.some((edge) => edge.kind === 'overlay' && edge.vni === 1 && edge.to?.device === 'flannel.1')); // prettier-ignore

  const all = await step('All namespaces of this machine that may be entered', ['topology()'], () => topology());
  show(
    'namespaces',
    all.namespaces.map(({ name, devices }) => `${name}: ${devices.length} devices`),
  );
  mustHold("this program's own is among them", all.namespaces.length > 0);
}
