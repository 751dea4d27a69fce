// Pods of many kinds: as values (plain JSON, drawn by fast-check, so that a failure shrinks and is replayed), and in namespaces.
import fc from 'fast-check';
import { Netns, listAddresses, listLinks, listRoutes } from 'podtap';
import { namedInet6Conf } from '../../lib/wire/link.js';
import { run } from '../support/oracle.js';
import { requires } from '../support/requires.js';

/** What is written in lines is written as for ip(8): a pod reads like the commands that make it, and `script` prints them. */
export interface Pod {
  /** Goes to a node, whose end is v0. Always there, always up. */
  readonly eth0: Interface;
  /** Goes to the same node, by v1. */
  readonly eth1: Interface | null;
  /** After `ip nexthop add`. */
  readonly nexthops: readonly string[];
  /** After `ip route append`, of IPv6 with '-6 ' in front. */
  readonly routes: readonly string[];
  /** After `ip rule add`, likewise. */
  readonly rules: readonly string[];
  /** What somebody else has in the pod: br7 with the port w7 (a veth), the TAP t7. */
  readonly others: readonly ('bridge' | 'tap')[];
}

export interface Interface {
  readonly mac: string;
  readonly mtu: number;
  readonly txQueueLength: number;
  readonly group: number;
  readonly alias: string | null;
  readonly altname: string | null;
  readonly allMulticast: boolean;
  readonly promiscuous: boolean;
  /** 'off': disable_ipv6 is 1, and there is nothing of IPv6 on it. ('random' is left out: such a pod is no other time the same.) */
  readonly ipv6: 'eui64' | 'none' | 'stable_secret' | 'off';
  /** 'ipv4.conf.rp_filter': 2 is net.ipv4.conf.eth0.rp_filter = 2. */
  readonly sysctls: Readonly<Record<string, number>>;
  /** After `ip address add`, without the `dev`. The node has .1 or ::1 of each subnet. */
  readonly addresses: readonly string[];
  /** After `ip neigh add`, without the `dev`. */
  readonly neighbors: readonly string[];
  readonly proxies: readonly string[];
  /** After `tc qdisc add` and `tc filter add`, each with `dev`. */
  readonly traffic: readonly string[];
}

// ------------------------------------------------------------------ drawing one

// Odd choices are rare, so that a pod of average size has some of them and not all.
const seldom = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | null> => fc.option(arbitrary, { freq: 2 });
const pick = <T>(from: readonly T[], number: number): T | undefined => from[number % Math.max(1, from.length)];
type Drawn<A> = A extends fc.Arbitrary<infer T> ? T : never;
const words = (...parts: readonly (string | false | null | undefined)[]): string => parts.filter((part) => Boolean(part)).join(' ');

const lifetimes = ['valid_lft 7200 preferred_lft 3600', 'valid_lft forever preferred_lft 5000', 'valid_lft 9000 preferred_lft 0'];
const addressWords = fc.record({
  label: fc.boolean(),
  metric: seldom(fc.integer({ min: 1, max: 900 })),
  noprefixroute: seldom(fc.constant(true)),
  lifetime: seldom(fc.constantFrom(...lifetimes)),
  flag: seldom(fc.constantFrom('home', 'mngtmpaddr')),
});

