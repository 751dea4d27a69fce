// Attribute tables: each format there and back, and what an unknown or broken attribute does to its neighbours.
import t from 'tap';
import * as a from '../../lib/wire/attribute.js';
import { Bytes } from '../../lib/wire/bytes.js';
import { Naming } from '../../lib/wire/names.js';
import { Writer } from '../../lib/wire/writer.js';

const inner = a.table('IN', { number: [1, a.u32], text: [2, a.string] });
const all = a.table('X', {
  u8: [1, a.u8],
  u16: [2, a.u16],
  u32: [3, a.u32],
  u64: [4, a.u64],
  s32: [5, a.s32],
  be16: [6, a.be16],
  be32: [7, a.be32],
  be64: [8, a.be64],
  text: [9, a.string],
  bytes: [10, a.bytes],
  flag: [11, a.flag],
  mac: [12, a.mac],
  ip: [13, a.ip],
  struct: [
    14,
    a.struct([
      ['small', a.u8],
      ['wide', a.u32],
      ['big', a.u64],
    ]),
  ],
  nest: [15, a.nested(inner)],
  list: [16, a.list(inner)],
  many: [17, a.repeated(a.string)],
  kind: [18, a.string],
  data: [19, a.kinded('kind', { known: a.nested(inner) })],
  headed: [
    20,
    a.headed(
      [
        ['family', a.u8],
        ['index', a.u32],
      ],
      inner,
    ),
  ],
  numbers: [21, a.numbers(a.s32)],
  named: [22, a.named(a.u8, new Naming('thing', { one: 1, two: 2 }))],
  bits: [23, a.bits(a.u32, { first: 1, third: 4 })],
  ignored: [24, a.unread],
});
type All = a.Values<typeof all>;

function there(values: All): Uint8Array {
  const writer = new Writer();
  a.encode(all, writer, values);
  return writer.finish();
}
function back(data: Uint8Array): All {
  return a.decode(all, Bytes.copy(data), 0, data.length);
}
/** Attributes by hand. */
function raw(...attributes: readonly (readonly [type: number, data: readonly number[]])[]): Uint8Array {
  const writer = new Writer();
  for (const [type, data] of attributes) writer.attribute(type, Uint8Array.from(data));
  return writer.finish();
}

await t.test('every format there and back', (t) => {
  const values: All = {
    u8: 255,
    u16: 65535,
    u32: 0xffffffff,
    u64: 2n ** 64n - 1n,
    s32: -1,
    be16: 0x1234,
    be32: 0x12345678,
    be64: 0x123456789abcdef0n,
    text: 'Grüße, a text of more than thirty-two bytes',
    bytes: Uint8Array.of(1, 2, 3),
    flag: true,
    mac: '02:00:00:00:00:22',
    ip: 'fd00::1',
    struct: { small: 1, wide: 2, big: 3n },
    nest: { number: 7, text: 'seven' },
    list: [{ number: 1 }, { number: 2, text: '' }],
    many: ['a', '', 'c'],
    kind: 'known',
    data: { number: 5 },
    headed: { family: 2, index: 9, text: 'behind the struct' },
    numbers: [-1, 0, 2147483647],
    named: 'two',
    bits: ['first', 'third', '0x80'],
    unknown: [{ type: 99, data: Uint8Array.of(9) }],
  };
  t.same(back(there(values)), values);
  t.equal(there(values).length % 4, 0, 'padded');
  t.end();
});

await t.test('bytes as the kernel has them', (t) => {
  t.same(there({ be16: 0x1234 }), Uint8Array.of(6, 0, 6, 0, 0x12, 0x34, 0, 0), 'network byte order, length without padding');
  t.same(there({ flag: false }), new Uint8Array(), 'a false flag is not written');
  t.same(there({ u8: 0 }), Uint8Array.of(5, 0, 1, 0, 0, 0, 0, 0), '0 is');
  t.equal(there({ nest: {} })[3]! & 0x80, 0x80, 'NLA_F_NESTED');
  t.same(there({ text: 'ab' }), Uint8Array.of(7, 0, 9, 0, 97, 98, 0, 0), 'a string ends in NUL');
  t.end();
});

