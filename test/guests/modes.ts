// The datapaths that are proved with real guests; what each must do is the same, and what differs is here.
import { type PlumbOptions, Netns, planPlumbing } from 'podtap';

export type Mode = NonNullable<PlumbOptions['mode']>;

export interface Trait {
  readonly mode: Mode;
  /** A monitor can open the TAP by its name. */
  readonly byName: boolean;
  /** eth0 keeps its MAC. */
  readonly keepsMac: boolean;
  /** Only as root of the machine. */
  readonly root: boolean;
}

const traits = [
  { mode: 'bridge', byName: true, keepsMac: false, root: false },
  { mode: 'redirect', byName: true, keepsMac: true, root: false },
  { mode: 'ebpf', byName: true, keepsMac: true, root: true },
  { mode: 'macvtap', byName: false, keepsMac: true, root: true },
] as readonly Trait[];

/** What plumb does not know yet it refuses before it looks for eth0, which is not here. */
async function isKnown({ mode }: Trait): Promise<boolean> {
  await using netns = await Netns.current();
  const error = await planPlumbing(netns, { mode, link: 'eth0' }).catch((error: unknown) => error);
  return !(error instanceof TypeError);
}
const known: Trait[] = [];
for (const trait of traits) if (await isKnown(trait)) known.push(trait);

export const modes: readonly Trait[] = known.filter(({ root }) => !root);
export const rootModes: readonly Trait[] = known.filter(({ root }) => root);

/** More than the share of every run: GUESTS=all npm test -- guests/ */
export const all = process.env.GUESTS === 'all';
