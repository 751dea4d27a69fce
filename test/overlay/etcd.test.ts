import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { getLink, type Netns } from 'podtap';
import { ping } from 'podtap/lab';
import { type OverlayMembership, type OverlayRegistry, etcdRegistry, joinOverlay } from 'podtap/overlay';
import t, { type Test } from 'tap';
import { compare, dump } from '../oracle/dump.js';
import { pause, until } from '../support/inside.js';
import { sh } from '../support/oracle.js';
import { requires } from '../support/requires.js';
import { pod, underlay } from './nodes.js';
import { proxy } from './proxy.js';
import { PREFIX, type Server, config, etcd, flannel } from './server.js';

const skip = { skip: requires('vxlan', 'bridge') };
const subnets = `${PREFIX}/subnets`;

/** A server with a network. */
async function network(t: Test, text = config()): Promise<Server> {
  const server = await etcd(t);
  await server.put(`${PREFIX}/config`, text);
  return server;
}

async function routes(node: Netns): Promise<string[]> {
  const shown = await sh(node, 'ip route show dev flannel.1');
  return [...shown.matchAll(/^(\S+) via/gm)].map(([, dst]) => dst!).sort();
}

function sees(node: Netns, ...wanted: readonly string[]): Promise<boolean> {
  return until(async () => JSON.stringify(await routes(node)) === JSON.stringify(wanted), 15_000);
}

await t.test('two nodes find each other, and a flannel node', skip, async (t) => {
  const server = await network(t);
  await using lab = await underlay();
  const before = await dump(lab.one);
  {
    await using one = await joinOverlay(lab.one, { registry: etcdRegistry({ endpoints: [server.url] }), bridge: true });
    await using three = await joinOverlay(lab.three, { registry: etcdRegistry({ endpoints: [server.url] }), bridge: true });
    t.ok(await until(() => one.nodes.length === 1));
    t.strictSame(one.nodes, [three.self]);
    t.strictSame(three.nodes, [one.self]);
    const key = one.self.ipv4!.subnet.replace('/', '-');
    const kept = await server.get(`${subnets}/${key}`);
    t.equal(kept?.value, flannel('192.161.1.5', (await getLink(lab.one, 'flannel.1'))!.mac), 'byte for byte what flanneld writes');
    t.not(kept?.lease, '0');
    const { TTL, grantedTTL } = (await server.ask('/v3/lease/timetolive', { ID: kept!.lease })) as unknown as {
      TTL: string;
      grantedTTL: string;
    };
    t.equal(grantedTTL, '86400');
    t.ok(Number(TTL) > 86_000);
    const [a, b] = [one, three].map(({ self }) => self.ipv4!.subnet.replace('.0/24', '.3/24'));
    await using from = await pod(lab.one, 3, one.mtu, a!);
    await using _to = await pod(lab.three, 3, three.mtu, b!);
    t.ok(await until(async () => (await ping(from, b!.replace('/24', ''), { timeout: 300 })).received > 0));

    const other = three.self.ipv4!.subnet;
    await server.put(`${subnets}/10.244.0.0-24`, flannel('192.161.1.99', '0A:00:00:00:00:99'));
    t.ok(await sees(lab.one, '10.244.0.0/24', other));
    t.match(await sh(lab.one, 'ip neigh show dev flannel.1'), /^10\.244\.0\.0 lladdr 0a:00:00:00:00:99 PERMANENT/m);
    t.match(await sh(lab.one, 'bridge fdb show dev flannel.1'), /^0a:00:00:00:00:99 dst 192\.161\.1\.99 self extern_learn permanent/m);
    await server.put(`${subnets}/10.244.0.0-24`, flannel('192.161.1.98', '0a:00:00:00:00:98'));
    t.ok(await until(async () => /^0a:00:00:00:00:98 dst 192\.161\.1\.98 /m.test(await sh(lab.one, 'bridge fdb show dev flannel.1'))));
    t.notMatch(await sh(lab.one, 'bridge fdb show dev flannel.1'), /0a:00:00:00:00:99/);
    await server.delete(`${subnets}/10.244.0.0-24`);
    t.ok(await sees(lab.one, other));
    t.strictSame([...one.problems, ...three.problems], []);
  }
  t.strictSame(await server.keys(), [], 'who leaves takes the lease back');
  t.strictSame(compare(before, await dump(lab.one)), []);
});

