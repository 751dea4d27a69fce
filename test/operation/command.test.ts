// An operation, and the command that it prints, run by ip(8), bridge(8), tc(8) or sysctl(8): they come to the same.
import t from 'tap';
import { Netns, createBridge, createVeth, createVxlan } from 'podtap';
import { type Operation, command, operations } from '../../lib/operation/kinds.js';
import { run as carryOut } from '../../lib/operation/run.js';
import { until } from '../support/inside.js';
import { run, settled, split } from '../support/oracle.js';
import { type Feature, requires } from '../support/requires.js';

/** Two of them are equal to the last digit. */
async function pod(): Promise<Netns> {
  const netns = await Netns.create();
  for (const [number, name] of ['eth0', 'eth1'].entries()) {
    await createVeth(netns, name, {
      mac: `02:00:00:00:00:1${number}`,
      addrGenMode: 'none',
      up: true,
      addresses: [`10.${number}.0.1/24`, `fd0${number}::1/64`],
      peer: { name: `x${number}`, mac: `02:00:00:00:00:2${number}`, addrGenMode: 'none', up: true },
    });
  }
  return settled(netns);
}
async function bridged(): Promise<Netns> {
  const netns = await pod();
  await createBridge(netns, 'br0', { mac: '02:00:00:00:00:0b', forwardDelay: 0, addrGenMode: 'none', up: true });
  await createVeth(netns, 'p0', { mac: '02:00:00:00:00:30', addrGenMode: 'none', master: 'br0', up: true, peer: { name: 'q0', mac: '02:00:00:00:00:31', addrGenMode: 'none', up: true } }); // prettier-ignore
  return netns;
}
async function tunnelled(): Promise<Netns> {
  const netns = await pod();
  await createVxlan(netns, 'vx', { id: 5, mac: '02:00:00:00:00:0c', addrGenMode: 'none', learning: false, up: true });
  return netns;
}

// A batch each: starting programs is most of the time.
const looks = `
ip -d -batch - <<+
link show
address show
route show table all
rule show
neigh show nud all
neigh show proxy
+
ip -6 -d -batch - <<+
route show table all
rule show
+
bridge -d -batch - <<+
fdb show
link show
+
tc -d -batch - <<+
qdisc show
filter show dev eth0 ingress
filter show dev eth0 egress
+
cd /proc/sys/net && grep -s '' ipv4/conf/eth0/rp_filter ipv6/conf/eth0/hop_limit ipv4/ip_forward
`;
/** Neighbours and forwarding entries: the kernel keeps them in no order. */
const unordered = /^[0-9a-f:.]+ dev \S+ /;

/** Everything, but for what changes by itself: timers, carriers, and addresses that the kernel makes up. */
async function state(netns: Netns): Promise<string[]> {
  await settled(netns);
  const { stdout, stderr } = await run(netns, 'sh', ['-c', looks]);
  if (stderr !== '') throw new Error(stderr);
  const lines = stdout
    .replace(/\b(gc_timer|hello_timer|tcn_timer|topology_change_timer) +\S+/g, '$1')
    .replace(/ state (UP|DOWN|LOWERLAYERDOWN|UNKNOWN)\b/g, '')
    .replace(/(NO-CARRIER|LOWER_UP|M-DOWN),|,(NO-CARRIER|LOWER_UP|M-DOWN)(?=[,>])/g, '')
    .replace(/ qdisc \w+/g, '')
    .replace(/ linkdown\b/g, '')
    .replace(/\b(\d+)sec\b/g, (_, seconds) => `${Math.ceil(Number(seconds) / 10) * 10}sec`)
    .replace(/(tap\d[^\n]*\n +link\/ether) \S+/g, '$1 (made up)')
    .split('\n')
    .filter((line) => !/^(ff02:|224\.|multicast ff00::)/.test(line) && !/(33:33|01:00:5e):.* self permanent/.test(line));
  return [...lines.filter((line) => !unordered.test(line)), ...lines.filter((line) => unordered.test(line)).sort()];
}

