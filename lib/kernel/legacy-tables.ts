// The tables of iptables as it was before nftables: of their rules only that there are some can be told.
import { native } from '../native.js';
import { type Scope, attachment } from './netns.js';

/**
 * 'filter', 'nat', 'mangle', 'raw', 'security': those that somebody has asked for in this namespace, by `iptables-legacy` and its kin. None
 * where the kernel has no iptables; undefined where it may not be read. Like `cat /proc/net/ip_tables_names`.
 */
export async function listLegacyTables(scope: Scope, ipv6: boolean): Promise<readonly string[] | undefined> {
  const read = native().procNetRead(attachment(scope).netns, ipv6 ? 'ip6_tables_names' : 'ip_tables_names');
  return read.then(
    (names) => names.split('\n').filter((name) => name !== ''),
    (failure: { errno?: number }) => (failure.errno === ENOENT ? [] : undefined),
  );
}
const ENOENT = 2;
