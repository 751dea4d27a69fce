// The description: completed, canonical, refused where it is hostile, and the same after JSON.
import fc from 'fast-check';
import t from 'tap';
import { type GuestNetwork as Exported } from 'podtap';
import { type GuestNetwork, type ResolvConf, defineGuest, parseResolvConf } from 'podtap/guest';
import { networks } from './networks.js';

// The public contract, as a user may have it written down.
interface Contract {
  readonly mac: string;
  readonly mtu: number;
  readonly tap: string;
  readonly link: string; // prettier-ignore
  readonly addresses: readonly { readonly address: string }[];
  readonly gateway: { readonly ipv4?: string; readonly ipv6?: string };
  readonly routes: readonly { readonly dst: string; readonly via?: string; readonly onlink?: boolean; readonly metric?: number; readonly mtu?: number }[]; // prettier-ignore
  readonly neighbors: readonly { readonly address: string; readonly mac: string }[];
  readonly dns: { readonly servers: readonly string[]; readonly search: readonly string[] };
  readonly hostname?: string;
}
const fromContract = (network: Contract): GuestNetwork => network;
const toContract = (network: Exported): Contract => fromContract(network);

await t.test('defaults', async (t) => {
  t.same(toContract(defineGuest({ addresses: [{ address: '172.17.0.5/16' }] })), {
    mac: '0a:58:ac:11:00:05',
    mtu: 1500,
    tap: 'tap0',
    link: 'eth0',
    addresses: [{ address: '172.17.0.5/16' }],
    gateway: {},
    routes: [],
    neighbors: [],
    dns: { servers: [], search: [] },
  });
  t.equal(defineGuest({ addresses: [{ address: 'fd00::1:2/64' }] }).mac, '0a:58:00:01:00:02');
  t.throws(() => defineGuest({ addresses: [] }), { code: 'ERR_INVALID_ARG_VALUE', message: /'mac' is required/ });
  t.same(defineGuest({ addresses: [], mac: '2:0:0:0:0:AB' }).mac, '02:00:00:00:00:ab');
});

await t.test('a gateway and a default route are one thing', async (t) => {
  const addresses = [{ address: '10.0.0.2/24' }, { address: 'fd00::2/64' }];
  const routes = [{ dst: '0.0.0.0/0', via: '10.0.0.1' }];
  t.same(defineGuest({ addresses, gateway: { ipv4: '10.0.0.1' } }).routes, routes);
  t.same(defineGuest({ addresses, routes: [{ dst: 'default', via: '10.0.0.1' }] }).gateway, { ipv4: '10.0.0.1' });
  t.same(defineGuest({ addresses, routes, gateway: { ipv4: '10.0.0.1' } }).routes, routes);
  t.same(defineGuest({ addresses, gateway: { ipv6: 'FD00:0::1' } }).routes, [{ dst: '::/0', via: 'fd00::1' }]);
  t.same(defineGuest({ addresses, routes: [{ dst: 'default', via: 'fd00::1' }] }).gateway, { ipv6: 'fd00::1' });
  const two = [{ dst: 'default', via: '10.0.0.9', metric: 20 }, { dst: 'default', via: '10.0.0.8', metric: 10 }]; // prettier-ignore
  t.same(defineGuest({ addresses, routes: two }).gateway, { ipv4: '10.0.0.8' }, 'the preferred one');
  t.same(defineGuest({ addresses, routes: two, gateway: { ipv4: '10.0.0.9' } }).gateway, { ipv4: '10.0.0.9' });
  t.throws(() => defineGuest({ addresses, routes: two, gateway: { ipv4: '10.0.0.7' } }), {
    message: /'gateway.ipv4' is 10\.0\.0\.7.*10\.0\.0\.8/,
  });
  t.throws(() => defineGuest({ addresses, gateway: { ipv4: 'fd00::1' } }), { message: /'gateway.ipv4' must be of that family/ });
  const crossed = defineGuest({ addresses, routes: [{ dst: '0.0.0.0/0', via: 'fe80::1' }] });
  t.same(crossed.gateway, {}, 'an IPv4 route by an IPv6 gateway (RFC 5549) is no IPv4 gateway');
  t.same(crossed.routes, [{ dst: '0.0.0.0/0', via: 'fe80::1', onlink: true }]);
});

await t.test('gateways outside of the subnets are on the link', async (t) => {
  const routed = defineGuest({ addresses: [{ address: '10.0.0.2/32' }, { address: 'fd00::2/128' }], gateway: { ipv4: '169.254.1.1', ipv6: 'fe80::1' } }); // prettier-ignore
  t.same(routed.routes, [
    { dst: '0.0.0.0/0', via: '169.254.1.1', onlink: true },
    { dst: '::/0', via: 'fe80::1', onlink: true },
  ]);
  const legs = [{ via: '10.0.0.1' }, { via: '10.9.0.1', weight: 3 }];
  t.same(defineGuest({ addresses: [{ address: '10.0.0.2/24' }], routes: [{ dst: '10.7.0.0/16', nexthops: legs }] }).routes[0]!.nexthops, [
    { via: '10.0.0.1' },
    { via: '10.9.0.1', onlink: true, weight: 3 },
  ]);
});

