// What the kernel changes besides, when something is changed and when it is changed back: after a body that throws all is as it was.
import t from 'tap';
import {
  type Netns,
  type Transaction,
  addAddress,
  createBridge,
  createVeth,
  deleteAddress,
  flushAddresses,
  getLink,
  listAddresses,
  replaceRoute,
  setLink,
  setSysctl,
  transaction,
} from 'podtap';
import { compare, dump } from '../oracle/dump.js';
import { requires } from '../support/requires.js';
import { fresh, inside } from '../support/inside.js';

type Test = Parameters<typeof fresh>[0];

/** eth0 and eth1, up, without link-local addresses unless it is said otherwise. */
async function pod(t: Test, mode: 'none' | 'eui64' = 'none'): Promise<Netns> {
  const netns = await fresh(t);
  await createVeth(netns, 'eth0', { up: true, addrGenMode: mode, peer: { name: 'eth1' } });
  await setLink(netns, 'eth1', { up: true, addrGenMode: 'none' });
  return netns;
}

async function undone(t: Test, netns: Netns, body: (tx: Transaction) => Promise<unknown>): Promise<void> {
  const enough = new Error('enough');
  const before = await dump(netns);
  // prettier-ignore
  await t.rejects(transaction(netns, async (tx) => { await body(tx); throw enough; }, { journal: false }), enough);
  t.strictSame(compare(before, await dump(netns)), []);
}

await t.test('the IPv6 MTU follows the interface when it, or its IPv6, comes up', async (t) => {
  const netns = await pod(t);
  inside(netns, 'sysctl -qw net.ipv6.conf.eth0.mtu=1280 net.ipv6.conf.eth1.mtu=1300');
  await undone(t, netns, (tx) => setLink(tx, 'eth0', { up: false }));
  await undone(t, netns, (tx) => setSysctl(tx, 'net.ipv6.conf.eth0.disable_ipv6', '1'));
  await undone(t, netns, (tx) => setSysctl(tx, 'net.ipv6.conf.all.disable_ipv6', '1'));
  await undone(t, netns, async (tx) => (await setLink(tx, 'eth0', { up: false }), await setLink(tx, 'eth0', { up: true })));
});

await t.test('what is set for all takes along those that were set by themselves', async (t) => {
  const netns = await pod(t);
  inside(netns, 'sysctl -qw net.ipv4.conf.eth0.forwarding=1 net.ipv6.conf.eth1.forwarding=1');
  await undone(t, netns, (tx) => setSysctl(tx, 'net.ipv4.conf.all.forwarding', '1'));
  await undone(t, netns, (tx) => setSysctl(tx, 'net.ipv4.ip_forward', '1'));
  await undone(t, netns, (tx) => setSysctl(tx, 'net.ipv6.conf.all.forwarding', '1'));
});

await t.test('a link-local address that the kernel makes again, and tries first', async (t) => {
  for (const optimistic of [0, 1]) {
    const netns = await pod(t, 'eui64');
    inside(netns, `sysctl -qw net.ipv6.conf.eth0.dad_transmits=9 net.ipv6.conf.eth0.optimistic_dad=${optimistic}`);
    const [own = ''] = (await listAddresses(netns, { link: 'eth0', family: 'ipv6' })).map(({ address }) => address);
    // As it is once it was tried.
    inside(netns, `ip -6 addr flush dev eth0; ip addr add ${own} dev eth0 nodad; ip addr replace ${own} dev eth0`);
    inside(netns, 'ip -6 route add fd21::/64 via fe80::1 dev eth0');
    await undone(t, netns, (tx) => setSysctl(tx, 'net.ipv6.conf.eth0.disable_ipv6', '1'));
  }
});

await t.test('routes of the kernel that came with an address go with it', async (t) => {
  const netns = await pod(t);
  inside(netns, 'ip addr add 10.6.0.1/24 dev eth0; ip addr add fd06::1/64 dev eth0 nodad');
  for (const [address, family] of [
    ['10.5.0.1/24', 'ipv4'],
    ['10.6.0.2/24', 'ipv4'],
    ['fd05::1/64', 'ipv6'],
    ['fd06::2/64', 'ipv6'],
  ] as const)
    await undone(t, netns, async (tx) => {
      await addAddress(tx, 'eth0', { address, ...(family === 'ipv6' && { flags: ['nodad'] }) });
      await flushAddresses(tx, 'eth0', { family });
    });
});

