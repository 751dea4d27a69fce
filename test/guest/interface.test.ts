// From the kernel to what the guest is told; and that, given to another kernel, works as it did in the pod.
import t from 'tap';
import { Netns, addAddress, addRoute, createVeth, listRoutes, readAddr } from 'podtap';
import { type GuestNetwork, type InterfaceLike, defineGuest, guestOf, parseResolvConf } from 'podtap/guest';
import { ip, settled } from '../support/oracle.js';

const mac = '02:00:00:00:00:22';

/** A pod with eth0 and what is done to it; made link-local addresses only where the kernel is to make them. */
async function pod(...lines: readonly string[]): Promise<Netns> {
  const netns = await Netns.create();
  await createVeth(netns, 'eth0', { mac, addrGenMode: 'none', up: true, peer: { name: 'x', addrGenMode: 'none', up: true } });
  await ip(netns, ...lines);
  return settled(netns);
}
async function told(netns: Netns): Promise<GuestNetwork> {
  return guestOf(await readAddr(netns, 'eth0'), { tap: 'tap100' });
}
const cidrs = ({ addresses }: GuestNetwork): string[] => addresses.map(({ address }) => address);
const reasons = ({ notes = [] }: GuestNetwork): string[] => notes.map(({ field, reason }) => `${field}: ${reason}`);

/** A stack that is told this and nothing else: every route must be accepted in its order. What is in its main table then. */
async function booted(network: GuestNetwork): Promise<string[]> {
  await using guest = await Netns.create();
  await createVeth(guest, 'eth0', { mac: network.mac, addrGenMode: 'none', up: true, peer: { name: 'x', addrGenMode: 'none', up: true } });
  for (const { address } of network.addresses) await addAddress(guest, 'eth0', { address, flags: address.includes(':') ? ['nodad'] : [] });
  for (const { mtu, nexthops, type, ...route } of network.routes) {
    await addRoute(guest, {
      ...route,
      ...(mtu !== undefined && { mtu }),
      ...(type === undefined ? { dev: 'eth0' } : { type }),
      ...(nexthops !== undefined && { dev: undefined, nexthops: nexthops.map((leg) => ({ ...leg, dev: 'eth0' })) }),
    });
  }
  return await mainRoutes(await settled(guest));
}
async function mainRoutes(netns: Netns): Promise<string[]> {
  return (await listRoutes(netns))
    .map(({ dst, via, metric, mtu, src, type, nexthops }) =>
      JSON.stringify({ dst, via, metric, mtu, src, type, legs: nexthops?.map((leg) => leg.via) }),
    ) // prettier-ignore
    .sort();
}

await t.test('a pod on a bridge', async (t) => {
  await using netns = await pod(
    'address add 172.17.0.5/16 dev eth0',
    'address add fd00::5/64 dev eth0 nodad',
    'route add default via 172.17.0.1',
    '-6 route add default via fd00::1 dev eth0',
  );
  const network = await told(netns);
  t.same(network, {
    mac,
    mtu: 1500,
    tap: 'tap100',
    link: 'eth0',
    addresses: [{ address: '172.17.0.5/16' }, { address: 'fd00::5/64' }],
    gateway: { ipv4: '172.17.0.1', ipv6: 'fd00::1' },
    routes: [
      { dst: '0.0.0.0/0', via: '172.17.0.1' },
      { dst: '::/0', via: 'fd00::1', metric: 1024 },
    ],
    neighbors: [],
    dns: { servers: [], search: [] },
  });
  t.strictSame(defineGuest(JSON.parse(JSON.stringify(network)) as GuestNetwork), network);
  t.same(await booted(network), await mainRoutes(netns));
});

