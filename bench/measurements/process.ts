// What podtap costs the process it runs in: the time of importing it, and how late the event loop gets.
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { getLink } from 'podtap';
import { type Bench, type Measurement, PODTAP, quantile } from '../measurement.js';
import { program } from '../program.js';

const library = fileURLToPath(import.meta.resolve('podtap'));

export const importMeasurement: Measurement = {
  name: 'import',
  figures: [{ title: 'a whole process', unit: 'ms', target: { more: 15e6 } }],
  prepare: () =>
    Promise.resolve({
      contenders: [
        { name: 'node -e 0', round: () => node('-e', '0') },
        { name: 'an empty ES module', round: () => node('--input-type=module', '-e', '') },
        { name: PODTAP, round: () => node(library) },
      ],
    }),
};

async function node(...args: readonly string[]): Promise<number[]> {
  const times: number[] = [];
  for (let index = 0; index < 5; index++) times.push((await program(process.execPath, args)).nanoseconds);
  return [quantile(times, 0.5)];
}

export const latenessMeasurement: Measurement = {
  name: 'lateness',
  figures: [
    { title: 'while another process keeps RTNL busy, the event loop is late: 99 of 100 times at most', unit: 'ms', target: { more: 5e6 } },
    { title: '... at worst', unit: 'ms' },
  ],
  prepare: (bench) =>
    Promise.resolve({
      contenders: [
        { name: 'timers alone', round: () => lateness(bench, () => delay(10)) },
        { name: PODTAP, round: () => lateness(bench, () => getLink(bench.netns, bench.link.ifindex)) },
      ],
    }),
};

async function lateness({ floor, quick }: Bench, request: () => Promise<unknown>): Promise<number[]> {
  const busy = { yet: true };
  const churn = floor.ask(`churn ${quick ? 200 : 1000}`).finally(() => (busy.yet = false));
  const late: number[] = [];
  const requests = (async () => {
    while (busy.yet) await request();
  })();
  while (busy.yet) {
    const due = process.hrtime.bigint() + 1_000_000n;
    await delay(1);
    late.push(Math.max(0, Number(process.hrtime.bigint() - due)));
  }
  await Promise.all([churn, requests]);
  return [quantile(late, 0.99), quantile(late, 1)];
}