/** By the number of the interface and of the address in the subnet; 'gateway' is the node's address there. */
const subnets = {
  net24: { wide: false, address: (n: number, i: number) => `10.${n}.0.${2 + i}/24`, gateway: (n: number) => `10.${n}.0.1/24` },
  net16: { wide: false, address: (n: number, i: number) => `10.${n}.100.${2 + i}/16`, gateway: (n: number) => `10.${n}.100.1/16` },
  net25: { wide: false, address: (n: number, i: number) => `10.${n}.200.${130 + i}/25`, gateway: (n: number) => `10.${n}.200.129/25` },
  host32: { wide: false, address: (n: number, i: number) => `10.${n}.7.${7 + i}/32`, gateway: undefined },
  peer32: { wide: false, address: (n: number, i: number) => `10.${n}.8.${2 + 2 * i} peer 10.${n}.8.${1 + 2 * i}/32`, gateway: (n: number) => `10.${n}.8.1/32` }, // prettier-ignore
  net64: { wide: true, address: (n: number, i: number) => `fd00:${n}::${2 + i}/64`, gateway: (n: number) => `fd00:${n}::1/64` },
  other64: { wide: true, address: (n: number, i: number) => `fd00:${n}:1::${2 + i}/64`, gateway: (n: number) => `fd00:${n}:1::1/64` },
  host128: { wide: true, address: (n: number, i: number) => `fd00:${n}:7::${7 + i}/128`, gateway: undefined },
  peer128: { wide: true, address: (n: number, i: number) => `fd00:${n}:8::${2 + 2 * i} peer fd00:${n}:8::${1 + 2 * i}/128`, gateway: (n: number) => `fd00:${n}:8::1/128` }, // prettier-ignore
  local: { wide: true, address: (_: number, i: number) => `fe80::${5 + i}/64`, gateway: undefined },
} as const;
type SubnetName = keyof typeof subnets;

const subnet = fc.record({
  kind: fc.constantFrom<SubnetName[]>('net24', 'net24', 'net64', 'net64', ...(Object.keys(subnets) as SubnetName[])),
  // The kernel wants the same scope of all addresses of a subnet.
  scope: fc.constantFrom(null, null, null, 'link', 'host', 'site'),
  addresses: fc.array(addressWords, { minLength: 1, maxLength: 3 }),
});

const sysctls = {
  'ipv4.conf.accept_local': [1],
  'ipv4.conf.arp_accept': [1],
  'ipv4.conf.arp_announce': [1, 2],
  'ipv4.conf.arp_ignore': [1, 2, 8],
  'ipv4.conf.arp_notify': [1],
  'ipv4.conf.forwarding': [1],
  'ipv4.conf.proxy_arp': [1],
  'ipv4.conf.route_localnet': [1],
  'ipv4.conf.rp_filter': [1, 2],
  'ipv4.neigh.base_reachable_time_ms': [15_000],
  'ipv4.neigh.gc_stale_time': [90],
  'ipv4.neigh.ucast_solicit': [5],
  'ipv6.conf.accept_dad': [0, 2],
  'ipv6.conf.accept_ra': [0, 2],
  'ipv6.conf.dad_transmits': [0, 3],
  'ipv6.conf.disable_policy': [1],
  'ipv6.conf.forwarding': [1],
  'ipv6.conf.hop_limit': [33, 99],
  'ipv6.conf.keep_addr_on_down': [1],
  'ipv6.conf.mtu': [1280, 1340],
  'ipv6.conf.ndisc_notify': [1],
  'ipv6.conf.optimistic_dad': [1],
  'ipv6.conf.proxy_ndp': [1],
  'ipv6.neigh.retrans_time_ms': [1700],
  'ipv6.neigh.mcast_solicit': [7],
} as const;
const sysctl = fc
  .constantFrom(...(Object.entries(sysctls) as [string, readonly number[]][]))
  .chain(([key, values]) => fc.constantFrom(...values).map((value): readonly [string, number] => [key, value]));

const rawNeighbor = fc.record({ wide: fc.boolean(), host: fc.constantFrom(1, 50, 51, 254), mac: fc.integer({ min: 16, max: 99 }), router: fc.boolean() }); // prettier-ignore
const filters = {
  ingress: ['protocol ip pref 10 u32 match ip protocol 1 0xff flowid 1:1', 'protocol all pref 49152 u32 match u32 0x7 0xff at 8 action mirred egress mirror dev lo'], // prettier-ignore
  egress: ['protocol ipv6 pref 7 u32 match ip6 dst fd99::/64 flowid 1:2'],
} as const;
const rawTraffic = fc.record({ hook: fc.constantFrom('ingress', 'clsact'), ingress: fc.subarray([...filters.ingress]), egress: fc.subarray([...filters.egress]) }); // prettier-ignore