await t.test('a node knows its subnet again', skip, async (t) => {
  const server = await network(t);
  await using lab = await underlay();
  const registry = etcdRegistry({ endpoints: [server.url] });
  const join = () => joinOverlay(lab.one, { registry });
  const first = await join();
  const { self } = first;
  await first.keep();
  t.strictSame(await server.keys(), [self.ipv4!.subnet.replace('/', '-')]);
  const lease = (await server.get(`${subnets}/${self.ipv4!.subnet.replace('/', '-')}`))!.lease;
  const second = await join();
  t.strictSame(second.self, self);
  t.not((await server.get(`${subnets}/${self.ipv4!.subnet.replace('/', '-')}`))!.lease, lease, 'with a lease of its own');
  await second.keep();
  await sh(lab.one, 'ip link delete flannel.1');
  const third = await join();
  t.strictSame(third.self, self, 'after a reboot too, its MAC with it: nobody else has to learn anything');
  await third.leave();

  // Reserved by hand, as flannel lets one do: no lease.
  await server.put(`${subnets}/10.244.42.0-24`, flannel('192.161.1.5', '0a:00:00:00:00:42'));
  const fourth = await join();
  t.strictSame(fourth.self.ipv4, { subnet: '10.244.42.0/24', publicIp: '192.161.1.5', vtepMac: '0a:00:00:00:00:42' });
  await fourth.leave();
  t.equal((await server.get(`${subnets}/10.244.42.0-24`))?.lease, '0', 'what is reserved stays');

  // The network has become another one.
  await server.put(`${PREFIX}/config`, config({ Network: '10.5.0.0/16', SubnetLen: 26, SubnetMin: '10.5.9.64', SubnetMax: '10.5.9.64' }));
  const fifth = await join();
  t.equal(fifth.self.ipv4?.subnet, '10.5.9.64/26');
  t.strictSame(await server.keys(), ['10.5.9.64-26'], 'the old one is given back');
  await fifth.leave();
});

await t.test('etcd goes away, and comes back with what it had', skip, async (t) => {
  const server = await network(t);
  await using lab = await underlay();
  await server.put(`${subnets}/10.244.0.0-24`, flannel('192.161.1.99', '0a:00:00:00:00:99'));
  await using one = await joinOverlay(lab.one, { registry: etcdRegistry({ endpoints: [server.url] }) });
  for (const round of [1, 2]) {
    await server.kill();
    t.ok(await until(() => one.problems.some(({ code }) => code === 'ERR_ETCD_UNREACHABLE')), 'it is told');
    // Meanwhile the kernel is looked after.
    await sh(lab.one, 'ip route flush dev flannel.1');
    t.ok(await until(async () => (await routes(lab.one)).length === round), 'everybody stays reachable');
    await server.start();
    const wide = round === 1 ? '10.244.251.0' : '10.244.252.0';
    await server.put(`${subnets}/${wide}-24`, flannel(`192.161.1.${50 + round}`, `0a:00:00:00:00:5${round}`));
    t.ok(await until(async () => (await routes(lab.one)).includes(`${wide}/24`), 15_000), 'news come');
    t.ok(await until(() => one.problems.length === 0, 15_000), 'all is well again');
  }
  t.ok((await server.keys()).includes(one.self.ipv4!.subnet.replace('/', '-')), 'and this node is known');
});

