// What strangers do to a pod while a transaction has changed it, and what must be seen of it afterwards.
import fc from 'fast-check';
import { run } from '../support/oracle.js';
import { type Dump, compare, dump } from './dump.js';
import type { Built, Pod } from './pod.js';

/** Plain JSON; `pick` chooses among what there is to choose from. */
export interface Tampering {
  readonly what: keyof typeof acts;
  readonly pick: number;
}

export interface Tampered {
  /** What they did, as they typed it. What was not possible (any more) is not here. */
  readonly did: readonly string[];
  /** The pod as they found it and as they left it: see `expected`. */
  readonly before: Dump;
  readonly after: Dump;
  /** The differences that they made, in the words of `compare`: what a transaction that comes across them has to tell of. */
  readonly seen: readonly string[];
}

interface Act {
  readonly command: string;
  /** What at least must be among the differences. */
  readonly shows: RegExp;
}

type Make = (pod: Pod, pick: number, ours: readonly string[]) => Act | undefined;

const choose = <T>(from: readonly T[], pick: number): T | undefined => from[pick % Math.max(1, from.length)];
const quoted = (text: string): string => text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');
/** Lines of the pod with the interface that they belong to. */
const linesOf = (pod: Pod, key: 'addresses' | 'neighbors' | 'proxies'): { dev: string; line: string }[] =>
  [pod.eth0, pod.eth1].flatMap((one, index) => (one?.[key] ?? []).map((line) => ({ dev: `eth${index}`, line })));
const ipOf = (line: string): string => (line.startsWith('-6 ') ? 'ip -6' : 'ip -4');
const bare = (line: string): string => line.replace(/^-6 /, '');

// Strangers use what no pod of pod.ts has: 10.77, fd77, table 77, priorities around 77, names in 77. None of them takes an address
// that the pod has: whether it was theirs or the pod's could not be told afterwards. None takes an interface down either, which would
// take more from the pod than any undo could know of.
export const acts = {
  addAddress: (_, pick) => choose([
    { command: 'ip address add 10.77.0.7/24 dev eth0', shows: /address eth0 10\.77\.0\.7\/24: added/ },
    { command: 'ip address add fd77::7/64 dev eth0 nodad', shows: /address eth0 fd77::7\/64: added/ },
  ], pick), // prettier-ignore
  addRoute: (_, pick) => choose([
    { command: 'ip route add 10.77.1.0/24 dev eth0 scope link', shows: /route 10\.77\.1\.0\/24 table 254 .*: added/ },
    { command: 'ip route add blackhole 10.77.2.0/24 table 77', shows: /route 10\.77\.2\.0\/24 table 77 .*: added/ },
    { command: 'ip -6 route add unreachable fd77:1::/64 metric 77', shows: /route fd77:1::\/64 table 254 metric 77: added/ },
  ], pick), // prettier-ignore
  addRule: () => ({ command: 'ip rule add fwmark 0x77 lookup 77 pref 77', shows: /rule ipv4 77: added/ }),
  addNeighbor: (_, pick) => choose([
    { command: 'ip neighbour add 10.77.0.9 lladdr 02:00:00:00:77:09 dev eth0 nud permanent', shows: /neighbor eth0 10\.77\.0\.9: added/ },
    { command: 'ip neighbour add proxy fd77::9 dev eth0', shows: /proxy eth0 fd77::9: added/ },
  ], pick), // prettier-ignore
  addFilter: ({ eth0 }) => ({
    command: `${eth0.traffic.length === 0 ? 'tc qdisc add dev eth0 clsact; ' : ''}tc filter add dev eth0 ingress protocol ip pref 77 u32 match ip dst 10.77.0.7/32 flowid 1:7`,
    shows: /filter eth0 ingress chain 0 pref 77 .*: added/,
  }),
  setSysctl: (_, pick) => choose([
    { command: 'echo 3 > /proc/sys/net/ipv4/conf/eth0/arp_ignore', shows: /sysctl net\.ipv4\.conf\.eth0\.arp_ignore: value \d -> 3/ },
    { command: 'echo 77 > /proc/sys/net/ipv6/conf/eth0/hop_limit', shows: /sysctl net\.ipv6\.conf\.eth0\.hop_limit: value \d+ -> 77/ },
    { command: 'echo 177 > /proc/sys/net/ipv4/neigh/eth0/gc_stale_time', shows: /sysctl net\.ipv4\.neigh\.eth0\.gc_stale_time: value \d+ -> 177/ },
  ], pick), // prettier-ignore
  setMtu: (_, pick) => ({ command: `ip link set eth0 mtu ${1300 + (pick % 7)}`, shows: /link eth0: mtu \d+ -> 13/ }),
  setAlias: () => ({ command: "ip link set eth0 alias 'mine, 77'", shows: /link eth0: alias .* -> mine, 77/ }),
  setQueue: () => ({ command: 'ip link set eth0 txqueuelen 770', shows: /link eth0: txQueueLength \d+ -> 770/ }),
  rename: () => ({ command: 'ip link set eth0 name was77', shows: /link eth0: name eth0 -> was77/ }),
  enslave: () => ({
    command: 'ip link add br77 type bridge; ip link set eth0 master br77 || { ip link del br77; exit 1; }',
    shows: /link eth0: master \S+ -> \d+/,
  }),
  deleteAddress: (pod, pick) => {
    const found = choose(linesOf(pod, 'addresses'), pick);
    if (found === undefined) return undefined;
    const [, own, peer, length] = /^([^/ ]+)(?: peer ([^/]+))?\/(\d+)/.exec(found.line)!;
    const address = peer === undefined ? `${own}/${length}` : `${own} peer ${peer}/${length}`;
    return { command: `ip address del ${address} dev ${found.dev}`, shows: new RegExp(`address ${found.dev} ${own}/\\d+.*: missing`) };
  },
  deleteRoute: ({ routes }, pick) => {
    const line = choose(routes.filter((one) => !one.includes('default')), pick); // prettier-ignore
    if (line === undefined) return undefined;
    // ip(8) finds none by an end that is not the same any more.
    return { command: `${ipOf(line)} route del ${bare(line).replace(/ expires \S+/, '')}`, shows: /route .*: (missing|text|type|via|dev)/ };
  },
  deleteRule: ({ rules }, pick) => {
    const line = choose(rules, pick);
    return line === undefined ? undefined : { command: `${ipOf(line)} rule del ${bare(line)}`, shows: /rule ipv[46] \d+: / };
  },
  deleteNeighbor: (pod, pick) => {
    const found = choose(linesOf(pod, 'neighbors'), pick);
    if (found === undefined) return undefined;
    const [address = ''] = found.line.split(' ');
    return {
      command: `ip neighbour del ${address} dev ${found.dev}`,
      shows: new RegExp(`neighbor ${found.dev} ${quoted(address)}: missing`),
    };
  },
  deleteProxy: (pod, pick) => {
    const found = choose(linesOf(pod, 'proxies'), pick);
    if (found === undefined) return undefined;
    return { command: `ip neighbour del proxy ${found.line} dev ${found.dev}`, shows: new RegExp(`proxy ${found.dev} ${quoted(found.line)}: missing`) }; // prettier-ignore
  },
  /** A TAP or a bridge that the transaction has made. */
  deleteOurs: (_, pick, ours) => {
    const name = choose(ours, pick);
    return name === undefined ? undefined : { command: `ip link del ${name}`, shows: new RegExp(`link ${name}: missing`) };
  },
} satisfies Record<string, Make>;

