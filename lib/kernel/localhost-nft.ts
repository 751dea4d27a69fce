// The tables of nftables by which guests reach the localhost of their pod: made, made anew while they are in use, read, taken away.
import { NetlinkError, UnsupportedError } from '../errors.js';
import type { Counter } from '../wire/bpf/redirect.js';
import type { LocalhostConfig } from '../wire/localhost.js';
import { sha256 } from '../digest.js';
import type { Link } from '../wire/link.js';
import { FAMILY, configurationOf, countersOf, countingOn, isMemory, isOwn, localhostTable, tableName } from '../wire/nft/localhost.js';
import { type NftChain, type NftChange, type NftRule, type NftSet, changeNft, listChains, listElements, listNftRules, listSets, listTables, nftGeneration } from './nft.js'; // prettier-ignore
import { findLink, noLink } from './link.js';
import type { Scope } from './netns.js';

interface Contents {
  readonly chains: readonly NftChain[];
  readonly rules: readonly NftRule[];
  readonly sets: readonly NftSet[];
}

/** Where others change their rules all the time, one's own batch finds another ruleset than it was made for. */
const ATTEMPTS = 20;

async function read(scope: Scope, table: string): Promise<Contents | undefined> {
  if (!(await listTables(scope, FAMILY)).some(({ name }) => name === table)) return undefined;
  return {
    chains: (await listChains(scope, FAMILY)).filter((one) => one.table === table),
    rules: await listNftRules(scope, FAMILY, { table }),
    sets: await listSets(scope, FAMILY, table),
  };
}

/** With what is there now, as one batch, or once more where somebody else was faster. */
async function change(
  scope: Scope,
  table: string,
  changes: (is: Contents | undefined) => readonly NftChange[],
  signal?: AbortSignal,
): Promise<void> {
  // prettier-ignore
  for (let attempt = 1; ; attempt++) {
    const generation = await nftGeneration(scope);
    const is = await read(scope, table).catch(vanished);
    try {
      return await changeNft(scope, changes(is), { generation, ...(signal && { signal }) });
    } catch (error) {
      if (attempt === ATTEMPTS || !(error instanceof NetlinkError) || error.code !== 'ERESTART') throw error;
    }
  }
}

function lacking(error: unknown): readonly [] {
  if (error instanceof UnsupportedError) return [];
  throw error;
}

/** While it was read. */
function vanished(error: unknown): undefined {
  if (!(error instanceof NetlinkError) || error.code !== 'ENOENT') throw error;
}

/**
 * Makes the table of the pod's interface, or makes it anew: at once, as every packet sees it. What it remembers of flows stays; rules, chains
 * and sets of others in it too.
 * @throws PodtapError ENODEV; NetlinkError; UnsupportedError
 */
export async function setLocalhostTable(scope: Scope, config: LocalhostConfig, signal?: AbortSignal): Promise<void> {
  const links = new Map<number, Link>();
  for (const index of [config.link, ...config.guests.map(({ tap }) => tap)]) {
    const link = await findLink(scope, index);
    if (link === undefined) throw noLink(index);
    links.set(index, link);
  }
  const wanted = localhostTable(config, (index) => links.get(index)!);
  const table = tableName(config.link);
  await change(
    scope,
    table,
    (is) => {
      if (is === undefined) return [{ add: { table: { family: FAMILY, name: table } } }, ...wanted];
      const chains = new Map(wanted.flatMap((one) => (isChain(one.add) ? [[one.add.chain.name, one.add.chain]] : [])));
      const memories = new Set(wanted.flatMap((one) => (isSet(one.add) && isMemory(one.add.set.name) ? [one.add.set.name] : [])));
      const stays = ({ name, hook }: NftChain): boolean =>
        chains.has(name) && String(chains.get(name)!.hook?.devices) === String(hook?.devices);
      return [...without(is, { chain: stays, set: ({ name }) => memories.has(name) }), ...countingOn(wanted, countersOf(is.rules))];
    },
    signal,
  );
}

function isChain(object: NftChange['add']): object is { readonly chain: NftChain } {
  return object !== undefined && 'chain' in object;
}
function isSet(object: NftChange['add']): object is { readonly set: NftSet } {
  return object !== undefined && 'set' in object;
}

/** podtap's rules go, and of its chains and sets those that do not stay. */
function without(
  { chains, rules, sets }: Contents,
  stays: { chain: (one: NftChain) => boolean; set: (one: NftSet) => boolean },
): NftChange[] {
  // prettier-ignore
  const theirs = new Set(rules.filter((one) => !isOwn(one)).map(({ chain }) => chain));
  return [
    ...rules.filter(isOwn).map(({ family, table, chain, handle }): NftChange => ({ delete: { rule: { family, table, chain, handle: handle! } } })), // prettier-ignore
    ...sets.filter((one) => isOwnSet(one) && !stays.set(one)).map(({ family, table, name }): NftChange => ({ delete: { set: { family, table, name } } })), // prettier-ignore
    ...chains.filter((one) => isOwnChain(one) && !stays.chain(one) && !theirs.has(one.name)).map(({ family, table, name }): NftChange => ({ delete: { chain: { family, table, name } } })), // prettier-ignore
  ];
}