const rawInterface = fc.record({
  mac: fc.integer({ min: 0x10, max: 0xff }),
  mtu: fc.constantFrom(1500, 1500, 1400, 1450, 9000),
  txQueueLength: fc.constantFrom(1000, 1000, 0, 77),
  group: fc.constantFrom(0, 0, 5),
  alias: seldom(fc.constant('the pod of somebody')),
  altname: seldom(fc.constant(true)),
  allMulticast: fc.boolean(),
  promiscuous: seldom(fc.constant(true)),
  ipv6: fc.constantFrom<Interface['ipv6'][]>('eui64', 'eui64', 'eui64', 'none', 'stable_secret', 'off'),
  promoteSecondaries: fc.boolean(),
  sysctls: fc.uniqueArray(sysctl, { selector: ([key]) => key, maxLength: 5 }),
  subnets: fc.uniqueArray(subnet, { selector: ({ kind }) => kind, maxLength: 4 }),
  neighbors: fc.uniqueArray(rawNeighbor, { selector: ({ wide, host }) => `${wide} ${host}`, maxLength: 3 }),
  proxies: fc.uniqueArray(fc.record({ wide: fc.boolean(), host: fc.constantFrom(98, 99) }), { selector: ({ wide, host }) => `${wide} ${host}`, maxLength: 2 }), // prettier-ignore
  traffic: seldom(rawTraffic),
});

type RawInterface = Drawn<typeof rawInterface>;

const rawRoute = fc.record({
  wide: fc.boolean(),
  kind: fc.constantFrom('via', 'via', 'dev', 'dev', 'multipath', 'reject', 'nhid'),
  dst: fc.nat(4),
  table: fc.constantFrom(null, null, null, 100, 1000),
  metric: fc.constantFrom(null, null, 5, 10),
  dev: fc.boolean(),
  via: fc.nat(7),
  src: fc.option(fc.nat(7), { freq: 1 }),
  reject: fc.constantFrom('blackhole', 'unreachable', 'prohibit', 'throw'),
  metrics: seldom(fc.constantFrom('mtu 1400', 'mtu lock 1300 advmss 1200', 'initcwnd 10 quickack 1', 'hoplimit 9')),
  tos: seldom(fc.constant('tos 0x10')),
  realms: seldom(fc.constant('realms 3/4')),
  protocol: seldom(fc.constantFrom('proto static', 'proto dhcp', 'proto 77')),
  expires: seldom(fc.constant('expires 6000')),
});
const destinations = {
  4: ['10.20.0.0/16', '10.20.1.0/24', '10.20.1.7', '10.21.0.0/24', 'default'],
  6: ['fd20::/32', 'fd20:1::/48', 'fd20:1::7', 'fd21::/64', 'default'],
} as const;

const rawRule = fc.record({
  wide: fc.boolean(),
  selector: fc.constantFrom('iif', 'oif', 'from', 'to', 'mark', 'port', 'suppress'),
  dev: fc.boolean(),
  address: fc.nat(7),
  action: fc.constantFrom('lookup 100', 'lookup 1000', 'lookup main', 'prohibit', 'blackhole'),
  priority: fc.integer({ min: 1000, max: 1004 }),
  not: seldom(fc.constant('not')),
});

const rawPod = (hasBridge: boolean, hasTap: boolean) =>
  fc.record({
    eth0: rawInterface,
    eth1: fc.option(rawInterface, { freq: 3 }),
    defaults: fc.record({ ipv4: fc.constantFrom('none', 'gateway', 'onlink', 'link'), ipv6: fc.constantFrom('none', 'gateway', 'local') }),
    nexthops: fc.record({ ipv4: fc.boolean(), ipv6: fc.boolean() }),
    routes: fc.array(rawRoute, { maxLength: 8 }),
    rules: fc.array(rawRule, { maxLength: 4 }),
    others: fc.subarray<Pod['others'][number]>([...(hasBridge ? ['bridge' as const] : []), ...(hasTap ? ['tap' as const] : [])]),
  });

