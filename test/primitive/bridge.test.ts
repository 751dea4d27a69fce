import t from 'tap';
import { Netns, addAddress, bridgeEnslave, createBridge, createTap, createVeth, getLink, listAddresses, listLinks, setLink } from 'podtap';
import { type Json, at, ipJson } from '../support/oracle.js';
import { requires } from '../support/requires.js';

async function pod(...names: readonly string[]): Promise<Netns> {
  const netns = await Netns.create();
  for (const name of names) await createVeth(netns, name, { addrGenMode: 'none', peer: { name: `${name}x`, up: true } });
  return netns;
}
async function oracle(netns: Netns, name: string): Promise<Json> {
  return (await ipJson(netns, `link show dev ${name}`))[0]!;
}
const skip = { skip: requires('bridge') };

await t.test('the bridge is made, the ports are under it, and all are up', { skip: requires('bridge', 'tun') }, async (t) => {
  await using netns = await pod('eth0');
  await addAddress(netns, 'eth0', '10.1.0.2/24');
  await using tap = await createTap(netns, 'tap100');
  const bridge = await bridgeEnslave(netns, { bridge: 'br0', ports: ['eth0', tap.ifindex] });
  t.hasStrict(bridge, { object: 'link', kind: 'bridge', name: 'br0', up: true });
  for (const name of ['eth0', 'tap100']) {
    const port = await oracle(netns, name);
    t.equal(port.master, 'br0', name);
    t.ok((port.flags as string[]).includes('UP'), name);
  }
  const shown = await oracle(netns, 'br0');
  t.equal(at(shown, 'linkinfo.info_data.stp_state'), 0);
  t.equal(at(shown, 'linkinfo.info_data.forward_delay'), 0);
  t.strictSame(
    (await listAddresses(netns, { link: 'eth0' })).map(({ address }) => address),
    ['10.1.0.2/24'],
    'addresses are left alone',
  );
});

await t.test('its MAC is its own, local, and stays when a port with a lower one comes', skip, async (t) => {
  await using netns = await pod('eth0', 'eth1');
  const { mac } = await bridgeEnslave(netns, { bridge: 'br0', ports: ['eth0'] });
  t.equal(parseInt(mac.slice(0, 2), 16) & 3, 2, 'locally administered, unicast');
  t.not(mac, (await getLink(netns, 'eth0'))!.mac);
  await setLink(netns, 'eth1', { mac: '00:00:00:00:00:01' });
  await bridgeEnslave(netns, { bridge: 'br0', ports: ['eth1'] });
  t.equal((await getLink(netns, 'br0'))?.mac, mac);
  await using other = await pod('eth0');
  t.not((await bridgeEnslave(other, { bridge: 'br0', ports: ['eth0'] })).mac, mac, 'and another in each pod');
});

await t.test('options of the bridge', skip, async (t) => {
  await using netns = await pod('eth0');
  const create = { mac: '02:00:00:00:0b:01', mtu: 1400, ageing: 0, multicastSnooping: false, stp: true, forwardDelay: 4, groupFwdMask: 0x4000, up: false }; // prettier-ignore
  const bridge = await bridgeEnslave(netns, { bridge: 'br0', ports: ['eth0'], create });
  t.hasStrict(bridge, { mac: '02:00:00:00:0b:01', mtu: 1400, up: false });
  const { info_data: info } = (await oracle(netns, 'br0')).linkinfo as { info_data: Json };
  t.hasStrict(info, { ageing_time: 0, mcast_snooping: 0, stp_state: 1, forward_delay: 400, group_fwd_mask: '0x4000' });
});

await t.test('a bridge that is there is used as it is', skip, async (t) => {
  await using netns = await pod('eth0', 'eth1');
  const made = await createBridge(netns, 'br0', { stp: true, forwardDelay: 9, mac: '02:00:00:00:0b:02' });
  for (const create of [undefined, true, false]) {
    const bridge = await bridgeEnslave(netns, { bridge: 'br0', ports: ['eth0'], ...(create !== undefined && { create }) });
    t.hasStrict(bridge, { ifindex: made.ifindex, mac: '02:00:00:00:0b:02', up: true });
  }
  t.equal(at(await oracle(netns, 'br0'), 'linkinfo.info_data.forward_delay'), 900);
});

await t.test('what cannot be is told before anything changes', skip, async (t) => {
  await using netns = await pod('eth0', 'eth1');
  const before = await listLinks(netns);
  await t.rejects(bridgeEnslave(netns, { bridge: 'br0', ports: ['eth0'], create: false }), { name: 'PodtapError', code: 'ENODEV', message: /'br0'/ }); // prettier-ignore
  await t.rejects(bridgeEnslave(netns, { bridge: 'br0', ports: ['eth0', 'eth7'] }), { code: 'ENODEV', message: /'eth7'/ });
  await t.rejects(bridgeEnslave(netns, { bridge: 'eth1', ports: ['eth0'] }), { code: 'EINVAL', message: /'eth1' is no bridge but of kind veth/ }); // prettier-ignore
  await t.rejects(bridgeEnslave(netns, { bridge: 'br0', ports: ['eth0'], create: { forwardDelay: 31 } }), {
    code: 'ERR_INVALID_ARG_VALUE',
  });
  await t.rejects(bridgeEnslave(netns, { bridge: 'br0', ports: [] }), { code: 'ERR_INVALID_ARG_VALUE', message: /must name a port/ });
  t.strictSame(await listLinks(netns), before);
});

await t.test('a failure of the second port puts everything back', skip, async (t) => {
  await using netns = await pod('eth0', 'eth1');
  await createBridge(netns, 'other');
  await setLink(netns, 'eth1', { master: 'other', up: true });
  const before = await ipJson(netns, 'link show');
  const without = (links: Json[]): Json[] =>
    links.map(({ linkinfo: _, qdisc: __, operstate: ___, tso_max_size: ____, flags, ...link }) => ({
      ...link,
      up: (flags as string[]).includes('UP'),
    }));
  // The loopback cannot be a port.
  const failed = bridgeEnslave(netns, { bridge: 'br0', ports: ['eth0', 'eth1', 'lo'] });
  await t.rejects(failed, { name: 'NetlinkError', code: 'EINVAL', syscall: 'RTM_SETLINK' });
  t.strictSame(without(await ipJson(netns, 'link show')), without(before), 'the bridge is gone, eth0 free and down, eth1 under its own');

  // Of a bridge that was there, the state too.
  await createBridge(netns, 'br0');
  const then = await ipJson(netns, 'link show');
  await t.rejects(bridgeEnslave(netns, { bridge: 'br0', ports: ['eth0', 'eth1', 'lo'] }), { code: 'EINVAL' });
  t.strictSame(without(await ipJson(netns, 'link show')), without(then));
  await t.rejects(bridgeEnslave(netns, { bridge: 'br0', ports: ['eth0', 'br0'] }), { code: /ELOOP|EINVAL/ });
  t.strictSame(without(await ipJson(netns, 'link show')), without(then));
  t.equal((await listLinks(netns, { master: 'br0' })).length, 0);
});
