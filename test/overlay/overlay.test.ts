import { type Netns, addAddress, createBridge, createVeth, deleteLink, openPacketSocket } from 'podtap';
import { type ListedNode, type Overlay, joinOverlay, nodeList } from 'podtap/overlay';
import { ping } from 'podtap/lab';
import t from 'tap';
import { native } from '../../lib/native.js';
import { compare, dump } from '../oracle/dump.js';
import { bridgeJson, ipJson, sh } from '../support/oracle.js';
import { inside, until } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { changesOf } from './changes.js';
import { isVxlan, readVxlan } from './frames.js';
import { ONE, THREE, WIDE_ONE, WIDE_THREE, pod, two, underlay } from './nodes.js';

const skip = { skip: requires('vxlan', 'bridge') };

async function reaches(from: Netns, to: string): Promise<boolean> {
  return until(async () => (await ping(from, to, { timeout: 300 })).received > 0, 10_000);
}

await t.test('pods on two nodes talk as the document has it', skip, async (t) => {
  await using lab = await underlay();
  const registry = nodeList(two);
  await using one = await joinOverlay(lab.one, { registry, bridge: true });
  await using three = await joinOverlay(lab.three, { registry, bridge: true });
  t.strictSame([one.self, one.nodes, one.mtu, one.problems], [{ ipv4: ONE }, [{ ipv4: THREE }], 1450, []]);

  const [device] = await ipJson(lab.one, 'link show dev flannel.1');
  t.match(device, {
    mtu: 1450,
    address: ONE.vtepMac,
    flags: ['BROADCAST', 'MULTICAST', 'UP', 'LOWER_UP'],
    linkinfo: { info_kind: 'vxlan', info_data: { id: 1, port: 8472, learning: false, local: '192.161.1.5', link: 'eth0' } },
  });
  t.match(await ipJson(lab.one, 'address show dev flannel.1'), [{ addr_info: [{ local: '10.244.1.0', prefixlen: 32, scope: 'global' }] }]);
  t.match(await ipJson(lab.one, 'address show dev cni0'), [{ mtu: 1450, addr_info: [{ local: '10.244.1.1', prefixlen: 24 }] }]);
  t.match(await ipJson(lab.one, 'route show dev flannel.1'), [{ dst: '10.244.3.0/24', gateway: '10.244.3.0', flags: ['onlink'] }]);
  t.match(await ipJson(lab.one, 'neighbour show dev flannel.1'), [{ dst: '10.244.3.0', lladdr: THREE.vtepMac, state: ['PERMANENT'] }]);
  t.match(await bridgeJson(lab.one, 'fdb show dev flannel.1'), [{ mac: THREE.vtepMac, dst: '192.160.0.6', state: 'permanent', flags: ['self', 'extern_learn'] }]); // prettier-ignore

  await using a = await pod(lab.one, 3, one.mtu, '10.244.1.3/24');
  await using b = await pod(lab.three, 3, three.mtu, '10.244.3.3/24');
  const captured: Uint8Array[] = [];
  await using wire = await openPacketSocket(lab.router, 'eth1');
  const stop = new AbortController();
  const capturing = (async () => {
    for await (const frames of wire.frames({ signal: stop.signal })) captured.push(...frames.map((frame) => Uint8Array.from(frame)));
  })();
  t.ok(await reaches(a, '10.244.3.3'));
  t.ok(await reaches(b, '10.244.1.3'));
  t.ok(await reaches(lab.one, '10.244.3.3'), 'from the node itself');
  t.ok(await reaches(b, '10.244.1.0'), 'and to it');

  // One datagram that fills the MTU, and one that is a byte too long.
  inside(a, "bash -c 'printf %01422d 0 > /dev/udp/10.244.3.3/9; printf %01423d 0 > /dev/udp/10.244.3.3/9'");
  const full = (): boolean => captured.filter(isVxlan).some((frame) => readVxlan(frame).outerLength === 1500);
  t.ok(await until(full), 'an outer packet of 1500 bytes');
  stop.abort();
  await capturing;
  const packets = captured.filter(isVxlan).map(readVxlan);
  t.ok(
    packets.every(({ outerLength, fragment }) => outerLength <= 1500 && !fragment),
    'none is longer, or a fragment',
  );
  const requests = packets.filter(({ from, inner }) => from === '192.161.1.5' && inner.from === '10.244.1.3' && inner.protocol === 1);
  t.not(requests.length, 0);
  for (const { to, port, vni, inner } of requests) {
    t.strictSame({ to, port, vni }, { to: '192.160.0.6', port: 8472, vni: 1 });
    t.match(inner, { source: ONE.vtepMac, destination: THREE.vtepMac, to: '10.244.3.3', ttl: 63 });
  }
});

