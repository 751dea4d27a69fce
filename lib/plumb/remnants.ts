// What is left of programs of which the one that knows the others is gone: taken off, before they are attached anew.
import type { Netns } from '../kernel/netns.js';
import type { Operation } from '../operation/kinds.js';
import { lackingPrograms } from '../operation/localhost-ebpf.js';
import type { TcxProgram } from '../state/tcx.js';
import { ownName } from '../state/tc.js';
import type { Filter } from '../wire/tc.js';
import { withoutFilters } from './datapath/filters.js';
import { lookAt, inForce } from './localhost/localhost.js';
import type { PlumbRecord } from './record.js';

const OURS = /^podtap_lh_/;

export async function remnants(netns: Netns, record: PlumbRecord): Promise<readonly Operation[]> {
  const { backend, config } = record.localhost!;
  if (backend !== 'ebpf') return [];
  const state = await lookAt(netns, record, []);
  if (inForce(state, config.link) !== undefined || lackingPrograms(state, config).length === 0) return [];
  const found: Operation[] = [];
  for (const { kind, link, value, read } of state.resources.values()) {
    if (kind === 'tcx') {
      const { name, direction, id } = value as unknown as TcxProgram;
      if (OURS.test(name)) found.push({ op: 'tcx.detach', link: link!, direction, id });
    } else if (kind === 'filter' && OURS.test(ownName(read as Filter) ?? '')) found.push(...withoutFilters([read as Filter], state));
  }
  return found;
}
