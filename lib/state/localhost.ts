// What is in force of the pod's localhost, read back from the kernel: the configuration of one backend or the other, whole, so that a former
// one can be put back.
import { openLocalhostOn } from '../kernel/localhost.js';
import { readLocalhostTables } from '../kernel/localhost-nft.js';
import type { Scope } from '../kernel/netns.js';
import { type Resource, type Value, keys } from './resource.js';
import type { State } from './snapshot.js';
import { isGone } from './tcx.js';

/** The interface of the pod by which a configuration goes, and the configuration: a LocalhostConfig, which this room does not look into. */
export interface InForce {
  readonly link: number;
  readonly config: Value;
}

/** By backend. `state` has the interfaces; a reader asks for the rest itself. */
const readers: Readonly<Record<string, (scope: Scope, state: State) => Promise<readonly InForce[]>>> = {
  ebpf: readPrograms,
  nft: readTables,
};

export async function localhostResources(scope: Scope, state: State): Promise<readonly Resource[]> {
  const found: Resource[] = [];
  for (const [backend, read] of Object.entries(readers))
    for (const { link, config } of await read(scope, state))
      found.push({ kind: 'localhost', key: keys.localhost(link), link, value: { backend, config } });
  return found;
}

/** None where nobody may ask, in a user namespace: there are none that the user could have attached. */
async function readPrograms(scope: Scope, state: State): Promise<readonly InForce[]> {
  const found: InForce[] = [];
  for (const link of state.links.keys()) {
    await using opened = await openLocalhostOn(scope, link).catch(forbiddenOrGone);
    const config = await opened?.configuration();
    if (config !== undefined) found.push({ link, config: config as unknown as Value });
  }
  return found;
}

function forbiddenOrGone(error: unknown): undefined {
  if ((error as { code?: unknown }).code !== 'EPERM' && !isGone(error)) throw error;
}

async function readTables(scope: Scope): Promise<readonly InForce[]> {
  const tables = await readLocalhostTables(scope);
  return tables.flatMap(({ link, config }) => (config === undefined ? [] : [{ link, config: config as unknown as Value }]));
}