await t.test('what is wrong is refused', async (t) => {
  const addresses = [{ address: '10.0.0.2/24' }];
  const hostile = [
    'a b',
    'a,b',
    'a"b',
    "a'b",
    'a:b',
    'a\nb',
    'a;b',
    '$(a)',
    'a\\b',
    '',
    '-a',
    'a-',
    'a..b',
    'é',
    'a\0',
    '<a>',
    'a'.repeat(65),
  ];
  for (const hostname of hostile) t.throws(() => defineGuest({ addresses, hostname }), { code: 'ERR_INVALID_ARG_VALUE', message: /hostname/ }, JSON.stringify(hostname)); // prettier-ignore
  for (const domain of hostile.slice(0, -1))
    t.throws(() => defineGuest({ addresses, dns: { servers: [], search: [domain] } }), { message: /dns\.search/ }, JSON.stringify(domain));
  t.same(defineGuest({ addresses, hostname: 'Web-0.a_b', dns: { servers: [], search: ['cluster.local.', '_a.b'] } }).dns.search, ['cluster.local.', '_a.b']); // prettier-ignore
  for (const wrong of [
    { addresses: [{ address: '10.0.0.2' }] },
    { addresses: [{ address: '10.0.0.2/33' }] },
    { addresses: [{ address: '224.0.0.1/8' }] },
    { addresses: [{ address: 'ff02::1/64' }] },
    { addresses: [{ address: '0.0.0.0/0' }] },
    { addresses: [{ address: '::/0' }] },
    { addresses, gateway: { ipv4: '0.0.0.0' } },
    { addresses, gateway: { ipv4: '10.0.0.2' } },
    { addresses, mac: '01:00:00:00:00:01' },
    { addresses, mtu: 67 },
    { addresses, tap: 'a/b' },
    { addresses, tap: 'sixteen-letters-' },
    { addresses, link: 'a b' },
    { addresses, dns: { servers: ['1.1.1.1,2.2.2.2'], search: [] } },
    { addresses, routes: [{ dst: '10.0.0.1/8' }] },
    { addresses, routes: [{ dst: 'default', via: 'gw' }] },
    { addresses, neighbors: [{ address: '10.0.0.1', mac: '33:33:00:00:00:01' }] },
  ])
    t.throws(() => defineGuest(wrong), { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' }, JSON.stringify(wrong));
  t.throws(() => defineGuest({ addresses, hotsname: 'a' } as never), { message: /did you mean 'hostname'/ });
});

await t.test('it survives JSON, and is complete', async (t) => {
  fc.assert(
    fc.property(networks, (network) => {
      t.strictSame(JSON.parse(JSON.stringify(network)), network);
      t.strictSame(defineGuest(JSON.parse(JSON.stringify(network)) as GuestNetwork), network);
    }),
    { numRuns: 300 },
  );
});

await t.test('resolv.conf', async (t) => {
  const kubernetes = 'search default.svc.cluster.local svc.cluster.local\t cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n';
  const read = (text: string): Omit<ResolvConf, 'ignored'> & { ignored: string[] } => {
    const { ignored, ...rest } = parseResolvConf(text);
    return { ...rest, ignored: ignored.map(({ line }) => line) };
  };
  t.same(read(kubernetes), { servers: ['10.96.0.10'], search: ['default.svc.cluster.local', 'svc.cluster.local', 'cluster.local'], ignored: [] }); // prettier-ignore
  t.same(
    read('# Generated by Docker Engine.\n\nnameserver 127.0.0.11\noptions edns0 trust-ad ndots:0\n'),
    { servers: ['127.0.0.11'], search: [], ignored: [] },
    "Docker's, kept as it is",
  );
  t.same(read('nameserver 127.0.0.53 # stub\r\nsearch .\r\n; nameserver 1.1.1.1\r\n'), {
    servers: ['127.0.0.53'],
    search: [],
    ignored: [],
  });
  t.same(read('domain a.b c.d\n').search, ['a.b']);
  t.same(read('search a b\ndomain c\n').search, ['c'], 'the last one counts');
  t.same(read('nameserver FD00:0::53\nnameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3').servers.length, 4);
  t.same(read('nameserver\t1.1.1.1').servers, ['1.1.1.1'], 'no newline at the end');
  const odd = [
    'nameserver fe80::1%eth0',
    'nameserver 1.1.1',
    'nameserver',
    ' nameserver 1.1.1.1',
    'nameservers 1.1.1.1',
    'search a "b" $(c)',
  ];
  t.same(read(odd.join('\n')), { servers: [], search: ['a'], ignored: odd });
  t.match(parseResolvConf(odd[0]!).ignored[0]!.reason, /interface "eth0"/);
  t.same(read('sortlist 10.0.0.0\noptions rotate\n'), { servers: [], search: [], ignored: [] });
  t.throws(() => parseResolvConf(Buffer.from('') as never), { code: 'ERR_INVALID_ARG_TYPE' });
  fc.assert(
    fc.property(fc.string(), (text) => {
      const { servers, search } = parseResolvConf(`search ${text}\nnameserver ${text}\n${text}`);
      defineGuest({ addresses: [], mac: '02:00:00:00:00:01', dns: { servers, search } });
    }),
  );
});
