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
import { frame, macBytes, numberOf, udp } from './frames.js';

const tcx = requires('tun', 'root', 'tcx');
const cls = requires('tun', 'root', 'clsact', 'cls_bpf');

const GUEST = { mac: '02:00:00:00:00:22', address: '10.1.0.2' };
const NODE = { mac: '02:00:00:00:00:11', address: '10.1.0.1' };

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
  const { received } = await ping(node, GUEST.address, { count: 1, timeout: 1 });
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
    t.equal(await answers(node), true);
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
    t.equal(await answers(node), true, 'down');
    await redirect.configure({ link, tap: again.ifindex, fallBackIfDown: false });
    t.equal(await answers(node), false, 'down, and that is no reason');
    await setLink(netns, 'tap1', { up: true });
    t.equal(await deleteLink(netns, 'tap1'), true);
    t.equal(await answers(node), true, 'gone');
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
  t.equal(await answers(node), true);
  await tap.send([frame(2, 64), frame(3, 64)]);
  t.equal(await until(async () => (await redirect.statistics()).linkFailed.packets === 2n), true);
  await redirect.configure({ link, tap: tap.ifindex });
  t.strictSame(await exchange(node, netns, tap, [4]), { guest: [4], wire: [4] });
});

// ------------------------------------------------------------------ the guest's source

const OWN6 = 'fd000001000000000000000000000002';
const OWN_LL = 'fe8000000000000000000000ff000022';
const OTHER6 = 'fd000001000000000000000000000009';
const OTHER_LL = 'fe8000000000000000000000ff000099';
const NOBODY = '0'.repeat(32);
const ALL_NODES = 'ff020000000000000000000000000001';
const OTHER_MAC = '02:00:00:00:00:99';

function bytes(hex: string): number[] {
  return hex.match(/../g)!.map((byte) => parseInt(byte, 16));
}
function ethernet(type: number, payload: readonly number[], from = GUEST.mac): Uint8Array {
  return Uint8Array.from([...macBytes(NODE.mac), ...macBytes(from), type >> 8, type & 255, ...payload]);
}
function ip4(from: string, mac = GUEST.mac): Uint8Array {
  return udp({ mac, address: from, port: 1 }, { ...NODE, port: 2 }, new Uint8Array(8));
}
function arp(operation: number, mac: string, address: string, from = GUEST.mac): Uint8Array {
  const rest = [
    0,
    operation,
    ...macBytes(mac),
    ...address.split('.').map(Number),
    0,
    0,
    0,
    0,
    0,
    0,
    ...NODE.address.split('.').map(Number),
  ];
  return ethernet(0x0806, [0, 1, 8, 0, 6, 4, ...rest], from);
}
function ip6(from: string, next: number, payload: readonly number[], mac = GUEST.mac): Uint8Array {
  return ethernet(0x86dd, [0x60, 0, 0, 0, 0, payload.length, next, 255, ...bytes(from), ...bytes(ALL_NODES), ...payload], mac);
}
const ICMPV6 = 58;
function icmp6(from: string, type: number, target = NOBODY): Uint8Array {
  return ip6(from, ICMPV6, [type, 0, 0, 0, 0, 0, 0, 0, ...bytes(target)]);
}
const vlan = (inner: Uint8Array): Uint8Array => Uint8Array.from([...inner.subarray(0, 12), 0x81, 0, 0, 7, ...inner.subarray(12)]);
/** An extension header of 8 bytes. */
const extension = (next: number): number[] => [next, 0, 1, 4, 0, 0, 0, 0];

