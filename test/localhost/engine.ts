// The real Docker engine, in this test's own network and mount namespaces: its state, its socket and its images go with them.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, copyFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { pause, until } from '../support/inside.js';

const HOME = '/run/docker-engine';
const SOCKET = `unix://${HOME}/docker.sock`;
const IMAGE = 'busybox-of-test';

/** guests.md: a /sys of this namespace, with the control groups (version 1) that it would hide, and without the unified ones, that confuse runc. */
const MOUNTS = `
mkdir -p ${HOME}/cgroup ${HOME}/root
mount -t tmpfs tmpfs ${HOME}/root
mount --rbind /sys/fs/cgroup ${HOME}/cgroup
mount -t sysfs sysfs /sys
mount --rbind ${HOME}/cgroup /sys/fs/cgroup
umount /sys/fs/cgroup/unified 2>/dev/null || true
echo 1 > /proc/sys/net/ipv4/ip_forward
`;

export interface Container {
  readonly pid: number;
  readonly address: string;
  readonly resolvConf: string;
}

export class Engine {
  #daemon: ChildProcess | undefined;
  #log = '';

  /** Runs until the end of the test. */
  static async start(t: Test): Promise<Engine> {
    const { status, stderr } = spawnSync('sh', ['-ec', MOUNTS], { encoding: 'utf8' });
    if (status !== 0) throw new Error(stderr);
    const engine = new Engine();
    t.teardown(() => engine.#end());
    await engine.#run();
    engine.#import();
    return engine;
  }

  async #run(): Promise<void> {
    const words = ['--data-root', `${HOME}/root`, '--exec-root', `${HOME}/exec`, '-H', SOCKET, '-p', `${HOME}/pid`, '--storage-driver', 'vfs', '--live-restore', '--userland-proxy=false', '--cgroup-parent', `/podtap-${process.pid}`]; // prettier-ignore
    const daemon = spawn('dockerd', words, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#daemon = daemon;
    for (const stream of [daemon.stdout, daemon.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (this.#log += text));
    const answers = (): boolean => spawnSync('docker', ['-H', SOCKET, 'version'], { stdio: 'ignore' }).status === 0;
    if (!(await until(() => daemon.exitCode !== null || answers(), 60_000)) || daemon.exitCode !== null) throw new Error(`dockerd: ${this.#log}`); // prettier-ignore
  }

  /** What its containers were doing goes on; their resolvers are other ones then, on other ports. */
  async restart(): Promise<void> {
    await this.#stop();
    await this.#run();
  }

  async #stop(): Promise<void> {
    const daemon = this.#daemon;
    this.#daemon = undefined;
    if (daemon === undefined || daemon.exitCode !== null) return;
    const ended = new Promise((resolve) => daemon.once('exit', resolve));
    daemon.kill('SIGTERM');
    await ended;
  }

  async #end(): Promise<void> {
    try {
      const ids = this.docker('ps', '-aq').split('\n').filter((id) => id !== ''); // prettier-ignore
      if (ids.length > 0) this.docker('rm', '-f', ...ids);
    } catch {
      // It did not come up.
    }
    await this.#stop();
    // containerd is dockerd's child, and ends a moment after it.
    const file = `${HOME}/exec/containerd/containerd.pid`;
    await until(() => {
      try {
        process.kill(Number(readFileSync(file, 'utf8')), 'SIGTERM');
        return false;
      } catch {
        return true;
      }
    }, 10_000);
    spawnSync(
      'sh',
      [
        '-c',
        `for link in $(ls /sys/class/net); do case $link in docker0|br-*) ip link delete dev $link;; esac; done; rmdir /sys/fs/cgroup/*/podtap-${process.pid}; umount -R /sys`,
      ],
      { stdio: 'ignore' },
    );
    await pause(50);
  }

  docker(...words: readonly string[]): string {
    const { status, stdout, stderr } = spawnSync('docker', ['-H', SOCKET, ...words], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`docker ${words.join(' ')}: ${stderr}\n${this.#log.slice(-2000)}`);
    return stdout.trim();
  }

  /** Of nothing but a static busybox. */
  #import(): void {
    const tree = `${HOME}/image`;
    mkdirSync(join(tree, 'bin'), { recursive: true });
    copyFileSync('/bin/busybox', join(tree, 'bin/busybox'));
    for (const name of ['sh', 'sleep', 'nslookup', 'cat']) symlinkSync('busybox', join(tree, 'bin', name));
    const { status, stderr } = spawnSync('sh', ['-ec', `tar -C ${tree} -c . | docker -H ${SOCKET} import - ${IMAGE}`], {
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(stderr);
    rmSync(tree, { recursive: true });
  }

  /** One that sleeps. */
  run(name: string, network: string, ...more: readonly string[]): Container {
    const id = this.docker('run', '-d', '--name', name, '--network', network, ...more, IMAGE, '/bin/sleep', '100000');
    const [one] = JSON.parse(this.docker('inspect', id)) as [{ State: { Pid: number }; ResolvConfPath: string; NetworkSettings: { Networks: Record<string, { IPAddress: string }> } }]; // prettier-ignore
    return { pid: one.State.Pid, address: one.NetworkSettings.Networks[network]!.IPAddress, resolvConf: one.ResolvConfPath };
  }
}
