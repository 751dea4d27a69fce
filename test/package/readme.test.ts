// The examples of the README do what they say: they are run, as a user's own modules would be.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type Netns, inspect, listAddresses } from 'podtap';
import t from 'tap';
import ts from 'typescript';
import { fixture } from '../support/inside.js';
import { createNode } from '../support/pod.js';
import { root } from '../support/root.js';

const readme = readFileSync(join(root, 'README.md'), 'utf8');
const examples = [...readme.matchAll(/^```ts\n([^]*?)^```$/gm)].map(([, code]) => code!).filter((code) => /\b4711\b|createLab/.test(code));
// Inside the package, so that it finds itself under its own name.
const folder = mkdtempSync(join(root, 'dist/test/readme-'));
t.teardown(() => rmSync(folder, { recursive: true }));
t.setTimeout(60_000);

t.equal(examples.length, 7);
/** To the end of the file. */
const whole = { teardown: (work: () => unknown) => t.teardown(work) } as Parameters<typeof createNode>[0];
const pods = new Map<string, Netns>();
for (const [index, code] of examples.entries()) {
  const title = code.split('\n').find((line) => /^\s*await/.test(line)) ?? '';
  await t.test(title, async (t) => {
    const key = code.includes("'vm/7'") ? 'vm/7' : String(index);
    // The one with the label leaves to the next what it has plumbed.
    const pod = pods.get(key) ?? (await (await createNode(key === 'vm/7' ? whole : t)).pod(2));
    pods.set(key, pod);
    const child = await pod.spawn('sleep', ['60'], { stdio: 'ignore' });
    const ended = new Promise((resolve) => child.once('close', resolve));
    const { outputText } = ts.transpileModule(code.replace(/\b4711\b/, String(child.pid)), {
      compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
    });
    const file = join(folder, `${index}.js`);
    writeFileSync(file, outputText);
    const { code: status, stdout, stderr } = await fixture(join(basename(folder), `${index}.js`), [], { cwd: folder }); // what it writes goes with the folder
    t.same({ status, stderr }, { status: 0, stderr: '' }, stdout);
    child.kill();
    await ended;
    const { plumbings } = await inspect(pod);
    if (code.includes('keep()')) t.match(plumbings, [{ label: 'vm/7', tap: 'tap0' }]);
    if (code.includes('unplumb(')) {
      t.match(stdout, /state: 'undone', leftBehind: \[\]/);
      t.match(stdout, /toGuest: 'crossed',\s+fromGuest: 'crossed'/);
      t.same(plumbings, []);
    }
    if (code.includes('transaction(')) t.match(await listAddresses(pod, { link: 'br0', family: 'ipv4' }), [{ address: '10.1.0.2/16' }]);
    if (code.includes('writeCaptures(')) t.equal(readFileSync(join(folder, 'hops.pcapng')).readUInt32LE(0), 0x0a0d0d0a, 'a section header');
    if (code.includes('createLab')) t.match(stdout, /received: 1/);
  });
}
