// Everything of a namespace that a pod's owner could miss, as rows that can be compared. Two views of it: what podtap's own functions
// list, and what ip(8), bridge(8), tc(8) and /proc/sys say, so that a mistake of our decoders cannot hide a difference.
import {
  type Netns,
  PodtapError,
  UnsupportedError,
  listAddresses,
  listFdb,
  listFilters,
  listLinks,
  listNeighbors,
  listQdiscs,
  listRoutes,
  listRules,
} from 'podtap';
import { queryTcx } from '../../lib/kernel/bpf.js';
import { namedInet6Conf, namedInetConf } from '../../lib/wire/link.js';
import { run } from '../support/oracle.js';
import { settle } from './pod.js';

export interface Dump {
  /** Interfaces by their ifindex. In rows an interface is written {100}, so that one that is renamed is still the same. */
  readonly names: Readonly<Record<string, string>>;
  /** In the order of the dumps. */
  readonly rows: readonly Row[];
}

export interface Row {
  /** 'podtap address', 'ip address', 'sysctl', ... */
  readonly table: string;
  /** What it is. There can be several with the same: routes to one destination with one metric. */
  readonly id: string;
  /** Rows of a table with the same `order` stand in an order that means something. */
  readonly order?: string;
  /** What it is like: { mtu: 1500, 'inet.rp_filter': 1 }. Of those whose name ends in `Until` the values are seconds of CLOCK_MONOTONIC. */
  readonly fields: Readonly<Record<string, Value>>;
}
type Value = string | number | boolean | null;

// ------------------------------------------------------------------ what does not count

/** Fields that no undo could put back, or that change by themselves. `fields` is matched against the whole name. */
const ignored: readonly { readonly table: RegExp; readonly fields: RegExp; readonly why: string }[] = [
  { table: /link$/, fields: /statistics.*|carrierChanges/, why: 'counters' },
  { table: /link$/, fields: /inet6\.flags/, why: 'how far the kernel has got with soliciting routers (IF_RS_SENT, IF_RA_*)' },
  { table: /link$/, fields: /.*_timer|.*mcast_n_groups/, why: 'of bridges and their ports: they run, and groups are joined' },
  { table: /neighbor|fdb/, fields: /times.*|probes|used|updated|confirmed|refcnt/, why: 'timestamps and counters' },
  {
    table: /qdisc|filter/,
    fields: /.*statistics.*|xstats|.*times.*|.*stats\..*|.*(installed|last_used|used)|options\.(counters\..*|hits)/,
    why: 'counters, timestamps; u32 and matchall count where the kernel was built for it',
  },
  {
    table: /filter$/,
    fields: /parent/,
    why: 'ingress has two names: the kernel tells that by which the last filter came, for all of them; the row says which side it is',
  },
];
// addr_assign_type, which becomes 'set' when a MAC is set and never anything else again, is in sysfs alone: neither view has it.
// Nor has any view cstamp and tstamp of addresses, multicast joins, PMTU exceptions and open connections.

/** Neighbours that the kernel has learned come and go with the traffic; those that somebody has set stay. */
function isSet(state: string, flags: readonly string[]): boolean {
  return state === 'permanent' || flags.includes('extern_learn') || flags.includes('managed');
}
/** Likewise forwarding entries: 'permanent' and 'noarp' (static) do not age. */
function isSetEntry(state: string, flags: readonly string[]): boolean {
  return state === 'permanent' || state === 'noarp' || state === 'static' || flags.includes('extern_learn');
}
/** Made by the kernel for privacy (RFC 8981), with random bits: it ignores IFA_F_TEMPORARY in a request. */
function isTemporary(family: string, flags: readonly string[]): boolean {
  return family === 'ipv6' && (flags.includes('secondary') || flags.includes('temporary'));
}
/** That the kernel has made an address from a secret (RFC 7217): it ignores that in a request. */
const STABLE = 'stable-privacy';
/**
 * ff00::/8 and fe80::/64 are there once for each interface; what is taken away and put back comes last. A look-up of such an address
 * names its interface, so that the order says nothing.
 */
function ordered(dst: string): boolean {
  return !/^f(f|e8)[0-9a-f]*:/.test(dst);
}