await t.test('what happened while it could not be reached, and was compacted, is seen', skip, async (t) => {
  const server = await network(t);
  const line = await proxy(t, server.url);
  await using lab = await underlay();
  for (const number of [100, 101, 102]) await server.put(`${subnets}/10.244.${number}.0-24`, flannel(`192.161.2.${number}`, `0a:00:00:00:00:0${number - 100}`)); // prettier-ignore
  await using one = await joinOverlay(lab.one, { registry: etcdRegistry({ endpoints: [line.url], timeout: 1000 }) });
  t.strictSame(await routes(lab.one), ['10.244.100.0/24', '10.244.101.0/24', '10.244.102.0/24']);
  line.cut();
  t.ok(await until(() => one.problems.length > 0));
  await server.delete(`${subnets}/10.244.100.0-24`);
  await server.put(`${subnets}/10.244.101.0-24`, flannel('192.161.2.201', '0a:00:00:00:00:21'));
  await server.put(`${subnets}/10.244.103.0-24`, flannel('192.161.2.103', '0a:00:00:00:00:03'));
  for (let filler = 0; filler < 20; filler++) await server.put(`${subnets}/10.244.104.0-24`, flannel('192.161.2.104', '0a:00:00:00:00:04'));
  await server.compact();
  t.strictSame(await routes(lab.one), ['10.244.100.0/24', '10.244.101.0/24', '10.244.102.0/24'], 'nothing yet');
  line.mend();
  t.ok(await sees(lab.one, '10.244.101.0/24', '10.244.102.0/24', '10.244.103.0/24', '10.244.104.0/24'));
  t.match(await sh(lab.one, 'bridge fdb show dev flannel.1'), /^0a:00:00:00:00:21 dst 192\.161\.2\.201 /m);
  t.ok(await until(() => one.problems.length === 0));
  t.equal(await one.reconcile(), 0);
});

await t.test('a lease that ran out is taken again', skip, async (t) => {
  const server = await network(t, config({ SubnetMin: '10.244.9.0', SubnetMax: '10.244.10.0' }));
  const line = await proxy(t, server.url);
  await using lab = await underlay();
  await using one = await joinOverlay(lab.one, { registry: etcdRegistry({ endpoints: [line.url], leaseTime: 2, timeout: 500 }) });
  const { self } = one;
  const key = `${subnets}/${self.ipv4!.subnet.replace('/', '-')}`;
  await pause(5000);
  t.ok(await server.get(key), 'a lease is kept alive beyond its time');
  line.cut();
  t.ok(await until(async () => (await server.get(key)) === undefined, 15_000), 'it runs out');
  line.mend();
  t.ok(await until(async () => (await server.get(key)) !== undefined, 15_000), 'and is taken again');
  t.equal((await server.get(key))!.value, flannel('192.161.1.5', self.ipv4!.vtepMac));
  t.strictSame(one.self, self);
  t.ok(await until(() => one.problems.length === 0));

  // Not cut, but silent.
  line.freeze();
  t.ok(await until(async () => (await server.get(key)) === undefined, 15_000));
  // And somebody else takes the subnet.
  await server.put(key, flannel('192.161.1.88', '0a:00:00:00:00:88'));
  line.mend();
  const other = self.ipv4!.subnet === '10.244.9.0/24' ? '10.244.10.0/24' : '10.244.9.0/24';
  t.ok(await until(() => one.self.ipv4!.subnet === other, 15_000), 'another subnet');
  t.ok(await until(() => one.problems.some(({ code }) => code === 'ERR_OVERLAY_SUBNET_LOST')));
  t.ok(await until(async () => (await sh(lab.one, 'ip -br -4 address show dev flannel.1')).includes(` ${other.replace('/24', '/32')} \n`)));
  t.ok(await sees(lab.one, self.ipv4!.subnet));
});

