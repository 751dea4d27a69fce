// A burst of events, and a consumer that cannot keep up with it: nothing may be lost, or its loss must be told and made good.
import { setTimeout as delay } from 'node:timers/promises';
import { watch } from '../../lib/index.js';
import type { Measurement } from '../measurement.js';

/** Of veth: made, brought up, given an address, deleted. */
const PAIRS = 1000;
const CONSUMER_NANOSECONDS = 20_000n;
const IDLE_MILLISECONDS = 300;

export const eventMeasurement: Measurement = {
  name: 'events',
  figures: [
    { title: 'a burst of events, each taking its consumer 20 µs: sent by the kernel', unit: 'number' },
    { title: '... received', unit: 'number' },
    { title: '... losses told', unit: 'number' },
    { title: '... snapshots after them', unit: 'number' },
    { title: '... time of the burst', unit: 'ms' },
    { title: '... time until the last was handled', unit: 'ms' },
  ],
  prepare: async ({ netns, floor, quick }) => {
    const burst = async (): Promise<number[]> => {
      const stop = new AbortController();
      let [received, overruns, snapshots] = [0, 0, -1]; // the first snapshot is the start
      let last = process.hrtime.bigint();
      let started!: () => void;
      const subscribed = new Promise<void>((resolve) => (started = resolve));
      const consume = async (): Promise<void> => {
        for await (const { type } of watch(netns, { resync: true, signal: stop.signal })) {
          if (type === 'snapshot') {
            snapshots++;
            started();
          } else if (type === 'overrun') {
            overruns++;
          } else {
            received++;
            last = process.hrtime.bigint();
            while (process.hrtime.bigint() - last < CONSUMER_NANOSECONDS);
          }
        }
      };
      const consumer = consume();
      await subscribed;
      const start = process.hrtime.bigint();
      const [sent, lost, taken] = await floor.ask(`burst ${quick ? PAIRS / 10 : PAIRS}`);
      for (let before = -1; before !== received; await delay(IDLE_MILLISECONDS)) before = received;
      stop.abort();
      await consumer;
      if (lost !== 0) throw new Error('the floor itself lost events: run as root, whose buffers are not limited');
      return [sent!, received, overruns, snapshots, taken!, Number(last - start)];
    };
    return Promise.resolve({ contenders: [{ name: 'podtap', round: burst, rounds: 3 }] });
  },
};
