// Values to text and back: the same, or refused; and texts of any kind, from which nothing comes that a program could not have meant.
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { DEEPEST, type Value, decodeValue, encodeValue } from '../../lib/transaction/encoding.js';

const runs = { numRuns: Number(process.env.FUZZ_RUNS ?? 500) };
const again = (value: unknown): Value => decodeValue(encodeValue(value));
const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)]);

const keys = fc.oneof(fc.string({ unit: 'binary', maxLength: 10 }), fc.constantFrom('$', '$$', '$bigint', '$$bigint', '$bytes', '$undefined', 'constructor', 'toString', '0')).filter((key) => key !== '__proto__'); // prettier-ignore
const { value: values } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 6, depthSize: 'small' },
    fc.constantFrom(undefined, null, true, false, NaN, Infinity, -Infinity, -0, 0, ''),
    fc.double(),
    fc.integer(),
    fc.bigInt(),
    fc.string({ unit: 'binary' }),
    fc.uint8Array({ maxLength: 40 }),
    fc.array(tie('value'), { maxLength: 6 }),
    fc.dictionary(keys, tie('value'), { maxKeys: 6, noNullPrototype: true }),
  ),
}));

await t.test('what is written is read again, as it was', async (t) => {
  fc.assert(fc.property(values, (value) => isDeepStrictEqual(again(value), value)), runs); // prettier-ignore
  t.ok(Object.is(again(-0), -0));
  t.ok(Number.isNaN(again(NaN)));
  t.equal(again('\ud800'), '\ud800', 'half a surrogate pair');
  t.strictSame(Object.keys(again({ b: 1, a: undefined }) as object), ['b', 'a'], 'keys that are undefined, and their order');
  t.same(again(new Array(2)), [undefined, undefined]);
  t.ok(again(Buffer.from('abc')) instanceof Uint8Array);
  t.same(again(new Uint8Array([1, 2, 3, 4]).subarray(1, 3)), new Uint8Array([2, 3]));
  t.same(again(Object.assign(Object.create(null) as object, { a: 1 })), { a: 1 });
  t.doesNotThrow(() => again(nested(DEEPEST)));
});

await t.test('what would not come back as it was is refused, and where it stands is said', async (t) => {
  const loop: { to: unknown[] } = { to: [] };
  loop.to.push(loop);
  const refused: readonly (readonly [unknown, RegExp])[] = [
    [{ a: [1, { f: () => 1 }] }, /a function cannot be kept, at a\[1\]\.f/],
    [[Symbol('s')], /a symbol cannot be kept, at \[0\]/],
    [{ when: new Date(0) }, /a Date cannot be kept, at when/],
    [new Map(), /a Map cannot be kept$/],
    [{ a: new Uint16Array(2) }, /a Uint16Array cannot be kept, at a/],
    [JSON.parse('{"a":{"__proto__":{"x":1}}}'), /must not be '__proto__', at a\.__proto__/],
    [loop, /more than 64 objects inside one another, at to\[0\]\.to/],
    [nested(DEEPEST + 1), /more than 64 objects/],
  ];
  for (const [value, message] of refused) t.throws(() => encodeValue(value), { message });
});

await t.test('hostile texts', async (t) => {
  const hostile = [
    '{"__proto__":{"polluted":true}}',
    '{"a":[{"__proto__":{"polluted":true}}]}',
    '{"$proto":1}',
    '{"$toString":1}',
    '{"$constructor":1}',
    '{"$bigint":"1","a":2}',
    '{"a":2,"$bigint":"1"}',
    '{"$bigint":1}',
    '{"$bigint":"0x10"}',
    '{"$bigint":"01"}',
    '{"$bigint":""}',
    '{"$number":"12"}',
    '{"$number":"__proto__"}',
    '{"$undefined":false}',
    '{"$bytes":"A"}',
    '{"$bytes":"AA==AA=="}',
    '{"$bytes":[1,2]}',
    '{"$":1}',
    '',
    'undefined',
    '[1,',
    `${'['.repeat(200_000)}${']'.repeat(200_000)}`,
    `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`,
  ];
  for (const text of hostile) t.throws(() => decodeValue(text), text.slice(0, 40));
  t.notOk('polluted' in {});
  t.same(decodeValue('{"constructor":{"prototype":{"polluted":true}}}'), { constructor: { prototype: { polluted: true } } });
  t.notOk('polluted' in {});
  fc.assert(
    fc.property(fc.oneof(fc.json(), fc.string(), values.map((value) => encodeValue(value).replace(/"\$+/, '"$'))), (text) => {
      let value: Value;
      try {
        value = decodeValue(text);
      } catch {
        return true;
      }
      return isDeepStrictEqual(again(value), value); // what it takes is a value like any other
    }),
    runs,
  ); // prettier-ignore
});
