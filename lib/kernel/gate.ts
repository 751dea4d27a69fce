// Where tests make requests to the kernel fail, each one in turn. Without a test there is no gate, and nothing is asked.
import type { SystemFailure } from '../native.js';

/** What becomes of one request of a trip. */
export interface Fate {
  /** Which one, from 0. Those before it are done and answered as ever; those behind it are not sent. */
  readonly at: number;
  /**
   * 'refused': it is not done, and the answer is an error. 'lost': it is done, and its answer does not arrive. 'killed': it is not done,
   * and the process ends there, as by kill -9.
   */
  readonly how: 'refused' | 'lost' | 'killed';
  readonly errno: number;
}

/**
 * Asked before each trip, with what is in it: 'RTM_NEWLINK', 'RTM_GETROUTE', 'TUNSETIFF tap100', 'read net.ipv4.ip_forward',
 * 'write net.ipv4.ip_forward'. undefined: it goes its way.
 */
export type Gate = (requests: readonly string[]) => Fate | undefined;

export let gate: Gate | undefined;

export function installGate(installed: Gate | undefined): void {
  gate = installed;
}

/** A trip of one request. `release` gives back what a lost answer would have brought. */
export async function pass<T>(
  request: string,
  act: () => Promise<T>,
  failure: Pick<SystemFailure, 'syscall' | 'path'>,
  release: (result: T) => unknown = () => undefined,
): Promise<T> {
  const fate = gate?.([request]);
  if (fate === undefined) return act();
  if (fate.how === 'killed') return die();
  if (fate.how === 'lost') await release(await act());
  throw Object.assign(new Error(`${request}: ${fate.how}`), { ...failure, errno: fate.errno });
}

/** Nothing is run any more: no finally, no exit handler. */
export function die(): Promise<never> {
  process.kill(process.pid, 'SIGKILL');
  return new Promise(() => undefined);
}
