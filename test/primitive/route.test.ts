import t from 'tap';
import {
  type Encap,
  Netns,
  type Route,
  addAddress,
  addRoute,
  createVeth,
  deleteRoute,
  getLink,
  getRoute,
  listRoutes,
  replaceRoute,
} from 'podtap';
import { type Json, at, ip, ipJson, run, settled, sh } from '../support/oracle.js';
import { requires } from '../support/requires.js';

/** eth0 with 10.0.0.1/24 and fd00::1/64, eth1 with 10.1.0.1/24 and fd01::1/64; nothing of its own making on them. */
async function pod(): Promise<Netns> {
  const netns = await Netns.create();
  for (const [index, name] of ['eth0', 'eth1'].entries()) {
    await createVeth(netns, name, {
      addrGenMode: 'none',
      up: true,
      addresses: [`10.${index}.0.1/24`, `fd0${index}::1/64`],
      peer: { name: `x${index}`, addrGenMode: 'none', up: true },
    });
  }
  return settled(netns);
}
async function oracle(netns: Netns, dst: string): Promise<Json[]> {
  return ipJson(netns, `${dst.includes(':') ? '-6 ' : '-4 '}route show table all exact ${dst}`);
}
/** Every route, as text: what `ip -d route` prints that its JSON does not, too. Seconds to live are rounded. */
async function all(netns: Netns): Promise<string> {
  const text = `${await sh(netns, 'ip -4 -d route show table all')}\n${await sh(netns, 'ip -6 -d route show table all')}`;
  return text.replace(/expires (\d+)sec/g, (_, seconds) => `expires ${Math.ceil(Number(seconds) / 10) * 10}sec`);
}
const metrics = { mtu: 1400, window: 1000, rtt: 80, rttvar: 40, ssthresh: 5, cwnd: 6, advmss: 1300, reordering: 8, hoplimit: 9, initcwnd: 10, rto_min: 200, initrwnd: 11, quickack: 1, cc_algo: 'reno', fastopen_no_cookie: 1 }; // prettier-ignore

