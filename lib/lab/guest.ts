import { array, check, cidr, interfaceMac, ip, mtu as mtuSchema, optional, options, prefix } from '../check.js';
import { type GuestNetwork, type GuestRoute, complete } from '../guest/network.js';
import { Netns } from '../kernel/netns.js';
import type { TapDevice } from '../kernel/device.js';
import { addAddress } from '../primitive/address.js';
import { setNeighbor } from '../primitive/neighbor.js';
import { addRoute } from '../primitive/route.js';
import { setSysctl } from '../primitive/sysctl.js';
import { createTap } from '../primitive/tap.js';

export interface GuestOptions {
  /** Its card's. */
  readonly mac: string;
  /** Default: the TAP's. */
  readonly mtu?: number;
  readonly addresses: readonly string[];
  /** `via` need not be on one of its subnets. */
  readonly routes?: readonly { readonly dst: string; readonly via?: string }[];
}

/** A guest for labs and tests: a TCP/IP stack of its own whose only wire is a TAP's descriptor. */
export interface Guest extends AsyncDisposable {
  /** Where its programs run. `eth0` in it is the guest's network card. */
  readonly netns: Netns;
  /** Pulls the wire and ends the guest. */
  close(): Promise<void>;
}

const schema = options({
  mac: interfaceMac,
  mtu: optional(mtuSchema),
  addresses: array(cidr),
  routes: optional(array(options({ dst: prefix, via: optional(ip) }))),
});

/**
 * Runs a guest behind a TAP: a namespace with the kernel's own stack, which knows nothing but what it is told, as a unikernel or a
 * microVM would. It is told all of a GuestNetwork but its nameservers and its name: both families, gateways that are on none of its
 * subnets, metrics, MTUs, permanent neighbours. Each frame goes through this process, from the TAP's descriptor to the guest's card and
 * back; so the TAP must be one without vnet_hdr.
 *
 * @example await using guest = await runGuest(net.tap, net.guest) // what plumb made
 * @example await using guest = await runGuest(tap, { mac, addresses: ['172.17.0.5/16'], routes: [{ dst: 'default', via: '172.17.0.1' }] })
 */
export async function runGuest(tap: TapDevice, settings: GuestOptions | GuestNetwork): Promise<Guest> {
  const network = networkOf(settings, tap);
  const pulled = new AbortController();
  const netns = await Netns.create();
  const wires: Promise<void>[] = [];
  const close = async (): Promise<void> => {
    pulled.abort();
    await Promise.all(wires);
    await netns.close();
  };
  try {
    const isIpv6 = network.addresses.some(({ address }) => address.includes(':'));
    // The address that the card makes for itself would be tentative for a second, in which nothing can be sent from it.
    if (isIpv6) await setSysctl(netns, 'net.ipv6.conf.default.accept_dad', 0);
    const card = await createTap(netns, 'eth0', { mac: network.mac, mtu: network.mtu });
    const both = [carry(tap, card, pulled.signal), carry(card, tap, pulled.signal)];
    // Not when the first of them ends: the other may be about to send.
    wires.push(...both, Promise.allSettled(both).then(() => card.close()));
    await configure(netns, network);
  } catch (error) {
    await close();
    throw error;
  }
  return { netns, close, [Symbol.asyncDispose]: close };
}

/** A GuestNetwork has addresses that are more than text. */
function networkOf(settings: GuestOptions | GuestNetwork, tap: TapDevice): GuestNetwork {
  const { addresses } = (settings ?? {}) as { addresses?: unknown };
  if (Array.isArray(addresses) && addresses.some((address) => typeof address === 'object')) return complete(settings, 'runGuest');
  const { mac, mtu = tap.mtu, addresses: given, routes = [] } = check(schema, settings as GuestOptions, 'runGuest');
  return complete({ mac, mtu, addresses: given.map((address) => ({ address })), routes }, 'runGuest');
}

async function configure(netns: Netns, { addresses, routes, neighbors }: GuestNetwork): Promise<void> {
  for (const { address, scope, validLifetime, preferredLifetime } of addresses)
    await addAddress(netns, 'eth0', {
      address,
      flags: address.includes(':') ? ['nodad'] : [],
      ...(scope !== undefined && { scope }),
      ...(validLifetime !== undefined && { validLifetime }),
      ...(preferredLifetime !== undefined && { preferredLifetime }),
    });
  // Gateways stand on routes to the link.
  for (const route of [...routes].sort((a, b) => Number(hasGateway(a)) - Number(hasGateway(b)))) {
    const { nexthops, ...rest } = route;
    if (route.type !== undefined) await addRoute(netns, rest);
    else if (nexthops === undefined) await addRoute(netns, { ...rest, dev: 'eth0' });
    else await addRoute(netns, { ...rest, nexthops: nexthops.map((leg) => ({ ...leg, dev: 'eth0' })) });
  }
  for (const { address, mac, permanent } of neighbors)
    if (permanent === true) await setNeighbor(netns, 'eth0', { address, mac, state: 'permanent' });
}

function hasGateway({ via, nexthops }: GuestRoute): boolean {
  return via !== undefined || nexthops !== undefined;
}

async function carry(from: TapDevice, to: TapDevice, signal: AbortSignal): Promise<void> {
  for await (const frames of from.frames({ signal })) await to.send(frames);
}
