import t from 'tap';
import { type Address, Netns, addAddress, createVeth, deleteAddress, flushAddresses, listAddresses, listRoutes, setSysctl } from 'podtap';
import { type Json, ip, ipJson, settled, sh } from '../support/oracle.js';
import { requires } from '../support/requires.js';

async function pod(): Promise<Netns> {
  const netns = await Netns.create();
  // No address of its own making: the tests look at theirs.
  await createVeth(netns, 'eth0', { addrGenMode: 'none', up: true, peer: { name: 'x', addrGenMode: 'none', up: true } });
  return netns;
}
/** `addr_info` of ip(8). */
async function oracle(netns: Netns, link = 'eth0'): Promise<Json[]> {
  const [found] = await ipJson(netns, `address show dev ${link}`);
  return found!.addr_info as Json[];
}
async function addresses(netns: Netns, link = 'eth0'): Promise<string[]> {
  return (await listAddresses(netns, { link })).map(({ address }) => address);
}
const forever = 4294967295;

await t.test('addAddress, each field as ip shows it', async (t) => {
  for (const [address, expected] of [
    ['10.0.0.1/24', { family: 'inet', local: '10.0.0.1', prefixlen: 24, scope: 'global', label: 'eth0', valid_life_time: forever }],
    ['10.0.0.1', { local: '10.0.0.1', prefixlen: 32 }],
    ['10.0.0.1/0', { local: '10.0.0.1', prefixlen: 0 }],
    [{ address: '10.0.0.1/24', broadcast: '10.0.0.255' }, { broadcast: '10.0.0.255' }],
    [{ address: '10.0.0.1/24', label: 'eth0:pod' }, { label: 'eth0:pod' }],
    [{ address: '10.0.0.1/24', scope: 'link' }, { scope: 'link' }],
    [{ address: '10.0.0.1/24', scope: 'host' }, { scope: 'host' }],
    [{ address: '10.0.0.1/24', scope: '77' }, { scope: '77' }],
    [{ address: '10.0.0.1/24', metric: 50 }, { metric: 50 }],
    [{ address: '10.0.0.1/24', flags: ['noprefixroute'] }, { noprefixroute: true }],
    [
      { address: '10.0.0.1/24', peer: '10.9.9.9' },
      { local: '10.0.0.1', address: '10.9.9.9', prefixlen: 24 },
    ],
    [{ address: '10.0.0.1/24', validLifetime: 1000, preferredLifetime: 500 }, { dynamic: true, valid_life_time: 1000, preferred_life_time: 500 }], // prettier-ignore
    [
      { address: '10.0.0.1/24', validLifetime: 1000 },
      { valid_life_time: 1000, preferred_life_time: 1000 },
    ],
    [
      { address: '10.0.0.1/24', preferredLifetime: 0 },
      { deprecated: true, valid_life_time: forever },
    ],
    [{ address: '10.0.0.1/24', protocol: 7 }, { protocol: '7' }],
    [
      { address: 'fd00::1/64', flags: ['nodad'] },
      { family: 'inet6', local: 'fd00::1', prefixlen: 64, scope: 'global', nodad: true },
    ],
    [{ address: 'fd00::1', flags: ['nodad'] }, { prefixlen: 128 }],
    [{ address: 'FD00:0::1/64', flags: ['nodad'] }, { local: 'fd00::1' }],
    [{ address: 'fe80::1/64', flags: ['nodad'] }, { scope: 'link' }],
    [
      { address: 'fd00::1/64', flags: ['nodad', 'noprefixroute'] },
      { nodad: true, noprefixroute: true },
    ],
    [
      { address: 'fd00::1/64', flags: ['nodad', 'home'] },
      { nodad: true, home: true },
    ],
    [{ address: 'fd00::1/64', flags: ['nodad', 'mngtmpaddr'] }, { mngtmpaddr: true }],
    [{ address: 'fd00::1/64', flags: ['nodad'], metric: 70 }, { metric: 70 }],
    [
      { address: 'fd00::1/64', flags: ['nodad'], peer: 'fd00::2' },
      { local: 'fd00::1', address: 'fd00::2', prefixlen: 64 },
    ],
    [
      { address: 'fd00::1/64', flags: ['nodad'], validLifetime: 1000, preferredLifetime: 0 },
      { deprecated: true, valid_life_time: 1000 },
    ],
    [{ address: 'fd00::1/64', flags: ['optimistic'] }, { local: 'fd00::1' }],
  ] as const) {
    await using netns = await pod();
    await addAddress(netns, 'eth0', address);
    const [found, ...others] = await oracle(netns);
    const name = JSON.stringify(address);
    t.strictSame(others, [], name);
    // Remaining seconds: one may have gone by.
    for (const [key, value] of Object.entries(expected)) {
      if (key === 'protocol' && found![key] === undefined) continue; // iproute2 before 6.3 does not print it
      if (typeof value === 'number' && key.endsWith('life_time') && value !== forever && value !== 0)
        t.ok(value - Number(found![key]) <= 1, `${name}: ${key}`);
      else t.strictSame(found![key], value, `${name}: ${key}`);
    }
  }
});

