// The datapath 'bridge': eth0 and the TAP are the two ports of a bridge, and the guest takes the place that eth0 had on the wire. What each
// step is for was measured on Linux 6.18.
import type * as v from 'valibot';
import { oneOf, options } from '../../check.js';
import type { Netns } from '../../kernel/netns.js';
import { PacketSocket } from '../../kernel/packet.js';
import { localMac } from '../../primitive/mac.js';
import type { Operation } from '../../operation/kinds.js';
import { keys } from '../../state/resource.js';
import { settingOf } from '../../state/link.js';
import type { State } from '../../state/snapshot.js';
import type { Link } from '../../wire/link.js';
import { type Datapath, type Fault, Faults, type Found, type Inlet, type PlanInput, type Planned, addressDeletions, freeName, missing, named, namedLink, seen, setOf, tapDevice, wiringEntries } from './datapath.js'; // prettier-ignore
import { type GuardPlace, guardFaults, guardOperations, sourceOf } from './guard.js';
import { addressesOf } from '../link.js';
import type { Mark } from '../mark.js';

const schema = options({ mode: oneOf('bridge'), ...wiringEntries, bridge: namedLink });
export type BridgeWiring = v.InferOutput<typeof schema>;

/** IFF_DONT_BRIDGE, or no Ethernet frames, or a bridge itself: net/bridge/br_if.c, br_add_if(). */
const unbridged: Readonly<Record<string, string>> = {
  bridge: 'is a bridge itself',
  ipvlan: 'shares its MAC with the interface below, and the kernel bridges none of that kind',
  loopback: 'is the loopback',
  macvlan: 'would see frames for its own MAC only, which the guest is to have',
  macvtap: 'is the wire of a guest itself',
};

/**
 * Below 1280 a device has no IPv6 at all (RFC 8200, 5): a bridge, whose addrgenmode 'none' alone would let it take a prefix from a router's
 * advertisement, says nothing then. Its own MTU is that of its own packets, and it has none: frames between ports are measured by
 * theirs. No sysctl is needed, and so no writable /proc/sys.
 */
const SILENT_MTU = 1279;

const GUARD: GuardPlace = { direction: 'ingress' };

function plan({ state, link, addresses, asked, tap, guestMac, mtu, mark, fresh }: PlanInput): Planned<BridgeWiring> {
  const has6 = link.addrGenMode !== undefined;
  const bridge = freeName(state, 'br');
  const [bridgeMac, otherMac] = fresh.macs;
  const linkMac = guestMac === link.mac ? otherMac : link.mac;
  // A MAC that begins with 0xfe is never lower than another port's.
  const device = tapDevice({ link, asked, tap, mtu, mark, fresh });
  const source = asked.antiSpoof ? sourceOf(guestMac, addresses) : undefined;
  const operations: readonly Operation[] = [
    ...device.operations,
    // Ahead of the bridge.
    ...(source !== undefined ? guardOperations(tap, source, GUARD) : []),
    {
      op: 'link.create',
      kind: 'bridge',
      name: bridge,
      // A MAC of its own: one that follows the ports would change with them, and one that is the guest's would answer for it.
      options: { mac: bridgeMac, stp: false, forwardDelay: 0, multicastSnooping: false, netfilter: false } as object,
    },
    // Given in the creation, the MTU would follow that of the ports.
    { op: 'link.set', link: bridge, change: { mtu: SILENT_MTU, alias: mark } },
    // disable_ipv6 would silence eth0 as well, and destroy its static routes. Without addresses, and with none made, it is as silent.
    ...(has6 && link.addrGenMode !== 'none' ? [{ op: 'link.set', link: link.ifindex, change: { addrGenMode: 'none' } } as const] : []),
    ...addressDeletions(link, addresses),
    // eth0's own MAC becomes an entry of the bridge's table that means the host: it must not be the guest's. eth0 stays up: taken down,
    // it would lose its routes.
    ...(linkMac === link.mac ? [] : [{ op: 'link.set', link: link.ifindex, change: { mac: linkMac } } as const]),
    // Two ports: what does not go to the one goes to the other, and nothing is to be learned. What was learned could be moved by a frame
    // from outside that carries the guest's MAC.
    { op: 'link.set', link: link.ifindex, change: { master: bridge } },
    { op: 'link.set', link: link.ifindex, change: { port: { learning: false } } },
    { op: 'link.set', link: tap, change: { master: bridge } },
    { op: 'link.set', link: tap, change: { port: { learning: false } } },
    { op: 'fdb.set', link: tap, entry: { mac: guestMac, state: 'noarp', flags: ['master'] } },
    { op: 'link.set', link: tap, change: { up: true } },
    { op: 'link.set', link: bridge, change: { up: true } },
  ];
  const wiring = (after: State): BridgeWiring => ({ mode: 'bridge', ...device.wiring(after), bridge: named(after, bridge), guestMac, linkMac, ...(source !== undefined && { source }) }); // prettier-ignore
  return { operations, wiring };
}

