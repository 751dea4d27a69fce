// The programs of test/programs with the monitors that they were written for.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { readAddr } from 'podtap';
import { dracutCmdline, guestOf } from 'podtap/guest';
import { start } from '../programs/qemu.js';
import { needed, qemuCommand } from '../support/machine.js';
import { requires } from '../support/requires.js';
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
