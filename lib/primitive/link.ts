import * as v from 'valibot';
import { type LinkRef, boolean, check, cidr, instance, linkRef, optional, options, text } from '../check.js';
import { NetlinkError } from '../errors.js';
import { findLink, noLink } from '../kernel/link.js';
import { Netns, attachment, netnsNumber } from '../kernel/netns.js';
import type { LinkOptions, PeerOptions } from '../operation/link.js';
import type { BridgeKindOptions } from '../operation/link/bridge.js';
import type { MacvlanOptions } from '../operation/link/macvlan.js';
import type { VxlanOptions } from '../operation/link/vxlan.js';
import type { Operation } from '../operation/kinds.js';
import { deleted, putBack, run } from '../operation/run.js';
import { type Link, decodeLink, encodeLinkDump } from '../wire/link.js';
import { addAddress } from './address.js';
import type { Scope } from './scope.js';
import { indexOf, readTable } from './table.js';

/** Of a bridge: what every interface has, and what is a bridge's own. */
export type BridgeOptions = LinkOptions & BridgeKindOptions;

/**
 * Makes an interface of any kind that the kernel knows: 'bridge', 'dummy', 'ifb', 'ipvlan', 'macvlan', 'macvtap', 'vlan', 'vxlan', ...
 * What is asked for stands in the one message that makes it, as far as the kernel takes it there; if the rest fails, it is deleted.
 *
 * Like `ip link add NAME type KIND ...`. RTM_NEWLINK.
 * @throws NetlinkError EEXIST: the name or index is taken; UnsupportedError: the kernel lacks the kind
 * @example await createLink(pod, 'bridge', 'br0', { stp: false, up: true })
 */
export async function createLink(
  scope: Scope,
  kind: string,
  name: string,
  settings: LinkOptions | (LinkOptions & Readonly<Record<string, unknown>>) = {},
): Promise<Link> {
  return make(scope, 'createLink', { op: 'link.create', kind, name, options: settings });
}

/** Makes a bridge. Like `ip link add NAME type bridge`; see createLink. */
export function createBridge(scope: Scope, name: string, settings: BridgeOptions = {}): Promise<Link> {
  return make(scope, 'createBridge', { op: 'link.create', kind: 'bridge', name, options: settings });
}

/** Makes a macvtap: an interface on another one, with a character device as its wire. Like `ip link add link LINK name NAME type macvtap`; see createLink. */
export function createMacvtap(scope: Scope, name: string, settings: LinkOptions & MacvlanOptions): Promise<Link> {
  return make(scope, 'createMacvtap', { op: 'link.create', kind: 'macvtap', name, options: settings });
}

/** Makes a VXLAN: Ethernet over UDP. Like `ip link add NAME type vxlan id N dstport 8472`; see createLink. */
export function createVxlan(scope: Scope, name: string, settings: LinkOptions & VxlanOptions): Promise<Link> {
  return make(scope, 'createVxlan', { op: 'link.create', kind: 'vxlan', name, options: settings });
}

/** One end of a veth pair. IPv6 addresses are added without duplicate address detection: nobody else is on the wire yet. */
export interface VethEnd extends LinkOptions {
  readonly addresses?: readonly string[];
}

/**
 * Makes a veth pair: two interfaces joined by a wire, the other end in another namespace if `peer.scope` is given. It is made there
 * at once, under its name, and never passes through this one.
 *
 * Like `ip link add NAME type veth peer name PEER netns OTHER`. veth(4).
 * @throws NetlinkError EEXIST: a name is taken, in either namespace
 * @example await createVeth(node, 'veth0', { up: true, peer: { scope: pod, name: 'eth0', addresses: ['10.1.0.2/24'], up: true } })
 */
export async function createVeth(
  scope: Scope,
  name: string,
  settings: VethEnd & { readonly peer: VethEnd & { readonly scope?: Scope; readonly name: string } },
): Promise<Link> {
  const loose = v.custom<VethEnd>((value) => typeof value === 'object' && value !== null, 'must be an object of options');
  const { peer, addresses, ...near } = check(loose, settings, 'createVeth') as typeof settings;
  const {
    scope: there = scope,
    name: peerName,
    addresses: peerAddresses,
    ...far
  } = check(loose, peer, "createVeth: 'peer'") as typeof peer;
  for (const each of [addresses, peerAddresses])
    check(optional(v.array(cidr, 'must be an array of addresses')), each, "createVeth: 'addresses'");
  const { creation, later } = inCreation(far);
  const netnsFd = there === scope ? undefined : netnsNumber(there);
  const made = await make(scope, 'createVeth', {
    op: 'veth.create',
    name,
    options: near,
    peer: { name: peerName, options: creation, ...(netnsFd !== undefined && { netnsFd }) },
  });
  try {
    if (later !== undefined) await setLink(there, peerName, later);
    for (const address of addresses ?? []) await addAddress(scope, name, { address, flags: nodad(address) });
    for (const address of peerAddresses ?? []) await addAddress(there, peerName, { address, flags: nodad(address) });
    return made;
  } catch (error) {
    return putBack(error, () => deleteLink(scope, made.ifindex));
  }
}

