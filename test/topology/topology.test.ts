// Topologies of real wiring, and what is drawn of them.
import { addAddress, addFilter, addQdisc, createBridge, createLink, createTap, createVeth, createVxlan, deleteLink, getLink, setFdb } from 'podtap'; // prettier-ignore
import { defineGuest } from 'podtap/guest';
import { type TopologyEdge, topology } from 'podtap/topology';
import { drawSvg } from 'podtap/topology/svg';
import { tracePath } from 'podtap/trace';
import t, { type Test } from 'tap';
import { Stack, createNodes, createSlash32, settled } from '../../examples/labs.js';
import { ip } from '../support/inside.js';
import { requires } from '../support/requires.js';

function stackOf(t: Test): Stack {
  const stack = new Stack();
  t.teardown(() => stack[Symbol.asyncDispose]());
  return stack;
}

/** 'a/x -veth- b/y'. */
function told({ edges }: { readonly edges: readonly TopologyEdge[] }): string[] {
  return edges.map(({ from, to, kind }) => `${from.namespace}/${from.device} -${kind}- ${to === undefined ? '?' : `${to.namespace}/${to.device}`}`).sort(); // prettier-ignore
}

await t.test('devices as ip tells of them, and the wires between namespaces', async (t) => {
  const stack = stackOf(t);
  const [a, b, elsewhere] = [await stack.netns(), await stack.netns(), await stack.netns()];
  await createBridge(a, 'br0', { up: true, mac: '02:00:00:00:00:01' });
  await createVeth(a, 'v0', { master: 'br0', up: true, peer: { scope: b, name: 'eth0', up: true, addresses: ['10.0.0.2/24', 'fd00::2/64'] } }); // prettier-ignore
  await createVeth(a, 'v1', { peer: { name: 'v2' } });
  await createVeth(a, 'v3', { peer: { scope: elsewhere, name: 'eth0' } });
  await settled({ a, b });
  // The same indexes in each namespace: numbers alone do not say whose.
  t.equal((await getLink(b, 'eth0'))!.ifindex, (await getLink(a, 'br0'))!.ifindex);
  const read = await topology({ a, b });
  t.strictSame(read.namespaces.map(({ name }) => name), ['a', 'b']); // prettier-ignore
  for (const [name, netns] of [
    ['a', a],
    ['b', b],
  ] as const) {
    const oracle = ip<{ ifname: string; ifindex: number; mtu: number; address: string; master?: string }>(netns, 'link show');
    const devices = read.namespaces.find((one) => one.name === name)!.devices;
    t.strictSame(devices.map(({ name, ifindex, mtu, mac, master }) => ({ name, ifindex, mtu, mac, master })), oracle.map(({ ifname, ifindex, mtu, address, master }) => ({ name: ifname, ifindex, mtu, mac: address, master }))); // prettier-ignore
  }
  t.match(read.namespaces[1]!.devices[1], { kind: 'veth', up: true, carrier: true, addresses: ['10.0.0.2/24', 'fd00::2/64'] });
  t.strictSame(told(read), ['a/v0 -veth- b/eth0', 'a/v2 -veth- a/v1', 'a/v3 -veth- ?']);
  t.match(String(read), /^a\n├─ br0 {2}bridge, 02:00:00:00:00:01\n│ {2}└─ v0 {2}veth, .*, wire to eth0 in b\n/);
  t.match(
    String(read),
    /└─ v3 {2}veth, .*, down, wire to elsewhere\nb\n└─ eth0 {2}veth, .*, 10\.0\.0\.2\/24, fd00::2\/64, wire to v0 in a$/,
  );
  t.strictSame(JSON.parse(JSON.stringify(read)), JSON.parse(JSON.stringify({ ...read })));
  // Seen from the other side, and given as an array.
  const turned = await topology([b, a]);
  t.equal(turned.edges.filter(({ kind }) => kind === 'veth').length, 3);
  t.match(turned.namespaces[0]!.name, /^netns-\d+$/);
});

