import * as v from 'valibot';
import { type LinkRef, type Schema, integer, ip, linkRef, mac, oneOf, optional, options, u16, u32 } from '../check.js';
import { keys } from '../state/resource.js';
import { protocols } from '../wire/constants.js';
import { NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REPLACE } from '../wire/message.js';
import { type FdbEntry, RTM_DELNEIGH, RTM_NEWNEIGH, encodeFdb, encodeNeighbor, neighborFlags } from '../wire/neighbor.js';
import { canonicalCidr } from '../wire/prefix.js';
import { parseMac } from '../wire/text.js';
import { type OperationKind, device, flagsOf, nameOf, netlink, operation, option, words } from './operation.js';
import type { Touching } from './touching.js';

export interface NeighborEntry {
  readonly address: string;
  /** Absent of a proxy. */
  readonly mac?: string;
  /** Default 'permanent'. */
  readonly state?: 'permanent' | 'reachable' | 'stale' | 'noarp';
  /** 'proxy': answered for here; 'router': of IPv6; 'extern_learn', 'managed'. */
  readonly flags?: readonly string[];
  readonly protocol?: string;
}
/** Of a bridge or a VXLAN. */
export interface FdbRequest {
  readonly mac: string;
  /**
   * Of a bridge: 'noarp' (default) is static, a place where frames for `mac` go; 'permanent' is *local*, frames for the host itself.
   * Of a VXLAN: 'permanent' (default) does not age.
   */
  readonly state?: 'permanent' | 'reachable' | 'stale' | 'noarp';
  readonly vlan?: number;
  /** The remote end of a VXLAN, with its UDP port and VNI where they differ from the device's. Of 00:00:00:00:00:00, which stands for every unknown MAC, and of multicast MACs: one of several. */
  readonly dst?: string;
  readonly port?: number;
  readonly vni?: number;
  /** 'self', 'master', 'sticky', 'extern_learn'. */
  readonly flags?: readonly string[];
}

export interface NeighborSet {
  readonly op: 'neighbor.set';
  readonly link: LinkRef;
  readonly neighbor: NeighborEntry;
}
export interface NeighborDelete {
  readonly op: 'neighbor.delete';
  readonly link: LinkRef;
  readonly neighbor: { readonly address: string; readonly flags?: readonly string[] };
}
export interface FdbSet {
  readonly op: 'fdb.set';
  readonly link: LinkRef;
  readonly entry: FdbRequest;
}
export interface FdbDelete {
  readonly op: 'fdb.delete';
  readonly link: LinkRef;
  readonly entry: FdbRequest;
}

const state = oneOf('permanent', 'reachable', 'stale', 'noarp');
const flags = optional(flagsOf('flag of a neighbour', neighborFlags));

const neighborSchema = v.pipe(
  options({ address: ip, mac: optional(mac), state: optional(state), flags, protocol: optional(nameOf(protocols)) }),
  v.check(({ mac, flags }) => mac !== undefined || flags?.includes('proxy') === true, "must have a 'mac', unless it is a proxy"),
);
const fdbSchema = options({
  mac,
  state: optional(state),
  vlan: optional(integer(1, 4094)),
  dst: optional(ip),
  port: optional(u16),
  vni: optional(u32),
  flags,
}) as unknown as Schema<FdbRequest>;

export const neighborSet: OperationKind<NeighborSet> = {
  schema: operation('neighbor.set', { link: linkRef, neighbor: neighborSchema }),
  links: ({ link }) => [link],
  requests: ({ link, neighbor: { state = 'permanent', ...rest } }, find) => [
    netlink(encodeNeighbor(RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, { ifindex: find(link), state, ...rest })),
  ],
  parts: ({ neighbor }) => [isProxy(neighbor.flags) ? 'proxy' : 'neighbor'],
  touches: ({ link, neighbor }, on) => on.mayChange(neighborKey(on.find(link), neighbor)),
  command: ({ link, neighbor: { address, mac, state = 'permanent', flags, protocol } }) =>
    isProxy(flags)
      ? words('ip', 'neigh', 'replace', 'proxy', address, 'dev', device(link))
      : words(
          'ip',
          'neigh',
          'replace',
          address,
          'lladdr',
          mac,
          'dev',
          device(link),
          'nud',
          state,
          ...(flags ?? []),
          ...option('protocol', protocol),
        ),
};

