// Runs the measurements, contenders in turns. Started by scripts/bench.mjs, in namespaces of its own.
import { cpus, release } from 'node:os';
import { parseArgs } from 'node:util';
import { Netns, createVeth, getLink } from 'podtap';
import type { Bench, Measurement, Peer, Prepared } from './measurement.js';
import { deviceMeasurements } from './measurements/devices.js';
import { dumpMeasurements } from './measurements/dumps.js';
import { eventMeasurements } from './measurements/events.js';
import { frameMeasurements } from './measurements/frames.js';
import { localhostMeasurements } from './measurements/localhost.js';
import { overlayMeasurement } from './measurements/overlay.js';
import { plumbMeasurements } from './measurements/plumb.js';
import { modeMeasurements } from './measurements/modes.js';
import { podMeasurement } from './measurements/pod.js';
import { importMeasurement, latenessMeasurement } from './measurements/process.js';
import { requestMeasurements } from './measurements/requests.js';
import { type Result, type Samples, print, results } from './report.js';
import { Worker } from './worker.js';

const measurements: readonly Measurement[] = [
  ...requestMeasurements,
  ...deviceMeasurements,
  podMeasurement,
  ...plumbMeasurements,
  ...modeMeasurements,
  overlayMeasurement,
  ...dumpMeasurements,
  ...eventMeasurements,
  ...frameMeasurements,
  ...localhostMeasurements,
  importMeasurement,
  latenessMeasurement,
];
/** Takes half a minute by itself. */
const notQuick = new Set(['routes-100k']);

/** What scripts/bench.mjs found and built. */
interface Programs {
  readonly floor: string;
  readonly ip: boolean;
  readonly peers: readonly { readonly name: string; readonly command: readonly [string, ...string[]] }[];
  readonly missing: readonly string[];
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      json: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true },
      rounds: { type: 'string' },
    },
  });
  const { json, quick, only } = values;
  const rounds = Number(values.rounds ?? (quick ? 1 : 7));
  const chosen = measurements.filter(({ name }) =>
    only === undefined ? !quick || !notQuick.has(name) : only.some((word) => name.startsWith(word)),
  );
  if (chosen.length === 0 || !Number.isInteger(rounds) || rounds < 1) {
    console.error(
      `usage: npm run bench -- [--json] [--quick] [--rounds N] [--only NAME]...\nnames: ${measurements.map(({ name }) => name).join(' ')}`,
    );
    process.exitCode = 2;
    return;
  }
  const programs = JSON.parse(process.env.PODTAP_BENCH!) as Programs;
  const machine = { kernel: release(), cores: cpus().length, processor: cpus()[0]?.model, node: process.version };
  const say = (line: string): void => void (json || console.log(line));
  say(
    `Linux ${machine.kernel}, ${machine.cores} × ${machine.processor}, Node ${machine.node}; medians of ${rounds} rounds, against the first line of each`,
  );

  const { bench, close } = await open(programs, quick, rounds);
  const all: Result[] = [];
  const notMeasured = [...programs.missing];
  try {
    for (const measurement of chosen) {
      const samples = await measure(bench, measurement).catch(
        (error: unknown) => void notMeasured.push(`${measurement.name}: ${String(error)}`),
      );
      if (samples === undefined) continue;
      const some = results(measurement, samples);
      all.push(...some);
      for (const result of some) say(`${result.rows.length > 1 || result === some[0] ? '\n' : ''}${print(result)}`);
    }
  } finally {
    await close();
  }
  for (const line of notMeasured) say(`\nnot measured: ${line}`);
  if (json) console.log(JSON.stringify({ machine, rounds, results: all, notMeasured }, undefined, 2));
}

async function measure(bench: Bench, measurement: Measurement): Promise<Samples> {
  const { contenders, ...prepared }: Prepared = await measurement.prepare(bench);
  const samples = new Map<string, (readonly number[])[]>(contenders.map(({ name }) => [name, []]));
  try {
    // The first round warms up, unless it takes seconds.
    for (let round = -1; round < bench.rounds; round++) {
      for (const { name, round: once, rounds = bench.rounds } of contenders) {
        if (round >= rounds || (round === -1 && rounds < bench.rounds)) continue;
        const figures = await once();
        if (round >= 0) samples.get(name)!.push(figures);
      }
    }
  } finally {
    await prepared.restore?.();
  }
  return samples;
}

async function open(
  { floor: command, ip, peers: found }: Programs,
  quick: boolean,
  rounds: number,
): Promise<{ bench: Bench; close: () => Promise<void> }> {
  // By a path that means the same to the floor and the peers.
  const netns = await Netns.open({ pid: process.pid });
  const name = 'bench';
  await createVeth(netns, name, { peer: { name: `${name}p`, up: false } });
  const { ifindex } = (await getLink(netns, name))!;
  const floor = new Worker(command);
  const peers = found.map(({ name, command: [program, ...args] }): Peer => ({ name, worker: new Worker(program, args) }));
  const close = async (): Promise<void> => {
    for (const worker of [floor, ...peers.map((peer) => peer.worker)]) worker.close();
    await netns.close();
  };
  return { bench: { netns, link: { name, ifindex }, floor, peers, ip, quick, rounds }, close };
}

await main();
