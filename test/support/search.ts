// How the property tests of what the kernel does search: through the same pods each time, so that a failure belongs to the change that
// meets it. More of them, and others: RUNS=20 SEED=any npm test -- plumb/tamper. One again: SEED=-939624013.

/** So many times the usual number of runs, where RUNS says so. */
export const runs = (usual: number): number => Math.ceil(usual * Number(process.env.RUNS ?? 1));

/** For fc.assert. */
export function searched(usual: number): { readonly numRuns: number; readonly seed?: number } {
  const { SEED: seed = '1' } = process.env;
  return { numRuns: runs(usual), ...(seed !== 'any' && { seed: Number(seed) }) };
}
