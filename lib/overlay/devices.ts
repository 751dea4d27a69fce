// The interfaces of an overlay: VXLAN devices and the bridge. Each is made, or mended, or made again.
import { findLink } from '../kernel/link.js';
import type { Netns } from '../kernel/netns.js';
import { readSysctl, writeSysctl } from '../kernel/sysctl.js';
import type { Operation } from '../operation/kinds.js';
import { isAbsent, run } from '../operation/run.js';
import { createBridge, createVxlan, deleteLink } from '../primitive/link.js';
import { localMac } from '../primitive/mac.js';
import type { InfoOf, Link } from '../wire/link.js';
import { namedInet6Conf, namedInetConf } from '../wire/link.js';
import { OverlayError } from './error.js';
import { ALIAS, UNFINISHED, type Underlay, type WantedHalf } from './wanted.js';

/** Where it is and how many changes that took. */
export interface Ensured {
  readonly link: Link;
  readonly changes: number;
}

export function isOurs(link: Link, made: ReadonlySet<number>): boolean {
  return link.alias === ALIAS || link.group === UNFINISHED || made.has(link.ifindex);
}

/** The VXLAN device of one half, as it should be. One that is not ours is left alone, and is an error. */
export async function ensureVtep(node: Netns, half: WantedHalf, underlay: Underlay, made: Set<number>): Promise<Ensured> {
  const { device: name, mac, mtu, vni, port, learning, family } = half;
  const found = await findLink(node, name);
  if (found !== undefined && !isOurs(found, made)) throw taken(name, found);
  let link = found;
  let changes = 0;
  // A VXLAN keeps its number, port and addresses for life.
  if (link !== undefined && !isLike(link, half, underlay)) {
    await deleteLink(node, link.ifindex);
    made.delete(link.ifindex);
    changes++;
    link = undefined;
  }
  if (link === undefined) {
    link = await createVxlan(node, name, {
      id: vni,
      link: underlay.ifindex,
      local: underlay.local[family]!,
      dstPort: port,
      learning,
      // A MAC that was set stays: systemd gives another one to devices whose MAC is random (its MACAddressPolicy).
      mac,
      mtu,
      group: UNFINISHED,
    });
    changes++;
  }
  made.add(link.ifindex);
  // It is the end of a tunnel without multicast: link-local addresses have nobody to talk to.
  const addrGenMode = link.addrGenMode === undefined || link.addrGenMode === 'none' ? {} : { addrGenMode: 'none' as const };
  changes += await mend(node, link, { ...(link.mac !== mac && { mac }), ...(link.mtu !== mtu && { mtu }), ...addrGenMode });
  return { link, changes };
}

/** Up last, and the mark in any case. */
async function mend(
  node: Netns,
  link: Link,
  change: { readonly mac?: string; readonly mtu?: number; readonly addrGenMode?: 'none' },
): Promise<number> {
  const whole = {
    ...change,
    ...(link.alias !== ALIAS && { alias: ALIAS }),
    ...(link.group === UNFINISHED && { group: 0 }),
    ...(!link.up && { up: true }),
  };
  if (Object.keys(whole).length === 0) return 0;
  await run(node, 'joinOverlay', [{ op: 'link.set', link: link.ifindex, change: whole }]);
  return 1;
}

function isLike(link: Link, { vni, port, learning, family }: WantedHalf, underlay: Underlay): boolean {
  if (link.kind !== 'vxlan') return false;
  const info = link.info as InfoOf<'vxlan'>;
  const local = family === 'ipv6' ? info.local6 : info.local;
  return (
    info.id === vni &&
    info.port === port &&
    info.link === underlay.ifindex &&
    local === underlay.local[family] &&
    (info.learning ?? 1) === Number(learning) &&
    info.group === undefined &&
    info.group6 === undefined
  );
}

function taken(name: string, { kind }: Link): OverlayError {
  return new OverlayError(
    'ERR_OVERLAY_TAKEN',
    `there is an interface '${name}' (${kind}) that podtap did not make: another overlay's, flanneld's perhaps; stop that, and delete the interface`,
    { about: name },
  );
}

