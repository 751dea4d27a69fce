// plumb by redirect: with real frames, among the filters of others, and with a TAP that goes away.
import { type Netns, type Plumbing, addQdisc, createVeth, inspect, listFilters, openPlumbing, planPlumbing, plumb, recover, setLink, transaction } from 'podtap'; // prettier-ignore
import { ping, runGuest } from 'podtap/lab';
import t, { type Test } from 'tap';
import { compare, dump } from '../oracle/dump.js';
import { build } from '../oracle/pod.js';
import { fresh, inside, ip, until } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { directory } from '../transaction/files.js';
import { asBefore, none, richPod } from './around.js';

t.setTimeout(300_000);
const skip = requires('tun', 'clsact', 'u32');

const POD = { mac: '02:00:00:00:00:22', addresses: ['10.1.0.2/24', '10.1.0.3/24', 'fd00:1::2/64'] };

/** A pod on a veth of a node. */
async function podOf(t: Test): Promise<{ node: Netns; pod: Netns; journal: string }> {
  const [node, pod] = [await fresh(t), await fresh(t)];
  for (const netns of [node, pod]) inside(netns, 'sysctl -qw net.ipv6.conf.default.accept_dad=0');
  await createVeth(node, 'vn', {
    mac: '02:00:00:00:00:11',
    addresses: ['10.1.0.1/24', 'fd00:1::1/64'],
    up: true,
    peer: { scope: pod, name: 'eth0', mac: POD.mac, addresses: POD.addresses, up: true },
  });
  inside(pod, 'ip route add default via 10.1.0.1; ip -6 route add default via fd00:1::1');
  return { node, pod, journal: directory(t) };
}

async function answers(from: Netns, address: string): Promise<boolean> {
  return (await ping(from, address, { count: 1, timeout: 1000 })).received === 1;
}

await t.test('frames cross both ways, and the pod sees none of them', { skip }, async (t) => {
  const { node, pod, journal } = await podOf(t);
  const before = await dump(pod);
  const net = await plumb(pod, { journal });
  t.equal(net.mode, 'redirect');
  t.equal(net.guest.mac, POD.mac);
  t.same(await net.verify({ traffic: true }), { ok: true, toGuest: 'crossed', fromGuest: 'crossed', problems: [] });
  t.same(ip(pod, 'link show').map(({ ifname }) => ifname).sort(), ['eth0', 'lo', 'tap0']); // prettier-ignore
  const icmp = (): string => inside(pod, "awk '/^Icmp: [0-9]/ {print $2}' /proc/net/snmp").trim();
  const received = icmp();
  {
    await using guest = await runGuest(net.tap, net.guest);
    for (const address of ['10.1.0.2', '10.1.0.3', 'fd00:1::2'])
      t.equal(await until(() => answers(node, address)), true, `the node to ${address}`);
    for (const address of ['10.1.0.1', 'fd00:1::1'])
      t.equal(await until(() => answers(guest.netns, address)), true, `the guest to ${address}`);
    t.equal((await net.verify({ traffic: true })).toGuest, 'skipped');
    // Who answers has the guest's neighbours; the pod's stack was not even asked.
    t.equal(icmp(), received);
  }
  t.strictSame(await net.undo(), { state: 'undone', leftBehind: [] });
  t.equal(await until(() => answers(node, '10.1.0.2')), true, 'the pod answers again');
  await asBefore(before, pod, journal, 'undone');
});

await t.test('another MAC is the interface’s too', { skip }, async (t) => {
  const { node, pod, journal } = await podOf(t);
  const before = await dump(pod);
  for (const address of ['10.1.0.2', 'fd00:1::2']) t.equal(await until(() => answers(node, address)), true);
  const known = (): string[] => ip<{ dst: string; lladdr: string }>(node, 'neigh show dev vn').filter(({ dst }) => ['10.1.0.2', 'fd00:1::2'].includes(dst)).map(({ lladdr }) => lladdr); // prettier-ignore
  t.same(known(), [POD.mac, POD.mac]);
  const net = await plumb(pod, { journal, guestMac: '02:00:00:00:00:77' });
  t.equal(await until(() => known().every((mac) => mac === '02:00:00:00:00:77')), true, 'neighbours are told before the guest says anything'); // prettier-ignore
  t.equal(net.guest.mac, '02:00:00:00:00:77');
  t.equal(ip(pod, 'link show dev eth0')[0]!.address, '02:00:00:00:00:77');
  {
    await using _ = await runGuest(net.tap, net.guest);
    t.equal(await until(() => answers(node, '10.1.0.2')), true);
  }
  await net.undo();
  await asBefore(before, pod, journal, 'undone');
});

