import type { Netns } from '../kernel/netns.js';
import { perform, checkOperations } from '../operation/run.js';
import { snapshot } from '../state/snapshot.js';
import { acquire, acquireHere, namespaceLock } from '../transaction/lock.js';
import { PlumbError } from '../errors.js';
import { reread } from '../transaction/recover.js';
import type { Undoing } from './record.js';
import type { Fault } from './datapath/datapath.js';
import { type Wiring, faultParts, faultsOf } from './datapath/datapaths.js';

/**
 * Sets again what was set, which the images of the plumbing cover already: undoing it later leads to where it led before. What was
 * deleted is not made anew, since it would not be what the monitor has open.
 */
export async function repairWiring(netns: Netns, wiring: Wiring, undoing: Undoing): Promise<readonly Fault[]> {
  const name = namespaceLock(netns.id);
  await using _ = 'journal' in undoing ? await acquire(undoing.journal.directory, name) : await acquireHere(name);
  if ('journal' in undoing && (await reread(undoing.journal, undoing.entry)) === undefined)
    throw new PlumbError('this plumbing is undone, and there is nothing to repair', { code: 'ERR_PLUMB_CONFLICT' });
  const look = async (): Promise<readonly Fault[]> => faultsOf(wiring, await snapshot(netns, faultParts(wiring)));
  let faults = await look();
  // What a port loses with its bridge, such as its entry in the bridge's table, is seen only when it has it again.
  for (let round = 1; round <= ROUNDS && faults.some(({ repair }) => repair.length > 0); round++) {
    await perform(netns, checkOperations('repair', faults.flatMap(({ repair }) => repair))); // prettier-ignore
    faults = await look();
  }
  return faults;
}

const ROUNDS = 3;