await t.test('a TAP, who holds it, and redirects', { skip: requires('tun', 'u32') }, async (t) => {
  const stack = stackOf(t);
  const pod = await stack.netns();
  await createVeth(pod, 'eth0', { up: true, peer: { name: 'out', up: true } });
  const tap = stack.use(await createTap(pod, 'tap0', { up: true }));
  const fds = stack.use(await tap.takeFds());
  t.equal(fds.fds.length, 1);
  await addQdisc(pod, 'eth0', { kind: 'ingress' });
  const selector = { flags: ['terminal'], keys: [{ mask: 0, value: 0, offset: 0 }] };
  await addFilter(pod, 'eth0', { parent: 'ffff:', protocol: 'all', priority: 1, kind: 'u32', options: { selector }, actions: [{ kind: 'mirred', options: { action: 'redirect', direction: 'egress', dev: tap.ifindex } }] }); // prettier-ignore
  const network = defineGuest({ mac: '02:00:00:00:00:22', mtu: 1500, tap: 'tap0', addresses: [{ address: '10.0.0.2/24' }] });
  const read = await topology({ pod }, { guests: { vm: { namespace: 'pod', network } } });
  t.match(
    read.namespaces[0]!.devices.find(({ name }) => name === 'tap0'),
    { kind: 'tun', holders: [{ pid: process.pid, queues: 1 }] },
  );
  t.strictSame(told(read), ['pod/eth0 -redirect- pod/tap0', 'pod/out -veth- pod/eth0']);
  t.match(String(read), /eth0 {2}veth, .*, tc redirects to tap0/);
  t.match(String(read), new RegExp(`tap0 {2}TAP, .*, held by .* \\(${process.pid}\\), guest vm: 02:00:00:00:00:22, 10\\.0\\.0\\.2/24`));
  t.match(read.toMermaid(), /n0d\d -->\|"tc"\| n0d\d/);
  await fds[Symbol.asyncDispose]();
  await deleteLink(pod, 'tap0');
  const gone = await topology({ pod });
  t.match(gone.edges.find(({ kind }) => kind === 'redirect'), { gone: true, to: undefined }); // prettier-ignore
  t.match(String(gone), /tc redirects to what is gone/);
});

await t.test('overlays, and what stands on others', { skip: requires('vxlan', 'macvlan') }, async (t) => {
  const stack = stackOf(t);
  const [a, b] = [await stack.netns(), await stack.netns()];
  await createVeth(a, 'eth0', { up: true, addresses: ['10.0.0.1/24'], peer: { scope: b, name: 'eth0', up: true, addresses: ['10.0.0.2/24'] } }); // prettier-ignore
  await createVxlan(a, 'vx', { id: 7, dstPort: 8472, local: '10.0.0.1', mac: '02:00:00:00:00:0a', up: true });
  await createVxlan(b, 'vy', { id: 7, dstPort: 8472, local: '10.0.0.2', mac: '02:00:00:00:00:0b', up: true });
  await setFdb(a, 'vx', { mac: '02:00:00:00:00:0b', dst: '10.0.0.2', state: 'permanent', flags: ['self'] });
  await setFdb(b, 'vy', { mac: '02:00:00:00:00:0a', dst: '10.0.0.1', state: 'permanent', flags: ['self'] });
  await setFdb(a, 'vx', { mac: '02:00:00:00:00:0c', dst: '10.0.0.9', state: 'permanent', flags: ['self'] });
  await createLink(a, 'macvlan', 'mv0', { link: 'eth0', mode: 'bridge' });
  const read = await topology({ a, b });
  t.strictSame(told(read), ['a/eth0 -veth- b/eth0', 'a/mv0 -stands on- a/eth0', 'a/vx -overlay- ?', 'a/vx -overlay- b/vy']);
  t.match(read.edges.find(({ kind, to }) => kind === 'overlay' && to !== undefined), { vni: 7, remote: '10.0.0.2' }); // prettier-ignore
  t.match(String(read), /vx {2}vxlan 7, .*overlay to vy in b, 10\.0\.0\.2/);
  t.match(String(read), /vy {2}vxlan 7, .*overlay to vx in a/);
});

await t.test('all of the machine', async (t) => {
  const stack = stackOf(t);
  const { Netns } = await import('podtap');
  const named = stack.use(await Netns.create({ name: 'told' }));
  t.teardown(() => Netns.delete('told'));
  await addAddress(named, 'lo', '10.9.9.9/32');
  const read = await topology();
  const found = read.namespaces.find(({ name }) => name === 'told');
  t.match(found, { devices: [{ name: 'lo', addresses: ['127.0.0.1/8', '10.9.9.9/32', '::1/128'] }] });
  t.ok(
    read.namespaces.some(({ name }) => name.startsWith('pid ')),
    'and those without a name, by a process',
  );
});