await t.test('addRoute, each field as ip shows it', async (t) => {
  const { mtu: _, ...others } = metrics;
  for (const [route, expected] of [
    [{ dst: '10.5.0.0/16', via: '10.0.0.9' }, { type: 'unicast', gateway: '10.0.0.9', dev: 'eth0', protocol: 'boot', scope: 'global', table: 'main' }], // prettier-ignore
    [
      { dst: '10.5.0.0/16', dev: 'eth1' },
      { dev: 'eth1', scope: 'link', gateway: undefined },
    ],
    [{ dst: '10.5.0.1', dev: 'eth1' }, { dst: '10.5.0.1' }],
    [
      { dst: 'default', via: '10.0.0.9' },
      { dst: 'default', gateway: '10.0.0.9' },
    ],
    [
      { dst: '0.0.0.0/0', via: '10.0.0.9' },
      { dst: 'default', gateway: '10.0.0.9' },
    ],
    [
      { dst: '10.5.0.0/16', via: '169.254.1.1', dev: 'eth0', onlink: true },
      { gateway: '169.254.1.1', flags: ['onlink'] },
    ],
    [{ dst: '10.5.0.0/16', dev: 'eth0', src: '10.1.0.1' }, { prefsrc: '10.1.0.1' }],
    [{ dst: '10.5.0.0/16', dev: 'eth0', metric: 77 }, { metric: 77 }],
    [{ dst: '10.5.0.0/16', dev: 'eth0', metric: 4294967295 }, { metric: 4294967295 }],
    [{ dst: '10.5.0.0/16', dev: 'eth0', table: 100 }, { table: '100' }],
    [{ dst: '10.5.0.0/16', dev: 'eth0', table: 256 }, { table: '256' }],
    [{ dst: '10.5.0.0/16', dev: 'eth0', table: 4000000000 }, { table: '4000000000' }],
    [{ dst: '10.5.0.0/16', dev: 'eth0', scope: 'host' }, { scope: 'host' }],
    [{ dst: '10.5.0.0/16', dev: 'eth0', scope: '42' }, { scope: '42' }],
    [{ dst: '10.5.0.0/16', dev: 'eth0', protocol: 'static' }, { protocol: 'static' }],
    [{ dst: '10.5.0.0/16', dev: 'eth0', protocol: '77' }, { protocol: '77' }],
    [{ dst: '10.5.0.0/16', dev: 'eth0', tos: 0x10 }, { tos: '0x10' }],
    [{ dst: '10.5.0.0/16', dev: 'eth0', mtu: 1400 }, { metrics: [{ mtu: 1400 }] }],
    [{ dst: '10.5.0.0/16', dev: 'eth0', mtu: 1400, metrics: { lock: ['mtu'] } }, { metrics: [{ mtu: 1400 }] }],
    [{ dst: '10.5.0.0/16', dev: 'eth0', flow: 0x30004 }, { flow: { from: '3', to: '4' } }],
    [{ dst: '10.5.0.0/16', via: 'fd00::9', dev: 'eth0' }, { via: { family: 'inet6', host: 'fd00::9' } }],
    [
      { dst: '10.5.0.0/16', type: 'blackhole' },
      { type: 'blackhole', dev: undefined, scope: 'global' },
    ],
    [{ dst: '10.5.0.0/16', type: 'unreachable' }, { type: 'unreachable' }],
    [{ dst: '10.5.0.0/16', type: 'prohibit' }, { type: 'prohibit' }],
    [
      { dst: '10.5.0.0/16', type: 'throw', table: 100 },
      { type: 'throw', table: '100' },
    ],
    [
      { dst: '10.5.0.0/16', type: 'local', dev: 'eth0' },
      { type: 'local', table: 'local', scope: 'host' },
    ],
    [
      { dst: '10.5.0.0/16', type: 'broadcast', dev: 'eth0' },
      { type: 'broadcast', table: 'local', scope: 'link' },
    ],
    [
      { dst: '10.5.0.0/16', type: 'anycast', dev: 'eth0' },
      { type: 'anycast', table: 'local', scope: 'link' },
    ],
    [
      { dst: '224.5.0.0/16', type: 'multicast', dev: 'eth0' },
      { type: 'multicast', table: 'main', scope: 'link' },
    ],
    [
      { dst: '10.5.0.0/16', nexthops: [{ via: '10.0.0.9', weight: 3 }, { via: '10.1.0.9', dev: 'eth1', weight: 256 }, { via: '10.7.7.7', dev: 'eth1', onlink: true }] }, // prettier-ignore
      {
        nexthops: [
          { gateway: '10.0.0.9', dev: 'eth0', weight: 3, flags: [] },
          { gateway: '10.1.0.9', dev: 'eth1', weight: 256, flags: [] },
          { gateway: '10.7.7.7', dev: 'eth1', weight: 1, flags: ['onlink'] },
        ],
      },
    ],
    [
      { dst: '10.5.0.0/16', nexthops: [{ via: '10.0.0.9' }, { via: 'fd01::9', dev: 'eth1' }] },
      { nexthops: [{ gateway: '10.0.0.9', dev: 'eth0', weight: 1, flags: [] }, { via: { family: 'inet6', host: 'fd01::9' }, dev: 'eth1', weight: 1, flags: [] }] }, // prettier-ignore
    ],
    [
      { dst: 'fd55::/32', via: 'fd00::9' },
      { gateway: 'fd00::9', dev: 'eth0', metric: 1024, pref: 'medium', protocol: 'boot' },
    ],
    [{ dst: 'fd55::/32', dev: 'eth1' }, { dev: 'eth1' }],
    [{ dst: 'fd55::1', dev: 'eth1' }, { dst: 'fd55::1' }],
    [
      { dst: '::/0', via: 'fd00::9' },
      { dst: 'default', gateway: 'fd00::9' },
    ],
    [
      { dst: 'default', via: 'fd00::9' },
      { dst: 'default', gateway: 'fd00::9' },
    ],
    [{ dst: 'fd55::/32', via: 'fe80::9', dev: 'eth0' }, { gateway: 'fe80::9' }],
    [
      { dst: 'fd55::/32', via: 'fd77::9', dev: 'eth0', onlink: true },
      { gateway: 'fd77::9', flags: ['onlink'] },
    ],
    [{ dst: 'fd55::/32', dev: 'eth0', src: 'fd01::1' }, { prefsrc: 'fd01::1' }],
    [{ dst: 'fd55::/32', dev: 'eth0', from: 'fd66::/32' }, { from: 'fd66::/32' }],
    [
      { dst: 'fd55::/32', dev: 'eth0', metric: 5, pref: 'low' },
      { metric: 5, pref: 'low' },
    ],
    [{ dst: 'fd55::/32', dev: 'eth0', pref: 'high' }, { pref: 'high' }],
    [{ dst: 'fd55::/32', dev: 'eth0', table: 1000 }, { table: '1000' }],
    [{ dst: 'fd55::/32', dev: 'eth0', mtu: 1400, metrics: { hoplimit: 7 } }, { metrics: [{ mtu: 1400, hoplimit: 7 }] }],
    [{ dst: 'fd55::/32', dev: 'eth0', expires: 1000 }, { expires: [999, 1000] }],
    [
      { dst: 'fd55::/32', type: 'blackhole' },
      { type: 'blackhole', dev: 'lo' },
    ],
    [
      { dst: 'fd55::/32', type: 'prohibit', table: 77 },
      { type: 'prohibit', table: '77' },
    ],
    [
      { dst: 'fd55::/32', type: 'local', dev: 'eth0' },
      { type: 'local', table: 'local' },
    ],
    [
      { dst: 'fd55::/32', type: 'anycast', dev: 'eth0' },
      { type: 'anycast', table: 'local' },
    ],
    [
      {
        dst: 'fd55::/32',
        nexthops: [
          { via: 'fd00::9', weight: 2 },
          { via: 'fd01::9', dev: 'eth1', weight: 5 },
        ],
      },
      {
        nexthops: [
          { gateway: 'fd00::9', dev: 'eth0', weight: 2, flags: [] },
          { gateway: 'fd01::9', dev: 'eth1', weight: 5, flags: [] },
        ],
      },
    ],
    [{ dst: '10.5.0.0/16', dev: 'eth0', mtu: 1400, metrics: others }, { metrics: [{ ...metrics, rtt: undefined, rttvar: undefined }] }],
  ] as const satisfies readonly (readonly [Route, Json])[]) {
    await using netns = await pod();
    const name = JSON.stringify(route);
    await addRoute(netns, route);
    const { dst: shown, ...rest } = { dst: route.dst, ...expected };
    const dst = route.dst === 'default' ? (route.via.includes(':') ? '::/0' : '0.0.0.0/0') : route.dst;
    const [found, ...more] = await oracle(netns, dst);
    t.strictSame(more, [], name);
    t.equal(found!.dst, shown.replace(/\/0$/, '') === '0.0.0.0' ? 'default' : shown, name);
    for (const [key, value] of Object.entries(rest)) {
      if (key === 'expires') t.ok((value as unknown as number[]).includes(Number(found!.expires)), `${name}: ${key}`);
      else if (key === 'metrics') {
        const [one] = found!.metrics as Json[];
        for (const [metric, number] of Object.entries((value as readonly Json[])[0]!))
          if (number !== undefined) t.equal(at(one, metric === 'cc_algo' ? 'congestion' : metric), number, `${name}: ${metric}`);
      } else t.strictSame(found![key], value, `${name}: ${key}`);
    }
    // And podtap reads what it wrote.
    const read = (await listRoutes(netns, { table: 'all', family: dst.includes(':') ? 'ipv6' : 'ipv4' })).find(
      (one) => one.dst === (dst.includes('/') ? dst : `${dst}/${dst.includes(':') ? 128 : 32}`),
    );
    const { dst: __, via, nexthops, dev, expires, ...same } = route as Route;
    t.hasStrict(read, { ...same, ...(via !== undefined && { via }) }, `${name}, as it is read`);
    if (dev !== undefined && route.type !== 'blackhole') t.equal(read?.dev, (await getLink(netns, dev))?.ifindex, name);
    t.equal(expires === undefined, read?.expires === undefined, name);
    t.strictSame(
      read?.nexthops?.map(({ via, weight = 1, onlink }) => ({ via, weight, onlink })),
      nexthops?.map(({ via, weight = 1, onlink }) => ({ via, weight, onlink })),
      name,
    );
    t.equal(await deleteRoute(netns, route), true, `${name}: deleted`);
    t.equal(await deleteRoute(netns, route), false, `${name}: not there any more`);
    t.strictSame(await oracle(netns, dst), [], name);
  }
});

