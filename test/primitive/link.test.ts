import t, { type Test } from 'tap';
import {
  Netns,
  addAddress,
  createBridge,
  createLink,
  createMacvtap,
  createVeth,
  createVxlan,
  deleteLink,
  getLink,
  listAddresses,
  listLinks,
  setLink,
} from 'podtap';
import { type Json, at, bridgeJson, ip, ipJson } from '../support/oracle.js';
import { linkEntries } from '../../lib/operation/link.js';
import { linkKinds } from '../../lib/operation/link/kinds.js';
import { requires } from '../support/requires.js';

async function oracle(netns: Netns, name: string): Promise<Json> {
  return (await ipJson(netns, `link show dev ${name}`))[0]!;
}
/** What `ip -j -d link` says at each of the paths. */
function same(t: Test, found: Json, expected: Readonly<Record<string, unknown>>): void {
  for (const [path, value] of Object.entries(expected)) t.strictSame(at(found, path), value, path);
}
/** Not the names alone: `flags` of ip(8) in another order. */
function flags(found: Json): readonly string[] {
  return [...(found.flags as string[])].sort();
}
async function names(netns: Netns): Promise<string[]> {
  return (await listLinks(netns)).map(({ name }) => name).sort();
}

await t.test('createBridge: every option', { skip: requires('bridge') }, async (t) => {
  await using netns = await Netns.create();
  const bridge = await createBridge(netns, 'br0', {
    mac: '02:00:00:00:0b:01',
    mtu: 1400,
    stp: true,
    forwardDelay: 7,
    ageing: 42,
    multicastSnooping: false,
    groupFwdMask: 0x4008,
    netfilter: true,
    txQueueLength: 77,
    group: 5,
    ifindex: 100,
    promiscuous: true,
    allMulticast: true,
    arp: false,
    alias: 'the pod',
    addrGenMode: 'none',
    up: true,
  });
  t.hasStrict(bridge, {
    object: 'link',
    name: 'br0',
    ifindex: 100,
    kind: 'bridge',
    mac: '02:00:00:00:0b:01',
    mtu: 1400,
    txQueueLength: 77,
    group: 5,
    alias: 'the pod',
    up: true,
    promiscuity: 1,
    addrGenMode: 'none',
  });
  const found = await oracle(netns, 'br0');
  same(t, found, {
    ifindex: 100,
    address: '02:00:00:00:0b:01',
    mtu: 1400,
    txqlen: 77,
    group: '5',
    promiscuity: 1,
    allmulti: 1,
    ifalias: 'the pod',
    inet6_addr_gen_mode: 'none',
    'linkinfo.info_kind': 'bridge',
    'linkinfo.info_data.stp_state': 1,
    'linkinfo.info_data.forward_delay': 700,
    'linkinfo.info_data.ageing_time': 4200,
    'linkinfo.info_data.mcast_snooping': 0,
    'linkinfo.info_data.group_fwd_mask': '0x4008',
    'linkinfo.info_data.nf_call_iptables': 1,
    'linkinfo.info_data.nf_call_ip6tables': 1,
    'linkinfo.info_data.nf_call_arptables': 1,
  });
  t.strictSame(flags(found), ['ALLMULTI', 'BROADCAST', 'MULTICAST', 'NO-CARRIER', 'NOARP', 'PROMISC', 'UP']);
  // The kernel sets the carrier of a new bridge a moment later.
  t.strictSame([...bridge.flags.filter((flag) => flag !== 'NO-CARRIER'), 'NO-CARRIER'].sort(), flags(found));
});

await t.test('what is left out is the kernel’s choice, what is false or 0 is sent', { skip: requires('bridge') }, async (t) => {
  await using netns = await Netns.create();
  await createBridge(netns, 'plain');
  await createBridge(netns, 'off', { stp: false, forwardDelay: 0, ageing: 0, groupFwdMask: 0, netfilter: false, txQueueLength: 0, up: false }); // prettier-ignore
  const path = 'linkinfo.info_data';
  const plain = await oracle(netns, 'plain');
  same(t, plain, { [`${path}.forward_delay`]: 1500, [`${path}.ageing_time`]: 30000, [`${path}.mcast_snooping`]: 1, mtu: 1500 });
  t.strictSame(flags(plain), ['BROADCAST', 'MULTICAST']);
  const off = await oracle(netns, 'off');
  same(t, off, { [`${path}.forward_delay`]: 0, [`${path}.ageing_time`]: 0, [`${path}.nf_call_iptables`]: 0, txqlen: undefined });
  t.equal((await getLink(netns, 'off'))?.txQueueLength, 0);
});

