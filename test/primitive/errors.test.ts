// Misuse: each is told by a TypeError that says what would be right, before anything is asked of the kernel.
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import t, { type Test } from 'tap';
import * as podtap from 'podtap';
import { Netns, createBridge, createVeth, getLink, setLink } from 'podtap';
import { requires } from '../support/requires.js';

const netns = await Netns.create();
const closed = await Netns.create();
await closed.close();
await createVeth(netns, 'eth0', { peer: { name: 'x' } });
t.teardown(() => netns.close());

let requests = 0;
const count = (): void => void requests++;
subscribe('podtap:netlink', count);
t.teardown(() => unsubscribe('podtap:netlink', count));

// The functions, without the types that would keep the mistakes out.
const { createLink, createMacvtap, createVxlan, deleteLink, listLinks, addAddress, deleteAddress, flushAddresses, listAddresses, addRoute, replaceRoute, deleteRoute, listRoutes, getRoute, addRule, deleteRule, listRules, setNeighbor, deleteNeighbor, listNeighbors, setFdb, deleteFdb, listFdb, readSysctl, setSysctl, readAddr, bridgeEnslave, cloneMac, createTap, openTap, openPacketSocket } = podtap as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>; // prettier-ignore

type Mistake = readonly [code: 'TYPE' | 'VALUE', right: RegExp, act: () => Promise<unknown>];