await t.test('locked metrics', async (t) => {
  await using netns = await pod();
  await addRoute(netns, { dst: '10.5.0.0/16', dev: 'eth0', mtu: 1400, metrics: { lock: ['mtu', 'cwnd'], cwnd: 9 } });
  t.match(await sh(netns, 'ip route show 10.5.0.0/16'), / mtu lock 1400 .*cwnd lock 9/);
  const [route] = (await listRoutes(netns)).filter(({ dst }) => dst === '10.5.0.0/16');
  t.hasStrict(route, { mtu: 1400, metrics: { cwnd: 9, lock: ['mtu', 'cwnd'] } });
});

await t.test('errors of the kernel', async (t) => {
  await using netns = await pod();
  await addRoute(netns, { dst: '10.5.0.0/16', dev: 'eth0' });
  await t.rejects(addRoute(netns, { dst: '10.5.0.0/16', dev: 'eth1' }), { name: 'NetlinkError', code: 'EEXIST', syscall: 'RTM_NEWROUTE' });
  await t.rejects(addRoute(netns, { dst: '10.6.0.0/16', via: '172.16.0.1' }), {
    code: 'ENETUNREACH',
    message: /Nexthop has invalid gateway/,
    extack: { message: 'Nexthop has invalid gateway' },
  });
  await t.rejects(addRoute(netns, { dst: '10.6.0.0/16', dev: 'eth9' }), { name: 'PodtapError', code: 'ENODEV', message: /'eth9'/ });
  await t.rejects(addRoute(netns, { dst: '10.6.0.0/16', nexthops: [{ via: '10.0.0.9', dev: 'eth9' }] }), { code: 'ENODEV', message: /'eth9'/ }); // prettier-ignore
  await t.rejects(addRoute(netns, { dst: '10.6.0.0/16', dev: 'eth0', src: '172.16.0.1' }), {
    code: 'EINVAL',
    extack: { message: 'Invalid prefsrc address' },
  });
  await t.rejects(addRoute(netns, { dst: '10.6.0.0/16', nhid: 4711 }), { code: 'EINVAL', extack: { message: /[Nn]exthop/ } });
  await t.rejects(addRoute(netns, { dst: '10.6.0.0/16', dev: 'eth0', metrics: { cc_algo: 'teleport' } }), {
    code: 'EINVAL',
    extack: { message: 'Unknown tcp congestion algorithm' },
  });
});

