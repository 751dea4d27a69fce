// Operations into requests, and requests to the kernel: those by netlink that follow one another in one trip.
import { type LinkRef, check } from '../check.js';
import { NetlinkError, PodtapError } from '../errors.js';
import { detachTcx } from '../kernel/bpf.js';
import { findIndexes } from '../kernel/link.js';
import { deleteLocalhostTable, setLocalhostTable } from '../kernel/localhost-nft.js';
import { attachLocalhost, configureLocalhost } from '../kernel/localhost.js';
import { request, requestAndDump } from '../kernel/netlink.js';
import { type Netns, type Scope, attachment } from '../kernel/netns.js';
import { attachRedirect } from '../kernel/redirect.js';
import { writeSysctl } from '../kernel/sysctl.js';
import { type OpenedTun, openTun } from '../kernel/tap.js';
import type { Reading, State } from '../state/snapshot.js';
import { type Operation, kindOf } from './kinds.js';
import { lacking } from './lacking.js';
import type { Doubt, Request } from './operation.js';

/** What came of an operation beyond its having been done. */
export interface Outcome {
  readonly tun?: OpenedTun;
}

/** Who carries out operations in a way of its own: a transaction. */
export interface Runner {
  readonly netns: Netns;
  [performs](operations: readonly Operation[], signal?: AbortSignal): Promise<readonly Outcome[]>;
}
export const performs = Symbol('podtap.performs');

/**
 * Checks all operations before the first system call, looks up the interfaces that they name, and carries them out in order. The
 * first that fails ends it, and what was done before it stays.
 * @throws TypeError ERR_INVALID_ARG_*, told as a mistake of `where`; NetlinkError; UnsupportedError; PodtapError ENODEV: no such interface
 */
export async function run(
  scope: Netns | Runner,
  where: string,
  operations: readonly Operation[],
  signal?: AbortSignal,
): Promise<readonly Outcome[]> {
  const checked = checkOperations(where, operations);
  attachment(scope);
  return performs in scope ? scope[performs](checked, signal) : (await perform(scope, checked, { signal })).outcomes;
}

export function checkOperations(where: string, operations: readonly Operation[]): readonly Operation[] {
  return operations.map((operation) => check(kindOf(operation).schema, operation, where));
}

/** Which of the operations failed: kept beside the error that `perform` throws. */
export const failedAt = new WeakMap<object, number>();

export interface Settings {
  readonly signal?: AbortSignal | undefined;
  /** Interfaces that need not be looked up. */
  readonly known?: (link: string) => number | undefined;
  /** Read in the same trip as the last requests. */
  readonly reading?: Reading | undefined;
  /** Called once the first request is under way: what else there is to do while the kernel works. */
  readonly meanwhile?: (() => void) | undefined;
}

export interface Performed {
  readonly outcomes: readonly Outcome[];
  /** What `reading` found; undefined where it changed while it was read. */
  readonly after: State | undefined;
}

