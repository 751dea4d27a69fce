// plumb by ebpf: with real frames, a TAP that goes away, and other processes. bpf(2) wants real root.
import { type Netns, createVeth, inspect, planPlumbing, plumb, recover, unplumb } from 'podtap';
import { ping, runGuest } from 'podtap/lab';
import t, { type Test } from 'tap';
import { attachTcx, detachTcx, loadProgram, queryTcx } from '../../lib/kernel/bpf.js';
import { dump } from '../oracle/dump.js';
import { fresh, inside, until } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { directory } from '../transaction/files.js';
import { asBefore, elsewhere } from './around.js';

t.setTimeout(300_000);
const skip = requires('tun', 'root', 'bpf_hook');
const skipTcx = requires('tun', 'root', 'tcx');
const byTcx = requires('tcx') === false;

const POD = { mac: '02:00:00:00:00:22', addresses: ['10.1.0.2/24', 'fd00:1::2/64'] };

async function podOf(t: Test): Promise<{ node: Netns; pod: Netns; journal: string; index: number }> {
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
    index: Number(inside(pod, 'ip -o link show dev eth0').split(':')[0]),
  };
}

async function answers(from: Netns, address: string): Promise<boolean> {
  return (await ping(from, address, { count: 1, timeout: 1000 })).received === 1;
}

/** Programs of podtap's on eth0. */
async function attached(pod: Netns): Promise<number> {
  if (!byTcx) return inside(pod, 'tc filter show dev eth0 parent ffff:').match(/handle .*podtap_to_guest/g)?.length ?? 0;
  const index = Number(inside(pod, 'ip -o link show dev eth0').split(':')[0]);
  return (await queryTcx(pod, { ifindex: index, direction: 'ingress' })).programs.length;
}

async function takeOff(pod: Netns): Promise<void> {
  if (!byTcx) return void inside(pod, 'tc filter del dev eth0 parent ffff:');
  const index = Number(inside(pod, 'ip -o link show dev eth0').split(':')[0]);
  const hook = { ifindex: index, direction: 'ingress' } as const;
  for (const { id } of (await queryTcx(pod, hook)).programs) t.equal(await detachTcx(pod, hook, id), true);
}

await t.test('frames cross both ways; undone by another process', { skip }, async (t) => {
  const { node, pod, journal } = await podOf(t);
  const before = await dump(pod);
  const net = await plumb(pod, { journal, mode: 'ebpf', label: 'vm/7' });
  t.equal(net.mode, 'ebpf');
  t.equal(await attached(pod), 1);
  t.same(await net.verify({ traffic: true }), { ok: true, toGuest: 'crossed', fromGuest: 'crossed', problems: [] });
  t.match(await inspect(pod), { plumbings: [{ label: 'vm/7', mode: 'ebpf', link: 'eth0', tap: 'tap0' }], problems: [] });
  {
    await using guest = await runGuest(net.tap, net.guest);
    for (const address of ['10.1.0.2', 'fd00:1::2']) t.equal(await until(() => answers(node, address)), true, address);
    for (const address of ['10.1.0.1', 'fd00:1::1']) t.equal(await until(() => answers(guest.netns, address)), true, address);
  }
  await net.tap.close(); // what the guest held
  net.keep();
  const { stdout } = await elsewhere('unplumb', pod, journal, { label: 'vm/7' });
  t.same(JSON.parse(stdout), { state: 'undone', leftBehind: [] });
  t.equal(await attached(pod), 0);
  t.equal(await until(() => answers(node, '10.1.0.2')), true);
  await asBefore(before, pod, journal, 'undone');
});

for (const how of ['gone', 'held by nobody'] as const)
  await t.test(`a TAP that is ${how}: what comes in goes to the pod, with no process to help`, { skip }, async (t) => {
    const { node, pod, journal } = await podOf(t);
    const before = await dump(pod);
    const { stdout } = await elsewhere('plumb', pod, journal, { mode: 'ebpf', tap: 'tap0', label: 'vm/7' });
    t.match(JSON.parse(stdout), { created: true });
    t.equal(await attached(pod), 1, 'outlives its process');
    if (how === 'gone') inside(pod, 'ip link del tap0');
    t.equal(await until(() => answers(node, '10.1.0.2')), true);
    t.strictSame((await unplumb({ label: 'vm/7' }, { journal })).leftBehind, []);
    t.equal(await attached(pod), 0);
    await asBefore(before, pod, journal, 'undone');
  });

