import type { FdbEntry, Neighbor } from '../wire/neighbor.js';
import { type Resource, keys } from './resource.js';

/** What somebody has set; what was learned comes and goes with the traffic. */
export function neighborResource({ ifindex, address, mac, state, flags = [], protocol }: Neighbor): Resource | undefined {
  const isSet = state === 'permanent' || flags.includes('extern_learn') || flags.includes('managed') || (state === 'noarp' && protocol !== undefined && protocol !== 'kernel'); // prettier-ignore
  if (!isSet || mac === '') return undefined;
  const value = { address, mac, state, ...(flags.length > 0 && { flags }), ...(protocol !== undefined && { protocol }) };
  return { kind: 'neighbor', key: keys.neighbor(ifindex, address), link: ifindex, value };
}

export function proxyResource({ ifindex, address, flags = [], protocol }: Neighbor): Resource {
  const value = { address, flags: ['proxy', ...flags.filter((flag) => flag === 'router')], ...(protocol !== undefined && { protocol }) };
  return { kind: 'proxy', key: keys.proxy(ifindex, address), link: ifindex, value };
}

/** Static entries of bridges and VXLANs. Those of a bridge's own MACs come with its ports. */
export function fdbResource({ ifindex, mac, state = '', flags = [], vlan, dst, port, vni, local, master }: FdbEntry): Resource | undefined {
  const ages = state !== 'permanent' && state !== 'noarp' && !flags.includes('extern_learn');
  if (ages || local === true) return undefined;
  // Groups that the kernel has joined by an interface: they come and go with its addresses, and with forwarding.
  const isGroup = (Number.parseInt(mac.slice(0, 2), 16) & 1) === 1;
  if (isGroup && master === undefined && dst === undefined) return undefined;
  const known = flags.filter((flag) => ['self', 'master', 'sticky', 'extern_learn'].includes(flag));
  return {
    kind: 'fdb',
    key: `${keys.fdb(ifindex, mac)}${vlan ?? 0}/${master === undefined ? 'self' : ''}/${dst ?? ''}/${vni ?? ''}/${port ?? ''}`,
    link: ifindex,
    value: {
      mac,
      state,
      ...(vlan !== undefined && { vlan }),
      ...(dst !== undefined && { dst }),
      ...(port !== undefined && { port }),
      ...(vni !== undefined && { vni }),
      ...(known.length > 0 && { flags: known }),
    },
  };
}
