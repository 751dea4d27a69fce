'use strict';
// What a test file had when it began, and has when its process ends: descriptors, threads, children, links, named
// namespaces. What is left over is named, and the file fails.
const { readFileSync, readdirSync, readlinkSync, writeSync } = require('node:fs');

// The runtime makes these as it goes; podtap's own ones are counted by the addon (openDescriptors).
const runtimeDescriptor = /^(\/dev\/null$|pipe:|anon_inode:\[(eventpoll|eventfd|io_uring|signalfd)\])/;
// libuv's pool, a loader's worker; the addon's threads live as long as the environment does, and are few.
const spareThreads = 12;

exports.open = function open() {
  const before = read();
  process.on('exit', () => {
    const after = read();
    const left = [
      ...extra(before.descriptors, after.descriptors).map((target) => `descriptor ${target}`),
      ...extra(before.children, after.children).map((child) => `child process ${child}`),
      ...extra(before.links, after.links).map((link) => `link ${link}`),
      ...extra(before.namespaces, after.namespaces).map((name) => `namespace ${name}`),
    ];
    if (after.threads > before.threads + spareThreads) left.push(`${after.threads - before.threads} threads`);
    const owned = addonDescriptors();
    if (owned > 0) left.push(`${owned} descriptors of the addon, not closed`);
    if (left.length === 0) return;
    const file = (process.argv[1] ?? '').replace(`${process.cwd()}/`, '');
    writeSync(2, `${file} left behind:\n${left.map((line) => `  ${line}\n`).join('')}`);
    if (!process.exitCode) process.exitCode = 1;
  });
};

function read() {
  return {
    descriptors: readdirSync('/proc/self/fd')
      .map((fd) => attempt(() => readlinkSync(`/proc/self/fd/${fd}`)))
      .filter((target) => target !== undefined && !runtimeDescriptor.test(target)),
    threads: readdirSync('/proc/self/task').length,
    children: readdirSync('/proc/self/task').flatMap((task) =>
      (attempt(() => readFileSync(`/proc/self/task/${task}/children`, 'latin1')) ?? '')
        .split(' ')
        .filter(Boolean)
        .map((pid) => `${pid} ${(attempt(() => readFileSync(`/proc/${pid}/cmdline`, 'latin1')) ?? '').replaceAll('\0', ' ').trim()}`),
    ),
    links: [...readFileSync('/proc/self/net/dev', 'latin1').matchAll(/^ *([^:\s]+):/gm)].map((match) => match[1]),
    namespaces: attempt(() => readdirSync('/run/netns')) ?? [],
  };
}

/** What `after` has more often than `before`. */
function extra(before, after) {
  const known = [...before];
  return after.filter((item) => {
    const index = known.indexOf(item);
    if (index >= 0) known.splice(index, 1);
    return index < 0;
  });
}

function addonDescriptors() {
  const path = Object.keys(require.cache).find((name) => name.endsWith('/podtap.node'));
  return path === undefined ? 0 : (require.cache[path].exports.openDescriptors?.() ?? 0);
}

function attempt(read) {
  try {
    return read();
  } catch {
    return undefined; // gone meanwhile
  }
}
