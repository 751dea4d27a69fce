import { DumpInterruptedError } from '../errors.js';
import { abortSignal, array, boolean, check, integer, oneOf, optional, options } from '../check.js';
import { type WatchGroup, type WatchedObject, subscribe } from '../kernel/watch.js';
import { listAddresses } from './address.js';
import { listLinks } from './link.js';
import { listFdb, listNeighbors } from './neighbor.js';
import { listRoutes } from './route.js';
import { listRules } from './rule.js';
import type { Scope } from './scope.js';

/**
 * A change, or the loss of changes. 'snapshot': everything there is in the groups that are watched; a table that is kept is emptied
 * and filled from it.
 */
export type KernelEvent =
  | { readonly type: 'new' | 'deleted'; readonly object: WatchedObject }
  | { readonly type: 'overrun' }
  | { readonly type: 'snapshot'; readonly objects: readonly WatchedObject[] };

export interface WatchOptions {
  /** Default: all of them but 'fdb', the forwarding entries of bridges and VXLANs, which come and go with the traffic. */
  readonly groups?: readonly WatchGroup[];
  /** A snapshot first, and a fresh one after each overrun: with it, a table that is kept is never wrong for longer than that. Default false. */
  readonly resync?: boolean;
  /** Of the socket, in bytes. Default 8 MiB: 13,000 events in one burst. */
  readonly bufferSize?: number;
  readonly signal?: AbortSignal;
}

const RESYNC_PAUSE_MILLISECONDS = 10;

const defaultGroups = ['link', 'address', 'route', 'neighbor', 'rule'] as const;
const schema = options({
  groups: optional(array(oneOf(...defaultGroups, 'fdb'))),
  resync: optional(boolean),
  bufferSize: optional(integer(1, 0x7fffffff)),
  signal: optional(abortSignal),
});

const readers: Readonly<Record<WatchGroup, (scope: Scope) => Promise<readonly WatchedObject[]>>> = {
  link: (scope) => listLinks(scope),
  address: (scope) => listAddresses(scope),
  route: (scope) => listRoutes(scope, { table: 'all' }),
  neighbor: (scope) => listNeighbors(scope),
  rule: (scope) => listRules(scope),
  fdb: (scope) => listFdb(scope),
};

/**
 * Changes as they happen, until the signal aborts, which ends the iteration, or the loop is left. Too slow a reader gets an 'overrun'
 * where changes were lost, and goes on. It is subscribed when the iteration begins: with `resync`, the first snapshot says that it is. Of some changes the kernel tells nothing: the IPv4 routes that go with an interface that is
 * taken down or deleted are one.
 *
 * Like `ip monitor`. rtnetlink(7), RTNLGRP_*.
 * @example for await (const event of watch(pod, { groups: ['link'], resync: true, signal })) ...
 */
export async function* watch(scope: Scope, settings: WatchOptions = {}): AsyncGenerator<KernelEvent, void, undefined> {
  const { groups = defaultGroups, resync = false, bufferSize, signal } = check(schema, settings, 'watch');
  const subscription = await subscribe(scope, groups, { bufferSize, signal });
  const snapshot = async (): Promise<KernelEvent> => {
    for (;;) {
      try {
        return { type: 'snapshot', objects: (await Promise.all(groups.map((group) => readers[group](scope)))).flat() };
      } catch (error) {
        // What was lost was lost in a storm, which may go on: there is time until it rests.
        if (!(error instanceof DumpInterruptedError)) throw error;
        if (signal?.aborted === true) return { type: 'overrun' };
        await new Promise((resolve) => setTimeout(resolve, RESYNC_PAUSE_MILLISECONDS));
      }
    }
  };
  try {
    // What changes while it is read is told again after it, and in the end the last news of each object counts.
    if (resync) yield await snapshot();
    for await (const change of subscription.changes) {
      yield change as KernelEvent; // none of these groups tells of filters
      if (resync && change.type === 'overrun') yield await snapshot();
    }
  } finally {
    subscription.close();
  }
}
