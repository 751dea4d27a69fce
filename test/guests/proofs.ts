// What is proved of each datapath, with guests that know nothing but what podtap/guest prints.
import net from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Netns, type PlumbOptions, type Plumbing, type PlumbingEvent, bridgeEnslave, cloneMac, createTap, flushAddresses, getLink, plumb, readAddr, setNeighbor, setSysctl } from 'podtap'; // prettier-ignore
import { type GuestNetwork, dracutCmdline, guestOf, qemu, uml } from 'podtap/guest';
import type { Test } from 'tap';
import { compare, dump } from '../oracle/dump.js';
import { until } from '../support/inside.js';
import { type Kind, type Machine, type MachineOptions, boot, needed } from '../support/machine.js';
import { requires } from '../support/requires.js';
import { CLIENT, FIRST_MAC, MTU, POD, type Subnet, createCluster } from './cluster.js';
import type { Trait } from './modes.js';
import { answered, exchange, firstReply } from './traffic.js';

export function skipped(kind: Kind, { root }: Trait): string | false {
  return requires('tun', 'bridge', ...needed[kind], ...(root ? (['root'] as const) : []));
}

/** The quicker guest, where it boots. */
export const quicker: Kind = requires(...needed.uml) === false ? 'uml' : 'qemu';

function bootQuicker(pod: Netns, net: { readonly guest: GuestNetwork; readonly fds?: readonly number[] }): Promise<Machine> {
  if (net.fds !== undefined) return bootQemu(pod, net.guest, { fd: 3 }, { stdio: net.fds });
  return quicker === 'uml' ? bootUml(pod, net.guest) : bootQemu(pod, net.guest);
}

/** A directory for the journal. */
export function journalOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'podtap-journal-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** Boots it in the pod with what it is told, and nothing else. */
function bootUml(pod: Netns, guest: GuestNetwork, driver: 'vector' | 'tuntap' = 'vector'): Promise<Machine> {
  const { args, device } = uml(guest, { driver, without: ['mtu'] });
  const { parameters } = dracutCmdline(guest, { reader: 'systemd', devices: [device] });
  return boot('uml', pod, { args, parameters });
}

function bootQemu(
  pod: Netns,
  guest: GuestNetwork,
  how: Parameters<typeof qemu>[1] = {},
  more: Partial<MachineOptions> = {},
): Promise<Machine> {
  const { args } = qemu(guest, { properties: { romfile: '' }, ...how });
  const { parameters } = dracutCmdline(guest, { reader: 'systemd' });
  return boot('qemu', pod, { args, parameters, ...more });
}

/** Plumbs; its undo, at the end, must leave the pod as it was, and answering. */
export async function plumbed(
  t: Test,
  subnet: Subnet,
  options: PlumbOptions,
  body: (world: { pod: Netns; client: Netns; node: Netns; net: Plumbing }) => Promise<void>,
): Promise<void> {
  await using cluster = await createCluster(subnet);
  const { client, pod, node } = cluster;
  t.ok(await answered(client, POD.ipv4), 'the pod itself answers');
  const before = await dump(pod);
  const started = performance.now();
  const net = await plumb(pod, { tap: 'tap100', journal: journalOf(t), ...options });
  t.comment(`plumbed in ${(performance.now() - started).toFixed(0)} ms`);
  try {
    await body({ pod, client, node, net });
  } finally {
    const { leftBehind } = await net.undo();
    t.same(leftBehind, []);
  }
  t.same(compare(before, await dump(pod)), [], 'the pod is as it was');
  t.ok(await answered(client, POD.ipv4), 'the pod itself answers again');
}

/** Both families, both ways, with the MTU that the pod has. */
async function proveTraffic(
  t: Test,
  client: Netns,
  machine: Machine,
  guest: GuestNetwork,
  families: readonly ('ipv4' | 'ipv6')[] = ['ipv4'],
): Promise<void> {
  t.match(machine.said, new RegExp(`mtu ${MTU} [^]*link/ether ${guest.mac} `), 'its card is what it was said to be');
  for (const family of ['ipv4', 'ipv6'] as const) {
    t.ok(await answered(client, POD[family]), `${family}: the other pod is answered`);
    t.match(
      await machine.run(`ping${family === 'ipv6' ? '6' : ''} -c 1 -w 9 ${CLIENT[family]}`),
      /1 packets received/,
      `${family}: the guest is answered`,
    );
  }
  for (const family of families) await exchange(t, client, machine, family);
}