/** Seconds by which a deadline may differ: the kernel rounds what is left to live, and the clock is read a moment earlier. */
const ROUNDING = 3;

// ------------------------------------------------------------------ the two views

/** Reads everything, when the namespace rests (see `settle`). */
export async function dump(netns: Netns): Promise<Dump> {
  await settle(netns);
  const names = Object.fromEntries((await listLinks(netns)).map(({ ifindex, name }) => [String(ifindex), name]));
  const rows = [...(await podtapRows(netns)), ...(await toolRows(netns, names))];
  return { names, rows };
}

function monotonic(): number {
  return Number(process.hrtime.bigint() / 1_000_000n) / 1000;
}

async function podtapRows(netns: Netns): Promise<Row[]> {
  const rows: Row[] = [];
  const add = (table: string, id: string, value: object, order?: string): void => void rows.push(row(`podtap ${table}`, id, value, order));

  const links = await listLinks(netns);
  for (const { ifindex, inet, inet6, ...link } of links) {
    add('link', `{${ifindex}}`, {
      ...link,
      ...(inet && { inet: namedInetConf(inet.conf) }),
      ...(inet6 && { inet6: { ...inet6, conf: undefined, ...namedInet6Conf(inet6.conf) } }),
    });
  }
  const now = monotonic();
  const until = (seconds: number | undefined): number | undefined => (seconds === undefined || seconds === 0 ? seconds : now + seconds);
  for (const { ifindex, validLifetime, preferredLifetime, flags, ...rest } of await listAddresses(netns)) {
    const address = { ...rest, flags: flags?.filter((flag) => flag !== STABLE) };
    const family = address.address.includes(':') ? 'ipv6' : 'ipv4';
    if (isTemporary(family, flags ?? [])) continue;
    const id = `{${ifindex}} ${address.address}${address.peer === undefined ? '' : ` peer ${address.peer}`}`;
    const deadlines = { validUntil: until(validLifetime), preferredUntil: until(preferredLifetime) };
    add('address', id, { ...address, ...deadlines }, `{${ifindex}} ${family}`);
  }
  for (const { expires, ...route } of await listRoutes(netns, { table: 'all' })) {
    const { table, dst, metric = 0, tos = 0, from } = route;
    const id = `${dst}${from === undefined ? '' : ` from ${from}`} table ${table} metric ${metric}${tos === 0 ? '' : ` tos ${tos}`}`;
    add('route', id, { ...route, expiresUntil: until(expires) }, ordered(dst) ? id : undefined);
  }
  for (const rule of await listRules(netns)) {
    const id = `${rule.family} ${rule.priority}`;
    add('rule', id, rule, id);
  }
  for (const { ifindex, ...neighbor } of await listNeighbors(netns))
    if (isSet(neighbor.state, neighbor.flags ?? [])) add('neighbor', `{${ifindex}} ${neighbor.address}`, neighbor);
  for (const { ifindex, ...neighbor } of await listNeighbors(netns, { proxies: true })) add('proxy', `{${ifindex}} ${neighbor.address}`, neighbor); // prettier-ignore
  for (const { ifindex, ...entry } of await listFdb(netns))
    if (isSetEntry(entry.state ?? '', entry.flags ?? [])) add('fdb', `{${ifindex}} ${entry.mac} vlan ${entry.vlan ?? 0}${entry.master === undefined ? ' self' : ''}`, entry); // prettier-ignore
  for (const { ifindex, ...qdisc } of await listQdiscs(netns)) {
    add('qdisc', `{${ifindex}} ${qdisc.parent}`, qdisc);
    const parents = qdisc.kind === 'clsact' ? ['ingress', 'egress'] : qdisc.kind === 'ingress' ? ['ingress'] : [];
    for (const parent of parents) {
      for (const { ifindex: _, ...filter } of await listFilters(netns, ifindex, parent)) {
        const { chain = 0, priority, protocol, handle = '' } = filter;
        add('filter', `{${ifindex}} ${parent} chain ${chain} pref ${priority} ${protocol} ${handle}`, filter, `{${ifindex}} ${parent}`);
      }
    }
  }
  // Whoever may not ask for programs has none.
  try {
    for (const { ifindex } of links) {
      const { programs } = await queryTcx(netns, { ifindex, direction: 'ingress' });
      if (programs.length > 0) add('tcx', `{${ifindex}} ingress`, { programs: programs.map(({ id }) => id) });
    }
  } catch (error) {
    if (!(error instanceof PodtapError || error instanceof UnsupportedError)) throw error;
  }
  return rows;
}