await t.test('IPv6, and both at once', skip, async (t) => {
  await using lab = await underlay();
  const registry = nodeList([{ ipv4: ONE, ipv6: WIDE_ONE }, { ipv4: THREE, ipv6: WIDE_THREE }]); // prettier-ignore
  const before = [await dump(lab.one), await dump(lab.three)];
  {
    await using one = await joinOverlay(lab.one, { registry, bridge: true });
    await using three = await joinOverlay(lab.three, { registry, bridge: true });
    t.match(await ipJson(lab.one, 'link show dev flannel-v6.1'), [{ mtu: 1430, address: WIDE_ONE.vtepMac, linkinfo: { info_data: { id: 1, port: 8472, learning: false, local6: 'fd00:161::5' } } }]); // prettier-ignore
    t.match(
      await sh(lab.one, 'ip -6 route show dev flannel-v6.1'),
      /^fd00:10:244:3::\/64 via fd00:10:244:3:: proto 112 metric 1024 onlink/m,
    );
    t.match(await ipJson(lab.one, '-6 neighbour show dev flannel-v6.1'), [{ dst: 'fd00:10:244:3::', lladdr: WIDE_THREE.vtepMac, state: ['PERMANENT'] }]); // prettier-ignore
    t.match(await bridgeJson(lab.one, 'fdb show dev flannel-v6.1'), [{ mac: WIDE_THREE.vtepMac, dst: 'fd00:160::6' }]);
    t.equal(one.mtu, 1430);
    t.equal(await one.reconcile(), 0);
    for (const name of ['flannel/1', 'flannel-v6/1', 'cni0'])
      t.equal(await sh(lab.one, `sysctl -n net.ipv6.conf.${name}.accept_ra`), '0\n', `${name} believes no router`);
    t.notMatch(await sh(lab.one, 'ip -6 address show dev flannel.1'), /fe80/);
    await using a = await pod(lab.one, 3, one.mtu, '10.244.1.3/24', 'fd00:10:244:1::3/64');
    await using b = await pod(lab.three, 3, three.mtu, '10.244.3.3/24', 'fd00:10:244:3::3/64');
    t.ok(await reaches(a, 'fd00:10:244:3::3'));
    t.ok(await reaches(b, 'fd00:10:244:1::3'));
    t.ok(await reaches(a, '10.244.3.3'));
    t.ok(await reaches(lab.one, 'fd00:10:244:3::3'), 'from the node itself');
  }
  t.strictSame([...compare(before[0]!, await dump(lab.one)), ...compare(before[1]!, await dump(lab.three))], []);

  await using alone = await joinOverlay(lab.one, { registry: nodeList([{ ipv6: WIDE_ONE }, { ipv6: WIDE_THREE }]) });
  t.strictSame([alone.self, alone.nodes, alone.mtu], [{ ipv6: WIDE_ONE }, [{ ipv6: WIDE_THREE }], 1430]);
  t.strictSame((await ipJson(lab.one, 'link show type vxlan')).map(({ ifname }) => ifname), ['flannel-v6.1']); // prettier-ignore
});