await t.test('a program of somebody else stays where it is', { skip: skipTcx }, async (t) => {
  const { node, pod, journal, index } = await podOf(t);
  // r0 = -1 (next); exit
  const theirs = await loadProgram('theirs', {
    instructions: Uint8Array.of(0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x95, 0, 0, 0, 0, 0, 0, 0),
  });
  t.teardown(() => theirs.close());
  await attachTcx(pod, { ifindex: index, direction: 'ingress' }, theirs);
  const { id } = await theirs.info();
  const ids = async (): Promise<number[]> => (await queryTcx(pod, { ifindex: index, direction: 'ingress' })).programs.map((one) => one.id);
  for (const filters of ['first', 'last'] as const) {
    const net = await plumb(pod, { journal, mode: 'ebpf', filters });
    t.equal((await ids()).indexOf(id), filters === 'first' ? 1 : 0);
    t.equal((await net.verify({ traffic: true })).ok, true);
    t.strictSame(await net.undo(), { state: 'undone', leftBehind: [] });
    t.strictSame(await ids(), [id]);
  }
  t.equal(await until(() => answers(node, '10.1.0.2')), true);
});

await t.test('programs that somebody has taken off are put back', { skip }, async (t) => {
  const { pod, journal } = await podOf(t);
  const before = await dump(pod);
  const net = await plumb(pod, { journal, mode: 'ebpf' });
  inside(pod, `${byTcx ? 'tc qdisc add dev tap0 clsact; ' : ''}ip link set tap0 down`);
  await takeOff(pod);
  t.strictSame((await net.verify()).problems.map(({ code }) => code), ['PROGRAM_MISSING', 'LINK_DOWN']); // prettier-ignore
  t.strictSame(await net.repair(), []);
  t.equal((await net.verify({ traffic: true })).ok, true);
  t.strictSame(await net.undo(), { state: 'undone', leftBehind: [] });
  await asBefore(before, pod, journal, 'undone');
});

await t.test('killed in between: recovered', { skip }, async (t) => {
  const { node, pod, journal } = await podOf(t);
  const before = await dump(pod);
  for (let at = 0; at < 40; at++) {
    const { signal } = await elsewhere(
      'plumb',
      pod,
      journal,
      { mode: 'ebpf', tap: 'tap0', label: 'vm/7' },
      { ORACLE_FAULTS: JSON.stringify([{ at, how: 'killed' }]) },
    );
    const { undone } = await recover({ journal, finished: 'undo' });
    t.ok(undone.length <= 1);
    t.equal(await attached(pod), 0, `${at}`);
    await asBefore(before, pod, journal, `killed at ${at}`);
    if (signal === null) break;
  }
  t.equal(await until(() => answers(node, '10.1.0.2')), true);
});

await t.test('the plan says what has no command', { skip }, async (t) => {
  const { pod } = await podOf(t);
  const how = byTcx ? 'tcx' : 'cls_bpf';
  const line = `# the eBPF programs podtap_to_link on tap0 and podtap_to_guest on eth0, ingress, ${how}`;
  t.ok(
    String(await planPlumbing(pod, { mode: 'ebpf' }))
      .split('\n')
      .includes(line),
  );
});

await t.test('auto picks it, and says why; again it is the same', { skip: skipTcx }, async (t) => {
  const { pod, journal } = await podOf(t);
  await using net = await plumb(pod, { journal, mode: 'auto' });
  t.match(net.picked, { mode: 'ebpf', why: /programs can be loaded/ });
  for (const mode of ['auto', 'ebpf'] as const) {
    await using again = await plumb(pod, { journal, mode });
    t.equal(again.created, false);
  }
});

await t.test('programs and filters of others are told of', { skip: skipTcx }, async (t) => {
  const { pod, journal, index } = await podOf(t);
  const theirs = await loadProgram('theirs', {
    instructions: Uint8Array.of(0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x95, 0, 0, 0, 0, 0, 0, 0),
  });
  t.teardown(() => theirs.close());
  await attachTcx(pod, { ifindex: index, direction: 'ingress' }, theirs);
  for (const [options, code] of [
    [{ mode: 'redirect' }, 'TCX_BEFORE'],
    [{ mode: 'ebpf' }, 'TCX_BEFORE'],
    [{ mode: 'ebpf', filters: 'first' }, 'TCX_BEHIND'],
    [{ mode: 'bridge' }, 'TCX_BEFORE'],
  ] as const) {
    const net = await plumb(pod, { journal, ...options });
    t.match(await net.verify(), { ok: true, warnings: [{ code, message: /theirs/ }] }, JSON.stringify(options));
    t.match((await inspect(pod)).warnings, [{ code }]);
    await net.undo();
  }
});
