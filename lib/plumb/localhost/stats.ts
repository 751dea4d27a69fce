// What passed between the guests and the pod's localhost, as what carries it counts.
import { openLocalhostOn } from '../../kernel/localhost.js';
import { countLocalhostTable } from '../../kernel/localhost-nft.js';
import type { Netns } from '../../kernel/netns.js';
import type { Backend } from '../../localhost/backend.js';
import { type LocalhostCounter, localhostCounters } from '../../wire/bpf/localhost.js';
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
  if (localhost === undefined) return { counters: {}, flows: {} };
  const { backend, config } = localhost;
  const { counters, flows } = await (backend === 'ebpf' ? ofPrograms : ofTable)(netns, config.link);
  const names = new Map([[0, 'pod'], [FIRST_SLOT, FIRST_GUEST], ...guests.map(({ slot, name }) => [slot, name] as const)]); // prettier-ignore
  return { backend, counters, flows: Object.fromEntries([...flows].map(([slot, count]) => [names.get(slot) ?? `${slot}`, count])) };
}

interface Counts {
  readonly counters: PlumbingStats['counters'];
  /** By slot. */
  readonly flows: ReadonlyMap<number, number>;
}
const NOTHING: Counts = { counters: {}, flows: new Map() };

async function ofPrograms(netns: Netns, link: number): Promise<Counts> {
  await using opened = await openLocalhostOn(netns, link);
  return opened === undefined ? NOTHING : { counters: await opened.statistics(), flows: await opened.flows() };
}

/** Names are the programs'. A table has none for what is begun as it is, and nothing in it fails: these are absent. */
const uncounted: ReadonlySet<string> = new Set(['flowNew', 'failed'] satisfies LocalhostCounter[]);

async function ofTable(netns: Netns, link: number): Promise<Counts> {
  const found = await countLocalhostTable(netns, link);
  if (found === undefined) return NOTHING;
  const none = { packets: 0n, bytes: 0n };
  return {
    counters: Object.fromEntries(
      localhostCounters.filter((name) => !uncounted.has(name)).map((name) => [name, found.counters.get(name) ?? none]),
    ),
    flows: found.flows,
  };
}
