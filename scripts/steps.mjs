// What the scripts share: running a step quietly, and the repository's root.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');

/** A failure that has been explained already: the scripts exit with it, without a stack. */
export class Stop extends Error {}

/**
 * Runs a command and prints one line for it; everything it wrote only when it fails.
 * @param {string} title
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ env?: NodeJS.ProcessEnv, cwd?: string }} [options]
 */
export async function step(title, command, args, options = {}) {
  const started = performance.now();
  const { status, output } = await new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], ...options });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text) => (output += text));
    child.stderr.setEncoding('utf8').on('data', (text) => (output += text));
    child.on('error', (error) => resolve({ status: 127, output: error.message }));
    child.on('close', (code, signal) => resolve({ status: code ?? signal, output }));
  });
  const line = `${title} (${seconds(performance.now() - started)})`;
  if (status !== 0) {
    console.error(`${output.trimEnd()}\nfailed: ${line}`);
    throw new Stop(title);
  }
  console.log(line);
  return output;
}

/** @param {number} milliseconds */
export function seconds(milliseconds) {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}

/**
 * Runs a script's main function; a Stop ends it without a stack.
 * @param {() => Promise<number | void>} body
 */
export async function main(body) {
  try {
    process.exitCode = (await body()) ?? 0;
  } catch (error) {
    if (!(error instanceof Stop)) throw error;
    process.exitCode = 1;
  }
}
