// Guests that are not this kernel: Linux in user mode, and Debian's in QEMU. Each boots an initramfs of busybox and init.sh, which
// configures the network from the command line as dracut would, and then takes commands from its console.
import type { ChildProcess, StdioOptions } from 'node:child_process';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Netns } from 'podtap';
import type { Feature } from './requires.js';
import { root } from './root.js';

export type Kind = 'uml' | 'qemu';

/** For requires(). */
export const needed: Readonly<Record<Kind, readonly Feature[]>> = {
  uml: ['uml', 'busybox'],
  qemu: ['qemu', 'guest_kernel', 'busybox'],
};

export interface Machine extends AsyncDisposable {
  readonly pid: number;
  /** All that came from its console. */
  readonly said: string;
  /** Runs a command line in the guest; what it printed. Rejects where it fails. */
  run(line: string): Promise<string>;
  kill(signal?: NodeJS.Signals): Promise<void>;
}

export interface MachineOptions {
  /** Of the monitor: what uml() and qemu() say. */
  readonly args: readonly string[];
  /** Of the guest's command line: what dracutCmdline() and linuxCmdline() say. */
  readonly parameters: readonly string[];
  /** Behind the first three. */
  readonly stdio?: readonly (number | 'ignore')[];
  readonly processors?: number;
}

const folder = mkdtempSync(join(tmpdir(), 'podtap-guests-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const archives = new Map<Kind, string>();

function initramfs(kind: Kind): string {
  const there = archives.get(kind);
  if (there !== undefined) return there;
  const place = join(folder, kind);
  for (const name of ['bin', 'proc', 'sys', 'dev', 'www']) mkdirSync(join(place, name), { recursive: true });
  copyFileSync(execFileSync('sh', ['-c', 'command -v busybox'], { encoding: 'utf8' }).trim(), join(place, 'bin/busybox'));
  copyFileSync(join(root, 'test/support/init.sh'), join(place, 'init'));
  chmodSync(join(place, 'init'), 0o755);
  for (const [at, file] of modules(kind).entries()) copyFileSync(file, join(place, `${String(at).padStart(2, '0')}.ko`));
  const archive = join(folder, `${kind}.initrd`);
  const { status } = spawnSync('sh', ['-ec', `cd "$1"; find . | busybox cpio -o -H newc > "$2"`, 'sh', place, archive]);
  if (status !== 0) throw new Error('no initramfs');
  archives.set(kind, archive);
  return archive;
}

/** In the order of their loading. Debian's user-mode Linux has IPv6 as a module. */
function modules(kind: Kind): readonly string[] {
  if (kind === 'qemu') {
    const at = join(root, 'cache/guests/modules');
    return readdirSync(at).sort().map((file) => join(at, file)); // prettier-ignore
  }
  const release = execFileSync('linux.uml', ['--version'], { encoding: 'utf8' }).trim();
  return ['lib/crc-ccitt.ko', 'net/ipv6/ipv6.ko'].map((file) => `/usr/lib/uml/modules/${release}/kernel/${file}`);
}

function commandOf(kind: Kind, { args, parameters, processors = 1 }: MachineOptions): readonly string[] {
  if (kind === 'uml') {
    const home = mkdtempSync(join(folder, 'uml-'));
    return ['linux.uml', 'mem=128M', `initrd=${initramfs(kind)}`, `uml_dir=${home}`, 'con=null', 'con0=fd:0,fd:1', 'quiet', 'panic=-1', ...args, ...parameters]; // prettier-ignore
  }
  return qemuCommand(parameters, [
    '-chardev',
    'stdio,id=console,signal=off',
    '-serial',
    'chardev:console',
    '-smp',
    String(processors),
    ...args,
  ]);
}

/**
 * Hardware's where the processor has it: a /dev/kvm without (PVM) carries only kernels that were made for it, and others as good as never.
 * Where the device cannot be opened QEMU takes the next.
 */
const accelerators = /^flags\b.*\s(vmx|svm)\s/m.test(readFileSync('/proc/cpuinfo', 'latin1')) ? '-accel kvm -accel tcg' : '-accel tcg';

/** All but its network card. */
export function qemuCommand(parameters: readonly string[], more: readonly string[]): readonly [string, ...string[]] {
  const machine = `-M pc ${accelerators} -cpu max -m 192 -nodefaults -no-user-config -display none -no-reboot`;
  // On a busy machine the ticks of the emulated timer come too late for the kernel's check of it.
  const append = ['console=ttyS0', 'quiet', 'panic=-1', 'tsc=reliable', 'no_timer_check', 'mitigations=off', ...parameters].join(' ');
  const kernel = ['-kernel', join(root, 'cache/guests/vmlinuz'), '-initrd', initramfs('qemu'), '-append', append];
  return ['qemu-system-x86_64', ...machine.split(' '), ...kernel, ...more];
}

/** Resolves when it is up and has said all. Where this machine is short of processes the guest's first one may fail to fork. */
export async function boot(kind: Kind, netns: Netns, options: MachineOptions, tries = 3): Promise<Machine> {
  const machine = await start(kind, netns, options);
  if (/^that is all$/m.test(machine.said)) return machine;
  await machine.kill();
  if (tries === 1 || !/can't fork/.test(machine.said)) throw new Error(`the guest did not boot:\n${machine.said}`);
  return boot(kind, netns, options, tries - 1);
}

async function start(kind: Kind, netns: Netns, options: MachineOptions): Promise<Machine> {
  const [command = '', ...args] = commandOf(kind, options);
  const stdio: StdioOptions = ['pipe', 'pipe', 'pipe', ...(options.stdio ?? [])];
  const child: ChildProcess = await netns.spawn(command, args, { stdio });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  child.stdin!.on('error', () => undefined); // it died before it has read it
  let said = '';
  const heard = (pattern: RegExp, from = 0): Promise<RegExpExecArray | null> =>
    new Promise((resolve) => {
      const look = (): void => {
        const match = pattern.exec(said.slice(from));
        if (match !== null) done(match);
      };
      const done = (match: RegExpExecArray | null): void => {
        listeners.delete(look);
        resolve(match);
      };
      listeners.add(look);
      look();
      void ended.then(() => done(pattern.exec(said.slice(from))));
    });
  const listeners = new Set<() => void>();
  for (const stream of [child.stdout!, child.stderr!])
    stream.setEncoding('utf8').on('data', (part: string) => {
      said += part.replaceAll('\r', '');
      for (const look of [...listeners]) look();
    });
  const kill = async (signal: NodeJS.Signals = 'SIGTERM'): Promise<void> => {
    child.kill(signal);
    await ended;
  };
  await heard(/that is all|Kernel panic/);
  return {
    pid: child.pid!,
    get said() {
      return said;
    },
    async run(line) {
      const from = said.length;
      child.stdin!.write(`${line}\n`);
      const match = await heard(/<<ended (\d+)>>/, from);
      const printed = said.slice(from).split('<<ended')[0] ?? '';
      if (match?.[1] !== '0')
        throw new Error(`in the guest, ${line}: ${match === null ? 'it has ended' : `status ${match[1]}`}: ${printed}`);
      return printed;
    },
    kill,
    [Symbol.asyncDispose]: () => kill(),
  };
}