await t.test('direct routing where nodes share a segment', skip, async (t) => {
  await using lab = await underlay();
  const two = { subnet: '10.244.2.0/24', publicIp: '192.161.1.2', vtepMac: 'ba:b9:7e:49:ba:b0' };
  const wide = { subnet: 'fd00:10:244:2::/64', publicIp: 'fd00:161::2', vtepMac: '02:00:00:00:06:02' };
  const registry = nodeList([{ ipv4: ONE, ipv6: WIDE_ONE }, { ipv4: two, ipv6: wide }, { ipv4: THREE, ipv6: WIDE_THREE }]); // prettier-ignore
  const before = [await dump(lab.one), await dump(lab.router)];
  {
    await using one = await joinOverlay(lab.one, { registry, bridge: true, directRouting: true });
    await using router = await joinOverlay(lab.router, { registry, bridge: true, directRouting: true, publicIp: '192.161.1.2', publicIpv6: 'fd00:161::2' }); // prettier-ignore
    t.match(await sh(lab.one, 'ip route show 10.244.2.0/24'), /^10\.244\.2\.0\/24 via 192\.161\.1\.2 dev eth0 proto 112 *\n$/);
    t.match(await sh(lab.one, 'ip -6 route show fd00:10:244:2::/64'), /^fd00:10:244:2::\/64 via fd00:161::2 dev eth0 proto 112 /);
    t.match(await sh(lab.one, 'ip route show 10.244.3.0/24'), /dev flannel\.1 proto 112 onlink/);
    t.strictSame((await ipJson(lab.one, 'neighbour show dev flannel.1')).map(({ dst }) => dst), ['10.244.3.0']); // prettier-ignore
    t.equal(await one.reconcile(), 0);
    await using a = await pod(lab.one, 3, 1430, '10.244.1.3/24', 'fd00:10:244:1::3/64');
    await using b = await pod(lab.router, 3, 1430, '10.244.2.3/24', 'fd00:10:244:2::3/64');
    t.ok(await reaches(a, '10.244.2.3'));
    t.ok(await reaches(b, 'fd00:10:244:1::3'));
    t.strictSame(router.problems, []);

    // A node that moves to another segment, and back: the same destination by another device.
    registry.update([
      { ipv4: ONE, ipv6: WIDE_ONE },
      { ipv4: { ...two, publicIp: '192.160.0.2' }, ipv6: { ...wide, publicIp: 'fd00:160::2' } },
    ]);
    t.ok(await until(async () => /flannel/.test(await sh(lab.one, 'ip route show 10.244.2.0/24'))));
    t.ok(await until(async () => / dev flannel-v6\.1 .*onlink/.test(await sh(lab.one, 'ip -6 route show fd00:10:244:2::/64'))));
    t.equal((await sh(lab.one, 'ip -6 route show fd00:10:244:2::/64')).split('\n').length, 2, 'one route');
    registry.update([{ ipv4: ONE, ipv6: WIDE_ONE }, { ipv4: two, ipv6: wide }]); // prettier-ignore
    t.ok(await until(async () => / eth0 /.test(await sh(lab.one, 'ip route show 10.244.2.0/24'))));
    t.ok(await until(async () => / eth0 /.test(await sh(lab.one, 'ip -6 route show fd00:10:244:2::/64'))));
    t.equal(await one.reconcile(), 0);
  }
  t.strictSame([...compare(before[0]!, await dump(lab.one)), ...compare(before[1]!, await dump(lab.router))], []);
});

await t.test('repeated, it changes nothing', skip, async (t) => {
  await using lab = await underlay();
  const registry = nodeList([{ ipv4: ONE, ipv6: WIDE_ONE }, { ipv4: THREE, ipv6: WIDE_THREE }]); // prettier-ignore
  const settings = { registry, bridge: true } as const;
  const one = await joinOverlay(lab.one, settings);
  const before = await dump(lab.one);
  t.strictSame(await changesOf(() => one.reconcile()), []);
  t.strictSame(await changesOf(() => registry.update([{ ipv4: ONE, ipv6: WIDE_ONE }, { ipv4: THREE, ipv6: WIDE_THREE }])), []); // prettier-ignore
  await one.keep();
  t.strictSame(await changesOf(async () => void (await (await joinOverlay(lab.one, settings)).keep())), [], 'a second joining');
  t.strictSame(compare(before, await dump(lab.one)), []);
  await (await joinOverlay(lab.one, settings)).leave();
  t.strictSame((await ipJson(lab.one, 'link show')).map(({ ifname }) => ifname), ['lo', 'eth0'], 'and what was kept is left by whoever joined last'); // prettier-ignore
});

