// Programs as users write them, run against real namespaces; where they start a monitor, against a stand-in.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Netns, type Plumbing, getLink, inspect, listAddresses, openTap, plumb, setLink } from 'podtap';
import { ping } from 'podtap/lab';
import t, { type Test } from 'tap';
import { native } from '../../lib/native.js';
import { fixture, until } from '../support/inside.js';
import { createNode } from '../support/pod.js';
import { root } from '../support/root.js';
import { boot } from './firecracker.js';
import { start } from './qemu.js';
import { supervise } from './supervise.js';
import { takeOver } from './takeover.js';

t.setTimeout(120_000);
const monitor = [process.execPath, '--conditions=podtap-source', join(root, 'dist/test/programs/monitor.fixture.js')] as const;
// tap's loaders would follow it into what the programs start.
for (const name of Object.keys(process.env)) if (/^(NODE_OPTIONS|_?TAP)/.test(name)) delete process.env[name];

/** A process that lives in the pod, as a sandbox's first one does. */
async function pause(t: Test, pod: Netns): Promise<number> {
  const child = await pod.spawn('sleep', ['600'], { stdio: 'ignore' });
  const ended = new Promise((resolve) => child.once('close', resolve));
  t.teardown(async () => {
    child.kill();
    await ended;
  });
  return child.pid!;
}

async function isAsBefore(t: Test, pod: Netns): Promise<void> {
  t.same((await inspect(pod)).plumbings, []);
  t.match(await listAddresses(pod, { link: 'eth0', family: 'ipv4' }), [{ address: '10.1.0.2/16' }]);
}

async function endHolders(net: Plumbing): Promise<void> {
  for (const { pid } of await net.tap.holders()) process.kill(pid, 'SIGKILL');
  await net.tap.waitDetached();
}

await t.test('a runtime for Firecracker', async (t) => {
  const node = await createNode(t, { ipv6: false });
  const pod = await node.pod(2);
  const socket = join(t.testdir(), 'api');
  const net = await boot({ id: '7', netns: pod.path!, socket, monitor });
  t.match(net, { label: 'vm/7', kept: true, tap: { name: 'tap0', vnetHdr: true } });
  t.match(await net.tap.holders(), [{ queues: 1 }]);
  t.match(await ping(node.netns, '10.1.0.2', { count: 3, interval: 10 }), { received: 3 }, "the machine answers at the pod's address");
  t.match(await net.verify({ traffic: true }), { ok: true, toGuest: 'skipped', fromGuest: 'skipped' });
  await endHolders(net);
  t.match(await net.undo(), { state: 'undone', leftBehind: [] });
  await isAsBefore(t, pod);
  t.match(await ping(node.netns, '10.1.0.2', { count: 3, interval: 10 }), { received: 3 });
});

await t.test('a machine that does not boot', async (t) => {
  const pod = await (await createNode(t, { ipv6: false })).pod(2);
  const socket = join(t.testdir(), 'api');
  await t.rejects(boot({ id: '7', netns: pod.path!, socket, monitor, kernelArguments: 'panic' }), { message: 'PUT /actions: 400' });
  await isAsBefore(t, pod);
});

await t.test('a runtime for QEMU', async (t) => {
  const node = await createNode(t);
  const pod = await node.pod(2);
  const before = native().openDescriptors();
  const { vm, net } = await start(await pause(t, pod), monitor);
  t.equal(native().openDescriptors(), before, 'the descriptors are the child\'s alone'); // prettier-ignore
  t.same(
    (await net.tap.holders()).map(({ pid, queues }) => [pid, queues]),
    [[vm.pid, 2]],
  );
  // Its guest is not up at once.
  t.ok(await until(async () => (await ping(node.netns, '10.1.0.2', { timeout: 200 })).received > 0, 20_000));
  const ended = new Promise((resolve) => vm.once('close', resolve));
  vm.kill('SIGKILL');
  await ended;
  await net.tap.waitDetached();
  t.match(await net.undo(), { state: 'undone', leftBehind: [] });
  await isAsBefore(t, pod);
});

