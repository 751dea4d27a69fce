// What rules reckon with: 64 bytes, named as 4 registers of 16 (1 to 4) or 16 of 4 (8 to 23).
import { type Datum, known } from './datum.js';

export class Registers {
  readonly #bytes = new Uint8Array(64);
  readonly #unknown = new Uint8Array(64);
  #why = '';

  load(register: number, length: number): Datum {
    const at = placeOf(register);
    return { bytes: this.#bytes.slice(at, at + length), unknown: this.#unknown.slice(at, at + length), why: this.#why };
  }

  /** Filled with zeros to a whole register of 4. */
  store(register: number, { bytes, unknown, why }: Datum): void {
    const at = placeOf(register);
    const end = at + 4 * Math.ceil(bytes.length / 4);
    this.#bytes.fill(0, at, end);
    this.#unknown.fill(0, at, end);
    this.#bytes.set(bytes, at);
    this.#unknown.set(unknown, at);
    if (unknown.includes(1)) this.#why = why;
  }

  put(register: number, bytes: Uint8Array): void {
    this.store(register, known(bytes));
  }
}

function placeOf(register: number): number {
  return register < 8 ? 16 * (register - 1) : 4 * (register - 8);
}