await t.test('a key that somebody deletes or changes is put back', skip, async (t) => {
  const server = await network(t);
  await using lab = await underlay();
  await using one = await joinOverlay(lab.one, { registry: etcdRegistry({ endpoints: [server.url] }) });
  const key = `${subnets}/${one.self.ipv4!.subnet.replace('/', '-')}`;
  const wanted = flannel('192.161.1.5', one.self.ipv4!.vtepMac);
  const isBack = () => until(async () => (await server.get(key))?.value === wanted && (await server.get(key))?.lease !== '0');
  await server.delete(key);
  t.ok(await isBack(), 'deleted');
  await server.put(key, flannel('192.161.1.5', '0a:00:00:00:00:13'));
  t.ok(await until(async () => (await server.get(key))?.value === wanted), 'another MAC');
  t.strictSame(one.problems, []);
});

await t.test('what cannot be is passed over', skip, async (t) => {
  const server = await network(t);
  await using lab = await underlay();
  const hostile: Readonly<Record<string, string>> = {
    '0.0.0.0-0': flannel('192.161.1.90', '0a:00:00:00:00:01'),
    '10.0.0.0-8': flannel('192.161.1.90', '0a:00:00:00:00:01'),
    '10.244.0.0-16': flannel('192.161.1.90', '0a:00:00:00:00:01'),
    '10.245.1.0-24': flannel('192.161.1.90', '0a:00:00:00:00:01'),
    '10.244.50.1-24': flannel('192.161.1.90', '0a:00:00:00:00:01'),
    '10.244.51.0-33': flannel('192.161.1.90', '0a:00:00:00:00:01'),
    '10.244.52.0-24': flannel('224.0.0.1', '0a:00:00:00:00:01'),
    '10.244.53.0-24': flannel('127.0.0.1', '0a:00:00:00:00:01'),
    '10.244.54.0-24': flannel('10.244.1.1', '0a:00:00:00:00:01'),
    '10.244.55.0-24': flannel('192.161.1.90', '01:00:00:00:00:01'),
    '10.244.56.0-24': flannel('192.161.1.90', '00:00:00:00:00:00'),
    '10.244.57.0-24': flannel('192.161.1.90', '0a:00:00:00:00:01:02:03'),
    '10.244.58.0-24': '',
    '10.244.59.0-24': 'null',
    '10.244.60.0-24': '[1]',
    '10.244.61.0-24': '{"PublicIP":1,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"0a:00:00:00:00:01"}}',
    '10.244.62.0-24': '{"PublicIP":"192.161.1.90","BackendType":"vxlan","BackendData":null}',
    '10.244.63.0-24': '{"PublicIP":"192.161.1.90","BackendType":"host-gw"}',
    '10.244.64.0-24; ip link delete eth0': flannel('192.161.1.90', '0a:00:00:00:00:01'),
    '../config': flannel('192.161.1.90', '0a:00:00:00:00:01'),
  };
  for (const [key, value] of Object.entries(hostile)) await server.put(`${subnets}/${key}`, value);
  await server.put(`${subnets}/10.244.70.0-24`, flannel('192.161.1.70', '0a:00:00:00:00:70'));
  await server.put(`${subnets}/10.244.70.128-25`, flannel('192.161.1.71', '0a:00:00:00:00:71')); // half of another's
  await server.put(`${subnets}/10.244.72.0-24`, flannel('192.161.1.72', '0a:00:00:00:00:70')); // another's MAC
  await using one = await joinOverlay(lab.one, { registry: etcdRegistry({ endpoints: [server.url] }) });
  t.strictSame(await routes(lab.one), ['10.244.70.0/24']);
  t.equal(one.problems.length, Object.keys(hostile).length + 2);
  t.ok(one.problems.every(({ code }) => code === 'ERR_OVERLAY_NODE'));
  // What claims to be this node is not believed either.
  const half = one.self.ipv4!.subnet.replace('.0/24', '.128-25');
  await server.put(`${subnets}/${half}`, flannel('192.161.1.73', '0a:00:00:00:00:73'));
  await server.put(`${subnets}/10.244.74.0-24`, flannel('192.161.1.74', one.self.ipv4!.vtepMac));
  await server.put(`${subnets}/10.244.75.0-24`, flannel('192.161.1.75', '0a:00:00:00:00:75'));
  t.ok(await sees(lab.one, '10.244.70.0/24', '10.244.75.0/24'));
});

