// How a configuration of the pod's localhost is put back, or taken away: by backend, as state/localhost.ts reads it.
import type { Value } from '../state/value.js';
import type { LocalhostConfig } from '../wire/localhost.js';
import type { Operation } from './kinds.js';

interface Restoring {
  set(config: Value): Operation;
  /** Absent: it goes with the programs that obey it. */
  remove?(config: Value): Operation;
}

const backends: Readonly<Record<string, Restoring>> = {
  ebpf: { set: (config) => ({ op: 'localhost.configure', config: config as unknown as LocalhostConfig }) },
  nft: {
    set: (config) => ({ op: 'localhost.nft', config: config as unknown as LocalhostConfig }),
    remove: (config) => ({ op: 'localhost.nft.delete', link: (config as unknown as LocalhostConfig).link }),
  },
};

/** `is`: what is in force; `shall`: what shall be. undefined: nothing. */
export function restoreLocalhost(is: Value, shall: Value): readonly Operation[] {
  if (shall !== undefined) {
    const { backend, config } = shall as { readonly backend: string; readonly config: Value };
    const restoring = backends[backend];
    return restoring === undefined ? [] : [restoring.set(config)];
  }
  const { backend, config } = is as { readonly backend: string; readonly config: Value };
  const removal = backends[backend]?.remove?.(config);
  return removal === undefined ? [] : [removal];
}
