// podtap's own tables of nftables, each as one resource: what it is made of, by a digest of each part. Other tables are nobody's concern here.
import { type LocalhostTable, readLocalhostTables } from '../kernel/localhost-nft.js';
import type { Scope } from '../kernel/netns.js';
import type { Link } from '../wire/link.js';
import { type Resource, keys } from './resource.js';
import type { Value } from './value.js';

export type NftTableValue = Pick<LocalhostTable, 'parts' | 'others'>;

export async function nftResources(scope: Scope): Promise<readonly Resource[]> {
  return (await readLocalhostTables(scope)).map(({ link, parts, others }) => ({
    kind: 'nft',
    key: keys.nft(link),
    value: { parts, others } satisfies NftTableValue,
  }));
}

/**
 * What is not as podtap has left it, a line each. The chains of an interface that is gone went with it: the kernel's doing (nf_tables_netdev_event(),
 * until Linux 6.16).
 */
export function changedParts(link: number, left: NftTableValue, now: NftTableValue, links: ReadonlyMap<number, Link>): readonly string[] {
  const gone = (part: string): boolean => {
    const tap = /^chain tap_(\d+)$/.exec(part);
    return (tap !== null && !links.has(Number(tap[1]))) || (/^chain (link|out)$/.test(part) && !links.has(link));
  };
  return Object.entries(left.parts)
    .filter(([part, digest]) => now.parts[part] !== digest && !(now.parts[part] === undefined && gone(part)))
    .map(([part]) => `${part} is ${now.parts[part] === undefined ? 'gone' : 'another'}`);
}

/** What stays of it without what is podtap's: undefined where nothing does. */
export function strangers(now: NftTableValue): Value {
  return now.others.length === 0 ? undefined : { parts: {}, others: now.others };
}
