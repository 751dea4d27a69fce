// The datapaths beside each other: how long plumb takes by each, and how many frames a second cross.
import { setTimeout as delay } from 'node:timers/promises';
import { type Netns, type Plumbing, getLink, plumb } from 'podtap';
import { type Bench, type Contender, type Measurement, median, timed } from '../measurement.js';
import { SETTLE_MILLISECONDS, createPod, deletePods } from '../pods.js';

const GROUP = 88;
const modes = ['bridge', 'redirect', 'ebpf', 'macvtap'] as const;
type Mode = (typeof modes)[number];

/** Those that this kernel and user allow: programs and the device of a macvtap are for real root. */
async function possible(bench: Bench, pods: Netns[]): Promise<readonly Mode[]> {
  const pod = await createPod(bench, pods.length, GROUP);
  pods.push(pod);
  const found: Mode[] = [];
  for (const mode of modes) {
    try {
      const net = await plumb(pod, { mode });
      await net.undo();
      found.push(mode);
    } catch (error) {
      console.error(`without ${mode}: ${(error as Error).message}`);
    }
  }
  return found;
}

const plumbs: Measurement = {
  name: 'modes',
  figures: [
    { title: 'plumb by each mode', unit: 'µs' },
    { title: 'undo', unit: 'ms' },
  ],
  prepare: async (bench) => {
    const each = bench.quick ? 2 : 5;
    const pods: Netns[] = [];
    const contenders: Contender[] = [];
    for (const mode of await possible(bench, pods)) {
      const own: Netns[] = [];
      for (let count = 0; count < each * (bench.rounds + 1); count++) own.push(await createPod(bench, pods.length + own.length, GROUP));
      pods.push(...own);
      contenders.push({ name: mode, round: () => plumbAndUndo(own.splice(0, each), mode) });
    }
    await delay(SETTLE_MILLISECONDS / 2);
    return { contenders, restore: () => deletePods(bench, pods, GROUP) };
  },
};

async function plumbAndUndo(pods: readonly Netns[], mode: Mode): Promise<readonly number[]> {
  const samples: (readonly [number, number])[] = [];
  for (const pod of pods) {
    let net: Plumbing | undefined;
    samples.push([await timed(async () => (net = await plumb(pod, { mode }))), await timed(() => net!.undo())]);
  }
  return [median(samples.map(([plumbed]) => plumbed)), median(samples.map(([, undone]) => undone))];
}

/** By one thread of C, which sends some and takes them: what differs is the kernel's way between the two. */
function packets(size: number): Measurement {
  return {
    name: `packets-${size}`,
    figures: [
      { title: `frames of ${size} bytes a second, from the wire to the guest`, unit: 'a second' },
      { title: `frames of ${size} bytes a second, from the guest to the wire`, unit: 'a second' },
    ],
    prepare: async (bench) => {
      const count = bench.quick ? 3200 : 32_000;
      const pods: Netns[] = [];
      const contenders: Contender[] = [];
      const ends: AsyncDisposable[] = [];
      for (const [mode, antiSpoof] of (await possible(bench, pods)).flatMap(
        (mode) =>
          [
            [mode, false],
            [mode, true],
          ] as const,
      )) {
        const number = pods.length;
        const pod = await createPod(bench, number, GROUP);
        pods.push(pod);
        const wire = (await getLink(bench.netns, `h${number}`))!;
        const net = await plumb(pod, { mode, antiSpoof, tap: { attach: 'fd' } });
        const fds = await net.tap.takeFds();
        ends.push(fds, net);
        const command = `packets ${process.pid} ${fds.fds[0]} ${wire.ifindex} ${net.guest.mac} ${wire.mac} ${size} ${count}`;
        const round = async (): Promise<readonly number[]> => (await bench.floor.ask(command)).map((one) => 1e9 / one);
        contenders.push({ name: antiSpoof ? `${mode}, antiSpoof` : mode, round });
      }
      await delay(SETTLE_MILLISECONDS);
      const restore = async (): Promise<void> => {
        for (const end of ends) await end[Symbol.asyncDispose]();
        await deletePods(bench, pods, GROUP);
      };
      return { contenders, restore };
    },
  };
}

export const modeMeasurements: readonly Measurement[] = [plumbs, packets(64), packets(1514)];