function isOwnChain({ name }: NftChain): boolean {
  return /^((tap|alias|literal|world|going|moved|picking)_\d+|resolve|owned|sidecar(_own)?|taken|away|clash|back|loopback|outward(_own)?(_new)?|link|out|first|inbound|config)$/.test(name); // prettier-ignore
}
function isOwnSet({ name }: NftSet): boolean {
  return isMemory(name) || /^((sources|literals)_\d+|errors6?|ported|own|announced|owners|owned|forward|backward|ranges(_real)?|hosts|alias_of|(back|peers)(_literal)?)$/.test(name); // prettier-ignore
}

/** Takes it away, if it is there. What others have put into it stays, without what was podtap's. */
export async function deleteLocalhostTable(scope: Scope, link: number): Promise<void> {
  const name = tableName(link);
  await change(scope, name, (is) => {
    if (is === undefined) return [];
    const others = othersIn(is).length > 0;
    return others ? without(is, { chain: () => false, set: () => false }) : [{ delete: { table: { family: FAMILY, name } } }];
  });
}

/** A line for each thing in a table that is not podtap's. */
function othersIn({ chains, rules, sets }: Contents): readonly string[] {
  return [
    ...chains.filter((one) => !isOwnChain(one)).map(({ name }) => `chain ${name}`),
    ...sets.filter((one) => !isOwnSet(one)).map(({ name }) => `set ${name}`),
    ...rules.filter((one) => !isOwn(one)).map(({ chain, handle }) => `rule ${handle} of chain ${chain}`),
  ];
}

export interface LocalhostCounts {
  /** By what became of frames; what the table does not count is absent. */
  readonly counters: ReadonlyMap<string, Counter>;
  /** How many flows are remembered at the moment, by the guest's slot; the pod's own processes are slot 0. */
  readonly flows: ReadonlyMap<number, number>;
}

/** undefined: there is no such table. What was counted stays when the table is made anew, but for what passes meanwhile. */
export async function countLocalhostTable(scope: Scope, link: number): Promise<LocalhostCounts | undefined> {
  const table = tableName(link);
  const is = await read(scope, table).catch(vanished);
  if (is === undefined) return undefined;
  const flows = new Map<number, number>();
  for (const { name } of is.sets) {
    const slot = /^pod6?$/.test(name) ? 0 : Number(/^flows_(\d+)$/.exec(name)?.[1] ?? -1);
    if (slot < 0) continue;
    const elements = (await listElements(scope, FAMILY, table, name).catch(vanished)) ?? [];
    if (elements.length > 0) flows.set(slot, (flows.get(slot) ?? 0) + elements.length);
  }
  return { counters: countersOf(is.rules.filter(isOwn)), flows };
}

export interface LocalhostTable {
  readonly link: number;
  /** Of what it was made; undefined: it does not say any more. */
  readonly config: LocalhostConfig | undefined;
  /** Chains by name, and sets, with a digest of each: what is as podtap has made it stays the same. */
  readonly parts: Readonly<Record<string, string>>;
  /** What is not podtap's, a line each. */
  readonly others: readonly string[];
}

/** All that there are. None where the kernel has no nftables. */
export async function readLocalhostTables(scope: Scope): Promise<readonly LocalhostTable[]> {
  const found: LocalhostTable[] = [];
  for (const { name } of await listTables(scope, FAMILY).catch(lacking)) {
    const link = Number(/^podtap_(\d+)$/.exec(name)?.[1] ?? 0);
    if (link === 0) continue;
    const is = await read(scope, name).catch(vanished);
    if (is === undefined) continue;
    const parts: Record<string, string> = {};
    for (const chain of is.chains.filter(isOwnChain)) {
      const rules = is.rules.filter((one) => one.chain === chain.name);
      const own = rules.filter(isOwn);
      // What is left of it is for the rules of others.
      if (own.length === 0 && rules.length > 0) continue;
      parts[`chain ${chain.name}`] = digest([chain.hook?.name, own.map(({ expressions, userdata }) => [expressions, userdata])]);
    }
    for (const set of is.sets.filter(isOwnSet)) {
      const elements = isMemory(set.name) ? [] : await listElements(scope, FAMILY, name, set.name);
      // Their order is the kernel's.
      parts[`set ${set.name}`] = digest(elements.map(({ key, keyEnd, data }) => digest([key, keyEnd, data])).sort());
    }
    found.push({ link, config: configurationOf(is.rules), parts, others: othersIn(is) });
  }
  return found;
}

function digest(value: unknown): string {
  const text = JSON.stringify(value, (key, one: unknown) => {
    // Of a counter, what it has counted.
    if (key === 'data' && typeof one === 'object' && one !== null && 'packets' in one) return undefined;
    return typeof one === 'bigint' ? String(one) : one instanceof Uint8Array ? Buffer.from(one).toString('hex') : one;
  });
  return sha256(text).toString('hex').slice(0, 16);
}