await t.test('one address is deleted: its secondaries, routes from it elsewhere, what hung on the last one', async (t) => {
  const netns = await pod(t);
  inside(netns, 'sysctl -qw net.ipv4.conf.eth0.promote_secondaries=0; ip addr add 10.6.0.1/24 dev eth0; ip addr add 10.6.0.2/24 dev eth0');
  await undone(t, netns, (tx) => deleteAddress(tx, 'eth0', '10.6.0.1/24'));
  inside(
    netns,
    'ip addr add 10.8.0.1/24 dev eth1; ip route add 10.21.0.0/24 dev eth1 src 10.6.0.2; ip route add 10.22.0.0/24 dev eth1 src 10.6.0.1',
  );
  await undone(t, netns, (tx) => deleteAddress(tx, 'eth0', '10.6.0.2/24'));
  await undone(t, netns, (tx) => deleteAddress(tx, 'eth0', '10.6.0.1/24'));
  inside(netns, 'ip neigh add 10.8.0.9 lladdr 02:00:00:00:00:09 dev eth1 nud permanent; ip neigh add proxy 10.8.0.8 dev eth1');
  inside(
    netns,
    'ip addr add fd06::1/64 dev eth0 nodad; ip addr add fd08::1/64 dev eth1 nodad; ip route add fd22::/64 dev eth1 src fd06::1',
  );
  await undone(t, netns, (tx) => deleteAddress(tx, 'eth1', '10.8.0.1/24'));
  await undone(t, netns, (tx) => deleteAddress(tx, 'eth0', 'fd06::1/64'));
  await undone(t, netns, (tx) => setSysctl(tx, 'net.ipv6.conf.eth0.disable_ipv6', '1'));
});

await t.test('a MAC is changed, and with it the permanent neighbours go', async (t) => {
  const netns = await pod(t);
  inside(netns, 'ip addr add 10.6.0.1/24 dev eth0; ip neigh add 10.6.0.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent');
  await undone(t, netns, (tx) => setLink(tx, 'eth0', { mac: '02:00:00:00:00:66' }));
  await undone(t, netns, (tx) => setLink(tx, 'eth0', { arp: false }));
});

await t.test('a bridge follows its ports with its MAC and its MTU', { skip: requires('bridge') }, async (t) => {
  const netns = await pod(t);
  await setLink(netns, 'eth0', { mac: '02:00:00:00:00:05' });
  await setLink(netns, 'eth1', { mac: '02:00:00:00:00:02', mtu: 1400 });
  await createBridge(netns, 'br0');
  // What it is without ports is told of its bridge_id and its carrier only before it has had one.
  const shape = async (): Promise<unknown[]> => {
    const { mac, mtu, master } = (await getLink(netns, 'br0'))!;
    return [mac, mtu, master, inside(netns, 'sysctl -n net.ipv6.conf.br0.mtu')];
  };
  const before = await shape();
  await t.rejects(
    transaction(netns, async (tx) => (await setLink(tx, 'eth1', { master: 'br0' }), Promise.reject(new Error('no'))), { journal: false }),
  );
  t.same(await shape(), before);
  await setLink(netns, 'eth0', { master: 'br0' });
  await undone(t, netns, (tx) => setLink(tx, 'eth1', { master: 'br0' }));
  await undone(t, netns, (tx) => setLink(tx, 'eth0', { mtu: 1300, mac: '02:00:00:00:00:07' }));
});

await t.test('routes of one group come back in their order', async (t) => {
  const netns = await pod(t);
  inside(netns, 'ip addr add 10.6.0.1/24 dev eth0; ip addr add 10.8.0.1/24 dev eth1');
  for (const hop of ['10.6.0.9 dev eth0', '10.8.0.9 dev eth1', '10.6.0.8 dev eth0'])
    inside(netns, `ip route append 10.21.0.0/24 via ${hop}`);
  await undone(t, netns, (tx) => replaceRoute(tx, { dst: '10.21.0.0/24', via: '10.8.0.7', dev: 'eth1' }));
  await undone(t, netns, (tx) => setLink(tx, 'eth0', { up: false }));
  await undone(t, netns, (tx) => deleteAddress(tx, 'eth0', '10.6.0.1/24'));
});

await t.test('what a bridge knows of its port goes with it', { skip: requires('bridge') }, async (t) => {
  const netns = await pod(t);
  await createBridge(netns, 'br0', { mac: '02:00:00:00:00:0b' });
  await setLink(netns, 'br0', { addrGenMode: 'none', up: true });
  await setLink(netns, 'eth0', { master: 'br0' });
  await setLink(netns, 'eth1', { master: 'br0' });
  inside(netns, 'bridge link set dev eth1 learning off flood off hairpin on isolated on');
  inside(netns, 'bridge fdb add 02:00:00:00:00:98 dev eth1 master static');
  await undone(t, netns, (tx) => setLink(tx, 'eth1', { master: null }));
  await createVeth(netns, 'eth2', { peer: { name: 'eth3' } });
  await undone(t, netns, async (tx) => (await setLink(tx, 'eth2', { master: 'br0' }), await setLink(tx, 'eth2', { master: null })));
});

await t.test('a rule that forbids now what it did not when a route was made', async (t) => {
  const netns = await pod(t);
  inside(netns, 'ip addr add 10.6.0.1/24 dev eth0; ip route add 10.21.0.0/24 via 10.6.0.9; ip rule add prohibit pref 50');
  inside(netns, 'ip addr add fd06::1/64 dev eth0 nodad; ip -6 route add fd21::/64 via fd06::9; ip -6 rule add prohibit pref 50');
  await undone(t, netns, (tx) => flushAddresses(tx, 'eth0'));
});