export async function proveUml(t: Test, trait: Trait, subnet: Subnet): Promise<void> {
  await plumbed(t, subnet, { mode: trait.mode, vmm: 'uml' }, async ({ pod, client, net }) => {
    t.equal(net.guest.mac, FIRST_MAC);
    t.equal((await getLink(pod, 'eth0'))!.mac === FIRST_MAC, trait.keepsMac);
    await using machine = await bootUml(pod, net.guest);
    await proveTraffic(t, client, machine, net.guest, ['ipv4', 'ipv6']);
  });
}

/** By name, as most monitors do; killed, and started again. */
export async function proveQemuByName(t: Test, trait: Trait, subnet: Subnet): Promise<void> {
  await plumbed(t, subnet, { mode: trait.mode, vmm: 'qemu', tap: { name: 'tap100', attach: 'name' } }, async ({ pod, client, net }) => {
    const seen: PlumbingEvent['type'][] = [];
    const stop = new AbortController();
    const watching = (async () => {
      for await (const { type } of net.events({ signal: stop.signal })) seen.push(type);
    })().catch((error: unknown) => {
      if (!stop.signal.aborted) throw error;
    });
    t.teardown(() => stop.abort());
    await using machine = await bootQemu(pod, net.guest);
    await proveTraffic(t, client, machine, net.guest);
    t.ok(await until(() => seen.includes('attached')), 'the monitor has the TAP');
    await machine.kill('SIGKILL');
    t.ok(await until(() => seen.includes('detached')), 'it was killed');
    t.equal((await net.verify()).ok, true, 'what was made is still there');
    await using second = await bootQemu(pod, net.guest);
    t.ok(await until(() => seen.filter((type) => type === 'attached').length === 2), 'and started again');
    t.ok(await answered(client, POD.ipv4), 'the other pod is answered');
    await exchange(t, client, second);
    stop.abort();
    await watching;
  });
}

/** By inherited descriptors: one, or one for each queue. */
export async function proveQemuByDescriptor(t: Test, trait: Trait, subnet: Subnet, queues: number): Promise<void> {
  await plumbed(t, subnet, { mode: trait.mode, vmm: 'qemu', tap: { name: 'tap100', queues } }, async ({ pod, client, net }) => {
    await using fds = await net.tap.takeFds();
    // The first three are the console's.
    const childFds = fds.fds.map((_, at) => 3 + at);
    await using machine = await bootQemu(pod, net.guest, queues > 1 ? { fds: childFds } : { fd: childFds[0]! }, {
      stdio: fds.fds,
      processors: queues,
    });
    fds.close();
    t.equal((await machine.run('ls /sys/class/net/eth0/queues')).match(/rx-/g)?.length, queues, 'the guest has all queues');
    await proveTraffic(t, client, machine, net.guest);
  });
}

/**
 * A guest that is up already, with its card and its addresses: the wire is plugged in by the plumbing. Its card is on a hub of QEMU's, and
 * so is something that swallows what it sends until then, which would be kept back else, with all that comes after.
 */
