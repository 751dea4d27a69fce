import t from 'tap';
import {
  Netns,
  createBridge,
  createVeth,
  createVxlan,
  deleteFdb,
  deleteNeighbor,
  getLink,
  listFdb,
  listNeighbors,
  setFdb,
  setNeighbor,
} from 'podtap';
import { type Json, bridgeJson, ip, ipJson, sh } from '../support/oracle.js';
import { requires } from '../support/requires.js';

async function pod(): Promise<Netns> {
  const netns = await Netns.create();
  await createVeth(netns, 'eth0', {
    addrGenMode: 'none',
    up: true,
    addresses: ['10.0.0.1/24', 'fd00::1/64'],
    peer: { name: 'x', addrGenMode: 'none', up: true },
  });
  return netns;
}
async function oracle(netns: Netns, address: string): Promise<Json | undefined> {
  return (await ipJson(netns, 'neigh show nud all')).find(({ dst }) => dst === address);
}
const mac = '02:00:00:00:00:02';

/** Not the groups that the kernel itself sends to (MLD). */
function learned({ address }: { readonly address: string }): boolean {
  return !address.startsWith('ff02:');
}

await t.test('setNeighbor: states, flags, protocols as ip shows them', async (t) => {
  await using netns = await pod();
  const { ifindex } = (await getLink(netns, 'eth0'))!;
  for (const [entry, expected, flags] of [
    [{ address: '10.0.0.2', mac }, { lladdr: mac, state: ['PERMANENT'] }, undefined],
    [{ address: '10.0.0.2', mac, state: 'permanent' }, { state: ['PERMANENT'] }, undefined],
    [{ address: '10.0.0.2', mac, state: 'reachable' }, { state: ['REACHABLE'] }, undefined],
    [{ address: '10.0.0.2', mac, state: 'stale' }, { state: ['STALE'] }, undefined],
    [{ address: '10.0.0.2', mac, state: 'noarp' }, { state: ['NOARP'] }, undefined],
    [{ address: '10.0.0.2', mac, protocol: 'static' }, { protocol: 'static' }, undefined],
    [{ address: '10.0.0.2', mac, protocol: '77' }, { protocol: '77' }, undefined],
    [{ address: '10.0.0.2', mac, state: 'noarp', flags: ['extern_learn'] }, { extern_learn: null, state: ['NOARP'] }, ['extern_learn']],
    [{ address: 'fd00::2', mac }, { lladdr: mac, state: ['PERMANENT'] }, undefined],
    [{ address: 'fd00::2', mac, flags: ['router'] }, { router: null }, ['router']],
    [{ address: 'fd00::2', mac: mac.toUpperCase(), state: 'reachable' }, { lladdr: mac }, undefined],
  ] as const) {
    const name = JSON.stringify(entry);
    await setNeighbor(netns, 'eth0', entry);
    const found = await oracle(netns, entry.address);
    for (const [key, value] of Object.entries({ dev: 'eth0', ...expected })) t.strictSame(found?.[key], value, `${name}: ${key}`);
    const [read, ...more] = (await listNeighbors(netns, { link: 'eth0' })).filter(learned);
    t.strictSame(more, []);
    t.hasStrict(read, { object: 'neighbor', ifindex, state: 'permanent', ...entry, mac }, name);
    t.strictSame(read?.flags, flags, name);
    t.equal(await deleteNeighbor(netns, 'eth0', entry.address), true, `${name}: deleted`);
    t.equal(await deleteNeighbor(netns, 'eth0', entry.address), false);
  }
});

await t.test('setNeighbor changes one that is there', async (t) => {
  await using netns = await pod();
  await setNeighbor(netns, 'eth0', { address: '10.0.0.2', mac });
  await setNeighbor(netns, 'eth0', { address: '10.0.0.2', mac: '02:00:00:00:00:03', state: 'stale' });
  t.match(await oracle(netns, '10.0.0.2'), { lladdr: '02:00:00:00:00:03', state: ['STALE'] });
});

await t.test('a managed one: the kernel finds out its MAC, and goes on doing so', async (t) => {
  await using netns = await pod();
  await setNeighbor(netns, 'eth0', { address: '10.0.0.2', mac, state: 'stale', flags: ['managed'] });
  t.equal((await oracle(netns, '10.0.0.2'))?.managed, null);
  t.strictSame((await listNeighbors(netns, { link: 'eth0', family: 'ipv4' }))[0]?.flags, ['managed']);
});