/** What of the far end must be said in its own namespace, once it is there: being up too, because only then is the pair joined. */
function inCreation({ mac, mtu, txQueueLength, group, ifindex, ...later }: LinkOptions): {
  creation: PeerOptions;
  later: LinkOptions | undefined;
} {
  return {
    creation: { mac, mtu, txQueueLength, group, ifindex },
    later: Object.values(later).some((one) => one !== undefined) ? later : undefined,
  };
}

function nodad(address: string): string[] {
  return address.includes(':') ? ['nodad'] : [];
}

/** One interface, by name, altname or index; undefined where there is none. Like `ip -d link show dev LINK`. */
export async function getLink(scope: Scope, link: LinkRef): Promise<Link | undefined> {
  return findLink(scope, check(linkRef, link, 'getLink'));
}

/**
 * Lists interfaces: those of a kind, under a master, that are up, or all.
 *
 * Like `ip -d link show [type KIND] [master MASTER] [up]`, with `-s` for statistics. RTM_GETLINK.
 */
export async function listLinks(
  scope: Scope,
  filter: { readonly kind?: string; readonly master?: LinkRef; readonly up?: boolean; readonly statistics?: boolean } = {},
): Promise<readonly Link[]> {
  const schema = options({ kind: optional(text), master: optional(linkRef), up: optional(boolean), statistics: optional(boolean) });
  const { kind, master, up, statistics } = check(schema, filter, 'listLinks');
  const index = await indexOf(scope, master);
  const links = await readTable(scope, encodeLinkDump({ kind, ...(index !== 0 && { master: index }) }), (from, message) =>
    decodeLink(from, message, statistics),
  );
  return links.filter(
    (link) => (kind === undefined || link.kind === kind) && (index === 0 || link.master === index) && (up === undefined || link.up === up),
  );
}

/**
 * Changes an interface; what is not given stays as it is. `name` renames it, `netns` moves it to another namespace. A change of MAC
 * takes every neighbour of the interface with it, permanent ones too; one of MTU below 1280 its IPv6.
 *
 * Like `ip link set dev LINK ...`, `bridge link set dev LINK ...`. RTM_SETLINK.
 * @throws PodtapError ENODEV: there is no such interface; NetlinkError EBUSY: it is somebody's already, or is up and was to be renamed, which
 *   is possible since Linux 6.2
 * @example await setLink(pod, 'eth0', { master: 'br0', up: true })
 */
export async function setLink(
  scope: Scope,
  link: LinkRef,
  change: LinkOptions & { readonly name?: string; readonly netns?: Netns },
): Promise<void> {
  const { netns, ...rest } = check(
    v.custom<typeof change>((value) => typeof value === 'object' && value !== null, 'must be an object of options'),
    change,
    'setLink',
  );
  check(optional(instance(Netns as never, 'a Netns')), netns, "setLink: 'netns'");
  await run(scope, 'setLink', [{ op: 'link.set', link, change: { ...rest, ...(netns !== undefined && { netnsFd: netnsNumber(netns) }) } }]);
}

/** Deletes an interface; of a veth pair both ends. Like `ip link delete dev LINK`. Resolves false where there was none. */
export async function deleteLink(scope: Scope, link: LinkRef): Promise<boolean> {
  return deleted(run(scope, 'deleteLink', [{ op: 'link.delete', link }]));
}

async function make(scope: Scope, where: string, operation: Operation & { name: string }): Promise<Link> {
  attachment(scope);
  let error: unknown;
  try {
    await run(scope, where, [operation]);
  } catch (caught) {
    error = caught;
  }
  // The first request makes it, the further ones set what the kernel does not take there: a failure of those leaves a stranger's
  // name alone, but not a half-made interface.
  if (error instanceof NetlinkError && error.index > 0) await deleteLink(scope, operation.name);
  if (error !== undefined) throw error as Error;
  const made = await findLink(scope, operation.name);
  if (made === undefined) throw noLink(operation.name);
  return made;
}
