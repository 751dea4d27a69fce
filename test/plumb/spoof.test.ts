// antiSpoof by redirect and by bridge, which root of a user namespace can have, too.
import { addAddress, planPlumbing, plumb } from 'podtap';
import t from 'tap';
import { build } from '../oracle/pod.js';
import { requires } from '../support/requires.js';
import { directory } from '../transaction/files.js';
import { richPod } from './around.js';
import { spoofs } from './spoof.js';

t.setTimeout(300_000);
const skip = requires('tun', 'clsact', 'u32', 'cls_bpf', 'bridge');

for (const mode of ['redirect', 'bridge'] as const) await spoofs(mode, skip);

await t.test('more addresses than a program can tell apart', { skip }, async (t) => {
  await using built = await build(richPod);
  const { netns } = built;
  const many = Array.from({ length: 300 }, (_, index) => `fd00:77::${(index + 1).toString(16)}/64`);
  for (const address of many) await addAddress(netns, 'eth0', { address, flags: ['nodad'] });
  await t.rejects(planPlumbing(netns, { link: 'eth0', antiSpoof: true }), {
    code: 'ERR_PLUMB_CONFLICT',
    message: /antiSpoof cannot tell \d+ addresses apart/,
  });
  const net = await plumb(netns, { link: 'eth0', journal: directory(t) });
  await net.undo();
});