await t.test('proxies', async (t) => {
  await using netns = await pod();
  for (const address of ['10.9.0.1', 'fd00::9']) {
    await setNeighbor(netns, 'eth0', { address, flags: ['proxy'] });
    t.match(await sh(netns, 'ip neigh show proxy'), `${address} dev eth0`);
  }
  t.strictSame((await listNeighbors(netns)).filter(learned), []);
  const list = async (filter: Parameters<typeof listNeighbors>[1]): Promise<string[]> =>
    (await listNeighbors(netns, { proxies: true, ...filter })).map(({ address }) => address).sort();
  t.strictSame(await list({}), ['10.9.0.1', 'fd00::9']);
  t.strictSame(await list({ family: 'ipv6' }), ['fd00::9']);
  t.strictSame(await list({ link: 'eth0' }), ['10.9.0.1', 'fd00::9']);
  t.strictSame(await list({ link: 'x' }), []);
  t.equal(await deleteNeighbor(netns, 'eth0', '10.9.0.1'), false, 'a neighbour is not a proxy');
  t.equal(await deleteNeighbor(netns, 'eth0', { address: '10.9.0.1', flags: ['proxy'] }), true);
  t.strictSame(await list({}), ['fd00::9']);
});

await t.test('listNeighbors: filters', async (t) => {
  await using netns = await pod();
  await ip(
    netns,
    `neigh add 10.0.0.2 lladdr ${mac} dev eth0`,
    `neigh add fd00::2 lladdr ${mac} dev eth0`,
    `neigh add 10.0.0.3 lladdr ${mac} dev x`,
  );
  const list = async (filter: Parameters<typeof listNeighbors>[1]): Promise<string[]> =>
    (await listNeighbors(netns, filter))
      .filter(learned)
      .map(({ address }) => address)
      .sort();
  t.strictSame(await list({}), ['10.0.0.2', '10.0.0.3', 'fd00::2']);
  t.strictSame(await list({ link: 'eth0' }), ['10.0.0.2', 'fd00::2']);
  t.strictSame(await list({ link: 'eth0', family: 'ipv4' }), ['10.0.0.2']);
  t.strictSame(await list({ family: 'ipv6' }), ['fd00::2']);
  await t.rejects(list({ link: 'eth7' }), { code: 'ENODEV', message: /'eth7'/ });
  await t.rejects(setNeighbor(netns, 'eth7', { address: '10.0.0.2', mac }), { code: 'ENODEV' });
  t.equal(await deleteNeighbor(netns, 'eth7', '10.0.0.2'), false);
});

async function bridged(): Promise<Netns> {
  const netns = await Netns.create();
  await createBridge(netns, 'br0', { addrGenMode: 'none', up: true });
  for (const name of ['p0', 'p1'])
    await createVeth(netns, name, {
      master: 'br0',
      addrGenMode: 'none',
      up: true,
      peer: { name: `${name}x`, addrGenMode: 'none', up: true },
    });
  return netns;
}
/** Without a VLAN, or with it: where the kernel knows VLANs of bridges, an entry without one is also there for each that the port has. */
async function fdbOracle(netns: Netns, mac: string, vlan?: number): Promise<Json[]> {
  return (await bridgeJson(netns, 'fdb show')).filter((entry) => entry.mac === mac && entry.vlan === vlan);
}

await t.test('setFdb of a bridge: static, not local', { skip: requires('bridge') }, async (t) => {
  await using netns = await bridged();
  const { ifindex, master } = (await getLink(netns, 'p0'))!;
  for (const [entry, expected, read] of [
    [{ mac }, { state: 'static', master: 'br0', ifname: 'p0' }, { state: 'noarp', ifindex, master }],
    [{ mac, state: 'noarp' }, { state: 'static' }, { state: 'noarp' }],
    [{ mac, state: 'permanent' }, { state: 'permanent' }, { state: 'permanent', local: true }],
    [{ mac, state: 'reachable' }, { state: '' }, { state: 'reachable' }],
    [{ mac, flags: ['sticky'] }, { state: 'static', flags: ['sticky'] }, { flags: ['sticky'] }],
    [{ mac, flags: ['extern_learn'] }, { flags: ['extern_learn'] }, { flags: ['extern_learn'] }],
  ] as const) {
    const name = JSON.stringify(entry);
    await setFdb(netns, 'p0', entry);
    const [found, ...more] = await fdbOracle(netns, mac);
    t.strictSame(more, [], name);
    for (const [key, value] of Object.entries(expected)) t.strictSame(found?.[key], value, `${name}: ${key}`);
    const own = (await listFdb(netns, { link: 'p0' })).find((one) => one.mac === mac && one.vlan === undefined);
    t.hasStrict(own, { object: 'fdb', ...read }, name);
    if (!('local' in read)) t.notOk(own?.local, name);
    t.equal(await deleteFdb(netns, 'p0', { mac }), true, name);
    t.equal(await deleteFdb(netns, 'p0', { mac }), false, name);
  }
  // The entry moves with the port that it is set on.
  await setFdb(netns, 'p0', { mac });
  await setFdb(netns, 'p1', { mac });
  t.strictSame((await fdbOracle(netns, mac)).map(({ ifname }) => ifname), ['p1']); // prettier-ignore
  // A port's own MAC is a local entry: that is what swallows a guest's frames.
  const port = (await getLink(netns, 'p0'))!;
  t.hasStrict((await listFdb(netns, { link: 'p0' })).find((one) => one.mac === port.mac), { local: true, state: 'permanent' }); // prettier-ignore
  await t.rejects(setFdb(netns, 'br7', { mac }), { code: 'ENODEV' });
});

