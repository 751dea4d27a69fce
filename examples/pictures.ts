// The README's pictures, drawn from the kernel's state of the scenes. `npm run pictures` writes them to examples/pictures/; a test fails
// when they are no longer what this draws.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Netns, plumb } from 'podtap';
import { runGuest } from 'podtap/lab';
import { topology } from 'podtap/topology';
import { drawSvg } from 'podtap/topology/svg';
import { tracePath } from 'podtap/trace';
import { Stack, VTEP1, VTEP3, createNodes, createSlash16, createSlash32, settled } from './labs.js';

/** As the documents write them; those that the kernel made are others in each run, and are left out. */
export function told(mac: string): string | undefined {
  return mac.startsWith('02:00:00:') ? mac.slice(9) : mac === VTEP1 || mac === VTEP3 ? mac : undefined;
}

/** By the names of their files. */
export async function drawPictures(): Promise<Readonly<Record<string, string>>> {
  return { 'scene-1.svg': await sceneOne(), 'scene-3-4.svg': await scenesThreeAndFour(), 'scene-8.svg': await sceneEight() };
}

async function sceneOne(): Promise<string> {
  await using stack = new Stack();
  const namespaces = await createSlash16(stack);
  const before = await topology(namespaces);
  const { guests } = await withGuest(stack, namespaces.pod, 'clone');
  const after = await topology(namespaces, { guests });
  return drawSvg([
    { topology: before, title: 'before', mac: told },
    { topology: after, title: 'after plumb()', mac: told },
  ]);
}

async function scenesThreeAndFour(): Promise<string> {
  const drawn: Parameters<typeof drawSvg>[0][] = [];
  for (const [guestMac, title] of [
    ['random', "a MAC of the guest's own: lost"],
    ['clone', "eth0's MAC: delivered"],
  ] as const) {
    await using stack = new Stack();
    const namespaces = await createSlash32(stack);
    const { guests } = await withGuest(stack, namespaces.pod, guestMac);
    const path = await tracePath({ namespaces, guests, from: 'client', to: '172.17.0.5' });
    drawn.push({ topology: await topology(namespaces, { guests }), title, mac: told, path });
  }
  return drawSvg(drawn.flat());
}

async function sceneEight(): Promise<string> {
  await using stack = new Stack();
  const { pod1, vm02, router, vm03, pod2 } = await createNodes(stack);
  const namespaces = { pod1, vm02, router, vm03, pod2 };
  const path = await tracePath({ namespaces, from: 'pod1', to: '10.244.3.3' });
  return drawSvg({ topology: await topology(namespaces), mac: told, path });
}

async function withGuest(
  stack: Stack,
  pod: Netns,
  guestMac: 'clone' | 'random',
): Promise<{ guests: Record<string, { namespace: string; network: Awaited<ReturnType<typeof plumb>>['guest'] }> }> {
  // prettier-ignore
  const net = stack.use(await plumb(pod, { link: 'eth0', tap: 'tap100', mode: 'bridge', guestMac, label: 'pictures' }));
  stack.use(await runGuest(net.tap, net.guest));
  await settled({ pod });
  return { guests: { unikernel: { namespace: 'pod', network: net.guest } } };
}

const [program, folder] = process.argv.slice(1);
if (program === fileURLToPath(import.meta.url) && folder !== undefined) {
  mkdirSync(folder, { recursive: true });
  for (const [name, svg] of Object.entries(await drawPictures())) writeFileSync(join(folder, name), svg);
}
