import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { root } from '../support/root.js';
import { runtimes } from '../support/runtimes.js';

// The same program, plain JavaScript that uses the compiled library, under each runtime that podtap is for.

const smoke = join(root, 'test/smoke/smoke.mjs');

for (const [name, [command = '', ...args]] of Object.entries(runtimes)) {
  await t.test(name, async (t) => {
    t.ok(existsSync(command), `${command} is installed`);
    const env = { ...process.env, DENO_DIR: join(t.testdir({}), 'deno'), DENO_NO_UPDATE_CHECK: '1', NODE_OPTIONS: '' };
    const { status, signal, stdout, stderr } = spawnSync(command, [...args, smoke], { cwd: root, env, encoding: 'utf8', timeout: 120_000 });
    t.equal(signal, null);
    t.equal(status, 0, { stderr });
    t.match(stdout, /^smoke ok$/m);
  });
}