/** `among`: what they may do. */
export function tamperings(among = Object.keys(acts) as readonly Tampering['what'][]): fc.Arbitrary<readonly Tampering[]> {
  const one = fc.record({ what: fc.constantFrom(...among), pick: fc.nat(99) });
  return fc.uniqueArray(one, { selector: ({ what }) => what, minLength: 1, maxLength: 3 });
}

/**
 * Lets strangers at the pod, one after the other. `ours` are the interfaces that a transaction has made in it. Throws where what one
 * of them did does not show in a dump: then the oracle is blind.
 */
export async function tamper(
  { netns, pod }: Pick<Built, 'netns' | 'pod'>,
  todo: readonly Tampering[],
  ours: readonly string[] = [],
): Promise<Tampered> {
  const before = await dump(netns);
  const did: string[] = [];
  let after = before;
  // A new name is given last: the other commands are written with the old one.
  const inOrder = [...todo].sort((a, b) => Number(a.what === 'rename') - Number(b.what === 'rename'));
  for (const { what, pick } of inOrder) {
    const act = acts[what](pod, pick, ours);
    if (act === undefined) continue;
    const { status } = await run(netns, 'sh', ['-e'], act.command);
    const now = await dump(netns);
    const made = compare(after, now);
    after = now;
    if (status !== 0) {
      if (made.length > 0) throw new Error(`${act.command} failed, and changed: ${made.join('; ')}`);
      continue;
    }
    if (!made.some((line) => act.shows.test(line))) throw new Error(`${act.command} does not show (${act.shows.source}) in: ${made.join('; ')}`); // prettier-ignore
    did.push(act.command);
  }
  return { did, before, after, seen: compare(before, after) };
}