const mac = '02:00:00:00:00:05';
const link = (name: string, kind: string, options: object): Operation => ({ op: 'link.create', kind, name, options });
const set = (change: Extract<Operation, { op: 'link.set' }>['change'], name = 'eth0'): Operation => ({
  op: 'link.set',
  link: name,
  change,
});
const address = (address: Extract<Operation, { op: 'address.add' }>['address']): Operation => ({
  op: 'address.add',
  link: 'eth0',
  address,
});
type Route = Extract<Operation, { op: 'route.add' }>['route'];
const route = (route: Route): Operation => ({ op: 'route.add', route });
const unroute = (route: Route): Operation => ({ op: 'route.delete', route });
const rule = (rule: Extract<Operation, { op: 'rule.add' }>['rule']): Operation => ({ op: 'rule.add', rule });
const neighbor = (neighbor: Extract<Operation, { op: 'neighbor.set' }>['neighbor']): Operation => ({
  op: 'neighbor.set',
  link: 'eth0',
  neighbor,
});
const fdb = (name: string, entry: Extract<Operation, { op: 'fdb.set' }>['entry']): Operation => ({ op: 'fdb.set', link: name, entry });

const groups: Readonly<Record<string, { features?: readonly Feature[]; from?: () => Promise<Netns>; operations: readonly Operation[] }>> = {
  'links: a bridge': {
    features: ['bridge'],
    operations: [
      link('b1', 'bridge', { mac, addrGenMode: 'none' }),
      link('b2', 'bridge', { mac: '02:00:00:00:00:06', mtu: 1400, txQueueLength: 5, group: 9, ifindex: 70, stp: true, forwardDelay: 4, ageing: 0, multicastSnooping: false, groupFwdMask: 0x4000, netfilter: true, alias: "the pod's bridge", addrGenMode: 'none', up: true }), // prettier-ignore
      set({ master: 'b1', up: true }),
      set({ port: { learning: false, flood: false, hairpin: true, isolated: true, locked: true } }),
      set({ port: { learning: true, flood: true, hairpin: false, isolated: false, locked: false }, mtu: 1400 }),
      set({ master: null }),
      { op: 'link.delete', link: 'b2' },
      link('b3', 'bridge', { mac: '02:00:00:00:00:07', group: 11, addrGenMode: 'none' }),
      link('b4', 'bridge', { mac: '02:00:00:00:00:08', group: 11, addrGenMode: 'none' }),
      { op: 'link.deleteGroup', group: 11 },
    ],
  },
  'links: bridge VLANs': {
    features: ['bridge_vlan'],
    operations: [link('b1', 'bridge', { mac, addrGenMode: 'none', vlanFiltering: true })],
  },
  'links: ifb': {
    features: ['ifb'],
    operations: [link('i0', 'ifb', { mac, addrGenMode: 'none', up: true, arp: true, promiscuous: true })],
  },
  'links: a VXLAN': {
    features: ['vxlan'],
    operations: [
      link('x4', 'vxlan', { mac, addrGenMode: 'none', id: 7, link: 'eth0', local: '10.0.0.1', remote: '10.0.0.9', dstPort: 4789, portRange: { low: 1000, high: 2000 }, ttl: 5, tos: 4, learning: false, ageing: 60, limit: 9, proxy: true, udpChecksum: false }), // prettier-ignore
      link('x6', 'vxlan', { mac: '02:00:00:00:00:06', addrGenMode: 'none', id: 8, local: 'fd00::1', remote: 'fd00::9', learning: true, udpChecksum: true }), // prettier-ignore
    ],
  },
  'links: a macvtap': {
    features: ['macvtap'],
    operations: [
      link('m0', 'macvtap', { link: 'eth0', mode: 'bridge', mac, addrGenMode: 'none', up: true }),
      link('m1', 'macvtap', { link: 'eth1', mode: 'passthru', nopromisc: true, addrGenMode: 'none' }),
    ],
  },
  'links: a VLAN': {
    features: ['vlan'],
    operations: [link('l0', 'vlan', { link: 'eth0', id: 7, protocol: '802.1ad', addrGenMode: 'none' })],
  },
  'links: an ipvlan': { features: ['ipvlan'], operations: [link('l0', 'ipvlan', { link: 'eth0', mode: 'l2', addrGenMode: 'none' })] },
  'links: a veth pair': {
    operations: [
      {
        op: 'veth.create',
        name: 'v0',
        options: { mac, mtu: 1400, ifindex: 80, txQueueLength: 7, group: 3, up: true, addrGenMode: 'none', alias: 'a b' },
        peer: { name: 'w0', options: { mac: '02:00:00:00:00:06', mtu: 1300, ifindex: 90, txQueueLength: 8, group: 4 } },
      },
    ],
  },
  'links: changes': {
    operations: [
      set({
        mac,
        mtu: 1400,
        txQueueLength: 7,
        alias: "it's a note; $HOME `ls`",
        group: 5,
        promiscuous: true,
        allMulticast: true,
        arp: false,
      }),
      set({ alias: '', promiscuous: false, allMulticast: false, arp: true }),
      set({ up: false }),
      set({ up: true, addrGenMode: 'none' }),
      set({ up: false }, 'x1'),
      set({ addrGenMode: 'eui64' }, 'x1'),
      set({ up: true, addrGenMode: 'none', master: null }, 'x1'),
      set({ up: false }, 'eth1'), // before Linux 6.2 one that is up keeps its name
      set({ name: 'renamed' }, 'eth1'),
      { op: 'link.set', link: 2, change: { mtu: 1350 } }, // by its index
      { op: 'link.delete', link: 'renamed' },
    ],
  },
  addresses: {
    operations: [
      address({ address: '10.5.0.1/24' }),
      address({ address: '10.5.0.2/24' }),
      address({ address: '10.6.0.1/24', broadcast: '10.6.0.255', label: 'eth0:x', scope: 'link', metric: 5, validLifetime: 1000, preferredLifetime: 500 }), // prettier-ignore
      address({ address: '10.7.0.1/24', peer: '10.8.0.1' }),
      address({ address: '10.9.0.1/24', flags: ['noprefixroute', 'permanent', 'secondary'] }),
      address({ address: '10.10.0.1/24', scope: '77', preferredLifetime: 0 }),
      address({ address: 'fd05::1/64', flags: ['nodad', 'noprefixroute', 'permanent'], metric: 9 }),
      address({ address: 'fd06::1/64', flags: ['nodad', 'home', 'mngtmpaddr'], validLifetime: 1000, preferredLifetime: 0 }),
      address({ address: 'fd07::1/128', peer: 'fd08::1', flags: ['nodad'] }),
      { ...address({ address: '10.5.0.1/24', validLifetime: 1000 }), replace: true } as Operation,
      { op: 'address.delete', link: 'eth0', address: { address: '10.5.0.2/24' } },
      { op: 'address.delete', link: 'eth0', address: { address: '10.7.0.1/24', peer: '10.8.0.1' } },
      { op: 'address.delete', link: 'eth0', address: { address: 'fd05::1/64' } },
      { op: 'address.delete', link: 'eth0', address: { address: 'fd07::1/128', peer: 'fd08::1' } },
    ],
  },
  routes: {
    operations: [
      route({ dst: 'default', via: '10.0.0.9' }),
      route({ dst: '10.5.0.0/16', via: '169.254.1.1', dev: 'eth0', onlink: true, src: '10.1.0.1', protocol: 'static', metric: 9 }),
      route({ dst: '10.6.0.0/16', dev: 'eth0', table: 500, scope: 'host', tos: 0x10 }),
      route({ dst: '10.7.0.0/16', via: '10.0.0.9', mtu: 1400, metrics: { lock: ['mtu', 'advmss', 'rto_min'], advmss: 1300, window: 900, rtt: 80, rttvar: 40, ssthresh: 3, cwnd: 9, reordering: 4, hoplimit: 8, initcwnd: 11, initrwnd: 12, rto_min: 200, quickack: 1, fastopen_no_cookie: 1, cc_algo: 'reno', features: ['ecn'] } }), // prettier-ignore
      route({ dst: '10.8.0.0/16', via: 'fd00::9', dev: 'eth0' }),
      route({ dst: '10.9.0.0/16', nexthops: [{ via: '10.0.0.9', weight: 3 }, { via: 'fd01::9', dev: 'eth1', weight: 256 }, { via: '10.7.7.7', dev: 'eth1', onlink: true }], metric: 4, mtu: 1300 }), // prettier-ignore
      ...(['blackhole', 'unreachable', 'prohibit', 'throw'] as const).map((type, index) => route({ dst: `10.2${index}.0.0/16`, type })),
      ...(['local', 'broadcast', 'anycast'] as const).map((type, index) => route({ dst: `10.3${index}.0.0/16`, type, dev: 'eth0' })),
      route({ dst: '10.40.0.0/16', dev: 'eth0', flow: 0x30004 }),
      route({ dst: '10.41.0.0/16', nexthops: [{ via: '10.0.0.9', flow: 5 }, { via: '10.1.0.9' }] }), // prettier-ignore
      route({ dst: '::/0', via: 'fd00::9', metric: 50 }),
      route({ dst: 'default', via: 'fd01::9', metric: 60, pref: 'low' }),
      route({ dst: 'fd55::/32', via: 'fe80::9', dev: 'eth0', expires: 1000, pref: 'high', src: 'fd01::1' }),
      route({ dst: 'fd56::/32', from: 'fd66::/32', dev: 'eth1', table: 1000 }),
      route({ dst: 'fd57::/32', type: 'prohibit', metric: 7 }),
      route({ dst: 'fd58::/32', nexthops: [{ via: 'fd00::9', weight: 2 }, { via: 'fe80::9', dev: 'eth1' }] }), // prettier-ignore
      { op: 'route.add', route: { dst: '10.5.0.0/16', via: '10.0.0.8', metric: 9 }, existing: 'replace' },
      { op: 'route.add', route: { dst: '10.5.0.0/16', via: '10.0.0.7', metric: 9 }, existing: 'append' },
      unroute({ dst: '10.5.0.0/16', via: '10.0.0.8', metric: 9 }),
      unroute({ dst: '10.6.0.0/16', dev: 'eth0', table: 500, tos: 0x10, scope: 'host' }),
      unroute({ dst: '10.9.0.0/16', nexthops: [{ via: '10.0.0.9', weight: 3 }, { via: 'fd01::9', dev: 'eth1', weight: 256 }, { via: '10.7.7.7', dev: 'eth1', onlink: true }], metric: 4 }), // prettier-ignore
      unroute({ dst: 'fd56::/32', from: 'fd66::/32', dev: 'eth1', table: 1000 }),
      unroute({ dst: '10.20.0.0/16', type: 'blackhole' }),
      unroute({ dst: '10.30.0.0/16', type: 'local', dev: 'eth0' }),
    ],
  },
  rules: {
    operations: [
      rule({ from: '10.0.0.0/8', table: 500, priority: 5 }),
      rule({ not: true, to: '10.1.0.0/16', iif: 'eth0', oif: 'eth1', mark: 5, markMask: 255, tos: 16, ipProtocol: 'tcp', sport: { start: 1, end: 5 }, dport: { start: 80, end: 80 }, uidRange: { start: 0, end: 0 }, suppressPrefixLength: 3, suppressIfGroup: 7, table: 9, protocol: 'static', priority: 6 }), // prettier-ignore
      rule({ from: 'fd00::/16', action: 'prohibit', priority: 7 }),
      rule({ family: 'ipv6', mark: 7, table: 254, priority: 8 }),
      ...(['blackhole', 'unreachable', 'nop'] as const).map((action, index) => rule({ action, mark: 3, priority: 20 + index })),
      rule({ goto: 32766, priority: 30 }),
      rule({ l3mdev: true, priority: 31 }),
      rule({ mark: 0, markMask: 255, table: 9, priority: 32 }),
      rule({ tunnelId: 77n, table: 9, priority: 33 }),
      rule({ flow: 0x30004, table: 9, priority: 34 }),
      rule({ table: 9 }),
      { op: 'rule.delete', rule: { from: '10.0.0.0/8', table: 500 } },
      { op: 'rule.delete', rule: { goto: 32766, priority: 30 } },
      { op: 'rule.delete', rule: { priority: 33, tunnelId: 77n, table: 9 } },
      { op: 'rule.delete', rule: { from: 'fd00::/16', action: 'prohibit', priority: 7 } },
    ],
  },
  neighbours: {
    operations: [
      neighbor({ address: '10.0.0.5', mac }),
      neighbor({ address: '10.0.0.6', mac, state: 'stale', protocol: 'static' }),
      neighbor({ address: '10.0.0.7', mac, state: 'noarp', flags: ['extern_learn'] }),
      neighbor({ address: 'fd00::5', mac, flags: ['router'] }),
      neighbor({ address: '10.9.0.1', flags: ['proxy'] }),
      neighbor({ address: 'fd09::1', flags: ['proxy'] }),
      { op: 'neighbor.delete', link: 'eth0', neighbor: { address: '10.0.0.5' } },
      { op: 'neighbor.delete', link: 'eth0', neighbor: { address: '10.9.0.1', flags: ['proxy'] } },
    ],
  },
  'forwarding entries of a bridge': {
    features: ['bridge'],
    from: bridged,
    operations: [
      fdb('p0', { mac }),
      fdb('p0', { mac: '02:00:00:00:00:06', state: 'permanent' }),
      fdb('p0', { mac: '02:00:00:00:00:07', flags: ['sticky'] }),
      fdb('p0', { mac: '02:00:00:00:00:08', flags: ['extern_learn'] }),
      fdb('p0', { mac: '02:00:00:00:00:09', state: 'reachable' }),
      { op: 'fdb.delete', link: 'p0', entry: { mac } },
    ],
  },
  'forwarding entries of a VXLAN': {
    features: ['vxlan'],
    from: tunnelled,
    operations: [
      fdb('vx', { mac, dst: '10.0.0.9' }),
      fdb('vx', { mac, dst: '10.0.0.10', port: 4789, vni: 9 }),
      fdb('vx', { mac: '02:00:00:00:00:06', dst: '10.0.0.9', state: 'noarp' }),
      fdb('vx', { mac: '00:00:00:00:00:00', dst: '10.0.0.9' }),
      fdb('vx', { mac: '00:00:00:00:00:00', dst: '10.0.0.10' }),
      { op: 'fdb.delete', link: 'vx', entry: { mac: '00:00:00:00:00:00', dst: '10.0.0.9' } },
    ],
  },
  'qdiscs and filters': {
    features: ['clsact'],
    operations: [
      { op: 'qdisc.add', link: 'eth0', qdisc: { kind: 'clsact' } },
      { op: 'qdisc.add', link: 'eth1', qdisc: { kind: 'ingress' } },
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
          actions: [{ kind: 'mirred', control: 'stolen', options: { action: 'redirect', direction: 'egress', dev: 'eth1' } }],
        },
      },
      { op: 'filter.delete', link: 'eth0', filter: { parent: 'ingress', protocol: 'all', priority: 7, handle: '800::7', kind: 'u32' } },
      { op: 'qdisc.delete', link: 'eth0', qdisc: { parent: 'clsact' } },
      { op: 'qdisc.delete', link: 'eth1', qdisc: { parent: 'ingress' } },
    ],
  },
  sysctls: {
    operations: [
      { op: 'sysctl.set', key: 'net.ipv4.conf.eth0.rp_filter', value: '2' },
      { op: 'sysctl.set', key: 'net.ipv6.conf.eth0.hop_limit', value: '99' },
      { op: 'sysctl.set', key: 'net.ipv4.ip_forward', value: '1' },
    ],
  },
  TAPs: {
    features: ['tun'],
    operations: [
      { op: 'tap.create', name: 'tap1', persist: true, queues: 1, vnetHdr: false, offload: {} },
      { op: 'tap.create', name: 'tap2', persist: true, queues: 2, vnetHdr: true, offload: {}, owner: 0, group: 0 },
    ],
  },
};

