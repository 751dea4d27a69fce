import * as v from 'valibot';
import { type Schema, boolean, ifindex, integer, interfacePattern, optional, options, u32 } from '../check.js';
import { type TapOffload, tunSpec } from '../kernel/tap.js';
import { type OperationKind, operation, option, words } from './operation.js';

/** The device itself; its MAC, MTU and state are a link's (`link.set`). */
export interface TapCreate {
  readonly op: 'tap.create';
  readonly name: string;
  readonly persist: boolean;
  readonly queues: number;
  readonly vnetHdr: boolean;
  readonly offload: TapOffload;
  readonly owner?: number;
  readonly group?: number;
  readonly ifindex?: number;
}

export const offloadNeedsHeader = 'must be off without vnetHdr: true: only the vnet header tells the guest of open checksums and segments';
const MAX_QUEUES = 256; // MAX_TAP_QUEUES: include/linux/if_tap.h

/** What a TAP's opener says of it. */
export const tapShape = {
  queues: optional(integer(1, MAX_QUEUES)),
  vnetHdr: optional(boolean),
  offload: optional(
    v.pipe(
      options({ csum: optional(boolean), tso4: optional(boolean), tso6: optional(boolean), uso: optional(boolean) }),
      v.check(
        ({ csum, tso4, tso6, uso }) => csum === true || (tso4 !== true && tso6 !== true && uso !== true),
        'must have csum: true with tso4, tso6 or uso: the kernel leaves segments to a guest only together with their checksums',
      ),
    ),
  ),
};

export const tapCreate: OperationKind<TapCreate> = {
  schema: v.pipe(
    operation('tap.create', {
      ...tapShape,
      name: interfacePattern,
      persist: boolean,
      owner: optional(u32),
      group: optional(u32),
      ifindex: optional(ifindex),
    }),
    v.forward(
      v.partialCheck(
        [['offload'], ['vnetHdr']],
        ({ offload, vnetHdr }) => vnetHdr === true || Object.values(offload ?? {}).every((on) => on !== true),
        offloadNeedsHeader,
      ),
      ['offload'],
    ),
  ) as unknown as Schema<TapCreate>,
  links: () => [],
  // One that is not persistent is gone with its descriptors, so they are held.
  requests: ({ persist, owner, group, ifindex, ...shape }) => [
    {
      by: 'tun',
      spec: tunSpec(shape, {
        exclusive: true,
        persist,
        hold: !persist,
        ...(owner !== undefined && { owner }),
        ...(group !== undefined && { group }),
        ...(ifindex !== undefined && { ifindex }),
      }),
    },
  ],
  parts: () => [],
  touches: ({ name, ifindex }, on) => on.makes(ifindex!, { name, kind: 'tun' }),
  makes: ({ name, ifindex }) => [{ name, kind: 'tun', ifindex }],
  chosen: (given, choose) => ({ ...given, name: choose.name(given.name), ifindex: given.ifindex ?? choose.index() }),
  command: ({ name, persist, queues, vnetHdr, owner, group }) =>
    persist
      ? words(
          'ip',
          'tuntap',
          'add',
          'dev',
          name,
          'mode',
          'tap',
          queues > 1 ? 'multi_queue' : undefined,
          vnetHdr ? 'vnet_hdr' : undefined,
          ...option('user', owner),
          ...option('group', group),
        )
      : `# a TAP '${name}' that lives as long as it is held open`,
};