await t.test('what is unknown or does not fit is kept as bytes', (t) => {
  t.same(back(raw([99, [1, 2]], [1, [7]])), { u8: 7, unknown: [{ type: 99, data: Uint8Array.of(1, 2) }] });
  t.same(back(raw([3, [1, 2]])), { unknown: [{ type: 3, data: Uint8Array.of(1, 2) }] }, 'a u32 of two bytes');
  t.same(back(raw([13, [1, 2, 3, 4, 5]])), { unknown: [{ type: 13, data: Uint8Array.of(1, 2, 3, 4, 5) }] }, 'an address of five bytes');
  t.same(back(raw([21, [1, 2, 3, 4, 5]])), { unknown: [{ type: 21, data: Uint8Array.of(1, 2, 3, 4, 5) }] }, 'an array and a byte');
  t.same(back(raw([3, [1, 0, 0, 0, 9, 9, 9, 9]])), { u32: 1 }, 'a longer number: its beginning');
  t.same(back(raw([22, [77]])), { named: '77' }, 'an enum value without a name');
  t.same(back(raw([24, [1, 2, 3]])), {}, 'what is not read is not kept either');
  t.same(back(raw([18, [120, 0]], [19, [8, 0]])), { kind: 'x', data: Uint8Array.of(8, 0) }, 'data of an unknown kind');
  t.same(back(raw([11, [0]])), { flag: false }, 'a flag told as a byte');
  t.end();
});

await t.test('structs of older and newer kernels', (t) => {
  t.same(back(raw([14, [1, 0, 0, 0, 2, 0, 0, 0]])).struct, { small: 1, wide: 2, big: 0n });
  t.same(back(raw([14, [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 4, 4, 4]])).struct, { small: 1, wide: 2, big: 3n });
  t.end();
});

await t.test('a length that lies ends its nest and nothing else', (t) => {
  const lying = raw([15, [200, 0, 1, 0, 1, 0, 0, 0]], [1, [7]]);
  t.same(back(lying), { nest: {}, u8: 7 });
  t.same(back(Uint8Array.of(3, 0, 1, 0)), {}, 'shorter than its header');
  t.same(back(Uint8Array.of(0, 0, 0, 0)), {}, 'no length: no endless loop');
  t.same(back(Uint8Array.of(5, 0, 1)), {}, 'half a header');
  t.end();
});

await t.test('slots hold the same values', (t) => {
  const data = there({ u32: 3, text: 'x', nest: { number: 1 }, unknown: [{ type: 99, data: Uint8Array.of(9) }] });
  const from = Bytes.copy(data);
  const slots = a.decodeSlots(all, from, 0, data.length);
  t.equal(slots[3], 3);
  t.equal(slots[9], 'x');
  t.same(slots[15], { number: 1 });
  t.same(slots[0], [{ type: 99, data: Uint8Array.of(9) }]);
  t.equal(a.decodeSlots(all, from, 0, 0)[3], undefined, 'nothing is left of the last call');
  t.end();
});

await t.test('names by offset', (t) => {
  const data = there({
    u8: 1,
    kind: 'known',
    data: { number: 1, text: 'x' },
    list: [{ number: 1 }, { text: 'y' }],
    headed: { index: 1, number: 3 },
  });
  const from = Bytes.copy(data);
  const found = new Set<string | undefined>();
  for (let offset = 0; offset < data.length; offset += 4) found.add(a.nameAt(all, from, 0, data.length, offset));
  t.same(
    found,
    new Set([
      'X_U8',
      'X_LIST',
      'X_LIST.IN_NUMBER',
      'X_LIST.IN_TEXT',
      'X_KIND',
      'X_DATA',
      'X_DATA.IN_NUMBER',
      'X_DATA.IN_TEXT',
      'X_HEADED',
      'X_HEADED.IN_NUMBER',
    ]),
  );
  t.equal(a.nameAt(all, from, 0, data.length, 4000), undefined);
  const unknown = raw([99, [1]]);
  t.equal(a.nameAt(all, Bytes.copy(unknown), 0, unknown.length, 0), 'X_99');
  t.end();
});

await t.test('values that do not fit throw', (t) => {
  t.throws(() => there({ mac: 'zz' }), TypeError);
  t.throws(() => there({ ip: '1.2.3' }), TypeError);
  t.throws(() => there({ named: 'three' }), { message: "no such thing: 'three'" });
  t.throws(() => there({ bytes: new Uint8Array(70000) }), RangeError);
  t.end();
});
