// Frames through a TAP: a full queue is read, and each frame written back, by JavaScript and by C.
import { createTap, deleteLink, openTap, setLink, setSysctl } from 'podtap';
import { type Bench, type Measurement, PODTAP, timed } from '../measurement.js';

const TAP = 'benchtap';

function frames(size: number): Measurement {
  return {
    name: `frames-${size}`,
    // 60 % of the frames per second of C.
    figures: [{ title: `a frame of ${size} bytes read from a TAP and written back`, unit: 'ns', target: { ratio: 1 / 0.6 } }],
    prepare: async (bench) => {
      const { netns, floor, quick } = bench;
      const count = quick ? 5000 : 20_000;
      await createTap(netns, TAP, { up: false });
      await setSysctl(netns, `net.ipv6.conf.${TAP}.disable_ipv6`, 1); // it would send frames of its own
      await setLink(netns, TAP, { txQueueLength: count, up: true });
      return {
        contenders: [
          { name: 'C', round: () => floor.ask(`echo ${TAP} ${size} ${count}`) },
          { name: PODTAP, round: async () => [(await echo(bench, size, count)) / count] },
        ],
        restore: async () => void (await deleteLink(netns, TAP)),
      };
    },
  };
}

async function echo({ netns, floor }: Bench, size: number, count: number): Promise<number> {
  await using tap = await openTap(netns, TAP);
  await tap.send([]); // so that it is held, and its queue keeps what comes
  await floor.ask(`fill-tap ${TAP} ${size} ${count}`);
  return await timed(async () => {
    let left = count;
    for await (const batch of tap.frames()) {
      await tap.send(batch);
      left -= batch.length;
      if (left <= 0) return;
    }
  });
}

export const frameMeasurements = [frames(64), frames(1514)];
