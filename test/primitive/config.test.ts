import t from 'tap';
import { Netns, addAddress, addRoute, addRule, createVeth, readAddr } from 'podtap';
import { ip, ipJson, settled, sh } from '../support/oracle.js';

/** A pod as engines make them, with everything that policy adds: eth0 is the subject, eth1 must not be mixed up with it. */
async function pod(): Promise<Netns> {
  const netns = await Netns.create();
  await createVeth(netns, 'eth0', {
    mac: '02:00:00:00:00:22',
    mtu: 1450,
    txQueueLength: 500,
    addrGenMode: 'none',
    up: true,
    peer: { name: 'x0', addrGenMode: 'none', up: true },
  });
  await createVeth(netns, 'eth1', {
    addrGenMode: 'none',
    up: true,
    addresses: ['10.9.0.1/24', 'fd09::1/64'],
    peer: { name: 'x1', addrGenMode: 'none', up: true },
  });
  await ip(
    netns,
    'address add 10.1.0.2/24 dev eth0 broadcast 10.1.0.255',
    'address add 10.1.0.3/24 dev eth0 noprefixroute', // a secondary
    'address add 10.2.0.2 peer 10.2.0.1/32 dev eth0 scope link',
    'address add fd00:1::2/64 dev eth0 nodad',
    'address add fd00:2::2/64 dev eth0 nodad valid_lft 5000 preferred_lft 4000',
    'address add fe80::22/64 dev eth0 nodad',
    'route add default via 10.1.0.1 dev eth0 metric 100 mtu 1400',
    'route add default via 10.1.0.254 dev eth0 metric 50',
    'route add default via 10.1.0.7 dev eth0 table 100 metric 1',
    'route add default via 10.9.0.7 dev eth1 metric 10 table 200',
    'route add 10.5.0.0/16 dev eth0 scope link src 10.1.0.3',
    'route add 10.6.0.0/16 nexthop via 10.1.0.8 dev eth0 nexthop via 10.9.0.8 dev eth1',
    'route add blackhole 10.7.0.0/16',
    'route add 10.8.0.0/16 dev eth1 src 10.1.0.2',
    '-6 route add default via fe80::1 dev eth0 metric 1024 pref high',
    '-6 route add fd05::/32 via fd00:1::9 dev eth0 table 500',
    '-6 route add fd06::/32 nexthop via fd00:1::8 dev eth0 nexthop via fd09::8 dev eth1',
    'rule add from 10.1.0.2 table 100 priority 10',
    'rule add to 10.1.0.3 table 100 priority 11',
    'rule add iif eth0 table 100 priority 12',
    'rule add oif eth0 table 100 priority 13',
    'rule add from 10.9.0.1 table 200 priority 14',
    'rule add iif eth1 table 200 priority 15',
    'rule add from 10.1.0.0/24 table 200 priority 16',
    '-6 rule add from fd00:1::2 table 500 priority 20',
    'neigh add 10.1.0.5 lladdr 02:00:00:00:00:05 dev eth0 nud permanent',
    'neigh add 10.1.0.1 lladdr 02:00:00:00:00:01 dev eth0 nud reachable', // a gateway
    'neigh add 10.1.0.254 lladdr 02:00:00:00:00:fe dev eth0 nud stale', // another
    'neigh add 10.1.0.8 lladdr 02:00:00:00:00:08 dev eth0 nud stale', // that of one leg
    'neigh add 10.1.0.77 lladdr 02:00:00:00:00:77 dev eth0 nud reachable', // somebody
    'neigh add fe80::1 lladdr 02:00:00:00:00:01 dev eth0 nud reachable router',
    'neigh add fd00:1::5 lladdr 02:00:00:00:00:05 dev eth0 nud permanent',
    'neigh add 10.9.0.5 lladdr 02:00:00:00:00:05 dev eth1 nud permanent',
  );
  return settled(netns);
}