/** The states of both. Lifetimes began at different moments: where they differ, it is looked again. */
async function alike(one: Netns, other: Netns): Promise<readonly [unknown, unknown]> {
  let states: [unknown, unknown] = [undefined, undefined];
  await until(async () => {
    states = await Promise.all([state(one), state(other)]);
    return JSON.stringify(states[0]) === JSON.stringify(states[1]);
  });
  return states;
}

const covered = new Set<string>();
for (const [title, { features = [], from = pod, operations }] of Object.entries(groups)) {
  for (const { op } of operations) covered.add(op);
  await t.test(title, { skip: requires(...features) }, async (t) => {
    await using ours = await from();
    await using theirs = await from();
    const before = await state(ours);
    t.strictSame(await state(theirs), before, 'before');
    t.ok(before.length > 50);
    for (const operation of operations) {
      await carryOut(ours, 'test', [operation]);
      const lines = command(operation);
      for (const line of lines.split('\n').filter((line) => !line.startsWith('#'))) {
        const [program = '', ...args] = split(line);
        t.match(program, /^(ip|bridge|tc|sysctl)$/);
        const { status, stderr } = await run(theirs, program, args);
        t.equal(`${stderr}${status}`, '0', line);
      }
      t.strictSame(...(await alike(theirs, ours)), lines);
    }
  });
}

