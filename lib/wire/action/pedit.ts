import {
  type StructValues,
  type Unknown,
  bytes,
  decodeStruct,
  encodeStruct,
  mapped,
  nested,
  repeated,
  structSize,
  table,
  u16,
  u8,
  unread,
} from '../attribute.js';
import { Bytes } from '../bytes.js';
import { Naming } from '../names.js';
import { Writer } from '../writer.js';
import { type ActionBody, generic, readGeneric, times, writeGeneric } from './generic.js';

const keyTable = table('TCA_PEDIT_KEY_EX', { htype: [1, u16], cmd: [2, u16] });

const peditTable = table('TCA_PEDIT', {
  tm: [1, times],
  /** struct tc_pedit_sel with its keys; of requests without kinds of headers. */
  parms: [2, bytes],
  pad: [3, unread],
  parms_ex: [4, bytes],
  keys_ex: [5, nested(table('TCA_PEDIT', { key_ex: [6, repeated(nested(keyTable))] }))],
});

/** struct tc_pedit_sel; struct tc_pedit_key follows as often as `nkeys` says. */
const selector = [...generic, ['nkeys', u8], ['flags', u8]] as const;
const SELECTOR_SIZE = structSize(selector);
const KEY_SIZE = 24;

/** TCA_PEDIT_KEY_EX_HDR_TYPE_*, TCA_PEDIT_KEY_EX_CMD_*. */
const headers = new Naming('header', { network: 0, eth: 1, ip4: 2, ip6: 3, tcp: 4, udp: 5 });
const commands = new Naming('pedit command', { set: 0, add: 1 });

/** A change of four bytes, which mask and value show in the order of the packet. */
export interface PeditKey {
  /** From which header `offset` counts: 'network' (default), 'eth', 'ip4', 'ip6', 'tcp', 'udp'. */
  readonly header?: string;
  /** 'set' (default) or 'add'. */
  readonly command?: string;
  /** The bits that are kept. */
  readonly mask: number;
  /** The bits that are set, or what is added. */
  readonly value: number;
  /** In bytes, a multiple of 4, also negative. */
  readonly offset: number;
  /** An offset that is read from the packet: (byte at `at` & offsetMask) >> shift. */
  readonly at?: number;
  readonly offsetMask?: number;
  readonly shift?: number;
}

/** Rewrites bytes of the packet. Checksums are csum's to mend. */
export interface PeditOptions {
  readonly keys: readonly PeditKey[];
  readonly flags?: number;
  readonly unknown?: readonly Unknown[];
}

export const pedit = mapped(
  nested(peditTable),
  ({ tm, parms, parms_ex, keys_ex, unknown }): (PeditOptions & ActionBody) | undefined => {
    const data = parms_ex ?? parms;
    if (data === undefined || data.length < SELECTOR_SIZE) return undefined;
    const from = Bytes.copy(data);
    const { nkeys, flags, ...head } = decodeStruct(selector, from, 0, data.length);
    if (data.length < SELECTOR_SIZE + nkeys * KEY_SIZE) return undefined;
    const extended = keys_ex?.key_ex ?? [];
    return {
      generic: readGeneric(head),
      ...(tm !== undefined && { times: tm }),
      keys: Array.from({ length: nkeys }, (_, index) => decodeKey(from, SELECTOR_SIZE + index * KEY_SIZE, extended[index])),
      ...(flags !== 0 && { flags }),
      ...(unknown !== undefined && { unknown }),
    };
  },
  ({ generic, keys, flags, unknown }: PeditOptions & ActionBody) => {
    const writer = new Writer();
    const head: StructValues<typeof selector> = { ...writeGeneric(generic), nkeys: keys.length, flags: flags ?? 0 };
    encodeStruct(selector, writer, head);
    for (const { mask, value, offset, at, offsetMask, shift } of keys) {
      writer.be32(mask);
      writer.be32(value);
      writer.u32(offset);
      writer.u32(at ?? 0);
      writer.u32(offsetMask ?? 0);
      writer.u32(shift ?? 0);
    }
    return {
      parms_ex: writer.finish(),
      keys_ex: {
        key_ex: keys.map(({ header, command }) => ({ htype: headers.number(header ?? 'network'), cmd: commands.number(command ?? 'set') })),
      },
      unknown,
    };
  },
);

function decodeKey(
  from: Bytes,
  start: number,
  extended: { readonly htype?: number | undefined; readonly cmd?: number | undefined } | undefined,
): PeditKey {
  const { view, u32 } = from;
  const [at, offsetMask, shift] = [u32[(start >> 2) + 3]!, u32[(start >> 2) + 4]!, u32[(start >> 2) + 5]!];
  return {
    header: headers.name(extended?.htype ?? 0),
    command: commands.name(extended?.cmd ?? 0),
    mask: view.getUint32(start),
    value: view.getUint32(start + 4),
    offset: u32[(start >> 2) + 2]! | 0,
    ...(at !== 0 && { at }),
    ...(offsetMask !== 0 && { offsetMask }),
    ...(shift !== 0 && { shift }),
  };
}