await t.test('hundreds of nodes take a handful of trips to the kernel', skip, async (t) => {
  await using lab = await underlay();
  const nodes = (changed = 'ff'): ListedNode[] => [{ ipv4: ONE }, ...Array.from({ length: 200 }, (_, node) => ({ ipv4: { subnet: `10.244.${node + 10}.0/24`, publicIp: `192.160.1.${node + 1}`, vtepMac: `02:00:00:00:${node === 7 ? changed : '00'}:${node.toString(16).padStart(2, '0')}` } }))]; // prettier-ignore
  const registry = nodeList(nodes());
  const addon = native() as { netlinkRequest: ReturnType<typeof native>['netlinkRequest'] };
  const real = addon.netlinkRequest;
  let trips = 0;
  addon.netlinkRequest = (socket, messages) => {
    trips++;
    return real.call(addon, socket, messages);
  };
  t.teardown(() => (addon.netlinkRequest = real));
  const counted = async (act: () => Promise<unknown>): Promise<number> => {
    trips = 0;
    await act();
    return trips;
  };
  let one!: Overlay;
  const joining = await counted(async () => (one = await joinOverlay(lab.one, { registry })));
  await using _ = one;
  t.equal(one.nodes.length, 200);
  t.ok(joining <= 30, `joined in ${joining} trips`);
  const changing = await counted(async () => (registry.update(nodes('01')), one.reconcile()));
  t.match(await sh(lab.one, 'bridge fdb show dev flannel.1'), /02:00:00:00:01:07/);
  // As many passes as events may ask for, each of a few.
  t.ok(changing <= 30, `changed in ${changing} trips`);
});

const tamperings: Readonly<Record<string, string>> = {
  'a route deleted': 'ip route delete 10.244.3.0/24',
  'a route replaced': 'ip route replace 10.244.3.0/24 via 10.244.9.0 dev flannel.1 onlink',
  'an IPv6 route deleted': 'ip -6 route delete fd00:10:244:3::/64',
  'a neighbour deleted': 'ip neigh delete 10.244.3.0 dev flannel.1',
  'a neighbour with another MAC': 'ip neigh replace 10.244.3.0 lladdr 02:00:00:00:00:99 dev flannel.1 nud permanent',
  'a neighbour that ages': 'ip neigh replace 10.244.3.0 lladdr 46:d8:ad:31:bc:47 dev flannel.1 nud stale',
  'a forwarding entry deleted': 'bridge fdb delete 46:d8:ad:31:bc:47 dev flannel.1',
  'a forwarding entry to another place': 'bridge fdb replace 46:d8:ad:31:bc:47 dev flannel.1 dst 192.160.0.99 self permanent',
  'another MAC': 'ip link set dev flannel.1 address 02:00:00:00:00:98',
  'another MTU': 'ip link set dev flannel.1 mtu 1400',
  'the device down': 'ip link set dev flannel.1 down',
  'the device down and up': 'ip link set dev flannel.1 down; ip link set dev flannel.1 up',
  'the mark taken off': "ip link set dev flannel.1 alias ''",
  'the address deleted': 'ip address delete 10.244.1.0/32 dev flannel.1',
  "the bridge's address deleted": 'ip address delete 10.244.1.1/24 dev cni0',
  'everything flushed': 'ip route flush dev flannel.1; ip neigh flush dev flannel.1 nud all; ip address flush dev flannel.1',
  'the underlay down and up': 'ip link set dev eth0 down; ip link set dev eth0 up; ip route add default via 192.161.1.2; ip -6 address add fd00:161::5/64 dev eth0 nodad; ip -6 route add default via fd00:161::2', // prettier-ignore
};

await t.test('what is tampered with is mended', skip, async (t) => {
  await using lab = await underlay();
  await using one = await joinOverlay(lab.one, { registry: nodeList([{ ipv4: ONE, ipv6: WIDE_ONE }, { ipv4: THREE, ipv6: WIDE_THREE }]), bridge: true }); // prettier-ignore
  const before = await dump(lab.one);
  for (const [what, command] of Object.entries(tamperings)) {
    inside(lab.one, command);
    let left: readonly string[] = [];
    const mended = await until(async () => (left = compare(before, await dump(lab.one))).length === 0);
    t.ok(mended, what, { left });
  }
  t.equal(await one.reconcile(), 0);
});

