// As the author of a runtime would write it: plumb, start the monitor in the pod, hand over. Whatever throws on the way undoes it.
import http from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { Netns, type Plumbing, plumb } from 'podtap';
import { firecracker, linuxCmdline } from 'podtap/guest';

export interface Machine {
  readonly id: string;
  /** Of its pod's namespace. */
  readonly netns: string;
  readonly socket: string;
  /** The monitor, and its first arguments. */
  readonly monitor: readonly [string, ...string[]];
  readonly kernelArguments?: string;
}

export async function boot({ id, netns, socket, monitor: [command, ...args], kernelArguments = '' }: Machine): Promise<Plumbing> {
  await using pod = await Netns.open({ path: netns });
  await using net = await plumb(pod, {
    link: 'eth0',
    tap: 'tap0',
    vmm: 'firecracker',
    label: `vm/${id}`,
    signal: AbortSignal.timeout(10_000),
  });
  const child = await pod.spawn(command, [...args, '--api-sock', socket, '--id', id], { detached: true, stdio: 'ignore' });
  child.unref();
  try {
    await put(socket, '/boot-source', {
      kernel_image_path: 'vmlinux',
      boot_args: `console=ttyS0 ${linuxCmdline(net.guest).text} ${kernelArguments}`,
    });
    await put(socket, '/network-interfaces/eth0', firecracker(net.guest).interface);
    await put(socket, '/actions', { action_type: 'InstanceStart' });
    await net.tap.waitAttached({ signal: AbortSignal.timeout(10_000) });
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
  return net.keep();
}

async function put(socketPath: string, path: string, body: unknown): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      const status = await new Promise<number>((resolve, reject) => {
        const request = http.request({ socketPath, path, method: 'PUT', agent: false });
        request.on('response', (response) => (response.resume(), resolve(response.statusCode!))).on('error', reject);
        request.end(JSON.stringify(body));
      });
      if (status !== 204) throw new Error(`PUT ${path}: ${status}`);
      return;
    } catch (error) {
      // The monitor has not made its socket yet.
      if (!['ENOENT', 'ECONNREFUSED'].includes((error as NodeJS.ErrnoException).code ?? '') || attempt === 500) throw error;
      await delay(20);
    }
  }
}