// ------------------------------------------------------------------ without a kernel

/** A node as the registry sees it. */
function joinAs(registry: OverlayRegistry, publicIp: string, publicIpv6?: string): Promise<OverlayMembership> {
  const network = { families: ['ipv4' as const] };
  return registry.join(
    { network, ipv4: { publicIp }, ...(publicIpv6 !== undefined && { ipv6: { publicIp: publicIpv6 } }) },
    () => undefined,
  );
}

await t.test('many nodes at once each have a subnet of their own, until there are no more', async (t) => {
  const server = await network(t, config({ Network: '10.9.0.0/24', SubnetLen: 28 }));
  const registry = etcdRegistry({ endpoints: [server.url] });
  const members = await Promise.all(Array.from({ length: 15 }, (_, number) => joinAs(registry, `192.161.1.${number + 1}`)));
  const taken = members.map(({ self }) => self.ipv4!.subnet).sort();
  t.equal(new Set(taken).size, 15);
  t.notOk(taken.includes('10.9.0.0/28'), 'the first one is the network itself');
  t.same((await server.keys()).sort(), taken.map((one) => one.replace('/', '-')).sort());
  await t.rejects(joinAs(registry, '192.161.1.99'), { code: 'ERR_OVERLAY_NO_SUBNET', about: '10.9.0.0/24' });
  t.equal(await leases(server), 15, 'no lease is left of those who were too late');
  await Promise.all(members.map((member) => member.leave()));
  t.equal(await leases(server), 0);
});

async function leases(server: Server): Promise<number> {
  const { leases = [] } = (await server.ask('/v3/lease/leases', {})) as { leases?: unknown[] };
  return leases.length;
}

await t.test('both families', async (t) => {
  const server = await network(t, config({ EnableIPv6: true, IPv6Network: 'fd00:10:244::/48', SubnetMin: '10.244.1.0', SubnetMax: '10.244.4.0', IPv6SubnetMax: 'fd00:10:244:4::' })); // prettier-ignore
  const registry = etcdRegistry({ endpoints: [server.url] });
  t.strictSame(await registry.network(), {
    families: ['ipv4', 'ipv6'],
    ipv4: '10.244.0.0/16',
    ipv6: 'fd00:10:244::/48',
    directRouting: false,
    learning: false,
  });
  const members = await Promise.all([1, 2, 3, 4].map((number) => joinAs(registry, `192.161.1.${number}`, `fd00:161::${number}`)));
  t.equal(new Set(members.map(({ self }) => self.ipv4!.subnet)).size, 4);
  t.equal(new Set(members.map(({ self }) => self.ipv6!.subnet)).size, 4);
  const { ipv4, ipv6 } = members[0]!.self;
  const kept = await server.get(`${subnets}/${ipv4!.subnet.replace('/', '-')}&${ipv6!.subnet.replace('/', '-')}`);
  t.equal(kept?.value, `{"PublicIP":"192.161.1.1","PublicIPv6":"fd00:161::1","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"${ipv4!.vtepMac}"},"BackendV6Data":{"VNI":1,"VtepMAC":"${ipv6!.vtepMac}"}}`); // prettier-ignore
  t.ok(await until(() => members.every(({ nodes }) => nodes.length === 4)));
  await Promise.all(members.map((member) => member.leave()));
});

