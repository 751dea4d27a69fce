import t from 'tap';
import {
  Netns,
  bridgeEnslave,
  cloneMac,
  createMacvtap,
  createTap,
  createVeth,
  flushAddresses,
  getLink,
  listLinks,
  setLink,
  setNeighbor,
  watch,
} from 'podtap';
import { createLab, ping } from 'podtap/lab';
import { startGuest } from '../support/guest.js';
import { ip, ipJson, settled, sh } from '../support/oracle.js';
import { requires } from '../support/requires.js';

const old = '02:00:00:00:00:22';

async function pod(): Promise<Netns> {
  const netns = await Netns.create();
  await createVeth(netns, 'eth0', {
    mac: old,
    addrGenMode: 'none',
    up: true,
    addresses: ['10.0.0.2/24', 'fd00::2/64'],
    peer: { name: 'x', addrGenMode: 'none', up: true },
  });
  return settled(netns);
}
async function macOf(netns: Netns, name: string): Promise<string | undefined> {
  return (await ipJson(netns, `link show dev ${name}`))[0]?.address as string;
}

await t.test('the guest gets the MAC, the link a fresh one of its own', async (t) => {
  await using netns = await pod();
  const { guestMac, linkMac } = await cloneMac(netns, { from: 'eth0' });
  t.equal(guestMac, old);
  t.equal(await macOf(netns, 'eth0'), linkMac);
  t.equal(parseInt(linkMac.slice(0, 2), 16) & 3, 2, 'locally administered, unicast');
  t.not(linkMac.slice(0, 2), 'fe');
  await using other = await pod();
  t.not((await cloneMac(other, { from: 'eth0', to: 'guest' })).linkMac, linkMac, 'another in each pod');
});

await t.test('replaceWith', async (t) => {
  await using netns = await pod();
  t.strictSame(await cloneMac(netns, { from: 'eth0', replaceWith: '02:AA:00:00:00:99' }), { guestMac: old, linkMac: '02:aa:00:00:00:99' });
  t.equal(await macOf(netns, 'eth0'), '02:aa:00:00:00:99');
  await t.rejects(cloneMac(netns, { from: 'eth0', replaceWith: '02:aa:00:00:00:99' }), { code: 'EINVAL', message: /replaceWith/ });
});

await t.test('the link is never down, and loses no address or route', async (t) => {
  await using netns = await pod();
  await ip(netns, 'route add default via 10.0.0.1', '-6 route add default via fd00::1', 'route add 10.5.0.0/16 via 10.0.0.9 table 100');
  const state = async (): Promise<string> =>
    [
      await sh(netns, 'ip -d address show dev eth0'),
      await sh(netns, 'ip -4 -d route show table all'),
      await sh(netns, 'ip -6 -d route show table all'),
    ].join('\n');
  const before = await state();
  const stop = new AbortController();
  const events = watch(netns, { groups: ['link', 'address', 'route'], signal: stop.signal });
  const seen: unknown[] = [];
  const watching = (async () => {
    for await (const event of events) seen.push(event);
  })().catch(() => undefined);
  await new Promise((done) => setTimeout(done, 50)); // subscribed
  const { linkMac } = await cloneMac(netns, { from: 'eth0' });
  t.equal((await state()).replaceAll(linkMac, old), before);
  await new Promise((done) => setTimeout(done, 50));
  stop.abort();
  await watching;
  const links = seen.filter((event) => (event as { object?: { object: string } }).object?.object === 'link');
  t.ok(links.length > 0, 'the change of MAC is told');
  for (const event of links) t.match(event, { type: 'new', object: { up: true, carrier: true } });
  t.equal(seen.length, links.length, 'and no other');
});

await t.test('permanent neighbours are put back, with their flags', async (t) => {
  await using netns = await pod();
  await ip(
    netns,
    'neigh add 10.0.0.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent protocol static',
    'neigh add 10.0.0.5 lladdr 02:00:00:00:00:05 dev eth0 nud permanent extern_learn',
    'neigh add 10.0.0.6 lladdr 02:00:00:00:00:06 dev eth0 nud noarp protocol static',
    'neigh add fd00::1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent router',
    'neigh add fd00::5 lladdr 02:00:00:00:00:05 dev eth0 nud permanent',
    'neigh add 10.0.0.7 lladdr 02:00:00:00:00:07 dev x nud permanent',
    'neigh add proxy 10.9.0.1 dev eth0',
  );
  const shown = async (): Promise<string[]> =>
    `${await sh(netns, 'ip neigh show nud all')}${await sh(netns, 'ip neigh show proxy')}`
      .split('\n')
      .filter((line) => !line.startsWith('ff02:') && !line.startsWith('224.'))
      .sort();
  const before = await shown();
  t.equal(before.filter((line) => line !== '').length, 7);
  await ip(netns, 'neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev eth0 nud reachable'); // learned: it will be again
  await cloneMac(netns, { from: 'eth0' });
  t.strictSame(await shown(), before);
});

await t.test('to a macvtap', { skip: requires('macvtap') }, async (t) => {
  await using netns = await pod();
  await createMacvtap(netns, 'mt0', { link: 'eth0', mode: 'bridge', up: true });
  await setNeighbor(netns, 'mt0', { address: '10.0.0.77', mac: '02:00:00:00:00:77' });
  const { guestMac, linkMac } = await cloneMac(netns, { from: 'eth0', to: 'mt0' });
  t.equal(guestMac, old);
  t.equal(await macOf(netns, 'mt0'), old);
  t.equal(await macOf(netns, 'eth0'), linkMac);
  t.match(await sh(netns, 'ip neigh show dev mt0'), /10\.0\.0\.77 lladdr 02:00:00:00:00:77 PERMANENT/);
});

