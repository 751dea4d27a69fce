// Steps of which rules are made, a word each. Registers are numbered from 0: sixteen of 4 bytes.
import type { NftData, NftExpression } from './expression.js';

export type Steps = readonly NftExpression[];
export type Base = 'link' | 'network' | 'transport';

const FIRST = 8; // NFT_REG32_00
const register = (number: number): number => FIRST + number;

/** Bytes of a header into a register, and the ones behind it. */
export function load(to: number, base: Base, offset: number, len: number): NftExpression {
  return { name: 'payload', data: { dreg: register(to), base, offset, len } };
}
export function meta(to: number, key: string): NftExpression {
  return { name: 'meta', data: { dreg: register(to), key } };
}
export function put(to: number, value: Uint8Array): NftExpression {
  return { name: 'immediate', data: { dreg: register(to), data: { value } } };
}
export function compare(from: number, op: '==' | '!=', value: Uint8Array): NftExpression {
  return { name: 'cmp', data: { sreg: register(from), op, data: { value } } };
}
/** Only these bits, in another register. */
export function masked(from: number, to: number, mask: Uint8Array): NftExpression {
  const xor = new Uint8Array(mask.length);
  return {
    name: 'bitwise',
    data: { sreg: register(from), dreg: register(to), len: mask.length, mask: { value: mask }, xor: { value: xor } },
  };
}

/** Whether it is in a set. */
export function isIn(set: string, from: number): NftExpression {
  return { name: 'lookup', data: { set, sreg: register(from) } };
}
export function isNotIn(set: string, from: number): NftExpression {
  return { name: 'lookup', data: { set, sreg: register(from), flags: ['inv'] } };
}
/** What a map has for it; where there is nothing, the rule ends. */
export function look(map: string, from: number, to: number): NftExpression {
  return { name: 'lookup', data: { set: map, sreg: register(from), dreg: register(to) } };
}
/** 'add' leaves what is there as it is, its time too; 'update' begins its time anew. Where the set is full, the rule ends. Timeouts in seconds. */
export function remember(op: 'add' | 'update', set: string, key: number, seconds: number, data?: number): NftExpression {
  const timeout = BigInt(seconds * 1000);
  return {
    name: 'dynset',
    data: { set_name: set, op, sreg_key: register(key), timeout, ...(data !== undefined && { sreg_data: register(data) }) },
  };
}

/** Where a checksum is that follows what is stored, in the same header; 'l4': that of TCP or UDP, wherever it is, and where there is one. */
export interface Sums {
  readonly at?: number;
  readonly l4?: true;
}

/** Into a header. */
export function store(from: number, base: Base, offset: number, len: number, { at, l4 }: Sums = {}): NftExpression {
  const sum = at === undefined ? { csum_type: 'none' } : { csum_type: 'inet', csum_offset: at };
  return { name: 'payload', data: { sreg: register(from), base, offset, len, ...sum, ...(l4 && { csum_flags: ['pseudohdr'] }) } };
}
export function setMeta(key: string, from: number): NftExpression {
  return { name: 'meta', data: { key, sreg: register(from) } };
}

/** To the interface whose index is in a register, and nothing more of it. */
export function forward(device: number): NftExpression {
  return { name: 'fwd', data: { sreg_dev: register(device) } };
}
/** A copy of it. */
export function copy(device: number): NftExpression {
  return { name: 'dup', data: { sreg_dev: register(device) } };
}
export const count: NftExpression = { name: 'counter', data: {} };

function verdict(code: string, chain?: string): NftExpression {
  const data: NftData = { verdict: { code, ...(chain !== undefined && { chain }) } };
  return { name: 'immediate', data: { dreg: 0, data } };
}
export const accept = verdict('accept');
export const drop = verdict('drop');
export const jump = (chain: string): NftExpression => verdict('jump', chain);
export const goTo = (chain: string): NftExpression => verdict('goto', chain);
