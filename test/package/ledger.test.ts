import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { root } from '../support/root.js';

// Each test file runs in a namespace of its own, and fails when it leaves something behind: both must be able to fail.

const preload = join(root, 'test/support/netns.cjs');

function run(...args: readonly string[]) {
  // As if started by hand, not by tap, which would follow it with NODE_OPTIONS.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(PODTAP_TEST_NETNS|NODE_OPTIONS|_?TAP)/.test(name)));
  return spawnSync(process.execPath, ['--conditions=podtap-source', '--require', preload, ...args], { env, encoding: 'utf8' });
}

function leave(what: string) {
  return run(join(root, 'dist/test/package/leaks.fixture.js'), what);
}

await t.test('a file that leaves nothing behind passes', async (t) => {
  const { status, stderr } = leave('nothing');
  t.equal(stderr, '');
  t.equal(status, 0);
});

for (const [what, said] of [
  ['descriptor', /left behind:\n {2}descriptor net:\[\d+\]\n$/],
  ['child', /left behind:\n {2}child process \d+ .*\n$/],
  ['link', /left behind:\n {2}link leaked0\n$/],
  ['namespace', /left behind:\n {2}namespace leaked\n$/],
] as const) {
  await t.test(`a file that leaves a ${what} behind fails and says so`, async (t) => {
    const { status, stderr } = leave(what);
    t.match(stderr, said);
    t.equal(status, 1);
  });
}

await t.test('a file sees neither the links nor the named namespaces of another', async (t) => {
  const script = `console.log(JSON.stringify([Object.keys(require('os').networkInterfaces()), require('fs').readdirSync('/run')]))`;
  const { stdout } = run('-e', script);
  t.same(JSON.parse(stdout), [['lo'], []]);
});

await t.test('exit codes and signals come through', async (t) => {
  t.equal(run('-e', 'process.exit(7)').status, 7);
  t.equal(run('-e', 'process.kill(process.pid, "SIGKILL")').signal, 'SIGKILL');
});
