// Addresses as text, against Node's own canonical forms.
import { isIPv4, isIPv6 } from 'node:net';
import fc from 'fast-check';
import t from 'tap';
import { formatIp, formatMac, parseIp, parseMac } from '../../lib/wire/text.js';

/** The canonical form that the URL parser gives (WHATWG; RFC 5952 but for embedded IPv4). */
function canonical(address: string): string {
  return new URL(`http://[${address}]/`).hostname.slice(1, -1);
}

const octets = fc.uint8Array({ minLength: 16, maxLength: 16 });
// Runs of zeros are what makes IPv6 text hard; random octets have none.
const sparse = fc
  .array(fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 0xffff })), { minLength: 8, maxLength: 8 })
  .map((groups) => Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 255])));

await t.test('IPv6 is written as the URL parser writes it', (t) => {
  fc.assert(
    fc.property(fc.oneof(octets, sparse), (bytes) => {
      const text = formatIp(bytes, 0, 16)!;
      // Without dots there, with dots here.
      const mapped = bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 255 && bytes[11] === 255;
      t.equal(text.includes('.'), mapped);
      if (!mapped) t.equal(text, canonical(text));
      t.same(parseIp(text), bytes);
    }),
    { numRuns: 500 },
  );
  t.end();
});

await t.test('every spelling is read', (t) => {
  const spellings: readonly (readonly [string, string])[] = [
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['FD00:0000::0001', 'fd00::1'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['1:0:0:2:3:0:0:4', '1::2:3:0:0:4'],
    ['1:0:2:3:4:5:6:7', '1:0:2:3:4:5:6:7'],
    ['::ffff:10.1.2.3', '::ffff:10.1.2.3'],
    ['::ffff:a01:203', '::ffff:10.1.2.3'],
    ['64:ff9b::10.1.2.3', '64:ff9b::a01:203'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['10.0.0.1', '10.0.0.1'],
  ];
  for (const [given, wanted] of spellings) {
    const bytes = parseIp(given)!;
    t.equal(formatIp(bytes, 0, bytes.length), wanted, given);
  }
  for (const text of ['', '1', '1.2.3', '1.2.3.4.5', '256.0.0.1', '1::2::3', ':::', '12345::', 'fe80::1%eth0', '10.0.0.1/8', 'g::']) {
    t.equal(parseIp(text), undefined, `'${text}' is no address`);
  }
  t.equal(formatIp(new Uint8Array(5), 0, 5), undefined, 'nor are five bytes');
  t.end();
});

await t.test('what is an address and what is not, node:net says the same', (t) => {
  const piece = fc.constantFrom(
    '0',
    '1',
    '9',
    '10',
    '25',
    '255',
    '256',
    '01',
    'a',
    'F',
    'ffff',
    '00000',
    'g',
    ' ',
    '%',
    ':',
    ':',
    ':',
    '::',
    '::',
    '.',
    '.',
    '.',
  );
  const anything = fc.array(piece, { maxLength: 16 }).map((pieces) => pieces.join(''));
  const octet = fc.constantFrom('0', '7', '10', '99', '100', '199', '249', '255', '256', '00', '08', '');
  const four = fc.array(octet, { minLength: 3, maxLength: 5 }).map((some) => some.join('.'));
  const group = fc.constantFrom('0', '1', 'fd00', 'FFFF', '0001', '', '');
  const eight = fc.array(group, { minLength: 2, maxLength: 10 }).map((some) => some.join(':'));
  const dotted = fc.tuple(eight, four).map(([some, more]) => `${some}:${more}`);
  fc.assert(
    fc.property(fc.oneof(anything, four, eight, dotted), (text) => {
      const length = isIPv4(text) ? 4 : isIPv6(text) && !text.includes('%') ? 16 : undefined;
      const bytes = parseIp(text);
      if (bytes?.length !== length) t.fail(`'${text}': ${bytes?.length}, ${length}`);
      if (length === 16 && !text.includes('.')) t.same(parseIp(canonical(text)), bytes, text);
    }),
    { numRuns: 20_000 },
  );
  t.end();
});

await t.test('link-layer addresses of any length', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 32 }), (bytes) => {
      t.same(parseMac(formatMac(bytes, 0, bytes.length)), bytes);
    }),
  );
  t.equal(formatMac(new Uint8Array(), 0, 0), '');
  t.same(parseMac('2:0:0:0:0:AB'), Uint8Array.of(2, 0, 0, 0, 0, 0xab));
  for (const text of ['', ':', '02:', '02::03', '123:00', '02-00', 'xx:00']) t.equal(parseMac(text), undefined, `'${text}'`);
  t.end();
});
