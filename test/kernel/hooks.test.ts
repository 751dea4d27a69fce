import { type Netns, createVeth, setLink } from 'podtap';
import t, { type Test } from 'tap';
import { readHooks } from '../../lib/kernel/hooks.js';
import { fresh, inside } from '../support/inside.js';
import { requires } from '../support/requires.js';

async function pod(t: Test): Promise<Netns> {
  const [node, netns] = [await fresh(t), await fresh(t)];
  await createVeth(node, 'vn', { up: true, peer: { scope: netns, name: 'eth0', up: true } });
  return netns;
}

await t.test('nothing', async (t) => {
  const netns = await pod(t);
  const { link, unread, ...rest } = await readHooks(netns, 'eth0');
  t.match(link, { name: 'eth0', kind: 'veth' });
  t.strictSame(rest, { tcx: { ingress: [], egress: [] }, filters: { ingress: [], egress: [] }, chains: [] });
  // In a user namespace nobody may ask what is on tcx; that is said, and not taken for nothing.
  t.match(unread, [{ what: 'tcx', reason: /EPERM/ }]);
  t.equal(unread.length, 1);
  await t.rejects(readHooks(netns, 'nosuch'), { code: 'ENODEV' });
});

await t.test('filters, of either qdisc, in their order', { skip: requires('clsact') }, async (t) => {
  const netns = await pod(t);
  inside(
    netns,
    `tc qdisc add dev eth0 clsact
     tc filter add dev eth0 ingress pref 9 protocol all u32 match u32 0 0 flowid 1:9
     tc filter add dev eth0 ingress pref 5 protocol ip u32 match u32 0 0 flowid 1:5
     tc filter add dev eth0 egress pref 7 protocol all u32 match u32 0 0 flowid 1:7
     tc filter add dev eth0 ingress chain 3 pref 1 protocol all u32 match u32 0 0 flowid 1:1`,
  );
  const { qdisc, filters } = await readHooks(netns, 'eth0');
  t.equal(qdisc, 'clsact');
  const brief = (list: typeof filters.ingress): unknown[] => list.filter(({ options }) => 'classid' in options!).map(({ priority, kind, protocol, chain }) => ({ priority, kind, protocol, chain: chain ?? 0 })); // prettier-ignore
  t.strictSame(brief(filters.ingress), [
    { priority: 5, kind: 'u32', protocol: 'ip', chain: 0 },
    { priority: 9, kind: 'u32', protocol: 'all', chain: 0 },
    { priority: 1, kind: 'u32', protocol: 'all', chain: 3 },
  ]);
  t.strictSame(brief(filters.egress), [{ priority: 7, kind: 'u32', protocol: 'all', chain: 0 }]);

  // Another interface's is not this one's.
  inside(netns, 'ip link add other type veth peer name other2');
  t.equal((await readHooks(netns, 'other')).qdisc, undefined);

  const other = await pod(t);
  inside(other, 'tc qdisc add dev eth0 ingress; tc filter add dev eth0 parent ffff: pref 2 protocol all u32 match u32 0 0 flowid 1:2');
  const second = await readHooks(other, 'eth0');
  t.equal(second.qdisc, 'ingress');
  t.strictSame(brief(second.filters.ingress), [{ priority: 2, kind: 'u32', protocol: 'all', chain: 0 }]);
  t.strictSame(second.filters.egress, []);
});

await t.test('chains of nftables on the device, by priority', { skip: requires('nft') }, async (t) => {
  const netns = await pod(t);
  inside(
    netns,
    `ip link add other type veth peer name other2
     nft -f - <<'END'
     table netdev late { chain in { type filter hook ingress device "eth0" priority 10; policy drop; }; }
     table netdev early { chain in { type filter hook ingress devices = { "eth0", "other" } priority -10; }; chain plain { accept; }; }
     table netdev elsewhere { chain in { type filter hook ingress device "other" priority 0; }; }
     table inet mixed { chain in { type filter hook ingress device "eth0" priority 0; }; chain up { type filter hook input priority 0; }; }
     table netdev out { chain out { type filter hook egress device "eth0" priority 5; }; }
END`,
  );
  const { chains, unread } = await readHooks(netns, 'eth0');
  t.notOk(unread.some(({ what }) => what === 'chains'));
  t.match(chains, [
    { family: 'netdev', table: 'early', name: 'in', type: 'filter', policy: 'accept', hook: { name: 'ingress', priority: -10 } }, // prettier-ignore
    { family: 'inet', table: 'mixed', name: 'in', hook: { name: 'ingress', priority: 0, devices: ['eth0'] } },
    { family: 'netdev', table: 'out', hook: { name: 'egress', priority: 5 } },
    { family: 'netdev', table: 'late', policy: 'drop', hook: { name: 'ingress', priority: 10 } },
  ]);
  t.equal(chains.length, 4);
  t.strictSame([...chains[0]!.hook!.devices!].sort(), ['eth0', 'other']);
});

await t.test('who takes the frames', { skip: requires('bridge') }, async (t) => {
  const netns = await pod(t);
  inside(netns, 'ip link add br0 type bridge; ip link set eth0 master br0');
  t.strictSame((await readHooks(netns, 'eth0')).receiver, { kind: 'bridge', links: ['br0'] });
  t.equal((await readHooks(netns, 'br0')).receiver, undefined);
});

await t.test('interfaces that stand on it', { skip: requires('macvlan', 'macvtap') }, async (t) => {
  const netns = await pod(t);
  inside(netns, 'ip link add other type veth peer name other2; ip link add mv9 link other type macvlan mode bridge');
  inside(
    netns,
    'ip link add mv0 link eth0 type macvlan mode bridge; ip link add mv1 link eth0 type macvtap mode bridge; ip link add mv2 link eth0 type macvlan mode bridge',
  );
  await setLink(netns, 'mv2', { netns: await fresh(t) });
  t.strictSame((await readHooks(netns, 'eth0')).receiver, { kind: 'macvlan', links: ['mv0', 'mv1'] });
});
