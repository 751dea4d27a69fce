import { type LinkRef, linkRef, oneOf, optional } from '../../check.js';
import type { LinkKind } from './kind.js';
import { option } from '../operation.js';

export interface IpvlanOptions {
  /** The interface whose MAC it shares. */
  readonly link: LinkRef;
  /** Default 'l3', the kernel's. */
  readonly mode?: 'l2' | 'l3' | 'l3s';
}

export const ipvlan: LinkKind<IpvlanOptions> = {
  entries: { link: linkRef, mode: optional(oneOf('l2', 'l3', 'l3s')) },
  lower: ({ link }) => link,
  info: ({ mode }) => ({ mode }),
  words: ({ mode }) => option('mode', mode),
};
