// The programs that join a pod's interface and a TAP, with frames on real devices. bpf(2) wants real root.
import {
  type Netns,
  type Tap,
  addFilter,
  addQdisc,
  createTap,
  createVeth,
  deleteFilter,
  deleteLink,
  getLink,
  listFilters,
  openPacketSocket,
  setLink,
} from 'podtap';
import { ping } from 'podtap/lab';
import t, { type Test } from 'tap';
import { attachTcx, detachTcx, queryTcx } from '../../lib/kernel/bpf.js';
import { type Redirect, type RedirectConfig, loadRedirect, openRedirect } from '../../lib/kernel/redirect.js';
import { fixture, fresh, inside, until } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { frame, numberOf } from './frames.js';
import { GUEST, NODE, cases, ip4, source } from './spoofs.js';

const tcx = requires('tun', 'root', 'tcx');
const cls = requires('tun', 'root', 'clsact', 'cls_bpf');

/** The pod's eth0 answers for 10.1.0.2 as long as frames come up to it. */
async function pod(t: Test): Promise<{ node: Netns; pod: Netns; tap: Tap; link: number }> {
  const [node, pod] = [await fresh(t), await fresh(t)];
  for (const netns of [node, pod]) inside(netns, 'sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1');
  await createVeth(node, 'vn', {
    mac: NODE.mac,
    addresses: [`${NODE.address}/24`],
    up: true,
    peer: { scope: pod, name: 'eth0', mac: GUEST.mac, addresses: [`${GUEST.address}/24`], up: true },
  });
  const tap = await createTap(pod, 'tap0');
  t.teardown(() => tap.close());
  const { ifindex } = JSON.parse(inside(pod, 'ip -j link show dev eth0').replace(/^\[|\]\s*$/g, '')) as { ifindex: number };
  return { node, pod, tap, link: ifindex };
}

async function loaded(t: Test, config: RedirectConfig): Promise<Redirect> {
  const redirect = await loadRedirect(config);
  t.teardown(() => redirect.close());
  return redirect;
}

async function answers(node: Netns): Promise<boolean> {
  const { received } = await ping(node, GUEST.address, { count: 1, timeout: 200 });
  return received === 1;
}

/** Both ways at once, each frame numbered: those the guest got of what the wire sent, and the other way round. */
async function exchange(node: Netns, netns: Netns, tap: Tap, numbers: readonly number[]): Promise<{ guest: number[]; wire: number[] }> {
  await using socket = await openPacketSocket(node, 'vn', { protocol: 0x88b5, outgoing: false });
  const stop = new AbortController();
  const collect = async (frames: AsyncIterable<readonly Uint8Array[]>): Promise<number[]> => {
    const found: number[] = [];
    for await (const batch of frames) {
      found.push(...batch.map(numberOf).filter((number) => number !== -1));
      if (found.length >= numbers.length) break;
    }
    return found;
  };
  const [guest, wire] = [collect(tap.frames({ signal: stop.signal })), collect(socket.frames({ signal: stop.signal }))];
  // Carrier is not enough: the TAP's queue takes frames from when the kernel's linkwatch has seen it.
  await until(async () => (await getLink(netns, tap.ifindex))?.operstate === 'UP');
  await socket.send(numbers.map((number) => frame(number, 100 + number, { to: GUEST.mac })));
  await tap.send(numbers.map((number) => frame(number, 200 + number, { to: NODE.mac })));
  const timer = setTimeout(() => stop.abort(), 5000);
  const result = { guest: await guest, wire: await wire };
  clearTimeout(timer);
  return result;
}