await t.test('listAddresses says what was added', async (t) => {
  await using netns = await pod();
  const given: Address[] = [
    { address: '10.0.0.1/24', broadcast: '10.0.0.255', label: 'eth0:a', scope: 'link', flags: ['permanent', 'noprefixroute'], metric: 9, protocol: 4 }, // prettier-ignore
    { address: '10.1.0.1/16', peer: '10.2.0.1', label: 'eth0', scope: 'global', flags: ['permanent'] },
    { address: 'fd00::1/64', scope: 'global', flags: ['nodad', 'permanent', 'noprefixroute'], metric: 3, protocol: 4 },
    { address: 'fd01::1/128', peer: 'fd01::2', scope: 'global', flags: ['nodad', 'permanent'] },
  ];
  for (const address of given) await addAddress(netns, 'eth0', address);
  const found = await listAddresses(netns, { link: 'eth0' });
  t.equal(found.length, given.length);
  const { ifindex } = found[0]!;
  for (const address of given) {
    t.strictSame(
      found.find((one) => one.address === address.address),
      { object: 'address', ifindex, ...address },
      address.address,
    );
  }
});

await t.test('errors of the kernel, and what it says of them', { skip: requires('address_extack') }, async (t) => {
  await using netns = await pod();
  await addAddress(netns, 'eth0', '10.0.0.1/24');
  await t.rejects(addAddress(netns, 'eth0', '10.0.0.1/24'), { code: 'EEXIST', extack: { message: /already/ } });
  await t.rejects(addAddress(netns, 'eth0', { address: '10.0.1.1/24', validLifetime: 5, preferredLifetime: 6 }), {
    code: 'EINVAL',
    extack: { message: /[Ll]ifetime/ },
  });
});

await t.test('errors of the kernel', async (t) => {
  await using netns = await pod();
  await addAddress(netns, 'eth0', '10.0.0.1/24');
  await t.rejects(addAddress(netns, 'eth0', '10.0.0.1/24'), {
    name: 'NetlinkError',
    code: 'EEXIST',
    errno: -17,
    syscall: 'RTM_NEWADDR',
  });
  await t.rejects(addAddress(netns, 'eth1', '10.0.0.1/24'), { name: 'PodtapError', code: 'ENODEV', message: /'eth1'/ });
  await t.rejects(addAddress(netns, 4711, '10.0.0.1/24'), { name: 'NetlinkError', code: 'ENODEV' });
  await t.rejects(addAddress(netns, 'eth0', { address: '10.0.1.1/24', validLifetime: 5, preferredLifetime: 6 }), { code: 'EINVAL' });
  await t.rejects(listAddresses(netns, { link: 'eth1' }), { code: 'ENODEV' });
  await t.rejects(listAddresses(netns, { link: 4711 }), { code: 'ENODEV' });
  await t.rejects(flushAddresses(netns, 'eth1'), { code: 'ENODEV' });
});

await t.test('deleteAddress', async (t) => {
  await using netns = await pod();
  for (const address of ['10.0.0.1/24', 'fd00::1/64']) await addAddress(netns, 'eth0', address);
  await addAddress(netns, 'eth0', { address: '10.1.0.1/24', peer: '10.2.0.1' });
  t.equal(await deleteAddress(netns, 'eth0', '10.0.0.2/24'), false);
  t.equal(await deleteAddress(netns, 'eth0', 'fd00::2/64'), false);
  t.equal(await deleteAddress(netns, 'eth1', '10.0.0.1/24'), false);
  t.equal(await deleteAddress(netns, 4711, '10.0.0.1/24'), false);
  t.equal(await deleteAddress(netns, 'eth0', '10.0.0.1/16'), false, 'another prefix length');
  t.strictSame((await addresses(netns)).sort(), ['10.0.0.1/24', '10.1.0.1/24', 'fd00::1/64']);
  t.equal(await deleteAddress(netns, 'eth0', '10.0.0.1/24'), true);
  t.equal(await deleteAddress(netns, 'eth0', '10.0.0.1/24'), false);
  for (const one of await listAddresses(netns, { link: 'eth0' })) t.equal(await deleteAddress(netns, 'eth0', one), true, one.address);
  t.strictSame(await oracle(netns), []);
});

