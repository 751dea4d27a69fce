// Keys of flower that came late: an older kernel passes over them, and the filter would match more than was asked for.
import { UnsupportedError } from '../errors.js';
import type { FlowerOptions } from '../wire/filter/flower.js';
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL } from '../wire/message.js';
import { type Filter, RTM_DELTFILTER, RTM_NEWTFILTER, decodeFilter, encodeFilter } from '../wire/tc.js';
import type { DoubtOfMade } from './operation.js';

/** By the first kernel that knows them: TCA_FLOWER_KEY_* of uapi/linux/pkt_cls.h. */
const since: Readonly<Record<string, string>> = {
  pppoe_sid: '5.18',
  ppp_proto: '5.18',
  num_of_vlans: '5.19',
  l2tpv3_sid: '6.1',
  l2_miss: '6.5',
  cfm: '6.5',
  spi: '6.6',
  enc_flags: '6.11',
};

/** Those that this kernel knows, as was found out. */
const known = new Set<string>();

/** A chain that no filter jumps to (the last there can be, TC_ACT_EXT_VAL_MASK): what stands there is never asked. */
const UNUSED_CHAIN = 0x0fffffff;

type Asked = Parameters<typeof encodeFilter>[2] & Pick<Filter, 'kind'>;

function keysOf({ kind, options }: Pick<Filter, 'kind' | 'options'>): object {
  return kind !== 'flower' || options === undefined || options instanceof Uint8Array ? {} : ((options as FlowerOptions).keys ?? {});
}

/** How it is found out whether the kernel knows all keys of a filter: the same is made where it does nothing. undefined: there is no doubt. */
export function lateKeys(filter: Asked): DoubtOfMade | undefined {
  const late = Object.keys(keysOf(filter)).filter((name) => Object.hasOwn(since, name) && !known.has(name));
  if (late.length === 0) return undefined;
  const { ifindex, parent, protocol, kind, options } = filter;
  const place = { ifindex, parent, protocol, kind, priority: 1, handle: '0x1', chain: UNUSED_CHAIN };
  return {
    trial: [
      encodeFilter(RTM_NEWTFILTER, NLM_F_ACK | NLM_F_ECHO | NLM_F_CREATE | NLM_F_EXCL, { ...place, options }),
      encodeFilter(RTM_DELTFILTER, NLM_F_ACK, place),
    ],
    judge: (from, message) => {
      const told = keysOf(decodeFilter(from, message));
      const wrong = late.filter((name) => !(name in told));
      if (wrong.length > 0) return passedOver(wrong);
      for (const name of late) known.add(name);
      return undefined;
    },
  };
}

function passedOver(names: readonly string[]): UnsupportedError {
  const minimumKernel = names.map((name) => since[name]!).sort((a, b) => Number(a.split('.')[0]) - Number(b.split('.')[0]) || Number(a.split('.')[1]) - Number(b.split('.')[1])).at(-1)!; // prettier-ignore
  return new UnsupportedError(
    `this kernel does not know ${names.map((name) => `'${name}'`).join(', ')} of flower (since Linux ${minimumKernel}): it would pass over that without a word, and the filter would match more`,
    { feature: `flower ${names.join(', ')}`, minimumKernel },
  );
}
