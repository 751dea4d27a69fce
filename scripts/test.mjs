// npm test: prepares, checks format and lint, runs tap, says what was skipped and why, and sums up.
//   npm test              everything
//   npm test -- wire tap  only the test files whose path contains one of the words, without the checks
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { prepare } from './prepare.mjs';
import { Results } from './results.mjs';
import { main, root, step, Stop } from './steps.mjs';

const bin = (/** @type {string} */ name) => join(root, 'node_modules', name);
const nodeArgs = ['--conditions=podtap-source', '--require', join(root, 'test/support/netns.cjs')]; // as in .taprc

await main(async () => {
  const words = process.argv.slice(2);
  const results = new Results();
  try {
    await prepare({ tests: true });
    // Once, and in its own words, instead of in every file: containers and some distributions forbid it.
    await step('namespaces', process.execPath, [...nodeArgs, '--eval', '0']);
    if (words.length === 0) await check(results);
    await runTap(results, testFiles(words));
    await questionSkips(results);
    if (process.env.COVERAGE) await reportCoverage();
  } catch (error) {
    if (!(error instanceof Stop)) throw error;
    results.failed(error.message);
  }
  return results.summarize() ? 0 : 1;
});

/** @param {Results} results */
async function check(results) {
  const cache = ['--cache', '--cache-strategy', 'content', '--cache-location'];
  const checks = [
    ['format', bin('prettier/bin/prettier.cjs'), '--check', '.', ...cache, bin('.cache/podtap-prettier')],
    ['lint', bin('eslint/bin/eslint.js'), '.', '--max-warnings', '0', ...cache, bin('.cache/podtap-eslint')],
  ];
  await Promise.all(
    checks.map(async ([title, ...args]) => {
      await step(title, process.execPath, args).then(
        () => results.passed(),
        () => results.failed(title),
      );
    }),
  );
}

/** @param {readonly string[]} words */
function testFiles(words) {
  const plain = words.map((word) => word.replace(/^.*?\btest\//, '').replace(/\.(ts|js)$/, ''));
  const files = readdirSync(join(root, 'dist/test'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.js'))
    .filter((file) => plain.length === 0 || plain.some((word) => file.includes(word)))
    .map((file) => `dist/test/${file}`)
    .sort();
  if (files.length > 0) return files;
  console.error(`no test file's path contains ${words.join(' or ')}`);
  throw new Stop('no test files');
}

/**
 * @param {Results} results
 * @param {readonly string[]} files
 */
async function runTap(results, files) {
  const coverage = process.env.COVERAGE ? [] : ['--disable-coverage'];
  const args = [bin('tap/dist/esm/run.mjs'), 'run', '--reporter=tap', ...coverage, ...files];
  const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
  child.stdout.pipe(results.parser());
  const code = await new Promise((resolve) => child.on('close', resolve));
  if (code !== 0 && results.ok) results.failed(`tap ended with ${code}`);
}

/** Lines of lib/ that no test ran; it measures and never fails. */
async function reportCoverage() {
  const args = [bin('tap/dist/esm/run.mjs'), 'report', 'text', '--show-full-coverage'];
  const child = spawn(process.execPath, args, { cwd: root, stdio: 'inherit' });
  await new Promise((resolve) => child.on('close', resolve));
}

/**
 * Only test/support/requires.ts may skip a test, and only for what is really missing: its probes run once more here.
 * @param {Results} results
 */
async function questionSkips(results) {
  const features = new Set(results.skips.map((skip) => skip.feature).filter((feature) => feature !== undefined));
  let available = [];
  if (features.size > 0) {
    const probe = [...nodeArgs, join(root, 'dist/test/support/requires.js'), ...features];
    available = JSON.parse(await output(process.execPath, probe));
  }
  for (const skip of results.skips) {
    if (skip.feature === undefined) results.failed(`${skip.name}: skipped without requires(): ${skip.reason}`);
    else if (available.includes(skip.feature)) results.failed(`${skip.name}: skipped, but ${skip.feature} is there`);
  }
}

/**
 * @param {string} command
 * @param {readonly string[]} args
 * @returns {Promise<string>}
 */
async function output(command, args) {
  const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (part) => (text += part));
  await new Promise((resolve) => child.on('close', resolve));
  return text || '[]';
}