async function told(t: Test, name: string, [code, right, act]: Mistake): Promise<void> {
  requests = 0;
  let error: unknown;
  try {
    await act();
  } catch (caught) {
    error = caught;
  }
  t.type(error, TypeError, `${name}: a TypeError`);
  t.equal((error as { code?: string } | undefined)?.code, `ERR_INVALID_ARG_${code}`, `${name}: ${(error as Error | undefined)?.message}`);
  t.match((error as Error | undefined)?.message, right, name);
  t.notMatch((error as Error | undefined)?.message, /Expected|Invalid type|\[object/, `${name}: in words of ours`);
  t.equal(requests, 0, `${name}: nothing was asked of the kernel`);
}

const name15 = /1 to 15 bytes/;
const badNames: readonly (readonly [unknown, 'TYPE' | 'VALUE', RegExp])[] = [
  ['', 'VALUE', /1 to 15 bytes.*it is empty/],
  ['sixteen-bytes-xx', 'VALUE', /16 bytes, and 15 fit/],
  ['ünïcödë-ünïcö', 'VALUE', /bytes, and 15 fit/],
  ['a/b', 'VALUE', /contains '\/'/],
  ['a b', 'VALUE', /contains ' '/],
  ['a\tb', 'VALUE', /contains '\\t'/],
  ['a\u00a0b', 'VALUE', /contains/],
  ['a\0b', 'VALUE', /contains '\\x00'/],
  ['a:b', 'VALUE', /contains ':'/],
  ['.', 'VALUE', /is a directory/],
  ['..', 'VALUE', /is a directory/],
  ['eth%d', 'VALUE', /'%'/],
  [7, 'TYPE', name15],
  [undefined, 'TYPE', name15],
  [null, 'TYPE', name15],
  [{}, 'TYPE', name15],
];
await t.test('names of interfaces to be', async (t) => {
  for (const [bad, code, right] of badNames) {
    const shown = JSON.stringify(bad) ?? 'undefined';
    await told(t, `createLink ${shown}`, [code, right, () => createLink!(netns, 'ifb', bad)]);
    await told(t, `createVeth, its peer ${shown}`, [bad === undefined ? 'TYPE' : code, bad === undefined ? /name/ : right, () => createVeth(netns, 'v0', { peer: { name: bad as string } })]); // prettier-ignore
    if (bad !== undefined) await told(t, `setLink, name ${shown}`, [code, right, () => setLink(netns, 'eth0', { name: bad as string })]);
    if (bad !== undefined) await told(t, `bridgeEnslave ${shown}`, [code, right, () => bridgeEnslave!(netns, { bridge: bad, ports: ['eth0'] })]); // prettier-ignore
    if (bad !== 'eth%d' && bad !== undefined) await told(t, `createTap ${shown}`, [code, /1 to 15 bytes/, () => createTap!(netns, bad)]);
    await told(t, `openTap ${shown}`, [code, right, () => openTap!(netns, bad)]);
  }
  await told(t, 'createTap with two patterns', ['VALUE', /'%' may stand there once/, () => createTap!(netns, 't%d%d')]);
  await told(t, 'createTap with another pattern', ['VALUE', /'%' may stand there once/, () => createTap!(netns, 't%s')]);
});

const badLinks: readonly (readonly [unknown, 'TYPE' | 'VALUE', RegExp])[] = [
  ['', 'VALUE', /it is empty/],
  ['a b', 'VALUE', /contains ' '/],
  ['a/b', 'VALUE', /contains '\/'/],
  ['a\0b', 'VALUE', /contains/],
  ['x'.repeat(128), 'VALUE', /128 bytes, and 127 fit/],
  [0, 'VALUE', /integer from 1/],
  [-1, 'VALUE', /integer from 1/],
  [1.5, 'VALUE', /integer from 1/],
  [2 ** 31, 'VALUE', /integer from 1 to 2147483647/],
  [Number.NaN, 'TYPE', /its name or its ifindex/],
  [true, 'TYPE', /its name or its ifindex/],
  [{}, 'TYPE', /its name or its ifindex/],
];
await t.test('interfaces, by name or index', async (t) => {
  const mac = '02:00:00:00:00:01';
  for (const [bad, code, right] of badLinks) {
    for (const [verb, act] of Object.entries({
      getLink: () => getLink(netns, bad as string),
      setLink: () => setLink(netns, bad as string, { up: true }),
      master: () => setLink(netns, 'eth0', { master: bad as string }),
      deleteLink: () => deleteLink!(netns, bad),
      'listLinks master': () => listLinks!(netns, { master: bad }),
      createMacvtap: () => createMacvtap!(netns, 'mt0', { link: bad }),
      addAddress: () => addAddress!(netns, bad, '10.0.0.1/24'),
      deleteAddress: () => deleteAddress!(netns, bad, '10.0.0.1/24'),
      flushAddresses: () => flushAddresses!(netns, bad),
      listAddresses: () => listAddresses!(netns, { link: bad }),
      'addRoute dev': () => addRoute!(netns, { dst: '10.0.0.0/8', dev: bad }),
      'addRoute leg': () => addRoute!(netns, { dst: '10.0.0.0/8', nexthops: [{ dev: bad }] }),
      listRoutes: () => listRoutes!(netns, { link: bad }),
      getRoute: () => getRoute!(netns, '10.0.0.1', { iif: bad }),
      setNeighbor: () => setNeighbor!(netns, bad, { address: '10.0.0.1', mac }),
      deleteNeighbor: () => deleteNeighbor!(netns, bad, '10.0.0.1'),
      listNeighbors: () => listNeighbors!(netns, { link: bad }),
      setFdb: () => setFdb!(netns, bad, { mac }),
      deleteFdb: () => deleteFdb!(netns, bad, { mac }),
      listFdb: () => listFdb!(netns, { bridge: bad }),
      readAddr: () => readAddr!(netns, bad),
      'bridgeEnslave port': () => bridgeEnslave!(netns, { bridge: 'br0', ports: [bad] }),
      'cloneMac from': () => cloneMac!(netns, { from: bad }),
      'cloneMac to': () => cloneMac!(netns, { from: 'eth0', to: bad }),
      openPacketSocket: () => openPacketSocket!(netns, bad),
    }))
      await told(t, `${verb} ${String(bad).slice(0, 20)}`, [code, right, act]);
  }
});

const link = (change: object) => () => setLink(netns, 'eth0', change);
const route = (more: object) => () => addRoute!(netns, { dst: '10.0.0.0/8', dev: 'eth0', ...more });
const rule = (more: object) => () => addRule!(netns, more);
const neighbor = (more: object) => () => setNeighbor!(netns, 'eth0', { address: '10.0.0.1', mac: '02:00:00:00:00:01', ...more });
const fdb = (more: object) => () => setFdb!(netns, 'eth0', { mac: '02:00:00:00:00:01', ...more });
const address = (value: unknown) => () => addAddress!(netns, 'eth0', value);
const bridge = (more: object) => () => createBridge(netns, 'br0', more);
const vxlan = (more: object) => () => createVxlan!(netns, 'vx0', { id: 5, ...more });
const tap = (more: object) => () => createTap!(netns, 'tap0', more);
const socket = (more: object) => () => netns.openSocket({ type: 'udp', address: '127.0.0.1', port: 0, ...more });

const values: Readonly<Record<string, Mistake>> = {
  // MACs and MTUs
  'a MAC that is none': ['VALUE', /a MAC address such as '02:00:00:00:00:22'; received 'hello'/, link({ mac: 'hello' })],
  'a MAC with five bytes': ['VALUE', /a MAC address such as/, link({ mac: '02:00:00:00:00' })],
  'a MAC with dashes': ['VALUE', /a MAC address such as/, link({ mac: '02-00-00-00-00-01' })],
  'a multicast MAC': ['VALUE', /unicast MAC.*first byte is even/, link({ mac: '01:00:5e:00:00:01' })],
  'the broadcast MAC': ['VALUE', /unicast MAC/, bridge({ mac: 'ff:ff:ff:ff:ff:ff' })],
  'the MAC of zeros': ['VALUE', /other than 00:00:00:00:00:00/, tap({ mac: '00:00:00:00:00:00' })],
  'a MAC that is no string': ['TYPE', /a MAC address such as/, link({ mac: 2 })],
  replaceWith: ['VALUE', /unicast MAC/, () => cloneMac!(netns, { from: 'eth0', replaceWith: '33:33:00:00:00:01' })],
  'an MTU below': ['VALUE', /'change.mtu' must be an integer from 68 to 65536; received 67/, link({ mtu: 67 })],
  'an MTU above': ['VALUE', /from 68 to 65536/, bridge({ mtu: 65537 })],
  'an MTU as text': ['TYPE', /from 68 to 65536/, link({ mtu: '1500' })],
  'an MTU that is no integer': ['VALUE', /from 68 to 65536/, link({ mtu: 1500.5 })],
  'a txQueueLength': ['VALUE', /from 0 to 4294967295/, link({ txQueueLength: -1 })],
  up: ['TYPE', /true or false/, link({ up: 'yes' })],
  'an alias': ['VALUE', /at most 255 bytes/, link({ alias: 'ä'.repeat(128) })],
  addrGenMode: ['VALUE', /'eui64', 'none', 'random', 'stable_secret'; received 'eui-64'/, link({ addrGenMode: 'eui-64' })],
  'the index of a link that is there': ['VALUE', /keeps its index/, link({ ifindex: 7 })],
  'the index of a link to be': ['VALUE', /integer from 1/, bridge({ ifindex: 0 })],
  'no change at all': ['TYPE', /object of options/, () => setLink(netns, 'eth0', 7 as never)],
  'no change at all, null': ['TYPE', /object of options/, () => setLink(netns, 'eth0', null as never)],
  netns: ['TYPE', /a Netns/, link({ netns: '/run/netns/x' })],
  'a master that is none': ['TYPE', /its name or its ifindex/, link({ master: false })],
  // kinds and their options
  'a kind that is none': ['VALUE', /a kind of link such as 'bridge'/, () => createLink!(netns, 'br/idge', 'x0')],
  'the kind tap': ['VALUE', /use createTap/, () => createLink!(netns, 'tap', 'x0')],
  'the kind veth': ['VALUE', /use createVeth/, () => createLink!(netns, 'veth', 'x0')],
  'a kind that is no string': ['TYPE', /string/, () => createLink!(netns, 7, 'x0')],
  'a misspelled option': ['VALUE', /there is no option 'forwrdDelay'; did you mean 'forwardDelay'\?/, bridge({ forwrdDelay: 0 })],
  'an option of another case': ['VALUE', /did you mean 'txQueueLength'\?/, link({ txqueuelength: 1 })],
  'an option that looks like none': ['VALUE', /there is no option 'colour'; there are mac, mtu, up/, link({ colour: 'red' })],
  'an option of another kind': ['VALUE', /there is no option 'stp'/, () => createLink!(netns, 'ifb', 'i0', { stp: true })],
  forwardDelay: ['VALUE', /integer from 0 to 30/, bridge({ forwardDelay: 31 })],
  groupFwdMask: ['VALUE', /bits 0 to 2/, bridge({ groupFwdMask: 0x4001 })],
  'stp as a number': ['TYPE', /true or false/, bridge({ stp: 1 })],
  'a macvtap without its link': ['TYPE', /'link' is required/, () => createMacvtap!(netns, 'mt0', { mode: 'bridge' })],
  'a macvtap of no mode': ['VALUE', /'private', 'vepa', 'bridge', 'passthru', 'source'/, () => createMacvtap!(netns, 'mt0', { link: 'eth0', mode: 'brigde' })], // prettier-ignore
  'a VNI of 25 bits': ['VALUE', /from 0 to 16777215/, vxlan({ id: 2 ** 24 })],
  'a VXLAN without VNI': ['TYPE', /'id' is required/, () => createVxlan!(netns, 'vx0', {})],
  'its remote end': ['VALUE', /IP address/, vxlan({ remote: '10.0.0.1/24' })],
  'its UDP port': ['VALUE', /from 0 to 65535/, vxlan({ dstPort: 65536 })],
  'its ports': ['TYPE', /'portRange.high' is required/, vxlan({ portRange: { low: 5 } })],
  'a misspelled port option': ['VALUE', /did you mean 'hairpin'\?/, link({ port: { harpin: true } })],
  'a veth without its peer': ['TYPE', /peer/, () => createVeth(netns, 'v0', {} as never)],
  'an address of a veth': ['VALUE', /address with a prefix length/, () => createVeth(netns, 'v0', { addresses: ['10.0.0.300/24'], peer: { name: 'v1' } })], // prettier-ignore
  'addresses that are none': ['TYPE', /array of addresses/, () => createVeth(netns, 'v0', { peer: { name: 'v1', addresses: '10.0.0.1/24' as never } })], // prettier-ignore
  // addresses
  'an address': ['VALUE', /an address with a prefix length such as '10.1.0.2\/24'/, address('10.0.0/24')],
  'an address with too long a prefix': ['VALUE', /goes up to 32/, address('10.0.0.1/33')],
  'an IPv6 address with too long a prefix': ['VALUE', /goes up to 128/, address('fd00::1/129')],
  'an address with a zone': ['VALUE', /an address with a prefix length/, address('fe80::1%eth0/64')],
  'no address': ['TYPE', /address/, address(undefined)],
  'an address that is a number': ['TYPE', /address/, address(7)],
  'its flags': ['VALUE', /flag of ip-address\(8\)/, address({ address: '10.0.0.1/24', flags: ['nodaad'] })],
  'its scope': ['VALUE', /'global', 'site', 'link', 'host'/, address({ address: '10.0.0.1/24', scope: 'galaxy' })],
  'its lifetime': ['VALUE', /from 0 to 4294967295/, address({ address: '10.0.0.1/24', validLifetime: -1 })],
  'its peer': ['VALUE', /IP address/, address({ address: '10.0.0.1/24', peer: '10.0.0.2/24' })],
  'its peer, of the other family': ['VALUE', /family/, address({ address: '10.0.0.1/24', peer: 'fd00::1' })],
  'its label': ['VALUE', /15 bytes/, address({ address: '10.0.0.1/24', label: 'eth0:sixteen-bytes' })],
  'its misspelled option': ['VALUE', /did you mean 'broadcast'\?/, address({ address: '10.0.0.1/24', brodcast: '10.0.0.255' })],
  'family of addresses': ['VALUE', /'ipv4', 'ipv6'/, () => listAddresses!(netns, { family: 'ip4' })],
  'a misspelled filter': ['VALUE', /did you mean 'family'\?/, () => listAddresses!(netns, { famly: 'ipv4' })],
  // routes
  'a destination': ['VALUE', /a prefix such as '10.1.0.0\/16'/, route({ dst: 'everywhere' })],
  'a destination with bits beyond its length': ['VALUE', /bits set beyond \/8/, route({ dst: '10.0.0.1/8' })],
  'an IPv6 destination with bits beyond its length': ['VALUE', /bits set beyond \/64/, route({ dst: 'fd00::1/64' })],
  'no destination': ['TYPE', /'route.dst' is required/, () => addRoute!(netns, { dev: 'eth0' })],
  'a gateway': ['VALUE', /IP address/, route({ via: '10.0.0.1/24' })],
  'a source': ['VALUE', /IP address/, route({ src: 'me' })],
  'a source of the other family': ['VALUE', /family/, route({ src: 'fd00::1' })],
  'a source prefix of the other family': ['VALUE', /family/, route({ dst: 'fd00::/64', from: '10.0.0.0/8' })],
  'a table': ['VALUE', /from 0 to 4294967295/, route({ table: 2 ** 32 })],
  'a table by name': ['TYPE', /integer/, route({ table: 'main' })],
  'a type of route': ['VALUE', /route type: .*'blackhole'/, route({ type: 'black-hole' })],
  'a scope': ['VALUE', /scope: 'global'/, route({ scope: 'earth' })],
  'a protocol': ['VALUE', /protocol: .*'static'/, route({ protocol: 'ststic' })],
  'a metric': ['VALUE', /from 0 to 4294967295/, route({ metric: -1 })],
  'a preference': ['VALUE', /'medium', 'high', 'low'/, route({ pref: 'highest' })],
  'metrics of TCP': ['VALUE', /there is no option 'advms'; did you mean 'advmss'\?/, route({ metrics: { advms: 5 } })],
  'a metric of TCP as text': ['TYPE', /integer/, route({ metrics: { advmss: '1300' } })],
  'a lock': ['VALUE', /'mtu'/, route({ metrics: { lock: ['mut'] } })],
  'no legs': ['VALUE', /must have a nexthop/, route({ nexthops: [] })],
  'a weight': ['VALUE', /from 1 to 256/, route({ nexthops: [{ via: '10.0.0.1', weight: 0 }] })],
  'a leg that is none': ['TYPE', /nexthops.0/, route({ nexthops: ['10.0.0.1'] })],
  onlink: ['TYPE', /true or false/, route({ onlink: 1 })],
  'flags of a route': ['VALUE', /flag of a route/, route({ flags: ['dread'] })],
  'a misspelled field of a route': ['VALUE', /did you mean 'metric'\?/, () => replaceRoute!(netns, { dst: '10.0.0.0/8', metrc: 5 })],
  'a route to delete': ['VALUE', /bits set beyond/, () => deleteRoute!(netns, { dst: '10.0.0.1/8' })],
  'routes of a table': ['VALUE', /a table's number, or 'all'|'all'/, () => listRoutes!(netns, { table: 'everything' })],
  'a route to where': ['VALUE', /IP address/, () => getRoute!(netns, '10.0.0.0/8')],
  'a route from where': ['VALUE', /IP address/, () => getRoute!(netns, '10.0.0.1', { from: 'me' })],
  'no options of a look-up': ['TYPE', /object of options/, () => getRoute!(netns, '10.0.0.1', 7)],
  'a route from the other family': ['VALUE', /family/, () => getRoute!(netns, '10.0.0.1', { from: 'fd00::1' })],
  // rules
  'a rule from': ['VALUE', /address with a prefix length/, rule({ from: 'here' })],
  'a rule of both families': ['VALUE', /family/, rule({ from: '10.0.0.0/8', to: 'fd00::/64' })],
  'a rule of another family than it says': ['VALUE', /family/, rule({ family: 'ipv6', from: '10.0.0.0/8' })],
  'a priority': ['VALUE', /from 0 to 4294967295/, rule({ priority: -1 })],
  'an action': ['VALUE', /rule action: .*'blackhole'/, rule({ action: 'drop' })],
  'an interface of a rule': ['VALUE', /interface name/, rule({ iif: 'a b' })],
  'a range of ports': ['TYPE', /'rule.sport.end' is required/, rule({ sport: { start: 5 } })],
  'an IP protocol': ['VALUE', /IP protocol: .*'tcp'/, rule({ ipProtocol: 'tpc' })],
  'a tunnel': ['TYPE', /bigint/, rule({ tunnelId: 5 })],
  'family of rules': ['VALUE', /'ipv4', 'ipv6'/, () => listRules!(netns, { family: 'inet' })],
  'a rule to delete': ['VALUE', /did you mean 'table'\?/, () => deleteRule!(netns, { tabel: 5 })],
  // neighbours
  'a neighbour': ['VALUE', /IP address/, neighbor({ address: '10.0.0.1/24' })],
  'its MAC': ['VALUE', /MAC address/, neighbor({ mac: '02:00' })],
  'no MAC': ['VALUE', /must have a 'mac', unless it is a proxy/, () => setNeighbor!(netns, 'eth0', { address: '10.0.0.1' })],
  'its state': ['VALUE', /'permanent', 'reachable', 'stale', 'noarp'/, neighbor({ state: 'static' })],
  'its flags, too': ['VALUE', /flag of a neighbour/, neighbor({ flags: ['promxy'] })],
  'a misspelled field': ['VALUE', /did you mean 'state'\?/, neighbor({ sate: 'stale' })],
  'a neighbour to delete': ['VALUE', /IP address/, () => deleteNeighbor!(netns, 'eth0', 'him')],
  'a forwarding entry': ['VALUE', /MAC address/, fdb({ mac: '02' })],
  'its VLAN': ['VALUE', /from 1 to 4094/, fdb({ vlan: 4095 })],
  'its remote': ['VALUE', /IP address/, fdb({ dst: 'there' })],
  // sysctls
  'a sysctl': ['VALUE', /must look like 'net.ipv4.conf.eth0.rp_filter'/, () => readSysctl!(netns, 'kernel.hostname')],
  'a sysctl that is no text': ['TYPE', /string/, () => readSysctl!(netns, 7)],
  'a value of a sysctl': ['TYPE', /a string or an integer/, () => setSysctl!(netns, 'net.ipv4.ip_forward', true)],
  // TAPs
  queues: ['VALUE', /from 1 to 256/, tap({ queues: 0 })],
  'offloads without vnetHdr': ['VALUE', /vnetHdr: true/, tap({ offload: { csum: true } })],
  'segments without checksums': ['VALUE', /csum: true/, tap({ vnetHdr: true, offload: { tso4: true } })],
  'an owner': ['TYPE', /integer/, tap({ owner: 'root' })],
  'a misspelled option of a TAP': ['VALUE', /did you mean 'vnetHdr'\?/, tap({ vnethdr: true })],
  // namespaces
  'an empty path': ['VALUE', /a path, neither empty nor with NUL/, () => Netns.open('')],
  'a path with NUL': ['VALUE', /NUL/, () => Netns.open({ path: 'a\0b' })],
  'no reference': ['TYPE', /\{ path \}, \{ pid \}, \{ name \} or \{ fd \}/, () => Netns.open(7 as never)],
  'a misspelled reference': ['VALUE', /there is no option 'nam'; did you mean 'name'\?/, () => Netns.open({ nam: 'x' } as never)],
  'a pid': ['VALUE', /integer from 1/, () => Netns.open({ pid: 0 })],
  'a name with a slash': ['VALUE', /without '\/' or NUL/, () => Netns.create({ name: 'a/b' })],
  'a name that leads out': ['VALUE', /1 to 255 characters/, () => Netns.delete('..')],
  'a misspelled option of a namespace': ['VALUE', /did you mean 'loopback'\?/, () => Netns.create({ lopback: false } as never)],
  'a signal': ['TYPE', /AbortSignal/, () => Netns.open('/proc/self/ns/net', { signal: {} as never })],
  'a command': ['TYPE', /path/, () => netns.spawn(7 as never)],
  'a command without a name': ['VALUE', /path/, () => netns.spawn('')],
  'a type of socket': ['VALUE', /'tcp-listen', 'tcp-connect', 'udp'/, socket({ type: 'tcp' })],
  'an address of a socket': ['VALUE', /IP address/, socket({ address: 'localhost' })],
  'a port of a socket': ['VALUE', /from 0 to 65535/, socket({ port: 65536 })],
};
await t.test('values', async (t) => {
  for (const [name, mistake] of Object.entries(values)) await told(t, name, mistake);
});

await t.test('what is no Netns', async (t) => {
  for (const bad of [undefined, null, {}, 'eth0', '/run/netns/x', 7]) {
    for (const [verb, act] of Object.entries({
      createLink: () => createLink!(bad, 'ifb', 'i0'),
      createVeth: () => createVeth(bad as never, 'v0', { peer: { name: 'v1' } }),
      getLink: () => getLink(bad as never, 'lo'),
      setLink: () => setLink(bad as never, 'lo', { up: true }),
      deleteLink: () => deleteLink!(bad, 'lo'),
      listLinks: () => listLinks!(bad),
      addAddress: () => addAddress!(bad, 'lo', '10.0.0.1/24'),
      flushAddresses: () => flushAddresses!(bad, 'lo'),
      listRoutes: () => listRoutes!(bad),
      addRoute: () => addRoute!(bad, { dst: 'default', via: '10.0.0.1' }),
      getRoute: () => getRoute!(bad, '10.0.0.1'),
      addRule: () => addRule!(bad, { table: 5 }),
      listNeighbors: () => listNeighbors!(bad),
      listFdb: () => listFdb!(bad),
      readSysctl: () => readSysctl!(bad, 'net.ipv4.ip_forward'),
      setSysctl: () => setSysctl!(bad, 'net.ipv4.ip_forward', 1),
      readAddr: () => readAddr!(bad, 'lo'),
      bridgeEnslave: () => bridgeEnslave!(bad, { bridge: 'br0', ports: ['lo'] }),
      cloneMac: () => cloneMac!(bad, { from: 'lo' }),
      createTap: () => createTap!(bad, 'tap0'),
    }))
      await told(t, `${verb}: ${JSON.stringify(bad)}`, ['TYPE', /must be a Netns, from Netns\.open\(\)/, act]);
  }
});

await t.test('a closed Netns', async (t) => {
  requests = 0;
  const mac = '02:00:00:00:00:01';
  for (const [verb, act] of Object.entries({
    createLink: () => createLink!(closed, 'ifb', 'i0'),
    createVeth: () => createVeth(closed, 'v0', { peer: { name: 'v1' } }),
    'createVeth, its peer': () => createVeth(netns, 'v0', { peer: { name: 'v1', scope: closed } }),
    'setLink netns': () => setLink(netns, 'eth0', { netns: closed }),
    getLink: () => getLink(closed, 'lo'),
    setLink: () => setLink(closed, 1, { up: true }),
    deleteLink: () => deleteLink!(closed, 'lo'),
    listLinks: () => listLinks!(closed),
    addAddress: () => addAddress!(closed, 1, '10.0.0.1/24'),
    listAddresses: () => listAddresses!(closed),
    addRoute: () => addRoute!(closed, { dst: 'default', via: '10.0.0.1' }),
    addRule: () => addRule!(closed, { table: 5 }),
    setNeighbor: () => setNeighbor!(closed, 1, { address: '10.0.0.1', mac }),
    listFdb: () => listFdb!(closed),
    readSysctl: () => readSysctl!(closed, 'net.ipv4.ip_forward'),
    setSysctl: () => setSysctl!(closed, 'net.ipv4.ip_forward', 1),
    readAddr: () => readAddr!(closed, 'lo'),
    bridgeEnslave: () => bridgeEnslave!(closed, { bridge: 'br0', ports: ['lo'] }),
    cloneMac: () => cloneMac!(closed, { from: 'lo' }),
    createTap: () => createTap!(closed, 'tap0'),
    openSocket: () => closed.openSocket({ type: 'udp', address: '127.0.0.1', port: 0 }),
    spawn: () => closed.spawn('true'),
  }))
    await t.rejects(act(), { name: 'PodtapError', code: 'ERR_NETNS_CLOSED', message: 'this Netns is closed' }, verb);
  t.equal(requests, 0);
});

await t.test('a refusal of the kernel names the attribute', { skip: requires('bridge', 'vxlan') }, async (t) => {
  await t.rejects(createVxlan!(netns, 'vx0', { id: 5, local: '10.0.0.1', remote: 'fd00::1' }), {
    name: 'NetlinkError',
    code: 'EINVAL',
    syscall: 'RTM_NEWLINK',
    extack: { message: /address|family/i },
  });
  await t.rejects(createVxlan!(netns, 'vx0', { id: 5, portRange: { low: 2000, high: 1000 } }), {
    code: 'EINVAL',
    message: /IFLA_LINKINFO\.IFLA_INFO_DATA\.IFLA_VXLAN_PORT_RANGE/,
    extack: { attribute: 'IFLA_LINKINFO.IFLA_INFO_DATA.IFLA_VXLAN_PORT_RANGE', offset: Number, message: 'Invalid source port range' },
  });
  await t.rejects(addAddress!(netns, 'eth0', { address: '10.0.0.1/24', validLifetime: 5, preferredLifetime: 6 }), {
    code: 'EINVAL',
  });
  t.equal(await getLink(netns, 'vx0'), undefined);
});

await t.test('what is right passes', async (t) => {
  for (const name of ['a', 'fifteen-bytes-x', 'ünïcödë-x', 'a.b-c_d+e@f', '..a']) {
    await createVeth(netns, name, { peer: { name: `p${name.length}` } });
    t.equal((await getLink(netns, name))?.name, name);
    await deleteLink!(netns, name);
  }
});