// One process for all of it. Each section is what a program prints, behind a line '== name'. Not every kernel has VLANs of bridges.
const reading = `
section() { echo "== $1"; shift; "$@"; }
vlans() { bridge -j -d vlan show > /dev/null 2>&1 && bridge -j -d vlan show || true; }
section link ip -j -d link show
section address ip -j -d address show
section neighbor ip -j -d neighbour show nud all
section proxy ip -j -d neighbour show proxy
section nexthop ip -j -d nexthop show
section route-ipv4 ip -4 -d -o route show table all
section route-ipv6 ip -6 -d -o route show table all
section rule-ipv4 ip -4 -d rule show
section rule-ipv6 ip -6 -d rule show
section port bridge -j -d link show
section vlan vlans
section fdb bridge -j -d fdb show
section qdisc tc -j -d qdisc show
section sysctl grep -rs '' /proc/sys/net/ipv4 /proc/sys/net/ipv6 || true
`;

type Json = Readonly<Record<string, unknown>>;

async function toolRows(netns: Netns, names: Dump['names']): Promise<Row[]> {
  const index = new Map(Object.entries(names).map(([number, name]) => [name, `{${number}}`]));
  const link = (name: unknown): string => index.get(String(name)) ?? String(name);
  const now = monotonic();
  const sections = await read(netns, reading);
  const rows: Row[] = [];
  const add = (table: string, id: string, value: object, order?: string): void => void rows.push(row(table, id, value, order));
  const json = (name: string): Json[] => (JSON.parse(sections.get(name)?.trim() || '[]') as Json[]).filter((one) => Object.keys(one).length > 0); // prettier-ignore
  // With -o ip(8) goes on in a second line, indented, to tell of a nexthop object.
  const lines = (name: string): string[] =>
    (sections.get(name) ?? '')
      .split(/\n(?=\S)/)
      .map((line) => line.trim())
      .filter((line) => line !== '');
  /** Names of interfaces, where they stand for these and not for themselves (as in rules). */
  const unnamed = (value: Json): Json =>
    Object.fromEntries(
      Object.entries(value).map(([key, one]) => [key, ['dev', 'link', 'master', 'to_dev'].includes(key) ? link(one) : one]),
    );

  for (const { ifindex, ...one } of json('link')) add('ip link', `{${String(ifindex)}}`, unnamed(one));
  for (const { ifindex, addr_info } of json('address')) {
    for (const one of (addr_info ?? []) as Json[]) {
      const { family, local, address, prefixlen, valid_life_time, preferred_life_time, [STABLE]: _, ...rest } = one;
      const flags = Object.keys(rest).filter((key) => rest[key] === true);
      if (isTemporary(family === 'inet6' ? 'ipv6' : 'ipv4', flags)) continue;
      const until = (seconds: unknown): number | undefined =>
        seconds === 0xffffffff ? undefined : seconds === 0 ? 0 : now + Number(seconds);
      const id = `{${String(ifindex)}} ${String(local)}/${String(prefixlen)}${address === undefined ? '' : ` peer ${address as string}`}`;
      const deadlines = { validUntil: until(valid_life_time), preferredUntil: until(preferred_life_time) };
      add('ip address', id, { ...rest, ...deadlines }, `{${String(ifindex)}} ${String(family)}`);
    }
  }
  for (const family of ['ipv4', 'ipv6']) {
    for (const line of lines(`route-${family}`)) {
      // 'unicast 10.20.0.0/16 via 10.1.0.1 dev eth0 table 100 proto boot scope global metric 5': the text tells more than the JSON does.
      const [, type, dst = ''] = /^(\S+) (\S+)/.exec(line)!;
      const word = (name: string): string | undefined => new RegExp(`\\s${name} (\\S+)`).exec(line)?.[1];
      const id = `${family} ${dst} table ${word('table') ?? 'main'} metric ${word('metric') ?? 0}${word('tos') === undefined ? '' : ` tos ${word('tos')}`}`;
      const text = line.replace(/\bdev (\S+)/g, (_, name: string) => `dev ${link(name)}`).replace(/ expires \S+/, '').replace(/\s+/g, ' ').trim(); // prettier-ignore
      const expires = word('expires');
      add('ip route', id, { type, text, expiresUntil: expires === undefined ? undefined : now + Number.parseInt(expires) }, ordered(dst) ? id : undefined); // prettier-ignore
    }
    for (const line of lines(`rule-${family}`)) {
      const [priority = '', text] = line.split(/:\t/);
      add('ip rule', `${family} ${priority}`, { text: text!.trim() }, `${family} ${priority}`);
    }
  }
  for (const { dev, dst, ...one } of json('neighbor')) {
    const state = String((one.state as string[] | undefined)?.[0] ?? '').toLowerCase();
    if (isSet(state, Object.keys(one))) add('ip neighbor', `${link(dev)} ${String(dst)}`, one);
  }
  for (const { dev, dst, ...one } of json('proxy')) add('ip proxy', `${link(dev)} ${String(dst)}`, one);
  for (const one of json('nexthop')) add('ip nexthop', String(one.id), unnamed(one));
  for (const { ifname, ifindex: _, ...one } of json('port')) add('bridge link', link(ifname), unnamed(one));
  for (const { ifname, ...one } of json('vlan')) add('bridge vlan', link(ifname), one);
  for (const { ifname, mac, ...one } of json('fdb')) {
    const { state = '', flags = [], vlan = 0 } = one as { state?: string; flags?: string[]; vlan?: number };
    if (isSetEntry(state, flags)) add('bridge fdb', `${link(ifname)} ${String(mac)} vlan ${vlan}${flags.includes('self') ? ' self' : ''}`, unnamed(one)); // prettier-ignore
  }
  const hooks: string[] = [];
  for (const { dev, parent, root, ...one } of json('qdisc')) {
    add('tc qdisc', `${link(dev)} ${root === true ? 'root' : String(parent)}`, one);
    if (one.kind === 'ingress' || one.kind === 'clsact') hooks.push(`${String(dev)} ingress`);
    if (one.kind === 'clsact') hooks.push(`${String(dev)} egress`);
  }
  if (hooks.length > 0) {
    const filters = await read(netns, hooks.map((hook) => `echo '== ${hook}'; tc -j -d filter show dev ${hook}\n`).join('')); // prettier-ignore
    for (const [hook, text] of filters) {
      const [dev = '', side = ''] = hook.split(' ');
      for (const one of JSON.parse(text.trim() || '[]') as Json[]) {
        const { pref, protocol, chain, options } = one as { pref: number; protocol: string; chain?: number; options?: Json };
        const id = `${link(dev)} ${side} chain ${chain ?? 0} pref ${pref} ${protocol} ${(options?.fh as string | undefined) ?? ''}`;
        add('tc filter', id, one, `${link(dev)} ${side}`);
      }
    }
  }
  for (const line of lines('sysctl')) {
    const [, path = '', value = ''] = /^\/proc\/sys\/([^:]*):(.*)$/.exec(line)!;
    const id = path.replace(/^(net\/ipv[46]\/(?:conf|neigh))\/([^/]+)/, (_, table: string, name: string) => `${table}/${link(name)}`).replaceAll('/', '.'); // prettier-ignore
    add('sysctl', id, { value: value.trim() });
  }
  return rows;
}