/** Any pod that the kernel of this machine accepts. */
export function pods(): fc.Arbitrary<Pod> {
  const hasFilters = requires('clsact', 'u32') === false;
  return rawPod(requires('bridge') === false, requires('tun') === false).map((raw): Pod => {
    const eth0 = toInterface('eth0', raw.eth0, hasFilters);
    const eth1 = raw.eth1 === null ? null : toInterface('eth1', raw.eth1, hasFilters);
    const ends = [planOf('eth0', raw.eth0), ...(raw.eth1 === null ? [] : [planOf('eth1', raw.eth1)])];
    const [gateway] = ends[0]!.gateways[4];
    const [gateway6] = ends[0]!.gateways[6];
    const nexthops = [
      ...(raw.nexthops.ipv4 ? [`id 1 via ${gateway}`] : []),
      ...(raw.nexthops.ipv6 && gateway6 !== undefined ? [`id 2 via ${gateway6}`] : []),
    ];
    const routes = raw.routes.map((route) => toRoute(route, ends, nexthops.map((line) => line.slice(0, 4)))); // prettier-ignore
    return {
      eth0,
      eth1,
      nexthops,
      routes: unlike([...defaultRoutes(raw.defaults, ends[0]!), ...routes.filter((route) => route !== undefined)]),
      // Whether one says 'not' makes no difference to the kernel's rule_exists().
      rules: unlike(raw.rules.map((rule) => toRule(rule, ends)).map((line) => ({ line, key: line.replace('not ', '') }))),
      others: raw.others,
    };
  });
}

/** Without those that the kernel takes for the same thing. */
function unlike(lines: readonly Line[]): string[] {
  return [...new Map(lines.map(({ line, key }) => [key, line])).values()];
}
interface Line {
  readonly line: string;
  readonly key: string;
}

function numberOf(name: string): number {
  return name === 'eth0' ? 1 : 2;
}

/** Of the node's end. */
function nodeMac(n: number): string {
  return `02:00:00:00:0${n}:fe`;
}

function usable({ ipv6, subnets: all }: RawInterface): readonly RawInterface['subnets'][number][] {
  return all.filter(({ kind }) => ipv6 !== 'off' || !subnets[kind].wide);
}

function toInterface(name: string, raw: RawInterface, hasFilters: boolean): Interface {
  const { mac, altname, promiscuous, promoteSecondaries, traffic, ...rest } = raw;
  const { mtu, txQueueLength, group, alias, allMulticast, ipv6 } = rest;
  const n = numberOf(name);
  const known = (wide: boolean): boolean => ipv6 !== 'off' || !wide;
  const host = (wide: boolean, host: number): string => (wide ? `fd00:${n}::${host}` : `10.${n}.0.${host}`);
  return {
    mac: `02:00:00:00:a${n}:${mac.toString(16)}`,
    mtu,
    txQueueLength,
    group,
    alias,
    altname: altname === null ? null : `the-longer-name-of-${name}`,
    allMulticast,
    promiscuous: promiscuous === true,
    ipv6,
    sysctls: {
      'ipv4.conf.promote_secondaries': Number(promoteSecondaries),
      ...Object.fromEntries(raw.sysctls.filter(([key]) => known(key.startsWith('ipv6')))),
    },
    addresses: usable(raw).flatMap(({ kind, scope, addresses }) => addresses.map((more, i) => addressLine(name, kind, i, scope, more))),
    neighbors: raw.neighbors
      .filter(({ wide }) => known(wide))
      .map(
        ({ wide, host: number, mac, router }) =>
        words(host(wide, number), `lladdr ${number === 1 ? nodeMac(n) : `02:00:00:00:0${n}:${mac}`}`, wide && router && 'router', 'nud permanent'), // prettier-ignore
      ),
    proxies: raw.proxies.filter(({ wide }) => known(wide)).map(({ wide, host: number }) => host(wide, number)),
    traffic: traffic === null || !hasFilters ? [] : trafficLines(name, traffic),
  };
}

