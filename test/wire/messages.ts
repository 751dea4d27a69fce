// For the tests of message families: bytes to values, and what broken bytes must not do.
import { equal } from 'node:assert';
import { Bytes } from '../../lib/wire/bytes.js';
import { type Message, eachMessage } from '../../lib/wire/message.js';

type Decode<T> = (from: Bytes, message: Message) => T;

export function hex(text: string): Uint8Array {
  return Uint8Array.from(text.replace(/\s/g, '').match(/../g) ?? [], (octet) => parseInt(octet, 16));
}

/** The value of the one message in `data`. */
export function one<T>(data: Uint8Array | string, decode: Decode<T>): T {
  const all = every(typeof data === 'string' ? hex(data) : data, decode);
  equal(all.length, 1);
  return all[0]!;
}

export function every<T>(data: Uint8Array, decode: Decode<T>): T[] {
  const values: T[] = [];
  const from = Bytes.copy(data);
  eachMessage(from, data.length, (message) => values.push(decode(from, message)));
  return values;
}

export function without<T extends object>(value: T, ...names: (keyof T)[]): Partial<T> {
  const copy: Partial<T> = { ...value };
  for (const name of names) delete copy[name];
  return copy;
}

/**
 * Every sample, cut at every length (its header says so), and with every byte of its body set to 0, 1, 127 and 255: the decoder returns a
 * value, and the whole sample behind it is read as ever. Returns how often not.
 */
export function losses<T>(samples: readonly Uint8Array[], decode: Decode<T>): number {
  let broken = 0;
  for (const sample of samples) {
    const [expected] = every(sample, decode);
    const check = (damaged: Uint8Array): void => {
      const both = new Uint8Array(damaged.length + sample.length);
      both.set(damaged);
      both.set(sample, damaged.length);
      const values = every(both, decode);
      if (values.length !== 2 || typeof values[0] !== 'object' || JSON.stringify(values[1], plain) !== JSON.stringify(expected, plain))
        broken++;
    };
    for (let length = 16; length <= sample.length; length++) {
      const cut = new Uint8Array((length + 3) & ~3);
      cut.set(sample.subarray(0, length));
      new DataView(cut.buffer).setUint32(0, length, true);
      check(cut);
    }
    for (let at = 16; at < sample.length; at++) {
      for (const octet of [0, 1, 127, 255]) {
        const damaged = sample.slice();
        damaged[at] = octet;
        check(damaged);
      }
    }
  }
  return broken;
}

function plain(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}
