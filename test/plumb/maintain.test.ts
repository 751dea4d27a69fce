// Somebody who listens and mends, while others take a plumbing apart.
import { type Netns, type Plumbing, createVeth, openPlumbing, plumb } from 'podtap';
import t, { type Test } from 'tap';
import { dump } from '../oracle/dump.js';
import { fresh, inside, until } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { directory } from '../transaction/files.js';
import { answers, asBefore, steady } from './around.js';

t.setTimeout(120_000);
const skip = requires('tun', 'clsact', 'u32', 'bridge', 'cls_bpf');

async function podOf(t: Test): Promise<{ node: Netns; pod: Netns; journal: string }> {
  const [node, pod] = [await fresh(t), await fresh(t)];
  for (const netns of [node, pod]) inside(netns, 'sysctl -qw net.ipv6.conf.default.accept_dad=0');
  await createVeth(node, 'vn', {
    addresses: ['10.1.0.1/24'],
    up: true,
    peer: { scope: pod, name: 'eth0', addresses: ['10.1.0.2/24', '10.1.0.3/24'], up: true },
  });
  inside(pod, 'ip route add default via 10.1.0.1');
  await steady(pod);
  return { node, pod, journal: directory(t) };
}

/** Until it listens: somebody's first change is seen only by who does. */
function maintained(t: Test, net: Plumbing, undo: boolean) {
  const stop = new AbortController();
  const told: string[] = [];
  const ended = net.maintain({
    undo,
    signal: stop.signal,
    onEvent: (event) => void told.push('problem' in event ? `${event.type} ${event.problem.code}` : event.type),
  });
  t.teardown(() => stop.abort());
  return { told, ended, stop: () => stop.abort() };
}

const hurts = {
  redirect: ['tc filter del dev eth0 ingress', 'tc qdisc del dev tap0 ingress', 'tc qdisc del dev eth0 ingress', 'ip link set tap0 down'],
  bridge: ['ip link set eth0 nomaster', 'ip link set tap0 down', 'bridge fdb del MAC dev tap0 master', 'tc filter del dev tap0 ingress'],
} as const;

for (const mode of ['redirect', 'bridge'] as const) {
  await t.test(`${mode}: what breaks is mended; the TAP goes, and the pod has its network back`, { skip }, async (t) => {
    const { node, pod, journal } = await podOf(t);
    const before = await dump(pod);
    const net = await plumb(pod, { journal, mode, tap: 'tap0', antiSpoof: true });
    const { told, ended } = maintained(t, net, true);
    await net.tap.send([]);
    t.ok(await until(() => told.includes('attached')), 'it listens');
    for (const command of hurts[mode]) {
      told.length = 0;
      inside(pod, command.replace('MAC', net.guest.mac));
      t.ok(
        await until(async () => told.some((one) => one.startsWith('broken')) && (await net.verify()).ok),
        `${command}: ${told.join(', ')}`,
      );
    }
    t.equal(await answers(node, '10.1.0.2'), false, 'the guest has the addresses');
    inside(pod, 'ip link del tap0');
    t.equal(await ended, 'gone');
    t.equal(await until(() => answers(node, '10.1.0.2')), true);
    await net.tap.close();
    t.strictSame(await net.undo(), { state: 'already-undone', leftBehind: [] });
    await asBefore(before, pod, journal, 'undone');
  });
}

await t.test('a monitor that dies takes its TAP with it', { skip }, async (t) => {
  const { node, pod, journal } = await podOf(t);
  const before = await dump(pod);
  const net = await plumb(pod, { journal, tap: { name: 'tap0', persist: false, attach: 'fd' } });
  const { ended } = maintained(t, net, true);
  const fds = await net.tap.takeFds();
  await net.tap.close();
  t.equal(await answers(node, '10.1.0.2'), false);
  await fds[Symbol.asyncDispose]();
  t.equal(await ended, 'gone');
  t.equal(await until(() => answers(node, '10.1.0.2')), true);
  await asBefore(before, pod, journal, 'undone');
});

await t.test('undo: false takes away only what eats what comes in', { skip }, async (t) => {
  const { node, pod, journal } = await podOf(t);
  const before = await dump(pod);
  const net = await plumb(pod, { journal, tap: 'tap0' });
  const { told, ended } = maintained(t, net, false);
  inside(pod, 'ip link del tap0');
  t.equal(await ended, 'gone');
  t.strictSame(told, ['broken REDIRECT_TARGET_GONE', 'repaired REDIRECT_TARGET_GONE', 'gone']);
  t.equal(await until(() => answers(node, '10.1.0.2')), true);
  t.match((await net.verify()).problems, [{ code: 'TAP_GONE' }]);
  t.strictSame(await net.undo(), { state: 'undone', leftBehind: [] });
  await asBefore(before, pod, journal, 'undone');
});

await t.test('others undo it; an abort; what is no option', { skip }, async (t) => {
  const { pod, journal } = await podOf(t);
  const before = await dump(pod);
  const net = await plumb(pod, { journal, tap: 'tap0' });
  const { ended } = maintained(t, net, true);
  const other = maintained(t, net, true);
  other.stop();
  t.equal(await other.ended, 'aborted');
  await using again = (await openPlumbing(pod, { journal }))!;
  t.match(await again.undo(), { state: 'undone' });
  t.equal(await ended, 'gone');
  t.match(await net.undo(), { state: 'already-undone' });
  await t.rejects(net.maintain({ undo: 1 as never }), { code: 'ERR_INVALID_ARG_TYPE' });
  await asBefore(before, pod, journal, 'undone');
});
