// A burst of events, and a consumer that cannot keep up with it: nothing may be lost, or its loss must be told and made good.
import { setTimeout as delay } from 'node:timers/promises';
import { listLinks, watch } from 'podtap';
import type { Bench, Measurement } from '../measurement.js';

/** Of veth: made, brought up, given an address, deleted. */
const PAIRS = 1000;
const CONSUMER_NANOSECONDS = 20_000n;
const IDLE_MILLISECONDS = 300;

/** Room for a handful. */
const SMALL_BUFFER = 16 * 1024;

function events(name: string, title: string, bufferSize?: number): Measurement {
  return {
    name,
    figures: [
      { title: `${title}: sent by the kernel`, unit: 'number' },
      { title: '... received', unit: 'number' },
      { title: '... losses told', unit: 'number' },
      { title: '... snapshots after them', unit: 'number' },
      { title: '... events missing though no loss was told', unit: 'number' },
      { title: '... links wrong or missing in a table that was kept', unit: 'number' },
      { title: '... time of the burst', unit: 'ms' },
    ],
    prepare: (bench) => Promise.resolve({ contenders: [{ name: 'podtap', round: () => burst(bench, bufferSize), rounds: 3 }] }),
  };
}

async function burst({ netns, floor, quick }: Bench, bufferSize: number | undefined): Promise<number[]> {
  const stop = new AbortController();
  const links = new Map<number, string>();
  let [received, overruns, snapshots] = [0, 0, 0];
  let subscribed!: () => void;
  const begun = new Promise<void>((resolve) => (subscribed = resolve));
  const consume = async (): Promise<void> => {
    for await (const event of watch(netns, { resync: true, signal: stop.signal, ...(bufferSize !== undefined && { bufferSize }) })) {
      if (event.type === 'overrun') {
        overruns++;
      } else if (event.type === 'snapshot') {
        snapshots++;
        links.clear();
        for (const object of event.objects) if (object.object === 'link') links.set(object.ifindex, object.name);
        subscribed();
      } else {
        received++;
        const { type, object } = event;
        if (object.object === 'link' && type === 'new') links.set(object.ifindex, object.name);
        if (object.object === 'link' && type === 'deleted') links.delete(object.ifindex);
        const until = process.hrtime.bigint() + CONSUMER_NANOSECONDS;
        while (process.hrtime.bigint() < until);
      }
    }
  };
  const consumer = consume();
  consumer.catch(() => undefined); // it is awaited in the end
  await Promise.race([begun, consumer]);
  const [sent, lost, taken] = await floor.ask(`burst ${quick ? PAIRS / 10 : PAIRS}`);
  for (let before = -1; before !== received; await delay(IDLE_MILLISECONDS)) before = received;
  stop.abort();
  await consumer;
  if (lost !== 0) throw new Error('the floor itself lost events: run as root, whose buffers are not limited');
  const there = await listLinks(netns);
  const wrong = there.filter(({ ifindex, name }) => links.get(ifindex) !== name).length + Math.max(0, links.size - there.length);
  const untold = overruns > 0 ? 0 : Math.max(0, sent! - received);
  return [sent!, received, overruns, snapshots - 1, untold, wrong, taken!];
}

export const eventMeasurements = [
  events('events', 'a burst of events, each taking its consumer 20 µs'),
  events('events-lost', 'the same with a buffer that is too small', SMALL_BUFFER),
];
