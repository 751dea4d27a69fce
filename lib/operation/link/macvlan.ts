import { type LinkRef, boolean, linkRef, oneOf, optional } from '../../check.js';
import { option } from '../operation.js';
import type { LinkKind } from './kind.js';

/** Of a macvlan, and of a macvtap, which has a character device too. */
export interface MacvlanOptions {
  /** The interface under it. */
  readonly link: LinkRef;
  /** Default 'vepa', the kernel's. 'passthru': the one device on `link`, with its MAC; 'bridge': several, which reach each other. */
  readonly mode?: 'private' | 'vepa' | 'bridge' | 'passthru' | 'source';
  /** 'passthru' without promiscuity of `link`. */
  readonly nopromisc?: boolean;
}

export const macvlan: LinkKind<MacvlanOptions> = {
  entries: { link: linkRef, mode: optional(oneOf('private', 'vepa', 'bridge', 'passthru', 'source')), nopromisc: optional(boolean) },
  lower: ({ link }) => link,
  info: ({ mode, nopromisc }) => ({ mode, flags: nopromisc === true ? ['nopromisc'] : undefined }),
  words: ({ mode, nopromisc }) => [...option('mode', mode), nopromisc === true ? 'nopromisc' : undefined],
};
