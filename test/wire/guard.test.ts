// The program that checks what a guest sends, and classic BPF as the kernel runs it. What the kernel says of the same frames is in
// plumb/spoof.test.ts.
import fc from 'fast-check';
import t from 'tap';
import { type BpfInstruction, decodeInstructions, encodeInstructions, runClassic } from '../../lib/wire/bpf/classic.js';
import { dropProgram, guardProgram } from '../../lib/wire/bpf/guard.js';
import { OTHER_MAC, cases, source } from '../kernel/spoofs.js';

const program = guardProgram(source);
const MATCH = 0xffffffff;

await t.test('what is the guest’s own', async (t) => {
  for (const [name, frame, may] of cases) {
    // In the kernel a tag stands beside the frame.
    const tagged = frame[12] === 0x81 && frame[13] === 0;
    const bytes = tagged ? Uint8Array.from([...frame.subarray(0, 12), ...frame.subarray(16)]) : frame;
    t.equal(runClassic(program, bytes, { vlan: tagged }), may ? MATCH : 0, name);
  }
});

await t.test('no other MAC, no other source, however the rest is', async () => {
  const bytes = fc.uint8Array({ minLength: 0, maxLength: 120 });
  const own = cases.filter(([, , may]) => may).map(([, frame]) => frame);
  fc.assert(
    fc.property(fc.constantFrom(...own), bytes, fc.nat(200), fc.nat(200), (frame, noise, from, at) => {
      const mutated = Uint8Array.from([...frame, ...noise]);
      for (const [index, byte] of noise.entries()) if (from + index < mutated.length && from >= 14) mutated[from + index] = byte;
      const result = runClassic(program, mutated.subarray(0, Math.max(14, at)));
      if (result === undefined) throw new Error('no result');
      const other = mutated.slice();
      other.set(OTHER_MAC.split(':').map((octet) => parseInt(octet, 16)), 6); // prettier-ignore
      if (runClassic(program, other) !== 0) throw new Error('another MAC');
      if (result !== 0 && mutated[12] === 8 && mutated[13] === 0 && Buffer.compare(mutated.subarray(26, 30), Uint8Array.of(10, 1, 0, 2)) !== 0) throw new Error('another address'); // prettier-ignore
    }),
  );
});

t.equal(runClassic(dropProgram(), new Uint8Array(60)), 2); // TC_ACT_SHOT
t.strictSame(decodeInstructions(encodeInstructions(program)), program);

// As tcpdump -dd prints it: 'ip[0] & 15 = 5 and tcp[13] & 2 != 0' and the like.
await t.test('instructions', async (t) => {
  const packet = Uint8Array.from([...new Uint8Array(12), 8, 0, 0x45, 1, 2, 3, ...new Uint8Array(16), 0xab, 0xcd]);
  const run = (...lines: BpfInstruction[]): number | undefined => runClassic([...lines, [0x16, 0, 0, 0]], packet);
  const load = (k: number): BpfInstruction => [0, 0, 0, k];
  t.equal(run([0x80, 0, 0, 0]), 36, 'ld len');
  t.equal(run([0xb1, 0, 0, 14], [0x48, 0, 0, 14]), 0xabcd, 'ldx 4*([14]&0xf); ldh [x + 14]');
  t.equal(run([0x20, 0, 0, 33]), 0, 'behind the end');
  t.equal(run(load(7), [0x07, 0, 0, 0], load(3), [0x1c, 0, 0, 0]), 0xfffffffc, 'sub x');
  t.equal(run(load(7), [0x24, 0, 0, 6]), 42, 'mul');
  t.equal(run(load(7), [0x34, 0, 0, 2]), 3, 'div');
  t.equal(run(load(7), [0x34, 0, 0, 0]), 0, 'div by zero ends it');
  t.equal(run(load(7), [0x94, 0, 0, 4]), 3, 'mod');
  t.equal(run(load(0x80000000), [0x74, 0, 0, 31]), 1, 'rsh');
  t.equal(run(load(0x80000000), [0x64, 0, 0, 1]), 0, 'lsh');
  t.equal(run(load(5), [0x84, 0, 0, 0]), 0xfffffffb, 'neg');
  t.equal(run(load(5), [0xa4, 0, 0, 1]), 4, 'xor');
  t.equal(run(load(5), [0x02, 0, 0, 3], load(0), [0x61, 0, 0, 3], [0x87, 0, 0, 0]), 5, 'st, ldx, txa');
  t.equal(run(load(5), [0x45, 0, 1, 4], load(1), load(2)), 2, 'jset');
  t.equal(run(load(5), [0x25, 1, 0, 4], load(1)), 5, 'jgt');
  t.equal(run(load(5), [0x35, 0, 1, 6], load(1)), 5, 'jge');
  t.equal(run(load(5), [0x05, 0, 0, 1], load(1)), 5, 'ja');
  t.equal(run([0x20, 0, 0, 0xfffff004]), undefined, 'the packet’s type is not known here');
  t.equal(runClassic([[0x06, 0, 0, 9]], packet), 9);
});
