// Steps of a plumbing by which its guests reach the pod's localhost, and what is mended of that.
import { PlumbError } from '../../errors.js';
import type { Netns } from '../../kernel/netns.js';
import type { ChosenBackend } from '../../localhost/backend.js';
import { isSame } from '../../localhost/docker.js';
import type { Operation } from '../../operation/kinds.js';
import { perform } from '../../operation/run.js';
import { type Value, same } from '../../state/value.js';
import { datapathOf, faultsOf } from '../datapath/datapaths.js';
import { type LocalhostChange, backendFor, checkAlone, conflict, dockerNow, localhostFaults, localhostState, lookAt, planLocalhost, realPorts, refuse } from './localhost.js'; // prettier-ignore
import { nextHopNow } from './next-hop.js';
import type { PlumbRecord } from '../record.js';
import { remnants } from '../remnants.js';
import type { Step } from '../step.js';

/** undefined: it is so already. */
export async function localhostStep(netns: Netns, record: PlumbRecord, change: LocalhostChange): Promise<Step | undefined> {
  refuse(record);
  const chosen = await backendOf(record, change);
  const state = await localhostState(netns, chosen.backend);
  checkAlone(state, record);
  const { operations, record: changed } = await planLocalhost(netns, state, record, chosen, change);
  const { table: _, ...then } = record.localhost ?? { table: undefined };
  const before = { ...record, ...(record.localhost !== undefined && { localhost: then }) };
  if (operations.length === 0 && same(before as unknown as Value, changed as unknown as Value)) return undefined;
  return { operations, record: changed, ...checking(netns, changed, operations) };
}

/** The one that carries it already stays. */
export async function backendOf({ localhost, wiring }: PlumbRecord, { asked }: LocalhostChange): Promise<ChosenBackend> {
  if (localhost === undefined) return backendFor(asked?.backend, wiring);
  const { backend, hook, why } = localhost;
  if (asked?.backend !== undefined && asked.backend !== backend) throw conflict('the backend of localhost', backend, asked.backend);
  return { backend, why, ...(hook !== undefined && { hook }) };
}

/** Read back, of the datapath too. */
export function checking(netns: Netns, record: PlumbRecord, operations: Step['operations']): Pick<Step, 'look' | 'check'> {
  return {
    look: () => lookAt(netns, record, datapathOf(record.wiring.mode).faultParts, operations),
    check: (after) => {
      // Of a guest whose TAP was gone before, nothing is asked here.
      const [fault] = [
        ...faultsOf(record.wiring, after),
        ...localhostFaults(record, after).filter(({ code }) => code !== 'GUEST_TAP_GONE'),
      ];
      if (fault !== undefined) throw new PlumbError(`all steps were done, and yet ${fault.message}`, { code: 'ERR_PLUMB_FAILED', transient: true }); // prettier-ignore
    },
  };
}

/**
 * As it was asked for, whatever has become of it: what others took away, where Docker's resolver listens now, and which MAC the next hop has.
 * undefined: it is so already.
 */
export async function mendStep(netns: Netns, record: PlumbRecord): Promise<Step | undefined> {
  if (record.localhost === undefined) return undefined;
  const { links } = await lookAt(netns, record, []);
  // Then there is nobody to whom anything could be carried: the plumbing is to be undone.
  if (!links.has(record.wiring.tap.ifindex) || !links.has(record.wiring.link.ifindex)) return undefined;
  const left = await remnants(netns, record);
  // They are ours, and go with the plumbing anyway: another undo finds them gone.
  if (left.length > 0) await perform(netns, left);
  const anew = localhostFaults(record, await lookAt(netns, record, [])).some(({ code }) => code.startsWith('LOCALHOST_'));
  const { gateway } = record.localhost.config;
  const mac = (await nextHopNow(netns, record)) ?? gateway?.mac;
  const step = await localhostStep(netns, record, { anew, ...(gateway !== undefined && { gateway: { address: gateway.address, mac } }) });
  const state = await lookAt(netns, record, []);
  const down = (record.guests ?? []).filter(({ wiring }) => state.links.get(wiring.tap.ifindex)?.up === false);
  if (down.length === 0) return step;
  const up = down.map(({ wiring }): Operation => ({ op: 'link.set', link: wiring.tap.ifindex, change: { up: true } }));
  const operations = [...(step?.operations ?? []), ...up];
  return { operations, record: step?.record ?? record, ...checking(netns, step?.record ?? record, operations) };
}

/** Whether Docker's resolver listens elsewhere by now. */
export async function hasMoved(netns: Netns, record: PlumbRecord): Promise<boolean> {
  const now = await dockerNow(netns, record);
  if (now === undefined || (now.tcp === undefined && now.udp === undefined)) return false;
  return !isSame(now, realPorts(record.localhost!.config));
}