await t.test('an OCI hook', async (t) => {
  const pod = await (await createNode(t)).pod(2);
  const pid = await pause(t, pod);
  const bundle = t.testdir({ 'resolv.conf': 'nameserver 10.96.0.10\nsearch default.svc.cluster.local\n' });
  const hook = async (state: object) => {
    const { code, stdout, stderr } = await fixture('programs/hook.fixture.js', [], {
      input: JSON.stringify({ id: 'c1', bundle, ...state }),
    });
    t.same({ code, stderr }, { code: 0, stderr: '' });
    return stdout.trim();
  };
  t.equal(await hook({ pid, status: 'created' }), 'plumbed');
  const told = readFileSync(join(bundle, 'guest.json'), 'utf8');
  const { argv, guest } = JSON.parse(told) as { argv: string[]; guest: Plumbing['guest'] };
  t.same(argv, ['--net:service=tap0', `--net-mac:service=${guest.mac}`]);
  t.match(guest, { addresses: [{ address: '10.1.0.2/16' }, { address: 'fd00:1::2/64' }], gateway: { ipv4: '10.1.0.1', ipv6: 'fd00:1::1' }, dns: { servers: ['10.96.0.10'], search: ['default.svc.cluster.local'] } }); // prettier-ignore
  t.equal(await hook({ pid, status: 'created' }), 'plumbed already');
  t.equal(readFileSync(join(bundle, 'guest.json'), 'utf8'), told);
  t.equal(await hook({ status: 'stopped' }), 'undone', 'without a pid');
  await isAsBefore(t, pod);
  t.equal(await hook({ status: 'stopped' }), 'already-undone');
});

await t.test('a supervisor', async (t) => {
  const pod = await (await createNode(t)).pod(2);
  await using net = await plumb(pod, { mode: 'bridge' });
  const stop = new AbortController();
  const lines: string[] = [];
  let restarts = 0;
  const tap = net.tap;
  const supervising = supervise(
    net,
    { log: (line) => void lines.push(line), restart: async () => void (await net.tap.send([]), restarts++) },
    stop.signal,
  );
  const came = async (line: string): Promise<void> => void t.ok(await until(() => lines.splice(0).includes(line)), line);
  await tap.send([]);
  await came('attached');
  await tap.close();
  t.ok(await until(() => restarts === 1), 'restarted');
  await came('attached');
  await setLink(pod, 'eth0', { master: null });
  t.ok(await until(async () => (await getLink(pod, 'eth0'))?.master !== undefined), 'repaired');
  t.ok(await until(() => lines.includes('repaired')));
  t.ok(lines.splice(0).includes('NOT_ENSLAVED'));
  await setLink(pod, 'eth0', { mtu: 1400 });
  await came('mtu changed: 1400');
  t.ok(await until(async () => (await net.verify()).ok), 'the TAP got that MTU, too');
  stop.abort();
  await supervising;
});

await t.test('a person who wonders', async (t) => {
  const pod = await (await createNode(t)).pod(2);
  const pid = await pause(t, pod);
  const debug = async (): Promise<string> => {
    const { code, stdout, stderr } = await fixture('programs/debug.fixture.js', [String(pid)]);
    t.same({ code, stderr }, { code: 0, stderr: '' });
    return stdout;
  };
  t.equal(await debug(), 'nothing is plumbed here\n');
  await using net = await plumb(pod, { mode: 'bridge', label: 'vm/7' });
  t.equal(
    await debug(),
    'eth0 <-> tap0 by bridge, label vm/7, held by nobody\n{"ok":true,"toGuest":"crossed","fromGuest":"crossed","problems":[]}\n',
  );
  await net.tap.send([]);
  t.match(await debug(), /held by .* \(\d+\)\n\{"ok":true,"toGuest":"skipped","fromGuest":"skipped","problems":\[\]\}\n$/);
  await setLink(pod, 'tap0', { up: false });
  t.match(await debug(), /\nLINK_DOWN: tap0 is down; ip link set dev tap0 up\n\{"ok":false,/);
});

await t.test('a runtime that is restarted', async (t) => {
  const node = await createNode(t);
  const pods = await Promise.all([2, 3, 4].map((number) => node.pod(number)));
  const { signal, stderr } = await fixture('programs/owner.fixture.js', pods.map(({ path }) => path!)); // prettier-ignore
  t.same({ signal, stderr }, { signal: 'SIGKILL', stderr: '' });
  t.not(await getLink(pods[2]!, 'tap0'), undefined, 'it was killed in the middle');

  // A monitor of vm/1 has outlived it.
  await using held = await openTap(pods[0]!, 'tap0');
  await held.send([]);
  const { mine, report } = await takeOver(new Set(['vm/1', 'vm/2']));
  t.match(report, { undone: [{ label: 'vm/3', leftBehind: [] }], kept: [{ label: 'vm/1' }, { label: 'vm/2' }], busy: [], dropped: [], failed: [], unreadable: [] }); // prettier-ignore
  t.same([...mine.keys()], ['vm/1'], 'nobody held vm/2');
  t.same((await Promise.all(pods.map(inspect))).map(({ plumbings }) => plumbings.length), [1, 0, 0]); // prettier-ignore
  t.match(await mine.get('vm/1')!.verify(), { ok: true });
  t.match(await mine.get('vm/1')!.undo(), { state: 'undone', leftBehind: [] });
  for (const [index, pod] of pods.entries())
    t.match(await listAddresses(pod, { link: 'eth0', family: 'ipv4' }), [{ address: `10.1.0.${index + 2}/16` }]);
});