await t.test('configurations', async (t) => {
  const server = await etcd(t);
  const registry = etcdRegistry({ endpoints: [server.url] });
  await t.rejects(registry.network(), { code: 'ERR_OVERLAY_CONFIG', message: /no \/coreos\.com\/network\/config/ });
  const good: readonly (readonly [text: string, wanted: object])[] = [
    [config(), { families: ['ipv4'], ipv4: '10.244.0.0/16', directRouting: false, learning: false }],
    [config({}, { VNI: 7, Port: 4789, MTU: 1400, DirectRouting: true, Learning: true }), { vni: 7, port: 4789, mtu: 1400, directRouting: true, learning: true }], // prettier-ignore
    [config({ EnableIPv4: false, EnableIPv6: true, IPv6Network: 'fd00::/56' }), { families: ['ipv6'], ipv6: 'fd00::/56' }],
  ];
  for (const [text, wanted] of good) {
    await server.put(`${PREFIX}/config`, text);
    t.match(await registry.network(), wanted);
  }
  const wrong: readonly (readonly [text: string, told: RegExp])[] = [
    ['', /no JSON object/],
    ['{"Network":"10.244.0.0/16"}', /backend is "udp"/],
    [config({}, { Type: 'host-gw' }), /backend is "host-gw"/],
    [config({}, { GBP: true }), /GBP/],
    [config({}, { VNI: 1 << 24 }), /VNI is 16777216/],
    [config({ Network: '10.244.0.0' }), /Network is "10.244.0.0"/],
    [config({ Network: '10.244.0.0/30' }), /at most \/28/],
    [config({ SubnetLen: 17 }), /room for four subnets/],
    [config({ SubnetMin: '10.244.0.1' }), /SubnetMin is/],
    [config({ SubnetMax: '10.245.0.0' }), /SubnetMax is/],
    [config({ EnableIPv4: false }), /neither IPv4 nor IPv6/],
    [config({ EnableIPv6: true }), /IPv6Network is undefined/],
  ];
  for (const [text, told] of wrong) {
    await server.put(`${PREFIX}/config`, text);
    await t.rejects(registry.network(), { code: 'ERR_OVERLAY_CONFIG', message: told }, text);
  }
});

await t.test('users and passwords', async (t) => {
  const server = await network(t, config({ Network: '10.9.0.0/20' }));
  await server.ask('/v3/auth/user/add', { name: 'root', password: 'secret' });
  await server.ask('/v3/auth/role/add', { name: 'root' });
  await server.ask('/v3/auth/user/grant', { user: 'root', role: 'root' });
  await server.ask('/v3/auth/enable', {});
  const endpoints = [server.url];
  await t.rejects(etcdRegistry({ endpoints }).network(), { code: 'ERR_ETCD_REFUSED', message: /user name is empty/ });
  await t.rejects(etcdRegistry({ endpoints, username: 'root', password: 'wrong' }).network(), { code: 'ERR_ETCD_REFUSED', message: /invalid user ID or password/ }); // prettier-ignore
  const registry = etcdRegistry({ endpoints, username: 'root', password: 'secret' });
  const member = await joinAs(registry, '192.161.1.1');
  const other = await joinAs(etcdRegistry({ endpoints, username: 'root', password: 'secret' }), '192.161.1.2');
  t.ok(await until(() => member.nodes.length === 2), 'the watch has the token too');
  // Tokens do not outlive the server.
  await server.kill();
  await server.start().catch(() => undefined);
  t.ok(await until(() => registry.network().then(() => true, () => false), 15_000)); // prettier-ignore
  t.ok(await until(() => member.problems.length === 0, 15_000));
  await member.leave();
  t.ok(await until(() => other.nodes.length === 1, 15_000));
  await other.leave();
});

