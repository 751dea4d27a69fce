// Debian's kernels, as packages, unpacked below cache/ and never installed: what real guests boot, and what test:kernels runs the tests on.
//   node scripts/kernels.mjs [package ...]   fetches them; default: the guests' one
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { basename, join } from 'node:path';
import { inPath } from './needs.mjs';
import { main, root, step, Stop } from './steps.mjs';

const cache = join(root, 'cache/kernels');

/** Small, and it has what a virtual machine has. */
export const guestKernel = 'linux-image-cloud-amd64';

/** What a guest needs to see a virtio card; each brings what it depends on. */
const guestModules = ['virtio_pci', 'virtio_net'];

/** @typedef {{ package: string, release: string, image: string, modules: string }} Kernel */

/**
 * A kernel that has been fetched, or undefined.
 * @param {string} name of the package that stands for the newest one: 'linux-image-amd64'
 * @returns {Kernel | undefined}
 */
export function kernelAt(name) {
  const folder = join(cache, name);
  const release = existsSync(join(folder, 'release')) ? readFileSync(join(folder, 'release'), 'utf8') : undefined;
  if (release === undefined) return undefined;
  return { package: name, release, image: join(folder, 'vmlinuz'), modules: join(folder, 'lib/modules', release) };
}

/**
 * @param {string} name
 * @returns {Promise<Kernel>}
 */
export async function fetchKernel(name) {
  const there = kernelAt(name);
  if (there !== undefined) return there;
  if (!inPath('apt-get') || !inPath('dpkg-deb')) {
    console.error(`${name} is a package of Debian, and this machine has no apt-get`);
    throw new Stop('a kernel');
  }
  const newest = () => /^ *Depends: (linux-image-\S+)$/m.exec(spawnSync('apt-cache', ['depends', name], { encoding: 'utf8' }).stdout)?.[1];
  if (newest() === undefined && process.getuid?.() === 0) await step('package lists', 'apt-get', ['update', '-q']);
  const which = newest();
  if (which === undefined) {
    console.error(`apt does not know ${name}: try apt-get update`);
    throw new Stop('a kernel');
  }
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, 'new-'));
  try {
    const download = () => step(`fetched ${which}`, 'apt-get', ['download', '-q', which], { cwd: folder });
    await download().catch(async (error) => {
      // What the lists name may have left the archive.
      if (process.getuid?.() !== 0) throw error;
      await step('package lists', 'apt-get', ['update', '-q']);
      await download();
    });
    const archive = readdirSync(folder).find((file) => file.endsWith('.deb')) ?? '';
    await step(`unpacked ${which}`, 'dpkg-deb', ['--extract', archive, '.'], { cwd: folder });
    rmSync(join(folder, archive));
    const image = readdirSync(join(folder, 'boot')).find((file) => file.startsWith('vmlinuz-')) ?? '';
    renameSync(join(folder, 'boot', image), join(folder, 'vmlinuz'));
    writeFileSync(join(folder, 'release'), image.replace('vmlinuz-', ''));
    rmSync(join(cache, name), { recursive: true, force: true });
    renameSync(folder, join(cache, name));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return /** @type {Kernel} */ (kernelAt(name));
}

/**
 * Puts a kernel's modules into a folder, in the order of their loading: '00-virtio.ko', ...
 * @param {Kernel} kernel
 * @param {readonly string[]} wanted
 * @param {string} folder
 */
export function collectModules(kernel, wanted, folder) {
  const files = new Map(
    readdirSync(join(kernel.modules, 'kernel'), { recursive: true, encoding: 'utf8' })
      .filter((file) => /\.ko(\.|$)/.test(file))
      .map((file) => [
        basename(file)
          .replace(/\.ko.*$/, '')
          .replaceAll('-', '_'),
        join(kernel.modules, 'kernel', file),
      ]),
  );
  /** @type {Map<string, Buffer>} */
  const collected = new Map();
  /** @param {string} name */
  const collect = (name) => {
    const file = files.get(name);
    if (file === undefined || collected.has(name)) return; // not in the files: built in
    const bytes = file.endsWith('.xz')
      ? spawnSync('xz', ['--decompress', '--stdout', file], { maxBuffer: 1 << 28 }).stdout
      : readFileSync(file);
    // Of its section .modinfo: 'depends=failover,net_failover\0'.
    const depends = /\0depends=([^\0]*)\0/.exec(bytes.toString('latin1'))?.[1] ?? '';
    for (const other of depends.split(',').filter(Boolean)) collect(other.replaceAll('-', '_'));
    collected.set(name, bytes);
  };
  for (const name of wanted) collect(name);
  mkdirSync(folder, { recursive: true });
  [...collected].forEach(([name, bytes], at) => writeFileSync(join(folder, `${String(at).padStart(2, '0')}-${name}.ko`), bytes));
}

/** What test/guests boots in QEMU: cache/guests/vmlinuz and modules/. */
export async function prepareGuests() {
  const folder = join(root, 'cache/guests');
  if (existsSync(join(folder, 'vmlinuz'))) return;
  const kernel = await fetchKernel(guestKernel);
  collectModules(kernel, guestModules, join(folder, 'modules'));
  renameSync(kernel.image, join(folder, 'vmlinuz'));
  rmSync(join(cache, guestKernel), { recursive: true });
}

if (process.argv[1] === import.meta.filename) {
  const names = process.argv.slice(2);
  await main(async () => {
    if (names.length === 0) await prepareGuests();
    for (const name of names) await fetchKernel(name);
  });
}
