import { type Netns } from 'podtap';
import { createLab } from 'podtap/lab';
import { joinOverlay, nodeList } from 'podtap/overlay';
import t from 'tap';
import { compare, dump } from '../oracle/dump.js';
import { requestsOf, runWithFaults, withFaults } from '../oracle/faults.js';
import { sh } from '../support/oracle.js';
import { requires } from '../support/requires.js';
import { ONE, THREE, WIDE_ONE, WIDE_THREE, two } from './nodes.js';

const skip = { skip: requires('vxlan', 'bridge') };

/** A node alone with its underlay. */
function alone(): Promise<Record<'one' | 'router', Netns> & AsyncDisposable> {
  return createLab({
    nodes: { one: {}, router: {} },
    links: [{ one: '192.161.1.5/24 fd00:161::5/64', router: '192.161.1.2/24 fd00:161::2/64' }],
    routes: { one: { default: '192.161.1.2', '::/0': 'fd00:161::2' } },
  });
}

async function shown(node: Netns): Promise<string> {
  const lines = [
    'ip -br address',
    'ip route',
    'ip -6 route show dev flannel-v6.1',
    'ip neigh show nud permanent',
    'bridge fdb show dev flannel.1',
  ];
  const texts: string[] = [];
  for (const line of lines) texts.push(await sh(node, line));
  return texts.join('').replace(/cni0 .*(UP|DOWN|UNKNOWN) */g, 'cni0 ');
}

const settings = {
  registry: nodeList([
    { ipv4: ONE, ipv6: WIDE_ONE },
    { ipv4: { subnet: '10.244.2.0/24', publicIp: '192.161.1.2', vtepMac: '46:00:00:00:00:02' } },
    { ipv4: THREE, ipv6: WIDE_THREE },
  ]),
  bridge: true,
  directRouting: true,
} as const;

for (const how of ['refused', 'lost'] as const) {
  await t.test(`a request that is ${how}: joined and whole, or nothing is left`, skip, async (t) => {
    await using lab = await alone();
    const before = await dump(lab.one);
    const whole = await joinOverlay(lab.one, settings);
    const joined = await shown(lab.one);
    await whole.leave();
    for (let at = 0; ; at++) {
      const { value, error, hit } = await withFaults([{ at, how }], () => joinOverlay(lab.one, settings));
      if (value !== undefined) t.equal(await shown(lab.one), joined, `${at} ${hit[0] ?? 'no'}: joined`);
      else t.match(error, { code: /^(ENOMEM|ENOBUFS|ERR_OVERLAY_KERNEL)$/ }, `${at} ${hit[0]}: refused`);
      await value?.leave();
      const left = compare(before, await dump(lab.one));
      t.strictSame(left, [], `${at} ${hit[0] ?? 'no'}: nothing left`);
      if (hit.length === 0 || left.length > 0) break;
    }
  });
}

await t.test('killed: who joins next finishes it, and leaves nothing', { ...skip, timeout: 200_000 }, async (t) => {
  await using lab = await alone();
  const before = await dump(lab.one);
  const registry = nodeList(two);
  const count = (await requestsOf(async () => (await joinOverlay(lab.one, { registry, bridge: true })).keep())).length;
  const joined = await shownIpv4(lab.one);
  await (await joinOverlay(lab.one, { registry, bridge: true })).leave();
  for (let at = 0; at < count; at++) {
    const { signal } = await runWithFaults('overlay/faults.fixture.js', [lab.one.path!], [{ at, how: 'killed' }]);
    t.equal(signal, 'SIGKILL');
    const overlay = await joinOverlay(lab.one, { registry, bridge: true });
    t.equal(await shownIpv4(lab.one), joined, `${at}: whole`);
    await overlay.leave();
    const left = compare(before, await dump(lab.one));
    t.strictSame(left, [], `${at}: nothing left`);
    if (left.length > 0) break;
  }
});

async function shownIpv4(node: Netns): Promise<string> {
  const lines = ['ip -br address', 'ip route', 'ip neigh show nud permanent', 'bridge fdb show dev flannel.1'];
  const texts: string[] = [];
  for (const line of lines) texts.push(await sh(node, line));
  return texts.join('');
}
