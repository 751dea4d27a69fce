// Requests to the kernel that fail, one after the other: what a transaction must survive, wherever it happens.
import { type Fate, installGate } from '../../lib/kernel/gate.js';
import { type Ended, fixture } from '../support/inside.js';

export interface Fault {
  /** Which request, from 0, of those that count. */
  readonly at: number;
  /** 'refused': not executed, an errno. 'lost': executed, and the answer does not arrive. 'killed': not executed, and the process dies. */
  readonly how: Fate['how'];
  /** Default: ENOMEM, which any request can get; of an answer that is lost ENOBUFS. */
  readonly errno?: number;
}

export interface Outcome<T> {
  readonly value?: T;
  readonly error?: unknown;
  /** Every request that counted, in order, the failed ones too; those behind them in the same trip were never sent, and are not here. */
  readonly requests: readonly string[];
  /** Those that failed; empty where the work was over before. */
  readonly hit: readonly string[];
}

const ENOMEM = 12;
const ENOBUFS = 105;

/** What counts unless told otherwise: requests that change something. */
export function changes(request: string): boolean {
  return !/^(RTM_GET|NFT_MSG_GET|read )/.test(request);
}

/**
 * Runs the work, and fails it there. Every process-wide request counts, so that nothing else may run meanwhile.
 *
 * for (let at = 0; ; at++) { ...; const { hit } = await withFaults([{ at, how }], work); ...; if (hit.length === 0) break; }
 */
export async function withFaults<T>(faults: readonly Fault[], work: () => Promise<T>, counts = changes): Promise<Outcome<T>> {
  const { requests, hit } = installFaults(faults, counts);
  try {
    return { value: await work(), requests, hit };
  } catch (error) {
    return { error, requests, hit };
  } finally {
    installGate(undefined);
  }
}

/** What the work asks of the kernel, and how often it could be failed. */
export async function requestsOf(work: () => Promise<unknown>, counts = changes): Promise<readonly string[]> {
  const { requests, ...outcome } = await withFaults([], work, counts);
  if ('error' in outcome) throw outcome.error;
  return requests;
}

/** For good; for a process that is to die of them. See `runWithFaults`. */
export function installFaults(faults: readonly Fault[], counts = changes): { readonly requests: string[]; readonly hit: string[] } {
  const requests: string[] = [];
  const hit: string[] = [];
  installGate((trip) => {
    for (const [at, request] of trip.entries()) {
      if (!counts(request)) continue;
      const fault = faults.find((one) => one.at === requests.length);
      requests.push(request);
      if (fault === undefined) continue;
      hit.push(request);
      return { at, how: fault.how, errno: fault.errno ?? (fault.how === 'lost' ? ENOBUFS : ENOMEM) };
    }
    return undefined;
  });
  return { requests, hit };
}

/** Runs a compiled fixture, which calls `installFaultsOfEnvironment` first, in a process of its own. */
export function runWithFaults(file: string, args: readonly string[], faults: readonly Fault[]): Promise<Ended> {
  return fixture(file, args, { env: { ORACLE_FAULTS: JSON.stringify(faults) } });
}

export function installFaultsOfEnvironment(): void {
  installFaults(JSON.parse(process.env.ORACLE_FAULTS ?? '[]') as Fault[]);
}