for (const [hook, parent] of [
  ['ingress', 'ffff:'],
  ['clsact', 'ffff:fff2'],
] as const)
  for (const filters of ['first', 'last'] as const)
    await t.test(`${hook} and filters of others, ours ${filters}`, { skip }, async (t) => {
      const { node, pod, journal } = await podOf(t);
      inside(pod, `tc qdisc add dev eth0 ${hook}; tc filter add dev eth0 parent ${parent} protocol ip pref 10 u32 match ip dst 10.1.0.3/32 flowid 1:1; tc filter add dev eth0 parent ${parent} protocol ip pref 49152 u32 match u32 0 0 action mirred egress mirror dev lo continue`); // prettier-ignore
      const before = await dump(pod);
      const net = await plumb(pod, { journal, filters });
      const order = (await listFilters(pod, 'eth0', 'ingress')).filter(({ handle = '' }) => /::|^0x/.test(handle)).map(({ priority }) => priority); // prettier-ignore
      t.strictSame(order, filters === 'first' ? [9, 10, 49152] : [10, 49152, 65535]);
      t.equal((await net.verify({ traffic: true })).ok, true);
      {
        await using _ = await runGuest(net.tap, net.guest);
        t.equal(await until(() => answers(node, '10.1.0.2')), true);
        const received = (): number => Number(inside(pod, "awk '/^Icmp: [0-9]/ {print $2}' /proc/net/snmp"));
        const before = received();
        await answers(node, '10.1.0.3');
        t.equal(received() > before, filters === 'last', 'what their filter takes for the pod');
      }
      t.strictSame(await net.undo(), { state: 'undone', leftBehind: [] });
      await asBefore(before, pod, journal, 'undone');
    });

await t.test('others hang filters on the qdisc meanwhile: it stays, and that is told', { skip }, async (t) => {
  const { node, pod, journal } = await podOf(t);
  const net = await plumb(pod, { journal });
  inside(pod, 'tc filter add dev eth0 parent ffff: protocol ip u32 match ip protocol 47 0xff flowid 1:1');
  const { leftBehind } = await net.undo();
  t.equal(leftBehind.length, 1);
  t.match(leftBehind[0], /qdisc .* of eth0 was made by podtap and stays, for a filter of somebody else/);
  t.match(inside(pod, 'tc filter show dev eth0 parent ffff:'), /002f0000\/00ff0000/);
  t.notMatch(inside(pod, 'tc filter show dev eth0 parent ffff:'), /mirred/);
  t.equal(await until(() => answers(node, '10.1.0.2')), true);
});

await t.test('a qdisc and filters in a transaction are undone', { skip }, async (t) => {
  const { pod } = await podOf(t);
  const before = await dump(pod);
  await t.rejects(
    transaction(
      pod,
      async (tx) => {
        await addQdisc(tx, 'eth0', { kind: 'ingress' });
        throw new Error('no');
      },
      { journal: false },
    ),
  );
  none(compare(before, await dump(pod)), 'undone');
});

/** The guest's end is gone, and the filter on eth0 has nowhere to send to. */
async function dead(
  t: Test,
): Promise<{ node: Netns; pod: Netns; journal: string; net: Plumbing; before: Awaited<ReturnType<typeof dump>> }> {
  const { node, pod, journal } = await podOf(t);
  const before = await dump(pod);
  const net = await plumb(pod, { journal, label: 'vm/7' });
  inside(pod, 'ip link del tap0');
  t.equal(await answers(node, '10.1.0.2'), false, 'eth0 eats what comes in');
  return { node, pod, journal, net, before };
}

