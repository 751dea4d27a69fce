// What carries the pod's localhost to its guests here: by what checkHost finds, or as it was asked for.
import { UnsupportedError } from '../errors.js';

export type Backend = 'ebpf' | 'nft';

export interface ChosenBackend {
  readonly backend: Backend;
  /** Of programs: where they are attached. */
  readonly hook?: 'tcx' | 'filter';
  /** In words: what speaks for it, and what against the other. */
  readonly why: string;
}

interface Candidate {
  readonly backend: Backend;
  /** undefined: it can be had. */
  readonly lacks: string | undefined;
  readonly good: string;
  readonly hook?: 'tcx' | 'filter';
}

function candidatesOf(features: Readonly<Record<string, boolean>>): readonly Candidate[] {
  const { bpf = false, tcx = false, clsact = false, clsBpf = false, nftables = false } = features;
  const filters = clsact && clsBpf;
  const noBpf = 'this kernel or user may not load eBPF programs: they need CAP_BPF and CAP_NET_ADMIN in the first user namespace';
  return [
    {
      backend: 'ebpf',
      hook: tcx ? 'tcx' : 'filter',
      lacks: !bpf ? noBpf : tcx || filters ? undefined : 'there is nothing that eBPF programs can be attached to: neither tcx (Linux 6.6) nor clsact with cls_bpf', // prettier-ignore
      good: `eBPF programs can be loaded, and attached by ${tcx ? 'tcx' : 'filters of cls_bpf'}`,
    },
    {
      backend: 'nft',
      lacks: nftables
        ? undefined
        : 'this kernel has no nftables with tables of devices (CONFIG_NF_TABLES_NETDEV), or they may not be changed',
      good: 'nftables can forward between devices',
    },
  ];
}

/**
 * `features`: of `checkHost`. The programs first: they find a free port where two guests use the same one at once, and know the pod's own sockets.
 * @throws UnsupportedError: the one that is wanted cannot be had, or none
 */
export function chooseBackend(features: Readonly<Record<string, boolean>>, wanted?: Backend): ChosenBackend {
  const against: string[] = [];
  for (const { backend, lacks, good, hook } of candidatesOf(features)) {
    if (wanted !== undefined && backend !== wanted) continue;
    if (lacks === undefined) return { backend, ...(hook !== undefined && { hook }), why: [wanted === undefined ? good : `asked for; ${good}`, ...against].join('; ') }; // prettier-ignore
    against.push(`not ${backend}: ${lacks}`);
  }
  throw new UnsupportedError(`nothing here carries the pod's localhost to a guest: ${against.join('; ')}`, { feature: 'localhost', config: 'CONFIG_NET_CLS_BPF, CONFIG_NF_TABLES_NETDEV' }); // prettier-ignore
}
