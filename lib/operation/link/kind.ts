import type * as v from 'valibot';
import type { LinkRef } from '../../check.js';
import type { LinkInfo } from '../../wire/link.js';
import type { FindLink } from '../operation.js';

/** What a kind of link has of its own, beyond what every link has. */
export interface LinkKind<O> {
  readonly entries: v.ObjectEntries;
  /** The interface under it (IFLA_LINK). */
  lower?(options: O): LinkRef;
  /** Further interfaces that the options name. */
  links?(options: O): readonly (LinkRef | undefined)[];
  info(options: O, find: FindLink): LinkInfo;
  /** Behind `type KIND`, as ip-link(8) has it. */
  words(options: O): readonly (string | number | undefined)[];
}

/** 0 and 1, as most switches are sent. */
export function bit(value: boolean | undefined): number | undefined {
  return value === undefined ? undefined : Number(value);
}