await t.test('every kind of operation stands above', (t) => {
  // No command of iproute2 loads what podtap's addon carries, or makes a table of nftables: tested where they are carried out.
  const programs = new Set(['ebpf.attach', 'localhost.configure', 'localhost.ebpf', 'localhost.nft', 'localhost.nft.delete', 'tcx.detach']);
  t.strictSame(Object.keys(operations).filter((name) => !covered.has(name) && !programs.has(name)), []); // prettier-ignore
  t.end();
});

await t.test('a link that is to make no address of its own makes none', async (t) => {
  await using netns = await Netns.create();
  await createVeth(netns, 'eth0', { peer: { name: 'x', up: true } });
  await carryOut(netns, 'test', [set({ addrGenMode: 'none', up: true })]);
  t.equal((await run(netns, 'ip', ['-6', 'address', 'show', 'dev', 'eth0'])).stdout, '');
});

await t.test('words are quoted for a shell', async (t) => {
  await using netns = await pod();
  const alias = `it's "a" note; $HOME \`ls\` \\n *`;
  const line = command(set({ alias }));
  t.strictSame(split(line).at(-1), alias);
  const { stdout } = await run(netns, 'sh', ['-c', line.replace(/^ip /, "printf '%s|' ")]);
  t.equal(stdout, `link|set|dev|eth0|alias|${alias}|`);
});

await t.test('what has no command is a comment', (t) => {
  t.match(command({ op: 'tap.create', name: 'tap1', persist: false, queues: 1, vnetHdr: false, offload: {} }), /^# /);
  t.match(command(set({ netnsFd: 7 })), /netns \/proc\/self\/fd\/7$/);
  t.end();
});
