// npm run bench: builds the floor and the peers that can be built, and runs the benchmark in namespaces of its own.
//   npm run bench -- [--json] [--quick] [--rounds N] [--only NAME]...
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { inPath } from './needs.mjs';
import { prepare } from './prepare.mjs';
import { main, root, Stop } from './steps.mjs';

const output = join(root, 'build/bench');

/** @type {{ name: string, command: string[] }[]} */
const peers = [];
/** @type {string[]} */
const missing = [];

// Then only the results go to standard output.
if (process.argv.includes('--json')) console.log = console.error;

await main(async () => {
  await prepare();
  mkdirSync(output, { recursive: true });
  const floor = compileFloor();
  go();
  python();
  const ip = inPath('ip');
  if (!ip) missing.push('ip(8): install iproute2');
  // The real root needs no user namespace, and without one the sizes of socket buffers are not limited.
  const user = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
  const inside = ['sh', '-ec', 'mount -t tmpfs -o mode=755 tmpfs /run; exec "$@"', 'sh'];
  const node = [process.execPath, join(root, 'dist/bench/main.js'), ...process.argv.slice(2)];
  const env = {
    ...process.env,
    PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`,
    PODTAP_BENCH: JSON.stringify({ floor, ip, peers, missing }),
  };
  const { status } = spawnSync('unshare', [...user, '--net', '--mount', '--', ...inside, ...node], { stdio: 'inherit', env });
  return status ?? 1;
});

function compileFloor() {
  const folder = join(root, 'bench/floor');
  const sources = readdirSync(folder).filter((file) => file.endsWith('.c'));
  const program = join(output, 'floor');
  const { status } = spawnSync('cc', ['-O2', '-Wall', '-Wextra', '-o', program, ...sources], { cwd: folder, stdio: 'inherit' });
  if (status !== 0) throw new Stop('the floor');
  return program;
}

/** By Debian's packages, which need no network: golang-go, golang-github-vishvananda-netlink-dev. */
function go() {
  const name = 'Go, vishvananda/netlink';
  const program = join(output, 'go-peer');
  const env = { ...process.env, GO111MODULE: 'off', GOPATH: '/usr/share/gocode' };
  const { status } = spawnSync('go', ['build', '-o', program, join(root, 'bench/peers/go/main.go')], { env, stdio: 'ignore' });
  if (status === 0) peers.push({ name, command: [program] });
  else missing.push(`${name}: install golang-go and golang-github-vishvananda-netlink-dev`);
}

/** Debian's is not always the first in the path. */
function python() {
  const program = ['python3', '/usr/bin/python3'].find((each) => spawnSync(each, ['-c', 'import pyroute2']).status === 0);
  if (program === undefined) missing.push('pyroute2: install python3-pyroute2');
  else peers.push({ name: 'pyroute2', command: [program, join(root, 'bench/peers/pyroute2_peer.py')] });
}
