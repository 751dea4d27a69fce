// Random bytes by the pool: asking for a few of them costs as much as asking for many, and a plumbing needs a dozen numbers.

const POOL_BYTES = 4096;
let pool = new Uint8Array(0);
let used = 0;

/** Bytes that nobody can guess, and that are given out once. */
export function randomBytes(count: number): Uint8Array {
  if (used + count > pool.length) {
    pool = crypto.getRandomValues(new Uint8Array(POOL_BYTES));
    used = 0;
  }
  used += count;
  return pool.slice(used - count, used);
}

export function randomHex(bytes: number): string {
  return Array.from(randomBytes(bytes), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** From 0 to 2^32 - 1. */
export function randomNumber(): number {
  return new DataView(randomBytes(4).buffer).getUint32(0);
}
