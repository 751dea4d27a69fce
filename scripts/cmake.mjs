// The addon built by cmake-js, in build-cmake/ (build/ is node-gyp's), for development:
//   node scripts/cmake.mjs configure      writes build-cmake/compile_commands.json, for editors and clang-tidy
//   node scripts/cmake.mjs asan [words]   builds with ASan and UBSan and runs the test files whose path contains a word
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { nodeDirectory } from './needs.mjs';
import { prepare } from './prepare.mjs';
import { main, root, step, Stop } from './steps.mjs';

// Those that use the addon the most. LeakSanitizer stays off: it takes what V8 has not collected yet for leaks.
const usual = ['kernel/', 'native/'];
const sanitizers = { ASAN_OPTIONS: 'detect_leaks=0', UBSAN_OPTIONS: 'print_stacktrace=1' };

await main(async () => {
  const [command, ...words] = process.argv.slice(2);
  await prepare({ tests: command === 'asan', cmake: true });
  if (command === 'configure') await cmake('configure', 'OFF');
  else if (command === 'asan') return await sanitized(words.length > 0 ? words : usual);
  else throw new Error('configure or asan?');
});

/**
 * @param {string} command
 * @param {string} sanitize as of -fsanitize, or OFF
 */
async function cmake(command, sanitize) {
  const program = join(root, 'node_modules/cmake-js/bin/cmake-js');
  const args = [program, command, '--directory', 'native', '--out', 'build-cmake', `--CDPODTAP_SANITIZE=${sanitize}`];
  if (sanitize !== 'OFF') args.push('--debug'); // optimized, GCC warns of what only the instrumentation makes look uninitialized
  // With nodedir it takes these headers instead of downloading them.
  const env = { ...process.env, npm_config_nodedir: nodeDirectory };
  await step(`cmake-js ${command}`, process.execPath, args, { env });
}

/** @param {readonly string[]} words */
async function sanitized(words) {
  await cmake('configure', 'address,undefined'); // `build` alone would keep the configuration that is there
  await cmake('build', 'address,undefined');
  // A package of its own around that build, so that the library finds it where it always looks.
  const tree = join(root, 'build-cmake/sanitized');
  rmSync(tree, { recursive: true, force: true });
  mkdirSync(join(tree, 'build/Release'), { recursive: true });
  for (const path of ['package.json', 'dist', 'test']) cpSync(join(root, path), join(tree, path), { recursive: true });
  for (const file of ['podtap.node', 'podtap-launcher']) {
    const built = ['build-cmake/Debug', 'build-cmake'].map((folder) => join(root, folder, file)).find((path) => existsSync(path));
    if (built === undefined) throw new Error(`cmake-js made no ${file}`);
    if (!readFileSync(built).includes('__asan_')) throw new Error(`${built} is not instrumented`);
    copyFileSync(built, join(tree, 'build/Release', file));
  }

  const files = readdirSync(join(tree, 'dist/test'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.js') && words.some((word) => file.includes(word)))
    .sort();
  if (files.length === 0) {
    console.error(`no test file's path contains ${words.join(' or ')}`);
    throw new Stop('no test files');
  }
  const runtime = (/** @type {string} */ library) => execFileSync('gcc', [`-print-file-name=${library}`], { encoding: 'utf8' }).trim();
  const env = { ...process.env, ...sanitizers, LD_PRELOAD: `${runtime('libasan.so')} ${runtime('libubsan.so')}` };
  let failed = 0;
  for (const file of files) {
    const args = ['--conditions=podtap-source', '--require', './test/support/netns.cjs', `dist/test/${file}`];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: tree, env, encoding: 'utf8', timeout: 120_000 });
    console.log(`${status === 0 ? 'ok    ' : 'not ok'} ${file}`);
    if (status === 0) continue;
    failed++;
    console.log(`${stdout}${stderr}`);
  }
  console.log(`${files.length - failed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}
