// Time in eBPF programs for one packet, as the kernel measures it (some 20 ns of which are the measuring): those of the pod's localhost,
// against the one that redirects. That one also puts the frame into the other device's queue; these leave it to the kernel, behind them.
// By lib/ itself, not the bundle: the programs are no part of what users import.
import { attachLocalhost, findLocalhost } from '../../lib/kernel/localhost.js';
import { type BpfProgram, attachTcx, enableStatistics, openProgram } from '../../lib/kernel/bpf.js';
import { loadRedirect } from '../../lib/kernel/redirect.js';
import { Netns } from '../../lib/kernel/netns.js';
import type { Tap } from '../../lib/kernel/tap.js';
import type { PacketSocket } from '../../lib/kernel/packet.js';
import { createVeth, setLink } from '../../lib/primitive/link.js';
import { openPacketSocket } from '../../lib/primitive/packet.js';
import { setSysctl } from '../../lib/primitive/sysctl.js';
import { createTap } from '../../lib/primitive/tap.js';
import type { ConfigGuest, LocalhostConfig } from '../../lib/wire/localhost.js';
import type { Contender, Measurement } from '../measurement.js';

const LINK = 12;
const GUEST = { mac: '02:00:00:00:00:22', address: '10.1.0.2' };
const NODE = { mac: '02:00:00:00:00:11', address: '10.1.0.1' };
const NOBODY = { mac: '00:00:00:00:00:00' };
const ALIAS = { mac: '02:75:6e:63:00:01', address: '169.254.77.1' };
const RESOLVER = { ...NOBODY, address: '127.0.0.11', port: 40_053 };
const FIRST = { ...NOBODY, address: '127.77.0.1', port: 5000 };

interface End {
  readonly mac: string;
  readonly address: string;
  readonly port?: number;
}

