// npm run test:kernels: the tests of what the kernel does, on Debian's kernels, each in a virtual machine whose files are this machine's,
// read-only, under a layer of memory. Without KVM everything there is ten times slower than here: it is not part of npm test.
//   npm run test:kernels                     both kernels, the usual rooms
//   npm run test:kernels -- 6.12 plumb/ wire one of them; files whose path contains one of the words
//   npm run test:kernels -- all              every file
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { collectModules, fetchKernel } from './kernels.mjs';
import { needs, provide } from './needs.mjs';
import { prepare } from './prepare.mjs';
import { Results } from './results.mjs';
import { Stop, main, root, seconds, step } from './steps.mjs';

/** Of bookworm's own archive. */
const kernels = { 6.1: 'linux-image-amd64', 6.12: 'linux-image-6.12-amd64' };

/** Where the kernel decides; not what takes an hour there, or is the same on any. */
const usual = ['wire/', 'operation/', 'primitive/', 'kernel/', 'transaction/', 'plumb/', 'lab/'];
const unusual = /fuzz|endurance|oracle|crash|workers|tamper/;

/**
 * KVM where the processor has it: a /dev/kvm without (PVM) carries only kernels that were made for it, and these as good as never. Where the
 * device cannot be opened QEMU takes the next.
 */
const tcg = '-accel tcg,thread=multi';
const accelerators = /^flags\b.*\s(vmx|svm)\s/m.test(readFileSync('/proc/cpuinfo', 'latin1')) ? `-accel kvm ${tcg}` : tcg;

await main(async () => {
  const words = process.argv.slice(2);
  const asked = Object.keys(kernels).filter((version) => words.includes(version));
  await prepare();
  await provide(needs.kernels);
  const files = testFiles(words.filter((word) => !(word in kernels)));
  if (files.length === 0) {
    console.error(`no test file below test/ has one of these in its path: ${words.join(' ')}`);
    throw new Stop('files');
  }
  let ok = true;
  /** @type {string[]} */
  const reports = [];
  for (const version of asked.length > 0 ? asked : Object.keys(kernels)) {
    const kernel = await fetchKernel(kernels[version]);
    console.log(`\nLinux ${kernel.release}, ${files.length} files`);
    const started = performance.now();
    const results = await run(kernel, files);
    ok = results.summarize() && ok;
    reports.push(`Linux ${kernel.release}: ${results.sum} (${seconds(performance.now() - started)})`);
  }
  console.log(`\n${reports.join('\n')}`);
  return ok ? 0 : 1;
});

