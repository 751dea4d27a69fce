// nftables by netlink: read, and changed by batches of which each is carried out wholly or not at all.
import { NetlinkError, UnsupportedError } from '../errors.js';
import { type Descriptor, native } from '../native.js';
import type { Bytes } from '../wire/bytes.js';
import type { Message } from '../wire/message.js';
import {
  type NftChain,
  type NftChange,
  type NftElement,
  type NftKind,
  type NftRule,
  type NftSet,
  type NftTable,
  decodeChain,
  decodeElements,
  decodeGeneration,
  decodeRule,
  decodeSet,
  decodeTable,
  encodeBatch,
  encodeDump,
  encodeGenerationGet,
  partsOf,
} from '../wire/nft/message.js';
import { NETLINK_NETFILTER, type NftFamily } from '../wire/nft/numbers.js';
import { batch, dump, request } from './netlink.js';
import { type Scope, attachment } from './netns.js';
import { system } from './system.js';

export type { NftChain, NftChange, NftElement, NftRule, NftSet, NftTable };

/** With a socket for it, which netfilter wants one of its own of. */
async function withSocket<T>(scope: Scope, act: (socket: Descriptor) => Promise<T>): Promise<T> {
  const socket = await system(native().netlinkOpen(attachment(scope).netns, NETLINK_NETFILTER, {}));
  try {
    return await act(socket);
  } catch (error) {
    throw error instanceof NetlinkError ? (lacking(error) ?? error) : error;
  } finally {
    native().close(socket);
  }
}

function lacking(error: NetlinkError): UnsupportedError | undefined {
  // nfnetlink answers so of a subsystem that is not there and cannot be loaded.
  if (error.code !== 'EOPNOTSUPP' && error.code !== 'EPROTONOSUPPORT') return undefined;
  return new UnsupportedError(
    'this kernel lacks nftables, or the family that was asked for: it needs CONFIG_NF_TABLES, with CONFIG_NF_TABLES_NETDEV for devices, or the module nf_tables loaded',
    { feature: 'nftables', config: 'CONFIG_NF_TABLES', cause: error },
  );
}

/**
 * Carries out all changes, or none. Like `nft -f FILE`.
 *
 * `generation`: only if the ruleset is still that of `nftGeneration`.
 * @throws NetlinkError whose `index` is that of the change; EEXIST, ENOENT; EBUSY: something still uses what was to be deleted; ERESTART: the
 *   ruleset is another one by now; UnsupportedError
 */
export async function changeNft(
  scope: Scope,
  changes: readonly NftChange[],
  settings: { readonly generation?: number; readonly signal?: AbortSignal } = {},
): Promise<void> {
  if (changes.length === 0) return;
  const messages = encodeBatch(changes, settings.generation);
  await withSocket(scope, async (socket) => {
    try {
      await batch(socket, messages, settings.signal);
    } catch (error) {
      throw error instanceof NetlinkError ? told(error, changes) : error;
    }
  });
}

/** The first message of the batch begins it, and is what an error is about that belongs to none. */
function told(error: NetlinkError, changes: readonly NftChange[]): NetlinkError {
  const index = error.index - 1;
  const change = changes[index];
  const { code, errno, extack } = error;
  const about = change === undefined ? 'the batch as a whole' : `${describeChange(change)} (change ${index + 1} of ${changes.length})`;
  const syscall = change === undefined ? 'NFNL_MSG_BATCH_BEGIN' : error.syscall;
  const [reason = ''] = /^[^,]*: [^,]*/.exec(error.message) ?? [];
  const said = [extack?.message, extack?.attribute].filter((part) => part !== undefined).join('; ');
  return new NetlinkError(`${reason}, ${syscall}, ${about}${said === '' ? '' : ` (${said})`}; nothing was changed`, {
    code,
    errno,
    syscall,
    extack,
    index: Math.max(0, index),
    cause: error,
  });
}

/** 'add chain netdev podtap eth0': as nft(8) would be told, as far as it needs to be to find it. */
function describeChange(change: NftChange): string {
  const { verb, kind, object } = partsOf(change);
  const value = (object as unknown as Record<NftKind, { family: string; table?: string; name?: string; chain?: string; set?: string }>)[
    kind
  ];
  return [verb, kind, value.family, value.table, value.chain, value.set, value.name].filter((word) => word !== undefined).join(' ');
}

/** The number of the ruleset, which every batch changes. */
export function nftGeneration(scope: Scope): Promise<number> {
  return withSocket(scope, async (socket) => {
    const [answer] = await request(socket, [encodeGenerationGet()]);
    return decodeGeneration(answer!.from, answer!.messages[0]!);
  });
}

type Of = { readonly table?: string; readonly chain?: string; readonly set?: string };

function readNft<T>(scope: Scope, kind: NftKind, family: NftFamily, of: Of, decode: (from: Bytes, message: Message) => T): Promise<T[]> {
  return withSocket(scope, (socket) => dump(socket, encodeDump(kind, family, of), decode));
}

/** Of one family, or of all. Like `nft list tables`. */
export function listTables(scope: Scope, family: NftFamily = 'unspec'): Promise<readonly NftTable[]> {
  return readNft(scope, 'table', family, {}, decodeTable);
}

/** Like `nft list chains`. */
export function listChains(scope: Scope, family: NftFamily = 'unspec'): Promise<readonly NftChain[]> {
  return readNft(scope, 'chain', family, {}, decodeChain);
}

/** In their order, chain by chain. Like `nft -a list table FAMILY TABLE`. */
export async function listNftRules(scope: Scope, family: NftFamily, of: Omit<Of, 'set'> = {}): Promise<readonly NftRule[]> {
  return readNft(scope, 'rule', family, of, decodeRule);
}

/** Like `nft list sets`, with maps. */
export async function listSets(scope: Scope, family: NftFamily, table?: string): Promise<readonly NftSet[]> {
  return readNft(scope, 'set', family, table === undefined ? {} : { table }, decodeSet);
}

/** Of a set or map. Like `nft list set FAMILY TABLE SET`. */
export async function listElements(scope: Scope, family: NftFamily, table: string, set: string): Promise<readonly NftElement[]> {
  return (await readNft(scope, 'elements', family, { table, set }, decodeElements)).flatMap(({ elements }) => elements ?? []);
}