await t.test('what is refused, and that nothing changes then', { skip: requires('bridge', 'macvtap') }, async (t) => {
  await using netns = await pod();
  await createVeth(netns, 'port', { up: true, peer: { name: 'y', up: true } });
  await bridgeEnslave(netns, { bridge: 'br0', ports: ['port'] });
  const macs = async (): Promise<unknown[]> => (await listLinks(netns)).map(({ name, mac, up, master }) => ({ name, mac, up, master }));
  const before = await macs();
  await t.rejects(cloneMac(netns, { from: 'eth0', to: 'port' }), {
    name: 'PodtapError',
    code: 'EINVAL',
    message: /port of a bridge.*'guest'/,
  });
  await t.rejects(cloneMac(netns, { from: 'eth0', to: 'eth0' }), { code: 'EINVAL', message: /itself/ });
  await t.rejects(cloneMac(netns, { from: 'eth7' }), { code: 'ENODEV', message: /'eth7'/ });
  await t.rejects(cloneMac(netns, { from: 'eth0', to: 'tap7' }), { code: 'ENODEV', message: /'tap7'/ });
  await t.rejects(cloneMac(netns, { from: 'eth0', replaceWith: '01:00:00:00:00:01' }), {
    code: 'ERR_INVALID_ARG_VALUE',
    message: /unicast/,
  });
  t.strictSame(await macs(), before);
  t.equal(await macOf(netns, 'eth0'), old);
});

await t.test('a failure half way puts the MACs and the neighbours back', { skip: requires('macvtap') }, async (t) => {
  await using netns = await pod();
  await setNeighbor(netns, 'eth0', { address: '10.0.0.1', mac: '02:00:00:00:00:01' });
  // Two macvtaps with one MAC on one wire: the kernel refuses the second.
  await createVeth(netns, 'eth1', { up: true, peer: { name: 'y', up: true } });
  await createMacvtap(netns, 'mt0', { link: 'eth1', mode: 'bridge', mac: old, up: true });
  await createMacvtap(netns, 'mt1', { link: 'eth1', mode: 'bridge', mac: '02:00:00:00:00:71', up: true });
  await setNeighbor(netns, 'mt1', { address: '10.0.0.1', mac: '02:00:00:00:00:01' });
  await t.rejects(cloneMac(netns, { from: 'eth0', to: 'mt1' }), { name: 'NetlinkError', code: 'EADDRINUSE', syscall: 'RTM_SETLINK' });
  t.equal(await macOf(netns, 'eth0'), old);
  t.equal(await macOf(netns, 'mt0'), old);
  t.equal(await macOf(netns, 'mt1'), '02:00:00:00:00:71');
  for (const name of ['eth0', 'mt1'])
    t.match(await sh(netns, `ip neigh show dev ${name}`), /10\.0\.0\.1 lladdr 02:00:00:00:00:01 PERMANENT/);
});

await t.test(
  'why: a MAC that stays on eth0 is a local entry of the bridge, which swallows the guest’s frames',
  { skip: requires('bridge', 'tun') },
  async (t) => {
    await using lab = await createLab({ nodes: { node: {}, pod: {} }, links: [{ node: '10.0.0.1/24', pod: '10.0.0.2/24' }] });
    const { node, pod } = lab;
    await setLink(pod, 'eth0', { mac: old });
    await flushAddresses(pod, 'eth0'); // the guest has it now
    await using tap = await createTap(pod, 'tap100');
    await bridgeEnslave(pod, { bridge: 'br0', ports: ['eth0', 'tap100'] });
    await using guest = startGuest(tap, { mac: old, address: '10.0.0.2' });
    await tap.waitAttached();
    const once = { count: 1, timeout: 300 };
    const deadline = { count: 5, interval: 100, timeout: 300 };

    // The node knows the guest's MAC: its frames go to eth0, and no further.
    await setNeighbor(node, 'eth0', { address: '10.0.0.2', mac: old, state: 'reachable' });
    t.equal((await ping(node, '10.0.0.2', once)).received, 0);
    t.strictSame(guest.seen.filter((frame) => frame.startsWith('icmp')), []); // prettier-ignore
    t.match(await sh(pod, 'bridge fdb show br br0'), new RegExp(`^${old} dev eth0 master br0 permanent`, 'm'));

    await cloneMac(pod, { from: 'eth0' });
    t.notMatch(await sh(pod, 'bridge fdb show br br0'), old);
    const { received } = await ping(node, '10.0.0.2', deadline);
    t.ok(received > 0, 'it arrives, and the answer too');
    t.ok(guest.seen.includes('icmp echo from 10.0.0.1'));

    // And from nothing: the node asks, the guest answers.
    await sh(node, 'ip neigh flush all');
    t.ok((await ping(node, '10.0.0.2', deadline)).received > 0);
    t.ok(guest.seen.includes('arp who-has 10.0.0.2'));
    t.equal((await getLink(pod, 'tap100'))?.mac, tap.mac, 'the TAP keeps its own MAC on the host’s side');
  },
);
