// A machine that takes the queues of its TAP as descriptors.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Netns, type Plumbing, plumb } from 'podtap';
import { qemu } from 'podtap/guest';

export async function start(
  pid: number,
  [command, ...before]: readonly [string, ...string[]],
): Promise<{ vm: ChildProcess; net: Plumbing }> {
  await using pod = await Netns.open({ pid });
  await using net = await plumb(pod, { tap: { queues: 2, attach: 'fd' }, vmm: 'qemu' });
  await using fds = await net.tap.takeFds(); // the end of the scope closes this process's copies
  const { stdio, childFds } = fds.stdio();
  const [address] = net.guest.addresses;
  const env = { ...process.env, GUEST_IP: address!.address.replace(/\/.*/, '') };
  const vm = spawn(command, [...before, '-nodefaults', ...qemu(net.guest, { fds: childFds }).args], { stdio, env });
  await once(vm, 'spawn');
  return { vm, net: net.keep() };
}