for (const kind of ['tcx', 'cls_bpf'] as const) {
  const skip = kind === 'tcx' ? tcx : cls;
  const attach = async (pod: Netns, ifindex: number, program: NonNullable<Redirect['toGuest']>): Promise<void> => {
    if (kind === 'tcx') return attachTcx(pod, { ifindex, direction: 'ingress' }, program);
    await addQdisc(pod, ifindex, { kind: 'clsact' });
    const { name } = await program.info();
    await addFilter(pod, ifindex, {
      parent: 'ingress',
      protocol: 'all',
      priority: 1,
      handle: '0x1',
      kind: 'bpf',
      options: { fd: program.fd, name, directAction: true },
    });
  };

  await t.test(`${kind}: frames cross both ways, the pod sees none of them, and they are counted`, { skip }, async (t) => {
    const { node, pod: netns, tap, link } = await pod(t);
    const redirect = await loaded(t, { link, tap: tap.ifindex });
    t.equal(await until(() => answers(node)), true);
    await attach(netns, link, redirect.toGuest!);
    await attach(netns, tap.ifindex, redirect.toLink!);
    t.strictSame(await exchange(node, netns, tap, [1, 2, 3, 4, 5]), { guest: [1, 2, 3, 4, 5], wire: [1, 2, 3, 4, 5] });
    const { guestRedirected, linkRedirected, ...others } = await redirect.statistics();
    t.same(guestRedirected, { packets: 5n, bytes: 515n });
    t.same(linkRedirected, { packets: 5n, bytes: 1015n });
    t.same(Object.values(others), Array(3).fill({ packets: 0n, bytes: 0n }));
  });

  await t.test(`${kind}: a TAP that nobody holds, is down or gone leaves its frames to the pod`, { skip }, async (t) => {
    const { node, pod: netns, tap, link } = await pod(t);
    const redirect = await loaded(t, { link, tap: tap.ifindex });
    await attach(netns, link, redirect.toGuest!);
    await attach(netns, tap.ifindex, redirect.toLink!);
    // Never held: no carrier, which the queue of the device learns from the kernel's linkwatch, within a second.
    t.equal(await until(() => answers(node)), true, 'not held');
    t.strictSame((await exchange(node, netns, tap, [1, 2])).guest, [1, 2]);
    t.equal(await answers(node), false, 'held');
    t.strictSame((await exchange(node, netns, tap, [3])).wire, [3]);
    await tap.close();
    t.equal(await until(() => answers(node)), true, 'let go');
    await using again = await createTap(netns, 'tap1');
    await redirect.configure({ link, tap: again.ifindex });
    await again.send([]);
    await again.waitAttached();
    t.equal(await until(async () => !(await answers(node))), true, 'another one, held');
    await setLink(netns, 'tap1', { up: false });
    t.equal(await until(() => answers(node)), true, 'down');
    await redirect.configure({ link, tap: again.ifindex, fallBackIfDown: false });
    t.equal(await answers(node), false, 'down, and that is no reason');
    await setLink(netns, 'tap1', { up: true });
    t.equal(await deleteLink(netns, 'tap1'), true);
    t.equal(await until(() => answers(node)), true, 'gone');
    const { guestPassed } = await redirect.statistics();
    t.ok(guestPassed.packets > 2n);
  });
}

await t.test('paused: the pod gets what comes in, and what the guest sends goes nowhere', { skip: tcx }, async (t) => {
  const { node, pod: netns, tap, link } = await pod(t);
  const redirect = await loaded(t, { link, tap: tap.ifindex });
  await attachTcx(netns, { ifindex: link, direction: 'ingress' }, redirect.toGuest!);
  await attachTcx(netns, { ifindex: tap.ifindex, direction: 'ingress' }, redirect.toLink!);
  t.strictSame((await exchange(node, netns, tap, [1])).guest, [1]);
  await redirect.configure({ link: 0, tap: 0 });
  t.equal(await until(() => answers(node)), true);
  await tap.send([frame(2, 64), frame(3, 64)]);
  t.equal(await until(async () => (await redirect.statistics()).linkFailed.packets === 2n), true);
  await redirect.configure({ link, tap: tap.ifindex });
  t.strictSame(await exchange(node, netns, tap, [4]), { guest: [4], wire: [4] });
});

// ------------------------------------------------------------------ the guest's source

/** Those of the frames that came out of the pod, in order, up to the last one, which must pass. The pod's own stack has things to say, too. */
async function crossed(node: Netns, tap: Tap, frames: readonly Uint8Array[]): Promise<string[]> {
  await using socket = await openPacketSocket(node, 'vn', { outgoing: false, promiscuous: true });
  const came: string[] = [];
  await tap.send(frames);
  const last = Buffer.from(frames.at(-1)!).toString('hex');
  const sent = new Set(frames.map((one) => Buffer.from(one).toString('hex')));
  for await (const batch of socket.frames()) {
    for (const one of batch) {
      const hex = Buffer.from(one).toString('hex');
      if (sent.has(hex)) came.push(hex);
      if (hex === last) return came;
    }
  }
  return came;
}

