// What podtap encodes against what ip(8), bridge(8) and tc(8) send for the same command. Both are decoded by the same tables, so that
// the order of attributes and padding do not count; and for each of podtap's own ways the table below says why it goes them.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Netns, addAddress, createBridge, createVeth, createVxlan, getLink } from 'podtap';
import { check } from '../../lib/check.js';
import { type Operation, kindOf } from '../../lib/operation/kinds.js';
import { Bytes } from '../../lib/wire/bytes.js';
import { messageFamilyOf, typeName } from '../../lib/wire/families.js';
import { type Message, NLM_F_ACK, NLM_F_ECHO, NLM_F_REQUEST, decodeAttributes, decodeHeader, eachMessage } from '../../lib/wire/message.js';
import { decodeRoute } from '../../lib/wire/route.js';
import { run } from '../support/oracle.js';

interface Sent {
  type: string;
  flags: number;
  header: Record<string, unknown>;
  attributes: Record<string, unknown>;
}

/** Where podtap goes its own way: what that makes of what the tool sends, and why. */
interface Way {
  readonly why: string;
  readonly change: (sent: Sent) => void;
}
type Attributes = Record<string, Record<string, unknown>>;

const ways = {
  set: {
    why: 'ip changes links by RTM_NEWLINK, which without NLM_F_CREATE is the same; RTM_SETLINK never makes one',
    change: (sent) => void (sent.type = 'RTM_SETLINK'),
  },
  port: {
    why: 'bridge(8) says it as AF_BRIDGE; as the data of a port it is the form in which the kernel tells it',
    change: (sent) => {
      const { protinfo, ...others } = sent.attributes;
      sent.type = 'RTM_NEWLINK';
      sent.header = { ...sent.header, family: 0 };
      sent.attributes = { ...others, linkinfo: { slave_kind: 'bridge', slave_data: protinfo } };
    },
  },
  noOptions: {
    why: 'an empty nest says what none says',
    change: ({ attributes }) => void ((attributes.linkinfo as Attributes).data = {}),
  },
  ipvlanFlags: {
    why: 'no flags are the default',
    change: ({ attributes }) => void delete (attributes.linkinfo as Attributes).data!.flags,
  },
  vxlanLearning: {
    why: 'learning is the default',
    change: ({ attributes }) => void delete (attributes.linkinfo as Attributes).data!.learning,
  },
  defaultPrefix: {
    why: 'a prefix of no bits needs no address',
    change: ({ attributes }) => void delete attributes.dst,
  },
  anyState: {
    why: 'the kernel looks at no state when it deletes',
    change: ({ header }) => void (header.state = 0),
  },
  managedState: {
    why: 'ip forgets the state that it was given; podtap leaves it to the kernel what it makes of it',
    change: ({ header }) => void (header.state = 4),
  },
  ownTable: {
    why: 'no flag leaves it to the kernel, which takes the bridge of a port; a port that has left it since is told by an error',
    change: ({ header }) => void (header.flags = 0),
  },
  whatever: {
    why: 'the place says which; with a kind, if one is given',
    change: ({ attributes }) => void delete attributes.kind,
  },
} satisfies Record<string, Way>;

type Row = readonly [command: string, operation: Operation, ...ways: Way[]];