await t.test('createBridge: vlanFiltering', { skip: requires('bridge_vlan') }, async (t) => {
  await using netns = await Netns.create();
  await createBridge(netns, 'br0', { vlanFiltering: true });
  same(t, await oracle(netns, 'br0'), { 'linkinfo.info_data.vlan_filtering': 1 });
});

await t.test('options of a kind have other names than those of every link', (t) => {
  for (const [kind, { entries }] of Object.entries(linkKinds))
    for (const name of Object.keys(entries)) t.notOk(Object.hasOwn(linkEntries, name), `${kind}: ${name}`);
  t.end();
});

await t.test('createVeth: both ends', async (t) => {
  await using here = await Netns.create();
  await using there = await Netns.create();
  const near = await createVeth(here, 'veth0', {
    mac: '02:00:00:00:00:01',
    mtu: 1400,
    ifindex: 40,
    txQueueLength: 11,
    group: 3,
    up: true,
    alias: 'near',
    addresses: ['10.0.0.1/24', 'fd00::1/64'],
    peer: {
      scope: there,
      name: 'eth0',
      mac: '02:00:00:00:00:02',
      mtu: 1300,
      ifindex: 50,
      txQueueLength: 22,
      group: 4,
      up: true,
      alias: 'far',
      addrGenMode: 'none',
      addresses: ['10.0.0.2/24', 'fd00::2/64'],
    },
  });
  t.hasStrict(near, { name: 'veth0', ifindex: 40, kind: 'veth', peer: { ifindex: 50 } });
  t.type(near.peer?.netnsid, 'number');
  same(t, await oracle(here, 'veth0'), {
    ifindex: 40,
    link_index: 50,
    address: '02:00:00:00:00:01',
    mtu: 1400,
    txqlen: 11,
    group: '3',
    operstate: 'UP',
    ifalias: 'near',
  });
  same(t, await oracle(there, 'eth0'), {
    ifindex: 50,
    link_index: 40,
    address: '02:00:00:00:00:02',
    mtu: 1300,
    txqlen: 22,
    group: '4',
    operstate: 'UP',
    ifalias: 'far',
    inet6_addr_gen_mode: 'none',
  });
  // Of use at once: an address that is checked for a duplicate is not yet.
  const usable = (await listAddresses(there, { link: 'eth0', family: 'ipv6' })).filter(({ flags }) => !flags?.includes('tentative'));
  t.match(
    usable.map(({ address }) => address),
    ['fd00::2/64'],
  );
  t.strictSame(await names(here), ['lo', 'veth0']);
  t.strictSame(await names(there), ['eth0', 'lo']);
  t.equal(await deleteLink(there, 'eth0'), true, 'both ends go');
  t.strictSame(await names(here), ['lo']);
});

await t.test('createVeth within one namespace', async (t) => {
  await using netns = await Netns.create();
  const made = await createVeth(netns, 'a', { peer: { name: 'b', up: true } });
  const far = await getLink(netns, 'b');
  t.strictSame(made.peer, { ifindex: far?.ifindex });
  t.equal(made.up, false);
  t.equal(far?.up, true);
});

