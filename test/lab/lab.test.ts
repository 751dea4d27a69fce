import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { type Netns, deleteLink, getLink, listAddresses, listLinks, listRoutes, readSysctl, setLink, setSysctl } from 'podtap';
import { createLab, ping } from 'podtap/lab';
import t from 'tap';
import { native } from '../../lib/native.js';
import { fresh, inside, ip } from '../support/inside.js';
import { root } from '../support/root.js';

const routed = {
  nodes: { client: {}, router: { forward: true }, server: {} },
  links: [
    { client: '10.0.1.2/24 fd00:1::2/64', router: '10.0.1.1/24 fd00:1::1/64' },
    { router: '10.0.2.1/24 fd00:2::1/64', server: '10.0.2.2/24 fd00:2::2/64' },
  ],
  routes: {
    client: { default: '10.0.1.1', '::/0': 'fd00:1::1' },
    server: { default: '10.0.2.1', 'fd00:1::/64': 'fd00:2::1' },
  },
} as const;

await t.test('a lab is what was described', async (t) => {
  const before = native().openDescriptors();
  await t.test('while it is there', async (t) => {
    await using lab = await createLab(routed);
    t.same(Object.keys(lab).sort(), ['client', 'router', 'server']);
    const shown = (netns: Netns): string[] =>
      ip<{ ifname: string; operstate: string; addr_info: { local: string; prefixlen: number; scope: string }[] }>(netns, 'address show')
        .filter(({ ifname }) => ifname !== 'lo')
        .map(
          ({ ifname, operstate, addr_info }) =>
            `${ifname} ${operstate} ${addr_info
              .filter(({ scope }) => scope === 'global')
              .map(({ local, prefixlen }) => `${local}/${prefixlen}`)
              .join(' ')}`,
        ) // prettier-ignore
        .sort();
    t.same(shown(lab.client), ['eth0 UP 10.0.1.2/24 fd00:1::2/64']);
    t.same(shown(lab.router), ['eth0 UP 10.0.1.1/24 fd00:1::1/64', 'eth1 UP 10.0.2.1/24 fd00:2::1/64']);
    t.same(shown(lab.server), ['eth0 UP 10.0.2.2/24 fd00:2::2/64']);
    for (const [node, forwards] of [
      ['client', '0'],
      ['router', '1'],
      ['server', '0'],
    ] as const) {
      for (const family of ['ipv4', 'ipv6']) t.equal(await readSysctl(lab[node], `net.${family}.conf.all.forwarding`), forwards, `${node} ${family}`); // prettier-ignore
    }
    t.match(inside(lab.client, 'ip route show default'), /^default via 10\.0\.1\.1 dev eth0/);
    t.match(inside(lab.client, 'ip -6 route show default'), /^default via fd00:1::1 dev eth0/);
    t.match(inside(lab.server, 'ip -6 route show fd00:1::/64'), /via fd00:2::1 dev eth0/);
    t.equal((await listRoutes(lab.server, { family: 'ipv4' })).filter(({ via }) => via !== undefined).length, 1);
    for (const name of ['client', 'router', 'server'] as const) t.match(await getLink(lab[name], 'lo'), { up: true });
  });
  t.equal(native().openDescriptors(), before, 'torn down');
});

await t.test('packets cross it at once, in both families', async (t) => {
  for (let round = 0; round < 5; round++) {
    await using lab = await createLab(routed);
    const [four, six] = await Promise.all([ping(lab.client, '10.0.2.2'), ping(lab.client, 'fd00:2::2')]);
    t.same([four.received, six.received], [1, 1]);
  }
});

await t.test('links without addresses, several between two nodes, nodes alone', async (t) => {
  await using lab = await createLab({
    nodes: { a: {}, b: {}, alone: {} },
    links: [{ a: '', b: '' }, { a: '10.0.0.1/24', b: '10.0.0.2/24' }],
  }); // prettier-ignore
  t.same((await listLinks(lab.a)).map(({ name }) => name).sort(), ['eth0', 'eth1', 'lo']);
  t.same((await listAddresses(lab.a, { link: 'eth0', family: 'ipv4' })).length, 0);
  t.equal((await ping(lab.b, '10.0.0.1')).received, 1);
  t.same((await listLinks(lab.alone)).map(({ name }) => name), ['lo']); // prettier-ignore
  await using empty = await createLab({ nodes: {}, links: [] });
  t.same(Object.keys(empty), []);
});