const mac = '02:00:00:00:00:05';
const rows: readonly Row[] = [
  ['ip link add name b9 type bridge', { op: 'link.create', kind: 'bridge', name: 'b9', options: {} }, ways.noOptions],
  [
    'ip link add name b9 index 77 address 02:00:00:00:00:05 mtu 1400 txqueuelen 5 type bridge stp_state 0 forward_delay 0 ageing_time 4200 mcast_snooping 0 group_fwd_mask 0x4000 nf_call_iptables 1 nf_call_ip6tables 1 nf_call_arptables 1', // prettier-ignore
    { op: 'link.create', kind: 'bridge', name: 'b9', options: { ifindex: 77, mac, mtu: 1400, txQueueLength: 5, stp: false, forwardDelay: 0, ageing: 42, multicastSnooping: false, groupFwdMask: 0x4000, netfilter: true } as object }, // prettier-ignore
  ],
  ['ip link add name i9 type ifb', { op: 'link.create', kind: 'ifb', name: 'i9', options: {} }],
  [
    'ip link add link eth0 name m9 type macvtap mode bridge',
    { op: 'link.create', kind: 'macvtap', name: 'm9', options: { link: 'eth0', mode: 'bridge' } as object },
  ],
  [
    'ip link add link eth0 name m9 type macvtap mode passthru nopromisc',
    { op: 'link.create', kind: 'macvtap', name: 'm9', options: { link: 'eth0', mode: 'passthru', nopromisc: true } as object },
  ],
  [
    'ip link add link eth0 name l9 type vlan protocol 802.1ad id 7',
    { op: 'link.create', kind: 'vlan', name: 'l9', options: { link: 'eth0', protocol: '802.1ad', id: 7 } as object },
  ],
  ['ip link add link eth0 name l9 type ipvlan mode l2', { op: 'link.create', kind: 'ipvlan', name: 'l9', options: { link: 'eth0', mode: 'l2' } as object }, ways.ipvlanFlags], // prettier-ignore
  [
    'ip link add name x9 type vxlan id 7 dev eth0 local 10.0.0.1 remote 10.0.0.9 dstport 4789 srcport 1000 2000 ttl 5 tos 4 nolearning ageing 60 maxaddress 9 proxy noudpcsum',
    { op: 'link.create', kind: 'vxlan', name: 'x9', options: { id: 7, link: 'eth0', local: '10.0.0.1', remote: '10.0.0.9', dstPort: 4789, portRange: { low: 1000, high: 2000 }, ttl: 5, tos: 4, learning: false, ageing: 60, limit: 9, proxy: true, udpChecksum: false } as object }, // prettier-ignore
  ],
  [
    'ip link add name x9 type vxlan id 8 local fd00::1 remote fd00::9 dstport 8472',
    { op: 'link.create', kind: 'vxlan', name: 'x9', options: { id: 8, local: 'fd00::1', remote: 'fd00::9' } as object },
    ways.vxlanLearning,
  ],
  ['ip link add name v9 type veth peer name w9', { op: 'veth.create', name: 'v9', options: {}, peer: { name: 'w9', options: {} } }],
  [
    'ip link add name v9 address 02:00:00:00:00:05 mtu 1400 type veth peer name w9 address 02:00:00:00:00:06 mtu 1300',
    { op: 'veth.create', name: 'v9', options: { mac, mtu: 1400 }, peer: { name: 'w9', options: { mac: '02:00:00:00:00:06', mtu: 1300 } } },
  ],
  ['ip link set dev eth0 up', { op: 'link.set', link: 'eth0', change: { up: true } }, ways.set],
  ['ip link set dev eth0 down', { op: 'link.set', link: 'eth0', change: { up: false } }, ways.set],
  ['ip link set dev eth0 promisc on allmulticast on arp off', { op: 'link.set', link: 'eth0', change: { promiscuous: true, allMulticast: true, arp: false } }, ways.set], // prettier-ignore
  [
    `ip link set dev eth0 address ${mac} mtu 1400 txqueuelen 7`,
    { op: 'link.set', link: 'eth0', change: { mac, mtu: 1400, txQueueLength: 7 } },
    ways.set,
  ],
  ['ip link set dev eth0 alias note', { op: 'link.set', link: 'eth0', change: { alias: 'note' } }, ways.set],
  ['ip link set dev eth0 master br0', { op: 'link.set', link: 'eth0', change: { master: 'br0' } }, ways.set],
  ['ip link set dev eth0 nomaster', { op: 'link.set', link: 'eth0', change: { master: null } }, ways.set],
  ['ip link set dev eth0 group 7', { op: 'link.set', link: 'eth0', change: { group: 7 } }, ways.set],
  ['ip link set dev eth0 addrgenmode none', { op: 'link.set', link: 'eth0', change: { addrGenMode: 'none' } }, ways.set],

  ['ip address add 10.9.0.1/24 dev eth0', { op: 'address.add', link: 'eth0', address: { address: '10.9.0.1/24' } }],
  ['ip address add 10.9.0.1 dev eth0', { op: 'address.add', link: 'eth0', address: { address: '10.9.0.1' } }],
  [
    'ip address add 10.9.0.1/24 broadcast 10.9.0.255 label eth0:x scope link metric 5 dev eth0 valid_lft 100 preferred_lft 50',
    { op: 'address.add', link: 'eth0', address: { address: '10.9.0.1/24', broadcast: '10.9.0.255', label: 'eth0:x', scope: 'link', metric: 5, validLifetime: 100, preferredLifetime: 50 } }, // prettier-ignore
  ],
  [
    'ip address add 10.9.0.1 peer 10.8.0.1/24 dev eth0',
    { op: 'address.add', link: 'eth0', address: { address: '10.9.0.1/24', peer: '10.8.0.1' } },
  ],
  ['ip address add fd09::1/64 dev eth0 nodad noprefixroute', { op: 'address.add', link: 'eth0', address: { address: 'fd09::1/64', flags: ['nodad', 'noprefixroute'] } }], // prettier-ignore
  ['ip address replace 10.9.0.1/24 dev eth0', { op: 'address.add', link: 'eth0', address: { address: '10.9.0.1/24' }, replace: true }],
  ['ip address delete 10.0.0.1/24 dev eth0', { op: 'address.delete', link: 'eth0', address: { address: '10.0.0.1/24' } }],

  ['ip route add 10.5.0.0/16 via 10.0.0.9', { op: 'route.add', route: { dst: '10.5.0.0/16', via: '10.0.0.9' } }],
  [
    'ip route add default via 10.0.0.9 dev eth0 onlink',
    { op: 'route.add', route: { dst: 'default', via: '10.0.0.9', dev: 'eth0', onlink: true } },
  ],
  [
    'ip route add 10.5.0.0/16 dev eth0 src 10.0.0.1 table 500 proto static scope host metric 9 tos 0x10 mtu lock 1400 advmss 1300 hoplimit 9',
    { op: 'route.add', route: { dst: '10.5.0.0/16', dev: 'eth0', src: '10.0.0.1', table: 500, protocol: 'static', scope: 'host', metric: 9, tos: 16, mtu: 1400, metrics: { lock: ['mtu'], advmss: 1300, hoplimit: 9 } } }, // prettier-ignore
  ],
  ['ip route add 10.5.0.0/16 dev eth0', { op: 'route.add', route: { dst: '10.5.0.0/16', dev: 'eth0' } }],
  ['ip route add local 10.5.0.0/16 dev eth0', { op: 'route.add', route: { dst: '10.5.0.0/16', type: 'local', dev: 'eth0' } }],
  ['ip route add blackhole 10.5.0.0/16', { op: 'route.add', route: { dst: '10.5.0.0/16', type: 'blackhole' } }],
  ['ip route add 10.5.0.0/16 via inet6 fd00::9 dev eth0', { op: 'route.add', route: { dst: '10.5.0.0/16', via: 'fd00::9', dev: 'eth0' } }],
  [
    'ip route add 10.5.0.0/16 nexthop via 10.0.0.9 weight 3 nexthop via inet6 fd00::9 dev eth0 weight 256 nexthop via 10.7.7.7 dev eth1 onlink',
    { op: 'route.add', route: { dst: '10.5.0.0/16', nexthops: [{ via: '10.0.0.9', weight: 3 }, { via: 'fd00::9', dev: 'eth0', weight: 256 }, { via: '10.7.7.7', dev: 'eth1', onlink: true }] } }, // prettier-ignore
  ],
  ['ip route add 10.5.0.0/16 nhid 7', { op: 'route.add', route: { dst: '10.5.0.0/16', nhid: 7 } }],
  ['ip route replace 10.5.0.0/16 via 10.0.0.9', { op: 'route.add', route: { dst: '10.5.0.0/16', via: '10.0.0.9' }, existing: 'replace' }],
  ['ip route append 10.5.0.0/16 via 10.0.0.9', { op: 'route.add', route: { dst: '10.5.0.0/16', via: '10.0.0.9' }, existing: 'append' }],
  ['ip route delete 10.5.0.0/16 via 10.0.0.9 metric 3', { op: 'route.delete', route: { dst: '10.5.0.0/16', via: '10.0.0.9', metric: 3 } }],
  ['ip route delete 10.5.0.0/16', { op: 'route.delete', route: { dst: '10.5.0.0/16' } }],
  [
    'ip -6 route add fd55::/32 via fe80::9 dev eth0 pref high',
    { op: 'route.add', route: { dst: 'fd55::/32', via: 'fe80::9', dev: 'eth0', pref: 'high' } },
  ],
  [
    'ip -6 route add default via fd00::9 metric 7 expires 100',
    { op: 'route.add', route: { dst: '::/0', via: 'fd00::9', metric: 7, expires: 100 } },
    ways.defaultPrefix,
  ],
  ['ip -6 route add fd55::/32 from fd66::/32 dev eth0', { op: 'route.add', route: { dst: 'fd55::/32', from: 'fd66::/32', dev: 'eth0' } }],
  ['ip -6 route add prohibit fd55::/32', { op: 'route.add', route: { dst: 'fd55::/32', type: 'prohibit' } }],
  ['ip -6 route delete fd55::/32 dev eth0', { op: 'route.delete', route: { dst: 'fd55::/32', dev: 'eth0' } }],

  ['ip rule add from 10.0.0.0/8 table 500 priority 5', { op: 'rule.add', rule: { from: '10.0.0.0/8', table: 500, priority: 5 } }],
  [
    'ip rule add not to 10.1.0.0/16 iif eth0 oif eth1 fwmark 0x5/0xff tos 0x10 ipproto tcp sport 1-5 dport 80 uidrange 0-100 suppress_prefixlength 3 suppress_ifgroup 7 table 9 protocol static',
    { op: 'rule.add', rule: { not: true, to: '10.1.0.0/16', iif: 'eth0', oif: 'eth1', mark: 5, markMask: 255, tos: 16, ipProtocol: 'tcp', sport: { start: 1, end: 5 }, dport: { start: 80, end: 80 }, uidRange: { start: 0, end: 100 }, suppressPrefixLength: 3, suppressIfGroup: 7, table: 9, protocol: 'static' } }, // prettier-ignore
  ],
  ['ip -6 rule add from fd00::/16 prohibit', { op: 'rule.add', rule: { from: 'fd00::/16', action: 'prohibit' } }],
  ['ip rule add goto 32766 priority 5', { op: 'rule.add', rule: { goto: 32766, priority: 5 } }],
  ['ip rule add l3mdev', { op: 'rule.add', rule: { l3mdev: true } }],
  ['ip rule delete from 10.0.0.0/8 table 500', { op: 'rule.delete', rule: { from: '10.0.0.0/8', table: 500 } }],

  [
    `ip neigh replace 10.0.0.5 lladdr ${mac} dev eth0 nud permanent`,
    { op: 'neighbor.set', link: 'eth0', neighbor: { address: '10.0.0.5', mac } },
  ],
  [
    `ip neigh replace fd00::5 lladdr ${mac} dev eth0 nud stale router protocol static`,
    { op: 'neighbor.set', link: 'eth0', neighbor: { address: 'fd00::5', mac, state: 'stale', flags: ['router'], protocol: 'static' } },
  ],
  [
    `ip neigh replace 10.0.0.5 lladdr ${mac} dev eth0 nud stale managed`,
    { op: 'neighbor.set', link: 'eth0', neighbor: { address: '10.0.0.5', mac, state: 'stale', flags: ['managed'] } },
    ways.managedState,
  ],
  ['ip neigh replace proxy 10.0.0.5 dev eth0', { op: 'neighbor.set', link: 'eth0', neighbor: { address: '10.0.0.5', flags: ['proxy'] } }],
  ['ip neigh delete 10.0.0.5 dev eth0', { op: 'neighbor.delete', link: 'eth0', neighbor: { address: '10.0.0.5' } }, ways.anyState],
  [
    'ip neigh delete proxy 10.0.0.5 dev eth0',
    { op: 'neighbor.delete', link: 'eth0', neighbor: { address: '10.0.0.5', flags: ['proxy'] } },
    ways.anyState,
  ],

  ['bridge link set dev eth0 learning off flood off hairpin on isolated on locked on', { op: 'link.set', link: 'eth0', change: { port: { learning: false, flood: false, hairpin: true, isolated: true, locked: true } } }, ways.port], // prettier-ignore
  [`bridge fdb replace ${mac} dev eth0 master static`, { op: 'fdb.set', link: 'eth0', entry: { mac } }, ways.ownTable],
  [
    `bridge fdb replace ${mac} dev eth0 master permanent`,
    { op: 'fdb.set', link: 'eth0', entry: { mac, state: 'permanent' } },
    ways.ownTable,
  ],
  [
    `bridge fdb replace ${mac} dev vx dst 10.0.0.9 port 4789 vni 9 self permanent`,
    { op: 'fdb.set', link: 'vx', entry: { mac, dst: '10.0.0.9', port: 4789, vni: 9 } },
  ],
  ['bridge fdb append 00:00:00:00:00:00 dev vx dst 10.0.0.9 self permanent', { op: 'fdb.set', link: 'vx', entry: { mac: '00:00:00:00:00:00', dst: '10.0.0.9' } }], // prettier-ignore
  [`bridge fdb delete ${mac} dev eth0 master static`, { op: 'fdb.delete', link: 'eth0', entry: { mac } }, ways.ownTable],

  ['tc qdisc add dev eth0 clsact', { op: 'qdisc.add', link: 'eth0', qdisc: { kind: 'clsact' } }],
  ['tc qdisc add dev eth0 ingress', { op: 'qdisc.add', link: 'eth0', qdisc: { kind: 'ingress' } }],
  ['tc qdisc delete dev eth0 clsact', { op: 'qdisc.delete', link: 'eth0', qdisc: { parent: 'clsact' } }, ways.whatever],
  [
    'tc filter add dev eth0 parent ffff:fff2 protocol all pref 7 handle 800::7 u32 match u32 0 0 action mirred egress redirect dev eth1',
    {
      op: 'filter.add',
      link: 'eth0',
      filter: {
        parent: 'ingress',
        protocol: 'all',
        priority: 7,
        handle: '800::7',
        kind: 'u32',
        options: { selector: { flags: ['terminal'], keys: [{ mask: 0, value: 0, offset: 0 }] } },
        actions: [{ kind: 'mirred', options: { action: 'redirect', direction: 'egress', dev: 'eth1' } }],
      },
    },
  ],

  // Last: after these the names are not there.
  ['ip link set dev eth0 name eth9', { op: 'link.set', link: 'eth0', change: { name: 'eth9' } }, ways.set],
  ['ip link delete dev eth1', { op: 'link.delete', link: 'eth1' }],
];

