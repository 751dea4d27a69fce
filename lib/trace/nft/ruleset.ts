// What nftables holds in a namespace, read at need and once.
import { NetlinkError, UnsupportedError } from '../../errors.js';
import type { Netns } from '../../kernel/netns.js';
import { type NftChain, type NftElement, type NftRule, type NftSet, listChains, listElements, listNftRules, listSets, listTables } from '../../kernel/nft.js'; // prettier-ignore
import type { NftFamily } from '../../wire/nft/numbers.js';

export interface Base extends NftChain {
  readonly hook: NonNullable<NftChain['hook']>;
}

/** Where NAT's chains really run, whatever their own priority is: it orders them among themselves. NF_IP_PRI_NAT_DST, ..._SRC. */
const NAT: Readonly<Record<string, number>> = { prerouting: -100, output: -100, input: 100, postrouting: 100 };

export class Ruleset {
  #bases: Promise<readonly Base[]> | undefined;
  readonly #rules = new Map<string, Promise<readonly NftRule[]>>();
  readonly #sets = new Map<string, Promise<readonly NftSet[]>>();
  readonly #elements = new Map<string, Promise<readonly NftElement[]>>();
  /** Why it could not be read. */
  unread: string | undefined;

  constructor(readonly netns: Netns) {}

  /** Chains that hang on a hook, in the order in which the kernel asks them; none of tables that are dormant. */
  bases(): Promise<readonly Base[]> {
    return (this.#bases ??= this.#readBases().catch((error: unknown) => {
      if (error instanceof UnsupportedError) return []; // what a kernel has not decides nothing
      if (!(error instanceof NetlinkError)) throw error;
      this.unread = error.message;
      return [];
    }));
  }

  async #readBases(): Promise<readonly Base[]> {
    const dormant = new Set((await listTables(this.netns)).filter(({ flags }) => flags?.includes('dormant')).map(({ family, name }) => `${family} ${name}`)); // prettier-ignore
    const chains = await listChains(this.netns);
    const bases = chains.filter((chain): chain is Base => chain.hook !== undefined && !dormant.has(`${chain.family} ${chain.table}`));
    return bases.sort((a, b) => priorityOf(a) - priorityOf(b) || a.hook.priority - b.hook.priority);
  }

  async rules({ family, table }: NftChain, chain: string): Promise<readonly NftRule[]> {
    const all = await remember(this.#rules, `${family} ${table}`, () => listNftRules(this.netns, family, { table }));
    return all.filter((rule) => rule.chain === chain);
  }

  async set(family: NftFamily, table: string, name: string): Promise<NftSet | undefined> {
    const all = await remember(this.#sets, `${family} ${table}`, () => listSets(this.netns, family, table));
    return all.find((set) => set.name === name);
  }

  elements({ family, table, name }: NftSet): Promise<readonly NftElement[]> {
    return remember(this.#elements, `${family} ${table} ${name}`, () => listElements(this.netns, family, table, name));
  }
}

export function priorityOf({ type, hook }: Base): number {
  return (type === 'nat' ? NAT[hook.name] : undefined) ?? hook.priority;
}

function remember<T>(known: Map<string, Promise<T>>, key: string, read: () => Promise<T>): Promise<T> {
  const one = known.get(key) ?? read();
  known.set(key, one);
  return one;
}
