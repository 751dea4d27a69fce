import { array, check, cidr, interfaceMac, ip, mtu as mtuSchema, optional, options, prefix } from '../check.js';
import { Netns } from '../kernel/netns.js';
import type { Tap } from '../kernel/tap.js';
import { addAddress } from '../primitive/address.js';
import { addRoute } from '../primitive/route.js';
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
 * microVM would. Each frame goes through this process, from the TAP's descriptor to the guest's card and back.
 *
 * @example await using guest = await runGuest(tap, { mac, addresses: ['172.17.0.5/16'], routes: [{ dst: 'default', via: '172.17.0.1' }] })
 */
export async function runGuest(tap: Tap, settings: GuestOptions): Promise<Guest> {
  const { mac, mtu = tap.mtu, addresses, routes = [] } = check(schema, settings, 'runGuest');
  const pulled = new AbortController();
  const netns = await Netns.create();
  const wires: Promise<void>[] = [];
  const close = async (): Promise<void> => {
    pulled.abort();
    await Promise.all(wires);
    await netns.close();
  };
  try {
    const card = await createTap(netns, 'eth0', { mac, mtu });
    wires.push(
      carry(tap, card, pulled.signal),
      carry(card, tap, pulled.signal).finally(() => card.close()),
    );
    for (const address of addresses) await addAddress(netns, 'eth0', { address, flags: address.includes(':') ? ['nodad'] : [] });
    for (const { dst, via } of routes) await addRoute(netns, { dst, dev: 'eth0', ...(via !== undefined && { via, onlink: true }) });
  } catch (error) {
    await close();
    throw error;
  }
  return { netns, close, [Symbol.asyncDispose]: close };
}

async function carry(from: Tap, to: Tap, signal: AbortSignal): Promise<void> {
  for await (const frames of from.frames({ signal })) await to.send(frames);
}
