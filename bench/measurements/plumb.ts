// The whole job and its undo, against C that reads and changes the same: plumb by bridge and by redirect with its snapshot, its journal (which is
// podtap's alone) and its reading back. Each pod is a namespace of its own, and each contender gets fresh ones.
import { closeSync, openSync, readSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { type Netns, plumb } from 'podtap';
import { type Bench, type Contender, type Measurement, PODTAP, median, quantile, timed } from '../measurement.js';
import { SETTLE_MILLISECONDS, createPod, deletePods } from '../pods.js';

type Mode = 'bridge' | 'redirect' | 'ebpf' | 'macvtap';
const GROUP = 89;
const AT_ONCE = 200;

export const plumbMeasurements: readonly Measurement[] = [
  plumbing('plumb', 'bridge', { plumb: 'plumb', undo: 'unplumb', ratio: 1.3 }),
  plumbing('plumb-redirect', 'redirect', { plumb: 'plumb-redirect', undo: 'unplumb-redirect', ratio: 1.6 }),
  {
    name: 'plumb-at-once',
    figures: [{ title: `${AT_ONCE} pods plumbed, Promise.all; C one after the other`, unit: 'ms', target: { ratio: 1.2 } }],
    prepare: async (bench) => {
      const pods: Netns[] = [];
      const take = async (): Promise<Netns[]> => {
        const own: Netns[] = [];
        for (let count = 0; count < AT_ONCE; count++) own.push(await createPod(bench, pods.length + own.length, GROUP));
        pods.push(...own);
        return own;
      };
      const rounds = { C: [] as Netns[][], podtap: [] as Netns[][] };
      const count = bench.quick ? 1 : 2;
      // One more, where a round is run to warm up.
      for (let round = 0; round <= count; round++) {
        rounds.C.push(await take());
        rounds.podtap.push(await take());
      }
      await delay(SETTLE_MILLISECONDS / 2);
      const byC = async (): Promise<readonly number[]> => {
        let sum = 0;
        for (const pod of rounds.C.shift()!) {
          await bench.floor.ask(`enter ${pod.path}`);
          sum += (await bench.floor.ask('plumb'))[0]!;
        }
        return [sum];
      };
      const atOnce = async (): Promise<readonly number[]> => {
        const own = rounds.podtap.shift()!;
        return [await timed(() => Promise.all(own.map(async (pod) => (await plumb(pod, { mode: 'bridge' })).keep())))];
      };
      const contenders: Contender[] = [
        { name: 'C', round: byC, rounds: count },
        { name: PODTAP, round: atOnce, rounds: count },
      ];
      return { contenders, restore: () => restore(bench, pods) };
    },
  },
  {
    name: 'plumb-lateness',
    figures: [
      {
        title: `while ${AT_ONCE} pods are plumbed and undone, the event loop is late: 99 of 100 times at most`,
        unit: 'ms',
        target: { more: 5e6 },
      },
      { title: '... at worst', unit: 'ms' },
      { title: '... at worst, of which its thread had a processor', unit: 'ms', target: { more: 5e6 } },
    ],
    prepare: async (bench) => {
      const pods: Netns[] = [];
      for (let count = 0; count < AT_ONCE; count++) pods.push(await createPod(bench, count, GROUP));
      await delay(SETTLE_MILLISECONDS / 2);
      const atOnce = async (): Promise<void> => {
        const all = await Promise.all(pods.map((pod) => plumb(pod)));
        await Promise.all(all.map((one) => one.undo()));
      };
      const rounds = bench.quick ? 1 : 2;
      const contenders: Contender[] = [
        { name: 'timers alone', round: () => lateness(delay(5000)), rounds },
        { name: PODTAP, round: () => lateness(atOnce()), rounds },
      ];
      return { contenders, restore: () => restore(bench, pods) };
    },
  },
];

/** By C and by podtap, each with pods of its own. */
function plumbing(
  name: string,
  mode: 'bridge' | 'redirect',
  floor: { readonly plumb: string; readonly undo: string; readonly ratio: number },
): Measurement {
  return {
    name,
    figures: [
      { title: `plumb, ${mode}`, unit: 'µs', target: { ratio: floor.ratio } },
      { title: 'undo, everything: eth0 works again, and what was made is deleted', unit: 'ms', target: { ratio: 1.2 } },
    ],
    prepare: async (bench) => {
      const each = bench.quick ? 2 : 5;
      const pods: Netns[] = [];
      const take = async (): Promise<Netns[]> => {
        const own: Netns[] = [];
        for (let count = 0; count < each * (bench.rounds + 1); count++) own.push(await createPod(bench, pods.length + own.length, GROUP));
        pods.push(...own);
        return own;
      };
      const [ofC, ofPodtap] = [await take(), await take()];
      await delay(SETTLE_MILLISECONDS / 2);
      const contenders: Contender[] = [
        { name: 'C', round: () => medians(ofC.splice(0, each), (pod) => byFloor(bench, pod, floor)) },
        { name: PODTAP, round: () => medians(ofPodtap.splice(0, each), (pod) => byPodtap(pod, mode)) },
      ];
      return { contenders, restore: () => restore(bench, pods) };
    },
  };
}

/** Of timers of a millisecond while some work lasts: the 99th percentile, the worst, and the worst without what others took of the processors. */
async function lateness(work: Promise<void>): Promise<readonly number[]> {
  const busy = { yet: true };
  const done = work.finally(() => (busy.yet = false));
  const late: number[] = [];
  const own: number[] = [];
  const schedstat = openSync('/proc/thread-self/schedstat', 'r');
  try {
    while (busy.yet) {
      const ran = processorTime(schedstat);
      const due = process.hrtime.bigint() + 1_000_000n;
      await delay(1);
      const by = Math.max(0, Number(process.hrtime.bigint() - due));
      late.push(by);
      own.push(Math.min(by, processorTime(schedstat) - ran));
    }
  } finally {
    closeSync(schedstat);
  }
  await done;
  return [quantile(late, 0.99), quantile(late, 1), quantile(own, 1)];
}

/** Nanoseconds that this thread has had: Documentation/scheduler/sched-stats.rst. */
function processorTime(schedstat: number): number {
  const text = Buffer.alloc(64);
  return parseInt(text.toString('latin1', 0, readSync(schedstat, text, 0, text.length, 0)));
}

/** The medians of two figures. */
async function medians(pods: readonly Netns[], measure: (pod: Netns) => Promise<readonly [number, number]>): Promise<readonly number[]> {
  const samples: (readonly [number, number])[] = [];
  for (const pod of pods) samples.push(await measure(pod));
  return [median(samples.map(([one]) => one)), median(samples.map(([, other]) => other))];
}

async function byFloor({ floor }: Bench, pod: Netns, by: { plumb: string; undo: string }): Promise<readonly [number, number]> {
  await floor.ask(`enter ${pod.path}`);
  const [plumbed] = await floor.ask(by.plumb);
  const [works, deleted] = await floor.ask(by.undo);
  return [plumbed!, works! + deleted!];
}

async function byPodtap(pod: Netns, mode: Mode): Promise<readonly [number, number]> {
  let plumbing: Awaited<ReturnType<typeof plumb>> | undefined;
  const plumbed = await timed(async () => (plumbing = await plumb(pod, { mode })));
  return [plumbed, await timed(() => plumbing!.undo())];
}

async function restore(bench: Bench, pods: readonly Netns[]): Promise<void> {
  await bench.floor.ask(`enter ${bench.netns.path}`);
  await deletePods(bench, pods, GROUP);
}
