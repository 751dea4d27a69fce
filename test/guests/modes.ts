// The datapaths that are proved with real guests; what each must do is the same, and what differs is here.
import type { PlumbOptions } from 'podtap';

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

const traits: readonly Trait[] = [
  { mode: 'bridge', byName: true, keepsMac: false, root: false },
  { mode: 'redirect', byName: true, keepsMac: true, root: false },
];

export const modes: readonly Trait[] = traits.filter(({ root }) => !root);
export const rootModes: readonly Trait[] = traits.filter(({ root }) => root);

/** More than the share of every run: GUESTS=all npm test -- guests/ */
export const all = process.env.GUESTS === 'all';
