// What the tests of the journal have in common: directories in memory, entries, and a file system that fails.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import type { Test } from 'tap';
import { readBootId } from '../../lib/kernel/netns.js';
import type { NewEntry } from '../../lib/transaction/journal.js';

/** Below /run, which in a test is a tmpfs of its own. */
export function directory(t: Test): string {
  const path = fs.mkdtempSync('/run/journal-');
  t.teardown(() => fs.rmSync(path, { recursive: true, force: true }));
  return path;
}

export function entry(body: unknown, rest: Partial<NewEntry> = {}): NewEntry {
  return { bootId: readBootId(), cookie: 4097n, netns: '/run/netns/a', body, ...rest };
}

/** What a write is made of. */
const changing = ['openSync', 'writeSync', 'closeSync', 'renameSync', 'unlinkSync'] as const;
export type Call = (typeof changing)[number];

/**
 * Has `before` called before each of these functions, of everybody who imports them; it may throw instead. `half`: of what is to be
 * written, that many bytes at a time.
 */
export function intercept(before: (call: Call, count: number) => void, half?: number): () => void {
  const originals = changing.map((call) => [call, fs[call]] as const);
  let count = 0;
  for (const [call, original] of originals) {
    const replaced = (...args: unknown[]): unknown => {
      before(call, ++count);
      if (call === 'writeSync' && half !== undefined) args = [args[0], args[1], args[2], Math.min(half, (args[1] as Uint8Array).length - Number(args[2]))]; // prettier-ignore
      return (original as (...args: unknown[]) => unknown)(...args);
    };
    (fs as unknown as Record<Call, unknown>)[call] = replaced;
  }
  syncBuiltinESMExports();
  return () => {
    for (const [call, original] of originals) (fs as unknown as Record<Call, unknown>)[call] = original;
    syncBuiltinESMExports();
  };
}