function addressLine(name: string, kind: SubnetName, i: number, scope: string | null, more: Drawn<typeof addressWords>): string {
  const { wide, address } = subnets[kind];
  const { label, metric, noprefixroute, lifetime, flag } = more;
  return words(
    address(numberOf(name), i),
    wide ? 'nodad' : words(scope !== null && `scope ${scope}`, label && `label ${name}:${kind}`),
    metric !== null && `metric ${metric}`,
    noprefixroute === true && 'noprefixroute',
    // Those that make temporary addresses must have 64 bits.
    wide && (flag === 'home' || kind.endsWith('64')) && flag,
    lifetime,
  );
}

function trafficLines(name: string, { hook, ingress, egress }: Drawn<typeof rawTraffic>): string[] {
  return [
    `qdisc add dev ${name} ${hook}`,
    ...ingress.map((filter) => `filter add dev ${name} ingress ${filter}`),
    ...(hook === 'clsact' ? egress.map((filter) => `filter add dev ${name} egress ${filter}`) : []),
  ];
}

/** What routes and rules can be made of. */
interface Plan {
  readonly name: string;
  /** '10.1.0.1 dev eth0', with 'onlink' where no connected route leads to it. There is always one of IPv4, and of IPv6 if that is on. */
  readonly gateways: Readonly<Record<4 | 6, readonly string[]>>;
  /** Own addresses; not the link-local ones. */
  readonly sources: Readonly<Record<4 | 6, readonly string[]>>;
}

function planOf(name: string, raw: RawInterface): Plan {
  const n = numberOf(name);
  const gateways: Record<4 | 6, string[]> = { 4: [], 6: [] };
  const sources: Record<4 | 6, string[]> = { 4: [], 6: [] };
  for (const { kind, addresses } of usable(raw)) {
    const { wide, address, gateway } = subnets[kind];
    const family = wide ? 6 : 4;
    if (gateway !== undefined) gateways[family].push(words(gateway(n).split('/')[0], 'dev', name, addresses[0]!.noprefixroute === true && 'onlink')); // prettier-ignore
    if (kind !== 'local') sources[family].push(...addresses.map((_, i) => address(n, i).split(/[ /]/)[0]!));
  }
  gateways[4].push(`169.254.1.1 dev ${name} onlink`);
  if (raw.ipv6 !== 'off') gateways[6].push(`fe80::1 dev ${name}`);
  return { name, gateways, sources };
}

function defaultRoutes({ ipv4, ipv6 }: Drawn<ReturnType<typeof rawPod>>['defaults'], { name, gateways }: Plan): Line[] {
  const lines: Line[] = [];
  const add = (line: string, key = line): void => void lines.push({ line, key });
  if (ipv4 === 'gateway') add(`default via ${gateways[4][0]}`);
  if (ipv4 === 'onlink') add(`default via 169.254.1.1 dev ${name} onlink`);
  if (ipv4 === 'link') {
    add(`169.254.1.1 dev ${name} scope link`);
    add(`default via 169.254.1.1 dev ${name}`);
  }
  const wide = ipv6 === 'gateway' ? gateways[6][0] : ipv6 === 'local' ? gateways[6].at(-1) : undefined;
  if (wide !== undefined) add(`-6 default via ${wide}`, '-6 default main 0 via');
  return lines;
}