/** UDP over IPv4 with a payload of 64 bytes, and without a checksum. */
function udp(from: End, to: End): Uint8Array {
  const bytes = new Uint8Array(106);
  const view = new DataView(bytes.buffer);
  bytes.set(to.mac.split(':').map((octet) => parseInt(octet, 16)));
  bytes.set(from.mac.split(':').map((octet) => parseInt(octet, 16)), 6); // prettier-ignore
  view.setUint16(12, 0x0800);
  view.setUint16(14, 0x4500);
  view.setUint16(16, 92);
  view.setUint16(22, 0x4011);
  bytes.set(from.address.split('.').map(Number), 26);
  bytes.set(to.address.split('.').map(Number), 30);
  let sum = 0;
  for (let at = 14; at < 34; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(24, ~sum & 0xffff);
  view.setUint16(34, from.port ?? 5000);
  view.setUint16(36, to.port ?? 7000);
  view.setUint16(38, 72);
  return bytes;
}

/** A pod with programs, and who can send to each of them. */
interface Pod {
  readonly netns: Netns;
  readonly taps: readonly Tap[];
  readonly wire: PacketSocket;
  readonly lo: PacketSocket;
  readonly programs: Readonly<Record<string, BpfProgram>>;
  close(): Promise<void>;
}

async function createPod(guests: number, what: 'redirect' | 'localhost'): Promise<Pod> {
  const [node, netns] = [await Netns.create(), await Netns.create()];
  for (const one of [node, netns]) await setSysctl(one, 'net.ipv6.conf.default.disable_ipv6', 1);
  await createVeth(node, 'vn', {
    ifindex: 11, // else the kernel chooses the other end's, too
    mac: NODE.mac,
    addresses: [`${NODE.address}/24`],
    up: true,
    peer: { scope: netns, name: 'eth0', ifindex: LINK, mac: GUEST.mac, addresses: [`${GUEST.address}/24`], up: true },
  });
  for (const name of ['route_localnet', 'accept_local']) await setSysctl(netns, `net.ipv4.conf.lo.${name}`, 1);
  const taps: Tap[] = [];
  for (let at = 1; at <= guests; at++) taps.push(await createTap(netns, `tap${at}`));
  for (const tap of taps) await tap.send([]); // so that it is held, and has carrier
  await setLink(netns, 'lo', { up: true });
  const tap = taps[0]!.ifindex;
  const programs: Record<string, BpfProgram> = {};
  if (what === 'redirect') {
    const { toGuest, toLink } = await loadRedirect({ link: LINK, tap });
    await attachTcx(netns, { ifindex: LINK, direction: 'ingress' }, toGuest!);
    await attachTcx(netns, { ifindex: tap, direction: 'ingress' }, toLink!);
    Object.assign(programs, { link: toGuest!, tap: toLink! });
  } else {
    await attachLocalhost(netns, { config: configOf(taps), hook: 'tcx' });
    for (const [name, ifindex] of [
      ['link', LINK],
      ['lo', 1],
      ['tap', tap],
    ] as const)
      // prettier-ignore
      programs[name] = await openProgram((await findLocalhost(netns, ifindex))[0]!.id);
  }
  const [wire, lo] = [await openPacketSocket(node, 'vn'), await openPacketSocket(netns, 'lo')];
  return {
    netns,
    taps,
    wire,
    lo,
    programs,
    close: async () => {
      for (const one of [...Object.values(programs), wire, lo, ...taps, node, netns]) await one.close();
    },
  };
}

function configOf(taps: readonly Tap[]): LocalhostConfig {
  const port = (slot: number): ConfigGuest['ports'] =>
    taps.length > 1 ? [{ protocol: 'udp', first: 9000 + slot, last: 9000 + slot }] : [];
  return {
    link: LINK,
    podHasAddresses: true,
    mac: GUEST.mac,
    addresses: [GUEST.address],
    aliases: '169.254.77.0',
    loopback: '127.77.0.0',
    aliasMac: ALIAS.mac,
    services: [{ alias: ALIAS.address, address: RESOLVER.address, protocol: 'udp', first: 53, last: 53, to: RESOLVER.port }],
    guests: taps.map(({ ifindex }, index) => ({ slot: index + 1, tap: ifindex, ports: port(index + 1) })),
  };
}

type Way = (pod: Pod, frames: readonly Uint8Array[]) => Promise<unknown>;
const byTap: Way = ({ taps }, frames) => taps[0]!.send(frames);
const byWire: Way = ({ wire }, frames) => wire.send(frames);
const byLoopback: Way = ({ lo }, frames) => lo.send(frames);

/** Nanoseconds for each run of a program while `count` frames of one kind come by. */
async function timeOf(pod: Pod, program: string, way: Way, frame: Uint8Array, count: number): Promise<number> {
  await using _measuring = await enableStatistics();
  const before = await pod.programs[program]!.info();
  for (let sent = 0; sent < count; sent += 100) await way(pod, Array<Uint8Array>(100).fill(frame));
  const after = await pod.programs[program]!.info();
  const runs = after.runCount - before.runCount;
  if (runs < BigInt(count) / 2n) throw new Error(`${program}: of ${count} frames ${runs} came by`);
  return Number(after.runTime - before.runTime) / Number(runs);
}

type Case = readonly [name: string, pod: string, program: string, way: Way, frame: Uint8Array];
const world = { ...NODE, port: 7000 };

const cases: Readonly<Record<'out' | 'in', readonly Case[]>> = {
  out: [
    ['podtap_to_link', 'redirect', 'tap', byTap, udp({ ...GUEST, port: 5000 }, world)],
    ['lh_tap, to the world', 'one', 'tap', byTap, udp({ ...GUEST, port: 5000 }, world)],
    ['lh_tap, 8 guests', 'several', 'tap', byTap, udp({ ...GUEST, port: 5000 }, world)],
    ['lh_tap, to a service', 'one', 'tap', byTap, udp({ ...GUEST, port: 5000 }, { ...ALIAS, port: 53 })],
    ['lh_tap, to a closed port', 'one', 'tap', byTap, udp({ ...GUEST, port: 5000 }, { ...ALIAS, port: 54 })],
  ],
  in: [
    ['podtap_to_guest', 'redirect', 'link', byWire, udp(world, { ...GUEST, port: 5000 })],
    ['lh_link, to the guest', 'one', 'link', byWire, udp(world, { ...GUEST, port: 5000 })],
    ['lh_link, 8, a flow', 'several', 'link', byWire, udp(world, { ...GUEST, port: 5000 })],
    ['lh_link, 8, an owned port', 'several', 'link', byWire, udp(world, { ...GUEST, port: 9002 })],
    ['lh_link, 8, to the first', 'several', 'link', byWire, udp(world, { ...GUEST, port: 6000 })],
    ['lh_lo, from a service', 'one', 'lo', byLoopback, udp(RESOLVER, FIRST)],
    ['lh_lo, of nobody’s concern', 'one', 'lo', byLoopback, udp({ ...RESOLVER, port: 1 }, { ...RESOLVER, port: 2 })],
  ],
};

function measurement(direction: 'out' | 'in', title: string): Measurement {
  return {
    name: `localhost-${direction}`,
    figures: [{ title, unit: 'ns' }],
    prepare: async ({ quick }) => {
      const count = quick ? 2000 : 20_000;
      const pods: Readonly<Record<string, Pod>> = {
        redirect: await createPod(1, 'redirect'),
        one: await createPod(1, 'localhost'),
        several: await createPod(8, 'localhost'),
      };
      return {
        contenders: cases[direction].map(([name, pod, program, way, frame]): Contender => ({
          name,
          round: async () => {
            // So that its answers find a flow.
            await byTap(pods[pod]!, [udp({ ...GUEST, port: 5000 }, world)]);
            return [await timeOf(pods[pod]!, program, way, frame, count)];
          },
        })),
        restore: async () => {
          for (const pod of Object.values(pods)) await pod.close();
        },
      };
    },
  };
}

/** As real root alone. */
export const localhostMeasurements = [
  measurement('out', 'eBPF, a packet of 106 bytes from a guest: in the program'),
  measurement('in', 'eBPF, a packet of 106 bytes to a guest: in the program'),
];