async function names(node: Netns): Promise<string> {
  const shown = [
    'ip -br address show dev flannel.1',
    'ip route show dev flannel.1',
    'ip neigh show dev flannel.1',
    'bridge fdb show dev flannel.1',
  ];
  return (await Promise.all(shown.map((line) => sh(node, line).then((text) => text.split('\n').sort().join('\n'), () => '')))).join('\n'); // prettier-ignore
}

await t.test('devices deleted behind our back are made again', skip, async (t) => {
  await using lab = await underlay();
  const registry = nodeList(two);
  await using one = await joinOverlay(lab.one, { registry, bridge: true });
  await using three = await joinOverlay(lab.three, { registry, bridge: true });
  const before = await names(lab.one);
  for (const command of ['ip link delete flannel.1', 'ip link delete flannel.1; ip link delete cni0']) {
    inside(lab.one, command);
    t.ok(await until(async () => (await names(lab.one)) === before), command);
  }
  t.ok(await until(async () => /10\.244\.1\.1\/24/.test(await sh(lab.one, 'ip address show').catch(() => ''))));
  await using a = await pod(lab.one, 3, one.mtu, '10.244.1.3/24');
  t.ok(await reaches(a, '10.244.3.0'));
  t.strictSame([...one.problems, ...three.problems], []);

  // With the underlay, VXLAN devices go; it comes back under another index.
  await deleteLink(lab.one, 'eth0');
  t.ok(await until(() => one.problems.some(({ code }) => code === 'ERR_OVERLAY_UNDERLAY')));
  await createVeth(lab.one, 'eth0', { up: true, addresses: ['192.161.1.5/24'], peer: { scope: lab.router, name: 'eth7', addresses: ['192.161.1.2/24'], up: true } }); // prettier-ignore
  inside(lab.one, 'ip route add default via 192.161.1.2');
  t.ok(await until(async () => (await names(lab.one)) === before, 20_000));
  t.ok(await until(() => one.problems.length === 0));
  t.ok(await reaches(a, '10.244.3.0'));
});

await t.test('nodes that come, go and change are followed', skip, async (t) => {
  await using lab = await underlay();
  const registry = nodeList(two);
  await using one = await joinOverlay(lab.one, { registry });
  const told = async (): Promise<string> => `${await sh(lab.one, 'ip neigh show dev flannel.1 nud permanent')}${await sh(lab.one, 'bridge fdb show dev flannel.1')}${await sh(lab.one, 'ip route show dev flannel.1')}`; // prettier-ignore
  const entries = (...list: readonly (readonly [subnet: string, mac: string, publicIp: string])[]): string =>
    [
      ...list.map(([subnet, mac]) => `${subnet} lladdr ${mac} PERMANENT proto 112 \n`),
      ...list.map(([, mac, publicIp]) => `${mac} dst ${publicIp} self extern_learn permanent\n`),
      ...list.map(([subnet]) => `${subnet}/24 via ${subnet} proto 112 onlink \n`),
    ].join('');
  t.equal(await told(), entries(['10.244.3.0', THREE.vtepMac, THREE.publicIp]));
  for (const [what, end] of Object.entries({
    'another address': { ...THREE, publicIp: '192.160.0.7' },
    'another MAC': { ...THREE, publicIp: '192.160.0.7', vtepMac: '46:00:00:00:00:01' },
    both: { ...THREE, publicIp: '192.160.0.8', vtepMac: '46:00:00:00:00:02' },
    'another subnet': { ...THREE, subnet: '10.244.7.0/24', publicIp: '192.160.0.8', vtepMac: '46:00:00:00:00:02' },
  })) {
    registry.update([{ ipv4: ONE }, { ipv4: end }]);
    const wanted = entries([end.subnet.slice(0, -3), end.vtepMac, end.publicIp]);
    t.ok(await until(async () => (await told()) === wanted), what);
  }
  registry.update([{ ipv4: ONE }]);
  t.ok(await until(async () => (await told()) === ''), 'gone');
  t.strictSame(one.nodes, []);

  // A MAC is as good as the next one: one that is left out is the same on every node.
  registry.update([{ ipv4: ONE }, { ipv4: { subnet: '10.244.3.0/24', publicIp: '192.160.0.6' } }]);
  await using three = await joinOverlay(lab.three, { registry });
  t.ok(await until(() => one.nodes.length === 1));
  t.equal(one.nodes[0]!.ipv4!.vtepMac, three.self.ipv4!.vtepMac);
  t.ok(await reaches(lab.one, '10.244.3.0'));

  // This node itself: another subnet, and off the list.
  registry.update([{ ipv4: { ...ONE, subnet: '10.244.11.0/24' } }, { ipv4: THREE }]);
  t.ok(await until(async () => (await sh(lab.one, 'ip -br -4 address show dev flannel.1')).includes(' 10.244.11.0/32 \n')));
  registry.update([{ ipv4: THREE }]);
  t.ok(await until(async () => (await told()) === ''));
  t.match(one.problems, [{ code: 'ERR_OVERLAY_NOT_LISTED' }]);
});