await t.test('createVeth: a failure leaves nothing', async (t) => {
  await using here = await Netns.create();
  await using there = await Netns.create();
  await createVeth(there, 'eth0', { peer: { name: 'x' } });
  const taken = createVeth(here, 'v0', { peer: { scope: there, name: 'eth0' } });
  await t.rejects(taken, { name: 'NetlinkError', code: 'EEXIST', errno: -17, syscall: 'RTM_NEWLINK' });
  const twice = ['10.0.0.1/24', '10.0.0.1/24'];
  await t.rejects(createVeth(here, 'v0', { addresses: twice, peer: { scope: there, name: 'eth1' } }), { code: 'EEXIST' });
  await t.rejects(createVeth(here, 'v0', { peer: { scope: there, name: 'eth1', addresses: twice } }), { code: 'EEXIST' });
  await t.rejects(createVeth(here, 'v0', { peer: { scope: there, name: 'eth1', master: 'nobody' } }), { code: 'ENODEV' });
  await t.rejects(createVeth(here, 'v0', { peer: { scope: there, name: 'eth1', addrGenMode: 'stable_secret' } }), { code: 'EINVAL' });
  await t.rejects(createVeth(here, 'v0', { addrGenMode: 'stable_secret', peer: { scope: there, name: 'eth1' } }), { code: 'EINVAL' });
  t.strictSame(await names(here), ['lo']);
  t.strictSame(await names(there), ['eth0', 'lo', 'x']);
});

await t.test('createVeth under a bridge at either end', { skip: requires('bridge') }, async (t) => {
  await using here = await Netns.create();
  await using there = await Netns.create();
  await createBridge(here, 'br0');
  await createBridge(there, 'br1');
  await createVeth(here, 'v0', { master: 'br0', port: { hairpin: true }, peer: { scope: there, name: 'v1', master: 'br1' } });
  same(t, await oracle(here, 'v0'), { master: 'br0', 'linkinfo.info_slave_data.hairpin': true });
  same(t, await oracle(there, 'v1'), { master: 'br1', 'linkinfo.info_slave_data.hairpin': false });
});

await t.test('createMacvtap', { skip: requires('macvtap') }, async (t) => {
  await using netns = await Netns.create();
  await createVeth(netns, 'eth0', { up: true, peer: { name: 'x', up: true } });
  for (const mode of ['private', 'vepa', 'bridge'] as const) {
    const made = await createMacvtap(netns, 'mt0', { link: 'eth0', mode, mac: '02:00:00:00:00:07', up: true });
    t.hasStrict(made, { kind: 'macvtap', mac: '02:00:00:00:00:07', up: true, lower: { ifindex: (await getLink(netns, 'eth0'))!.ifindex } });
    same(t, await oracle(netns, 'mt0'), { link: 'eth0', 'linkinfo.info_kind': 'macvtap', 'linkinfo.info_data.mode': mode });
    t.equal(await deleteLink(netns, 'mt0'), true);
  }
  await createMacvtap(netns, 'mt0', { link: (await getLink(netns, 'eth0'))!.ifindex, mode: 'passthru', nopromisc: true });
  same(t, await oracle(netns, 'mt0'), { 'linkinfo.info_data.mode': 'passthru', 'linkinfo.info_data.nopromisc': true });
  await t.rejects(createMacvtap(netns, 'mt1', { link: 'eth0', mode: 'bridge' }), { code: 'EINVAL', syscall: 'RTM_NEWLINK' });
  await t.rejects(createMacvtap(netns, 'mt1', { link: 'eth9', mode: 'bridge' }), { code: 'ENODEV', message: /'eth9'/ });
});

