// What users get: lib/, compiled, and the packages it needs, in a few files instead of a hundred, which are found, read and compiled
// in a third of the time. Run by prepare.mjs, behind tsc: dist/lib -> dist/bundle.
import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { root } from './steps.mjs';

const output = join(root, 'dist/bundle');
rmSync(output, { recursive: true, force: true }); // the names of shared files change with what is in them

const { metafile } = await build({
  absWorkingDir: root,
  // Side by side, as deep below the root as dist/lib/native.js, which finds the addon from where it is.
  entryPoints: {
    index: 'dist/lib/index.js',
    guest: 'dist/lib/guest/index.js',
    lab: 'dist/lib/lab/index.js',
    overlay: 'dist/lib/overlay/index.js',
    topology: 'dist/lib/topology/index.js',
    'topology-svg': 'dist/lib/topology/svg.js',
    trace: 'dist/lib/trace/index.js',
    unprivileged: 'dist/lib/lab/unprivileged.js',
  },
  outdir: output,
  bundle: true,
  splitting: true, // so that podtap, podtap/guest, podtap/lab, podtap/overlay and podtap/trace have the same classes
  chunkNames: 'shared-[hash]',
  external: ['bindings', '@viz-js/viz'], // only require()d, when the addon is loaded; a peer dependency
  platform: 'node',
  format: 'esm',
  target: 'node20.19',
  legalComments: 'none', // THIRD-PARTY.txt has them all
  sourcemap: 'linked',
  sourcesContent: false,
  metafile: true,
});
for (const file of Object.keys(metafile.outputs).filter((name) => name.endsWith('.js'))) nameClasses(join(root, file));
writeFileSync(join(output, 'THIRD-PARTY.txt'), notices(Object.keys(metafile.inputs)));

/**
 * A class that names itself within is called _Netns in a bundle, which users see where one is printed. esbuild's keepNames would name
 * every function anew each time it is made: a fifth of the time that an import takes.
 * @param {string} file
 */
function nameClasses(file) {
  const text = readFileSync(file, 'utf8');
  const named = text.replace(/^var (\w+) = class _\1( extends \w+)? \{$/gm, (line, name) => `${line} static { Object.defineProperty(this, 'name', { value: '${name}' }); }`); // prettier-ignore
  if (named !== text) writeFileSync(file, named);
}

/**
 * The licences of the packages that files of the bundle come from.
 * @param {readonly string[]} inputs
 */
function notices(inputs) {
  const names = new Set(inputs.map((file) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1]).filter((name) => name !== undefined));
  const texts = [...names].sort().map((name) => {
    const folder = join(root, 'node_modules', name);
    const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    if (file === undefined) throw new Error(`${name} comes without a licence: it cannot be bundled`);
    return `${name} ${version}\n\n${readFileSync(join(folder, file), 'utf8').trim()}\n`;
  });
  return ['The files beside this one contain code of these packages.\n', ...texts].join(`\n${'-'.repeat(72)}\n\n`);
}