await t.test('replaceRoute', async (t) => {
  await using netns = await pod();
  for (const [dst, a, b] of [
    ['10.5.0.0/16', '10.0.0.8', '10.0.0.9'],
    ['fd55::/32', 'fd00::8', 'fd00::9'],
  ] as const) {
    // prettier-ignore
    await replaceRoute(netns, { dst, via: a, metric: 10 });
    await replaceRoute(netns, { dst, via: b, metric: 10, mtu: 1400 });
    await addRoute(netns, { dst, via: a, metric: 11 });
    const found = await oracle(netns, dst);
    t.strictSame(found.map(({ gateway, metric }) => [gateway, metric]), [[b, 10], [a, 11]]); // prettier-ignore
  }
});

await t.test('deleteRoute takes the first that fits', async (t) => {
  await using netns = await pod();
  for (const metric of [1, 2, 3]) await addRoute(netns, { dst: '10.5.0.0/16', via: `10.0.0.${metric}`, metric });
  const left = async (): Promise<unknown[]> => (await oracle(netns, '10.5.0.0/16')).map(({ metric }) => metric);
  t.equal(await deleteRoute(netns, { dst: '10.5.0.0/16', via: '10.0.0.2' }), true);
  t.strictSame(await left(), [1, 3]);
  t.equal(await deleteRoute(netns, { dst: '10.5.0.0/16', metric: 3 }), true);
  t.strictSame(await left(), [1]);
  t.equal(await deleteRoute(netns, { dst: '10.5.0.0/16', dev: 'eth1' }), false);
  t.equal(await deleteRoute(netns, { dst: '10.5.0.0/16', table: 100 }), false);
  t.equal(await deleteRoute(netns, { dst: '10.5.0.0/16' }), true);
  t.strictSame(await left(), []);
});