await t.test('createVxlan: every option', { skip: requires('vxlan') }, async (t) => {
  await using netns = await Netns.create();
  await createVeth(netns, 'eth0', { up: true, addresses: ['10.0.0.1/24'], peer: { name: 'x', up: true } });
  await createVxlan(netns, 'vx4', {
    id: 0xabcdef,
    link: 'eth0',
    local: '10.0.0.1',
    remote: '10.0.0.2',
    dstPort: 4789,
    portRange: { low: 1000, high: 2000 },
    ttl: 5,
    tos: 4,
    learning: false,
    ageing: 60,
    limit: 10,
    proxy: true,
    udpChecksum: false,
    mtu: 1400,
    up: true,
  });
  same(t, await oracle(netns, 'vx4'), {
    mtu: 1400,
    'linkinfo.info_kind': 'vxlan',
    'linkinfo.info_data.id': 0xabcdef,
    'linkinfo.info_data.link': 'eth0',
    'linkinfo.info_data.local': '10.0.0.1',
    'linkinfo.info_data.remote': '10.0.0.2',
    'linkinfo.info_data.port': 4789,
    'linkinfo.info_data.port_range': { low: 1000, high: 2000 },
    'linkinfo.info_data.ttl': 5,
    'linkinfo.info_data.tos': '0x4',
    'linkinfo.info_data.learning': false,
    'linkinfo.info_data.ageing': 60,
    'linkinfo.info_data.limit': 10,
    'linkinfo.info_data.proxy': true,
    'linkinfo.info_data.udp_csum': false,
  });
  await createVxlan(netns, 'vx6', { id: 7, local: 'fd00::1', remote: 'fd00::2' });
  same(t, await oracle(netns, 'vx6'), {
    'linkinfo.info_data.id': 7,
    'linkinfo.info_data.local6': 'fd00::1',
    'linkinfo.info_data.remote6': 'fd00::2',
    'linkinfo.info_data.port': 8472,
    'linkinfo.info_data.learning': true,
  });
  const [vx4] = await listLinks(netns, { kind: 'vxlan', up: true });
  t.hasStrict(vx4?.info, {
    id: 0xabcdef,
    local: '10.0.0.1',
    group: '10.0.0.2',
    port: 4789,
    port_range: { low: 1000, high: 2000 },
    learning: 0,
  });
  // Flannel's look: a VNI in use is refused.
  await t.rejects(createVxlan(netns, 'vx7', { id: 7, remote: 'fd00::3' }), { code: 'EEXIST', extack: { message: /VNI/ } });
});

await t.test('createLink of a kind without options', { skip: requires('ifb') }, async (t) => {
  await using netns = await Netns.create();
  t.hasStrict(await createLink(netns, 'ifb', 'ifb7', { up: true }), { name: 'ifb7', kind: 'ifb', up: true });
  same(t, await oracle(netns, 'ifb7'), { 'linkinfo.info_kind': 'ifb' });
});

for (const [kind, options, expected] of [
  ['dummy', {}, {}],
  ['vlan', { link: 'eth0', id: 7 }, { 'linkinfo.info_data.id': 7, 'linkinfo.info_data.protocol': '802.1Q', link: 'eth0' }],
  ['vlan', { link: 'eth0', id: 8, protocol: '802.1ad' }, { 'linkinfo.info_data.id': 8, 'linkinfo.info_data.protocol': '802.1ad' }],
  ['ipvlan', { link: 'eth0', mode: 'l2' }, { 'linkinfo.info_data.mode': 'l2' }],
  ['macvlan', { link: 'eth0', mode: 'private' }, { 'linkinfo.info_data.mode': 'private' }],
] as const) {
  await t.test(`createLink: ${kind} ${JSON.stringify(options)}`, { skip: requires(kind) }, async (t) => {
    await using netns = await Netns.create();
    await createVeth(netns, 'eth0', { up: true, peer: { name: 'x', up: true } });
    t.hasStrict(await createLink(netns, kind, 'l0', options), { name: 'l0', kind });
    same(t, await oracle(netns, 'l0'), { 'linkinfo.info_kind': kind, ...expected });
  });
}

await t.test('createLink of a kind that this kernel has not', async (t) => {
  await using netns = await Netns.create();
  await t.rejects(createLink(netns, 'warpdrive', 'w0'), {
    name: 'UnsupportedError',
    code: 'ERR_UNSUPPORTED',
    message: /'warpdrive'.*CONFIG_/,
  });
  t.strictSame(await names(netns), ['lo']);
});

await t.test(
  'createLink: a taken name or index is an error, and what has it stays as it is',
  { skip: requires('ifb', 'bridge') },
  async (t) => {
    await using netns = await Netns.create();
    const first = await createLink(netns, 'ifb', 'i0', { ifindex: 30, alias: 'first' });
    await t.rejects(createLink(netns, 'bridge', 'i0', { alias: 'mine', up: true }), { code: 'EEXIST', index: 0 });
    await t.rejects(createLink(netns, 'bridge', 'i1', { ifindex: 30, alias: 'mine', up: true }), { code: 'EEXIST', index: 0 });
    t.strictSame(await getLink(netns, 'i0'), first);
    t.strictSame(await names(netns), ['i0', 'lo']);
  },
);

