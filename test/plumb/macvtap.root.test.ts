// plumb by macvtap: with real frames. Its character device can be opened by real root only.
import { type Netns, createVeth, inspect, planPlumbing, plumb } from 'podtap';
import { ping, runGuest } from 'podtap/lab';
import t, { type Test } from 'tap';
import { dump } from '../oracle/dump.js';
import { withFaults } from '../oracle/faults.js';
import { build } from '../oracle/pod.js';
import { fresh, inside, until } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { directory } from '../transaction/files.js';
import { asBefore, elsewhere, richPod } from './around.js';

t.setTimeout(300_000);
const skip = requires('tun', 'root', 'macvtap', 'u32');

const POD = { mac: '02:00:00:00:00:22', addresses: ['10.1.0.2/24', 'fd00:1::2/64'] };

async function podOf(t: Test): Promise<{ node: Netns; pod: Netns; journal: string }> {
  const [node, pod] = [await fresh(t), await fresh(t)];
  for (const netns of [node, pod]) inside(netns, 'sysctl -qw net.ipv6.conf.default.accept_dad=0');
  await createVeth(node, 'vn', {
    mac: '02:00:00:00:00:11',
    addresses: ['10.1.0.1/24', 'fd00:1::1/64'],
    up: true,
    peer: { scope: pod, name: 'eth0', mac: POD.mac, addresses: POD.addresses, up: true },
  });
  inside(pod, 'ip route add default via 10.1.0.1');
  return {
    node,
    pod,
    journal: directory(t),
  };
}

async function answers(from: Netns, address: string): Promise<boolean> {
  return (await ping(from, address, { count: 1, timeout: 1000 })).received === 1;
}

for (const macvtap of ['passthru', 'bridge'] as const) {
  for (const guestMac of ['clone', '02:00:00:00:00:77'] as const)
    await t.test(`${macvtap}, ${guestMac}: frames cross both ways, and the pod answers for nothing`, { skip }, async (t) => {
      const { node, pod, journal } = await podOf(t);
      const before = await dump(pod);
      const net = await plumb(pod, { journal, mode: 'macvtap', macvtap, guestMac, label: 'vm/7' });
      t.equal(net.tap.name, 'macvtap0');
      t.equal(net.guest.mac, guestMac === 'clone' ? POD.mac : guestMac);
      t.same(await net.verify({ traffic: true }), { ok: true, toGuest: 'crossed', fromGuest: 'crossed', problems: [] });
      t.match(await inspect(pod), { plumbings: [{ label: 'vm/7', mode: 'macvtap', link: 'eth0', tap: 'macvtap0' }], problems: [] });
      inside(node, 'ip neighbour flush dev vn');
      t.equal(await answers(node, '10.1.0.2'), false, 'nobody but the guest');
      t.equal(await answers(node, 'fd00:1::2'), false);
      inside(node, 'ip neighbour flush dev vn');
      {
        await using guest = await runGuest(net.tap, net.guest);
        for (const address of ['10.1.0.2', 'fd00:1::2']) t.equal(await until(() => answers(node, address)), true, address);
        for (const address of ['10.1.0.1', 'fd00:1::1']) t.equal(await until(() => answers(guest.netns, address)), true, address);
        t.equal((await net.tap.holders()).length, 1);
        t.equal((await net.verify({ traffic: true })).toGuest, 'skipped');
      }
      await net.tap.close();
      net.keep();
      const { stdout } = await elsewhere('unplumb', pod, journal, { label: 'vm/7' });
      t.same(JSON.parse(stdout), { state: 'undone', leftBehind: [] });
      t.equal(await until(() => answers(node, '10.1.0.2')), true);
      await asBefore(before, pod, journal, 'undone');
    });
}

await t.test('the rich pod, each change refused, and lost', { skip }, async (t) => {
  await using built = await build(richPod);
  const { netns } = built;
  const journal = directory(t);
  let before = await dump(netns);
  for (const how of ['refused', 'lost'] as const)
    for (let at = 0; ; at++) {
      const { value, hit } = await withFaults([{ at, how }], () => plumb(netns, { link: 'eth0', mode: 'macvtap', journal }));
      await value?.undo();
      before = await asBefore(before, netns, journal, `${at} ${how}: ${hit[0]}`);
      if (hit.length === 0) break;
    }
});

await t.test('a monitor that opens the TAP by its name cannot have it', { skip }, async (t) => {
  const { pod } = await podOf(t);
  for (const options of [{ tap: { attach: 'name' } }, { vmm: 'firecracker' }, { tap: { owner: 7 } }] as const)
    await t.rejects(planPlumbing(pod, { mode: 'macvtap', ...options }), {
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_VALUE',
      message: /macvtap/,
    });
});