/** The pods' bridge. One that is there is used, and stays as it is but for the address. */
export async function ensureBridge(node: Netns, name: string, mtu: number, wide: boolean, made: Set<number>): Promise<Ensured> {
  const found = await findLink(node, name);
  if (found !== undefined && found.kind !== 'bridge') throw taken(name, found);
  if (found !== undefined && !isOurs(found, made)) return { link: found, changes: 0 };
  // A MAC that follows the ports would change under the pods' ARP tables.
  const link = found ?? (await createBridge(node, name, { stp: false, forwardDelay: 0, mac: localMac(), group: UNFINISHED }));
  made.add(link.ifindex);
  const addrGenMode = wide || link.addrGenMode === undefined || link.addrGenMode === 'none' ? {} : { addrGenMode: 'none' as const };
  // Given in the creation, the MTU would follow the least of the ports' (br_mtu_auto_adjust): it is set though it be the same.
  const changes = await mend(node, link, { ...((found === undefined || link.mtu !== mtu) && { mtu }), ...addrGenMode });
  return { link, changes: changes + (found === undefined ? 1 : 0) };
}

// ------------------------------------------------------------------ settings

/** Not the name's dots, which sysctl(8) writes as '/'. */
function key(family: 'ipv4' | 'ipv6', link: string, setting: string): string {
  return `net.${family}.conf.${link.replaceAll('.', '/')}.${setting}`;
}

/**
 * Of a device of ours: it takes no router advertisements, which anybody behind it could send, and forwards IPv4 if it is to. IPv6 has no
 * such switch of one device; see `forwardIpv6`.
 */
export async function ensureSettings(node: Netns, { name, inet, inet6 }: Link, forward: boolean): Promise<number> {
  let changes = 0;
  if (inet6 !== undefined && namedInet6Conf(inet6.conf).accept_ra !== 0) changes += await set(node, key('ipv6', name, 'accept_ra'), '0');
  if (forward && inet !== undefined && namedInetConf(inet.conf).forwarding === 0) changes += await set(node, key('ipv4', name, 'forwarding'), '1'); // prettier-ignore
  return changes;
}

async function set(node: Netns, key: string, value: string): Promise<number> {
  await writeSysctl(node, key, value);
  return 1;
}

const FORWARD_IPV6 = 'net.ipv6.conf.all.forwarding';

/** What forwarding there was, by setting, before we turned it on: to be put back. */
export type Forwarding = Map<string, string>;

/** Of everything that is not ours: IPv6 as a whole (ip6_forward), and with direct routing the underlay for IPv4. */
export async function ensureForwarding(
  node: Netns,
  settings: { readonly ipv6: boolean; readonly underlay: string | undefined },
  before: Forwarding,
): Promise<number> {
  const keys = [...(settings.ipv6 ? [FORWARD_IPV6] : []), ...(settings.underlay === undefined ? [] : [key('ipv4', settings.underlay, 'forwarding')])]; // prettier-ignore
  let changes = 0;
  for (const one of keys) {
    const value = await readSysctl(node, one);
    if (value !== '0') continue;
    if (!before.has(one)) before.set(one, value);
    changes += await set(node, one, '1');
  }
  return changes;
}

export async function restoreForwarding(node: Netns, before: Forwarding): Promise<void> {
  for (const [one, value] of before) {
    await writeSysctl(node, one, value).catch((error: unknown) => {
      if (!isAbsent(error)) throw error; // its interface is gone
    });
  }
  before.clear();
}

/** Devices of ours by these names that are there; each goes with all that stands on it. */
export async function deleteDevices(node: Netns, names: readonly string[], made: Set<number>): Promise<void> {
  const found: Link[] = [];
  for (const name of names) {
    const link = await findLink(node, name);
    if (link !== undefined && isOurs(link, made)) found.push(link);
  }
  const deletions = found.map(({ ifindex }): Operation => ({ op: 'link.delete', link: ifindex }));
  for (const deletion of deletions) {
    await run(node, 'Overlay.leave', [deletion]).catch((error: unknown) => {
      if (!isAbsent(error)) throw error;
    });
  }
  made.clear();
}
