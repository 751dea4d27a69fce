// The pod's localhost by a table of nftables: made, made anew, and taken away by whoever finds it. Nothing but a user namespace is needed.
import * as v from 'valibot';
import { ifindex } from '../check.js';
import { keys } from '../state/resource.js';
import type { State } from '../state/snapshot.js';
import type { Value } from '../state/value.js';
import type { LocalhostConfig } from '../wire/localhost.js';
import { tableName, whyNot } from '../wire/nft/localhost.js';
import { localhostConfig } from './localhost-config.js';
import { type OperationKind, device, operation } from './operation.js';

/**
 * Makes the table netdev podtap_<link>, or makes it anew, in one step; flows stay. It sees what no filter has sent elsewhere: those of a
 * datapath must let everything through first, which `nftOperations` of lib/localhost/nft.ts sees to.
 */
export interface LocalhostNft {
  readonly op: 'localhost.nft';
  readonly config: LocalhostConfig;
}
/** No error where there is none. What others have put into the table stays. */
export interface LocalhostNftDelete {
  readonly op: 'localhost.nft.delete';
  /** The ifindex of the pod's interface, which may be gone. */
  readonly link: number;
}

export const NFT = 'nft';

export const localhostNft: OperationKind<LocalhostNft> = {
  schema: operation('localhost.nft', {
    config: v.pipe(
      localhostConfig,
      v.check(
        (config) => whyNot(config) === undefined,
        ({ input }) => `asks for what cannot be: ${whyNot(input)}`,
      ),
    ),
  }),
  links: ({ config: { link, guests } }) => [link, ...guests.map(({ tap }) => tap)],
  requests: ({ config }) => [{ by: 'nft', set: config }],
  parts: () => ['localhost', 'nft'],
  touches: ({ config }, on) => {
    on.mayChange(keys.nft(config.link));
    on.will(keys.localhost(config.link), { backend: NFT, config: config as unknown as Value });
  },
  command: ({ config: { link, guests, services } }) =>
    `# nft: table netdev ${tableName(link)} with chains on ${device(link)}, lo and ${guests.map(({ tap }) => device(tap)).join(', ')}: ${guests.length} guests, ${services.length} services`,
};

export const localhostNftDelete: OperationKind<LocalhostNftDelete> = {
  schema: operation('localhost.nft.delete', { link: ifindex }),
  links: () => [],
  requests: ({ link }) => [{ by: 'nft', without: link }],
  parts: () => ['localhost', 'nft'],
  touches: ({ link }, on) => {
    on.will(keys.nft(link), undefined);
    on.will(keys.localhost(link), undefined);
  },
  command: ({ link }) => `nft delete table netdev ${tableName(link)}`,
};

/** What a configuration needs and the table has no more, in words; `state` with the part 'nft'. Empty: all is there. */
export function lackingTable(state: State, { link, podHasAddresses, guests }: LocalhostConfig): readonly string[] {
  const { parts = {} } = (state.get(keys.nft(link)) ?? {}) as { readonly parts?: Readonly<Record<string, string>> };
  if (Object.keys(parts).length === 0) return [`the table netdev ${tableName(link)} of nftables`];
  return ['loopback', 'link', ...(podHasAddresses ? ['out'] : []), ...guests.map(({ tap }) => `tap_${tap}`)]
    .filter((chain) => parts[`chain ${chain}`] === undefined)
    .map((chain) => `the chain ${chain} of the table netdev ${tableName(link)}`);
}