async function read(netns: Netns, script: string): Promise<Map<string, string>> {
  const { status, stdout, stderr } = await run(netns, 'sh', ['-e'], script);
  if (status !== 0 || stderr !== '') throw new Error(`${stderr.trim()} (${status})`);
  const sections = stdout.split(/^== (.*)\n/m);
  return new Map(sections.flatMap((text, at) => (at % 2 === 0 ? [] : [[text, sections[at + 1] ?? ''] as const])));
}

function row(table: string, id: string, value: object, order: string | undefined): Row {
  const fields: Record<string, Value> = {};
  flatten(value, '', fields);
  for (const { table: tables, fields: names } of ignored) {
    if (!tables.test(table)) continue;
    for (const name of Object.keys(fields)) if (new RegExp(`^(${names.source})$`).test(name)) delete fields[name];
  }
  return { table, id, ...(order !== undefined && { order }), fields };
}

/** { inet: { rp_filter: 1 }, flags: ['UP'] } to { 'inet.rp_filter': 1, flags: 'UP' }. What is undefined is left out. */
function flatten(value: unknown, name: string, into: Record<string, Value>): void {
  if (value === undefined) return;
  if (value instanceof Uint8Array) into[name] = Buffer.from(value).toString('hex');
  else if (Array.isArray(value) && value.every((one) => typeof one !== 'object')) into[name] = value.join(' ');
  else if (typeof value === 'object' && value !== null) {
    for (const [key, one] of Object.entries(value)) flatten(one, name === '' ? key : `${name}.${key}`, into);
  } else into[name] = typeof value === 'bigint' ? String(value) : (value as Value);
}

