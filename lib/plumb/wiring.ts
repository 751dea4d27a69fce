// What a plumbing by bridge consists of, and whether it is still so: compared with a state of the namespace.
import type * as v from 'valibot';
import { boolean, ifindex, integer, interfaceMac, interfaceName, mtu, oneOf, optional, options } from '../check.js';
import type { Operation } from '../operation/kinds.js';
import type { Problem } from '../primitive/host.js';
import { keys } from '../state/resource.js';
import { settingOf } from '../state/link.js';
import type { State } from '../state/snapshot.js';
import type { Link } from '../wire/link.js';
import { addressesOf } from './link.js';

const named = options({ name: interfaceName, ifindex });

/** Also how it is kept in the journal. */
export const wiringSchema = options({
  mode: oneOf('bridge'),
  link: named,
  tap: named,
  bridge: named,
  guestMac: interfaceMac,
  /** Of the TAP's host side. */
  tapMac: interfaceMac,
  linkMac: interfaceMac,
  mtu,
  shape: options({
    queues: integer(1, 256),
    vnetHdr: boolean,
    offload: options({ csum: optional(boolean), tso4: optional(boolean), tso6: optional(boolean), uso: optional(boolean) }),
  }),
  attach: oneOf('name', 'fd'),
});
export type Wiring = v.InferOutput<typeof wiringSchema>;

/** A problem, with what mends it, where that can be done. */
export interface Fault extends Problem {
  readonly repair: readonly Operation[];
}

/** Tables that must have been read for `faultsOf`. */
export const wiringParts = ['address', 'fdb'] as const;

/** What is not as it was made. Empty: the guest can be reached. */
export function faultsOf(wiring: Wiring, state: State): readonly Fault[] {
  const faults: Fault[] = [];
  const tell = (code: string, message: string, fix: string, ...repair: readonly Operation[]): void =>
    void faults.push({ code, message, fix, repair });
  const set = (of: Link, change: object): Operation => ({ op: 'link.set', link: of.ifindex, change });
  const find = (what: string, { name, ifindex: index }: Wiring['tap']): Link | undefined => {
    const link = state.links.get(index);
    if (link === undefined) tell(`${what}_GONE`, `${name} (${index}) is gone`, 'undo the plumbing, and plumb anew');
    return link;
  };
  const link = find('LINK', wiring.link);
  const tap = find('TAP', wiring.tap);
  const bridge = find('BRIDGE', wiring.bridge);
  if (link === undefined || tap === undefined || bridge === undefined) return faults;

  for (const port of [link, tap]) {
    if (port.master === bridge.ifindex) continue;
    const where = port.master === undefined ? 'no bridge' : `'${state.links.get(port.master)?.name ?? `if${port.master}`}'`;
    tell('NOT_ENSLAVED', `${port.name} is a port of ${where} instead of '${bridge.name}': no frame reaches the guest`, `ip link set dev ${port.name} master ${bridge.name}`, set(port, { master: bridge.ifindex }), set(port, { port: { learning: false } })); // prettier-ignore
  }
  for (const one of [link, tap, bridge])
    if (!one.up) tell('LINK_DOWN', `${one.name} is down`, `ip link set dev ${one.name} up`, set(one, { up: true }));
  if (link.mac === wiring.guestMac && link.mac !== wiring.linkMac)
    tell('MAC_IS_THE_GUESTS', `${link.name} has the guest's MAC ${link.mac}: the bridge keeps frames for it to itself`, `ip link set dev ${link.name} address ${wiring.linkMac}`, set(link, { mac: wiring.linkMac })); // prettier-ignore
  else if (link.mac !== wiring.linkMac)
    tell('MAC_CHANGED', `${link.name} has the MAC ${link.mac} instead of ${wiring.linkMac}`, `ip link set dev ${link.name} address ${wiring.linkMac}`, set(link, { mac: wiring.linkMac })); // prettier-ignore
  if (bridge.mac === wiring.guestMac)
    tell(
      'MAC_IS_THE_GUESTS',
      `${bridge.name} has the guest's MAC ${bridge.mac}: it answers in its place`,
      `give ${bridge.name} another MAC`,
    );
  if (tap.mtu !== Math.min(wiring.mtu, link.mtu))
    tell('MTU_MISMATCH', `${tap.name} has MTU ${tap.mtu}, ${link.name} ${link.mtu}: the bridge drops longer frames without a word`, `ip link set dev ${tap.name} mtu ${Math.min(wiring.mtu, link.mtu)}, and tell the guest`, set(tap, { mtu: Math.min(wiring.mtu, link.mtu) })); // prettier-ignore
  for (const { address, peer } of addressesOf(state, link.ifindex))
    tell('ADDRESS_ON_LINK', `${link.name} has the address ${address}: as a port of a bridge it can neither send nor be reached by it`, `ip address delete ${address} dev ${link.name}, and tell the guest`, { op: 'address.delete', link: link.ifindex, address: { address, ...(peer !== undefined && { peer }) } }); // prettier-ignore
  const entry = [...state.resources.values()].filter(({ kind, key }) => kind === 'fdb' && key.includes(`/${wiring.guestMac}/`));
  if (tap.master === bridge.ifindex && !entry.some(({ key }) => key.startsWith(keys.fdb(tap.ifindex, wiring.guestMac))))
    tell('FDB_ENTRY_MISSING', `${bridge.name} does not know that ${wiring.guestMac} is at ${tap.name}`, `bridge fdb replace ${wiring.guestMac} dev ${tap.name} master static`, { op: 'fdb.set', link: tap.ifindex, entry: { mac: wiring.guestMac, state: 'noarp', flags: ['master'] } }); // prettier-ignore
  if (link.addrGenMode !== undefined && settingOf(link, 'addrGenMode') !== 'none')
    tell('IPV6_NOT_SILENT', `${link.name} makes IPv6 addresses of its own (addrgenmode ${link.addrGenMode})`, `ip link set dev ${link.name} addrgenmode none`, set(link, { addrGenMode: 'none' })); // prettier-ignore
  if (bridge.inet6 !== undefined)
    tell('IPV6_NOT_SILENT', `${bridge.name} has IPv6, and would take a prefix from a router's advertisement`, `ip link set dev ${bridge.name} mtu 1279`, set(bridge, { mtu: 1279 })); // prettier-ignore
  return faults;
}

export function problemOf({ code, message, fix }: Fault): Problem {
  return { code, message, fix };
}