await t.test('listRoutes: tables, families, links', async (t) => {
  await using netns = await pod();
  await ip(
    netns,
    'route add 10.5.0.0/16 dev eth0 table 100',
    'route add 10.6.0.0/16 dev eth1 table 1000',
    'route add blackhole 10.7.0.0/16',
    'route add 10.8.0.0/16 nexthop via 10.0.0.9 nexthop via 10.1.0.9',
    '-6 route add fd55::/32 dev eth1 table 1000',
    '-6 route add fd56::/32 nexthop via fd00::9 nexthop via fd01::9',
  );
  const list = async (filter?: Parameters<typeof listRoutes>[1]): Promise<string[]> =>
    (await listRoutes(netns, filter)).map(({ dst }) => dst).sort();
  const main4 = ['10.0.0.0/24', '10.1.0.0/24', '10.7.0.0/16', '10.8.0.0/16'];
  t.strictSame(await list({ family: 'ipv4' }), main4);
  t.strictSame(await list({ family: 'ipv4', table: 254 }), main4);
  t.strictSame(await list(), [...main4, 'fd00::/64', 'fd01::/64', 'fd56::/32'].sort());
  t.strictSame(await list({ table: 100 }), ['10.5.0.0/16']);
  t.strictSame(await list({ table: 1000 }), ['10.6.0.0/16', 'fd55::/32']);
  t.strictSame(await list({ table: 4711 }), [], 'a table that was never used');
  t.strictSame(await list({ table: 1000, family: 'ipv6' }), ['fd55::/32']);
  t.strictSame(await list({ link: 'eth1', family: 'ipv4' }), ['10.1.0.0/24', '10.8.0.0/16'], 'any leg of a multipath route');
  t.strictSame(await list({ link: 'eth0', family: 'ipv4' }), ['10.0.0.0/24', '10.8.0.0/16']);
  t.strictSame(await list({ link: 'eth1', family: 'ipv6', table: 'all' }), ['fd01::/64', 'fd01::1/128', 'fd55::/32', 'fd56::/32', 'ff00::/8']); // prettier-ignore
  const everything = [...(await ipJson(netns, '-4 route show table all')), ...(await ipJson(netns, '-6 route show table all'))];
  t.equal((await list({ table: 'all' })).length, everything.length);
  await t.rejects(list({ link: 'eth7' }), { code: 'ENODEV', message: /'eth7'/ });
});

await t.test('getRoute: the kernel’s own look-up', async (t) => {
  await using netns = await pod();
  await ip(
    netns,
    'route add default via 10.0.0.9',
    'route add 10.5.0.0/16 via 10.1.0.9 table 500',
    'rule add fwmark 0x7 table 500',
    'rule add from 10.1.0.1 table 500',
    'route add prohibit 10.6.0.0/16',
    'route add blackhole 10.7.0.0/16',
    'route add unreachable 10.8.0.0/16',
    '-6 route add default via fd00::9',
  );
  const eth = await Promise.all(['eth0', 'eth1'].map(async (name) => (await getLink(netns, name))!.ifindex));
  t.hasStrict(await getRoute(netns, '10.5.0.1'), { dst: '10.5.0.1/32', via: '10.0.0.9', dev: eth[0], src: '10.0.0.1', table: 254 });
  t.hasStrict(await getRoute(netns, '10.5.0.1', { mark: 7 }), { via: '10.1.0.9', dev: eth[1], src: '10.1.0.1', table: 500, mark: 7 });
  t.hasStrict(await getRoute(netns, '10.5.0.1', { from: '10.1.0.1' }), { via: '10.1.0.9', dev: eth[1], table: 500 });
  t.hasStrict(await getRoute(netns, '10.0.0.1'), { type: 'local', table: 255 });
  t.hasStrict(await getRoute(netns, 'fd99::1'), { via: 'fd00::9', dev: eth[0], src: 'fd00::1' });
  await sh(netns, 'sysctl -qw net.ipv4.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0');
  const forwarded = await getRoute(netns, '10.1.0.9', { from: '10.0.0.77', iif: 'eth0' });
  t.hasStrict(forwarded, { dst: '10.1.0.9/32', dev: eth[1], iif: eth[0], from: '10.0.0.77/32' });
  await t.rejects(getRoute(netns, '10.6.0.1'), { name: 'NetlinkError', code: 'EACCES' });
  await t.rejects(getRoute(netns, '10.7.0.1'), { code: 'EINVAL' });
  await t.rejects(getRoute(netns, '10.8.0.1'), { code: 'EHOSTUNREACH' });
  await t.rejects(getRoute(netns, '10.5.0.1', { iif: 'eth7' }), { code: 'ENODEV' });
});

