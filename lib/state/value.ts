// What a resource is like, as plain values: they are compared, and kept in the journal.

export type Value =
  undefined | null | boolean | number | bigint | string | Uint8Array | readonly Value[] | { readonly [key: string]: Value };

/** Milliseconds by which a deadline may differ: the kernel tells what is left to live in whole seconds, and the clock is read a moment later. */
const ROUNDING = 2500;

/** Of fields whose name ends in `Until` the values are deadlines: milliseconds of CLOCK_MONOTONIC. */
function isDeadline(name: string): boolean {
  return name.endsWith('Until');
}

/** Whether two values are the same; what is absent is the same as what is undefined. */
export function same(a: Value, b: Value, name = ''): boolean {
  if (a === b) return true;
  if (typeof a !== typeof b || typeof a !== 'object' || typeof b !== 'object' || a === null || b === null)
    return isDeadline(name) && typeof a === 'number' && typeof b === 'number' && a !== 0 && b !== 0 && Math.abs(a - b) <= ROUNDING;
  if (Array.isArray(a) || a instanceof Uint8Array) {
    if (!(Array.isArray(b) || b instanceof Uint8Array) || a.length !== b.length) return false;
    return (a as Value[]).every((one, index) => same(one, (b as Value[])[index]));
  }
  const [one, other] = [a as Record<string, Value>, b as Record<string, Value>];
  for (const key in one) if (!same(one[key], other[key], key)) return false;
  for (const key in other) if (other[key] !== undefined && !(key in one)) return false;
  return true;
}

/** Text that is the same for the same value, whatever the order of its keys. */
export function canonical(value: Value): string {
  if (typeof value === 'bigint') return `${value}n`;
  if (value instanceof Uint8Array) return `<${Array.from(value, (byte) => byte.toString(16)).join(' ')}>`;
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? '';
  return `{${Object.entries(value)
    .filter(([, one]) => one !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, one]) => `${key}:${canonical(one)}`)
    .join(',')}}`;
}