function toRoute(raw: Drawn<typeof rawRoute>, ends: readonly Plan[], objects: readonly string[]): Line | undefined {
  const family = raw.wide ? 6 : 4;
  const end = pick(ends, Number(raw.dev))!;
  if (raw.wide && end.gateways[6].length === 0) return undefined;
  const table = raw.table === null ? undefined : `table ${raw.table}`;
  const metric = raw.metric === null ? undefined : `metric ${raw.metric}`;
  const src = raw.src === null ? undefined : pick(ends.flatMap(({ sources }) => sources[family]), raw.src); // prettier-ignore
  const dst = destinations[family][raw.dst];
  // Of several nexthops each has realms of its own; a nexthop object has none.
  const ofOne = !raw.wide && (raw.kind === 'via' || raw.kind === 'dev');
  const common = words(
    table,
    metric,
    !raw.wide && raw.tos,
    raw.protocol,
    raw.kind !== 'reject' && words(src !== undefined && `src ${src}`, ofOne && raw.realms, raw.metrics, raw.wide && raw.expires),
  );
  const of = (kind: string, line: string): Line => {
    const whole = words(raw.wide && '-6', line);
    // To one destination with one metric IPv6 would make a single route of several by gateways, and refuses a second one without.
    return { line: whole, key: raw.wide ? `-6 ${dst} ${raw.table ?? 'main'} ${raw.metric ?? 0} ${kind}` : whole };
  };
  switch (raw.kind) {
    case 'via':
      return of('via', words(dst, 'via', pick(end.gateways[family], raw.via), common));
    case 'dev':
      return of(end.name, words(dst, 'dev', end.name, common));
    case 'multipath': {
      const legs = ends.filter(({ gateways }) => gateways[family].length > 0);
      const hops = legs.map(({ gateways }, index) =>
        words('nexthop via', pick(gateways[family], raw.via), `weight ${1 + index + raw.via}`, !raw.wide && raw.realms),
      );
      return legs.length < 2 ? undefined : of('via', words(dst, common, ...hops));
    }
    case 'reject':
      return of('reject', words(raw.reject, dst, common));
    case 'nhid': {
      const id = raw.wide ? 'id 2' : 'id 1';
      return objects.includes(id) ? of('nhid', words(dst, `nh${id}`, common)) : undefined;
    }
  }
}

function toRule(raw: Drawn<typeof rawRule>, ends: readonly Plan[]): string {
  const { selector, action, priority, not } = raw;
  const { name, sources } = pick(ends, Number(raw.dev))!;
  const own = pick(sources[raw.wide ? 6 : 4], raw.address) ?? (raw.wide ? 'fd00:9::9' : '10.9.9.9');
  const words_ = {
    iif: `iif ${name}`,
    oif: `oif ${name}`,
    from: `from ${own}`,
    to: `to ${own}`,
    mark: 'fwmark 0x7/0xff',
    port: 'ipproto tcp dport 80-90',
    suppress: 'suppress_prefixlength 0',
  }[selector];
  // A ban on everything that leaves would ban the routes by which gateways are found, too.
  const table = action.startsWith('lookup') || selector !== 'oif' ? action : 'lookup 100';
  return words(
    raw.wide && '-6',
    selector !== 'suppress' && not,
    words_,
    selector === 'suppress' ? 'lookup main' : table,
    `pref ${priority}`,
  );
}

// ------------------------------------------------------------------ building one

export const indexes = { eth0: 100, v0: 101, eth1: 102, v1: 103, br7: 110, w7: 112, x7: 113 } as const;

export interface Built extends AsyncDisposable {
  readonly pod: Pod;
  readonly netns: Netns;
  /** Where the other ends are: v0 with every gateway's address of eth0's subnets, 169.254.1.1 and fe80::1, and v1 likewise. */
  readonly node: Netns;
}

/** Makes the pod, by ip(8) and tc(8), in two fresh namespaces; resolves when it rests. */
export async function build(pod: Pod): Promise<Built> {
  const netns = await Netns.create();
  const node = await Netns.create();
  const dispose = async (): Promise<void> => {
    await netns.close();
    await node.close();
  };
  try {
    await shell(node, nodeScript(pod, netns.path!));
    await shell(netns, podScript(pod));
    await settle(netns);
    await settle(node);
  } catch (error) {
    await dispose();
    throw error;
  }
  return { pod, netns, node, [Symbol.asyncDispose]: dispose };
}

async function shell(netns: Netns, script: string): Promise<void> {
  const { status, stderr } = await run(netns, 'sh', ['-e'], script);
  if (status !== 0 || stderr !== '') throw new Error(`${stderr.trim()} (${status})\n${script}`);
}

