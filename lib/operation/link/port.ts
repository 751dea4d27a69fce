import { boolean, optional, options, u16 } from '../../check.js';
import type { LinkInfo } from '../../wire/link.js';
import { onOff, option } from '../operation.js';
import { bit } from './kind.js';

/** Of an interface under a bridge. */
export interface BridgePortOptions {
  /** Whether source addresses are learned. The kernel's default is true. */
  readonly learning?: boolean;
  /** Whether frames to unknown addresses are sent there. The kernel's default is true. */
  readonly flood?: boolean;
  /** Whether frames may leave by the port they came in by. */
  readonly hairpin?: boolean;
  /** No frames between isolated ports. Since Linux 4.18. */
  readonly isolated?: boolean;
  /** Only source addresses that are in the FDB may send. Since Linux 5.18. */
  readonly locked?: boolean;
  readonly groupFwdMask?: number;
}

export const portOptions = options({
  learning: optional(boolean),
  flood: optional(boolean),
  hairpin: optional(boolean),
  isolated: optional(boolean),
  locked: optional(boolean),
  groupFwdMask: optional(u16),
});

export function portInfo({ learning, flood, hairpin, isolated, locked, groupFwdMask }: BridgePortOptions): LinkInfo {
  return {
    mode: bit(hairpin),
    learning: bit(learning),
    unicast_flood: bit(flood),
    group_fwd_mask: groupFwdMask,
    isolated: bit(isolated),
    locked: bit(locked),
  };
}

export function portWords({
  learning,
  flood,
  hairpin,
  isolated,
  locked,
  groupFwdMask,
}: BridgePortOptions): readonly (string | undefined)[] {
  return [
    ...option('hairpin', onOff(hairpin)),
    ...option('learning', onOff(learning)),
    ...option('flood', onOff(flood)),
    ...option('isolated', onOff(isolated)),
    ...option('locked', onOff(locked)),
    ...option('group_fwd_mask', groupFwdMask),
  ];
}
