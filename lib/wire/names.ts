// Numbers of the kernel and the names that ip(8) and tc(8) give them. A number without a name is kept as its digits.

/** The names of the bits that are set; a bit without a name as hexadecimal. */
export function flagNames(names: Readonly<Record<string, number>>, bits: number): string[] {
  const found: string[] = [];
  let rest = bits;
  for (const name in names) {
    const bit = names[name]!;
    if ((bits & bit) === 0) continue;
    found.push(name);
    rest &= ~bit;
  }
  if (rest !== 0) found.push(`0x${(rest >>> 0).toString(16)}`);
  return found;
}

/** The reverse. Throws where there is no such name. */
export function flagBits(names: Readonly<Record<string, number>>, given: readonly string[]): number {
  return given.reduce((bits, name) => (bits | named(names, name, 'flag')) >>> 0, 0);
}

/** A one-to-one naming of numbers. */
export class Naming<N extends string> {
  #names: readonly (string | undefined)[] | undefined; // made at need

  constructor(
    readonly what: string,
    readonly numbers: Readonly<Record<N, number>>,
  ) {}

  name(number: number): string {
    return (this.#names ??= byNumber(this.numbers))[number] ?? String(number);
  }

  /** Throws where there is no such name, and the text is no number either. */
  number(name: string): number {
    return named(this.numbers, name, this.what);
  }

  has(name: string): boolean {
    return Object.hasOwn(this.numbers, name) || isNumber(name);
  }
}

function byNumber(numbers: Readonly<Record<string, number>>): readonly (string | undefined)[] {
  const names: (string | undefined)[] = [];
  for (const [name, number] of Object.entries(numbers)) names[number] = name;
  return names;
}

function named(numbers: Readonly<Record<string, number>>, name: string, what: string): number {
  if (Object.hasOwn(numbers, name)) return numbers[name]!;
  if (isNumber(name)) return Number(name);
  throw new TypeError(`no such ${what}: '${name}'`);
}

function isNumber(text: string): boolean {
  return /^(0x[0-9a-f]+|\d+)$/i.test(text);
}