await t.test('a path over the wires', { skip: requires('bridge') }, async (t) => {
  const lab = await createSlash32(stackOf(t));
  const namespaces = { ...lab };
  const path = await tracePath({ namespaces, from: 'client', to: '172.17.0.5' });
  const read = await topology(namespaces);
  const dot = read.toDot({ path, title: 'a "path"' });
  const id = (name: string): string => new RegExp(`(n\\d+d\\d+) \\[label=<<b>${name}</b>`).exec(dot)![1]!;
  const step = (a: string, b: string, number: number, way: string): RegExp => new RegExp(`${id(a)} -> ${id(b)} \\[.*dir=${way},label=" ${number} "\\]`); // prettier-ignore
  t.match(dot, step('k8s_br0', 'veth4', 2, 'back'));
  t.match(dot, step('k8s_br0', 'veth5', 3, 'forward'));
  t.match(dot, /label="a \\"path\\""/);
  t.notMatch(read.toDot(), /dir=forward/);
  t.match(read.toMermaid({ path }), /==>\|"2"\|/);
  const lost = await topology(namespaces).then((one) => one.toDot({ path: { hops: [], loss: { namespace: 'pod', device: 'eth0' } } }));
  t.match(lost, /lost here/);
  const svg = await drawSvg([{ topology: read, title: 'left' }, { topology: read, title: 'right', path }]); // prettier-ignore
  const at = (text: string): number => Number(new RegExp(`<text[^>]* x="([-\\d.]+)"[^>]*>${text}</text>`).exec(svg)![1]);
  t.ok(at('left') < at('right'), 'side by side, the first on the left');
  t.match(svg, /^<\?xml[\s\S]*<svg [\s\S]*<\/svg>\s*$/);
});

/** Of the widest fonts that are taken for Courier (DejaVu Sans Mono): for each em. */
const LETTER = 0.602;

await t.test('what stands in a box has room in it', { skip: requires('bridge') }, async (t) => {
  const svg = await drawSvg({ topology: await topology({ ...(await createSlash32(stackOf(t))) }), mac: (mac) => mac });
  const boxes = [...svg.matchAll(/<g id="[^"]*" class="node">([\s\S]*?)<\/g>/g)];
  t.equal(boxes.length, 7);
  for (const [, box = ''] of boxes) {
    const [, outline = ''] = /<path [^>]*d="([^"]*)"/.exec(box)!;
    const edges = [...outline.matchAll(/(-?[\d.]+),-?[\d.]+/g)].map(([, x]) => Number(x));
    for (const [, anchor, x, size, text = ''] of box.matchAll(
      /<text [^>]*text-anchor="(\w+)" x="([^"]*)"[^>]*font-size="([^"]*)">([^<]*)</g,
    )) {
      const width = text.length * LETTER * Number(size);
      const left = Number(x) - (anchor === 'middle' ? width / 2 : 0);
      t.ok(left >= Math.min(...edges) && left + width <= Math.max(...edges), `${text}: from ${left}, ${width} wide, in ${Math.min(...edges)} to ${Math.max(...edges)}`); // prettier-ignore
    }
  }
});

await t.test('mistakes are told', async (t) => {
  await t.rejects(topology({ a: 1 } as never), { code: 'ERR_INVALID_ARG_TYPE' });
  await t.rejects(topology([], { guest: {} } as never), { message: /did you mean 'guests'\?/ });
});

await t.test('each step of a path is in the picture', { skip: requires('bridge', 'vxlan') }, async (t) => {
  const stack = stackOf(t);
  const { overlays: _, ...namespaces } = await createNodes(stack);
  const path = await tracePath({ namespaces, from: 'pod1', to: '10.244.3.3' });
  const svg = await drawSvg({ topology: await topology(namespaces), path });
  for (let number = 1; number < path.hops.length; number++) t.match(svg, new RegExp(`> ${number} </text>`), `step ${number}`);
});
