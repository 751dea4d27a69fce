// What sits on an interface and sees its frames before or instead of the stack: others' programs, filters and rules.
import { NetlinkError, PodtapError, UnsupportedError } from '../errors.js';
import type { Bytes } from '../wire/bytes.js';
import { type Link, decodeLink, encodeLinkDump } from '../wire/link.js';
import { type Message, NLM_F_DUMP } from '../wire/message.js';
import type { NftChain } from '../wire/nft/message.js';
import { type Filter, decodeFilter, decodeQdisc, encodeFilterDump, encodeQdiscDump } from '../wire/tc.js';
import { openProgram, queryTcx } from './bpf.js';
import { findLink, noLink } from './link.js';
import { dump } from './netlink.js';
import { type Scope, attachment } from './netns.js';
import { listChains } from './nft.js';

/** A program by its id; name and tag where this process may open it (CAP_SYS_ADMIN in the first user namespace). */
export interface HookProgram {
  readonly id: number;
  readonly name?: string;
  readonly tag?: string;
  /** Of a link that holds it there. */
  readonly linkId?: number;
}

/**
 * What sits on an interface. Frames that come in pass, in this order: xdp, packet sockets, tcx.ingress, filters.ingress, chains on
 * ingress, the receiver, the stack. What a filter or a program redirects passes no chain behind it.
 */
export interface LinkHooks {
  readonly link: Link;
  /** What it drops or redirects not even packet sockets see. `mode`: 'drv', 'skb' (generic), 'hw'. */
  readonly xdp?: { readonly mode: string; readonly program: HookProgram };
  /** Each in the order in which they run. */
  readonly tcx: { readonly ingress: readonly HookProgram[]; readonly egress: readonly HookProgram[] };
  /** Where filters hang: 'ingress' or 'clsact'; there is never more than one of them. */
  readonly qdisc?: 'ingress' | 'clsact';
  /** Shared with other interfaces, by the numbers of the qdisc's blocks. */
  readonly blocks?: { readonly ingress?: number; readonly egress?: number };
  /** By chain and priority, in the order in which they are asked. */
  readonly filters: { readonly ingress: readonly Filter[]; readonly egress: readonly Filter[] };
  /** nftables, family netdev or inet, hook ingress or egress: in the order of their priorities. */
  readonly chains: readonly NftChain[];
  /** Who takes the frames that come to the stack: the master (a bridge, a bond), or interfaces that stand on this one (macvlan, macvtap, ipvlan), as far as they are in this namespace. */
  readonly receiver?: { readonly kind: string; readonly links: readonly string[] };
  /** A netkit's own program is no hook that can be told. */
  readonly netkit?: { readonly mode?: string; readonly policy?: string; readonly primary?: boolean };
  /** What could not be read, and why. */
  readonly unread: readonly { readonly what: 'tcx' | 'filters' | 'chains'; readonly reason: string }[];
}

/**
 * Reads all hooks of an interface.
 * @throws PodtapError ENODEV: there is no such interface
 */
export async function readHooks(scope: Scope, link: string | number): Promise<LinkHooks> {
  const found = await findLink(scope, link);
  if (found === undefined) throw noLink(link);
  const unread: LinkHooks['unread'][number][] = [];
  const tried = async <T>(what: LinkHooks['unread'][number]['what'], work: Promise<T>, instead: T): Promise<T> =>
    work.catch((error: unknown) => {
      if (!(error instanceof NetlinkError || error instanceof PodtapError || error instanceof UnsupportedError)) throw error;
      // What a kernel has not cannot be on a hook.
      if (!(error instanceof UnsupportedError)) unread.push({ what, reason: error.message });
      return instead;
    });
  const { ifindex, name } = found;
  const tcx = await tried('tcx', readTcx(scope, ifindex), { ingress: [], egress: [] });
  const classifier = await readClassifier(scope, ifindex);
  const filters = await tried('filters', readFilters(scope, ifindex, classifier?.kind), { ingress: [], egress: [] });
  const chains = await tried('chains', readChains(scope, name), []);
  const receiver = await readReceiver(scope, found);
  const blocks = { ...(classifier?.ingressBlock && { ingress: classifier.ingressBlock }), ...(classifier?.egressBlock && { egress: classifier.egressBlock }) }; // prettier-ignore
  return {
    link: found,
    ...(found.xdp !== undefined && { xdp: { mode: found.xdp.mode, program: await describe({ id: found.xdp.programId }) } }),
    tcx,
    ...(classifier !== undefined && { qdisc: classifier.kind }),
    ...(Object.keys(blocks).length > 0 && { blocks }),
    filters,
    chains,
    ...(receiver !== undefined && { receiver }),
    ...(found.kind === 'netkit' && { netkit: netkitOf(found) }),
    unread,
  };
}

