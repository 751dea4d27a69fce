// Paths through podtap's eBPF programs, and through a macvtap, which real root only can make work.
import { type Netns, createMacvtap, createTap, getLink, openMacvtap } from 'podtap';
import { defineGuest } from 'podtap/guest';
import { ping, runGuest } from 'podtap/lab';
import { topology } from 'podtap/topology';
import { captureAlong, tracePath } from 'podtap/trace';
import t, { type Test } from 'tap';
import { POD_MAC, Stack, createSlash16, settled } from '../../examples/labs.js';
import { attachTcx } from '../../lib/kernel/bpf.js';
import { loadRedirect } from '../../lib/kernel/redirect.js';
import { requires } from '../support/requires.js';

function stackOf(t: Test): Stack {
  const stack = new Stack();
  t.teardown(() => stack[Symbol.asyncDispose]());
  return stack;
}

function told(tap: string): ReturnType<typeof defineGuest> {
  return defineGuest({ mac: POD_MAC, mtu: 1500, tap, addresses: [{ address: '172.17.0.5/16' }], routes: [{ dst: '0.0.0.0/0', via: '172.17.0.1' }] }); // prettier-ignore
}

async function agrees(
  t: Test,
  namespaces: Record<string, Netns>,
  sender: Netns,
  options: Omit<Parameters<typeof tracePath>[0], 'namespaces'>,
): Promise<Awaited<ReturnType<typeof tracePath>>> {
  // prettier-ignore
  await settled(namespaces);
  const trace = await tracePath({ namespaces, ...options });
  const witness = await captureAlong(trace, namespaces, () => ping(sender, options.to, { count: 2, interval: 20, timeout: 300 }));
  t.ok(witness.agrees, { found: witness.hops.flatMap(({ hop, differences }) => differences.map((one) => `${hop.namespace} ${hop.device} ${hop.direction}: ${one}`)) }); // prettier-ignore
  t.equal((await ping(sender, options.to, { timeout: 300 })).received === 1, trace.delivered, trace.summary);
  t.strictSame(trace.notes, []);
  return trace;
}

await t.test("eBPF: where podtap's own programs send it stands in their map", { skip: requires('tun', 'root', 'tcx') }, async (t) => {
  const stack = stackOf(t);
  const namespaces = await createSlash16(stack);
  const { pod, client } = namespaces;
  const tap = stack.use(await createTap(pod, 'tap0', { up: true }));
  const { ifindex } = (await getLink(pod, 'eth0'))!;
  const config = { link: ifindex, tap: tap.ifindex, source: { mac: POD_MAC, addresses: ['172.17.0.5'] } };
  const redirect = stack.use(await loadRedirect(config));
  await attachTcx(pod, { ifindex, direction: 'ingress' }, redirect.toGuest!);
  await attachTcx(pod, { ifindex: tap.ifindex, direction: 'ingress' }, redirect.toLink!);
  const network = told('tap0');
  const guest = await runGuest(tap, network);
  const guests = { vm: { namespace: 'pod', network } };

  const there = await agrees(t, namespaces, client, { guests, from: 'client', to: '172.17.0.5' });
  t.match(there.hops.at(-1), { device: 'tap0', direction: 'out', because: [{ by: 'program', program: { name: 'podtap_to_guest' } }] });
  await agrees(t, namespaces, guest.netns, { guests, from: 'vm', to: '172.17.0.4' });
  t.match((await tracePath({ namespaces, guests, from: 'vm', source: '172.17.0.9', to: '172.17.0.4' })).loss, { code: 'NO_NEIGHBOR' });
  const { edges } = await topology(namespaces);
  t.match(edges.filter(({ kind }) => kind === 'redirect'), [{ by: 'program', from: { device: 'eth0' }, to: { device: 'tap0' } }, { by: 'program', from: { device: 'tap0' }, to: { device: 'eth0' } }]); // prettier-ignore

  // While nobody holds the TAP, the frame goes to the pod, whose eth0 has the address still.
  await guest.close();
  await tap.close();
  const fallen = await tracePath({ namespaces, guests, from: 'client', to: '172.17.0.5' });
  t.match(fallen.at, { namespace: 'pod', device: 'eth0' });
  t.match(String(fallen), /its TAP tap0 is held by nobody: the frame goes to the pod/);
  await redirect.configure({ ...config, tap: 0 });
  t.match(String(await tracePath({ namespaces, guests, from: 'client', to: '172.17.0.5' })), /paused: the frame goes to the pod/);
});

await t.test('scene 2: a macvtap in passthru', { skip: requires('root', 'macvtap') }, async (t) => {
  const stack = stackOf(t);
  const namespaces = await createSlash16(stack);
  const { pod, client } = namespaces;
  await createMacvtap(pod, 'mv0', { link: 'eth0', mode: 'passthru', up: true });
  const macvtap = stack.use(await openMacvtap(pod, 'mv0'));
  const network = told('mv0');
  const guest = stack.use(await runGuest(macvtap as never, network));
  const guests = { vm: { namespace: 'pod', network } };
  const there = await agrees(t, namespaces, client, { guests, from: 'client', to: '172.17.0.5' });
  t.strictSame(there.hops.slice(-2).map(({ device, direction }) => `${device} ${direction}`), ['eth0 in', 'mv0 in']); // prettier-ignore
  const back = await agrees(t, namespaces, guest.netns, { guests, from: 'vm', to: '172.17.0.4' });
  t.strictSame(back.hops.slice(0, 2).map(({ device, direction }) => `${device} ${direction}`), ['mv0 out', 'eth0 out']); // prettier-ignore
});
