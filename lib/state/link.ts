import { type Link, namedInet6Conf } from '../wire/link.js';
import type { Value } from './resource.js';

/** What can be set of an interface and read back, one resource each. */
export const settings = {
  name: ({ name }: Link) => name,
  mac: ({ mac }: Link) => mac,
  mtu: ({ mtu }: Link) => mtu,
  up: ({ up }: Link) => up,
  /** 0: none. */
  master: ({ master }: Link) => master ?? 0,
  txQueueLength: ({ txQueueLength }: Link) => txQueueLength,
  alias: ({ alias }: Link) => alias ?? '',
  group: ({ group }: Link) => group,
  // The flags are those that somebody has set; what a master or a program wants is counted elsewhere (dev_get_flags).
  promiscuous: ({ flags }: Link) => flags.includes('PROMISC'),
  allMulticast: ({ flags }: Link) => flags.includes('ALLMULTI'),
  arp: ({ flags }: Link) => !flags.includes('NOARP'),
  addrGenMode: ({ addrGenMode }: Link) => addrGenMode,
  /** net.ipv6.conf.<name>.mtu, which follows the interface's whenever that is set. */
  ipv6Mtu: ({ inet6 }: Link) => (inet6 === undefined ? undefined : namedInet6Conf(inet6.conf).mtu),
} as const;
export type Setting = keyof typeof settings;

/** Of a port of a bridge, by the names of BridgePortOptions and of IFLA_BRPORT_*. */
export const portSettings = {
  learning: 'learning',
  flood: 'unicast_flood',
  hairpin: 'mode',
  isolated: 'isolated',
  locked: 'locked',
  groupFwdMask: 'group_fwd_mask',
} as const;

/** Of a key 'setting/3/mac' or 'setting/3/port/learning'. undefined: the interface has no such setting. */
export function settingOf(link: Link, field: string): Value {
  if (!field.startsWith('port/')) return settings[field as Setting](link);
  if (link.portKind !== 'bridge' || link.port === undefined || link.port instanceof Uint8Array) return undefined;
  const name = field.slice('port/'.length) as keyof typeof portSettings;
  const value = link.port[portSettings[name]] as number | undefined;
  return value === undefined || name === 'groupFwdMask' ? value : value !== 0;
}

/** That it is there, and is the one that was meant: its index may be another's by now. */
export function existence({ name, kind }: Pick<Link, 'name' | 'kind'>): Value {
  return { name, kind };
}