async function readTcx(scope: Scope, ifindex: number): Promise<LinkHooks['tcx']> {
  const of = async (direction: 'ingress' | 'egress'): Promise<readonly HookProgram[]> => {
    const { programs } = await queryTcx(scope, { ifindex, direction });
    const described: HookProgram[] = [];
    for (const program of programs) described.push(await describe(program));
    return described;
  };
  return { ingress: await of('ingress'), egress: await of('egress') };
}

async function describe(program: HookProgram): Promise<HookProgram> {
  try {
    await using opened = await openProgram(program.id);
    const { name, tag } = await opened.info();
    return { ...program, name, tag };
  } catch (error) {
    if (error instanceof PodtapError || error instanceof UnsupportedError) return program; // not ours to open, or gone meanwhile
    throw error;
  }
}

function table<T>(scope: Scope, request: Uint8Array, decode: (from: Bytes, message: Message) => T): Promise<T[]> {
  return dump(attachment(scope).socket, request, decode);
}

async function readClassifier(
  scope: Scope,
  ifindex: number,
): Promise<{ kind: 'ingress' | 'clsact'; ingressBlock?: number; egressBlock?: number } | undefined> {
  const qdiscs = await table(scope, encodeQdiscDump(NLM_F_DUMP), decodeQdisc);
  const found = qdiscs.find((qdisc) => qdisc.ifindex === ifindex && (qdisc.kind === 'ingress' || qdisc.kind === 'clsact'));
  if (found === undefined) return undefined;
  const { kind, ingressBlock, egressBlock } = found;
  return {
    kind: kind as 'ingress',
    ...(ingressBlock !== undefined && { ingressBlock }),
    ...(egressBlock !== undefined && { egressBlock }),
  };
}

async function readFilters(scope: Scope, ifindex: number, kind: 'ingress' | 'clsact' | undefined): Promise<LinkHooks['filters']> {
  const of = async (parent: string): Promise<readonly Filter[]> =>
    // Those without a handle stand for all of one priority.
    (await table(scope, encodeFilterDump(NLM_F_DUMP, ifindex, parent), decodeFilter)).filter(({ handle, options }) => handle !== undefined && options !== undefined); // prettier-ignore
  if (kind === undefined) return { ingress: [], egress: [] };
  // An ingress qdisc takes either hook for its one place.
  return { ingress: await of('ingress'), egress: kind === 'clsact' ? await of('egress') : [] };
}

async function readChains(scope: Scope, name: string): Promise<readonly NftChain[]> {
  const all = [...(await listChains(scope, 'netdev')), ...(await listChains(scope, 'inet'))];
  const on = (device: string): boolean => (device.endsWith('*') ? name.startsWith(device.slice(0, -1)) : device === name);
  return all.filter(({ hook }) => hook?.devices?.some(on) === true).sort((a, b) => a.hook!.priority - b.hook!.priority);
}

/** Kinds of which the one below hands its frames over (rx_handler). */
const takers = new Set(['macvlan', 'macvtap', 'ipvlan', 'ipvtap']);

async function readReceiver(scope: Scope, link: Link): Promise<LinkHooks['receiver']> {
  const links = await table(scope, encodeLinkDump(), (from, message) => decodeLink(from, message));
  if (link.master !== undefined) {
    const master = links.find(({ ifindex }) => ifindex === link.master);
    // A VRF takes packets, not frames, but they are its all the same.
    return { kind: link.portKind ?? master?.kind ?? '', links: master === undefined ? [] : [master.name] };
  }
  const above = links.filter(({ kind, lower }) => takers.has(kind) && lower?.ifindex === link.ifindex && lower.netnsid === undefined);
  return above.length === 0 ? undefined : { kind: above[0]!.kind, links: above.map(({ name }) => name) };
}

function netkitOf({ info }: Link): NonNullable<LinkHooks['netkit']> {
  if (info === undefined || info instanceof Uint8Array) return {};
  const { mode, policy, primary } = info as { mode?: string; policy?: string; primary?: number };
  return { ...(mode !== undefined && { mode }), ...(policy !== undefined && { policy }), ...(primary !== undefined && { primary: primary !== 0 }) }; // prettier-ignore
}
