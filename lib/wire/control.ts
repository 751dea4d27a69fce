// TC_ACT_*: what happens to a packet after an action. uapi/linux/pkt_cls.h, with the names of tc-actions(8).
import { Naming } from './names.js';

const controls = new Naming('control', { ok: 0, reclassify: 1, drop: 2, pipe: 3, stolen: 4, queued: 5, repeat: 6, redirect: 7, trap: 8 });
const JUMP = 0x10000000;
const GOTO_CHAIN = 0x20000000;
const VALUE = 0x0fffffff;

/** 'continue' (on to the next filter), 'pipe' (to the next action), 'ok', 'drop', 'stolen', 'reclassify', ..., 'jump 2', 'goto chain 5', or a number. */
export function formatControl(number: number): string {
  if (number === -1 || number === 0xffffffff) return 'continue';
  const value = number & VALUE;
  const code = (number & ~VALUE) >>> 0;
  return code === JUMP ? `jump ${value}` : code === GOTO_CHAIN ? `goto chain ${value}` : controls.name(number >>> 0);
}

export function parseControl(text: string): number {
  if (text === 'continue') return -1;
  if (text === 'pass') return controls.numbers.ok;
  if (text === 'shot') return controls.numbers.drop;
  const match = /^(jump|goto chain) (\d+)$/.exec(text);
  if (match === null) return controls.number(text);
  const value = Number(match[2]);
  if (value > VALUE) throw new TypeError(`no such control: '${text}'`);
  return value | (match[1] === 'jump' ? JUMP : GOTO_CHAIN);
}
