import { type Unknown, mapped, nested, struct, table, u32, u64, unread } from '../attribute.js';
import { type Action, actions } from '../action.js';
import { formatHandle, parseHandle } from '../handle.js';
import { filterFlags, sentFlags } from './flags.js';

const matchallTable = table('TCA_MATCHALL', {
  classid: [1, u32],
  act: [2, actions],
  flags: [3, filterFlags],
  pcnt: [4, struct([['rhit', u64]])],
  pad: [5, unread],
});

/** Every packet (since 4.8). */
export interface MatchallOptions {
  readonly classid?: string;
  /** 'skip_hw', 'skip_sw', 'in_hw', 'not_in_hw'. */
  readonly flags?: readonly string[];
  /** Packets seen. */
  readonly hits?: bigint;
  readonly unknown?: readonly Unknown[];
}

export const matchall = mapped(
  nested(matchallTable),
  ({ classid, act, flags, pcnt, unknown }): MatchallOptions & { actions?: readonly Action[] } => ({
    ...(classid !== undefined && { classid: formatHandle(classid) }),
    ...(act !== undefined && { actions: act }),
    ...(flags !== undefined && flags.length > 0 && { flags }),
    ...(pcnt !== undefined && { hits: pcnt.rhit }),
    ...(unknown !== undefined && { unknown }),
  }),
  ({ classid, actions, flags, unknown }: MatchallOptions & { actions?: readonly Action[] }) => ({
    classid: classid === undefined ? undefined : parseHandle(classid),
    act: actions,
    flags: sentFlags(flags),
    unknown,
  }),
);