/** [what, the frame, whether it may pass] */
const cases: readonly (readonly [string, Uint8Array, boolean])[] = [
  ['IPv4', ip4(GUEST.address), true],
  ["IPv4, another's address", ip4('10.1.0.9'), false],
  ["IPv4, another's MAC", ip4(GUEST.address, OTHER_MAC), false],
  ['IPv4, no address', ip4('0.0.0.0'), false],
  ['IPv4 by type, IPv6 by version', Uint8Array.from(ip4(GUEST.address), (byte, at) => (at === 14 ? 0x65 : byte)), false],
  ['IPv4, cut off', ip4(GUEST.address).subarray(0, 28), false],
  ['IPv4 in a VLAN', vlan(ip4(GUEST.address)), false],
  ['ARP request', arp(1, GUEST.mac, GUEST.address), true],
  ['ARP reply', arp(2, GUEST.mac, GUEST.address), true],
  ['ARP probe', arp(1, GUEST.mac, '0.0.0.0'), true],
  ["ARP, another's address", arp(2, GUEST.mac, NODE.address), false],
  ["ARP, another's MAC", arp(2, OTHER_MAC, GUEST.address), false],
  ["ARP, another's MAC on the frame", arp(2, GUEST.mac, GUEST.address, OTHER_MAC), false],
  ['ARP of another kind of network', ethernet(0x0806, [0, 6, ...arp(2, GUEST.mac, GUEST.address).subarray(16)]), false],
  ['ARP, cut off', arp(1, GUEST.mac, GUEST.address).subarray(0, 30), false],
  ['IPv6', ip6(OWN6, 17, [0, 1, 0, 2, 0, 8, 0, 0]), true],
  ['IPv6, link-local', ip6(OWN_LL, 17, [0, 1, 0, 2, 0, 8, 0, 0]), true],
  ["IPv6, another's address", ip6(OTHER6, 17, [0, 1, 0, 2, 0, 8, 0, 0]), false],
  ["IPv6, another's link-local address", ip6(OTHER_LL, 17, [0, 1, 0, 2, 0, 8, 0, 0]), false],
  ["IPv6, another's MAC", ip6(OWN6, 17, [0, 1, 0, 2, 0, 8, 0, 0], OTHER_MAC), false],
  ['IPv6 from nobody', ip6(NOBODY, 17, [0, 1, 0, 2, 0, 8, 0, 0]), false],
  [
    'IPv6 by type, IPv4 by version',
    Uint8Array.from(ip6(OWN6, 17, [0, 1, 0, 2, 0, 8, 0, 0]), (byte, at) => (at === 14 ? 0x45 : byte)),
    false,
  ],
  ['DAD', icmp6(NOBODY, 135, OWN6), true],
  ['DAD of the link-local address', icmp6(NOBODY, 135, OWN_LL), true],
  ["DAD of another's address", icmp6(NOBODY, 135, OTHER6), false],
  ['solicitation', icmp6(OWN6, 135, OTHER6), true],
  ['advertisement', icmp6(OWN6, 136, OWN_LL), true],
  ["advertisement of another's address", icmp6(OWN6, 136, OTHER6), false],
  ['advertisement from nobody', icmp6(NOBODY, 136, OWN6), false],
  ['advertisement, cut off', icmp6(OWN6, 136, OWN6).subarray(0, 70), false],
  ['router solicitation from nobody', icmp6(NOBODY, 133), true],
  ['router advertisement', icmp6(OWN_LL, 134), false],
  ['redirect', icmp6(OWN_LL, 137), false],
  ['echo request', icmp6(OWN6, 128), true],
  ['echo request from nobody', icmp6(NOBODY, 128), false],
  ['MLD report from nobody', ip6(NOBODY, 0, [...extension(ICMPV6), 143, 0, 0, 0, 0, 0, 0, 0]), true],
  ["another's advertisement behind extensions", ip6(OWN6, 0, [...extension(60), ...extension(ICMPV6), 136, 0, 0, 0, 0, 0, 0, 0, ...bytes(OTHER6)]), false], // prettier-ignore
  ['UDP behind extensions', ip6(OWN6, 0, [...extension(60), ...extension(17), 0, 1, 0, 2, 0, 8, 0, 0]), true],
  ['more extensions than anybody needs', ip6(OWN6, 0, [...[60, 60, 60, 60, 17].flatMap(extension), 0, 1, 0, 2, 0, 8, 0, 0]), false],
  ['neither IP nor ARP', frame(1), false],
  ['the end', udp({ ...GUEST, port: 1 }, { ...NODE, port: 3 }, new Uint8Array(8)), true],
];

const source = { mac: GUEST.mac, addresses: [GUEST.address, 'fd00:1::2', 'fe80::ff00:22'] };

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
  t.equal(await answers(node), true);
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
  t.equal(await answers(node), true);
});

await t.test('what is not one of these programs is left alone', { skip: requires('root', 'tcx') }, async (t) => {
  await t.rejects(openRedirect(0x7fffffff), { code: 'ENOENT' });
});
