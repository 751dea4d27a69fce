// In the first user namespace every uid and gid is mapped; in one of its own, as other files have it, only root is.
import { once } from 'node:events';
import { createTap, getLink } from 'podtap';
import t from 'tap';
import { fresh, ip } from '../support/inside.js';
import { requires } from '../support/requires.js';

const skip = requires('tun', 'root');

await t.test('owners and groups other than root', { skip }, async (t) => {
  const netns = await fresh(t);
  for (const [options, user, group] of [
    [{ owner: 12345 }, '12345', undefined],
    [{ group: 54321 }, undefined, '54321'],
    [{ owner: 12345, group: 54321, queues: 2 }, '12345', '54321'],
    [{ owner: 0xfffffffe }, '4294967294', undefined],
    [{ owner: 0, group: 12345 }, 'root', '12345'],
    [{}, undefined, undefined],
  ] as const) {
    const tap = await createTap(netns, 'tap%d', options);
    const [shown] = ip<{ linkinfo: { info_data: { user?: string; group?: string } } }>(netns, `link show dev ${tap.name}`);
    const { info_data } = shown!.linkinfo;
    t.same([info_data.user, info_data.group], [user, group], JSON.stringify(options));
  }
  // (uid_t)-1 is nobody in particular, and setting it is refused rather than taken for that.
  await t.rejects(createTap(netns, 'tap99', { owner: 0xffffffff }), { code: 'EINVAL' });
  t.equal(await getLink(netns, 'tap99'), undefined);
});

/** Opens a TAP of the namespace as a user without privileges, to whom root has opened /dev/net/tun. */
const visitor = `
import fcntl, os, struct, sys
tun = os.open('/dev/net/tun', os.O_RDWR)
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
try:
  fcntl.ioctl(tun, 0x400454ca, struct.pack('16sH22x', sys.argv[1].encode(), 0x1002))
  print('open', flush=True)
  sys.stdin.read()
except PermissionError as error:
  print(error.strerror)
`;

await t.test('an owner opens it without privileges, and is seen', { skip }, async (t) => {
  const netns = await fresh(t);
  const taps = [await createTap(netns, 'tap0', { owner: 12345 }), await createTap(netns, 'tap1', { group: 12345 }), await createTap(netns, 'tap2', { owner: 12346 })]; // prettier-ignore
  for (const [index, tap] of taps.entries()) {
    const child = await netns.spawn('python3', ['-c', visitor, tap.name, '12345'], { stdio: ['pipe', 'pipe', 'inherit'] });
    const closed = once(child, 'close');
    const [said] = (await once(child.stdout!, 'data')) as [Buffer];
    t.equal(String(said).trim(), index === 2 ? 'Operation not permitted' : 'open', tap.name);
    if (index < 2) await tap.waitAttached();
    t.match(await tap.holders(), index < 2 ? [{ pid: child.pid!, queues: 1 }] : []);
    child.stdin!.end();
    await closed;
    await tap.waitDetached();
    t.same(await tap.holders(), []);
  }
});
