// What is in force of the pod's localhost, read back from the kernel: the configuration of one backend or the other, whole, so that a former
// one can be put back.
import { openLocalhostOn } from '../kernel/localhost.js';
import type { Scope } from '../kernel/netns.js';
import { type Resource, type Value, keys } from './resource.js';
import type { State } from './snapshot.js';

/** The interface of the pod by which a configuration goes, and the configuration: a LocalhostConfig, which this room does not look into. */
export interface InForce {
  readonly link: number;
  readonly config: Value;
}

/** By backend. `state` has the interfaces; a reader asks for the rest itself. */
const readers: Readonly<Record<string, (scope: Scope, state: State) => Promise<readonly InForce[]>>> = {
  ebpf: readPrograms,
};

export async function localhostResources(scope: Scope, state: State): Promise<readonly Resource[]> {
  const found: Resource[] = [];
  for (const [backend, read] of Object.entries(readers))
    for (const { link, config } of await read(scope, state))
      found.push({ kind: 'localhost', key: keys.localhost(link), link, value: { backend, config } });
  return found;
}

/** In a user namespace nobody may ask for programs, and nobody can have attached one. */
async function readPrograms(scope: Scope, state: State): Promise<readonly InForce[]> {
  const found: InForce[] = [];
  for (const link of state.links.keys()) {
    await using opened = await openLocalhostOn(scope, link).catch(notAllowed);
    const config = await opened?.configuration();
    if (config !== undefined) found.push({ link, config: config as unknown as Value });
  }
  return found;
}

function notAllowed(error: unknown): undefined {
  if ((error as { code?: unknown }).code !== 'EPERM') throw error;
}
