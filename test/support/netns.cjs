'use strict';
// Preloaded into every test file (.taprc has the options). Runs the same command line once more in namespaces of the file's own: user
// (so that no privileges are needed), network, mount. Inside, `lo` is up, and /run, where ip-netns(8) and podtap keep
// their files, is empty. A file named *.root.test.js keeps the user namespace it was started in: bpf(2) wants real root.
const { isMainThread } = require('node:worker_threads');

const marker = 'PODTAP_TEST_NETNS';

if (isMainThread) {
  if (process.env[marker] === undefined) {
    enter();
  } else if (process.env[marker] === 'entering') {
    process.env[marker] = 'inside'; // and so for every process that the file starts
    require('./ledger.cjs').open();
  }
}

function enter() {
  const { spawnSync } = require('node:child_process');
  const file = process.argv[1] ?? '';
  const user = file.endsWith('.root.test.js') ? [] : ['--user', '--map-root-user'];
  const env = { ...process.env, [marker]: 'entering', PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` };
  delete env.XDG_RUNTIME_DIR; // it is below /run
  const stdio = [0, 1, 2];
  if (process.channel) {
    // tap asks a file that takes too long for its open handles over this channel. Nobody reads it here: spawnSync blocks.
    stdio.push(process.channel.fd);
    env.NODE_CHANNEL_FD = '3';
  }
  // Every step replaces the one before, so that the node inside is our child, and dies with us when tap kills us.
  const inside = ['sh', '-ec', 'mount -t tmpfs -o mode=755 tmpfs /run; ip link set lo up; exec "$@"', 'sh'];
  const node = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const command = [...user, '--net', '--mount', '--propagation', 'private', '--', 'setpriv', '--pdeathsig', 'KILL', ...inside, ...node];
  const { status, signal, error } = spawnSync('unshare', command, { stdio, env });
  if (error) throw error;
  if (signal) process.kill(process.pid, signal);
  process.exit(status ?? 1);
}
