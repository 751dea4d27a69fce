// Which datapath fits a pod's interface and this kernel, where that was left to podtap.
import { PlumbError } from '../../errors.js';
import type { Scope } from '../../kernel/netns.js';
import { snapshot } from '../../state/snapshot.js';
import { type Ability, can } from './ability.js';
import { type DatapathMode, datapathOf } from './datapaths.js';
import { pickLink } from '../link.js';
import type { Asked } from '../options.js';

export interface Picked {
  readonly mode: DatapathMode;
  /** In words: what speaks for it, and what against those that would have come first. */
  readonly why: string;
}

/** The best first. macvtap comes last, because a monitor can have it by its descriptor only. */
const candidates: readonly { readonly mode: DatapathMode; readonly needs: Ability; readonly good: string; readonly lacks: string }[] = [
  { mode: 'ebpf', needs: 'tcx', good: 'programs can be loaded, and leave the pod its network if the TAP dies', lacks: 'no programs can be attached by tcx here (real root, Linux 6.6)' }, // prettier-ignore
  { mode: 'redirect', needs: 'mirred', good: 'filters can redirect, and the interface keeps its addresses', lacks: 'this kernel has no filters that redirect (u32 and mirred)' }, // prettier-ignore
  { mode: 'bridge', needs: 'bridge', good: 'this kernel has bridges', lacks: 'this kernel has no bridges' },
  { mode: 'macvtap', needs: 'macvtap', good: 'this kernel has macvtaps', lacks: 'this kernel has no macvtaps' },
];

/** @throws PlumbError ERR_PLUMB_NO_DATAPATH, and as pickLink does */
export async function pickMode(scope: Scope, asked: Asked): Promise<Picked> {
  const state = await snapshot(scope, new Set(['address']));
  const link = pickLink(state, asked.link, () => undefined);
  const against: string[] = [];
  for (const { mode, needs, good, lacks } of candidates) {
    const refusal = datapathOf(mode).refusal(link);
    const why =
      refusal !== undefined
        ? `'${link.name}' ${refusal}`
        : asked.antiSpoof && mode !== 'ebpf' && !(await can('clsBpf'))
          ? 'this kernel has no classifier bpf, which would check what the guest sends (antiSpoof)'
          : mode === 'macvtap' && asked.tap.attach === 'name'
            ? 'the monitor opens the TAP by its name'
            : (await can(needs))
              ? undefined
              : lacks;
    if (why === undefined) return { mode, why: [good, ...against].join('; ') };
    against.push(`not ${mode}: ${why}`);
  }
  throw new PlumbError(`no datapath fits '${link.name}' here: ${against.join('; ')}`, { code: 'ERR_PLUMB_NO_DATAPATH' });
}
