// In a user namespace no node of a device can be made: a macvtap opens where /dev has it, and where /dev has another one by that name it does not.
import { readdirSync, statSync } from 'node:fs';
import { type Netns, createMacvtap, createVeth, openMacvtap } from 'podtap';
import t, { type Test } from 'tap';
import { fresh } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { frame } from './frames.js';

const skip = requires('macvtap');

async function pod(t: Test, ifindex: number): Promise<Netns> {
  const [node, netns] = [await fresh(t), await fresh(t)];
  await createVeth(node, 'vn', { up: true, peer: { scope: netns, name: 'eth0', up: true } });
  await createMacvtap(netns, 'mv0', { link: 'eth0', mode: 'passthru', up: true, ifindex });
  return netns;
}

await t.test('by /dev, if that is the same device', { skip }, async (t) => {
  // An index that nobody else has taken, so that the node by that name is ours where devtmpfs makes one.
  const ifindex = 100_000 + process.pid;
  const [first, second] = [await pod(t, ifindex), await pod(t, ifindex)];
  for (const netns of [first, second]) {
    await using guest = await openMacvtap(netns, 'mv0');
    const { major, minor } = guest.device;
    const there = readdirSync('/dev').some((name) => {
      const { rdev } = name.startsWith('tap') ? statSync(`/dev/${name}`) : { rdev: 0 };
      return rdev >>> 8 === major && (rdev & 0xff) === minor;
    });
    if (there) t.equal(await guest.send([frame(1)]), 1);
    else
      await t.rejects(guest.send([frame(1)]), {
        code: 'EPERM',
        message: new RegExp(`CAP_MKNOD.*real root.*mknod /dev/tap${ifindex} c ${major} ${minor}`),
      });
  }
});