await t.test('a gateway outside of the subnet: /32 with 169.254.1.1, and fe80::1', async (t) => {
  const addresses = [
    'address add 172.17.0.5/32 dev eth0',
    'address add fd00::5/128 dev eth0 nodad',
    'address add fe80::22/64 dev eth0 nodad',
  ];
  const six = '-6 route add default via fe80::1 dev eth0';
  const neighbors = ['neigh add 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud reachable', 'neigh add 169.254.1.9 lladdr ee:ee:ee:ee:ee:e9 dev eth0 nud permanent']; // prettier-ignore
  await using calico = await pod(...addresses, 'route add 169.254.1.1 dev eth0 scope link', 'route add default via 169.254.1.1', six, ...neighbors); // prettier-ignore
  const network = await told(calico);
  t.same(cidrs(network), ['172.17.0.5/32', 'fd00::5/128', 'fe80::22/64'], 'a link-local address that somebody gave is told');
  t.equal(network.addresses[2]!.scope, 'link');
  t.same(network.gateway, { ipv4: '169.254.1.1', ipv6: 'fe80::1' });
  t.same(network.routes, [
    { dst: '0.0.0.0/0', via: '169.254.1.1', onlink: true },
    { dst: '169.254.1.1/32' },
    { dst: '::/0', via: 'fe80::1', metric: 1024 },
  ]);
  t.same(
    [...network.neighbors].sort((a, b) => (a.address < b.address ? -1 : 1)),
    [
      { address: '169.254.1.1', mac: 'ee:ee:ee:ee:ee:ee' },
      { address: '169.254.1.9', mac: 'ee:ee:ee:ee:ee:e9', permanent: true },
    ],
  );
  t.same(reasons(network), []);
  t.same(await booted(network), await mainRoutes(calico));

  await using onlink = await pod(addresses[0]!, 'route add default via 169.254.1.1 dev eth0 onlink');
  const other = await told(onlink);
  t.same(other.routes, [{ dst: '0.0.0.0/0', via: '169.254.1.1', onlink: true }]);
  t.same(await booted(other), await mainRoutes(onlink));

  await using bare = await pod(addresses[1]!, '-6 route add default via fe80::1 dev eth0 onlink');
  t.match((await told(bare)).routes, [{ dst: '::/0', via: 'fe80::1', onlink: true }], 'without an fe80::/64 of its own');
  t.same(await booted(await told(bare)), await mainRoutes(bare));
});

await t.test('an address whose subnet is not on the link, as ptp leaves it', async (t) => {
  await using netns = await pod(
    'address add 10.1.0.5/24 dev eth0',
    'route del 10.1.0.0/24 dev eth0',
    'route add 10.1.0.1 dev eth0 scope link src 10.1.0.5',
    'route add 10.1.0.0/24 via 10.1.0.1 dev eth0 src 10.1.0.5',
    'route add default via 10.1.0.1',
    'address add fd00::5/64 dev eth0 nodad noprefixroute',
  );
  const network = await told(netns);
  t.same(cidrs(network), ['10.1.0.5/32', 'fd00::5/128']);
  t.match(reasons(network), [/10\.1\.0\.5\/24 is told as 10\.1\.0\.5\/32: .*10\.1\.0\.0\/24/, /fd00::5\/64 is told as fd00::5\/128/]);
  const withoutHost = (routes: string[]): string[] => routes.filter((route) => !route.includes('"fd00::5/128"'));
  t.same(withoutHost(await booted(network)), await mainRoutes(netns));
});

await t.test('noprefixroute with a prefix route of its own, and a secondary', async (t) => {
  await using netns = await pod(
    'address add 10.1.0.2/24 dev eth0',
    'address add 10.1.0.3/24 dev eth0 noprefixroute',
    'address add fd00::2/64 dev eth0 nodad noprefixroute',
    '-6 route add fd00::/64 dev eth0 proto ra metric 100',
  );
  const network = await told(netns);
  t.same(cidrs(network), ['10.1.0.2/24', '10.1.0.3/24', 'fd00::2/64']);
  t.same(network.routes, []);
});

await t.test('an interface that is down has no routes, and keeps its prefixes', async (t) => {
  await using netns = await pod('link set eth0 down', 'address add 10.1.0.2/24 dev eth0');
  t.same(cidrs(await told(netns)), ['10.1.0.2/24']);
});