await t.test('a TAP that is gone: verify and inspect tell of it, repair gives the pod its network back', { skip }, async (t) => {
  const { node, pod, journal, net, before } = await dead(t);
  const codes = (problems: readonly { code: string }[]): string[] => problems.map(({ code }) => code).sort();
  t.strictSame(codes((await net.verify()).problems), ['REDIRECT_TARGET_GONE', 'TAP_GONE']);
  t.strictSame(codes((await inspect(pod)).problems), ['REDIRECT_TARGET_GONE']);
  // Another one of that name is none of ours, and heals nothing.
  inside(pod, 'ip tuntap add dev tap0 mode tap; ip link set tap0 up');
  t.strictSame(codes((await inspect(pod)).problems), ['REDIRECT_TARGET_GONE']);
  t.strictSame(codes(await net.repair()), ['TAP_GONE']);
  t.equal(await until(() => answers(node, '10.1.0.2')), true);
  t.strictSame((await inspect(pod)).problems, []);
  inside(pod, 'ip link del tap0');
  t.strictSame(await net.undo(), { state: 'undone', leftBehind: [] });
  await asBefore(before, pod, journal, 'undone');
});

await t.test('a TAP that is gone: events tell, whoever listens repairs', { skip }, async (t) => {
  const { node, pod, journal } = await podOf(t);
  const before = await dump(pod);
  const net = await plumb(pod, { journal });
  const told: string[] = [];
  const listening = (async () => {
    for await (const event of net.events()) {
      told.push(event.type === 'broken' || event.type === 'repaired' ? `${event.type} ${event.problem.code}` : event.type);
      if (event.type === 'broken') await net.repair();
    }
  })();
  inside(pod, 'ip link del tap0');
  await listening;
  t.strictSame(told, ['broken REDIRECT_TARGET_GONE', 'repaired REDIRECT_TARGET_GONE', 'gone']);
  t.equal(await until(() => answers(node, '10.1.0.2')), true);
  await net.undo();
  await asBefore(before, pod, journal, 'undone');
});

for (const how of ['undo', 'another process', 'recover', 'plumb again'] as const)
  await t.test(`a TAP that is gone: ${how}`, { skip }, async (t) => {
    const { node, pod, journal, net, before } = await dead(t);
    if (how === 'undo') t.strictSame(await net.undo(), { state: 'undone', leftBehind: [] });
    if (how === 'another process') await (await openPlumbing(pod, { journal }))!.undo();
    if (how === 'recover') t.strictSame((await recover({ journal, finished: 'undo' })).undone.length, 1);
    if (how === 'plumb again') {
      const again = await plumb(pod, { journal, label: 'vm/7' });
      t.equal(again.created, true);
      t.equal((await again.verify({ traffic: true })).ok, true);
      await again.undo();
    }
    t.equal(await until(() => answers(node, '10.1.0.2')), true);
    t.equal((await net.undo()).state, 'already-undone');
    await asBefore(before, pod, journal, how);
  });

await t.test('filters that are gone are put back, and undone all the same', { skip }, async (t) => {
  const { pod, journal } = await podOf(t);
  // So that the hash table of what is put back is another one than before.
  inside(pod, 'tc qdisc add dev eth0 clsact');
  const before = await dump(pod);
  const net = await plumb(pod, { journal });
  inside(pod, 'tc filter del dev eth0 ingress pref 65535; tc filter add dev eth0 ingress protocol ip pref 3 u32 match ip protocol 47 0xff flowid 1:1; tc qdisc del dev tap0 ingress; ip link set tap0 down'); // prettier-ignore
  t.strictSame((await net.verify()).problems.map(({ code }) => code), ['FILTER_MISSING', 'FILTER_MISSING', 'LINK_DOWN']); // prettier-ignore
  t.strictSame(await net.repair(), []);
  t.equal((await net.verify({ traffic: true })).ok, true);
  inside(pod, 'tc filter del dev eth0 ingress pref 3');
  t.strictSame(await net.undo(), { state: 'undone', leftBehind: [] });
  await asBefore(before, pod, journal, 'undone');
});

await t.test('what is there of another journal is told, not doubled', { skip }, async (t) => {
  const { pod, journal } = await podOf(t);
  const net = await plumb(pod, { journal });
  await t.rejects(plumb(pod, { journal: directory(t) }), { code: 'ERR_PLUMB_CONFLICT', message: /'eth0' is plumbed already, by redirect to 'tap0', and this journal does not know it/ }); // prettier-ignore
  // Its TAP is gone, and its filter is not.
  inside(pod, 'ip link del tap0');
  await t.rejects(plumb(pod, { journal: directory(t) }), { code: 'ERR_PLUMB_CONFLICT', message: /tc filter delete dev eth0 parent ffff: protocol all pref 65535/ }); // prettier-ignore
  await net.undo();
});

