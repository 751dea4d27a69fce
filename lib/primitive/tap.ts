import { boolean, check, ifindex, interfaceMac, interfaceName, mtu, optional, options, u32 } from '../check.js';
import { PodtapError, UnsupportedError, invalidArgument } from '../errors.js';
import { findLink, noLink } from '../kernel/link.js';
import { Tap, type TapOffload, type TapShape, closeTun, placeIn } from '../kernel/tap.js';
import { putBack, run } from '../operation/run.js';
import { offloadNeedsHeader, tapShape } from '../operation/tap.js';
import type { Link } from '../wire/link.js';
import { deleteLink } from './link.js';
import type { Scope } from './scope.js';

export interface TapOptions {
  /** Default true: the TAP stays when nobody holds it. Otherwise it lives as long as somebody does. */
  readonly persist?: boolean;
  /** The user, by number, who may open it without privileges; 0 is root, absent is nobody in particular. Likewise the group. */
  readonly owner?: number;
  readonly group?: number;
  /** Default 1. More: a multi-queue TAP, which every opener must open as one. */
  readonly queues?: number;
  /** Default false. Each frame comes with a struct virtio_net_hdr in front, as QEMU, Firecracker and Cloud Hypervisor want it and Solo5 does not. */
  readonly vnetHdr?: boolean;
  /** Default: nothing is left to the guest. */
  readonly offload?: TapOffload;
  /** Of the host's side; default: the kernel chooses one. */
  readonly mac?: string;
  readonly mtu?: number;
  /** Default true. */
  readonly up?: boolean;
  readonly ifindex?: number;
}

const optionsSchema = options({
  ...tapShape,
  persist: optional(boolean),
  owner: optional(u32),
  group: optional(u32),
  mac: optional(interfaceMac),
  mtu: optional(mtu),
  up: optional(boolean),
  ifindex: optional(ifindex),
});

/**
 * Makes a TAP. An existing one of that name is an error, never adopted (IFF_TUN_EXCL). Without a name the kernel chooses one (tap0,
 * tap1, ...). Persistent and up unless told otherwise; a persistent one is held by nobody until `takeFds`, `frames` or `send` need a
 * descriptor, so that a monitor can open it by name. What was asked for is read back from the kernel.
 *
 * Like `ip tuntap add dev NAME mode tap [multi_queue] [vnet_hdr] [user U] [group G]` and `ip link set dev NAME up`.
 * Documentation/networking/tuntap.rst.
 * @throws PodtapError EBUSY: the name or index is taken; ERR_TUN_UNAVAILABLE: no /dev/net/tun, or not for us; EPERM: CAP_NET_ADMIN is missing
 * @example const tap = await createTap(pod, 'tap100', { mtu: 1450 })
 */
export async function createTap(scope: Scope, name = 'tap%d', settings: TapOptions = {}): Promise<Tap> {
  const {
    persist = true,
    queues = 1,
    vnetHdr = false,
    offload = {},
    owner,
    group,
    mac,
    mtu,
    up = true,
    ifindex,
  } = check(optionsSchema, settings, 'createTap');
  const [made] = await run(scope, 'createTap', [
    { op: 'tap.create', name, persist, queues, vnetHdr, offload, ...defined({ owner, group, ifindex }) },
  ]);
  const { tun } = made!;
  const shape: TapShape = { name: tun!.name, queues, vnetHdr, offload };
  try {
    const change = defined({ mac, mtu, ...(up && { up }) });
    if (Object.keys(change).length > 0) await run(scope, 'createTap', [{ op: 'link.set', link: tun!.ifindex, change }]);
    const link = await findLink(scope, tun!.ifindex);
    if (link === undefined) throw noLink(tun!.ifindex);
    verify(link, { persist, owner, group, vnetHdr, queues, mac, mtu, ifindex });
    return new Tap(placeIn(scope), link, shape, tun!.queues);
  } catch (error) {
    return putBack(error, async () => {
      await closeTun(tun!);
      await deleteLink(scope, tun!.ifindex);
    });
  }
}

/**
 * Opens a TAP that is there, to hand out its descriptors or to read and write frames. What the kernel tells of it (queues, vnet
 * header) is taken over; what is given must agree with it. `persist`, `owner`, `mac` and the like are the maker's, not the opener's.
 *
 * @throws PodtapError ENODEV: there is none of that name; EINVAL: it is no TAP, or has another shape
 */
export async function openTap(scope: Scope, name: string, settings: Pick<TapOptions, 'queues' | 'vnetHdr' | 'offload'> = {}): Promise<Tap> {
  const given = check(options(tapShape), settings, 'openTap');
  const link = await findLink(scope, check(interfaceName, name, 'openTap'));
  if (link === undefined) throw noLink(name);
  const info = infoOf(link);
  if (info === undefined || info.type !== 'tap')
    throw new PodtapError(`EINVAL: '${name}' is no TAP but ${link.kind === 'tun' ? 'a tun' : `of kind ${link.kind}`}`, { code: 'EINVAL' });
  const multiQueue = Boolean(info.multi_queue);
  if (given.queues !== undefined && given.queues > 1 !== multiQueue) {
    throw new PodtapError(
      `EINVAL: the TAP '${name}' has ${multiQueue ? 'several queues' : 'one queue'}, and every opener must say so: queues: ${multiQueue ? 'more than 1' : '1'}`,
      { code: 'EINVAL' },
    );
  }
  const shape: TapShape = {
    name: link.name,
    multiQueue,
    queues: given.queues ?? (multiQueue ? Number(info.num_queues ?? 0) + Number(info.num_disabled_queues ?? 0) || 1 : 1),
    vnetHdr: given.vnetHdr ?? Boolean(info.vnet_hdr),
    offload: given.offload ?? {},
  };
  if (!shape.vnetHdr && Object.values(shape.offload).includes(true))
    throw invalidArgument('ERR_INVALID_ARG_VALUE', `openTap: 'offload' ${offloadNeedsHeader}`);
  return new Tap(placeIn(scope), link, shape, []);
}

/** IFLA_INFO_DATA of a tun (IFLA_TUN_*), since Linux 4.16. */
function infoOf(link: Link): Readonly<Record<string, unknown>> | undefined {
  return link.kind === 'tun' && link.info !== undefined && !(link.info instanceof Uint8Array) ? link.info : undefined;
}

/** What the kernel made of it, against what was asked for. */
function verify(link: Link, asked: Readonly<Record<string, string | number | boolean | undefined>>): void {
  const info = infoOf(link);
  const got: typeof asked = {
    mac: link.mac,
    mtu: link.mtu,
    ifindex: link.ifindex,
    ...(info !== undefined && {
      persist: Boolean(info.persist),
      owner: info.owner as number | undefined,
      group: info.group as number | undefined,
      vnetHdr: Boolean(info.vnet_hdr),
    }),
  };
  for (const [name, value] of Object.entries(asked)) {
    if (value === undefined || got[name] === undefined || got[name] === value) continue;
    throw new UnsupportedError(`the kernel made the TAP '${link.name}' with ${name} ${String(got[name])} instead of ${String(value)}`, {
      feature: `tap ${name}`,
    });
  }
}

function defined<T extends object>(values: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as never;
}