await t.test('point to point, with lifetimes', async (t) => {
  await using netns = await pod(
    'address add 10.2.0.2 peer 10.2.0.1/32 dev eth0',
    'address add 10.3.0.2 peer 10.3.0.0/24 dev eth0 valid_lft 5000 preferred_lft 0',
    'route add default via 10.2.0.1',
  );
  const network = await told(netns);
  t.match(network.addresses, [{ address: '10.2.0.2/32' }, { address: '10.3.0.2/32', preferredLifetime: 0 }]);
  t.ok(network.addresses[1]!.validLifetime! > 4900);
  t.same(network.routes, [
    { dst: '0.0.0.0/0', via: '10.2.0.1', onlink: true },
    { dst: '10.2.0.1/32', src: '10.2.0.2' },
    { dst: '10.3.0.0/24', src: '10.3.0.2' },
  ]);
  t.same(await booted(network), await mainRoutes(netns));
});

await t.test('link-local addresses of the kernel are the guest’s to make', async (t) => {
  await using netns = await Netns.create();
  await createVeth(netns, 'eth0', { mac, up: true, peer: { name: 'x', up: true } });
  await ip(netns, 'address add fd00::5/64 dev eth0 nodad');
  await settled(netns);
  const config = await readAddr(netns, 'eth0');
  t.ok(config.addresses.some(({ address }) => address.startsWith('fe80::')));
  t.same(cidrs(guestOf(config, { tap: 'tap0' })), ['fd00::5/64']);
  t.same(guestOf(config, { tap: 'tap0' }).routes, []);
  // Where the kernel does not say who made it (before 5.18), its MAC does.
  const older: InterfaceLike = { ...config, addresses: config.addresses.map(({ protocol: _, ...address }) => address) };
  t.same(cidrs(guestOf(older, { tap: 'tap0' })), ['fd00::5/64']);
  t.equal(cidrs(guestOf({ ...older, mac: '02:00:00:00:00:99' }, { tap: 'tap0' })).length, 2, 'not made from that one');
});

await t.test('addresses and neighbours that no guest is told', async (t) => {
  const global = { scope: 'global', ifindex: 2 };
  const config: InterfaceLike = {
    name: 'eth0',
    ifindex: 2,
    mac,
    mtu: 1500,
    addresses: [
      { ...global, address: 'fd00::5/64' },
      { ...global, address: 'fd00::abcd/64', flags: ['secondary'] },
      { ...global, address: 'fd00::6/64', flags: ['dadfailed', 'tentative'] },
      { scope: 'link', address: 'fe80::1234/64', protocol: 3 },
      { scope: 'link', address: 'fe80::5678/64', flags: ['stable-privacy'] },
    ],
    routes: [{ dst: 'fd00::/64', dev: 2, protocol: 'kernel' }],
    neighbors: [
      { address: 'fd00::7', mac: '00:00:00:00:00:00', ifindex: 2, state: 'permanent' },
      { address: 'fd00::8', mac: '33:33:00:00:00:01', ifindex: 2, state: 'permanent' },
      { address: 'fd00::5', mac, ifindex: 2, state: 'permanent' },
      { address: 'fd00::9', mac: '', ifindex: 2, state: 'permanent', flags: ['proxy'] },
      { address: 'fd00::a', mac: '02:00:00:00:00:0a', ifindex: 2, state: 'reachable' },
      { address: 'fd00::b', mac: '02:00:00:00:00:0b', ifindex: 2, state: 'permanent' },
    ],
  };
  const network = guestOf(config, { tap: 'tap0' });
  t.same(network.addresses, [{ address: 'fd00::5/64' }]);
  t.match(reasons(network), [/^addresses: fd00::abcd\/64 is temporary/, /^addresses: fd00::6\/64 failed duplicate address detection/]);
  t.equal(network.notes?.length, 2, "the kernel's own link-local addresses are not worth a note");
  t.same(network.neighbors, [{ address: 'fd00::b', mac: '02:00:00:00:00:0b', permanent: true }]);
  t.same(network.routes, []);
});