// ------------------------------------------------------------------ what is sent

function decode(data: Uint8Array): Sent[] {
  const sent: Sent[] = [];
  const from = Bytes.copy(data);
  eachMessage(from, data.length, (message: Message) => {
    const family = messageFamilyOf(message.type, message.flags | NLM_F_REQUEST, from.u8[message.start]!);
    const attributes: Record<string, unknown> = family === undefined ? {} : { ...decodeAttributes(family, from, message) };
    // Legs as values: what ip leaves in the padding between their attributes is chance.
    if (attributes.multipath !== undefined) attributes.multipath = decodeRoute(from, message).nexthops;
    sent.push({
      type: typeName(message.type),
      flags: message.flags & ~(NLM_F_REQUEST | NLM_F_ACK | NLM_F_ECHO),
      header: family === undefined ? {} : { ...decodeHeader(family, from, message) },
      attributes,
    });
  });
  return sent;
}

/** The requests of each program that the script ran, in order; look-ups and dumps left out. */
function captured(trace: string): Sent[][] {
  const programs = new Map<string, Sent[]>();
  let current: Sent[] = [];
  let octets: number[] = [];
  const flush = (): void => {
    if (octets.length > 0) current.push(...decode(Uint8Array.from(octets)).filter(({ type }) => !type.startsWith('RTM_GET')));
    octets = [];
  };
  for (const line of trace.split('\n')) {
    const dump = /^ \| [0-9a-f]+ {2}((?:[0-9a-f]{2} {1,2}){1,16})/.exec(line);
    if (dump !== null) {
      for (const octet of dump[1]!.trim().split(/ +/)) octets.push(parseInt(octet, 16));
      continue;
    }
    flush();
    const [, pid, call] = /^(\d+) +(\w+)\(/.exec(line) ?? [];
    if (call === 'execve') programs.set(pid!, (current = []));
    else if (call === 'sendmsg') current = programs.get(pid!)!;
  }
  flush();
  return [...programs.values()];
}

/** The order of attributes does not count. */
function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return value.map(sorted);
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, one]) => [key, sorted(one)])); // prettier-ignore
}

