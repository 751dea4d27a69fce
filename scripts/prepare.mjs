// Builds what is missing or stale: the addon by node-gyp, dist/ by tsc and esbuild. A second run changes nothing and takes milliseconds.
//   node scripts/prepare.mjs [tests] [cmake]
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as delay } from 'node:timers/promises';
import { join } from 'node:path';
import { prepareGuests } from './kernels.mjs';
import { needs, nodeDirectory, provide } from './needs.mjs';
import { main, root, step, Stop } from './steps.mjs';

const require = createRequire(import.meta.url);
/** What node-gyp builds into build/Release. */
export const binaries = ['podtap.node', 'podtap-launcher', 'podtap-unprivileged'];
const compiled = ['lib', 'test', 'examples', 'bench']; // tsconfig.json's "include"

/** @param {{ tests?: boolean, cmake?: boolean }} [what] */
export async function prepare({ tests = false, cmake = false } = {}) {
  if (!existsSync(join(root, 'node_modules/typescript'))) {
    console.error('node_modules is missing: run `npm ci` first');
    throw new Stop('node_modules');
  }
  await provide([...needs.build, ...(tests ? needs.tests : []), ...(cmake ? needs.cmake : [])]);
  if (tests) {
    await provide(needs.guests, { optional: true });
    await prepareGuests().catch((error) => {
      if (!(error instanceof Stop)) throw error; // tests that boot it are skipped
    });
  }
  const targets = [addon, typescript, ...(tests ? [tap] : [])];
  if (targets.every((target) => target() === undefined)) return;
  const unlock = await lock();
  try {
    const results = await Promise.allSettled(targets.map((target) => target()?.()));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed) throw failed.reason;
  } finally {
    unlock();
  }
}

// Each target says how it is made, or undefined when it is up to date.

function addon() {
  const key = digest([
    process.versions.modules,
    process.arch,
    nodeDirectory,
    require('node-addon-api/package.json').version,
    ...files(['native', 'binding.gyp']).map((file) => readFileSync(file)),
  ]);
  const artifacts = binaries.map((file) => join(root, 'build/Release', file));
  if (artifacts.every((file) => existsSync(file)) && fresh('build', key)) return undefined;
  return async () => {
    // Never `rebuild`: when it fails it has deleted a good build first.
    const gyp = join(root, 'node_modules/node-gyp/bin/node-gyp.js');
    await step('addon built', process.execPath, [gyp, 'configure', 'build', '-j', 'max', `--nodedir=${nodeDirectory}`]);
    stamp('build', key);
  };
}

function typescript() {
  const sources = files([...compiled, 'tsconfig.json', 'package-lock.json', 'scripts/bundle.mjs']);
  const key = digest(sources.map((file) => `${file} ${statSync(file).mtimeMs} ${statSync(file).size}`));
  if (fresh('dist', key)) return undefined;
  return async () => {
    await step('TypeScript compiled', process.execPath, [join(root, 'node_modules/typescript/lib/tsc.js'), '--pretty', 'false']);
    for (const folder of compiled) removeOrphans(join(root, 'dist', folder), join(root, folder));
    await step('bundled', process.execPath, [join(root, 'scripts/bundle.mjs')]);
    stamp('dist', key);
  };
}

/** tap is built once for the set of plugins that .taprc names; its runner would do so itself, in a race with a second one. */
function tap() {
  const key = digest([readFileSync(join(root, '.taprc')), readFileSync(join(root, 'package-lock.json'))]);
  if (fresh('node_modules/@tapjs', key)) return undefined;
  return async () => {
    await step('tap built', process.execPath, [join(root, 'node_modules/tap/dist/esm/run.mjs'), 'build']);
    stamp('node_modules/@tapjs', key);
  };
}

/**
 * Deletes what was compiled from a file that is gone: tap would still run it.
 * @param {string} output
 * @param {string} source
 */
function removeOrphans(output, source) {
  if (!existsSync(output)) return;
  for (const entry of readdirSync(output, { withFileTypes: true })) {
    const built = join(output, entry.name);
    const from = join(source, entry.name);
    if (entry.isDirectory()) {
      removeOrphans(built, from);
      if (!existsSync(from)) rmSync(built, { recursive: true });
    } else if (/\.(js|js\.map|d\.ts)$/.test(entry.name) && !existsSync(from.replace(/\.(js|js\.map|d\.ts)$/, '.ts'))) {
      rmSync(built);
    }
  }
}

/**
 * Every file below the given ones, sorted.
 * @param {readonly string[]} names
 * @returns {string[]}
 */
function files(names) {
  return names
    .map((name) => join(root, name))
    .filter((path) => existsSync(path))
    .flatMap((path) =>
      statSync(path).isDirectory()
        ? readdirSync(path, { recursive: true, encoding: 'utf8' })
            .map((name) => join(path, name))
            .filter((file) => statSync(file).isFile())
        : [path],
    )
    .sort();
}

/** @param {readonly (string | Buffer)[]} parts */
function digest(parts) {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex');
}

/**
 * @param {string} folder
 * @param {string} key
 */
function fresh(folder, key) {
  const file = join(root, folder, '.stamp');
  return existsSync(file) && readFileSync(file, 'utf8') === key;
}

/**
 * @param {string} folder
 * @param {string} key
 */
function stamp(folder, key) {
  mkdirSync(join(root, folder), { recursive: true });
  writeFileSync(join(root, folder, '.stamp'), key);
}

/** One preparation at a time in one tree; a holder that died is passed over. */
async function lock() {
  const file = join(root, 'node_modules/.podtap-prepare');
  for (;;) {
    try {
      writeFileSync(file, String(process.pid), { flag: 'wx' });
      return () => rmSync(file, { force: true });
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const holder = existsSync(file) ? readFileSync(file, 'utf8') : '';
    if (holder !== '' && !existsSync(`/proc/${holder}`)) rmSync(file, { force: true });
    else await delay(100);
  }
}

if (process.argv[1] === import.meta.filename) {
  const words = process.argv.slice(2);
  await main(() => prepare({ tests: words.includes('tests'), cmake: words.includes('cmake') }));
}