await t.test('everything that eth0 has, and nothing else', async (t) => {
  await using netns = await pod();
  const eth0 = await readAddr(netns, 'eth0');
  const [link] = await ipJson(netns, 'link show dev eth0');
  t.hasStrict(eth0, {
    name: 'eth0',
    ifindex: link!.ifindex as number,
    kind: 'veth',
    mac: '02:00:00:00:00:22',
    mtu: 1450,
    txQueueLength: 500,
    gateway: { ipv4: '10.1.0.254', ipv6: 'fe80::1' },
  });
  t.strictSame(eth0.addresses.map(({ address }) => address).sort(), ['10.1.0.2/24', '10.1.0.3/24', '10.2.0.2/32', 'fd00:1::2/64', 'fd00:2::2/64', 'fe80::22/64']); // prettier-ignore
  t.hasStrict(eth0.addresses.find(({ address }) => address === '10.1.0.3/24')?.flags, ['secondary', 'permanent', 'noprefixroute']);
  t.equal(eth0.addresses.find(({ address }) => address === '10.2.0.2/32')?.peer, '10.2.0.1');
  const lifetimes = eth0.addresses.find(({ address }) => address === 'fd00:2::2/64');
  t.ok(lifetimes!.validLifetime! > 4990 && lifetimes!.preferredLifetime! > 3990);

  // Every route with eth0 in it, as ip finds them.
  const shown = [...(await ipJson(netns, '-4 route show table all')), ...(await ipJson(netns, '-6 route show table all'))].filter(
    ({ dev, nexthops }) => dev === 'eth0' || (nexthops as { dev: string }[] | undefined)?.some((hop) => hop.dev === 'eth0'),
  );
  t.equal(eth0.routes.length, shown.length);
  const dsts = (table: number): string[] => eth0.routes.filter((route) => route.table === table).map(({ dst }) => dst).sort(); // prettier-ignore
  t.strictSame(dsts(254), ['0.0.0.0/0', '0.0.0.0/0', '10.1.0.0/24', '10.2.0.1/32', '10.5.0.0/16', '10.6.0.0/16', '::/0', 'fd00:1::/64', 'fd00:2::/64', 'fd06::/32', 'fe80::/64'].sort()); // prettier-ignore
  t.strictSame(dsts(100), ['0.0.0.0/0']);
  t.strictSame(dsts(200), []);
  t.strictSame(dsts(500), ['fd05::/32']);
  t.equal(eth0.routes.find(({ metric }) => metric === 100)?.mtu, 1400);
  t.strictSame(eth0.rules.map(({ priority }) => priority).sort(), [10, 11, 12, 13, 20]);
  t.strictSame(
    eth0.neighbors.map(({ address, state }) => `${address} ${state}`).sort(),
    ['10.1.0.1 reachable', '10.1.0.254 stale', '10.1.0.5 permanent', '10.1.0.8 stale', 'fd00:1::5 permanent', 'fe80::1 reachable'].sort(),
  );
});

await t.test('by index; of a link with nothing; of none', async (t) => {
  await using netns = await pod();
  const eth0 = await readAddr(netns, 'eth0');
  t.strictSame((await readAddr(netns, eth0.ifindex)).routes, eth0.routes);
  await createVeth(netns, 'bare', { addrGenMode: 'none', peer: { name: 'y' } });
  t.hasStrict(await readAddr(netns, 'bare'), { addresses: [], routes: [], rules: [], neighbors: [], gateway: {} });
  await t.rejects(readAddr(netns, 'eth7'), { name: 'PodtapError', code: 'ENODEV', message: /'eth7'/ });
});

await t.test('the loopback', async (t) => {
  await using netns = await Netns.create();
  t.hasStrict(await readAddr(netns, 'lo'), { kind: 'loopback', mac: '00:00:00:00:00:00', mtu: 65536 });
});

await t.test('a gateway without an address of its own: the route that cloud pods have', async (t) => {
  await using netns = await Netns.create();
  await createVeth(netns, 'eth0', { up: true, addresses: ['10.1.0.2/32'], peer: { name: 'x', up: true } });
  await addRoute(netns, { dst: 'default', via: '169.254.1.1', dev: 'eth0', onlink: true });
  const { gateway, routes } = await readAddr(netns, 'eth0');
  t.strictSame(gateway, { ipv4: '169.254.1.1' });
  t.equal(routes.find(({ dst }) => dst === '0.0.0.0/0')?.onlink, true);
});

await t.test('a multipath default route: the gateway of this link', async (t) => {
  await using netns = await pod();
  await ip(netns, 'route del default metric 50', 'route del default metric 100');
  await ip(netns, 'route add default nexthop via 10.9.0.7 dev eth1 nexthop via 10.1.0.1 dev eth0');
  t.equal((await readAddr(netns, 'eth0')).gateway.ipv4, '10.1.0.1');
  t.equal((await readAddr(netns, 'eth1')).gateway.ipv4, '10.9.0.7');
});

await t.test('lossless: what is read from one pod, put into another', async (t) => {
  await using netns = await pod();
  const eth0 = await readAddr(netns, 'eth0');
  await using other = await Netns.create();
  const { name, mac, mtu, txQueueLength, ifindex } = eth0;
  await createVeth(other, name, { mac, mtu, txQueueLength, ifindex, addrGenMode: 'none', up: true, peer: { name: 'x0', addrGenMode: 'none', up: true } }); // prettier-ignore
  const v4 = eth0.addresses.filter(({ address }) => !address.includes(':'));
  const v6 = eth0.addresses.filter(({ address }) => address.includes(':'));
  for (const address of [...v4, ...v6.reverse()]) await addAddress(other, name, address);
  // Legs over eth1 have no place there; the kernel's own come with the addresses.
  const routes = eth0.routes.filter(({ protocol, nexthops }) => protocol !== 'kernel' && nexthops === undefined);
  for (const route of routes) await addRoute(other, route);
  for (const rule of eth0.rules) await addRule(other, rule);
  await settled(other);
  const text = async (scope: Netns): Promise<string> =>
    [
      await sh(scope, 'ip -d address show dev eth0'),
      await sh(scope, 'ip -4 -d route show table all dev eth0'),
      await sh(scope, 'ip -6 -d route show table all dev eth0'),
    ]
      .join('\n')
      .replace(/\b(\d+)sec/g, (_, seconds) => `${Math.ceil(Number(seconds) / 100)} hundred seconds`)
      .replace(/eth0@x0/g, 'eth0');
  t.equal(await text(other), await text(netns));
  t.strictSame((await readAddr(other, name)).rules, eth0.rules);
});