/** @param {readonly string[]} words */
function testFiles(words) {
  const wanted = words.filter((word) => word !== 'all');
  return readdirSync(join(root, 'dist/test'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.js'))
    .filter((file) =>
      wanted.length > 0
        ? wanted.some((word) => file.includes(word))
        : words.includes('all') || (usual.some((word) => file.startsWith(word)) && !unusual.test(file)),
    )
    .map((file) => `dist/test/${file}`)
    .sort();
}

/**
 * @param {import('./kernels.mjs').Kernel} kernel
 * @param {readonly string[]} files
 */
async function run(kernel, files) {
  const results = new Results();
  const folder = mkdtempSync(join(tmpdir(), 'podtap-kernel-'));
  try {
    mkdirSync(join(folder, 'results'));
    writeFileSync(join(folder, 'results/files'), files.map((file) => `${file}\n`).join(''));
    await pack(join(folder, 'results/project.tar'));
    const initrd = await initramfs(kernel, folder);
    const jobs = process.env.JOBS ?? '2';
    const told = { root, modules: kernel.modules, node: process.execPath, jobs };
    const append = ['console=ttyS0', 'quiet', 'panic=-1', 'tsc=reliable', 'mitigations=off', ...Object.entries(told).map(([name, value]) => `vm.${name}=${value}`)]; // prettier-ignore
    const share = (/** @type {string} */ path, /** @type {string} */ tag, /** @type {string} */ more) =>
      ['-virtfs', `local,path=${path},mount_tag=${tag},security_model=none,multidevs=remap${more}`]; // prettier-ignore
    const machine = `-M q35 ${accelerators} -cpu max -smp 2 -m 3072 -nodefaults -no-user-config -display none -no-reboot -chardev stdio,id=console,signal=off -serial chardev:console`; // prettier-ignore
    const child = spawn(
      'qemu-system-x86_64',
      [
        ...machine.split(' '),
        '-kernel',
        kernel.image,
        '-initrd',
        initrd,
        '-append',
        append.join(' '),
        ...share('/', 'root', ',readonly=on'),
        ...share(join(folder, 'results'), 'results', ''),
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const stop = () => child.kill('SIGKILL');
    // Ended from outside, it leaves no machine behind.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(1));
    process.once('exit', stop);
    const parser = results.parser();
    parser.write('TAP version 14\n');
    let ended = 0;
    const left = new Set(files);
    for await (const line of createInterface({ input: child.stdout })) {
      const [, number, status, took] = /<<(\d+) (\d+) (\d+)>>/.exec(line) ?? [];
      if (number === undefined) {
        if (process.env.CONSOLE) console.log(`  | ${line}`);
        continue;
      }
      const file = files[Number(number) - 1] ?? '';
      left.delete(file);
      parser.write(reportOf(join(folder, 'results', number), { file, status: Number(status), took: Number(took), at: ++ended }));
    }
    process.off('exit', stop);
    parser.end(`1..${ended}\n`);
    for (const file of left) results.failed(`${file}: the machine ended before it did`);
    const complaints = existsSync(join(folder, 'results/dmesg')) ? readFileSync(join(folder, 'results/dmesg'), 'utf8').trim() : '';
    if (complaints !== '') results.failed(`the kernel complained:\n${complaints}`);
    return results;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Of the project what tests need: thousands of small files, which 9p brings slowly. @param {string} archive */
async function pack(archive) {
  const tools = ['bun', '@oven', 'deno', '@deno', 'typescript', '@typescript', 'esbuild', '@esbuild', 'prettier', '.cache'];
  const left = [
    ...tools.map((name) => `./node_modules/${name}`),
    './cache',
    './.git',
    './build/Release/obj*',
    './build-cmake',
    '*.map',
    '*.d.ts',
  ];
  await step('packed', 'tar', ['--create', '--file', archive, ...left.map((name) => `--exclude=${name}`), '.']);
}

/**
 * As the runner of tap would put it: a subtest for each file.
 * @param {string} path
 * @param {{ file: string, status: number, took: number, at: number }} about
 */
function reportOf(path, { file, status, took, at }) {
  const inner = readFileSync(`${path}.tap`, 'utf8').replace(/^TAP version 14\n/, '').replace(/^(?=.)/gm, '    '); // prettier-ignore
  if (status !== 0) console.log(readFileSync(`${path}.err`, 'utf8').trimEnd());
  return `# Subtest: ${file}\n${inner}${status === 0 ? 'ok' : 'not ok'} ${at} - ${file} # time=${took * 1000}ms\n# \n`;
}

/**
 * @param {import('./kernels.mjs').Kernel} kernel
 * @param {string} folder
 */
async function initramfs(kernel, folder) {
  if (!existsSync(join(kernel.modules, 'modules.dep'))) {
    // From lib/modules/RELEASE below a folder.
    await step('modules indexed', 'depmod', ['--basedir', join(kernel.modules, '../../..'), kernel.release], { env: { ...process.env, PATH: `${process.env.PATH}:/sbin:/usr/sbin` } }); // prettier-ignore
  }
  const place = join(folder, 'initrd');
  for (const name of ['bin', 'proc', 'sys', 'dev']) mkdirSync(join(place, name), { recursive: true });
  collectModules(kernel, ['virtio_pci', '9pnet_virtio', '9p', 'overlay'], join(place, 'modules'));
  const busybox = spawnSync('sh', ['-c', 'command -v busybox'], { encoding: 'utf8' }).stdout.trim();
  copyFileSync(busybox, join(place, 'bin/busybox'));
  copyFileSync(join(root, 'scripts/vm/init.sh'), join(place, 'init'));
  chmodSync(join(place, 'init'), 0o755);
  await step('initramfs', 'sh', ['-ec', `cd "$1"; find . | busybox cpio -o -H newc > "$2"`, 'sh', place, `${place}.cpio`]);
  return `${place}.cpio`;
}
