// Scene 9: a closer look at the packet path.
//
// What the document finds with tcpdump, arp and ethtool in one namespace after the other, podtap answers from the kernel's state: which
// device, which MACs, which table decided, what is inside of what. Then the packet is really sent, and captured at every hop: what was
// foretold and what was seen stand side by side.
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Netns, plumb } from 'podtap';
import { ping, runGuest } from 'podtap/lab';
import { type TraceOptions, captureAlong, tellFrame, tracePath, writeCaptures } from 'podtap/trace';
import { Stack, createNodes, createSlash16, createSlash32, settled } from './labs.js';
import { mustHold, print, show, step, title } from './stage.js';

title('Scene 9: a closer look at the packet path');
const folder = mkdtempSync(join(tmpdir(), 'podtap-'));
try {
  await sceneOne();
  await scenesThreeAndFour();
  await sceneFive();
  await sceneEight();
} finally {
  rmSync(folder, { recursive: true });
}
console.log('\nScene 9 showed what it must.');

async function sceneOne(): Promise<void> {
  await using stack = new Stack();
  const namespaces = await createSlash16(stack);
  const guests = await withGuest(stack, namespaces.pod, 'clone');
  await look('Scene 1: 172.17.0.4 pings the guest behind tap100', namespaces, namespaces.client, {
    guests,
    from: 'client',
    to: '172.17.0.5',
  });
}

async function scenesThreeAndFour(): Promise<void> {
  for (const guestMac of ['random', 'clone'] as const) {
    await using stack = new Stack();
    const namespaces = await createSlash32(stack);
    const guests = await withGuest(stack, namespaces.pod, guestMac);
    const what = guestMac === 'random' ? 'Scene 3: the /32, and a guest with a MAC of its own' : "Scene 4: the same with eth0's MAC";
    const delivered = await look(what, namespaces, namespaces.client, { guests, from: 'client', to: '172.17.0.5' });
    mustHold(guestMac === 'random' ? 'it is lost, and one sentence says why' : 'it arrives', delivered === (guestMac === 'clone'));
  }
}

async function sceneFive(): Promise<void> {
  await using stack = new Stack();
  const namespaces = await createSlash32(stack);
  const guests = await withGuest(stack, namespaces.pod, 'clone', 'redirect');
  await look('Scene 5: the /32 with a redirect in the place of the bridge', namespaces, namespaces.client, {
    guests,
    from: 'client',
    to: '172.17.0.5',
  });
}

async function sceneEight(): Promise<void> {
  await using stack = new Stack();
  const { overlays: _, ...namespaces } = await createNodes(stack);
  await look('Scene 8: POD1 on VM02 pings POD2 on VM03', namespaces, namespaces.pod1, { from: 'pod1', to: '10.244.3.3' });
}

/** Whether it arrives. */
async function look(
  what: string,
  namespaces: Readonly<Record<string, Netns>>,
  sender: Netns,
  options: Omit<TraceOptions, 'namespaces' | 'from'> & { readonly from: string },
): Promise<boolean> {
  // prettier-ignore
  await settled(namespaces);
  const trace = await step(what, [`tracePath({ namespaces, from: '${options.from}', to: '${options.to}' })`], () => tracePath({ namespaces, ...options })); // prettier-ignore
  print(String(trace));
  const timeout = trace.delivered ? 1000 : 200;
  const witness = await step(
    'The packet is sent, and captured at every hop',
    [`ping ${options.to}; tcpdump -ne on ${new Set(trace.hops.map(({ namespace, device }) => `${namespace}/${device}`)).size} devices`],
    () =>
      // prettier-ignore
      captureAlong(trace, namespaces, () => ping(sender, options.to, { count: 2, interval: 50, timeout })),
  );
  for (const { hop, captured } of witness.hops) {
    console.log(`   ${hop.namespace}: ${hop.device} ${hop.direction}`);
    console.log(`     foretold ${tellFrame(hop.frame)}`);
    console.log(`     captured ${captured?.frame === undefined ? 'nothing' : tellFrame(captured.frame)}`);
  }
  mustHold('MACs, addresses, TTL and what is inside agree at every hop', witness.agrees);
  const { received } = await ping(sender, options.to, { timeout });
  mustHold(trace.delivered ? 'it was foretold to arrive, and is answered' : 'it was foretold to be lost, and is not answered', (received === 1) === trace.delivered); // prettier-ignore
  const file = join(folder, 'hops.pcapng');
  await writeCaptures(file, witness.interfaces);
  show('for Wireshark', `${witness.interfaces.length} interfaces, ${witness.interfaces.reduce((sum, { frames }) => sum + frames.length, 0)} frames, mode ${(statSync(file).mode & 0o777).toString(8)}`); // prettier-ignore
  return trace.delivered;
}

async function withGuest(
  stack: Stack,
  pod: Netns,
  guestMac: 'clone' | 'random',
  mode: 'bridge' | 'redirect' = 'bridge',
): Promise<NonNullable<TraceOptions['guests']>> {
  const net = stack.use(await plumb(pod, { link: 'eth0', tap: 'tap100', mode, guestMac, label: 'scene/9' }));
  stack.use(await runGuest(net.tap, net.guest));
  return { unikernel: { namespace: 'pod', network: net.guest } };
}
