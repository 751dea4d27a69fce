// What all actions have: `tc_gen` of uapi/linux/pkt_cls.h at the start of their structs, and struct tcf_t.
import { type StructValues, bytes, mapped, s32, struct, u32, u64 } from '../attribute.js';

/** To be followed by the fields of the kind. */
export const generic = [
  ['index', u32],
  ['capab', u32],
  ['action', s32],
  ['refcnt', s32],
  ['bindcnt', s32],
] as const;

/** In ticks of 10 ms, ago; 0: never. `firstuse` since 4.10. */
export const times = struct([
  ['install', u64],
  ['lastuse', u64],
  ['expires', u64],
  ['firstuse', u64],
]);

/** What the options of every known kind hold beside their own. */
export interface ActionBody {
  readonly generic: Generic;
  readonly times?: { readonly install: bigint; readonly lastuse: bigint; readonly expires: bigint; readonly firstuse: bigint };
}
export interface Generic {
  /** 0: the kernel chooses. An index in use: that action is shared. */
  readonly index: number;
  /** TC_ACT_*. */
  readonly action: number;
  readonly references?: number;
  readonly bindings?: number;
}

export function readGeneric({ index, action, refcnt, bindcnt }: Omit<StructValues<typeof generic>, 'capab'>): Generic {
  return { index, action, references: refcnt, bindings: bindcnt };
}

export function writeGeneric({ index, action }: Generic): StructValues<typeof generic> {
  return { index, capab: 0, action, refcnt: 0, bindcnt: 0 };
}

/** Bytes as hexadecimal digits. */
export const hexBytes = mapped<Uint8Array, string>(
  bytes,
  (data) => Array.from(data, (octet) => octet.toString(16).padStart(2, '0')).join(''),
  (text) => Uint8Array.from(text.match(/../g) ?? [], (octet) => parseInt(octet, 16)),
);