await t.test('several interfaces in one transaction', { skip }, async (t) => {
  await using built = await build(richPod);
  const { netns } = built;
  const journal = directory(t);
  const before = await dump(netns);
  const nets = await transaction(netns, async (tx) => [await plumb(tx, { link: 'eth0', label: 'a' }), await plumb(tx, { link: 'eth1', label: 'b' })], { journal }); // prettier-ignore
  t.same(nets.map(({ tap }) => tap.name), ['tap0', 'tap1']); // prettier-ignore
  for (const net of nets) t.equal((await net.verify({ traffic: true })).ok, true);
  t.same((await inspect(netns)).plumbings.map(({ label, mode, link, tap }) => [label, mode, link, tap]).sort(), [['a', 'redirect', 'eth0', 'tap0'], ['b', 'redirect', 'eth1', 'tap1']]); // prettier-ignore
  for (const net of nets) t.strictSame(await net.undo(), { state: 'undone', leftBehind: [] });
  await asBefore(before, netns, journal, 'undone');
});

await t.test('the plan, as a person would have written it', { skip }, async (t) => {
  const { pod } = await podOf(t);
  const plan = String(await planPlumbing(pod, { tap: 'tap7' }));
  t.match(plan, /^tc qdisc add dev eth0 ingress$/m);
  t.match(plan, /^tc filter add dev eth0 parent ffff: protocol all .*action mirred egress redirect dev tap7 cookie [0-9a-f]+$/m);
});

await t.test('auto: what fits, and why not the others', { skip }, async (t) => {
  const { pod, journal } = await podOf(t);
  const net = await plumb(pod, { journal, mode: 'auto' });
  t.match(net.picked, { mode: net.mode, why: /not ebpf: no programs|programs can be loaded/ });
  for (const mode of ['auto', net.mode] as const) {
    await using again = await plumb(pod, { journal, mode });
    t.equal(again.created, false);
  }
  await t.rejects(plumb(pod, { journal, mode: 'bridge' }), {
    code: 'ERR_PLUMB_CONFLICT',
    message: /mode was '(redirect|ebpf)', and now is 'bridge'/,
  });
  await net.undo();
});

await t.test('a macvlan cannot be bridged, and is redirected', { skip: skip || requires('macvlan') }, async (t) => {
  const node = await fresh(t);
  const pod = await fresh(t);
  await createVeth(node, 'vn', { addresses: ['10.1.0.1/24'], up: true, peer: { name: 'below', up: true } });
  inside(node, 'ip link add link below name m0 type macvlan mode bridge');
  await setLink(node, 'm0', { netns: pod });
  inside(pod, 'ip link set m0 name eth0; ip address add 10.1.0.2/24 dev eth0; ip link set eth0 up');
  const journal = directory(t);
  await t.rejects(plumb(pod, { journal, mode: 'bridge' }), { code: 'ERR_PLUMB_LINK_KIND' });
  const net = await plumb(pod, { journal, mode: 'auto' });
  t.equal((await net.verify({ traffic: true })).ok, true);
  {
    await using _ = await runGuest(net.tap, net.guest);
    t.equal(await until(() => answers(node, '10.1.0.2')), true);
  }
  await net.undo();
});

await t.test('filters of others are told of', { skip }, async (t) => {
  const { pod, journal } = await podOf(t);
  inside(pod, 'tc qdisc add dev eth0 clsact; tc filter add dev eth0 ingress protocol ip pref 10 u32 match ip protocol 47 0xff flowid 1:1');
  for (const [options, code] of [
    [{ filters: 'first' }, 'FILTER_BEHIND'],
    [{ filters: 'last' }, 'FILTER_BEFORE'],
    [{ mode: 'bridge' }, 'FILTER_BEFORE'],
  ] as const) {
    const net = await plumb(pod, { journal, ...options });
    t.match(await net.verify(), { ok: true, warnings: [{ code, message: /u32 with priority 10 on eth0/ }] });
    t.match((await inspect(pod)).warnings, [{ code }]);
    await net.undo();
  }
});
