// The datapath 'bridge': eth0 and the TAP are the two ports of a bridge, and the guest takes the place that eth0 had on the wire. A pure
// function from what is there to what is to be done. What each step is for was measured on Linux 6.18.
import type { Operation } from '../operation/kinds.js';
import type { Address } from '../wire/address.js';
import type { Link } from '../wire/link.js';
import type { Asked } from './options.js';

export interface BridgeInput {
  readonly link: Link;
  /** Of the link, in the order of the kernel's dump. */
  readonly addresses: readonly Address[];
  readonly asked: Asked['tap'];
  readonly names: { readonly tap: string; readonly bridge: string };
  readonly macs: { readonly guest: string; readonly link: string; readonly bridge: string; readonly tap: string };
  readonly mtu: number;
  /** For IFLA_IFALIAS of what is made. */
  readonly mark: string;
}

/**
 * Below 1280 a device has no IPv6 at all (RFC 8200, 5): a bridge, whose addrgenmode 'none' alone would let it take a prefix from a router's
 * advertisement, says nothing then. Its own MTU is that of its own packets, and it has none: frames between ports are measured by
 * theirs. No sysctl is needed, and so no writable /proc/sys.
 */
const SILENT_MTU = 1279;
const LEAST_IPV6_MTU = 1280;

export function planBridge({ link, addresses, asked, names, macs, mtu, mark }: BridgeInput): readonly Operation[] {
  const { persist, queues, vnetHdr, offload, owner, group, ifindex } = asked;
  const has6 = link.addrGenMode !== undefined;
  return [
    {
      op: 'tap.create',
      name: names.tap,
      persist,
      queues,
      vnetHdr,
      offload,
      ...(owner !== undefined && { owner }),
      ...(group !== undefined && { group }),
      ...(ifindex !== undefined && { ifindex }),
    },
    // A MAC that begins with 0xfe is never lower than another port's. addr_gen_mode is refused in the message that makes a device, and
    // must be 'none' before the device is up: the TAP would send its own solicitations to the guest.
    { op: 'link.set', link: names.tap, change: { mac: macs.tap, mtu, alias: mark, ...(has6 && mtu >= LEAST_IPV6_MTU && { addrGenMode: 'none' as const }) } }, // prettier-ignore
    {
      op: 'link.create',
      kind: 'bridge',
      name: names.bridge,
      // A MAC of its own: one that follows the ports would change with them, and one that is the guest's would answer for it.
      options: { mac: macs.bridge, stp: false, forwardDelay: 0, multicastSnooping: false, netfilter: false } as object,
    },
    // Given in the creation, the MTU would follow that of the ports.
    { op: 'link.set', link: names.bridge, change: { mtu: SILENT_MTU, alias: mark } },
    // disable_ipv6 would silence eth0 as well, and destroy its static routes. Without addresses, and with none made, it is as silent.
    ...(has6 && link.addrGenMode !== 'none' ? [{ op: 'link.set', link: link.ifindex, change: { addrGenMode: 'none' } } as const] : []),
    ...inDeletionOrder(addresses).map(
      ({ address, peer }): Operation => ({ op: 'address.delete', link: link.ifindex, address: { address, ...(peer !== undefined && { peer }) } }), // prettier-ignore
    ),
    // eth0's own MAC becomes an entry of the bridge's table that means the host: it must not be the guest's. eth0 stays up: taken down,
    // it would lose its routes.
    ...(macs.link === link.mac ? [] : [{ op: 'link.set', link: link.ifindex, change: { mac: macs.link } } as const]),
    // Two ports: what does not go to the one goes to the other, and nothing is to be learned. What was learned could be moved by a frame
    // from outside that carries the guest's MAC.
    { op: 'link.set', link: link.ifindex, change: { master: names.bridge } },
    { op: 'link.set', link: link.ifindex, change: { port: { learning: false } } },
    { op: 'link.set', link: names.tap, change: { master: names.bridge } },
    { op: 'link.set', link: names.tap, change: { port: { learning: false } } },
    { op: 'fdb.set', link: names.tap, entry: { mac: macs.guest, state: 'noarp', flags: ['master'] } },
    { op: 'link.set', link: names.tap, change: { up: true } },
    { op: 'link.set', link: names.bridge, change: { up: true } },
  ];
}

/** IPv6 first; of IPv4 secondaries before their primary, which would take them with it. */
function inDeletionOrder(addresses: readonly Address[]): readonly Address[] {
  const rank = ({ address, flags = [] }: Address): number => (address.includes(':') ? 0 : flags.includes('secondary') ? 1 : 2);
  return [...addresses].sort((a, b) => rank(a) - rank(b));
}
