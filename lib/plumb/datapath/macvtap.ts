// The datapath 'macvtap': no bridge and no TAP. An interface on eth0, whose wire is a descriptor, takes eth0's frames. The pod's stack
// would still get broadcasts and multicasts, and answer ARP and neighbour solicitations beside the guest: so eth0 loses its addresses. The
// macvtap hears all multicasts, or the guest would hear no solicitation. Undone by deletion. Measured on Linux 6.18.
import type * as v from 'valibot';
import { oneOf, options } from '../../check.js';
import { localMac } from '../../primitive/mac.js';
import type { Operation } from '../../operation/kinds.js';
import { settingOf } from '../../state/link.js';
import type { State } from '../../state/snapshot.js';
import type { Link } from '../../wire/link.js';
import { type Datapath, type Fault, Faults, type Found, LEAST_IPV6_MTU, type PlanInput, type Planned, addressDeletions, missing, named, seen, setOf, wiringEntries } from './datapath.js'; // prettier-ignore
import { type GuardPlace, guardFaults, guardOperations, sourceOf } from './guard.js';
import { inletBy } from './inlet.js';
import { addressesOf } from '../link.js';
import type { Mark } from '../mark.js';

const submode = oneOf('passthru', 'bridge');
const schema = options({ mode: oneOf('macvtap'), ...wiringEntries, macvtap: submode });
export type MacvtapWiring = v.InferOutput<typeof schema>;

/** Those without a receiver of their own; net/core/dev.c, netdev_rx_handler_register(), IFF_MACVLAN_PORT. */
const unusable: Readonly<Record<string, string>> = {
  bridge: 'is a bridge, which receives its frames itself',
  ipvlan: 'shares its MAC with the interface below',
  loopback: 'is the loopback',
  macvtap: 'is the wire of a guest itself',
};

/** What the guest sends goes out by the macvtap, as far as the kernel is concerned. */
const GUARD: GuardPlace = { direction: 'egress' };

function plan({ link, addresses, asked, tap, guestMac, mtu, mark, fresh }: PlanInput): Planned<MacvtapWiring> {
  const { queues, vnetHdr, offload, ifindex } = asked.tap;
  const macvtap = asked.macvtap;
  const has6 = link.addrGenMode !== undefined;
  // In mode 'bridge' the two have a MAC each; in 'passthru' they share one, which follows either.
  const [, otherMac] = fresh.macs;
  const linkMac = macvtap === 'passthru' ? guestMac : guestMac === link.mac ? otherMac : link.mac;
  const setLinkMac: readonly Operation[] = linkMac === link.mac ? [] : [{ op: 'link.set', link: link.ifindex, change: { mac: linkMac } }];
  const source = asked.antiSpoof ? sourceOf(guestMac, addresses) : undefined;
  const create: Operation = {
    op: 'link.create',
    kind: 'macvtap',
    name: tap,
    options: { link: link.ifindex, mode: macvtap, ...(ifindex !== undefined && { ifindex }), ...(macvtap === 'bridge' && { mac: guestMac }) } as object, // prettier-ignore
  };
  const operations: readonly Operation[] = [
    ...(has6 && link.addrGenMode !== 'none' ? [{ op: 'link.set', link: link.ifindex, change: { addrGenMode: 'none' } } as const] : []),
    ...addressDeletions(link, addresses),
    // What a macvtap in 'passthru' finds when it is made, it leaves when it is deleted.
    ...(macvtap === 'passthru' ? [create, ...setLinkMac] : [...setLinkMac, create]),
    { op: 'link.set', link: tap, change: { mtu, alias: mark, allMulticast: true, ...(has6 && mtu >= LEAST_IPV6_MTU && { addrGenMode: 'none' as const }) } }, // prettier-ignore
    ...(source !== undefined ? guardOperations(tap, source, GUARD) : []),
    { op: 'link.set', link: tap, change: { up: true } },
  ];
  const wiring = (after: State): MacvtapWiring => ({
    mode: 'macvtap',
    link: { name: link.name, ifindex: link.ifindex },
    tap: named(after, tap),
    guestMac,
    tapMac: guestMac,
    linkMac,
    mtu,
    shape: { queues, vnetHdr, offload },
    attach: 'fd',
    macvtap,
    ...(source !== undefined && { source }),
  });
  return { operations, wiring };
}

function faults(wiring: MacvtapWiring, state: State): readonly Fault[] {
  const faults = new Faults(state);
  const link = faults.link('LINK', wiring.link);
  const tap = faults.link('TAP', wiring.tap);
  if (link === undefined || tap === undefined) return faults.found;
  faults.down(link, tap);
  faults.mac(link, wiring.linkMac);
  faults.mac(tap, wiring.guestMac);
  faults.mtu(link, tap, wiring.mtu, 'the guest was told another one');
  if (wiring.source !== undefined) guardFaults(faults, state, tap, wiring.source, GUARD);
  if (!tap.flags.includes('ALLMULTI'))
    faults.tell('NOT_ALL_MULTICAST', `${tap.name} does not hear all multicasts: neighbour solicitations do not reach the guest`, `ip link set dev ${tap.name} allmulticast on`, setOf(tap, { allMulticast: true })); // prettier-ignore
  for (const one of addressesOf(state, link.ifindex))
    faults.tell('ADDRESS_ON_LINK', `${link.name} has the address ${one.address}: the pod answers for it beside the guest`, `ip address delete ${one.address} dev ${link.name}, and tell the guest`, ...addressDeletions(link, [one])); // prettier-ignore
  if (link.addrGenMode !== undefined && settingOf(link, 'addrGenMode') !== 'none')
    faults.tell('IPV6_NOT_SILENT', `${link.name} makes IPv6 addresses of its own (addrgenmode ${link.addrGenMode})`, `ip link set dev ${link.name} addrgenmode none`, setOf(link, { addrGenMode: 'none' })); // prettier-ignore
  return faults.found;
}

function find(mark: Mark, links: readonly Link[], state: State): Found<MacvtapWiring> {
  const tap = links.find(({ kind }) => kind === 'macvtap');
  const link = state.link(mark.link) ?? (tap?.lower === undefined ? undefined : state.links.get(tap.lower.ifindex));
  const problems = missing(mark, [['TAP', tap], [`interface '${mark.link}'`, link]]); // prettier-ignore
  if (link === undefined || tap === undefined) return { link, tap, problems };
  const info = tap.info instanceof Uint8Array ? undefined : (tap.info as { mode?: string } | undefined);
  const macvtap = info?.mode === 'bridge' ? 'bridge' : 'passthru';
  const guestMac = mark.mac ?? tap.mac;
  const linkMac = macvtap === 'passthru' ? guestMac : link.mac === guestMac ? localMac() : link.mac;
  return { link, tap, wiring: { mode: 'macvtap', ...seen(link, tap), guestMac, linkMac, macvtap }, problems };
}

export const macvtap: Datapath<MacvtapWiring> = {
  mode: 'macvtap',
  schema,
  tapPrefix: 'macvtap',
  parts: [],
  partsAfter: ['address', 'route', 'neighbor', 'proxy'],
  faultParts: ['address'],
  keepsAddresses: false,
  refusal: ({ kind }) => unusable[kind],
  plan,
  faults,
  find,
  inlet: inletBy,
};
