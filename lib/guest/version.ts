import * as v from 'valibot';
import type { Schema } from '../check.js';

/** A version of the guest or its monitor, for what changed on the way. */
export const versionSchema: Schema<string | undefined> = v.optional(
  v.pipe(v.string('must be a version'), v.regex(/^\d+\.\d+(\.\d+)?$/, "must be a version such as '0.16.1'")),
);

/** Whether a version is older than another. */
export function before(version: string, other: string): boolean {
  const [a, b] = [version, other].map((text) => text.split('.').map(Number)) as [number[], number[]];
  const at = [0, 1, 2].find((index) => (a[index] ?? 0) !== (b[index] ?? 0));
  return at !== undefined && (a[at] ?? 0) < (b[at] ?? 0);
}