await t.test('mistakes are told, and leave nothing', async (t) => {
  const before = native().openDescriptors();
  const wrong: [object, RegExp][] = [
    [{ nodes: { a: {} }, links: [{ a: '10.0.0.1/24', c: '10.0.0.2/24' }] }, /there is no node 'c'/],
    [{ nodes: { a: {} }, links: [], routes: { b: {} } }, /there is no node 'b'/],
    [{ nodes: { a: {}, b: {} }, links: [{ a: '10.0.0.1/24' }] }, /must name two nodes/],
    [{ nodes: { a: {}, b: {} }, links: [{ a: '10.0.0.300/24', b: '' }] }, /must be addresses/],
    [{ nodes: { a: { forwards: true } }, links: [] }, /did you mean 'forward'/],
    [{ nodes: { a: {} }, links: [], routes: { a: { nowhere: '10.0.0.1' } } }, /must be a prefix/],
    [{ nodes: { a: {} }, links: [], routes: { a: { default: 'nobody' } } }, /IP address/],
  ];
  for (const [lab, message] of wrong) await t.rejects(createLab(lab as never), { name: 'TypeError', message });
  await t.rejects(
    createLab({ nodes: { a: {}, b: {} }, links: [{ a: '10.0.0.1/24', b: '10.0.0.2/24' }], routes: { a: { default: '10.9.9.9' } } }),
    { name: 'NetlinkError', code: 'ENETUNREACH' },
  );
  t.equal(native().openDescriptors(), before, 'not even the namespaces of one that failed halfway');
});

await t.test('ping', async (t) => {
  await using lab = await createLab({ nodes: { a: {}, b: {} }, links: [{ a: '10.0.0.1/24 fd00::1/64', b: '10.0.0.2/24 fd00::2/64' }] });
  await readSysctl(lab.b, 'net.ipv4.ip_forward');
  const before = native().openDescriptors();
  for (const address of ['10.0.0.2', 'fd00::2', '10.0.0.1', '127.0.0.1', '::1']) {
    const result = await ping(lab.a, address, { count: 5, interval: 1 });
    t.match(result, { sent: 5, received: 5 }, address);
    t.equal(result.rtt.length, 5);
    t.ok(result.rtt.every((milliseconds) => milliseconds > 0 && milliseconds < 1000));
  }
  for (const size of [0, 1, 1472, 20_000]) t.match(await ping(lab.a, '10.0.0.2', { size }), { received: 1 }, `${size} bytes`);
  const many = await Promise.all(Array.from({ length: 50 }, (_, number) => ping(lab.a, number % 2 === 0 ? '10.0.0.2' : 'fd00::2')));
  t.ok(
    many.every(({ received }) => received === 1),
    "many at once take nobody else's reply",
  );

  const started = performance.now();
  t.same(await ping(lab.a, '10.0.0.77', { count: 2, interval: 10, timeout: 40 }), { sent: 2, received: 0, rtt: [] });
  t.ok(performance.now() - started >= 70, 'each was waited for');
  const spaced = performance.now();
  await ping(lab.a, '10.0.0.2', { count: 3, interval: 50 });
  const took = performance.now() - spaced;
  t.ok(took >= 90 && took < 1000, `${took} ms: the last one is not waited after`);
  await setSysctl(lab.b, 'net.ipv4.icmp_echo_ignore_all', 1);
  t.match(await ping(lab.a, '10.0.0.2', { timeout: 30 }), { received: 0 });
  t.match(await ping(lab.a, 'fd00::2'), { received: 1 });

  await t.rejects(ping(lab.a, '10.1.0.1'), { code: 'ENETUNREACH' });
  await t.rejects(ping(lab.a, 'fd01::1'), { code: 'ENETUNREACH' });
  for (const address of ['', 'localhost', '10.0.0.2/24', 7]) await t.rejects(ping(lab.a, address as string), { name: 'TypeError' });
  for (const options of [{ count: 0 }, { size: -1 }, { timeout: -1 }, { interval: 1.5 }, { counts: 1 }])
    await t.rejects(ping(lab.a, '10.0.0.2', options), { name: 'TypeError' }, JSON.stringify(options));
  t.equal(native().openDescriptors(), before, 'no socket of a ping');
});

await t.test('a cut wire', async (t) => {
  await using lab = await createLab({ nodes: { a: {}, b: {} }, links: [{ a: '10.0.0.1/24', b: '10.0.0.2/24' }] });
  await setLink(lab.b, 'eth0', { up: false });
  t.match(await ping(lab.a, '10.0.0.2', { timeout: 30 }), { received: 0 });
  await setLink(lab.b, 'eth0', { up: true });
  t.match(await ping(lab.a, '10.0.0.2', { count: 20, timeout: 100, interval: 20 }), { sent: 20 });
  await deleteLink(lab.b, 'eth0');
  t.equal(await getLink(lab.a, 'eth0'), undefined);
});

const program = join(root, 'dist/test/lab/program.test.js');
function run(...args: readonly string[]) {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(NODE_OPTIONS|NODE_TEST_CONTEXT|_?TAP)/.test(name)));
  return spawnSync(process.execPath, [...args, program], { cwd: root, env, encoding: 'utf8' });
}

await t.test("a program of node's own test runner", async (t) => {
  for (const args of [['--test'], ['--import', 'podtap/unprivileged', '--test'], ['--import', 'podtap/unprivileged']]) {
    const { status, stdout, stderr } = run(...args);
    t.equal(status, 0, args.join(' '));
    t.match(stdout, /# pass 1\n# fail 0|ℹ pass 1\nℹ fail 0/);
    t.equal(stderr, '');
  }
  const netns = await fresh(t);
  t.equal((await listLinks(netns)).length, 1);
});