await t.test('what the guest may send', { skip: tcx }, async (t) => {
  const { node, pod: netns, tap, link } = await pod(t);
  const redirect = await loaded(t, { link, tap: tap.ifindex, source });
  await attachTcx(netns, { ifindex: link, direction: 'ingress' }, redirect.toGuest!);
  await attachTcx(netns, { ifindex: tap.ifindex, direction: 'ingress' }, redirect.toLink!);
  const names = (frames: readonly string[]): string[] =>
    frames.map((one) => cases.find(([, sent]) => Buffer.from(sent).toString('hex') === one)?.[0] ?? one);
  const hex = (which: (one: (typeof cases)[number]) => boolean): string[] => cases.filter(which).map(([, one]) => Buffer.from(one).toString('hex')); // prettier-ignore
  const sent = cases.map(([, one]) => one);

  await t.test('with the check', async (t) => {
    t.strictSame(names(await crossed(node, tap, sent)), names(hex(([, , may]) => may)));
    const { linkSpoofed } = await redirect.statistics();
    t.equal(linkSpoofed.packets, BigInt(cases.filter(([, , may]) => !may).length));
    t.strictSame(await redirect.configuration(), {
      link,
      tap: tap.ifindex,
      fallBackIfDown: true,
      source: { ...source, anyLinkLocal: false, router: false },
    });
  });
  await t.test('with any link-local address, and as a router', async (t) => {
    await redirect.configure({ link, tap: tap.ifindex, source: { ...source, anyLinkLocal: true, router: true } });
    const more = new Set(["IPv6, another's link-local address", 'router advertisement', 'redirect']);
    t.strictSame(names(await crossed(node, tap, sent)), names(hex(([name, , may]) => may || more.has(name))));
  });
  await t.test('with other addresses: those of before are no longer allowed', async (t) => {
    await redirect.configure({ link, tap: tap.ifindex, source: { mac: GUEST.mac, addresses: ['10.1.0.9', 'fd00:1::9'] } });
    t.strictSame((await redirect.configuration()).source?.addresses, ['10.1.0.9', 'fd00:1::9']);
    t.strictSame(await crossed(node, tap, [ip4(GUEST.address), ip4('10.1.0.9')]), [Buffer.from(ip4('10.1.0.9')).toString('hex')]);
  });
  await t.test('without the check', async (t) => {
    await redirect.configure({ link, tap: tap.ifindex });
    t.strictSame(names(await crossed(node, tap, sent)).length, cases.length);
  });
});

// ------------------------------------------------------------------ beyond the life of a process

await t.test('tcx: it outlives its process, and another one finds and removes it', { skip: tcx }, async (t) => {
  const { node, pod: netns, tap, link } = await pod(t);
  const hook = { ifindex: link, direction: 'ingress' } as const;
  const { code, stderr } = await fixture('kernel/redirect.fixture.js', ['tcx', netns.path!, String(link), String(tap.ifindex)]);
  t.equal(code, 0, stderr);
  const { programs } = await queryTcx(netns, hook);
  t.equal(programs.length, 1);
  t.equal(programs[0]!.linkId, undefined);
  t.strictSame((await exchange(node, netns, tap, [1, 2])).guest, [1, 2]);
  await using found = await openRedirect(programs[0]!.id);
  t.match(await found!.toGuest!.info(), { id: programs[0]!.id, name: 'podtap_to_guest' });
  t.equal((await found!.configuration().catch(() => undefined))?.tap, undefined, 'its source is told by the other program');
  t.equal((await found!.statistics()).guestRedirected.packets, 2n);
  t.equal(await detachTcx(netns, hook, programs[0]!.id), true);
  t.equal(await detachTcx(netns, hook, programs[0]!.id), false);
  t.equal(await until(() => answers(node)), true);
});

await t.test('cls_bpf: it outlives its process, and another one finds and removes it', { skip: cls }, async (t) => {
  const { node, pod: netns, tap, link } = await pod(t);
  const { code, stderr } = await fixture('kernel/redirect.fixture.js', ['cls_bpf', netns.path!, String(link), String(tap.ifindex)]);
  t.equal(code, 0, stderr);
  const filters = (await listFilters(netns, link)).filter(({ handle }) => handle !== undefined);
  t.equal(filters.length, 1);
  const { options, handle, priority } = filters[0]! as {
    options: { id: number; tag: string; name: string };
    handle: string;
    priority: number;
  };
  t.match(filters[0], { priority: 1, handle: '0x1', kind: 'bpf', options: { name: 'podtap_to_guest', directAction: true } });
  t.match(inside(netns, 'tc filter show dev eth0 ingress'), `tag ${options.tag}`);
  t.strictSame((await exchange(node, netns, tap, [1, 2])).guest, [1, 2]);
  await using found = await openRedirect(options.id);
  t.match(await found!.toGuest!.info(), { id: options.id, tag: options.tag });
  t.equal((await found!.statistics()).guestRedirected.packets, 2n);
  t.equal(await deleteFilter(netns, link, { parent: 'ingress', protocol: 'all', priority, handle, kind: 'bpf' }), true);
  t.equal(await until(() => answers(node)), true);
});

await t.test('what is not one of these programs is left alone', { skip: requires('root', 'tcx') }, async (t) => {
  await t.rejects(openRedirect(0x7fffffff), { code: 'ENOENT' });
});