await t.test('a half-made link is deleted when a further request fails', { skip: requires('ifb', 'bridge') }, async (t) => {
  await using netns = await Netns.create();
  await t.rejects(createLink(netns, 'ifb', 'i0', { addrGenMode: 'stable_secret', up: true }), { code: 'EINVAL', index: 1 });
  // Settings of a port, of what is none
  await t.rejects(createLink(netns, 'ifb', 'i1', { alias: 'x', port: { hairpin: true } }), { code: 'EOPNOTSUPP', index: 2 });
  t.strictSame(await names(netns), ['lo']);
});

await t.test('setLink: each field', { skip: requires('bridge') }, async (t) => {
  await using netns = await Netns.create();
  await createBridge(netns, 'br0');
  await createVeth(netns, 'v0', { peer: { name: 'v1' } });
  const change = async (options: Parameters<typeof setLink>[2], expected: Readonly<Record<string, unknown>>): Promise<void> => {
    const before = await oracle(netns, 'v0');
    await setLink(netns, 'v0', options);
    const after = await oracle(netns, 'v0');
    same(t, after, expected);
    // ... and nothing else.
    const touched = new Set(['flags', 'operstate', 'qdisc', 'linkinfo', ...Object.keys(expected)]);
    for (const key of new Set([...Object.keys(before), ...Object.keys(after)]))
      if (!touched.has(key)) t.strictSame(after[key], before[key], `${JSON.stringify(options)} leaves ${key}`);
  };
  await change({ mac: '02:00:00:00:00:0A' }, { address: '02:00:00:00:00:0a' });
  await change({ mtu: 1280 }, { mtu: 1280 });
  await change({ txQueueLength: 5 }, { txqlen: 5 });
  await change({ alias: 'a note, with blanks' }, { ifalias: 'a note, with blanks' });
  await change({ alias: '' }, { ifalias: undefined });
  await change({ group: 9 }, { group: '9' });
  await change({ group: 0 }, { group: 'default' });
  await change({ addrGenMode: 'none' }, { inet6_addr_gen_mode: 'none' });
  await change({ addrGenMode: 'random' }, { inet6_addr_gen_mode: 'random' });
  await change({ addrGenMode: 'eui64' }, { inet6_addr_gen_mode: 'eui64' });
  await change({ promiscuous: true }, { promiscuity: 1 });
  await change({ promiscuous: false }, { promiscuity: 0 });
  await change({ allMulticast: true }, { allmulti: 1 });
  await change({ allMulticast: false }, { allmulti: 0 });
  await change({ master: 'br0' }, { master: 'br0', promiscuity: 1, allmulti: 1 });
  await change({ master: null }, { master: undefined, promiscuity: 0, allmulti: 0 });
  await change({ master: (await getLink(netns, 'br0'))!.ifindex }, { master: 'br0', promiscuity: 1, allmulti: 1 });

  const flagsAfter = async (options: Parameters<typeof setLink>[2]): Promise<readonly string[]> => {
    await setLink(netns, 'v0', options);
    return flags(await oracle(netns, 'v0'));
  };
  t.notOk((await flagsAfter({ arp: true })).includes('NOARP'));
  t.ok((await flagsAfter({ arp: false })).includes('NOARP'));
  t.ok((await flagsAfter({ up: true })).includes('NOARP'), 'other flags are left alone');
  t.ok((await flagsAfter({ arp: true })).includes('UP'));
  t.notOk((await flagsAfter({ up: false })).includes('UP'));
  await setLink(netns, 'v0', {}); // nothing to do is not an error
  await setLink(netns, 'v0', { mac: undefined, up: undefined });
});

