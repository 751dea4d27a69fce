import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { root } from '../support/root.js';
import { requires } from '../support/requires.js';

const programs = join(root, 'lib/kernel/programs');
const files = readdirSync(join(root, 'native/bpf')).sort();
const sources = files.filter((file) => file.endsWith('.c'));
const headers = files.filter((file) => file.endsWith('.h'));

await t.test('the bytecode is of the sources that are there', async (t) => {
  t.same(readdirSync(programs).map((file) => file.replace(/ts$/, 'c')).sort(), sources.sort()); // prettier-ignore
  for (const source of sources) {
    const hash = createHash('sha256');
    for (const file of [source, ...headers]) hash.update(readFileSync(join(root, 'native/bpf', file)));
    t.match(readFileSync(join(programs, source.replace(/c$/, 'ts')), 'utf8'), hash.digest('hex'), source);
  }
});

await t.test('compiled again it is the same', { skip: requires('clang') }, async (t) => {
  const installed = /version (\d+)/.exec(spawnSync('clang', ['--version'], { encoding: 'utf8' }).stdout)?.[1];
  const [, used] = /with clang (\d+)/.exec(readFileSync(join(programs, sources[0]!.replace(/c$/, 'ts')), 'utf8')) ?? [];
  const { status, stderr } = spawnSync(process.execPath, [join(root, 'scripts/bpf.mjs'), '--check'], { encoding: 'utf8' });
  // Another version compiles the same to other instructions: then only that it does compile can be seen.
  if (installed === used) t.equal(status, 0, stderr);
  else t.match(stderr, /not what clang/);
});
