// Pods that cannot be plumbed, and callers that may not: each is told what is wrong, and nothing is changed.
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Netns, PlumbError, type PlumbOptions, createTap, openTap, planPlumbing, plumb, recover, transaction, unplumb } from 'podtap';
import { compare, dump } from '../oracle/dump.js';
import { requestsOf, withFaults } from '../oracle/faults.js';
import { build } from '../oracle/pod.js';
import { fresh, inside } from '../support/inside.js';
import { type Feature, requires } from '../support/requires.js';
import { root } from '../support/root.js';
import { namespaceLock, acquire } from '../../lib/transaction/lock.js';
import { directory } from '../transaction/files.js';
import { richPod, wanted } from './around.js';

t.setTimeout(300_000);
const skip = requires('bridge', 'tun', 'clsact', 'u32');
const veth =
  'ip link add eth0 type veth peer name p0; for one in p0 eth0; do ip link set $one addrgenmode none; done; ip link set p0 up; ip link set eth0 up';
const pod = `${veth}; ip address add 10.1.0.2/24 dev eth0`;

interface Case {
  readonly what: string;
  readonly script: string;
  readonly options?: PlumbOptions;
  readonly code: string;
  readonly message: RegExp;
  readonly transient?: boolean;
  readonly needs?: Feature;
  /** Only when it is tried, and not already when it is planned. */
  readonly late?: true;
}

