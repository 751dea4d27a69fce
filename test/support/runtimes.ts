import { accessSync, constants, existsSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './root.js';

// The bun and deno packages put their program in place by an install script, which npm may be told not to run: then it is
// still in the package for this platform.
const platform = `${process.platform}-${process.arch}`;

/** The command that runs a file under each runtime. */
export const runtimes: Readonly<Record<'node' | 'bun' | 'deno', readonly string[]>> = {
  node: [process.execPath],
  bun: [program('bun/bin/bun.exe', `@oven/bun-${platform.replace('arm64', 'aarch64')}/bin/bun`)],
  deno: [program('deno/deno', `@deno/${platform}-glibc/deno`), 'run', '--allow-all', '--no-prompt'],
};

function program(...candidates: readonly string[]): string {
  const paths = candidates.map((candidate) => join(root, 'node_modules', candidate)).reverse();
  return paths.find((path) => existsSync(path) && executable(path)) ?? paths[0] ?? '';
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
