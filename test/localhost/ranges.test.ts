import fc from 'fast-check';
import t from 'tap';
import { WELL_KNOWN, chooseRanges, spanOf } from '../../lib/localhost/ranges.js';

const overlap = (a: string, b: string): boolean => {
  const [one, other] = [spanOf(a)!, spanOf(b)!];
  return one.first <= other.last && other.first <= one.last;
};

await t.test('the same for the same seed, and another for another', async (t) => {
  const free = { prefixes: ['10.1.0.2/16', '127.0.0.1/8', '0.0.0.0/0', 'fd00::1/64', 'default'] };
  const ranges = chooseRanges('vm/1', free);
  t.strictSame(chooseRanges('vm/1', free), ranges);
  t.match(ranges, { aliases: /^169\.254\.\d+\.0$/, loopback: /^127\.\d+\.\d+\.0$/, aliasMac: /^[0-9a-f][26ae]:/ });
  const others = new Set(Array.from({ length: 50 }, (_, n) => chooseRanges(`vm/${n}`, free).aliases));
  t.ok(others.size > 30, `${others.size} of 50`);
  t.not(chooseRanges('vm/1', { prefixes: [ranges.aliases] }).aliases, ranges.aliases);
  t.not(chooseRanges('vm/1', { prefixes: [], bound: [ranges.loopback.replace(/0$/, '200')] }).loopback, ranges.loopback);
  t.not(chooseRanges('vm/1', { prefixes: [], bound: [`::ffff:${ranges.loopback}`] }).loopback, ranges.loopback);
});

await t.test('what has the whole speaks against none of its parts', async (t) => {
  const ranges = chooseRanges('x', { prefixes: [] });
  t.strictSame(chooseRanges('x', { prefixes: ['169.254.0.0/16', '127.0.0.0/8', '0.0.0.0/0', '128.0.0.0/1', '0.0.0.0/1'] }), ranges);
});

await t.test('nothing left', async (t) => {
  const all = Array.from({ length: 256 }, (_, n) => `169.254.${n}.7`);
  t.throws(() => chooseRanges('x', { prefixes: all }), { code: 'ERR_LOCALHOST_NO_RANGE', message: /169\.254/ });
  t.throws(() => chooseRanges('x', { prefixes: ['169.254.0.0/17', '169.254.128.0/17'] }), { code: 'ERR_LOCALHOST_NO_RANGE' });
  t.throws(() => chooseRanges('x', { prefixes: ['127.0.0.0/9', '127.128.0.0/9'] }), { code: 'ERR_LOCALHOST_NO_RANGE', message: /127\.0/ });
  const left = chooseRanges('x', { prefixes: all.filter((one) => one !== '169.254.77.7') });
  t.equal(left.aliases, '169.254.77.0');
});

await t.test('never what is taken, and never what is well known', async () => {
  const prefix = fc.oneof(
    fc.tuple(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 0, max: 255 }), fc.integer({ min: 17, max: 32 })).map(([a, b, length]) => `169.254.${a}.${b}/${length}`), // prettier-ignore
    fc.tuple(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 0, max: 255 }), fc.integer({ min: 9, max: 32 })).map(([a, b, length]) => `127.${a}.${b}.9/${length}`), // prettier-ignore
  );
  fc.assert(
    fc.property(fc.string(), fc.array(prefix, { maxLength: 30 }), fc.array(prefix, { maxLength: 5 }), (seed, prefixes, more) => {
      const bound = more.map((text) => text.replace(/\/.*/, ''));
      let ranges;
      try {
        ranges = chooseRanges(seed, { prefixes, bound });
      } catch (error) {
        if ((error as { code?: string }).code === 'ERR_LOCALHOST_NO_RANGE') return;
        throw error;
      }
      const { aliases, loopback } = ranges;
      for (const taken of [...prefixes, ...bound]) if (overlap(taken, `${aliases}/24`) || overlap(taken, `${loopback}/23`)) throw new Error(taken); // prettier-ignore
      if (WELL_KNOWN.has(Number(aliases.split('.')[2])) || loopback.startsWith('127.0.') || Number(loopback.split('.')[2]) % 2 !== 0) throw new Error(aliases + loopback); // prettier-ignore
    }),
    { numRuns: 300 },
  );
});