const lossless = {
  'gateways, sources, metrics': [
    'default via 10.0.0.9 dev eth0 proto dhcp src 10.0.0.1 metric 100',
    'default via 10.1.0.9 dev eth1 proto static metric 200',
    '10.5.0.0/16 via 169.254.1.1 dev eth0 onlink',
    '10.5.1.0/24 dev eth0 scope link src 10.1.0.1',
    '10.5.1.7 dev eth1 scope host proto 77',
    '10.5.2.0/24 via 10.0.0.9 tos 0x10',
    '10.5.2.0/24 via 10.0.0.9 realms 3/4',
    '10.5.2.0/24 via 10.0.0.9 metric 7 realms 5',
    '10.5.3.0/24 via 10.0.0.9 mtu lock 1400 advmss lock 1300 window 1000 rtt 80 rttvar 40 ssthresh 5 cwnd lock 6 reordering 8 hoplimit 9 initcwnd 10 rto_min 200ms initrwnd 11 quickack 1 congctl reno fastopen_no_cookie 1',
    '10.5.4.0/24 via 10.0.0.9 features ecn',
    '10.5.5.0/24 via inet6 fd00::9 dev eth0',
    '10.5.6.0/24 dev eth0 congctl lock reno',
  ],
  'types and tables': [
    'blackhole 10.6.0.0/16',
    'unreachable 10.6.1.0/24 metric 5',
    'prohibit 10.6.2.0/24 table 100',
    'throw 10.6.3.0/24 table 500',
    'local 10.6.4.0/24 dev eth0',
    'local 10.6.5.0/24 dev eth0 table 100',
    'broadcast 10.6.6.255 dev eth0',
    'anycast 10.6.7.0/24 dev eth0',
    'multicast 225.0.0.0/8 dev eth0',
    'default via 10.0.0.9 table 4000000000',
    '10.6.8.0/24 dev eth1 table 300 scope link src 10.1.0.1',
  ],
  multipath: [
    '10.7.0.0/16 nexthop via 10.0.0.9 weight 3 nexthop via 10.1.0.9 dev eth1 weight 256',
    '10.7.1.0/24 metric 9 mtu 1400 nexthop via 10.7.7.7 dev eth0 onlink nexthop dev eth1',
    '10.7.2.0/24 nexthop via 10.0.0.9 realms 1/2 nexthop via inet6 fd01::9 dev eth1 weight 2',
    '10.7.3.0/24 table 100 src 10.0.0.1 nexthop via 10.0.0.8 nexthop via 10.0.0.9',
  ],
  IPv6: [
    '-6 default via fd00::9 dev eth0 metric 50',
    '-6 default via fd01::9 dev eth1 metric 60 pref low',
    '-6 fd55::/32 via fe80::9 dev eth0 proto ra pref high',
    '-6 fd55:1::/32 via fd77::9 dev eth0 onlink src fd01::1',
    '-6 fd55:2::/48 dev eth1 from fd66::/32',
    '-6 fd55:3::/48 dev eth1 mtu lock 1400 hoplimit 7 advmss 1200',
    '-6 fd55:4::/48 dev eth1 expires 5000',
    '-6 blackhole fd56::/48',
    '-6 unreachable fd56:1::/48 table 100 metric 5',
    '-6 prohibit fd56:2::/48',
    '-6 throw fd56:3::/48 table 1000',
    '-6 local fd56:4::/48 dev eth0',
    '-6 anycast fd56:5::/48 dev eth0',
    '-6 multicast ff05::/16 dev eth0',
    '-6 fd57::/48 nexthop via fd00::9 weight 2 nexthop via fd01::9 weight 5',
    '-6 fd57:1::/48 metric 7 nexthop via fe80::9 dev eth0 nexthop via fe80::a dev eth1 nexthop via fd00::a',
    '-6 fd57:2::/48 via fd00::9 metric 3 proto 77 table 100',
  ],
  'nexthop objects': [
    '10.8.0.0/16 nhid 1',
    '10.8.1.0/24 nhid 3 metric 5 src 10.0.0.1',
    '10.8.2.0/24 nhid 5',
    '-6 fd58::/48 nhid 2',
    '-6 fd58:1::/48 nhid 4 metric 7',
  ],
} as const;
const nexthops = [
  'nexthop add id 1 via 10.0.0.9 dev eth0',
  'nexthop add id 6 via 10.1.0.9 dev eth1',
  'nexthop add id 2 via fd00::9 dev eth0',
  'nexthop add id 7 via fd01::9 dev eth1',
  'nexthop add id 3 group 1,3/6,2',
  'nexthop add id 4 group 2/7,5',
  'nexthop add id 5 blackhole',
];

