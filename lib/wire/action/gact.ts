import { type Unknown, mapped, nested, s32, struct, table, u16, unread } from '../attribute.js';
import { type ActionBody, generic, readGeneric, times, writeGeneric } from './generic.js';
import { formatControl, parseControl } from '../control.js';

const gactTable = table('TCA_GACT', {
  tm: [1, times],
  parms: [2, struct(generic)],
  prob: [
    3,
    struct([
      ['ptype', u16],
      ['pval', u16],
      ['paction', s32],
    ]),
  ],
  pad: [4, unread],
});

/** PGACT_*. */
const CHANCES = ['none', 'random', 'deterministic'] as const;

/** Nothing but a control: 'ok', 'drop', 'continue', ... */
export interface GactOptions {
  /** One packet in `value` (on average, or exactly) gets another control. */
  readonly chance?: { readonly type: (typeof CHANCES)[number]; readonly value: number; readonly control: string };
  readonly unknown?: readonly Unknown[];
}

export const gact = mapped(
  nested(gactTable),
  ({ tm, parms, prob, unknown }): (GactOptions & ActionBody) | undefined => {
    const type = prob === undefined ? undefined : CHANCES[prob.ptype];
    if (parms === undefined || (prob !== undefined && type === undefined)) return undefined;
    return {
      generic: readGeneric(parms),
      ...(tm !== undefined && { times: tm }),
      ...(prob !== undefined && { chance: { type: type!, value: prob.pval, control: formatControl(prob.paction) } }),
      ...(unknown !== undefined && { unknown }),
    };
  },
  ({ generic, chance, unknown }: GactOptions & ActionBody) => ({
    parms: writeGeneric(generic),
    prob:
      chance === undefined ? undefined : { ptype: CHANCES.indexOf(chance.type), pval: chance.value, paction: parseControl(chance.control) },
    unknown,
  }),
);
