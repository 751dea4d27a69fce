// What this kernel can, where a datapath has a choice: tried once in a process, in a namespace that is made for it and goes with it.
import { NetlinkError, PodtapError, UnsupportedError } from '../../errors.js';
import { attachTcx, loadProgram } from '../../kernel/bpf.js';
import { Netns } from '../../kernel/netns.js';
import { checkOperations, perform } from '../../operation/run.js';
import type { Operation } from '../../operation/kinds.js';
import { encodeInstructions } from '../../wire/bpf/classic.js';
import { dropProgram } from '../../wire/bpf/guard.js';
import { redirectFilter } from './filters.js';

/** 'matchall', 'clsBpf': the classifiers; 'tcx': programs without a qdisc; 'mirred': filters that redirect; 'bridge', 'macvtap': interfaces of that kind. */
export type Ability = 'matchall' | 'clsBpf' | 'tcx' | 'mirred' | 'bridge' | 'macvtap';

const LOOPBACK = 1; // ifindex

const tries: Readonly<Record<Ability, (scratch: Netns) => Promise<unknown>>> = {
  matchall: (scratch) => {
    const operations: Operation[] = [
      { op: 'qdisc.add', link: LOOPBACK, qdisc: { kind: 'ingress' } },
      { op: 'filter.add', link: LOOPBACK, filter: { parent: 'ffff:', priority: 1, kind: 'matchall' } },
    ];
    return perform(scratch, checkOperations('plumb', operations));
  },
  clsBpf: (scratch) => {
    const operations: Operation[] = [
      { op: 'qdisc.add', link: LOOPBACK, qdisc: { kind: 'ingress' } },
      { op: 'filter.add', link: LOOPBACK, filter: { parent: 'ffff:', priority: 1, kind: 'bpf', options: { directAction: true, operations: encodeInstructions(dropProgram()) } } }, // prettier-ignore
    ];
    return perform(scratch, checkOperations('plumb', operations));
  },
  mirred: (scratch) => {
    const operations: Operation[] = [
      { op: 'qdisc.add', link: LOOPBACK, qdisc: { kind: 'ingress' } },
      redirectFilter(LOOPBACK, LOOPBACK, { parent: 'ffff:', priority: 1, classifier: 'u32' }),
    ];
    return perform(scratch, checkOperations('plumb', operations));
  },
  bridge: (scratch) => perform(scratch, checkOperations('plumb', [{ op: 'link.create', kind: 'bridge', name: 'probe', options: {} }])),
  macvtap: (scratch) => {
    const operations: Operation[] = [
      { op: 'veth.create', name: 'lower', options: {}, peer: { name: 'peer', options: {} } },
      { op: 'link.create', kind: 'macvtap', name: 'probe', options: { link: 'lower', mode: 'passthru' } as object },
    ];
    return perform(scratch, checkOperations('plumb', operations.slice(0, 1))).then(() => perform(scratch, checkOperations('plumb', operations.slice(1)))); // prettier-ignore
  },
  tcx: async (scratch) => {
    const instructions = Uint8Array.of(0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x95, 0, 0, 0, 0, 0, 0, 0); // r0 = -1; exit
    await using program = await loadProgram('probe', { instructions });
    await attachTcx(scratch, { ifindex: LOOPBACK, direction: 'ingress' }, program);
  },
};

const known = new Map<Ability, boolean>();
const underWay = new Map<Ability, Promise<boolean>>();

/** Where it cannot be tried, the older way is taken, and it is tried again the next time. */
export async function can(ability: Ability): Promise<boolean> {
  const answer = known.get(ability);
  if (answer !== undefined) return answer;
  const trying = underWay.get(ability) ?? tryOut(ability).finally(() => underWay.delete(ability));
  underWay.set(ability, trying);
  return trying;
}

async function tryOut(ability: Ability): Promise<boolean> {
  try {
    await using scratch = await Netns.create();
    await tries[ability](scratch);
    known.set(ability, true);
    return true;
  } catch (error) {
    if (error instanceof UnsupportedError) known.set(ability, false);
    else if (!(error instanceof NetlinkError || error instanceof PodtapError)) throw error;
    return false;
  }
}
