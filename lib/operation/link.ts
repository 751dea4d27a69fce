import * as v from 'valibot';
import {
  type LinkRef,
  type Schema,
  boolean,
  check,
  ifindex,
  integer,
  interfaceMac,
  interfaceName,
  linkRef,
  mtu,
  oneOf,
  optional,
  options,
  text,
  u32,
} from '../check.js';
import { portSettings } from '../state/link.js';
import { keys } from '../state/resource.js';
import { devicesOf, isIpv6 } from '../state/route.js';
import type { Value } from '../state/value.js';
import type { Route } from '../wire/route.js';
import { type LinkRequest, type PeerRequest, RTM_DELLINK, RTM_NEWLINK, RTM_SETLINK, encodeLink } from '../wire/link.js';
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL } from '../wire/message.js';
import { linkKinds } from './link/kinds.js';
import type { LinkKind } from './link/kind.js';
import { type BridgePortOptions, portInfo, portOptions, portWords } from './link/port.js';
import { type FindLink, type OperationKind, type Request, device, netlink, onOff, operation, option, words } from './operation.js';
import type { Touching } from './touching.js';

/** What can be said of every interface; what is left out stays as it is, or is the kernel's choice. */
export interface LinkOptions {
  readonly mac?: string;
  readonly mtu?: number;
  readonly up?: boolean;
  /** The bridge (bond, VRF) it is put under; null takes it out. */
  readonly master?: LinkRef | null;
  /** Packets. */
  readonly txQueueLength?: number;
  /** A note of up to 255 bytes; '' removes it. */
  readonly alias?: string;
  readonly group?: number;
  /** The index it shall have. Of a new interface only. */
  readonly ifindex?: number;
  readonly promiscuous?: boolean;
  readonly allMulticast?: boolean;
  /** false: it neither asks nor answers ARP. */
  readonly arp?: boolean;
  /** How it makes IPv6 addresses of its own; 'none': not at all. */
  readonly addrGenMode?: 'eui64' | 'none' | 'random' | 'stable_secret';
  /** Its settings as a port of a bridge. */
  readonly port?: BridgePortOptions;
}

export interface LinkCreate {
  readonly op: 'link.create';
  readonly kind: string;
  readonly name: string;
  /** Those of every link, and of its kind. */
  readonly options: LinkOptions;
}
export interface LinkSet {
  readonly op: 'link.set';
  readonly link: LinkRef;
  readonly change: LinkOptions & {
    readonly name?: string;
    /** An open descriptor of the namespace it is moved to. */
    readonly netnsFd?: number;
  };
}
/** Every interface of a group, which the kernel takes away together: one after the other each waits for RCU, 20 ms and more. */
export interface LinkDeleteGroup {
  readonly op: 'link.deleteGroup';
  readonly group: number;
}
export interface LinkDelete {
  readonly op: 'link.delete';
  readonly link: LinkRef;
}
/** What the far end of a pair can be given in the message that makes it; it cannot be up yet (ENOTCONN), because the pair is not joined. */
export type PeerOptions = Pick<LinkOptions, 'mac' | 'mtu' | 'txQueueLength' | 'group' | 'ifindex'>;

export interface VethCreate {
  readonly op: 'veth.create';
  readonly name: string;
  readonly options: LinkOptions;
  readonly peer: { readonly name: string; readonly netnsFd?: number; readonly options: PeerOptions };
}

export const linkEntries = {
  mac: optional(interfaceMac),
  mtu: optional(mtu),
  up: optional(boolean),
  master: optional(v.nullable(linkRef)),
  txQueueLength: optional(u32),
  alias: optional(v.pipe(text, v.check((value) => Buffer.byteLength(value) < IFALIASZ, `must have at most 255 bytes`))), // prettier-ignore
  group: optional(u32),
  ifindex: optional(ifindex),
  promiscuous: optional(boolean),
  allMulticast: optional(boolean),
  arp: optional(boolean),
  addrGenMode: optional(oneOf('eui64', 'none', 'random', 'stable_secret')),
  port: optional(portOptions),
};
const IFALIASZ = 256; // uapi/linux/if.h