const cases: readonly Case[] = [
  { what: 'nothing but the loopback', script: 'true', code: 'ERR_PLUMB_NO_LINK', message: /no interface but the loopback.*has the engine set it up\?/ },
  { what: 'no such interface', script: pod, options: { link: 'eth7' }, code: 'ERR_PLUMB_NO_LINK', message: /no interface 'eth7' in this namespace; there are 'lo', .*'eth0'/ },
  { what: 'no such index', script: pod, options: { link: 777 }, code: 'ERR_PLUMB_NO_LINK', message: /no interface with index 777/ },
  { what: 'no address', script: veth, code: 'ERR_PLUMB_NO_ADDRESS', message: /no interface has an address that a guest could take over; there are .*'eth0'/ },
  { what: 'no address on the one that is named', script: pod, options: { link: 'p0' }, code: 'ERR_PLUMB_NO_ADDRESS', message: /'p0' has no address that a guest could take over; give it one, or name another interface/ },
  { what: 'a link-local address only', script: `${veth}; ip address add fe80::7/64 dev eth0 nodad`, code: 'ERR_PLUMB_NO_ADDRESS', message: /no interface has an address/ },
  { what: 'several candidates', script: `${pod}; ip link add eth1 type veth peer name p1; ip address add 10.2.0.2/24 dev eth1`, code: 'ERR_PLUMB_AMBIGUOUS_LINK', message: /several interfaces have addresses: .*('eth0'.*'eth1'|'eth1'.*'eth0'); say which one is meant, as 'link'/ },
  { what: 'down', script: `${pod}; ip link set eth0 down`, code: 'ERR_PLUMB_LINK_DOWN', message: /'eth0' is down; bring it up first/ },
  { what: 'a port already', script: `${pod}; ip link add br7 type bridge; ip link set br7 addrgenmode none; ip link set eth0 master br7`, code: 'ERR_PLUMB_ENSLAVED', message: /'eth0' is a port of 'br7' already/ },
  { what: 'a bridge', script: 'ip link add br7 type bridge; ip link set br7 addrgenmode none; ip link set br7 up; ip address add 10.1.0.2/24 dev br7', code: 'ERR_PLUMB_LINK_KIND', message: /'br7' is a bridge itself/ },
  { what: 'the loopback', script: 'ip address add 10.9.0.1/32 dev lo', options: { link: 'lo' }, code: 'ERR_PLUMB_LINK_KIND', message: /'lo' (is the loopback|carries no Ethernet frames)/ },
  { what: 'a TUN', script: 'ip tuntap add tun7 mode tun; ip link set tun7 up; ip address add 10.1.0.2/24 dev tun7', options: { link: 'tun7' }, code: 'ERR_PLUMB_LINK_KIND', message: /'tun7' carries no Ethernet frames/, needs: 'tun' },
  { what: 'a macvlan', script: `${veth}; ip link add m0 link eth0 type macvlan mode bridge; ip link set m0 up; ip address add 10.1.0.2/24 dev m0`, code: 'ERR_PLUMB_LINK_KIND', message: /'m0' would see frames for its own MAC only/, needs: 'macvlan' },
  { what: 'an ipvlan', script: `${veth}; ip link add i0 link eth0 type ipvlan; ip link set i0 up; ip address add 10.1.0.2/24 dev i0`, code: 'ERR_PLUMB_LINK_KIND', message: /'i0' shares its MAC/, needs: 'ipvlan' },
  { what: 'a macvlan on it', script: `${pod}; ip link add m0 link eth0 type macvlan mode bridge`, options: { link: 'eth0' }, code: 'ERR_PLUMB_ENSLAVED', message: /something else receives the frames of the interface already, such as a macvlan on it: EBUSY.*ip link set .*master br0/s, transient: true, needs: 'macvlan', late: true },
  { what: 'the TAP\'s name taken', script: `${pod}; ip link add tap0 type veth peer name tap1`, options: { link: 'eth0', tap: 'tap0' }, code: 'ERR_PLUMB_CONFLICT', message: /there is an interface 'tap0' already, and it is none of podtap's; choose another name, or delete it/ },
  { what: 'the TAP\'s name taken by an idle TAP', script: `${pod}; ip tuntap add tap0 mode tap`, options: { link: 'eth0', tap: 'tap0' }, code: 'ERR_PLUMB_CONFLICT', message: /there is an interface 'tap0' already/, needs: 'tun' },
  { what: 'the TAP\'s index taken', script: pod, options: { link: 'eth0', tap: { ifindex: 1 } }, code: 'ERR_PLUMB_CONFLICT', message: /the index 1 is that of 'lo' already; choose another one/ },
]; // prettier-ignore

for (const { what, script, options = {}, code, message, transient = false, needs, late } of cases) {
  await t.test(what, { skip: skip || (needs !== undefined && requires(needs)) }, async (t) => {
    const netns = await fresh(t);
    inside(netns, 'sysctl -qw net.ipv6.conf.default.accept_dad=0'); // else addresses change for a second
    const journal = directory(t);
    inside(netns, script);
    const before = await dump(netns);
    if (late === undefined) await t.rejects(planPlumbing(netns, { mode: 'bridge', ...options }), { name: 'PlumbError', code, message });
    const tries = [() => plumb(netns, { mode: 'bridge', ...options, journal }), () => plumb(netns, { mode: 'bridge', ...options, journal: false }), () => transaction(netns, (tx) => plumb(tx, { mode: 'bridge', ...options }), { journal })]; // prettier-ignore
    for (const one of tries) {
      const error = await one().then(() => undefined, (caught: unknown) => caught); // prettier-ignore
      t.ok(error instanceof PlumbError, String(error));
      t.match(error, { code, message, transient });
      t.strictSame((error as PlumbError).leftBehind, []);
      if (late === true) t.match((error as PlumbError).step, /^ip /);
      t.strictSame(compare(before, await dump(netns)), []);
      t.same(readdirSync(journal), []);
    }
  });
}

await t.test('a TAP that somebody holds', { skip }, async (t) => {
  const netns = await fresh(t);
  const journal = directory(t);
  inside(netns, pod);
  await createTap(netns, 'tap0');
  await using tap = await openTap(netns, 'tap0');
  await using _ = await tap.takeFds();
  const before = await dump(netns);
  const error = await plumb(netns, { ...wanted, journal }).catch((caught: unknown) => caught);
  t.match(error, { code: 'ERR_PLUMB_TAP_BUSY', transient: true, holders: [{ pid: process.pid, queues: 1 }], message: new RegExp(`the TAP 'tap0' is there already, and held by .* \\(${process.pid}\\)`) }); // prettier-ignore
  t.strictSame(compare(before, await dump(netns)), []);
});

await t.test('what it says of a step that failed', { skip }, async (t) => {
  await using built = await build(richPod);
  const { netns } = built;
  const journal = directory(t);
  const requests = await requestsOf(async () => (await plumb(netns, { ...wanted, journal })).undo());
  const at = requests.indexOf('RTM_DELADDR');
  const errnos = { EPERM: 1, ENOMEM: 12, EEXIST: 17, EBUSY: 16, ENOBUFS: 105 } as const; // prettier-ignore
  const codes: Readonly<Record<keyof typeof errnos, readonly [code: string, transient: boolean]>> = {
    EPERM: ['ERR_PERMISSION', false],
    ENOMEM: ['ERR_PLUMB_FAILED', true],
    EEXIST: ['ERR_PLUMB_CONFLICT', false],
    EBUSY: ['ERR_PLUMB_FAILED', true],
    ENOBUFS: ['ERR_PLUMB_FAILED', true],
  };
  for (const [name, [code, transient]] of Object.entries(codes)) {
    const { error } = await withFaults([{ at, how: 'refused', errno: errnos[name as keyof typeof errnos] }], () => plumb(netns, { ...wanted, journal })); // prettier-ignore
    t.match(error, { name: 'PlumbError', code, transient, step: /^ip address delete \S+ dev (eth0|if100)$/, cause: { code: name } }, name);
    t.ok((error as PlumbError).undone.some((line) => line.startsWith('addrGenMode of eth0')), (error as PlumbError).undone.join('; ')); // prettier-ignore
    t.ok(
      (error as PlumbError).undone.some((line) => line.startsWith('interface ')),
      name,
    );
    t.match((error as PlumbError).message, new RegExp(name));
  }
});

await t.test('bad options: a TypeError, and no system call', async (t) => {
  await using netns = await Netns.create();
  const bad: readonly (readonly [object, RegExp])[] = [
    [{ links: 'eth0' }, /links/],
    [{ link: '' }, /link/],
    [{ link: 0 }, /link/],
    [{ tap: 7 }, /tap/],
    [{ tap: { queues: 0 } }, /queues/],
    [{ tap: { queue: 1 } }, /queue/],
    [{ tap: { mac: '01:00:00:00:00:01' } }, /mac/],
    [{ mode: 'router' }, /mode/],
    [{ vmm: 'xen' }, /vmm/],
    [{ guestMac: 'mine' }, /guestMac/],
    [{ guestMac: 'ff:ff:ff:ff:ff:ff' }, /guestMac/],
    [{ label: '' }, /label/],
    [{ label: 'a\nb' }, /label/],
    [{ label: 'ä'.repeat(101) }, /label.*200 bytes/],
    [{ ifPlumbed: 'maybe' }, /ifPlumbed/],
    [{ journal: 7 }, /journal/],
    [{ signal: {} }, /signal/],
    [{ hostname: '-' }, /hostname/],
  ];
  for (const [options, message] of bad) {
    const requests = await requestsOf(() => t.rejects(plumb(netns, options as PlumbOptions), { name: 'TypeError', code: /^ERR_INVALID_ARG_/, message }), () => true); // prettier-ignore
    t.strictSame(requests, [], JSON.stringify(options));
    await t.rejects(planPlumbing(netns, options as PlumbOptions), { name: 'TypeError' });
  }
  await t.rejects(plumb({} as Netns), { name: 'TypeError' });
  await t.rejects(unplumb({} as { label: string }), { name: 'TypeError' });
  await t.rejects(recover({ finished: 'never' as 'keep' }), { name: 'TypeError' });
});

await t.test('a TAP longer than the interface', { skip }, async (t) => {
  const netns = await fresh(t);
  inside(netns, pod);
  await t.rejects(plumb(netns, { tap: { mtu: 1501 }, journal: directory(t) }), { name: 'TypeError', message: /'tap.mtu' must be at most that of 'eth0', 1500/ }); // prettier-ignore
});

await t.test('aborted: before, and at each change', { skip }, async (t) => {
  await using built = await build(richPod);
  const { netns } = built;
  const journal = directory(t);
  let before = await dump(netns);
  await t.rejects(plumb(netns, { ...wanted, journal, signal: AbortSignal.abort() }), { name: 'AbortError' });
  const reason = new Error('no more');
  for (let at = 0; ; at++) {
    const controller = new AbortController();
    let seen = 0;
    const outcome = await withFaults([], () => plumb(netns, { ...wanted, journal, signal: controller.signal }), (request) => {
      if (seen++ === at) controller.abort(reason);
      return request !== '';
    }); // prettier-ignore
    if (outcome.value === undefined) t.equal(outcome.error, reason, `${at}`);
    else await outcome.value.undo();
    const now = await dump(netns);
    t.strictSame(compare(before, now), [], `${at}`);
    before = now;
    if (seen <= at) break;
  }
  t.same(readdirSync(journal), []);
});

await t.test('somebody at work there for longer than one has patience', { skip }, async (t) => {
  const netns = await fresh(t);
  const journal = directory(t);
  inside(netns, pod);
  const before = await dump(netns);
  const lock = await acquire(journal, namespaceLock(netns.id));
  const error = await plumb(netns, { journal }).catch((caught: unknown) => caught);
  t.match(error, { name: 'PlumbError', code: 'ERR_PLUMB_IN_PROGRESS', transient: true, message: /somebody else has been at work in this namespace for \d+ ms/ }); // prettier-ignore
  await lock.release();
  t.strictSame(compare(before, await dump(netns)), []);
  await (await plumb(netns, { journal })).undo();
});

await t.test('the namespace vanishes: what was done is gone with it', { skip }, async (t) => {
  const journal = directory(t);
  const netns = await Netns.create();
  inside(netns, pod);
  const net = await plumb(netns, { journal, label: 'gone' });
  net.keep();
  await netns.close();
  await t.rejects(net.verify(), { code: 'ERR_NETNS_GONE' });
  t.strictSame(await net.undo(), { state: 'namespace-gone', leftBehind: [] });
  t.strictSame(await net.undo(), { state: 'already-undone', leftBehind: [] });
  t.strictSame(await unplumb({ label: 'gone' }, { journal }), { state: 'already-undone', leftBehind: [] });
  t.same(readdirSync(journal), []);
  await t.rejects(plumb(netns, { journal }), { code: 'ERR_NETNS_CLOSED' });
});

/** plumb, and planPlumbing, in a namespace of the process's own, after `before` in a mount namespace; what each met. */
async function hampered(before: string, env: NodeJS.ProcessEnv = {}): Promise<{ code: string; message: string; name: string }> {
  const script = `
    import { Netns, plumb } from 'podtap';
    const netns = await Netns.current();
    await plumb(netns, { link: 'eth0', journal: process.env.JOURNAL }).then(
      () => console.log('{}'),
      ({ name, code, message }) => console.log(JSON.stringify({ name, code, message })),
    );
    await netns.close();`;
  const { stdout, stderr } = spawnSync('unshare', ['--mount', '--net', 'sh', '-ec', `${pod}; ${before}`, 'sh', process.execPath, '--conditions=podtap-source', '--input-type=module', '--eval', script], { cwd: root, encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '', ...env } }); // prettier-ignore
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as { code: string; message: string; name: string };
}

await t.test('no /dev/net/tun, or one that is closed', { skip }, async (t) => {
  const JOURNAL = directory(t);
  const missing = await hampered('mount -t tmpfs tmpfs /dev/net; exec "$@"', { JOURNAL });
  t.match(missing, { name: 'PlumbError', code: 'ERR_TUN_UNAVAILABLE', message: /\/dev\/net\/tun/ });
  const closed = await hampered('mount --bind /dev/net /dev/net; mount -o remount,bind,nodev /dev/net; exec "$@"', { JOURNAL });
  t.match(closed, { name: 'PlumbError', code: 'ERR_TUN_UNAVAILABLE', message: /\/dev\/net\/tun/ });
  t.same(readdirSync(JOURNAL), []);
});

await t.test('without privileges', { skip }, async (t) => {
  const base = mkdtempSync('/run/user-');
  t.teardown(() => rmSync(base, { recursive: true, force: true }));
  chmodSync(base, 0o777);
  // Without capabilities, and in a directory that it may write.
  const error = await hampered('exec setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all --no-new-privs "$@"', { JOURNAL: join(base, 'journal') }); // prettier-ignore
  t.match(error, { name: 'PlumbError', code: 'ERR_PERMISSION', message: /CAP_NET_ADMIN/ });
});
