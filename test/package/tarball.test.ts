import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import t from 'tap';
import { root } from '../support/root.js';

// What users get: the tarball, installed into an empty project, without a compiler, a script or a network.

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>;
}

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest;
const project = realpathSync(t.testdir({ 'package.json': '{ "name": "user", "private": true, "type": "module" }' }));
const installed = join(project, 'node_modules/podtap');

function npm(...args: readonly string[]): string {
  return execFileSync('npm', [...args, '--offline', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: project, encoding: 'utf8' });
}

/** What an entry point exports in this tree. */
async function exported(file: string): Promise<readonly string[]> {
  return Object.keys((await import(join(root, 'dist/lib', file))) as object).sort();
}

/** Runs a module of the user's that prints JSON. */
function evaluate(name: string, code: string): unknown {
  writeFileSync(join(project, name), code);
  return JSON.parse(execFileSync(process.execPath, [name], { cwd: project, encoding: 'utf8' }));
}

await t.test('packs', async (t) => {
  npm('pack', root, '--pack-destination', project);
  // Its dependencies come from this tree instead of a registry: packed as they are installed here.
  for (const name of [...Object.keys(manifest.dependencies), 'file-uri-to-path']) {
    npm('pack', join(root, 'node_modules', name), '--pack-destination', project, '--ignore-scripts');
  }
  t.equal(readdirSync(project).filter((file) => /^podtap-.*\.tgz$/.test(file)).length, 1);
});

await t.test('installs without a script', async (t) => {
  const tarballs = readdirSync(project).filter((file) => file.endsWith('.tgz'));
  npm('install', '--ignore-scripts', ...tarballs.map((file) => `./${file}`));
  t.same(readdirSync(installed).sort(), ['README.md', 'binding.gyp', 'dist', 'native', 'package.json', 'prebuilds']);
  t.same(readdirSync(join(installed, 'dist')).sort(), ['bundle', 'lib']);
  const types = readdirSync(join(installed, 'dist/lib'), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  t.same(
    types.filter(({ name }) => !name.endsWith('.d.ts')),
    [],
    'of dist/lib the types only',
  );
});

await t.test('import() and require() give the same names', async (t) => {
  for (const [specifier, file] of [
    ['podtap', 'index.js'],
    ['podtap/guest', 'guest/index.js'],
    ['podtap/lab', 'lab/index.js'],
    ['podtap/overlay', 'overlay/index.js'],
    ['podtap/topology', 'topology/index.js'],
    ['podtap/trace', 'trace/index.js'],
  ] as const) {
    const names = await exported(file);
    t.not(names.length, 0);
    const print = 'console.log(JSON.stringify(Object.keys(all).filter((name) => name !== "__esModule").sort()));';
    t.same(evaluate('import.mjs', `import * as all from '${specifier}'; ${print}`), names);
    t.same(evaluate('require.cjs', `const all = require('${specifier}'); ${print}`), names);
  }
});

await t.test('what is bundled comes with its licence, and under its own names', async (t) => {
  const bundle = join(installed, 'dist/bundle');
  const bundled = new Set<string>();
  for (const file of readdirSync(bundle).filter((name) => name.endsWith('.map'))) {
    const { sources } = JSON.parse(readFileSync(join(bundle, file), 'utf8')) as { sources: string[] };
    for (const source of sources) {
      const name = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(source)?.[1];
      if (name !== undefined) bundled.add(name);
      else t.match(source, /^\.\.\/\.\.\/lib\/.*\.ts$/);
    }
  }
  t.not(bundled.size, 0);
  const notices = readFileSync(join(bundle, 'THIRD-PARTY.txt'), 'utf8');
  for (const name of bundled) t.match(notices, new RegExp(`^${name} \\d.*\\n\\n.*MIT`, 'm'), name);
  // Of two functions with one name the bundler gives the second a number.
  const print = `import * as all from 'podtap'; console.log(JSON.stringify(Object.entries(all).filter(([name, value]) => name !== value.name.replace(/\\d$/, '')).map(([name]) => name)));`;
  t.same(evaluate('names.mjs', print), []);
});

await t.test('only who draws needs Graphviz', async (t) => {
  const bundle = join(installed, 'dist/bundle');
  const files = readdirSync(bundle).filter((name) => name.endsWith('.js'));
  t.same(files.filter((name) => readFileSync(join(bundle, name), 'utf8').includes('@viz-js/viz')), ['topology-svg.js']); // prettier-ignore
});

await t.test('the addon is found in the package', async (t) => {
  const code = `import { Netns } from 'podtap'; const netns = await Netns.current(); console.log(JSON.stringify(typeof netns.id.inode)); await netns.close();`;
  t.equal(evaluate('addon.mjs', code), 'bigint');
});

await t.test('types resolve with an older lib', async (t) => {
  writeFileSync(join(project, 'consumer.ts'), `import { Netns } from 'podtap';\nexport const netns: Promise<Netns> = Netns.current();\n`);
  const options = { module: 'nodenext', target: 'es2022', lib: ['es2022'], strict: true, noEmit: true, types: ['node'] };
  const compilerOptions = { ...options, typeRoots: [join(root, 'node_modules/@types')] };
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['consumer.ts'] }));
  execFileSync(process.execPath, [join(root, 'node_modules/typescript/lib/tsc.js')], { cwd: project, stdio: 'inherit' });
  t.pass();
});

await t.test('publint finds nothing', async (t) => {
  const { messages, pkg } = await publint({ pkgDir: installed, pack: false, strict: true });
  // The condition podtap-source is for the tests in this tree; what it names is not packed.
  const ours = messages.filter(({ path }) => path.at(-1) !== 'podtap-source');
  t.same(
    ours.map((message) => formatMessage(message, pkg)),
    [],
  );
});
