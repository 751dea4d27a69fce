import { randomBytes } from '../random.js';
import { type LinkRef, check, interfaceMac, linkRef, optional, options } from '../check.js';
import { PodtapError } from '../errors.js';
import { findLink, noLink } from '../kernel/link.js';
import type { Operation } from '../operation/kinds.js';
import { putBack, run } from '../operation/run.js';
import type { Link } from '../wire/link.js';
import { formatMac } from '../wire/text.js';
import { listNeighbors } from './neighbor.js';
import type { Scope } from './scope.js';

/** A fresh MAC that no vendor gave out: locally administered (bit 1 of the first byte), unicast (bit 0 clear). IEEE 802, 8.4. */
export function localMac(): string {
  const bytes = randomBytes(6);
  bytes[0] = (bytes[0]! & 0xfc) | 0x02;
  // A MAC of a TAP begins with 0xfe, so that a bridge never takes it for its own: keep those apart.
  if (bytes[0] === 0xfe) bytes[0] = 0x02;
  return formatMac(bytes, 0, 6);
}

const schema = options({
  from: linkRef,
  to: optional(linkRef), // 'guest' is no interface
  replaceWith: optional(interfaceMac),
});

/**
 * The guest takes over the MAC of the interface `from`, and `from` gets another one (`replaceWith`, or a fresh locally administered
 * MAC), so that the guest alone answers to the old one. With `to: 'guest'` (default) that is all: the guest is told its MAC, and the
 * TAP's host side keeps its own. With `to` an interface (a macvtap in bridge mode, say), that one gets the MAC as well.
 *
 * A bridge port is refused as `to`: its MAC becomes a local entry of the bridge's forwarding table, which swallows what is meant for
 * the guest. A change of MAC flushes the neighbours of an interface, permanent ones too: those are put back. Neither interface is
 * taken down. If anything fails, the MACs are what they were.
 *
 * Like `ip link set dev FROM address FRESH` and `ip link set dev TO address OLD`.
 * @returns the guest's MAC, and the one that `from` has now
 * @throws PodtapError ENODEV: there is no such interface; EINVAL: `to` is a bridge port, or is `from`;
 *   NetlinkError EBUSY, EADDRNOTAVAIL, EOPNOTSUPP: the kernel does not change the MAC of that kind of interface
 */
export async function cloneMac(
  scope: Scope,
  settings: { readonly from: LinkRef; readonly to?: LinkRef; readonly replaceWith?: string },
): Promise<{ readonly guestMac: string; readonly linkMac: string }> {
  const { from, to = 'guest', replaceWith } = check(schema, settings, 'cloneMac');
  const source = await link(scope, from);
  const target = to === 'guest' ? undefined : await link(scope, to);
  if (target?.ifindex === source.ifindex)
    throw new PodtapError(`EINVAL: cloneMac: 'to' is the interface '${source.name}' itself`, { code: 'EINVAL' });
  if (target?.portKind === 'bridge') {
    throw new PodtapError(
      `EINVAL: cloneMac: '${target.name}' is a port of a bridge: its MAC would become a local entry of the bridge's FDB, which swallows what is meant for the guest; use to: 'guest'`,
      { code: 'EINVAL' },
    );
  }
  const linkMac = replaceWith ?? localMac();
  if (linkMac === source.mac)
    throw new PodtapError(`EINVAL: cloneMac: 'replaceWith' is the MAC that '${source.name}' has`, { code: 'EINVAL' });
  const changed = [source, ...(target === undefined ? [] : [target])];
  const neighbors = await keptNeighbors(scope, changed);
  try {
    await run(scope, 'cloneMac', [setMac(source, linkMac), ...(target === undefined ? [] : [setMac(target, source.mac)]), ...neighbors]);
  } catch (error) {
    // In reverse: of two interfaces on one wire, only one may have a MAC at a time.
    return putBack(error, () => run(scope, 'cloneMac', [...changed.reverse().map((one) => setMac(one, one.mac)), ...neighbors]));
  }
  return { guestMac: source.mac, linkMac };
}

async function link(scope: Scope, ref: LinkRef): Promise<Link> {
  const found = await findLink(scope, ref);
  if (found === undefined) throw noLink(ref);
  return found;
}

function setMac({ ifindex }: Link, mac: string): Operation {
  return { op: 'link.set', link: ifindex, change: { mac } };
}

/** Those that somebody set: what was learned is learned again. */
async function keptNeighbors(scope: Scope, links: readonly Link[]): Promise<Operation[]> {
  const kept: Operation[] = [];
  for (const { ifindex } of links) {
    for (const { address, mac, state, flags, protocol } of await listNeighbors(scope, { link: ifindex })) {
      if (state !== 'permanent' && !(state === 'noarp' && protocol !== undefined && protocol !== 'kernel')) continue;
      kept.push({
        op: 'neighbor.set',
        link: ifindex,
        neighbor: { address, mac, state, ...(flags !== undefined && { flags }), ...(protocol !== undefined && { protocol }) },
      });
    }
  }
  return kept;
}
