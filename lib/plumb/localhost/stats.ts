// What passed between the guests and the pod's localhost, as what carries it counts.
import { openLocalhostOn } from '../../kernel/localhost.js';
import type { Netns } from '../../kernel/netns.js';
import type { Backend } from '../../localhost/backend.js';
import type { Counter } from '../../wire/bpf/redirect.js';
import { FIRST_GUEST } from './guests.js';
import { FIRST_SLOT } from './localhost.js';
import type { PlumbRecord } from '../record.js';

export interface PlumbingStats {
  /** Absent: nothing is exposed, and there is one guest. */
  readonly backend?: Backend;
  /** By what became of frames. */
  readonly counters: Readonly<Record<string, Counter>>;
  /** How many flows each guest has with the world at the moment, by its name; 'pod' are the pod's own processes. */
  readonly flows: Readonly<Record<string, number>>;
}

export async function statsOf(netns: Netns, { localhost, guests = [] }: PlumbRecord): Promise<PlumbingStats> {
  if (localhost?.backend !== 'ebpf') return { ...(localhost !== undefined && { backend: localhost.backend }), counters: {}, flows: {} };
  await using opened = await openLocalhostOn(netns, localhost.config.link);
  if (opened === undefined) return { backend: 'ebpf', counters: {}, flows: {} };
  const names = new Map([[0, 'pod'], [FIRST_SLOT, FIRST_GUEST], ...guests.map(({ slot, name }) => [slot, name] as const)]); // prettier-ignore
  const flows = [...(await opened.flows())].map(([slot, count]) => [names.get(slot) ?? `${slot}`, count] as const);
  return { backend: 'ebpf', counters: await opened.statistics(), flows: Object.fromEntries(flows) };
}
