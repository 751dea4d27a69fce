import { check, ip, searchDomain, text as textSchema } from '../check.js';
import { canonicalIp } from './prefix.js';

/** What a resolv.conf says to a guest. */
export interface ResolvConf {
  /** In the file's order; all of them, though glibc and musl ask the first three only. Loopback addresses are kept as they are. */
  readonly servers: readonly string[];
  readonly search: readonly string[];
  /** Lines that resolvers ignore, or that no guest should be told, and why. */
  readonly ignored: readonly { readonly line: string; readonly reason: string }[];
}

/**
 * Reads the text of a resolv.conf as glibc does: a keyword in the first column, comments from '#' or ';' in the first column, of several
 * `search` and `domain` lines the last one. `options` and `sortlist` are for the pod's own resolver, and are passed over. A mistake in a
 * line is no error, since no resolver takes it for one: the line is among `ignored`.
 *
 * resolv.conf(5); glibc, resolv/res_init.c (res_vinit_1).
 * @throws TypeError ERR_INVALID_ARG_TYPE: not a text
 * @example parseResolvConf('search svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n')
 */
export function parseResolvConf(text: string): ResolvConf {
  const servers: string[] = [];
  const ignored: { line: string; reason: string }[] = [];
  let search: string[] = [];
  for (const line of check(textSchema, text, 'parseResolvConf').split(/\r?\n/)) {
    if (line.trim() === '' || /^[#;]/.test(line)) continue;
    const [keyword = '', ...words] = line.split(/[ \t]+/);
    if (keyword === 'nameserver') {
      const found = server(words[0] ?? '');
      if (typeof found === 'string') servers.push(found);
      else ignored.push({ line, reason: found.reason });
    } else if (keyword === 'search' || keyword === 'domain') {
      const names = (keyword === 'domain' ? words.slice(0, 1) : words).filter((name) => name !== '' && name !== '.'); // '.': no search at all
      search = names.filter((name) => valid(searchDomain, name));
      const others = names.filter((name) => !search.includes(name));
      if (others.length > 0) ignored.push({ line, reason: `no domain: ${others.map((name) => JSON.stringify(name)).join(', ')}` });
    } else if (keyword !== 'options' && keyword !== 'sortlist') {
      ignored.push({ line, reason: 'no keyword of resolv.conf(5)' });
    }
  }
  return { servers, search, ignored };
}

function server(word: string): string | { reason: string } {
  if (valid(ip, word)) return canonicalIp(word);
  const [address = '', zone] = word.split('%');
  if (zone !== undefined && valid(ip, address))
    return { reason: `a link-local address of the pod's interface ${JSON.stringify(zone)}, which the guest does not have` };
  return { reason: 'no IP address' };
}

function valid(schema: Parameters<typeof check>[0], value: string): boolean {
  try {
    check(schema, value, '');
    return true;
  } catch {
    return false;
  }
}
