// What the machine must have, and how it gets it: by apt as root on Debian and Ubuntu, else by the one line that is printed.
import { accessSync, constants, existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { step, Stop } from './steps.mjs';

/** Where Node keeps its own headers; the addon is built against these, and nothing is ever downloaded. */
export const nodeDirectory = dirname(dirname(process.execPath));

/** @typedef {{ what: string, package: string, present: () => boolean }} Need */

/** A nodejs package usually brings them; Debian's own has them in one of their own. @type {Need} */
const headers = {
  what: "Node's headers",
  package: 'libnode-dev',
  present: () => existsSync(join(nodeDirectory, 'include/node/node_api.h')),
};

/** @type {Readonly<Record<string, readonly Need[]>>} */
export const needs = {
  build: [program('g++', 'g++', process.env.CXX), program('make', 'make'), program('python3', 'python3'), headers],
  // The tests' oracles, and what gives each test file its namespace.
  tests: [
    program('ip', 'iproute2'),
    program('strace', 'strace'),
    program('unshare', 'util-linux'),
    program('setpriv', 'util-linux'),
    program('mount', 'mount'),
    program('nft', 'nftables'),
    program('iptables', 'iptables'), // Docker's rules
    program('tcpdump', 'tcpdump'),
    program('openssl', 'openssl'),
    program('etcd', 'etcd-server'), // Debian starts it as a service too, which the tests neither use nor disturb
    // Compiles native/bpf again, to be compared with what is committed.
    program('clang', 'clang'),
  ],
  // Guests, monitors and what reads guests' configuration: tests that want one are skipped where it is not.
  guests: [
    program('qemu-system-x86_64', 'qemu-system-x86'),
    program('linux.uml', 'user-mode-linux'),
    { what: 'a static busybox', package: 'busybox-static', present: () => existsSync('/usr/share/doc/busybox-static') },
    program('/usr/lib/klibc/bin/ipconfig', 'klibc-utils'),
    program('/lib/systemd/systemd-network-generator', 'systemd'),
    {
      what: "dracut's network scripts",
      package: 'dracut-network',
      present: () => existsSync('/usr/lib/dracut/modules.d/40network/net-lib.sh'),
    },
    // The engine, its client, containerd and runc.
    program('dockerd', 'docker.io'),
    program('netplan', 'netplan.io'),
    program('cloud-init', 'cloud-init'),
  ],
  // A virtual machine with another kernel, for test:kernels.
  kernels: [
    program('qemu-system-x86_64', 'qemu-system-x86'),
    { what: 'a static busybox', package: 'busybox-static', present: () => existsSync('/usr/share/doc/busybox-static') },
    program('depmod', 'kmod'),
    program('xz', 'xz-utils'),
  ],
  cmake: [program('cmake', 'cmake')],
  bpf: [program('clang', 'clang')],
};

/**
 * @param {string} name
 * @param {string} debianPackage
 * @param {string} [instead] what the environment names instead
 * @returns {Need}
 */
function program(name, debianPackage, instead) {
  return { what: name, package: debianPackage, present: () => inPath(instead?.split(' ')[0] || name) };
}

/** @param {string} name */
export function inPath(name) {
  const path = `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin:/sbin`;
  return path.split(':').some((directory) => executable(join(directory, name))) || (name.includes('/') && executable(name));
}

/** @param {string} file */
function executable(file) {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * @param {readonly Need[]} list
 * @param {{ optional?: boolean }} [how] optional: what cannot be had is not missed
 */
export async function provide(list, { optional = false } = {}) {
  const missing = list.filter((need) => !need.present());
  if (missing.length === 0) return;
  if (missing.includes(headers) && nodeDirectory !== '/usr') {
    // A package's headers would be another version's, and in another place.
    console.error(
      `Node's headers are not in ${nodeDirectory}/include/node, where this node (${process.execPath}) keeps them: take a nodejs package or archive that brings them.`,
    );
    throw new Stop("Node's headers");
  }
  const packages = [...new Set(missing.map((need) => need.package))];
  if (process.getuid?.() === 0 && inPath('apt-get')) {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    const install = async () => {
      await step('package lists', 'apt-get', ['update', '-q'], { env });
      await step(`installed ${packages.join(' ')}`, 'apt-get', ['install', '-qy', '--no-install-recommends', ...packages], { env });
    };
    await install().catch((error) => {
      if (!optional) throw error;
    });
  }
  if (optional) return;
  const still = missing.filter((need) => !need.present());
  if (still.length === 0) return;
  console.error(`missing: ${still.map((need) => need.what).join(', ')}. Install with:\n  sudo apt-get install -y ${packages.join(' ')}`);
  throw new Stop('what is missing');
}