await t.test('setFdb of a VLAN', { skip: requires('bridge_vlan') }, async (t) => {
  await using netns = await bridged();
  await sh(netns, 'ip link set br0 type bridge vlan_filtering 1');
  await setFdb(netns, 'p0', { mac, vlan: 1 });
  t.match(await fdbOracle(netns, mac, 1), [{ vlan: 1 }]);
});

await t.test('listFdb: of a port, of a bridge, of all', { skip: requires('bridge') }, async (t) => {
  await using netns = await bridged();
  await createVeth(netns, 'y0', { addrGenMode: 'none', up: true, peer: { name: 'y1', addrGenMode: 'none', up: true } });
  const set = (entries: readonly { readonly ifindex: number; readonly mac: string }[]): string[] =>
    entries.map(({ ifindex, mac }) => `${ifindex} ${mac}`).sort();
  const name = new Map((await ipJson(netns, 'link show')).map(({ ifname, ifindex }) => [ifname, ifindex as number]));
  const oracle = async (line: string): Promise<string[]> =>
    set(
      (await bridgeJson(netns, `fdb show ${line}`)).map(({ ifname, mac }) => ({ ifindex: name.get(ifname ?? 'y0')!, mac: mac as string })),
    );
  t.strictSame(set(await listFdb(netns)), await oracle(''));
  t.strictSame(set(await listFdb(netns, { bridge: 'br0' })), await oracle('br br0'));
  t.strictSame(set(await listFdb(netns, { link: 'y0' })), await oracle('dev y0'));
});

await t.test('setFdb of a VXLAN', { skip: requires('vxlan') }, async (t) => {
  await using netns = await Netns.create();
  await createVxlan(netns, 'vx', { id: 5, learning: false, up: true });
  await setFdb(netns, 'vx', { mac, dst: '10.0.0.9' });
  t.match(await fdbOracle(netns, mac), [{ ifname: 'vx', dst: '10.0.0.9', flags: ['self'], state: 'permanent' }]);
  t.hasStrict(
    (await listFdb(netns, { link: 'vx' })).find((one) => one.mac === mac),
    { dst: '10.0.0.9', state: 'permanent', flags: ['self'] },
  );
  // Another remote end takes the place of the one before.
  await setFdb(netns, 'vx', { mac, dst: '10.0.0.10', port: 4789, vni: 9 });
  t.match(await fdbOracle(netns, mac), [{ dst: '10.0.0.10', port: 4789, vni: 9 }]);
  t.hasStrict(
    (await listFdb(netns, { link: 'vx' })).filter((one) => one.mac === mac),
    [{ dst: '10.0.0.10', port: 4789, vni: 9 }],
  );
  t.equal(await deleteFdb(netns, 'vx', { mac, dst: '10.0.0.10', port: 4789, vni: 9 }), true);
  t.equal(await deleteFdb(netns, 'vx', { mac, dst: '10.0.0.10', port: 4789, vni: 9 }), false);

  // Frames to everybody go to each of them.
  const everybody = '00:00:00:00:00:00';
  for (const dst of ['10.0.0.9', '10.0.0.10', '10.0.0.9']) await setFdb(netns, 'vx', { mac: everybody, dst });
  t.strictSame((await fdbOracle(netns, everybody)).map(({ dst }) => dst).sort(), ['10.0.0.10', '10.0.0.9']);
  t.equal(await deleteFdb(netns, 'vx', { mac: everybody, dst: '10.0.0.9' }), true);
  t.strictSame((await fdbOracle(netns, everybody)).map(({ dst }) => dst), ['10.0.0.10']); // prettier-ignore
});
