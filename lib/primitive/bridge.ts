import * as v from 'valibot';
import { type LinkRef, array, boolean, check, interfaceName, linkRef, optional, options } from '../check.js';
import { PodtapError } from '../errors.js';
import { findLink, noLink } from '../kernel/link.js';
import { putBack, run } from '../operation/run.js';
import type { Operation } from '../operation/kinds.js';
import type { Link } from '../wire/link.js';
import { type BridgeOptions, createBridge, deleteLink } from './link.js';
import { localMac } from './mac.js';
import type { Scope } from './scope.js';

const anyOptions = v.custom<BridgeOptions>(
  (value) => typeof value === 'object' && value !== null,
  'must be true, false or options of a bridge',
);
const schema = options({
  bridge: interfaceName,
  ports: v.pipe(array(linkRef), v.minLength(1, 'must name a port')),
  create: optional(v.union([boolean, anyOptions], 'must be true, false or options of a bridge')),
});

/**
 * Puts interfaces under a bridge, and brings them and the bridge up. The bridge is made if it is missing (unless `create` is false),
 * without STP and forward delay, with a MAC of its own: one that follows its ports would change when a port with a lower MAC comes.
 * Addresses of the ports are left alone: whoever moves the pod's address to a guest takes it off eth0. If anything fails, ports that
 * were moved go back, and a bridge that was made is deleted.
 *
 * Like `ip link add BRIDGE type bridge stp_state 0 forward_delay 0`, `ip link set dev PORT master BRIDGE up`, `ip link set dev BRIDGE up`.
 * @throws PodtapError ENODEV: a port, or with `create: false` the bridge, is not there; EINVAL: what has the bridge's name is none;
 *   NetlinkError EBUSY, EINVAL, ELOOP: the kernel cannot bridge that interface (a loopback, a macvlan, one with an rx handler already)
 * @example await bridgeEnslave(pod, { bridge: 'br0', ports: ['eth0', 'tap100'] })
 */
export async function bridgeEnslave(
  scope: Scope,
  settings: { readonly bridge: string; readonly ports: readonly LinkRef[]; readonly create?: boolean | BridgeOptions },
): Promise<Link> {
  const { bridge: name, ports, create = true } = check(schema, settings, 'bridgeEnslave');
  const before: Link[] = [];
  for (const port of ports) before.push((await findLink(scope, port)) ?? fail(noLink(port)));
  const there = await findLink(scope, name);
  if (there !== undefined && there.kind !== 'bridge')
    throw new PodtapError(`EINVAL: '${name}' is no bridge but of kind ${there.kind}`, { code: 'EINVAL' });
  if (there === undefined && create === false) throw noLink(name);
  const defaults: BridgeOptions = { mac: localMac(), stp: false, forwardDelay: 0 };
  const bridge = there ?? (await createBridge(scope, name, { ...defaults, ...(typeof create === 'object' ? create : {}), up: false }));
  try {
    const { up = true, mtu } = typeof create === 'object' ? create : {};
    const enslave = before.map((port): Operation => ({ op: 'link.set', link: port.ifindex, change: { master: bridge.ifindex, up: true } }));
    // A bridge takes the least MTU of its ports, unless it was given one as it stood (br_mtu_auto_adjust): that in its creation does not count.
    const pinned = there === undefined && mtu !== undefined ? { mtu } : {};
    await run(scope, 'bridgeEnslave', [...enslave, { op: 'link.set', link: bridge.ifindex, change: { ...pinned, ...(up && { up }) } }]);
    return (await findLink(scope, bridge.ifindex)) ?? fail(noLink(name));
  } catch (error) {
    return putBack(error, async () => {
      for (const port of before) {
        await run(scope, 'bridgeEnslave', [{ op: 'link.set', link: port.ifindex, change: { master: port.master ?? null, up: port.up } }]);
      }
      if (there === undefined) return deleteLink(scope, bridge.ifindex);
      const change = { up: there.up, ...(await movedMac(scope, there)) };
      return run(scope, 'bridgeEnslave', [{ op: 'link.set', link: there.ifindex, change }]);
    });
  }
}

/** The MAC of a bridge that nobody gave one follows its ports; without ports it is 00:00:00:00:00:00 then. */
async function movedMac(scope: Scope, { ifindex, mac }: Link): Promise<{ mac?: string }> {
  return (await findLink(scope, ifindex))?.mac === mac ? {} : { mac };
}

function fail(error: Error): never {
  throw error;
}