// ------------------------------------------------------------------ making one

/** What the kernel takes in the message that makes the link, so that it is never there half made. */
function inCreation(
  { mac, mtu, master, txQueueLength, group, ifindex, promiscuous, allMulticast, arp }: LinkOptions,
  find: FindLink,
): LinkRequest {
  return {
    mac,
    mtu,
    txQueueLength,
    group,
    ifindex,
    promiscuous,
    allMulticast,
    arp,
    master: typeof master === 'number' || typeof master === 'string' ? find(master) : undefined,
  };
}

/** What it ignores (IFLA_IFALIAS) or refuses (addr_gen_mode) there; it must come before the link is up. */
function afterCreation(name: string, { alias, addrGenMode, port, up }: LinkOptions): Request[] {
  const requests: Request[] = [];
  if (alias !== undefined || addrGenMode !== undefined) requests.push(setLink({ name, alias, addrGenMode }));
  if (port !== undefined) requests.push(setLink({ name, portKind: 'bridge', port: portInfo(port) }));
  if (requests.length > 0 && up === true) requests.push(setLink({ name, up }));
  return requests;
}
function upInCreation({ alias, addrGenMode, port, up }: LinkOptions): boolean | undefined {
  return alias === undefined && addrGenMode === undefined && port === undefined ? up : undefined;
}

// Port settings are a change of link info, which RTM_SETLINK ignores.
function setLink(request: LinkRequest): Request {
  return netlink(encodeLink(request.portKind === undefined ? RTM_SETLINK : RTM_NEWLINK, NLM_F_ACK, request));
}

function kindOf(kind: string): LinkKind<LinkOptions> | undefined {
  return Object.hasOwn(linkKinds, kind) ? linkKinds[kind] : undefined;
}

/** Kinds that cannot be made by this message, and what can. */
const otherWays: Readonly<Record<string, string>> = { tun: 'createTap', tap: 'createTap', veth: 'createVeth' };

const kindName = v.pipe(
  text,
  v.check((kind) => /^[\w-]{1,63}$/.test(kind), "must be a kind of link such as 'bridge' or 'vxlan'"),
  v.check((kind) => !Object.hasOwn(otherWays, kind), (issue) => `must be another kind: use ${otherWays[issue.input]}`), // prettier-ignore
);
const anyOptions = v.custom<LinkOptions>((value) => typeof value === 'object' && value !== null, 'must be an object of options');

export const linkCreate: OperationKind<LinkCreate> = {
  schema: v.pipe(
    operation('link.create', { kind: kindName, name: interfaceName, options: anyOptions }) as unknown as Schema<LinkCreate>,
    v.transform((given) => ({
      ...given,
      options: check(options({ ...linkEntries, ...kindOf(given.kind)?.entries }), given.options, `a ${given.kind}'s options`),
    })),
  ),
  links: ({ kind, options: given }) => [given.master, kindOf(kind)?.lower?.(given), ...(kindOf(kind)?.links?.(given) ?? [])],
  requests: ({ kind, name, options: given }, find) => {
    const own = kindOf(kind);
    const lower = own?.lower?.(given);
    const request: LinkRequest = {
      name,
      kind,
      ...inCreation(given, find),
      up: upInCreation(given),
      ...(own !== undefined && { info: own.info(given, find) }),
      ...(lower !== undefined && { link: find(lower) }),
    };
    return [netlink(encodeLink(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, request)), ...afterCreation(name, given)];
  },
  parts: () => ['neighbor'],
  touches: ({ kind, name, options: given }, on) => {
    on.makes(given.ifindex!, { name, kind });
    touchMaster(given.master, on);
    // A macvlan in passthru mode shares its MAC with the interface below.
    const lower = kindOf(kind)?.lower?.(given);
    if (lower === undefined || !kind.startsWith('macv')) return;
    on.mayChange(keys.setting(on.find(lower), 'mac'));
    on.mayGo('neighbor', ({ link }) => link === on.find(lower));
  },
  makes: ({ kind, name, options: { ifindex } }) => [{ name, kind, ifindex }],
  chosen: ({ options: given, ...rest }, choose) => ({ ...rest, options: { ...given, ifindex: given.ifindex ?? choose.index() } }),
  command: ({ kind, name, options: given }) => {
    const own = kindOf(kind);
    const lower = own?.lower?.(given);
    return [
      words(
        'ip',
        'link',
        'add',
        ...(lower === undefined ? [] : ['link', device(lower)]),
        'name',
        name,
        ...creationWords(given),
        'type',
        kind,
        ...(own?.words(given) ?? []),
      ),
      ...laterCommands(name, given),
    ].join('\n');
  },
};