await t.test('setLink: port options', { skip: requires('bridge') }, async (t) => {
  await using netns = await Netns.create();
  await createBridge(netns, 'br0');
  await createVeth(netns, 'v0', { master: 'br0', peer: { name: 'v1' } });
  const port = async (): Promise<Json> => (await bridgeJson(netns, 'link show dev v0'))[0]!;
  for (const [options, expected] of [
    [{ learning: false }, { learning: false }],
    [{ learning: true }, { learning: true }],
    [{ flood: false }, { flood: false }],
    [{ hairpin: true }, { hairpin: true }],
    [{ isolated: true }, { isolated: true }],
    [{ locked: true }, { locked: true }],
    [
      { flood: true, hairpin: false, isolated: false, locked: false },
      { flood: true, hairpin: false, isolated: false, locked: false },
    ],
  ] as const) {
    const before = await port();
    await setLink(netns, 'v0', { port: options });
    t.strictSame(await port(), { ...before, ...expected }, JSON.stringify(options));
  }
  await setLink(netns, 'v0', { port: { groupFwdMask: 0x4000 }, txQueueLength: 3 });
  same(t, await oracle(netns, 'v0'), { 'linkinfo.info_slave_data.group_fwd_mask': '0x4000', txqlen: 3 });
  t.hasStrict((await getLink(netns, 'v0'))?.port, { group_fwd_mask: 0x4000, learning: 1, unicast_flood: 1 });
  t.equal((await getLink(netns, 'v0'))?.portKind, 'bridge');
  await t.rejects(setLink(netns, 'v1', { port: { learning: false } }), { name: 'NetlinkError', code: 'EOPNOTSUPP' });
});

await t.test('setLink: rename, move, both at once', async (t) => {
  await using here = await Netns.create();
  await using there = await Netns.create();
  await createVeth(here, 'v0', { peer: { name: 'v1' } });
  const { ifindex } = (await getLink(here, 'v0'))!;
  await setLink(here, 'v0', { name: 'v9' });
  t.hasStrict(await getLink(here, 'v9'), { ifindex });
  t.equal(await getLink(here, 'v0'), undefined);
  await setLink(here, ifindex, { name: 'v8', mtu: 1400 });
  t.hasStrict(await getLink(here, 'v8'), { ifindex, mtu: 1400 });
  await t.rejects(setLink(here, 'v8', { name: 'v1' }), { code: 'EEXIST' });

  await setLink(here, 'v8', { netns: there });
  t.equal(await getLink(here, 'v8'), undefined);
  same(t, await oracle(there, 'v8'), { ifname: 'v8', mtu: 1400 });
  await setLink(there, 'v8', { netns: here, name: 'back', up: true });
  t.hasStrict(await getLink(here, 'back'), { name: 'back', up: true });
  t.strictSame(await names(there), ['lo']);

  // The name is taken there: it stays here, under its own.
  await createVeth(there, 'back', { peer: { name: 'x' } });
  await t.rejects(setLink(here, 'back', { netns: there }), { code: 'EEXIST' });
  t.strictSame(await names(here), ['back', 'lo', 'v1']);
});

await t.test('links by name, index and altname', async (t) => {
  await using netns = await Netns.create();
  await createVeth(netns, 'v0', { peer: { name: 'v1' } });
  const { ifindex } = (await getLink(netns, 'v0'))!;
  const long = 'a-name-that-is-much-longer-than-fifteen-bytes';
  await ip(netns, `link property add dev v0 altname ${long}`, 'link property add dev v0 altname short');
  for (const ref of ['v0', ifindex, long, 'short']) t.equal((await getLink(netns, ref))?.ifindex, ifindex, String(ref));
  t.strictSame((await getLink(netns, long))?.altnames, [long, 'short']);
  await setLink(netns, long, { mtu: 1300 });
  await addAddress(netns, long, '10.0.0.1/24');
  t.equal((await getLink(netns, 'v0'))?.mtu, 1300);
  t.strictSame(
    (await listAddresses(netns, { link: long })).map(({ address }) => address),
    ['10.0.0.1/24'],
  );
  t.equal(await getLink(netns, `${long}-not`), undefined);
  t.equal(await getLink(netns, 'v7'), undefined);
  t.equal(await getLink(netns, 7777), undefined);
  t.equal(await deleteLink(netns, long), true);
  t.equal(await deleteLink(netns, long), false);
});

await t.test('deleteLink of what is not there, and of what cannot be deleted', async (t) => {
  await using netns = await Netns.create();
  t.equal(await deleteLink(netns, 'v0'), false);
  t.equal(await deleteLink(netns, 4711), false);
  await t.rejects(deleteLink(netns, 'lo'), { name: 'NetlinkError', code: 'EOPNOTSUPP', syscall: 'RTM_DELLINK' });
});

