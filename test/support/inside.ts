// What tests of the kernel have in common: namespaces that are closed again, other programs inside them, waiting.
import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { Netns } from 'podtap';
import type { Test } from 'tap';
import { root } from './root.js';

/** A fresh namespace, for one test. */
export async function fresh(t: Test): Promise<Netns> {
  const netns = await Netns.create();
  t.teardown(() => netns.close());
  return netns;
}

/** Another handle on it, with a socket of its own. */
export async function again(t: Test, netns: Netns): Promise<Netns> {
  const other = await Netns.open(netns.path!);
  t.teardown(() => other.close());
  return other;
}

/** Runs a command line inside; what it printed. The tests' oracles are iproute2 and the like, never the library itself. */
export function inside(netns: Netns, line: string): string {
  const { status, stdout, stderr, error } = spawnSync('nsenter', [`--net=${netns.path!}`, 'sh', '-ec', line], { encoding: 'utf8' });
  if (error) throw error;
  if (status !== 0) throw new Error(`${line}: ${stderr}`);
  return stdout;
}

/** `ip -j`, parsed. */
export function ip<T = Record<string, unknown>>(netns: Netns, words: string): T[] {
  return JSON.parse(inside(netns, `ip -d -j ${words}`) || '[]') as T[];
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs one of the compiled fixtures beside the tests in a process of its own; killed so many milliseconds after its first output, if it has not ended by then. */
export function fixture(
  file: string,
  args: readonly string[],
  options: { readonly env?: NodeJS.ProcessEnv; readonly nodeArgs?: readonly string[]; readonly cwd?: string; readonly killedAfter?: number; readonly timeout?: number; readonly input?: string } = {}, // prettier-ignore
): Promise<Ended> {
  const { env, nodeArgs = [], cwd, killedAfter, timeout = 20_000, input } = options;
  const child = spawn(process.execPath, ['--conditions=podtap-source', ...nodeArgs, join(root, 'dist/test', file), ...args], {
    // Not under tap's loaders, which would follow it into every child.
    env: { ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(NODE_OPTIONS|_?TAP)/.test(name))), ...env },
    cwd,
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout,
    killSignal: 'SIGKILL',
  });
  child.stdin.on('error', () => undefined).end(input ?? ''); // one that reads nothing may be gone already
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  if (killedAfter !== undefined) child.stdout.once('data', () => setTimeout(() => child.kill('SIGKILL'), killedAfter));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Asks until the answer is true; the last answer. */
export async function until(question: () => boolean | Promise<boolean>, milliseconds = 5000): Promise<boolean> {
  const end = performance.now() + milliseconds;
  for (;;) {
    if (await question()) return true;
    if (performance.now() > end) return false;
    await pause(5);
  }
}

/** Exactly the first `count` of what comes. */
export async function take<T>(source: AsyncIterable<T>, count: number): Promise<T[]> {
  const taken: T[] = [];
  for await (const item of source) if (taken.push(item) === count) break;
  return taken;
}