const { mac, mtu: mtuEntry, txQueueLength, group, ifindex: indexEntry } = linkEntries;
const peerOptions = options({ mac, mtu: mtuEntry, txQueueLength, group, ifindex: indexEntry });

export const vethCreate: OperationKind<VethCreate> = {
  schema: operation('veth.create', {
    name: interfaceName,
    options: options(linkEntries),
    peer: options({ name: interfaceName, netnsFd: optional(integer(0, 0x7fffffff)), options: peerOptions }),
  }),
  links: ({ options: given }) => [given.master],
  requests: ({ name, options: given, peer }, find) => {
    const far: PeerRequest = { name: peer.name, netnsFd: peer.netnsFd, ...peer.options };
    const request: LinkRequest = { name, kind: 'veth', ...inCreation(given, find), up: upInCreation(given), peer: far };
    return [netlink(encodeLink(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, request)), ...afterCreation(name, given)];
  },
  parts: () => [],
  touches: ({ name, options: given, peer }, on) => {
    on.makes(given.ifindex!, { name, kind: 'veth' });
    if (peer.netnsFd === undefined) on.makes(peer.options.ifindex!, { name: peer.name, kind: 'veth' });
    touchMaster(given.master, on);
  },
  makes: ({ name, options: { ifindex }, peer }) => [
    { name, kind: 'veth', ifindex },
    ...(peer.netnsFd === undefined ? [{ name: peer.name, kind: 'veth', ifindex: peer.options.ifindex }] : []),
  ],
  // Which indexes are free in another namespace is not known here.
  chosen: ({ options: given, peer, ...rest }, choose) => ({
    ...rest,
    options: { ...given, ifindex: given.ifindex ?? choose.index() },
    peer: peer.netnsFd === undefined ? { ...peer, options: { ...peer.options, ifindex: peer.options.ifindex ?? choose.index() } } : peer,
  }),
  command: ({ name, options: given, peer }) => {
    const netns = option('netns', peer.netnsFd === undefined ? undefined : `/proc/self/fd/${peer.netnsFd}`);
    return [
      words(
        'ip',
        'link',
        'add',
        'name',
        name,
        ...creationWords(given),
        'type',
        'veth',
        'peer',
        'name',
        peer.name,
        ...creationWords(peer.options),
        ...netns,
      ),
      ...laterCommands(name, given),
    ].join('\n');
  },
};

function creationWords({ ifindex, mac, mtu, txQueueLength, group }: LinkOptions): (string | number | undefined)[] {
  return [
    ...option('index', ifindex),
    ...option('address', mac),
    ...option('mtu', mtu),
    ...option('txqueuelen', txQueueLength),
    ...option('group', group),
  ];
}

/** ip-link(8) takes these of an interface that is there. */
function laterCommands(name: string, { mac: _, mtu: __, txQueueLength: ___, group: ____, ifindex: _____, ...rest }: LinkOptions): string[] {
  return changeCommands(name, rest);
}

// ------------------------------------------------------------------ changing and deleting one