await t.test('listAddresses: filters', async (t) => {
  await using netns = await pod();
  await addAddress(netns, 'eth0', '10.0.0.1/24');
  await addAddress(netns, 'x', { address: 'fd00::1/64', flags: ['nodad'] });
  const list = async (filter: Parameters<typeof listAddresses>[1]): Promise<string[]> =>
    (await listAddresses(netns, filter)).map(({ address }) => address).sort();
  t.strictSame(await list({}), ['10.0.0.1/24', '127.0.0.1/8', '::1/128', 'fd00::1/64']);
  t.strictSame(await list({ family: 'ipv4' }), ['10.0.0.1/24', '127.0.0.1/8']);
  t.strictSame(await list({ family: 'ipv6' }), ['::1/128', 'fd00::1/64']);
  t.strictSame(await list({ link: 'eth0' }), ['10.0.0.1/24']);
  t.strictSame(await list({ link: 'lo', family: 'ipv6' }), ['::1/128']);
  t.strictSame(await list({ link: 'eth0', family: 'ipv6' }), []);
});

await t.test('flushAddresses, with secondaries', async (t) => {
  for (const promote of [0, 1]) {
    await using netns = await pod();
    await setSysctl(netns, 'net.ipv4.conf.eth0.promote_secondaries', promote);
    const given = ['10.0.0.1/24', '10.0.0.2/24', '10.1.0.1/16', '10.0.0.3/24', 'fd00::1/64', 'fd00::2/64'];
    for (const address of given) await addAddress(netns, 'eth0', address);
    const [, second] = await listAddresses(netns, { link: 'eth0', family: 'ipv4' });
    const flushed = await flushAddresses(netns, 'eth0', { family: 'ipv4' });
    t.strictSame(flushed.map(({ address }) => address).sort(), given.slice(0, 4).sort());
    t.ok(flushed.some(({ flags }) => flags?.includes('secondary')));
    t.ok(second);
    t.strictSame((await addresses(netns)).sort(), given.slice(4), 'the other family stays');
    t.equal((await flushAddresses(netns, 'eth0')).length, 2);
    t.strictSame(await oracle(netns), []);
    t.strictSame(await flushAddresses(netns, 'eth0'), []);
    t.equal((await addresses(netns, 'lo')).length, 2, 'and other interfaces');
  }
});

await t.test('lossless: read, flushed, added again', async (t) => {
  await using netns = await pod();
  await ip(
    netns,
    'address add 10.0.0.1/24 dev eth0 broadcast 10.0.0.255 label eth0:one',
    'address add 10.0.0.2/24 dev eth0 noprefixroute', // a secondary
    'address add 10.0.0.3/24 dev eth0 valid_lft 5000 preferred_lft 4000',
    'address add 10.1.0.1 peer 10.2.0.1/16 dev eth0 metric 20 scope site',
    'address add 10.3.0.1/32 dev eth0 scope host',
    'address add 10.4.0.1/24 dev eth0 preferred_lft 0',
    'address add fd00::1/64 dev eth0 nodad',
    'address add fd00::2/64 dev eth0 nodad noprefixroute metric 9',
    'address add fd00::3 peer fd00::4/64 dev eth0 nodad',
    'address add fd00::5/64 dev eth0 nodad home mngtmpaddr valid_lft 5000 preferred_lft 0',
    'address add fe80::1/64 dev eth0 nodad',
  );
  const show = async (): Promise<string> => (await sh(netns, 'ip -d address show dev eth0')).replace(/\b(\d{4})sec/g, (_, seconds) => `${Math.ceil(Number(seconds) / 100) * 100}sec`); // prettier-ignore
  await settled(netns);
  const before = await show();
  const routes = await sh(netns, 'ip -d route show table all dev eth0');
  const there = await flushAddresses(netns, 'eth0');
  t.equal(there.length, 11);
  t.strictSame(await listRoutes(netns, { link: 'eth0', family: 'ipv4', table: 'all' }), []);
  // IPv4 in the order of the dump, IPv6, which the kernel keeps the other way round, in reverse.
  for (const address of there.filter(({ address }) => !address.includes(':'))) await addAddress(netns, 'eth0', address);
  for (const address of there.filter(({ address }) => address.includes(':')).reverse()) await addAddress(netns, 'eth0', address);
  await settled(netns);
  t.equal(await show(), before);
  t.equal(await sh(netns, 'ip -d route show table all dev eth0'), routes);
});

await t.test('many addresses: a dump of several messages', async (t) => {
  await using netns = await pod();
  const given = Array.from({ length: 600 }, (_, index) => `10.${index >> 8}.${index & 255}.1/24`);
  await ip(netns, ...given.map((address) => `address add ${address} dev eth0`));
  t.strictSame(await addresses(netns), given);
});