await t.test('what is not ours is left, and told of', skip, async (t) => {
  await using lab = await underlay();
  // A CNI plugin's bridge, routes of an administrator's.
  await createBridge(lab.one, 'cni0', { up: true, addrGenMode: 'none', mac: '02:00:00:00:00:77' });
  await addAddress(lab.one, 'cni0', '10.99.0.1/24');
  inside(lab.one, 'ip route add 10.244.3.0/24 via 192.161.1.2; ip route add 10.244.77.0/24 via 192.161.1.2');
  const before = await dump(lab.one);
  const told: string[] = [];
  const five = { subnet: '10.244.5.0/24', publicIp: '192.160.0.9', vtepMac: '46:00:00:00:00:05' };
  const one = await joinOverlay(lab.one, {
    registry: nodeList([...two, { ipv4: five }]),
    bridge: true,
    onProblem: ({ code, about }) => told.push(`${code} ${about}`),
  });
  t.strictSame(told, ['ERR_OVERLAY_TAKEN 10.244.3.0/24']);
  t.match(one.problems, [{ code: 'ERR_OVERLAY_TAKEN', about: '10.244.3.0/24', message: /podtap did not make/ }]);
  t.match(await sh(lab.one, 'ip route show 10.244.3.0/24'), /^10\.244\.3\.0\/24 via 192\.161\.1\.2 dev eth0 *\n$/);
  t.match(await sh(lab.one, 'ip route show dev flannel.1'), /^10\.244\.5\.0\/24 via 10\.244\.5\.0 proto 112 onlink *\n$/);
  t.match(await sh(lab.one, 'ip -br address show dev cni0'), / 10\.99\.0\.1\/24 10\.244\.1\.1\/24 /);
  // It goes away: ours takes its place.
  inside(lab.one, 'ip route delete 10.244.3.0/24');
  t.ok(await until(async () => /flannel/.test(await sh(lab.one, 'ip route show 10.244.3.0/24'))));
  t.ok(await until(() => one.problems.length === 0));
  // Strangers' things on our own device.
  const strangers = ['ip neigh add 10.244.66.0 lladdr 02:00:00:00:00:66 dev flannel.1 nud permanent', 'bridge fdb add 02:00:00:00:00:66 dev flannel.1 dst 192.160.0.66', 'ip route add 10.244.66.0/24 via 10.244.66.0 dev flannel.1 onlink']; // prettier-ignore
  for (const line of strangers) inside(lab.one, line);
  t.strictSame(await changesOf(() => one.reconcile()), []);
  t.match(await sh(lab.one, 'bridge fdb show dev flannel.1'), /02:00:00:00:00:66 dst 192\.160\.0\.66/);
  await one.leave();
  inside(lab.one, 'ip route add 10.244.3.0/24 via 192.161.1.2');
  t.strictSame(compare(before, await dump(lab.one)), []);

  inside(lab.one, 'ip link add flannel.1 type vxlan id 1 dstport 8472 dev eth0');
  const again = await dump(lab.one);
  await t.rejects(joinOverlay(lab.one, { registry: nodeList(two) }), { code: 'ERR_OVERLAY_TAKEN', about: 'flannel.1' });
  t.strictSame(compare(again, await dump(lab.one)), []);
  inside(lab.one, 'ip link delete flannel.1; ip link add other type vxlan id 1 dstport 8472 dev eth0');
  await t.rejects(joinOverlay(lab.one, { registry: nodeList(two) }), { message: /EEXIST/ }, 'the VNI is taken');
  t.notOk((await ipJson(lab.one, 'link show')).some(({ ifname }) => ifname === 'flannel.1'));
});