function faults(wiring: BridgeWiring, state: State): readonly Fault[] {
  const faults = new Faults(state);
  const link = faults.link('LINK', wiring.link);
  const tap = faults.link('TAP', wiring.tap);
  const bridge = faults.link('BRIDGE', wiring.bridge);
  if (link === undefined || tap === undefined || bridge === undefined) return faults.found;

  for (const port of [link, tap]) {
    if (port.master === bridge.ifindex) continue;
    const where = port.master === undefined ? 'no bridge' : `'${state.links.get(port.master)?.name ?? `if${port.master}`}'`;
    faults.tell('NOT_ENSLAVED', `${port.name} is a port of ${where} instead of '${bridge.name}': no frame reaches the guest`, `ip link set dev ${port.name} master ${bridge.name}`, setOf(port, { master: bridge.ifindex }), setOf(port, { port: { learning: false } })); // prettier-ignore
  }
  faults.down(link, tap, bridge);
  if (link.mac === wiring.guestMac && link.mac !== wiring.linkMac)
    faults.tell('MAC_IS_THE_GUESTS', `${link.name} has the guest's MAC ${link.mac}: the bridge keeps frames for it to itself`, `ip link set dev ${link.name} address ${wiring.linkMac}`, setOf(link, { mac: wiring.linkMac })); // prettier-ignore
  else faults.mac(link, wiring.linkMac);
  if (bridge.mac === wiring.guestMac)
    faults.tell(
      'MAC_IS_THE_GUESTS',
      `${bridge.name} has the guest's MAC ${bridge.mac}: it answers in its place`,
      `give ${bridge.name} another MAC`,
    );
  faults.mtu(link, tap, wiring.mtu, 'the bridge drops longer frames without a word');
  for (const { address, peer } of addressesOf(state, link.ifindex))
    faults.tell('ADDRESS_ON_LINK', `${link.name} has the address ${address}: as a port of a bridge it can neither send nor be reached by it`, `ip address delete ${address} dev ${link.name}, and tell the guest`, { op: 'address.delete', link: link.ifindex, address: { address, ...(peer !== undefined && { peer }) } }); // prettier-ignore
  const entry = [...state.resources.values()].filter(({ kind, key }) => kind === 'fdb' && key.includes(`/${wiring.guestMac}/`));
  if (tap.master === bridge.ifindex && !entry.some(({ key }) => key.startsWith(keys.fdb(tap.ifindex, wiring.guestMac))))
    faults.tell('FDB_ENTRY_MISSING', `${bridge.name} does not know that ${wiring.guestMac} is at ${tap.name}`, `bridge fdb replace ${wiring.guestMac} dev ${tap.name} master static`, { op: 'fdb.set', link: tap.ifindex, entry: { mac: wiring.guestMac, state: 'noarp', flags: ['master'] } }); // prettier-ignore
  if (link.addrGenMode !== undefined && settingOf(link, 'addrGenMode') !== 'none')
    faults.tell('IPV6_NOT_SILENT', `${link.name} makes IPv6 addresses of its own (addrgenmode ${link.addrGenMode})`, `ip link set dev ${link.name} addrgenmode none`, setOf(link, { addrGenMode: 'none' })); // prettier-ignore
  if (wiring.source !== undefined) guardFaults(faults, state, tap, wiring.source, GUARD);
  if (bridge.inet6 !== undefined)
    faults.tell('IPV6_NOT_SILENT', `${bridge.name} has IPv6, and would take a prefix from a router's advertisement`, `ip link set dev ${bridge.name} mtu 1279`, setOf(bridge, { mtu: 1279 })); // prettier-ignore
  return faults.found;
}

function find(mark: Mark, links: readonly Link[], state: State): Found<BridgeWiring> {
  const tap = links.find(({ kind }) => kind === 'tun');
  const bridge = links.find(({ kind }) => kind === 'bridge');
  const link = state.link(mark.link) ?? [...state.links.values()].find(({ master, ifindex }) => master === bridge?.ifindex && ifindex !== tap?.ifindex); // prettier-ignore
  const problems = missing(mark, [['TAP', tap], ['bridge', bridge], [`interface '${mark.link}'`, link]]); // prettier-ignore
  if (link === undefined || tap === undefined || bridge === undefined) return { link, tap, problems };
  const guestMac = mark.mac ?? '02:00:00:00:00:00'; // somebody wrote the mark who did not know it: that it is nowhere is told
  // It must be any but the guest's.
  const linkMac = link.mac === guestMac ? localMac() : link.mac;
  const wiring: BridgeWiring = { mode: 'bridge', ...seen(link, tap), bridge: { name: bridge.name, ifindex: bridge.ifindex }, guestMac, linkMac }; // prettier-ignore
  return { link, tap, wiring, problems };
}

/** From the bridge, by its table. */
function inlet(netns: Netns, { bridge }: BridgeWiring): Promise<Inlet> {
  return PacketSocket.open(netns, bridge.ifindex, { protocol: 0 }).then((socket) => ({
    send: (frame) => socket.send([frame]),
    [Symbol.asyncDispose]: () => socket.close(),
  }));
}

export const bridge: Datapath<BridgeWiring> = {
  mode: 'bridge',
  schema,
  parts: [],
  partsAfter: ['address', 'route', 'neighbor', 'proxy', 'fdb'],
  faultParts: ['address', 'fdb'],
  keepsAddresses: false,
  refusal: ({ kind }) => unbridged[kind],
  plan,
  faults,
  find,
  inlet,
};