export const linkSet: OperationKind<LinkSet> = {
  schema: v.pipe(
    operation('link.set', {
      link: linkRef,
      change: options({ ...linkEntries, name: optional(interfaceName), netnsFd: optional(integer(0, 0x7fffffff)) }),
    }),
    v.check(({ change }) => change.ifindex === undefined, "must not have 'ifindex': an interface keeps its index"),
  ),
  links: ({ link, change }) => [link, change.master],
  requests: ({ link, change: { master, name, port, ifindex: _, up, ...rest } }, find) => {
    const index = find(link);
    const requests: Request[] = [];
    const last = isUpLast({ addrGenMode: rest.addrGenMode, port, up });
    const newMaster = master === null ? 0 : master === undefined ? undefined : find(master);
    const change = { ...rest, newName: name, master: newMaster, up: last ? undefined : up };
    if (Object.values(change).some((value) => value !== undefined)) requests.push(setLink({ ifindex: index, ...change }));
    if (port !== undefined) requests.push(setLink({ ifindex: index, portKind: 'bridge', port: portInfo(port) }));
    if (last) requests.push(setLink({ ifindex: index, up }));
    return requests;
  },
  parts: ({ change: { mac, up, arp, master, mtu, name } }) => {
    if (up !== undefined || master !== undefined)
      return ['address', 'route', 'neighbor', 'proxy', ...(master === undefined ? [] : (['fdb'] as const))];
    if (mtu !== undefined) return name === undefined ? ['route'] : ['address', 'route'];
    return [
      ...(mac !== undefined || arp !== undefined ? (['neighbor'] as const) : []),
      ...(name === undefined ? [] : (['address'] as const)),
    ];
  },
  touches: touchLink,
  command: ({ link, change: { name, netnsFd, ...change } }) =>
    [
      ...changeCommands(device(link), change),
      ...(name === undefined ? [] : [words('ip', 'link', 'set', 'dev', device(link), 'name', name)]),
      ...(netnsFd === undefined ? [] : [words('ip', 'link', 'set', 'dev', name ?? device(link), 'netns', `/proc/self/fd/${netnsFd}`)]),
    ].join('\n'),
};

/** RFC 8200, 5: below it the kernel takes IPv6 off the interface, and forgets every setting of it. */
const LEAST_IPV6_MTU = 1280;

function touchLink({ link, change }: LinkSet, on: Touching): void {
  const { port, netnsFd, ifindex: _, ...settings } = change;
  const index = on.find(link);
  if (netnsFd !== undefined) on.refuse(`moving '${link}' to another namespace`, 'what it had here does not go with it');
  if (on.isOurs(index)) {
    if (settings.name !== undefined) on.renames(index, settings.name);
    return touchMaster(settings.master, on);
  }
  const now = on.state.links.get(index);
  for (const [name, value] of Object.entries(settings))
    if (value !== undefined) on.will(keys.setting(index, name), name === 'master' ? masterIndex(settings.master!, on) : value);
  for (const [name, value] of Object.entries((port ?? {}) as Readonly<Record<string, Value>>))
    if (value !== undefined) on.will(keys.setting(index, `port/${name}`), value);

  const { mac, mtu, up, arp, master, name: renamed } = settings;
  // The labels of IPv4 addresses begin with its name, and are changed with it (devinet.c, inetdev_changename()).
  for (const { kind, key, link: of, value } of on.state.resources.values())
    if (renamed !== undefined && kind === 'address' && of === index && (value as { label?: string }).label !== undefined) on.mayChange(key);
  // The kernel flushes the neighbours of an interface whose address changes, permanent ones too.
  if (mac !== undefined || arp !== undefined) on.mayGo('neighbor', (one) => one.link === index);
  if (mac !== undefined && now?.master !== undefined) on.mayChange(keys.setting(now.master, 'mac'));
  if (up === false) on.mayLose(index, 'down');
  if (up !== undefined) on.mayChange(keys.setting(index, 'ipv6Mtu'));
  if (mtu !== undefined && now !== undefined) {
    if (mtu < LEAST_IPV6_MTU && now.mtu >= LEAST_IPV6_MTU && now.inet6 !== undefined)
      on.refuse(`an MTU of ${mtu} for '${now.name}'`, `below ${LEAST_IPV6_MTU} the kernel forgets its IPv6 with all its settings`);
    on.mayChange(keys.setting(index, 'ipv6Mtu'));
    for (const { kind, key, value } of on.state.resources.values()) {
      const route = value as unknown as Route;
      if (kind === 'route' && isIpv6(route) && route.mtu !== undefined && devicesOf(route).includes(index)) on.mayChange(key);
    }
    if (now.master !== undefined) touchMaster(now.master, on);
  }
  if (master === undefined) return;
  touchMaster(master, on);
  touchMaster(now?.master, on);
  // What a bridge of somebody's knows of its port goes with it.
  if (now?.portKind === 'bridge' && !on.isOurs(now.master ?? 0)) {
    on.mayGo('fdb', (one) => one.link === index);
    for (const name of Object.keys(portSettings)) on.mayChange(keys.setting(index, `port/${name}`));
  }
  // A VRF moves the routes of its ports to a table of its own, and their addresses with them.
  const bridged = [master === null ? undefined : masterIndex(master, on), now?.master].every(
    (one) => one === undefined || one === 0 || on.isOurs(one) || on.state.links.get(one)?.kind === 'bridge',
  );
  if (!bridged) on.mayLose(index, 'down');
}