/** As `run`, of operations that were checked. */
export async function perform(netns: Scope, checked: readonly Operation[], settings: Settings = {}): Promise<Performed> {
  const { signal, known, reading, meanwhile } = settings;
  const { socket } = attachment(netns);
  const indexes = await lookUp(netns, checked, known);
  const find = (link: LinkRef): number => (typeof link === 'number' ? link : indexes.get(link)!);
  const outcomes: Outcome[] = checked.map(() => ({}));
  const batch: { readonly at: number; readonly message: Uint8Array }[] = [];
  const failed = (error: unknown, at: number): unknown => {
    if (typeof error === 'object' && error !== null) failedAt.set(error, at);
    return error;
  };
  /** A request that is no message, and is under way while the messages behind it are made. */
  let pending: Promise<void> | undefined;
  let idle = meanwhile;
  const underWay = <T>(work: Promise<T>): Promise<T> => {
    idle?.();
    idle = undefined;
    return work;
  };
  const arrive = async (): Promise<void> => {
    const work = pending;
    pending = undefined;
    await work;
  };
  const flush = async (behind: readonly Uint8Array[] = []): Promise<Awaited<ReturnType<typeof requestAndDump>> | undefined> => {
    await arrive();
    const trip = batch.splice(0);
    if (trip.length + behind.length === 0) return undefined;
    const messages = trip.map(({ message }) => message);
    try {
      return await underWay(requestAndDump(socket, messages, behind, signal));
    } catch (error) {
      const of = error instanceof NetlinkError ? trip[error.index] : undefined;
      if (of === undefined) throw error;
      throw failed(lacking(checked[of.at]!, error as NetlinkError) ?? error, of.at);
    }
  };
  const start = (at: number, one: Exclude<Request, { by: 'netlink' }>): void => {
    const work = underWay(direct(netns, one)).then(
      (outcome) => void (outcomes[at] = outcome),
      (error: unknown) => {
        throw failed(error, at);
      },
    );
    work.catch(() => undefined); // it is told by `arrive`
    pending = work;
  };
  for (const [at, operation] of checked.entries()) {
    for (const one of kindOf(operation).requests(operation, find)) {
      if (one.by === 'netlink' && one.doubt === undefined) batch.push({ at, message: one.message });
      else if (one.by === 'netlink') {
        await flush();
        await underWay(inDoubt(netns, one.message, one.doubt!, signal)).catch((error: unknown) => {
          throw failed(error, at);
        });
      } else {
        await flush();
        signal?.throwIfAborted();
        start(at, one);
      }
    }
  }
  const last = await flush(reading?.requests);
  return { outcomes, after: last === undefined || last.interrupted ? undefined : reading?.read(last.dumped) };
}

/** In trips of its own, so that nothing is done before it is known what would come of it. */
async function inDoubt(netns: Scope, message: Uint8Array, doubt: Doubt, signal: AbortSignal | undefined): Promise<void> {
  const { socket } = attachment(netns);
  const [told] = await request(socket, 'dump' in doubt ? [doubt.dump] : doubt.trial, signal);
  const { from, messages } = told!;
  if ('dump' in doubt) {
    if (!messages.some((one) => doubt.isMeant(from, one)))
      throw new PodtapError('ENOENT: there is none that has all of what was asked for', { code: 'ENOENT' });
  } else {
    for (const one of messages) {
      const wrong = doubt.judge(from, one);
      if (wrong !== undefined) throw wrong;
    }
  }
  await request(socket, [message], signal);
}

async function direct(netns: Scope, one: Exclude<Request, { by: 'netlink' }>): Promise<Outcome> {
  if (one.by === 'tun') return { tun: await openTun(netns, one.spec) };
  if (one.by === 'sysctl') await writeSysctl(netns, one.key, one.value);
  else if (one.by === 'nft') {
    if ('set' in one) await setLocalhostTable(netns, one.set);
    else await deleteLocalhostTable(netns, one.without);
  } else if ('attach' in one) await attachRedirect(netns, one.attach);
  else if ('localhost' in one) await attachLocalhost(netns, one.localhost);
  else if ('told' in one) await configureLocalhost(netns, one.told);
  else await detachTcx(netns, { ifindex: one.detach.link, direction: one.detach.direction }, one.detach.id);
  return {};
}

async function lookUp(
  netns: Scope,
  operations: readonly Operation[],
  known?: (link: string) => number | undefined,
): Promise<ReadonlyMap<string, number>> {
  const indexes = new Map<string, number>();
  const wanted = new Set<string>();
  for (const operation of operations) {
    const kind = kindOf(operation);
    for (const link of kind.links(operation)) {
      if (typeof link !== 'string' || indexes.has(link)) continue;
      const index = known?.(link);
      if (index === undefined) wanted.add(link);
      else indexes.set(link, index);
    }
    // What is made here can be named by those behind it, if its index was chosen.
    for (const { name, ifindex } of kind.makes?.(operation) ?? []) if (ifindex !== undefined) indexes.set(name, ifindex);
  }
  if (wanted.size === 0) return indexes;
  return new Map([...indexes, ...(await findIndexes(netns, [...wanted]))]);
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