await t.test('TLS, with certificates of both sides', async (t) => {
  const directory = t.testdir({});
  const openssl = (...args: readonly string[]): Buffer =>
    execFileSync('openssl', args, { cwd: directory, stdio: ['ignore', 'pipe', 'ignore'] });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '2', '-subj', '/CN=ca');
  for (const name of ['server', 'client']) {
    openssl('req', '-x509', ...key, '-keyout', `${name}.key`, '-out', `${name}.pem`, '-days', '2', '-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1', '-CA', 'ca.pem', '-CAkey', 'ca.key'); // prettier-ignore
  }
  const file = (name: string): string => join(directory, name);
  const args = [
    '--cert-file',
    file('server.pem'),
    '--key-file',
    file('server.key'),
    '--client-cert-auth',
    '--trusted-ca-file',
    file('ca.pem'),
  ];
  const server = await etcd(t, { scheme: 'https', args });
  const endpoints = [server.url];
  const tls = { ca: readFileSync(file('ca.pem')), cert: readFileSync(file('client.pem'), 'utf8'), key: readFileSync(file('client.key')) };
  const told = async (registry: OverlayRegistry): Promise<string> => registry.network().then(() => 'joined', (error: { code: string }) => error.code); // prettier-ignore
  // There is no network, and to be told so one has to get through.
  t.ok(await until(async () => (await told(etcdRegistry({ endpoints, tls }))) === 'ERR_OVERLAY_CONFIG', 15_000));
  t.equal(await told(etcdRegistry({ endpoints, tls: { ca: tls.ca } })), 'ERR_ETCD_UNREACHABLE', 'without a certificate of its own');
  t.equal(await told(etcdRegistry({ endpoints, tls: { cert: tls.cert, key: tls.key } })), 'ERR_ETCD_UNREACHABLE', 'an authority that nobody knows'); // prettier-ignore
});

await t.test('endpoints that do not answer', async (t) => {
  const server = await network(t);
  const line = await proxy(t, server.url);
  const dead = 'http://127.0.0.1:1';
  t.match(await etcdRegistry({ endpoints: [dead, server.url] }).network(), { families: ['ipv4'] }, 'the next one is asked');
  await t.rejects(etcdRegistry({ endpoints: [dead] }).network(), {
    code: 'ERR_ETCD_UNREACHABLE',
    message: /127\.0\.0\.1:1: .*ECONNREFUSED/,
  });
  line.freeze();
  await t.rejects(etcdRegistry({ endpoints: [line.url], timeout: 200 }).network(), { code: 'ERR_ETCD_UNREACHABLE', message: /200 ms/ });
  await t.rejects(etcdRegistry({ endpoints: [line.url] }).network(AbortSignal.timeout(50)), { name: 'TimeoutError' });
});

await t.test('leaving without etcd', skip, async (t) => {
  const server = await network(t);
  await using lab = await underlay();
  const before = await dump(lab.one);
  const one = await joinOverlay(lab.one, { registry: etcdRegistry({ endpoints: [server.url], timeout: 500 }), bridge: true });
  await server.kill();
  await t.rejects(one.leave(), { code: 'ERR_ETCD_UNREACHABLE' }, 'the lease could not be given back, and runs out');
  t.strictSame(compare(before, await dump(lab.one)), [], 'but nothing is left here');
});

await t.test('options, and what is wrong about them', async (t) => {
  const endpoints = ['http://127.0.0.1:2379'];
  const wrong: readonly (readonly [options: object, told: RegExp])[] = [
    [{}, /'endpoints' is required/],
    [{ endpoints: [] }, /must name an endpoint/],
    [{ endpoints: ['127.0.0.1:2379'] }, /must be an endpoint such as/],
    [{ endpoints: ['http://user:secret@127.0.0.1:2379'] }, /must be an endpoint such as/],
    [{ endpoints, username: 'root' }, /both 'username' and 'password'/],
    [{ endpoints, tls: { ca: '/etc/ssl/ca.pem' } }, /must be PEM/],
    [{ endpoints, tls: { cert: '-----BEGIN CERTIFICATE-----' } }, /both 'tls.cert' and 'tls.key'/],
    [{ endpoints, prefix: 'coreos.com' }, /'prefix' must be a path/],
    [{ endpoints, leaseTime: 1 }, /'leaseTime' must be/],
    [{ endpoints, endpoint: 1 }, /there is no option 'endpoint'/],
  ];
  for (const [options, told] of wrong) t.throws(() => etcdRegistry(options as never), { name: 'TypeError', message: told });
});