export const neighborDelete: OperationKind<NeighborDelete> = {
  schema: operation('neighbor.delete', { link: linkRef, neighbor: options({ address: ip, flags }) }),
  links: ({ link }) => [link],
  requests: ({ link, neighbor }, find) => [netlink(encodeNeighbor(RTM_DELNEIGH, NLM_F_ACK, { ifindex: find(link), ...neighbor }))],
  parts: ({ neighbor }) => [isProxy(neighbor.flags) ? 'proxy' : 'neighbor'],
  touches: ({ link, neighbor }, on) => on.will(neighborKey(on.find(link), neighbor), undefined),
  command: ({ link, neighbor: { address, flags } }) =>
    words('ip', 'neigh', 'delete', ...(isProxy(flags) ? ['proxy'] : []), address, 'dev', device(link)),
};

export const fdbSet: OperationKind<FdbSet> = {
  schema: operation('fdb.set', { link: linkRef, entry: fdbSchema }),
  links: ({ link }) => [link],
  requests: ({ link, entry }, find) => [
    netlink(
      encodeFdb(RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE | (isFlooded(entry) ? NLM_F_APPEND : NLM_F_REPLACE), fdbEntry(find(link), entry)),
    ),
  ],
  parts: () => ['fdb'],
  touches: touchFdb,
  command: ({ link, entry }) => words('bridge', 'fdb', isFlooded(entry) ? 'append' : 'replace', ...fdbWords(link, entry)),
};

export const fdbDelete: OperationKind<FdbDelete> = {
  schema: operation('fdb.delete', { link: linkRef, entry: fdbSchema }),
  links: ({ link }) => [link],
  requests: ({ link, entry }, find) => [netlink(encodeFdb(RTM_DELNEIGH, NLM_F_ACK, fdbEntry(find(link), entry)))],
  parts: () => ['fdb'],
  touches: touchFdb,
  command: ({ link, entry }) => words('bridge', 'fdb', 'delete', ...fdbWords(link, entry)),
};

function neighborKey(index: number, { address, flags }: NeighborDelete['neighbor']): string {
  const [spelled = address] = canonicalCidr(address).split('/');
  return isProxy(flags) ? keys.proxy(index, spelled) : keys.neighbor(index, spelled);
}

/** Of one MAC: which table, VLAN and remote end the kernel takes where none is named, it tells only afterwards. */
function touchFdb({ link, entry }: FdbSet | FdbDelete, on: Touching): void {
  const prefix = keys.fdb(on.find(link), entry.mac);
  on.mayGo('fdb', ({ key }) => key.startsWith(prefix));
  on.mayAdd(prefix);
}

function isProxy(flags: readonly string[] | undefined): boolean {
  return flags?.includes('proxy') === true;
}

/** A VXLAN sends what is for everybody to several remote ends: one more stands beside the others, and the kernel refuses to replace them. */
function isFlooded({ mac, dst }: FdbRequest): boolean {
  return dst !== undefined && (mac === '00:00:00:00:00:00' || (parseMac(mac)![0]! & 1) === 1);
}

function fdbEntry(ifindex: number, entry: FdbRequest): FdbEntry {
  return { ...entry, ifindex, state: entry.state ?? defaultState(entry) };
}
function defaultState({ dst, flags }: FdbRequest): string {
  return dst !== undefined || flags?.includes('self') === true ? 'permanent' : 'noarp';
}

const commandStates: Readonly<Record<string, string>> = { permanent: 'permanent', noarp: 'static', reachable: 'dynamic', stale: 'dynamic' };

function fdbWords(link: LinkRef, entry: FdbRequest): (string | number | undefined)[] {
  const { mac, vlan, dst, port, vni, flags } = entry;
  const table = flags?.includes('self') === true || dst !== undefined ? 'self' : 'master';
  return [
    mac,
    'dev',
    device(link),
    ...option('dst', dst),
    ...option('port', port),
    ...option('vni', vni),
    ...option('vlan', vlan),
    table,
    commandStates[entry.state ?? defaultState(entry)],
    ...(flags ?? []).filter((name) => name !== 'self' && name !== 'master'),
  ];
}
