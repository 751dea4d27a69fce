import { type Unknown, bytes, mapped, nested, string, table, u16, u32 } from '../attribute.js';
import { type Action, actions } from '../action.js';
import { hexBytes } from '../action/generic.js';
import { formatHandle, parseHandle } from '../handle.js';
import { filterFlags, sentFlags } from './flags.js';

const bpfTable = table('TCA_BPF', {
  act: [1, actions],
  police: [2, bytes],
  classid: [3, u32],
  ops_len: [4, u16],
  ops: [5, bytes],
  fd: [6, u32],
  name: [7, string],
  flags: [8, u32],
  flags_gen: [9, filterFlags],
  tag: [10, hexBytes],
  id: [11, u32],
});

const TCA_BPF_FLAG_ACT_DIRECT = 1;

/** cls_bpf. */
export interface BpfOptions {
  /** The program's descriptor. Of a request; the kernel tells `id`. */
  readonly fd?: number;
  readonly name?: string;
  /** The program's value is the control (TC_ACT_*). */
  readonly directAction?: boolean;
  readonly classid?: string;
  /** 'skip_hw', 'skip_sw', 'in_hw', 'not_in_hw'. */
  readonly flags?: readonly string[];
  readonly id?: number;
  readonly tag?: string;
  /** A classic program: struct sock_filter each. */
  readonly operations?: Uint8Array;
  readonly police?: Uint8Array;
  readonly unknown?: readonly Unknown[];
}

export const bpf = mapped(
  nested(bpfTable),
  ({ act, police, classid, ops, fd, name, flags, flags_gen, tag, id, unknown }): BpfOptions & { actions?: readonly Action[] } => ({
    ...(act !== undefined && { actions: act }),
    ...(fd !== undefined && { fd }),
    ...(name !== undefined && { name }),
    ...(flags !== undefined && (flags & TCA_BPF_FLAG_ACT_DIRECT) !== 0 && { directAction: true }),
    ...(classid !== undefined && { classid: formatHandle(classid) }),
    ...(flags_gen !== undefined && flags_gen.length > 0 && { flags: flags_gen }),
    ...(id !== undefined && { id }),
    ...(tag !== undefined && { tag }),
    ...(ops !== undefined && { operations: ops }),
    ...(police !== undefined && { police }),
    ...(unknown !== undefined && { unknown }),
  }),
  ({ actions, fd, name, directAction, classid, flags, operations, police, unknown }: BpfOptions & { actions?: readonly Action[] }) => ({
    act: actions,
    police,
    classid: classid === undefined ? undefined : parseHandle(classid),
    ops_len: operations === undefined ? undefined : operations.length >> 3,
    ops: operations,
    fd,
    name,
    flags: directAction === true ? TCA_BPF_FLAG_ACT_DIRECT : undefined,
    flags_gen: sentFlags(flags),
    unknown,
  }),
);