await t.test('what came before: kept, crashed, changed meanwhile', skip, async (t) => {
  await using lab = await underlay();
  const before = await dump(lab.one);
  const four = { subnet: '10.244.4.0/24', publicIp: '192.161.1.2', vtepMac: '46:00:00:00:00:04' };
  const first = await joinOverlay(lab.one, { registry: nodeList([...two, { ipv4: four }]), bridge: true, directRouting: true });
  t.match(await sh(lab.one, 'ip route show 10.244.4.0/24'), /via 192\.161\.1\.2 dev eth0 proto 112/);
  await first.keep();
  // Another process, another list: three has another MAC, four is gone.
  const moved = { ...THREE, vtepMac: '46:00:00:00:00:33' };
  await using second = await joinOverlay(lab.one, { registry: nodeList([{ ipv4: ONE }, { ipv4: moved }]), bridge: true, directRouting: true, forwarding: true }); // prettier-ignore
  t.match(await bridgeJson(lab.one, 'fdb show dev flannel.1'), [{ mac: moved.vtepMac, dst: moved.publicIp }]);
  t.equal((await bridgeJson(lab.one, 'fdb show dev flannel.1')).length, 1, 'of the old MAC nothing is left');
  t.equal(await sh(lab.one, 'ip route show 10.244.4.0/24'), '');
  // Another VNI or port would be another device; another port of the same one makes it anew.
  await second.keep();
  await using third = await joinOverlay(lab.one, { registry: nodeList(two), bridge: true, port: 4789 });
  t.match(await ipJson(lab.one, 'link show dev flannel.1'), [{ linkinfo: { info_data: { port: 4789 } } }]);
  await third.leave();
  // What forwarding there was on the underlay is not known to those who came later.
  inside(lab.one, 'sysctl -qw net.ipv4.conf.eth0.forwarding=0');
  t.strictSame(compare(before, await dump(lab.one)), []);
});

await t.test('what was kept stays where the next one cannot join', skip, async (t) => {
  await using lab = await underlay();
  const first = await joinOverlay(lab.one, { registry: nodeList(two), bridge: true });
  const pair = [await names(lab.one), await dump(lab.one)] as const;
  await first.keep();
  const away = { ...nodeList(two), join: () => Promise.reject(new Error('nobody answers')) };
  await t.rejects(joinOverlay(lab.one, { registry: away, bridge: true }), { message: 'nobody answers' });
  t.equal(await names(lab.one), pair[0]);
  t.strictSame(compare(pair[1], await dump(lab.one)), []);
  await (await joinOverlay(lab.one, { registry: nodeList(two), bridge: true })).leave();
});

await t.test('MTU: of the underlay, as it changes, or as it is said', skip, async (t) => {
  await using lab = await underlay();
  {
    await using one = await joinOverlay(lab.one, { registry: nodeList(two), bridge: true, mtu: 1300 });
    t.equal(one.mtu, 1300);
    t.match(await ipJson(lab.one, 'link show dev cni0'), [{ mtu: 1300 }]);
  }
  await using one = await joinOverlay(lab.one, { registry: nodeList(two), bridge: true });
  inside(lab.one, 'ip link set dev eth0 mtu 1400');
  t.ok(await until(() => one.mtu === 1350));
  for (const name of ['flannel.1', 'cni0']) t.match(await ipJson(lab.one, `link show dev ${name}`), [{ mtu: 1350 }]);
});

