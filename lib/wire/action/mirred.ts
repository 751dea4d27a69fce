import { type Unknown, mapped, nested, s32, struct, table, u32, unread } from '../attribute.js';
import { type ActionBody, generic, readGeneric, times, writeGeneric } from './generic.js';

const mirredTable = table('TCA_MIRRED', {
  tm: [1, times],
  parms: [2, struct([...generic, ['eaction', s32], ['ifindex', u32]])],
  pad: [3, unread],
  blockid: [4, u32],
});

/** TCA_EGRESS_REDIR, _MIRROR, TCA_INGRESS_REDIR, _MIRROR, from 1. */
const WAYS = [
  { action: 'redirect', direction: 'egress' },
  { action: 'mirror', direction: 'egress' },
  { action: 'redirect', direction: 'ingress' },
  { action: 'mirror', direction: 'ingress' },
] as const;

/** Sends the packet, or a copy, out of another link (or in by it). By default the packet is then 'stolen', or the next action runs ('pipe'). */
export interface MirredOptions {
  readonly action: 'redirect' | 'mirror';
  readonly direction: 'egress' | 'ingress';
  /** The ifindex; 0: of a link that is gone. Such a filter drops what it matches. */
  readonly dev: number;
  /** All links of a shared block, in place of one (since 6.8). */
  readonly block?: number;
  readonly unknown?: readonly Unknown[];
}

export const mirred = mapped(
  nested(mirredTable),
  ({ tm, parms, blockid, unknown }): (MirredOptions & ActionBody) | undefined => {
    const way = parms === undefined ? undefined : WAYS[parms.eaction - 1];
    if (parms === undefined || way === undefined) return undefined;
    return {
      generic: readGeneric(parms),
      ...(tm !== undefined && { times: tm }),
      ...way,
      dev: parms.ifindex,
      ...(blockid !== undefined && { block: blockid }),
      ...(unknown !== undefined && { unknown }),
    };
  },
  ({ generic, action, direction, dev, block, unknown }: MirredOptions & ActionBody) => {
    const way = WAYS.findIndex((way) => way.action === action && way.direction === direction);
    if (way === -1) throw new TypeError(`mirred knows no '${direction} ${action}'`);
    return { parms: { ...writeGeneric(generic), eaction: way + 1, ifindex: dev }, blockid: block, unknown };
  },
);
