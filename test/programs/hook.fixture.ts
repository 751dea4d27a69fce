// An OCI hook: what to plumb, or to undo, comes as the container's state on standard input.
import { writeFile } from 'node:fs/promises';
import { json } from 'node:stream/consumers';
import { Netns, plumb, unplumb } from 'podtap';
import { solo5 } from 'podtap/guest';

const { id, pid, status, bundle } = (await json(process.stdin)) as { id: string; pid?: number; status: string; bundle: string };
if (status === 'stopped') {
  const { state, leftBehind } = await unplumb({ label: id });
  console.log(state);
  if (leftBehind.length > 0) console.error(leftBehind.join('\n'));
} else {
  await using pod = await Netns.open({ pid: pid! });
  await using net = await plumb(pod, { vmm: 'solo5-hvt', label: id, resolvConf: `${bundle}/resolv.conf`, ifPlumbed: 'same' });
  await writeFile(`${bundle}/guest.json`, JSON.stringify({ argv: solo5(net.guest).args, guest: net.guest }));
  console.log(net.created ? 'plumbed' : 'plumbed already');
  net.keep();
}
