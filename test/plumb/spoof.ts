// antiSpoof with real frames, in whatever mode: what is not the guest's goes nowhere, neither out of the pod nor up into it.
import { type Netns, type PlumbOptions, type Plumbing, createVeth, inspect, openPacketSocket, plumb } from 'podtap';
import { runGuest } from 'podtap/lab';
import t, { type Test } from 'tap';
import { dump } from '../oracle/dump.js';
import { GUEST, NODE, OTHER_MAC, arp, cases, ip4, source } from '../kernel/spoofs.js';
import { macBytes } from '../kernel/frames.js';
import { fresh, inside, until } from '../support/inside.js';
import { directory } from '../transaction/files.js';
import { answers, asBefore, steady } from './around.js';

type Mode = 'redirect' | 'ebpf' | 'bridge' | 'macvtap';

async function podOf(t: Test): Promise<{ node: Netns; pod: Netns; journal: string }> {
  const [node, pod] = [await fresh(t), await fresh(t)];
  for (const netns of [node, pod]) inside(netns, 'sysctl -qw net.ipv6.conf.default.accept_dad=0');
  await createVeth(node, 'vn', {
    mac: NODE.mac,
    addresses: [`${NODE.address}/24`, 'fd00:1::1/64'],
    up: true,
    peer: { scope: pod, name: 'eth0', mac: GUEST.mac, addresses: [`${GUEST.address}/24`, 'fd00:1::2/64', 'fe80::ff00:22/64'], up: true },
  });
  await steady(pod);
  return { node, pod, journal: directory(t) };
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Those that came out of the pod, by their names. The last one is sent until it comes. */
async function crossed(node: Netns, net: Plumbing, frames: readonly (readonly [string, Uint8Array, ...unknown[]])[]): Promise<string[]> {
  await using socket = await openPacketSocket(node, 'vn', { outgoing: false, promiscuous: true });
  const names = new Map(frames.map(([name, bytes]) => [hex(bytes), name]));
  const header = new Uint8Array((net.tap as { vnetHeaderBytes: number }).vnetHeaderBytes);
  const send = (bytes: Uint8Array): Promise<unknown> => net.tap.send([Uint8Array.from([...header, ...bytes])]);
  const came = new Set<string>();
  const stop = new AbortController();
  const reading = (async () => {
    for await (const batch of socket.frames({ signal: stop.signal }))
      for (const one of batch) {
        const name = names.get(hex(one));
        if (name !== undefined) came.add(name);
      }
  })().catch(() => undefined);
  const [last, end] = frames.at(-1)!;
  // A TAP has its carrier, and a port forwards, only a moment after it is opened.
  const through = async (): Promise<boolean> => until(async () => { await send(end).catch(() => 0); return came.has(last); }); // prettier-ignore
  await through();
  came.clear();
  for (const [, bytes] of frames) await send(bytes);
  t.equal(await through(), true);
  stop.abort();
  await reading;
  return frames.map(([name]) => name).filter((name) => came.has(name));
}

/** What the pod's stack has had so far, beside multicasts of the node that it has not joined. */
function stack(pod: Netns): string {
  return inside(
    pod,
    "awk '/^Ip: [0-9]/ {print $4}' /proc/net/snmp; awk '/^(Ip6InDelivers|Icmp6InMsgs|Udp6NoPorts) / {print}' /proc/net/snmp6",
  );
}

const to = (mac: string, bytes: Uint8Array): Uint8Array => Uint8Array.from([...macBytes(mac), ...bytes.subarray(6)]);

/** `localhost`: with the pod's localhost for the guest, whose rules or programs stand ahead of the datapath. */
export async function spoofs(mode: Mode, skip: string | false, localhost?: PlumbOptions['localhost']): Promise<void> {
  const more = localhost === undefined ? {} : { localhost };
  await t.test(`${mode}: the guest sends with its own MAC and addresses only`, { skip }, async (t) => {
    const { node, pod, journal } = await podOf(t);
    const before = await dump(pod);
    const net = await plumb(pod, { journal, mode, antiSpoof: true, ...more });
    t.same((net.toJSON() as { source: { addresses: string[] } }).source.addresses.toSorted(), [...source.addresses, 'fe80::ff:fe00:22'].toSorted()); // prettier-ignore
    t.match(await net.verify({ traffic: true }), { ok: true, toGuest: 'crossed', fromGuest: 'crossed', problems: [] });
    const was = stack(pod);
    t.strictSame(await crossed(node, net, cases), cases.filter(([, , may]) => may).map(([name]) => name)); // prettier-ignore

    // To everybody, and to the interfaces of the pod themselves: the pod would take these, and answer.
    const tapMac = (net.toJSON() as { tapMac: string }).tapMac;
    const up = ['ff:ff:ff:ff:ff:ff', tapMac].flatMap((mac) => cases.filter(([, , may]) => !may).map(([name, bytes]) => [`${name} to ${mac}`, to(mac, bytes)] as const)); // prettier-ignore
    const asks = to('ff:ff:ff:ff:ff:ff', arp(1, OTHER_MAC, '10.1.0.66', OTHER_MAC)).slice();
    asks.set([10, 1, 0, 2], 38);
    t.strictSame(await crossed(node, net, [...up, ['who has', asks], ['the end', ip4(GUEST.address)]]), ['the end']);
    t.equal(stack(pod), was, 'the stack of the pod has had none of them');
    t.notMatch(inside(pod, 'ip neighbour show'), /10\.1\.0\.66|02:00:00:00:00:99/);

    await net.tap.close();
    {
      await using guest = await runGuest(net.tap, net.guest);
      for (const address of ['10.1.0.2', 'fd00:1::2']) t.equal(await until(() => answers(node, address)), true, address);
      for (const address of ['10.1.0.1', 'fd00:1::1']) t.equal(await until(() => answers(guest.netns, address)), true, address);
    }
    await net.tap.close();
    t.match(await inspect(pod), { plumbings: [{ mode, link: 'eth0' }], problems: [] });
    t.strictSame(await net.undo(), { state: 'undone', leftBehind: [] });
    await asBefore(before, pod, journal, 'undone');
  });

  if (mode === 'ebpf') return; // a program that is gone: see ebpf.root.test.ts
  const [direction, parent] = mode === 'macvtap' ? ['egress', 'ffff:fff3'] : ['ingress', 'ffff:'];
  await t.test(`${mode}: a check that somebody has taken away is missed, and put back`, { skip }, async (t) => {
    const { node, pod, journal } = await podOf(t);
    const before = await dump(pod);
    const net = await plumb(pod, { journal, mode, antiSpoof: true, ...more });
    const { name } = net.tap;
    const spoofed = cases.filter(([, , may]) => !may).slice(0, 2);
    for (const command of [
      `tc filter del dev ${name} parent ${parent} pref 17`,
      `tc filter del dev ${name} parent ${parent} pref 16`,
      `tc filter del dev ${name} parent ${parent}`,
      `tc qdisc del dev ${name} ${mode === 'macvtap' ? 'clsact' : 'ingress'}`,
      `tc filter replace dev ${name} parent ${parent} protocol all pref 16 handle 1 bpf bytecode '1,6 0 0 4294967295'`,
      `tc filter replace dev ${name} parent ${parent} protocol all pref 17 handle 1 bpf direct-action bytecode '1,6 0 0 0'`,
    ]) {
      inside(pod, command);
      const codes = (await net.verify()).problems.map(({ code }) => code);
      t.strictSame(codes.filter((code) => localhost === undefined || code !== 'LOCALHOST_MISSING'), ['GUARD_MISSING'], `${direction}: ${command}`); // prettier-ignore
      t.strictSame(await net.repair(), [], command);
      t.match(await net.verify({ traffic: true }), { ok: true }, command);
      t.strictSame(await crossed(node, net, [...spoofed, ['the end', ip4(GUEST.address)]]), ['the end'], command);
      await net.tap.close();
    }
    t.strictSame(await net.undo(), { state: 'undone', leftBehind: [] });
    await asBefore(before, pod, journal, 'undone');
  });
}
