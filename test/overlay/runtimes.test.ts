import { spawn } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { requires } from '../support/requires.js';
import { root } from '../support/root.js';
import { runtimes } from '../support/runtimes.js';
import { PREFIX, config, etcd } from './server.js';

// Each runtime has an HTTP client of its own; see also test/package/runtimes.test.ts.

for (const [name, [command = '', ...args]] of Object.entries(runtimes)) {
  await t.test(name, { skip: requires('vxlan', 'bridge') }, async (t) => {
    const server = await etcd(t);
    await server.put(`${PREFIX}/config`, config());
    const env = { ...process.env, DENO_DIR: join(t.testdir({}), 'deno'), DENO_NO_UPDATE_CHECK: '1', NODE_OPTIONS: '' };
    const child = spawn(command, [...args, join(root, 'test/smoke/overlay.mjs'), server.url], { cwd: root, env, timeout: 25_000 });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text));
    const status = await new Promise((resolve) => child.on('close', resolve));
    t.equal(status, 0, { output });
    t.match(output, /^overlay ok$/m);
  });
}