await t.test('setLink on what is not there', async (t) => {
  await using netns = await Netns.create();
  await t.rejects(setLink(netns, 'v0', { up: true }), { name: 'PodtapError', code: 'ENODEV', message: /'v0'/ });
  await t.rejects(setLink(netns, 4711, { up: true }), { code: 'ENODEV' });
  await t.rejects(setLink(netns, 'lo', { master: 'br0' }), { code: 'ENODEV', message: /'br0'/ });
});

await t.test('listLinks: filters', { skip: requires('bridge') }, async (t) => {
  await using netns = await Netns.create();
  await createBridge(netns, 'br0', { up: true });
  await createBridge(netns, 'br1');
  await createVeth(netns, 'v0', { master: 'br0', up: true, peer: { name: 'v1', master: 'br1' } });
  const list = async (filter: Parameters<typeof listLinks>[1]): Promise<string[]> =>
    (await listLinks(netns, filter)).map(({ name }) => name).sort();
  t.strictSame(await list({}), ['br0', 'br1', 'lo', 'v0', 'v1']);
  t.strictSame(await list({ kind: 'bridge' }), ['br0', 'br1']);
  t.strictSame(await list({ kind: 'veth' }), ['v0', 'v1']);
  t.strictSame(await list({ kind: 'loopback' }), ['lo']);
  t.strictSame(await list({ kind: 'warpdrive' }), []);
  t.strictSame(await list({ master: 'br0' }), ['v0']);
  t.strictSame(await list({ master: (await getLink(netns, 'br1'))!.ifindex }), ['v1']);
  t.strictSame(await list({ up: true }), ['br0', 'lo', 'v0']);
  t.strictSame(await list({ up: false }), ['br1', 'v1']);
  t.strictSame(await list({ kind: 'veth', master: 'br0', up: false }), []);
  await t.rejects(list({ master: 'br7' }), { code: 'ENODEV', message: /'br7'/ });
});

await t.test('listLinks agrees with ip on every link', { skip: requires('bridge', 'vxlan') }, async (t) => {
  await using netns = await Netns.create();
  await createBridge(netns, 'br0', { forwardDelay: 0, up: true });
  await createVeth(netns, 'v0', { master: 'br0', up: true, peer: { name: 'v1', up: true } });
  await createVxlan(netns, 'vx', { id: 5 });
  // The kernel looks at carriers at leisure (linkwatch).
  const settled = async (): Promise<boolean> => (await listLinks(netns)).filter(({ operstate }) => operstate === 'UP').length === 3;
  for (let tries = 0; tries < 300 && !(await settled()); tries++) await new Promise((done) => setTimeout(done, 10));
  const links = await listLinks(netns);
  const found = await ipJson(netns, 'link show');
  t.equal(links.length, found.length);
  const name = (ifindex: number | undefined): string | undefined => links.find((link) => link.ifindex === ifindex)?.name;
  for (const [index, link] of links.entries()) {
    const other = found[index]!;
    same(t, other, {
      ifname: link.name,
      ifindex: link.ifindex,
      mtu: link.mtu,
      address: link.mac,
      broadcast: link.broadcast,
      qdisc: link.qdisc,
      operstate: link.operstate,
      link_type: link.type,
      txqlen: link.txQueueLength,
      promiscuity: link.promiscuity,
      master: name(link.master),
      link: name((link.peer ?? link.lower)?.ifindex),
      inet6_addr_gen_mode: link.addrGenMode,
      num_tx_queues: link.numTxQueues,
      gso_max_size: link.gsoMaxSize,
      'linkinfo.info_kind': link.kind === 'loopback' ? undefined : link.kind,
      'linkinfo.info_slave_kind': link.portKind,
    });
    t.strictSame(link.flags.filter((flag) => flag !== 'M-DOWN').sort(), flags(other).filter((flag) => flag !== 'M-DOWN')); // prettier-ignore
  }
});

await t.test('statistics, where they are asked for', async (t) => {
  await using netns = await Netns.create();
  const [lo] = await listLinks(netns, { statistics: true });
  t.type(lo?.statistics?.rx_packets, 'bigint');
  t.equal((await listLinks(netns))[0]?.statistics, undefined);
});