function masterIndex(master: LinkRef | null, on: Touching): number {
  return master === null ? 0 : on.find(master);
}

/** A bridge follows its ports with its MTU, and with its MAC until somebody gives it one. */
function touchMaster(master: LinkRef | null | undefined, on: Touching): void {
  if (master === null || master === undefined) return;
  for (const name of ['mac', 'mtu', 'ipv6Mtu']) on.mayChange(keys.setting(on.find(master), name));
}

/** Of one message the kernel first brings the link up, with an address that addr_gen_mode 'none' is to keep it from, and as a port that learns. */
function isUpLast({ addrGenMode, port, up }: Pick<LinkOptions, 'addrGenMode' | 'port' | 'up'>): boolean {
  return up === true && (addrGenMode !== undefined || port !== undefined);
}

function changeCommands(
  link: string,
  { mac, mtu, up, master, txQueueLength, alias, group, promiscuous, allMulticast, arp, addrGenMode, port }: LinkOptions,
): string[] {
  const last = isUpLast({ addrGenMode, port, up });
  const set = [
    ...option('address', mac),
    ...option('mtu', mtu),
    ...option('txqueuelen', txQueueLength),
    ...option('alias', alias),
    ...option('group', group),
    ...option('promisc', onOff(promiscuous)),
    ...option('allmulticast', onOff(allMulticast)),
    ...option('arp', onOff(arp)),
    ...option('addrgenmode', addrGenMode),
    ...(master === null ? ['nomaster'] : option('master', master)),
    up === undefined || last ? undefined : up ? 'up' : 'down',
  ].filter((word) => word !== undefined);
  return [
    ...(set.length === 0 ? [] : [words('ip', 'link', 'set', 'dev', link, ...set)]),
    ...(port === undefined ? [] : [words('bridge', 'link', 'set', 'dev', link, ...portWords(port))]),
    ...(last ? [words('ip', 'link', 'set', 'dev', link, 'up')] : []),
  ];
}

export const linkDelete: OperationKind<LinkDelete> = {
  schema: operation('link.delete', { link: linkRef }),
  links: ({ link }) => [link],
  requests: ({ link }, find) => [netlink(encodeLink(RTM_DELLINK, NLM_F_ACK, { ifindex: find(link) }))],
  parts: () => [],
  touches: ({ link }, on) => {
    if (!on.isOurs(on.find(link)))
      on.refuse(`deleting the interface '${link}'`, 'it was not made in this transaction, and another one would not be the same');
  },
  command: ({ link }) => words('ip', 'link', 'delete', 'dev', device(link)),
};

export const linkDeleteGroup: OperationKind<LinkDeleteGroup> = {
  schema: operation('link.deleteGroup', { group: integer(1, 0xffffffff) }), // 0 is everybody's
  links: () => [],
  requests: ({ group }) => [netlink(encodeLink(RTM_DELLINK, NLM_F_ACK, { group }))],
  parts: () => [],
  touches: ({ group }, on) => on.refuse(`deleting the interfaces of group ${group}`, 'others would not be the same'),
  command: ({ group }) => words('ip', 'link', 'delete', 'group', group),
};
