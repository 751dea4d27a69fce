import { type LinkRef, integer, linkRef, oneOf, optional } from '../../check.js';
import { option } from '../operation.js';
import type { LinkKind } from './kind.js';

export interface VlanOptions {
  /** The interface whose tagged frames it takes. */
  readonly link: LinkRef;
  readonly id: number;
  /** Default '802.1Q'. */
  readonly protocol?: '802.1Q' | '802.1ad';
}

export const vlan: LinkKind<VlanOptions> = {
  entries: { link: linkRef, id: integer(0, 4094), protocol: optional(oneOf('802.1Q', '802.1ad')) },
  lower: ({ link }) => link,
  info: ({ id, protocol }) => ({ id, protocol }),
  words: ({ id, protocol }) => [...option('protocol', protocol), 'id', id],
};