// ------------------------------------------------------------------ comparing

/**
 * What is another, a line each; empty where there is no difference:
 *   podtap address eth0 10.1.0.3/24: missing
 *   ip link eth0: mtu 1500 -> 1400
 *   podtap address eth0 ipv6, order: fd00:1::3/64, fd00:1::2/64 -> fd00:1::2/64, fd00:1::3/64
 */
export function compare(before: Dump, after: Dump): readonly string[] {
  const found: string[] = [];
  const names = { ...after.names, ...before.names };
  const tell = (text: string): void => void found.push(text.replace(/\{(\d+)\}/g, (token, index: string) => names[index] ?? token));
  const old = byId(before.rows);
  const young = byId(after.rows);
  for (const key of new Set([...old.keys(), ...young.keys()])) {
    const { gone, come } = unlike(old.get(key) ?? [], young.get(key) ?? []);
    for (let at = 0; at < Math.max(gone.length, come.length); at++) {
      const [was, is] = [gone[at], come[at]];
      if (was === undefined || is === undefined) tell(`${key}: ${is === undefined ? 'missing' : 'added'} ${describe((was ?? is)!)}`.trim());
      else for (const name of fieldsOf(was, is)) if (!sameValue(name, was.fields[name], is.fields[name])) tell(`${key}: ${name} ${String(was.fields[name] ?? '-')} -> ${String(is.fields[name] ?? '-')}`); // prettier-ignore
    }
  }
  for (const [key, { was, is }] of orders(before.rows, after.rows)) {
    const text = (rows: readonly Row[]): string => rows.map((one) => (new Set(rows.map(({ id }) => id)).size === 1 ? describe(one) : one.id.replace(/^\{\d+\} /, ''))).join(', '); // prettier-ignore
    if (was.some((one, at) => !sameRow(one, is[at]!))) tell(`${key}, order: ${text(was)} -> ${text(is)}`);
  }
  return found;
}

function byId(rows: readonly Row[]): Map<string, Row[]> {
  const found = new Map<string, Row[]>();
  for (const one of rows) {
    const key = `${one.table} ${one.id}`;
    if (!found.has(key)) found.set(key, []);
    found.get(key)!.push(one);
  }
  return found;
}

/** Of rows with one id: those of the one side that have no like on the other. */
function unlike(old: readonly Row[], young: readonly Row[]): { gone: Row[]; come: Row[] } {
  const come = [...young];
  const gone = old.filter((one) => {
    const at = come.findIndex((other) => sameRow(one, other));
    if (at >= 0) come.splice(at, 1);
    return at < 0;
  });
  return { gone, come };
}

/** The rows that are on both sides, in the order of each. */
function orders(before: readonly Row[], after: readonly Row[]): Map<string, { was: Row[]; is: Row[] }> {
  const found = new Map<string, { was: Row[]; is: Row[] }>();
  const group = ({ table, order }: Row): { was: Row[]; is: Row[] } => {
    const key = `${table} ${order}`;
    if (!found.has(key)) found.set(key, { was: [], is: [] });
    return found.get(key)!;
  };
  for (const one of before) if (one.order !== undefined) group(one).was.push(one);
  for (const one of after) if (one.order !== undefined) group(one).is.push(one);
  for (const both of found.values()) {
    const { gone, come } = unlike(both.was, both.is);
    both.was = both.was.filter((one) => !gone.includes(one));
    both.is = both.is.filter((one) => !come.includes(one));
  }
  return found;
}