await t.test('options, and what is wrong about them', async (t) => {
  await using lab = await underlay();
  const registry = nodeList(two);
  const refused: readonly (readonly [options: object, told: RegExp])[] = [
    [{}, /'registry' is required/],
    [{ registry: {} }, /must be a registry of nodes/],
    [{ registry, vni: -1 }, /'vni' must be an integer from 0 to 16777215/],
    [{ registry, port: 0 }, /'port' must be/],
    [{ registry, mtu: 7 }, /'mtu' must be/],
    [{ registry, publicIp: 'fd00::1' }, /'publicIp' must be an IPv4 address/],
    [{ registry, publicIpv6: '10.0.0.1' }, /'publicIpv6' must be an IPv6 address/],
    [{ registry, bridge: 'a/b' }, /'bridge' must be/],
    [{ registry, brigde: true }, /did you mean 'bridge'/],
    [{ registry, underlay: 0 }, /'underlay' must be/],
    [{ registry, onProblem: 1 }, /'onProblem' must be a function/],
    [{ registry, signal: 1 }, /'signal' must be an AbortSignal/],
  ];
  for (const [options, told] of refused) {
    const changes = await changesOf(() => t.rejects(joinOverlay(lab.one, options as never), { name: 'TypeError', message: told }));
    t.strictSame(changes, []);
  }
  const none = lab.router;
  await t.rejects(joinOverlay(none, { registry }), { code: 'ERR_OVERLAY_UNDERLAY', message: /no default route/ });
  await t.rejects(joinOverlay(none, { registry, underlay: 'eth9' }), { code: 'ERR_OVERLAY_UNDERLAY', about: 'eth9' });
  await t.rejects(joinOverlay(none, { registry, publicIp: '192.161.1.99' }), { code: 'ERR_OVERLAY_UNDERLAY', about: '192.161.1.99' });
  await t.rejects(joinOverlay(none, { registry, underlay: 'eth0' }), { code: 'ERR_OVERLAY_NOT_LISTED', about: '192.161.1.2' });
  await t.rejects(joinOverlay(lab.one, { registry, vni: 10_000_000 }), { code: 'ERR_OVERLAY_CONFIG', about: 'flannel.10000000' });
  await t.rejects(joinOverlay(lab.one, { registry: nodeList([]) }), { code: 'ERR_OVERLAY_CONFIG' });
  await t.rejects(joinOverlay(lab.one, { registry, signal: AbortSignal.abort(new Error('enough')) }), { message: 'enough' });
  await t.rejects(joinOverlay({} as never, { registry }), { code: 'ERR_INVALID_ARG_TYPE' });

  const wrong: readonly (readonly [node: object, told: RegExp])[] = [
    [{}, /must have 'ipv4', 'ipv6' or both/],
    [{ ipv4: { subnet: '10.244.1.1/24', publicIp: '10.0.0.1' } }, /'0\.ipv4\.subnet' must be an ipv4 prefix/],
    [{ ipv4: { subnet: 'fd00::/64', publicIp: '10.0.0.1' } }, /'0\.ipv4\.subnet' must be an ipv4 prefix/],
    [{ ipv6: { subnet: 'fd00::/64', publicIp: '10.0.0.1' } }, /'0\.ipv6\.publicIp' must be an ipv6 address/],
    [{ ipv4: { subnet: '10.244.1.0/24', publicIp: '10.0.0.1', vtepMac: '01:00:00:00:00:01' } }, /unicast/],
    [{ ipv4: { subnet: '10.244.1.0/24' } }, /'0\.ipv4\.publicIp' is required/],
  ];
  for (const [node, told] of wrong) {
    t.throws(() => nodeList([node]), { name: 'TypeError', message: told });
    t.throws(() => registry.update([node]), { name: 'TypeError' });
  }
  t.strictSame(registry.nodes, two, 'a list that is wrong changes nothing');
});

await t.test('its end', skip, async (t) => {
  await using lab = await underlay();
  const registry = nodeList(two);
  const one = await joinOverlay(lab.one, { registry });
  await Promise.all([one.leave(), one.leave(), one.keep()]);
  await one.leave();
  await t.rejects(one.reconcile(), { code: 'ERR_OVERLAY_LEFT' });
  registry.update(two);
  t.notOk((await ipJson(lab.one, 'link show')).some(({ ifname }) => ifname === 'flannel.1'));

  const stop = new AbortController();
  const slow = { network: () => registry.network(), join: async (...args: Parameters<typeof registry.join>) => (stop.abort(new Error('enough')), registry.join(...args)) }; // prettier-ignore
  await t.rejects(joinOverlay(lab.one, { registry: slow, signal: stop.signal }), { message: 'enough' });
  t.notOk((await ipJson(lab.one, 'link show')).some(({ ifname }) => ifname === 'flannel.1'));
});
