// Operations into requests, and requests to the kernel: those by netlink that follow one another in one trip.
import { type LinkRef, check } from '../check.js';
import { NetlinkError, PodtapError } from '../errors.js';
import { findIndexes } from '../kernel/link.js';
import { request } from '../kernel/netlink.js';
import { type Netns, attachment } from '../kernel/netns.js';
import { writeSysctl } from '../kernel/sysctl.js';
import { type OpenedTun, openTun } from '../kernel/tap.js';
import { type Operation, kindOf } from './kinds.js';
import { lacking } from './lacking.js';
import type { Request } from './operation.js';

/** What came of an operation beyond its having been done. */
export interface Outcome {
  readonly tun?: OpenedTun;
}

/**
 * Checks all operations before the first system call, looks up the interfaces that they name, and carries them out in order. The
 * first that fails ends it, and what was done before it stays.
 * @throws TypeError ERR_INVALID_ARG_*, told as a mistake of `where`; NetlinkError; UnsupportedError; PodtapError ENODEV: no such interface
 */
export async function run(
  netns: Netns,
  where: string,
  operations: readonly Operation[],
  signal?: AbortSignal,
): Promise<readonly Outcome[]> {
  return runChecked(
    netns,
    operations.map((operation) => check(kindOf(operation).schema, operation, where)),
    signal,
  );
}

/** As `run`, of operations that were made of what has been checked: by the thousand, checking takes longer than doing. */
export async function runChecked(netns: Netns, checked: readonly Operation[], signal?: AbortSignal): Promise<readonly Outcome[]> {
  const { socket } = attachment(netns);
  const indexes = await lookUp(netns, checked);
  const find = (link: LinkRef): number => (typeof link === 'number' ? link : indexes.get(link)!);
  const outcomes: Outcome[] = [];
  const batch: { readonly of: Operation; readonly message: Uint8Array }[] = [];
  const flush = async (): Promise<void> => {
    const trip = batch.splice(0);
    try {
      await request(
        socket,
        trip.map(({ message }) => message),
        signal,
      );
    } catch (error) {
      throw (error instanceof NetlinkError && lacking(trip[error.index]!.of, error)) || error;
    }
  };
  for (const operation of checked) {
    let outcome: Outcome = {};
    for (const one of kindOf(operation).requests(operation, find)) {
      if (one.by === 'netlink') batch.push({ of: operation, message: one.message });
      else {
        await flush();
        signal?.throwIfAborted();
        outcome = await direct(netns, one);
      }
    }
    outcomes.push(outcome);
  }
  await flush();
  return outcomes;
}

async function direct(netns: Netns, one: Exclude<Request, { by: 'netlink' }>): Promise<Outcome> {
  if (one.by === 'tun') return { tun: await openTun(netns, one.spec) };
  await writeSysctl(netns, one.key, one.value);
  return {};
}

async function lookUp(netns: Netns, operations: readonly Operation[]): Promise<ReadonlyMap<string, number>> {
  const names = new Set(operations.flatMap((operation) => kindOf(operation).links(operation)).filter((link) => typeof link === 'string'));
  if (names.size === 0) return new Map();
  return findIndexes(netns, [...names]);
}

/** Whether an error says that what was to be deleted, or to be asked about, is not there. */
export function isAbsent(error: unknown): boolean {
  return (error instanceof NetlinkError || error instanceof PodtapError) && absent.has(error.code);
}
const absent = new Set(['ENODEV', 'ENOENT', 'ESRCH', 'EADDRNOTAVAIL']);

/** false where there was nothing to delete; `also`: a further code by which the kernel says so. */
export async function deleted(work: Promise<unknown>, also?: string): Promise<boolean> {
  try {
    await work;
    return true;
  } catch (error) {
    if (isAbsent(error) || (error instanceof NetlinkError && error.code === also)) return false;
    throw error;
  }
}

/**
 * Puts back what was done before an error, and throws it. If that fails as well, neither error hides the other.
 * @throws the error; AggregateError of both
 */
export async function putBack(error: unknown, work: () => Promise<unknown>): Promise<never> {
  try {
    await work();
  } catch (second) {
    const told = (one: unknown): string => (one instanceof Error ? one.message : String(one));
    throw new AggregateError([error, second], `${told(error)}; and what was done before could not be put back: ${told(second)}`);
  }
  throw error;
}