function batch(program: string, lines: readonly string[]): string {
  return lines.length === 0 ? '' : `${program} -batch - <<'END'\n${lines.join('\n')}\nEND\n`;
}
/** Lines of ip(8), of which some begin with '-6 '. Their order counts within a family. */
function batches(lines: readonly string[], verb: string): string {
  const wide = lines.filter((line) => line.startsWith('-6 '));
  const narrow = lines.filter((line) => !line.startsWith('-6 '));
  return batch('ip', narrow.map((line) => `${verb} ${line}`)) + batch('ip -6', wide.map((line) => `${verb} ${line.slice(3)}`)); // prettier-ignore
}

/** Run in the node's namespace; `pod` is the path of the pod's. */
export function nodeScript(pod: Pod, path: string): string {
  // The kernel sets a carrier at once only where a link's index differs from its peer's.
  const wire = (name: 'eth0' | 'eth1', end: 'v0' | 'v1'): string[] => {
    const one = pod[name];
    if (one === null) return [];
    const n = numberOf(name);
    const lines = Object.values(subnets).flatMap(({ gateway }) => (gateway === undefined ? [] : [gateway(n)]));
    return [
      `link add ${end} index ${indexes[end]} address ${nodeMac(n)} mtu 9000 type veth peer name ${name} index ${indexes[name]} address ${one.mac} netns ${path}`,
      `link set ${end} addrgenmode none`,
      `link set ${end} up`,
      ...[...lines, '169.254.1.1/32', 'fe80::1/64'].map((line) => `address add ${line} dev ${end}${line.includes(':') ? ' nodad' : ''}`),
    ];
  };
  return batch('ip', [...wire('eth0', 'v0'), ...wire('eth1', 'v1')]);
}

/** Run in the pod's namespace, where eth0 and eth1 are. */
export function podScript(pod: Pod): string {
  const ends = (['eth0', 'eth1'] as const).flatMap((name) => (pod[name] === null ? [] : [{ name, ...pod[name] }]));
  const set = (name: string, key: string, value: string | number): string =>
    `echo ${value} > /proc/sys/net/${key.split('.').slice(0, 2).join('/')}/${name}/${key.split('.').slice(2).join('/')}\n`;
  let script = '';
  for (const { name, ipv6, ...one } of ends) {
    // The address that the kernel makes itself comes without duplicate address detection, and first.
    script += set(name, 'ipv6.conf.accept_dad', 0);
    if (ipv6 === 'off') script += set(name, 'ipv6.conf.disable_ipv6', 1);
    if (ipv6 === 'stable_secret') script += set(name, 'ipv6.conf.stable_secret', '2001:db8::1');
    script += batch('ip', [
      `link set ${name} mtu ${one.mtu} txqueuelen ${one.txQueueLength} group ${one.group} allmulticast ${one.allMulticast ? 'on' : 'off'} promisc ${one.promiscuous ? 'on' : 'off'}`,
      ...(one.alias === null ? [] : [`link set ${name} alias '${one.alias}'`]),
      ...(one.altname === null ? [] : [`link property add dev ${name} altname ${one.altname}`]),
      ...(ipv6 === 'none' ? [`link set ${name} addrgenmode none`] : []),
      `link set ${name} up`,
    ]);
    // What comes with the carrier: it sets net.ipv6.conf.eth0.mtu once more, and makes that address.
    script += `until ip -o link show dev ${name} | grep -q 'state UP'; do sleep 0.01; done\n`;
    if (ipv6 === 'eui64' || ipv6 === 'stable_secret')
      script += `until ip -6 -o address show dev ${name} | grep fe80 | grep -qv tentative; do sleep 0.01; done\n`;
    script += set(name, 'ipv6.conf.accept_dad', 1);
    for (const [key, value] of Object.entries(one.sysctls)) script += set(name, key, value);
  }
  script += batch(
    'ip',
    ends.flatMap(({ name, addresses, neighbors, proxies }) => [
      ...addresses.map((line) => `address add ${line.replace(/^(\S+( peer \S+)?)/, `$1 dev ${name}`)}`),
      ...neighbors.map((line) => `neighbour add ${line} dev ${name}`),
      ...proxies.map((line) => `neighbour add proxy ${line} dev ${name}`),
    ]),
  );
  // The route to an IPv6 peer comes from a work queue, a moment after the address; gateways are found by it.
  for (const peer of ends.flatMap(({ addresses }) => addresses.flatMap((line) => / peer (\S*:\S*)\/128/.exec(line)?.[1] ?? [])))
    script += `until ip -6 route show ${peer} | grep -q dev; do sleep 0.01; done\n`;
  if (pod.others.includes('bridge')) {
    script += batch('ip', [
      `link add br7 index ${indexes.br7} address 02:00:00:00:07:07 type bridge ageing_time 12300 stp_state 0`,
      `link add w7 index ${indexes.w7} address 02:00:00:00:07:08 type veth peer name x7 index ${indexes.x7} address 02:00:00:00:07:09`,
      ...['br7', 'w7', 'x7'].map((name) => `link set ${name} addrgenmode none`),
      'link set w7 master br7',
      'link set w7 type bridge_slave isolated on learning off',
      ...['x7', 'w7', 'br7'].map((name) => `link set ${name} up`),
      'address add 10.7.0.1/24 dev br7',
    ]);
    script += 'bridge fdb add 02:00:00:00:07:77 dev w7 master static\n';
  }
  if (pod.others.includes('tap')) script += batch('ip', ['tuntap add dev t7 mode tap user 0', 'link set t7 address 02:00:00:00:07:0a mtu 1400', 'link set t7 addrgenmode none', 'link set t7 up']); // prettier-ignore
  script += batches(pod.nexthops, 'nexthop add');
  script += batches(pod.routes, 'route append');
  script += batches(pod.rules, 'rule add');
  script += batch('tc', ends.flatMap(({ traffic }) => traffic)); // prettier-ignore
  return script;
}