await t.test('requests as the tools send them', async (t) => {
  await using netns = await Netns.create();
  await createBridge(netns, 'br0');
  await createVeth(netns, 'eth0', { up: true, peer: { name: 'x0', up: true } });
  await createVeth(netns, 'eth1', { up: true, peer: { name: 'x1', up: true } });
  await addAddress(netns, 'eth0', '10.0.0.1/24');
  await createVxlan(netns, 'vx', { id: 5 });
  const index = new Map<string, number>();
  for (const name of ['br0', 'eth0', 'eth1', 'vx']) index.set(name, (await getLink(netns, name))!.ifindex);

  // One after another, whether the kernel does as it is told or not.
  const script = rows.map(([line]) => line).join('\n');
  const file = join(t.testdir(), 'trace');
  const args = [
    '-f',
    '-qq',
    '-s',
    '0',
    '-e',
    'trace=sendmsg,execve',
    '-e',
    'signal=none',
    '-e',
    'write=all',
    '-o',
    file,
    'sh',
    '-c',
    `${script}\n:`,
  ];
  const { status, stderr } = await run(netns, 'strace', args);
  t.equal(status, 0, stderr);
  const [shell, ...programs] = captured(readFileSync(file, 'latin1'));
  t.strictSame(shell, []);
  t.equal(programs.length, rows.length);
  for (const [number, [line, operation, ...changes]] of rows.entries()) {
    const kind = kindOf(operation);
    const checked = check(kind.schema, operation, line);
    const ours = kind
      .requests(checked, (link) => (typeof link === 'number' ? link : index.get(link)!))
      .flatMap((request) => (request.by === 'netlink' ? decode(request.message) : []));
    const theirs = programs[number] ?? [];
    for (const { why, change } of changes) {
      const before = structuredClone(theirs);
      theirs.forEach(change);
      t.notSame(theirs, before, `${line}: still differs: ${why}`);
    }
    t.strictSame(sorted(ours), sorted(theirs), line);
  }
});