await t.test('nothing is left out silently', async (t) => {
  await using netns = await pod(
    'link add eth1 type veth peer name y',
    'link set eth1 up',
    'link set y up',
    'address add 10.9.0.2/24 dev eth1',
    'address add 10.1.0.2/24 dev eth0',
    'address add 10.4.0.2/24 dev eth0 scope host',
    'route add default via 10.1.0.1 metric 100 mtu 1400 advmss 1300',
    'route add default via 10.1.0.254 metric 50',
    'route add 10.5.0.0/16 dev eth0 scope link src 10.9.0.2',
    'route add 10.6.0.0/16 nexthop via 10.1.0.8 dev eth0 nexthop via 10.9.0.8 dev eth1',
    'route add 10.6.1.0/24 nexthop via 10.1.0.8 dev eth0 weight 3 nexthop via 10.1.0.9 dev eth0',
    'route add 10.7.0.0/16 via 10.1.0.1 dev eth0 table 100',
    'route add local 10.8.0.0/16 dev eth0 table local',
    'route add 10.10.0.0/16 via 10.1.0.1 tos 8',
    'rule add from 10.1.0.2 table 100 priority 10',
  );
  const network = await told(netns);
  t.same(cidrs(network), ['10.1.0.2/24']);
  t.same(network.gateway, { ipv4: '10.1.0.254' }, 'the preferred one');
  t.same(network.routes, [
    { dst: '0.0.0.0/0', via: '10.1.0.254', metric: 50 },
    { dst: '0.0.0.0/0', via: '10.1.0.1', metric: 100, mtu: 1400 },
    { dst: '10.5.0.0/16' },
    { dst: '10.6.0.0/16', via: '10.1.0.8' },
    { dst: '10.6.1.0/24', nexthops: [{ via: '10.1.0.8', weight: 3 }, { via: '10.1.0.9' }] },
  ]);
  const said = reasons(network).join('\n');
  for (const what of [
    /^addresses: 10\.4\.0\.2\/24 has scope host$/m,
    /^routes: 0\.0\.0\.0\/0 via 10\.1\.0\.1: its advmss is left out$/m,
    /^routes: 10\.5\.0\.0\/16: the source 10\.9\.0\.2 is none of the guest's addresses$/m,
    /^routes: 10\.6\.0\.0\/16: its legs by other interfaces are left out$/m,
    /^routes: 10\.7\.0\.0\/16 via 10\.1\.0\.1: is in routing table 100/m,
    /^routes: 10\.8\.0\.0\/16: is in routing table 255/m,
    /^routes: 10\.10\.0\.0\/16 via 10\.1\.0\.1: is for packets with TOS 8 only$/m,
    /^routes: rule 10 /m,
  ])
    t.match(said, what);
  t.equal(network.notes?.length, 8);
  const config = await readAddr(netns, 'eth0');
  const blackhole = (await listRoutes(netns)).filter(({ type }) => type === 'blackhole');
  t.same(blackhole, []);
  const more = guestOf({ ...config, routes: [...config.routes, { dst: '10.11.0.0/16', type: 'blackhole' }] }, { tap: 'tap0' });
  t.match(more.routes.at(-1), { dst: '10.11.0.0/16', type: 'blackhole' });
  await booted(more);
});

await t.test('MAC, MTU, DNS and host name', async (t) => {
  await using netns = await pod('link set eth0 mtu 1450', 'address add 10.1.0.2/24 dev eth0');
  const config = await readAddr(netns, 'eth0');
  const dns = parseResolvConf('nameserver 127.0.0.11\nnameserver fe80::1%eth0\nsearch a.b\n');
  const network = guestOf(config, { tap: 'tap7', mac: '02:00:00:00:00:99', dns, hostname: 'web-0' });
  t.match(network, {
    mac: '02:00:00:00:00:99',
    mtu: 1450,
    tap: 'tap7',
    hostname: 'web-0',
    dns: { servers: ['127.0.0.11'], search: ['a.b'] },
  });
  t.match(reasons(network), [/^dns: "nameserver fe80::1%eth0"/]);
  t.equal(guestOf(config, { tap: 'tap7', mtu: 1400 }).mtu, 1400);
  t.throws(() => guestOf(config, { tap: 'tap7', hostname: 'a b' }), { message: /^guestOf: 'hostname'/ });
});
