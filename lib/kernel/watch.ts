// Changes as the kernel tells them: rtnetlink's multicast groups.
import { native } from '../native.js';
import { type Address, RTM_DELADDR, RTM_NEWADDR, decodeAddress } from '../wire/address.js';
import { Bytes } from '../wire/bytes.js';
import { AF_BRIDGE, AF_UNSPEC, NETLINK_ROUTE } from '../wire/constants.js';
import { type Link, RTM_DELLINK, RTM_NEWLINK, decodeLink } from '../wire/link.js';
import { type Message, eachMessage } from '../wire/message.js';
import { type FdbEntry, type Neighbor, RTM_DELNEIGH, RTM_NEWNEIGH, decodeFdb, decodeNeighbor } from '../wire/neighbor.js';
import { type Route, RTM_DELROUTE, RTM_NEWROUTE, decodeRoute } from '../wire/route.js';
import { type Rule, RTM_DELRULE, RTM_NEWRULE, decodeRule } from '../wire/rule.js';
import { type Filter, type Qdisc, RTM_DELQDISC, RTM_DELTFILTER, RTM_NEWQDISC, RTM_NEWTFILTER, decodeFilter, decodeQdisc } from '../wire/tc.js'; // prettier-ignore
import { type Scope, attachment } from './netns.js';
import { batches, failure } from './queue.js';
import { system } from './system.js';

export type WatchGroup = 'link' | 'address' | 'route' | 'neighbor' | 'rule' | 'fdb';
/** What can be subscribed to; of filters there is no table of a whole namespace to begin with. With them come qdiscs: of the filters that go with one nothing else is told. */
export type SubscribedGroup = WatchGroup | 'filter';
export type WatchedObject = Link | Address | Route | Neighbor | Rule | FdbEntry;

export type Change =
  | { readonly type: 'new' | 'deleted'; readonly object: WatchedObject | Filter | Qdisc }
  /** The socket's buffer was full: changes were lost. What was still in it has been dropped, as older than what is to be read now. */
  | { readonly type: 'overrun' };

/** RTNLGRP_*: uapi/linux/rtnetlink.h. Forwarding entries come in the neighbours' group. */
const groupNumbers: Readonly<Record<SubscribedGroup, readonly number[]>> = {
  link: [1],
  neighbor: [3],
  address: [5, 9],
  route: [7, 11],
  rule: [8, 19],
  fdb: [3],
  filter: [4],
};

const [EBADF, EAGAIN, ENOBUFS] = [9, 11, 105];
/** What 13,000 events in one burst need while the reader is busy; the kernel doubles and charges it as it is used. */
const BUFFER_BYTES = 8 * 1024 * 1024;

export interface Subscription {
  readonly changes: AsyncIterable<Change>;
  close(): void;
}

/** Subscribed once this resolves: whatever changes after that is told, or its loss is. */
export async function subscribe(
  scope: Scope,
  groups: readonly SubscribedGroup[],
  options: { bufferSize?: number | undefined; signal?: AbortSignal | undefined },
): Promise<Subscription> {
  const joined = [...new Set(groups.flatMap((group) => groupNumbers[group]))];
  const socket = await system(
    native().netlinkOpen(attachment(scope).netns, NETLINK_ROUTE, { groups: joined, bufferSize: options.bufferSize ?? BUFFER_BYTES }),
  );
  const read: Parameters<typeof batches>[1] = (addon, descriptor, into, ends) => addon.readNetlink(descriptor, into, ends);

  async function* changes(): AsyncGenerator<Change, void, undefined> {
    for await (const { bytes, errno } of batches([socket], read, options.signal)) {
      if (errno === ENOBUFS) {
        // The error comes before the older messages that survived it: they are read away, or they would be taken for news
        // after the caller has read the tables anew.
        drain(socket);
        yield { type: 'overrun' };
      } else if (errno !== 0) {
        throw failure(errno, 'recv');
      } else {
        yield* decodeChanges(Bytes.copy(bytes), groups);
      }
    }
  }
  return { changes: changes(), close: () => native().close(socket) };
}

/** Until nothing is there: an error on the way, such as a second ENOBUFS, has older messages behind it as well. */
function drain(socket: Parameters<typeof batches>[0][number]): void {
  const into = new Uint8Array(64 * 1024);
  const ends = new Uint32Array(64);
  for (let count = 0; count !== -EAGAIN && count !== -EBADF;) count = native().readNetlink(socket, into, ends);
}

/** The kernel's datagrams are whole messages, each a multiple of 4 bytes long, so that a batch of them reads as one. */
function decodeChanges(from: Bytes, groups: readonly SubscribedGroup[]): Change[] {
  const changes: Change[] = [];
  eachMessage(from, from.u8.length, (message) => {
    const change = decodeChange(from, message, groups);
    if (change !== undefined) changes.push(change);
  });
  return changes;
}

function decodeChange(from: Bytes, message: Message, groups: readonly SubscribedGroup[]): Change | undefined {
  // Bridges tell of their ports in messages of the same types, which are no news of the link or neighbour itself:
  // their RTM_DELLINK says that a port has left, not that the link is gone.
  const family = from.u8[message.start];
  switch (message.type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      return family === AF_UNSPEC
        ? { type: message.type === RTM_NEWLINK ? 'new' : 'deleted', object: decodeLink(from, message) }
        : undefined;
    case RTM_NEWADDR:
    case RTM_DELADDR:
      return { type: message.type === RTM_NEWADDR ? 'new' : 'deleted', object: decodeAddress(from, message) };
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      return { type: message.type === RTM_NEWROUTE ? 'new' : 'deleted', object: decodeRoute(from, message) };
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH: {
      const isFdb = family === AF_BRIDGE;
      if (!groups.includes(isFdb ? 'fdb' : 'neighbor')) return undefined;
      return {
        type: message.type === RTM_NEWNEIGH ? 'new' : 'deleted',
        object: isFdb ? decodeFdb(from, message) : decodeNeighbor(from, message),
      };
    }
    case RTM_NEWRULE:
    case RTM_DELRULE:
      return { type: message.type === RTM_NEWRULE ? 'new' : 'deleted', object: decodeRule(from, message) };
    case RTM_NEWTFILTER:
    case RTM_DELTFILTER:
      return { type: message.type === RTM_NEWTFILTER ? 'new' : 'deleted', object: decodeFilter(from, message) };
    case RTM_NEWQDISC:
    case RTM_DELQDISC:
      return { type: message.type === RTM_NEWQDISC ? 'new' : 'deleted', object: decodeQdisc(from, message) };
    default:
      return undefined;
  }
}
