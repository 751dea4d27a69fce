// Values to JSON text and back, the same: bigints, bytes, undefined and the numbers that JSON lacks are written as objects with one
// key, { "$bigint": "123" }. A key of the value's own that begins with '$' gets a second one in front.

/** Objects and arrays inside one another. */
export const DEEPEST = 64;

export type Value =
  undefined | null | boolean | number | bigint | string | Uint8Array | readonly Value[] | { readonly [key: string]: Value };

type Step = string | number;

/** Says what is wrong with a value or a text, and where: 'before[2].mac'. */
export class EncodingError extends Error {
  constructor(
    message: string,
    readonly at: readonly Step[],
  ) {
    super(
      at.length === 0
        ? message
        : `${message}, at ${at
            .map((step) => (typeof step === 'number' ? `[${step}]` : `.${step}`))
            .join('')
            .replace(/^\./, '')}`,
    );
  }
}

/** @throws EncodingError: it holds something else than a `Value`, or goes too deep, as a value that contains itself does. */
export function encodeValue(value: unknown): string {
  return JSON.stringify(toJson(value, []));
}

/** @throws EncodingError, SyntaxError: nothing that `encodeValue` could have written */
export function decodeValue(text: string): Value {
  return fromJson(JSON.parse(text), []);
}

function toJson(value: unknown, at: Step[]): unknown {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'undefined':
      return { $undefined: true };
    case 'bigint':
      return { $bigint: value.toString() };
    case 'number':
      return Number.isFinite(value) && !Object.is(value, -0) ? value : { $number: Object.is(value, -0) ? '-0' : String(value) };
    case 'object':
      break;
    case 'function':
    case 'symbol':
      throw new EncodingError(`a ${typeof value} cannot be kept`, at);
  }
  if (value === null) return null;
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64') };
  if (at.length === DEEPEST) throw new EncodingError(`more than ${DEEPEST} objects inside one another`, at);
  if (Array.isArray(value)) {
    const json: unknown[] = [];
    for (let index = 0; index < value.length; index++) {
      at.push(index);
      json.push(toJson(value[index], at)); // a hole is undefined
      at.pop();
    }
    return json;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) throw new EncodingError(`a ${className(value)} cannot be kept`, at);
  const json: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    at.push(key);
    refusePrototype(key, at);
    json[key.startsWith('$') ? `$${key}` : key] = toJson(item, at);
    at.pop();
  }
  return json;
}

function fromJson(json: unknown, at: Step[]): Value {
  if (typeof json !== 'object' || json === null) return json as Value;
  if (at.length === DEEPEST) throw new EncodingError(`more than ${DEEPEST} objects inside one another`, at);
  if (Array.isArray(json)) {
    return json.map((item, index) => {
      at.push(index);
      const value = fromJson(item, at);
      at.pop();
      return value;
    });
  }
  const value: Record<string, Value> = {};
  const entries = Object.entries(json);
  for (const [key, item] of entries) {
    at.push(key);
    refusePrototype(key, at);
    if (key.startsWith('$') && !key.startsWith('$$')) {
      const tag = tags[key];
      if (tag === undefined || entries.length !== 1) throw new EncodingError(`'${key}' is no kind of value`, at);
      const tagged = tag(item, at);
      at.pop();
      return tagged;
    }
    value[key.startsWith('$$') ? key.slice(1) : key] = fromJson(item, at);
    at.pop();
  }
  return value;
}

const tags: Readonly<Record<string, (item: unknown, at: readonly Step[]) => Value>> = {
  $undefined: (item, at) => (item === true ? undefined : wrong(at)),
  $bigint: (item, at) => (matches(item, /^(0|-?[1-9]\d*)$/) ? BigInt(item) : wrong(at)),
  $number: (item, at) => (matches(item, /^(NaN|-?Infinity|-0)$/) ? Number(item) : wrong(at)),
  $bytes: (item, at) => {
    if (typeof item !== 'string') return wrong(at);
    const bytes = Buffer.from(item, 'base64');
    return bytes.toString('base64') === item ? new Uint8Array(bytes) : wrong(at);
  },
};

function matches(item: unknown, pattern: RegExp): item is string {
  return typeof item === 'string' && pattern.test(item);
}

function wrong(at: readonly Step[]): never {
  throw new EncodingError('it has another value than its kind can have', at);
}

/** Assigned, it would not be a key but change the object's kind. */
function refusePrototype(key: string, at: readonly Step[]): void {
  if (key === '__proto__') throw new EncodingError("a key must not be '__proto__'", at);
}

function className(value: object): string {
  const { constructor } = value as { constructor?: unknown };
  return typeof constructor === 'function' && constructor.name !== '' ? constructor.name : 'value of a class';
}