function sameRow(a: Row, b: Row): boolean {
  return a.id === b.id && fieldsOf(a, b).every((name) => sameValue(name, a.fields[name], b.fields[name]));
}
function fieldsOf(a: Row, b: Row): string[] {
  return [...new Set([...Object.keys(a.fields), ...Object.keys(b.fields)])];
}
function sameValue(name: string, a: Value | undefined, b: Value | undefined): boolean {
  if (name.endsWith('Until') && typeof a === 'number' && typeof b === 'number' && a !== 0 && b !== 0) return Math.abs(a - b) <= ROUNDING;
  return a === b;
}

/** Of a row that has no counterpart, what it is like, as far as that is short. */
function describe({ fields }: Row): string {
  if (typeof fields.text === 'string') return `(${fields.text})`;
  const told = ['via', 'dev', 'src', 'type', 'kind', 'mac', 'value'].filter((name) => fields[name] !== undefined);
  return told.length === 0 ? '' : `(${told.map((name) => `${name} ${String(fields[name])}`).join(', ')})`;
}

// ------------------------------------------------------------------ what shall be there after strangers were

/**
 * What an undo shall lead to, where strangers changed `applied` to `tampered`: the pod as it was before, plus their changes. What they
 * left as we had made it becomes again what it was; what they touched stays as they left it. A link is that for each of its fields. A
 * link that we made goes, whatever they set about it, and with it what they hung on it.
 */
export function expected(before: Dump, applied: Dump, tampered: Dump): Dump {
  const [old, ours, theirs] = [byId(before.rows), byId(applied.rows), byId(tampered.rows)];
  const made = applied.rows.filter(({ table, id }) => table === 'podtap link' && !old.has(`${table} ${id}`)).map(({ id }) => id);
  const rows: Row[] = [];
  const stranger = ({ order: _, ...rest }: Row): Row => rest; // where theirs stands among ours is not for us to say
  for (const key of new Set([...before.rows, ...tampered.rows].map(({ table, id }) => `${table} ${id}`))) {
    const [b, a, c] = [old.get(key) ?? [], ours.get(key) ?? [], theirs.get(key) ?? []];
    const [was, is] = [b[0], c[0]];
    // We had left nothing there: what is there now is theirs, also in the place of what was.
    if (a.length === 0 && c.length > 0) rows.push(...c.map(stranger));
    else if (was !== undefined && is?.table.endsWith('link')) rows.push(merged(was, a[0]!, is));
    else if (a.length === 1 && c.length === 1 && !sameRow(a[0]!, is!)) rows.push(stranger(is!));
    // They took it away, whatever we had made of it.
    else if (b.length === 1 && a.length === 1 && c.length === 0) continue;
    else {
      const { gone, come } = unlike(a, c);
      rows.push(...unlike(b, gone).gone, ...come.map(stranger));
    }
  }
  return { names: { ...tampered.names, ...before.names }, rows: rows.filter((one) => !made.some((link) => hangsOn(one, link))) };
}

/** `link` is {100}. */
function hangsOn({ id, fields }: Row, link: string): boolean {
  // As a port of it, or as an entry of its forwarding table.
  const master = [String(fields.master), `{${String(fields.master)}}`].includes(link);
  return id.includes(link) || master || `{${String(fields.dev)}}` === link || String(fields.text).includes(`dev ${link} `);
}

/** Field by field: theirs where they changed it, else what was. */
function merged(before: Row, applied: Row, tampered: Row): Row {
  const fields: Record<string, Value> = {};
  for (const name of new Set([...fieldsOf(before, applied), ...Object.keys(tampered.fields)])) {
    const same = sameValue(name, applied.fields[name], tampered.fields[name]);
    const value = same ? before.fields[name] : tampered.fields[name];
    if (value !== undefined) fields[name] = value;
  }
  return { ...before, fields };
}
