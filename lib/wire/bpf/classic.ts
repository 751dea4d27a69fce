// Classic BPF: small programs over a packet, which the kernel takes from anybody, in a user namespace too (networking/filter.rst,
// uapi/linux/filter.h): assembled, read, and run as the kernel runs them.
import { Bytes } from '../bytes.js';
import { Writer } from '../writer.js';

/** struct sock_filter, as `tcpdump -dd` prints it. */
export type BpfInstruction = readonly [code: number, jt: number, jf: number, k: number];

const SIZE = 8;
/** BPF_MAXINSNS. */
export const MOST_INSTRUCTIONS = 4096;

/** struct sock_filter[], in the host's byte order. */
export function encodeInstructions(program: readonly BpfInstruction[]): Uint8Array {
  const writer = new Writer();
  for (const [code, jt, jf, k] of program) {
    writer.u16(code);
    writer.byte(jt);
    writer.byte(jf);
    writer.u32(k);
  }
  return writer.finish();
}

export function decodeInstructions(program: Uint8Array): readonly BpfInstruction[] {
  const { u8, u16, u32 } = Bytes.copy(program.subarray(0, program.length - (program.length % SIZE)));
  return Array.from({ length: Math.floor(program.length / SIZE) }, (_, index) => {
    const at = index * SIZE;
    return [u16[at >> 1]!, u8[at + 2]!, u8[at + 3]!, u32[(at >> 2) + 1]!];
  });
}

/** SKF_AD_OFF, from where loads mean what the kernel knows of the packet. */
const ANCILLARY = 0xfffff000;
const VLAN_TAG_PRESENT = 48; // SKF_AD_*

/**
 * A program that grows. Labels are for jumps ahead, by however many instructions.
 * A load from behind the packet's end ends the program with 0.
 */
export class ClassicProgram {
  readonly #lines: (BpfInstruction | { readonly to: string })[] = [];
  readonly #labels = new Map<string, number>();

  load32 = (at: number): void => this.#add(0x20, at);
  load16 = (at: number): void => this.#add(0x28, at);
  load8 = (at: number): void => this.#add(0x30, at);
  /** From X + at. */
  load32X = (at: number): void => this.#add(0x40, at);
  load8X = (at: number): void => this.#add(0x50, at);
  /** Whether the frame had a VLAN's tag, which is out of it where the kernel has taken it off. */
  loadVlanPresent = (): void => this.#add(0x20, ANCILLARY + VLAN_TAG_PRESENT);
  /** One of 16 words. */
  loadWord = (word: number): void => this.#add(0x60, word);
  store = (word: number): void => this.#add(0x02, word);
  setX = (value: number): void => this.#add(0x01, value);
  toX = (): void => this.#add(0x07, 0);
  fromX = (): void => this.#add(0x87, 0);
  add = (value: number): void => this.#add(0x04, value);
  addX = (): void => this.#add(0x0c, 0);
  orX = (): void => this.#add(0x4c, 0);
  and = (value: number): void => this.#add(0x54, value);
  shiftLeft = (bits: number): void => this.#add(0x64, bits);

  end = (value: number): void => this.#add(0x06, value >>> 0);
  goto = (label: string): void => void this.#lines.push({ to: label });
  label = (name: string): void => void this.#labels.set(name, this.#lines.length);

  /** Passes over so many instructions unless A is the value. */
  unlessEqual = (value: number, over: number): void => this.#add(0x15, value, 0, over);
  gotoIfEqual(value: number, label: string): void {
    this.unlessEqual(value, 1);
    this.goto(label);
  }
  endIfEqual(value: number, result: number): void {
    this.unlessEqual(value, 1);
    this.end(result);
  }
  endUnlessEqual(value: number, result: number): void {
    this.#add(0x15, value, 1, 0);
    this.end(result);
  }

  finish(): readonly BpfInstruction[] {
    return this.#lines.map((line, at): BpfInstruction => ('to' in line ? [JUMP, 0, 0, this.#labels.get(line.to)! - at - 1] : line));
  }

  #add(code: number, k: number, jt = 0, jf = 0): void {
    this.#lines.push([code, jt, jf, k >>> 0]);
  }
}
const JUMP = 0x05;

/** What is known of a packet beside its bytes. */
export interface PacketFacts {
  /** Default false. */
  readonly vlan?: boolean;
}

/** What the program says of a packet. undefined: it asks for something that is not known here. */
export function runClassic(program: readonly BpfInstruction[], packet: Uint8Array, { vlan = false }: PacketFacts = {}): number | undefined {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const words = new Uint32Array(16);
  let [a, x] = [0, 0];
  for (let at = 0; at < program.length; at++) {
    const [code, jt, jf, k] = program[at]!;
    const operand = (code & 0x08) !== 0 ? x : k;
    switch (code & 0x07) {
      case 0x00: // BPF_LD
      case 0x01: {
        const value = load(code, k);
        if (value === 'unknown') return undefined;
        if (value === 'outside') return 0;
        if ((code & 0x07) === 0) a = value;
        else x = value;
        break;
      }
      case 0x02:
        words[k & 15] = a;
        break;
      case 0x03:
        words[k & 15] = x;
        break;
      case 0x04: {
        const value = calculate(code & 0xf0, a, operand);
        if (value === undefined) return code === 0x34 || code === 0x3c || code === 0x94 || code === 0x9c ? 0 : undefined;
        a = value >>> 0;
        break;
      }
      case 0x05: {
        const way = code & 0xf0;
        if (way === 0x00) at += k;
        else if (way > 0x40) return undefined;
        else
          at += (way === 0x10 ? a === operand : way === 0x20 ? a > operand : way === 0x30 ? a >= operand : (a & operand) !== 0) ? jt : jf;
        break;
      }
      case 0x06:
        return (code & 0x18) === 0x10 ? a : k;
      default: // BPF_MISC
        if ((code & 0xf8) === 0x80) a = x;
        else x = a;
    }
  }
  return undefined;

  function load(code: number, k: number): number | 'unknown' | 'outside' {
    const [mode, size] = [code & 0xe0, (code & 0x18) === 0 ? 4 : (code & 0x18) === 0x08 ? 2 : 1];
    if (mode === 0x00) return k;
    if (mode === 0x60) return words[k & 15]!;
    if (mode === 0x80) return packet.length;
    if (mode === 0x20 && k >= ANCILLARY) return k === ANCILLARY + VLAN_TAG_PRESENT ? Number(vlan) : 'unknown';
    const from = mode === 0x40 ? (x + k) >>> 0 : k;
    if (from >= 0x80000000) return 'unknown'; // SKF_NET_OFF, SKF_LL_OFF
    if (from + (mode === 0xa0 ? 1 : size) > packet.length) return 'outside';
    if (mode === 0xa0) return (packet[from]! & 15) * 4;
    return size === 4 ? view.getUint32(from) : size === 2 ? view.getUint16(from) : packet[from]!;
  }
}

/** undefined: division by zero, or no operation. */
function calculate(way: number, a: number, b: number): number | undefined {
  switch (way) {
    case 0x00:
      return a + b;
    case 0x10:
      return a - b;
    case 0x20:
      return Math.imul(a, b);
    case 0x30:
      return b === 0 ? undefined : Math.floor(a / b);
    case 0x40:
      return a | b;
    case 0x50:
      return a & b;
    case 0x60:
      return b > 31 ? 0 : a << b;
    case 0x70:
      return b > 31 ? 0 : a >>> b;
    case 0x80:
      return -a;
    case 0x90:
      return b === 0 ? undefined : a % b;
    case 0xa0:
      return a ^ b;
    default:
      return undefined;
  }
}