for (const [title, lines] of Object.entries(lossless)) {
  await t.test(`lossless: ${title}, read, deleted, added again`, async (t) => {
    await using netns = await pod();
    const kernels = await all(netns);
    await ip(netns, ...nexthops, ...lines.map((line) => line.replace(/^(-6 )?/, '$1route append ')));
    const before = await all(netns);
    const mine = async (): Promise<Route[]> => (await listRoutes(netns, { table: 'all' })).filter(({ protocol }) => protocol !== 'kernel');
    const routes = await mine();
    t.equal(routes.length, lines.length);
    for (const route of routes) t.equal(await deleteRoute(netns, route), true, `deleted: ${route.dst}`);
    t.equal(await all(netns), kernels, 'only what was asked for');
    for (const route of routes) await addRoute(netns, route);
    t.equal(await all(netns), before);
    const whole = (all: readonly Route[]): Route[] => all.map((route) => (route.expires === undefined ? route : { ...route, expires: Math.ceil(route.expires / 100) * 100 })); // prettier-ignore
    t.strictSame(whole(await mine()), whole(routes));
    // A copy by JSON is as good, unless there are bytes in it.
    for (const route of JSON.parse(JSON.stringify(routes)) as Route[]) await replaceRoute(netns, route);
    t.equal(await all(netns), before, 'replaced by itself, nothing changes');
  });
}

for (const [feature, line] of [
  ['encap_ip', '10.9.0.0/16 encap ip id 5 dst 10.1.1.1 ttl 7 via 10.0.0.9 dev eth0'],
  ['encap_mpls', '10.9.0.0/16 encap mpls 100/200 ttl 7 via 10.0.0.9 dev eth0'],
  ['encap_seg6', '-6 fd59::/48 encap seg6 mode encap segs fd00::7,fd00::8 dev eth0'],
  ['encap_seg6', '-6 fd59::/48 encap seg6local action End.DT6 table 100 dev eth0'],
  ['encap_ip', '10.9.0.0/16 nexthop encap ip id 5 dst 10.1.1.1 via 10.0.0.9 nexthop encap ip id 6 dst 10.1.1.2 via 10.1.0.9'],
] as const) {
  await t.test(`lossless: ${line}`, { skip: requires(feature) }, async (t) => {
    await using netns = await pod();
    const kernels = await all(netns);
    await ip(netns, line.replace(/^(-6 )?/, '$1route add '));
    const before = await all(netns);
    const [route] = (await listRoutes(netns)).filter(({ protocol }) => protocol === 'boot');
    const encap = route?.encap ?? route?.nexthops?.[0]?.encap;
    t.match(encap, { type: /^(ip|mpls|seg6|seg6local)$/, data: Uint8Array } satisfies Record<keyof Encap, unknown>);
    t.equal(await deleteRoute(netns, route!), true);
    t.equal(await all(netns), kernels);
    await addRoute(netns, route!);
    t.equal(await all(netns), before);
  });
}

await t.test('a thousand routes, read as ip reads them', async (t) => {
  await using netns = await pod();
  const lines = Array.from({ length: 1000 }, (_, index) => `route add 10.${100 + (index >> 8)}.${index & 255}.0/24 via 10.0.0.9`);
  const { status } = await run(netns, 'ip', ['-batch', '-'], lines.join('\n'));
  t.equal(status, 0);
  const found = (await listRoutes(netns, { family: 'ipv4' })).filter(({ via }) => via === '10.0.0.9');
  t.equal(found.length, 1000);
  t.equal(new Set(found.map(({ dst }) => dst)).size, 1000);
});

await t.test('a route through an interface of any name', async (t) => {
  await using netns = await Netns.create();
  await createVeth(netns, 'wé.0-_', { up: true, peer: { name: 'y', up: true } });
  await addAddress(netns, 'wé.0-_', '10.0.0.1/24');
  await addRoute(netns, { dst: '10.5.0.0/16', dev: 'wé.0-_' });
  t.equal((await oracle(netns, '10.5.0.0/16'))[0]?.dev, 'wé.0-_');
});