/**
 * Until nothing is in the kernel's work queues any more that would change a dump: a link's state follows its carrier (linkwatch) and
 * ff00::/8 the link's state; the local route of an IPv6 address comes a moment after the address. Not for ever: what does not come is
 * for the dump to tell. An address that is tentative is not waited for.
 */
export async function settle(netns: Netns): Promise<void> {
  const end = performance.now() + 2000;
  while (!(await settled(netns)) && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 2));
}

/** What has a carrier comes up for good by the kernel's linkwatch; others that are up (a loopback, a TAP) may stay unknown. */
const following = new Set(['veth', 'bridge', 'macvtap']);

async function settled(netns: Netns): Promise<boolean> {
  const links = await listLinks(netns);
  // A TAP that somebody has let go has no carrier at once, and its state comes up to a second later.
  if (links.some(({ kind, up, carrier, operstate }) => up && (operstate === 'UNKNOWN' && !following.has(kind) ? !carrier : carrier !== (operstate === 'UP')))) return false; // prettier-ignore
  const addresses = await listAddresses(netns, { family: 'ipv6' });
  const routes = await listRoutes(netns, { family: 'ipv6', table: RT_TABLE_LOCAL });
  const there = new Set(routes.map(({ dst, dev }) => `${dst} ${dev}`));
  const multicast = links.filter(({ type, up, carrier, inet6 }) => type === 'ether' && up && carrier && inet6 !== undefined && namedInet6Conf(inet6.conf).disable_ipv6 === 0); // prettier-ignore
  return (
    multicast.every(({ ifindex }) => there.has(`ff00::/8 ${ifindex}`)) &&
    addresses.every(
      ({ address, ifindex, flags = [] }) =>
        flags.includes('tentative') || flags.includes('dadfailed') || there.has(`${address.replace(/\/\d+$/, '/128')} ${ifindex}`),
    )
  );
}
const RT_TABLE_LOCAL = 255;
