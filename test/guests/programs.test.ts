// The programs of test/programs with the monitors that they were written for.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openTap, readAddr } from 'podtap';
import { ping, runGuest } from 'podtap/lab';
import { dracutCmdline, guestOf } from 'podtap/guest';
import { boot } from '../programs/firecracker.js';
import { start } from '../programs/qemu.js';
import { inside } from '../support/inside.js';
import { needed, qemuCommand } from '../support/machine.js';
import { requires } from '../support/requires.js';
import { root } from '../support/root.js';
import { POD, createCluster } from './cluster.js';
import { answered } from './traffic.js';

t.setTimeout(600_000);

await t.test('QEMU, which inherits two queues', { skip: requires('tun', 'bridge', 'clsact', 'u32', ...needed.qemu) }, async (t) => {
  await using cluster = await createCluster('/32');
  const { client, pod } = cluster;
  const sleeper = await pod.spawn('sleep', ['600'], { stdio: 'ignore' });
  const guest = guestOf(await readAddr(pod, 'eth0'), { tap: 'tap0' });
  const log = join(t.testdir(), 'console');
  const { parameters } = dracutCmdline(guest, { reader: 'systemd' });
  const { vm, net } = await start(sleeper.pid!, qemuCommand(parameters, ['-smp', '2', '-serial', `file:${log}`]));
  const ended = new Promise((resolve) => vm.once('close', resolve));
  try {
    t.same((await net.tap.holders()).map(({ pid, queues }) => [pid, queues]), [[vm.pid, 2]]); // prettier-ignore
    t.ok(await answered(client, POD.ipv4, 60_000), existsSync(log) ? readFileSync(log, 'utf8') : 'no console');
    t.ok(await answered(client, POD.ipv6));
  } finally {
    vm.kill('SIGKILL');
    await ended;
    t.match(await net.undo(), { state: 'undone', leftBehind: [] });
    const gone = new Promise((resolve) => sleeper.once('close', resolve));
    sleeper.kill();
    await gone;
  }
  t.ok(await answered(client, POD.ipv4), 'the pod itself answers again');
});

await t.test('what opens the TAP as Firecracker does', { skip: requires('tun', 'bridge', 'clsact', 'u32') }, async (t) => {
  await using cluster = await createCluster('/16');
  const { client, pod } = cluster;
  // The program tells its guest by the kernel's ip=, which has no word for IPv6.
  inside(pod, 'ip -6 address flush dev eth0 scope global; ip -6 route flush dev eth0 proto static; ip -6 route del default || true');
  const monitor = ['python3', join(root, 'test/programs/firecracker.py')] as const;
  const net = await boot({ id: '8', netns: pod.path!, socket: join(t.testdir(), 'api'), monitor });
  const [holder] = await net.tap.holders();
  try {
    t.match(holder, { command: /python3/, queues: 1 });
    t.ok(await answered(client, POD.ipv4), 'its guest answers');
    t.equal((await ping(client, POD.ipv4, { size: 1400 })).received, 1);
  } finally {
    process.kill(holder!.pid, 'SIGKILL');
    await net.tap.waitDetached({ signal: AbortSignal.timeout(10_000) });
    // The headers of 12 bytes and the offloads outlive who has set them: who comes next must not mind.
    await using tap = await openTap(pod, net.tap.name, { vnetHdr: false });
    const guest = await runGuest(tap, net.guest).catch((error: unknown) => error as Error);
    if (guest instanceof Error) t.fail(guest.message);
    else {
      t.ok(await answered(client, POD.ipv4), 'a guest without headers comes after it, and answers');
      await guest.close();
    }
    t.match(await net.undo(), { state: 'undone', leftBehind: [] });
  }
  t.ok(await answered(client, POD.ipv4), 'the pod itself answers again');
});
