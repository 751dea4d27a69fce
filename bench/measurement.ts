import type { Netns } from 'podtap';
import type { Worker } from './worker.js';

/** One figure of a round. Times are measured in nanoseconds, and shown in the unit; of 'a second' more is better. */
export interface Figure {
  readonly title: string;
  readonly unit: 'ns' | 'µs' | 'ms' | 'number' | 'a second';
  /** What podtap shall be, against the baseline: at most so many times it, or at most so much more, in nanoseconds. */
  readonly target?: { readonly ratio: number } | { readonly more: number };
}

/** Measures once, and gives a number for each figure. */
export type Round = () => Promise<readonly number[]>;

export interface Contender {
  readonly name: string;
  readonly round: Round;
  /** Of those that take seconds. */
  readonly rounds?: number;
}

/** Contenders that are measured in turns. The first is the baseline, unless it is the only one. */
export interface Prepared {
  readonly contenders: readonly Contender[];
  restore?(): Promise<void>;
}

export interface Measurement {
  readonly name: string;
  readonly figures: readonly Figure[];
  prepare(bench: Bench): Promise<Prepared>;
}

export interface Peer {
  readonly name: string;
  readonly worker: Worker;
}

/** What the measurements stand on: a namespace of the benchmark's own, with a pair of veth in it, and who competes. */
export interface Bench {
  readonly netns: Netns;
  /** One end of the pair: down, as is the other end, whose name ends in p. */
  readonly link: { readonly name: string; readonly ifindex: number };
  readonly floor: Worker;
  /** Libraries in other languages that are installed, by the floor's commands. */
  readonly peers: readonly Peer[];
  readonly ip: boolean;
  readonly quick: boolean;
  readonly rounds: number;
}

export const PODTAP = 'podtap';

/** The floor, podtap, and the peers; the floor and the peers by the same command. */
export function contenders(bench: Bench, command: string, podtap: Round, slow: { readonly rounds?: number } = {}): Contender[] {
  const figures = async (worker: Worker): Promise<readonly number[]> => (await worker.ask(command)).slice();
  return [
    { name: 'C', round: () => figures(bench.floor) },
    { name: PODTAP, round: podtap },
    ...bench.peers.map(({ name, worker }) => ({ name, round: () => figures(worker), ...(name === 'pyroute2' && slow) })),
  ];
}

/** The median time of one run. */
export async function repeat(times: number, run: (index: number) => Promise<unknown>): Promise<number> {
  const samples: number[] = [];
  for (let index = 0; index < times; index++) samples.push(await timed(() => run(index)));
  return median(samples);
}

/** In nanoseconds. */
export async function timed(run: () => Promise<unknown>): Promise<number> {
  const started = process.hrtime.bigint();
  await run();
  return Number(process.hrtime.bigint() - started);
}

export function median(samples: readonly number[]): number {
  return quantile(samples, 0.5);
}

export function quantile(samples: readonly number[], part: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (sorted.length - 1) * part;
  const below = sorted[Math.floor(at)] ?? NaN;
  const above = sorted[Math.ceil(at)] ?? NaN;
  return below + (above - below) * (at - Math.floor(at));
}