export async function proveQemuPluggedIn(t: Test, trait: Trait, subnet: Subnet): Promise<void> {
  await using cluster = await createCluster(subnet);
  const { client, pod } = cluster;
  t.ok(await answered(client, POD.ipv4), 'the pod itself answers');
  const guest = guestOf(await readAddr(pod, 'eth0'), { tap: 'tap100' });
  const folder = journalOf(t);
  const socket = join(folder, 'monitor');
  const [, , , device = ''] = qemu(guest, { properties: { romfile: '' } }).args;
  const sink = ['-netdev', 'user,id=sink,restrict=on,ipv6=off', '-netdev', 'hubport,id=sink0,hubid=0,netdev=sink'];
  const args = [...sink, '-netdev', 'hubport,id=net0,hubid=0', '-device', device, '-qmp', `unix:${socket},server=on,wait=off`];
  await using machine = await boot('qemu', pod, { args, parameters: dracutCmdline(guest, { reader: 'systemd' }).parameters });
  t.ok(machine.said.includes(guest.mac));
  const monitor = net.connect(socket);
  let heard = '';
  monitor.setEncoding('utf8').on('data', (part: string) => (heard += part));
  const tell = (execute: string, given: object = {}): void => void monitor.write(JSON.stringify({ execute, arguments: given }));
  tell('qmp_capabilities');
  // Where the pod answers as long as there is nobody on the TAP, that would be taken for the guest.
  await setSysctl(pod, 'net.ipv4.icmp_echo_ignore_all', 1);
  const started = performance.now();
  await using plumbing = await plumb(pod, { mode: trait.mode, vmm: 'qemu', journal: folder, tap: { name: 'tap100', attach: 'name' } });
  const made = performance.now();
  tell('netdev_add', { type: 'tap', id: 'wire', ifname: 'tap100', script: 'no', downscript: 'no' });
  tell('netdev_add', { type: 'hubport', id: 'wire0', hubid: 0, netdev: 'wire' });
  const took = await firstReply(client, POD.ipv4);
  t.not(took, undefined, heard);
  t.comment(`plumbed in ${(made - started).toFixed(0)} ms, first reply ${took?.toFixed(0)} ms later`);
  t.equal(plumbing.guest.mac, guest.mac);
  monitor.destroy();
}

/** On a subnet, neighbours ask for the guest's own MAC. Behind a router that was told of eth0's first one, nobody does. */
export async function proveRandomMac(t: Test, trait: Trait, subnet: Subnet): Promise<void> {
  const end: PlumbOptions = trait.byName ? { vmm: quicker, tap: { name: 'tap100', attach: 'name' } } : { vmm: 'qemu', macvtap: 'bridge' };
  const options: PlumbOptions = { mode: trait.mode, guestMac: 'random', ...end };
  await plumbed(t, subnet, options, async ({ pod, client, node, net }) => {
    t.not(net.guest.mac, FIRST_MAC);
    t.equal((await getLink(pod, 'eth0'))!.mac, FIRST_MAC, 'eth0 keeps its own');
    await using fds = trait.byName ? undefined : await net.tap.takeFds();
    await using machine = await bootQuicker(pod, { guest: net.guest, ...(fds !== undefined && { fds: fds.fds }) });
    fds?.close();
    t.match(machine.said, net.guest.mac);
    if (subnet === '/32') {
      t.ok(await answered(client, POD.ipv6), 'IPv6 asks, and is answered');
      t.notOk(await answered(client, POD.ipv4, UNANSWERED), 'IPv4 does not ask, and is not');
      await setNeighbor(node, 'k8s_br0', { address: POD.ipv4, mac: net.guest.mac, state: 'permanent' });
      t.ok(await answered(client, POD.ipv4), 'it was for that entry');
      await setNeighbor(node, 'k8s_br0', { address: POD.ipv4, mac: FIRST_MAC, state: 'permanent' });
    } else {
      // The other pod knows the address with eth0's MAC, for half a minute or until it hears of another one.
      t.match(await machine.run(`ping -c 1 -w 9 ${CLIENT.ipv4}`), /1 packets received/, 'the guest is answered');
      t.ok(await answered(client, POD.ipv4), 'and so is the other pod, from then on');
    }
  });
}

/** What plumb does not do: on a bridge, a MAC that both have is the host's own, and its frames do not leave it. */
export async function proveKeptMac(t: Test): Promise<void> {
  await using cluster = await createCluster('/16');
  const { client, pod } = cluster;
  const guest = guestOf(await readAddr(pod, 'eth0'), { tap: 'tap100' });
  await (await createTap(pod, 'tap100', { mtu: MTU })).close();
  await flushAddresses(pod, 'eth0');
  await bridgeEnslave(pod, { bridge: 'br0', ports: ['eth0', 'tap100'] });
  await using machine = await bootQuicker(pod, { guest });
  t.match(machine.said, FIRST_MAC);
  t.notOk(await answered(client, POD.ipv4, UNANSWERED), 'both have the MAC: nothing');
  await cloneMac(pod, { from: 'eth0' });
  t.ok(await answered(client, POD.ipv4), 'it was for that');
}

/** Milliseconds in which an answer would have come: the guest is up. */
const UNANSWERED = 2000;
