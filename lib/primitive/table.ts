// What the listing primitives have in common.
import { type LinkRef, family, linkRef, optional } from '../check.js';
import { findIndexes } from '../kernel/link.js';
import { dump } from '../kernel/netlink.js';
import { type Scope, attachment } from '../kernel/netns.js';
import { AF_INET, AF_INET6, AF_UNSPEC } from '../wire/constants.js';
import type { Bytes } from '../wire/bytes.js';
import type { Message } from '../wire/message.js';
import type { Family } from './scope.js';

export const filterEntries = { link: optional(linkRef), family: optional(family) };

export function familyNumber(of: Family | undefined): number {
  return of === undefined ? AF_UNSPEC : of === 'ipv4' ? AF_INET : AF_INET6;
}

/** 0 where no link is named. */
export async function indexOf(scope: Scope, link: LinkRef | undefined): Promise<number> {
  if (typeof link !== 'string') return link ?? 0;
  return (await findIndexes(scope, [link])).get(link)!;
}

export function readTable<T>(scope: Scope, request: Uint8Array, decode: (from: Bytes, message: Message) => T): Promise<T[]> {
  return dump(attachment(scope).socket, request, decode);
}
