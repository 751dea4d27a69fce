// Every datapath there is.
import * as v from 'valibot';
import type { Part, State } from '../../state/snapshot.js';
import { bridge } from './bridge.js';
import type { Datapath, Fault } from './datapath.js';
import { ebpf } from './ebpf.js';
import { macvtap } from './macvtap.js';
import { redirect } from './redirect.js';

export const datapaths = { redirect, ebpf, bridge, macvtap };

export type DatapathMode = keyof typeof datapaths;
export type Wiring = { [M in DatapathMode]: (typeof datapaths)[M] extends Datapath<infer W> ? W : never }[DatapathMode];

export const modes = Object.keys(datapaths) as readonly DatapathMode[];

/** Also how it is kept in the journal. */
export const wiringSchema = v.union(modes.map((mode) => datapaths[mode].schema)) as unknown as v.GenericSchema<unknown, Wiring>;

export function datapathOf(mode: DatapathMode): Datapath<Wiring> {
  return datapaths[mode];
}

export function isMode(mode: string): mode is DatapathMode {
  return Object.hasOwn(datapaths, mode);
}

/** What is not as it was made. */
export function faultsOf(wiring: Wiring, state: State): readonly Fault[] {
  return datapathOf(wiring.mode).faults(wiring, state);
}

export function faultParts(wiring: Wiring): ReadonlySet<Part> {
  return new Set([...datapathOf(wiring.mode).faultParts, ...(wiring.source === undefined ? [] : guardParts)]);
}

/** Of what checks the guest, in whatever mode. */
export const guardParts: readonly Part[] = ['qdisc', 'filter'];

/** For a look at a namespace of which nothing is known. */
export const allFaultParts: ReadonlySet<Part> = new Set(modes.flatMap((mode) => datapaths[mode].faultParts));
