// Run by environment.test.ts, as a process or a worker: does what its first argument names, then nothing.
import { readdirSync } from 'node:fs';
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { Netns, addAddress, createLink, createTap, createVeth, getLink, listLinks, openPacketSocket, readSysctl, setLink, watch } from 'podtap'; // prettier-ignore
import { ping } from 'podtap/lab';
import { attachment } from '../../lib/kernel/netns.js';
import { native } from '../../lib/native.js';
import { take } from '../support/inside.js';

const quiet = { addrGenMode: 'none', up: true } as const;
const forever = new Promise<never>(() => undefined);
const ignore = (): undefined => undefined;

async function wire(): Promise<Netns> {
  const netns = await Netns.create();
  await createVeth(netns, 'v0', { ...quiet, addresses: ['10.0.0.1/24'], peer: { ...quiet, name: 'v1' } });
  return netns;
}

/** Everything there is, under way at once and again and again. */
async function busy(): Promise<void> {
  const netns = await wire();
  const loop = async (work: () => Promise<unknown>): Promise<void> => {
    for (;;) {
      await work();
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const frame = new Uint8Array(100).fill(0xff);
  const packets = await openPacketSocket(netns, 'v1');
  const sender = await openPacketSocket(netns, 'v0');
  const tap = await createTap(netns, 'tap0', { persist: false });
  let mtu = 1000;
  await Promise.all([
    loop(() => Promise.all(Array.from({ length: 20 }, () => getLink(netns, 'v0')))),
    loop(() => listLinks(netns)),
    loop(() => setLink(netns, 'v0', { mtu: 1000 + (mtu++ % 100) })),
    loop(() => Netns.create().then((other) => other.close())),
    loop(() => readSysctl(netns, 'net.ipv4.conf.v0.mtu').catch(ignore)),
    loop(() => createTap(netns, 'tap%d', { persist: false }).then((other) => other.close())),
    loop(() => ping(netns, '10.0.0.9', { timeout: 5 })),
    loop(() => sender.send([frame, frame, frame])),
    loop(() => tap.send([frame, frame])),
    loop(() => tap.waitDetached({ signal: AbortSignal.timeout(3) }).catch(ignore)),
    (async () => {
      for await (const batch of packets.frames()) void batch;
    })(),
    (async () => {
      for await (const batch of tap.frames()) void batch;
    })(),
    (async () => {
      for await (const event of watch(netns, { resync: true })) void event;
    })(),
    forever,
  ]);
}

const states: Record<string, () => Promise<unknown>> = {
  /** Loaded, and that is all. */
  loaded: async () => native(),
  'open namespace': () => Netns.create(),
  'open socket': async () => openPacketSocket(await wire(), 'v0'),
  'open TAP': async () => createTap(await Netns.create(), 'tap0', { persist: false }),
  request: async () => void listLinks(await Netns.create()),
  requests: async () => {
    const netns = await wire();
    for (let number = 0; number < 200; number++) void createLink(netns, 'ifb', `i${number}`).catch(ignore);
  },
  opening: async () => {
    for (let number = 0; number < 50; number++) void Netns.create().catch(ignore);
  },
  frames: async () => void take((await openPacketSocket(await wire(), 'v0')).frames(), Infinity),
  'TAP frames': async () => {
    const tap = await createTap(await Netns.create(), 'tap0', { persist: false });
    void take(tap.frames(), Infinity);
  },
  watch: async () => {
    const events = watch(await wire(), { resync: true });
    await events.next();
    void take(events, Infinity);
  },
  attached: async () => void (await createTap(await Netns.create(), 'tap0')).waitAttached(),
  ping: async () => void ping(await wire(), '10.0.0.9', { timeout: 60_000 }),
  connect: async () => {
    const netns = await wire();
    void netns.openSocket({ type: 'tcp-connect', address: '10.0.0.9', port: 80 });
  },
  busy: async () => void busy(),
  throws: async () => {
    void busy();
    await new Promise((resolve) => setTimeout(resolve, 20));
    throw new Error('as a program may');
  },
};

/** Answers without a namespace left open. */
async function answers(): Promise<string> {
  const netns = await wire();
  await Promise.all(Array.from({ length: 50 }, (_, number) => addAddress(netns, 'v0', `10.1.0.${number}/32`)));
  const names = await Promise.all(Array.from({ length: 200 }, async (_, number) => (await getLink(netns, number % 2 === 0 ? 'v0' : 'v1'))?.name)); // prettier-ignore
  await netns.close();
  return [...new Set(names)].sort().join();
}

async function collected(): Promise<string> {
  const { gc } = globalThis as unknown as { gc: () => void };
  const open = (): number => readdirSync('/proc/self/fd').length;
  await getLink(await Netns.current(), 'lo');
  const make = async (): Promise<void> => {
    const dropped = await Promise.all(Array.from({ length: 20 }, () => Netns.create()));
    await Promise.all(dropped.map((netns) => readSysctl(netns, 'net.ipv4.ip_forward')));
    const [netns] = dropped;
    await createTap(netns!, 'tap0', { persist: false });
    await openPacketSocket(netns!, 'lo');
    native().close(attachment(netns!).socket);
  };
  const before = open();
  await make();
  const meanwhile = open();
  let after = meanwhile;
  for (let round = 0; round < 100 && after > before; round++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 10));
    after = open();
  }
  return `${meanwhile - before > 50} ${after <= before}`;
}

if (isMainThread) {
  const [state, ending, code] = process.argv.slice(2);
  if (state === 'collected') console.log(await collected());
  else await states[state!]!();
  if (ending === 'linger') console.log('under way');
  if (ending === 'exit') process.exit(Number(code));
  if (ending === 'later') setTimeout(() => process.exit(Number(code)), 30);
  if (ending === 'kill') process.kill(process.pid, 'SIGTERM');
  if (ending !== 'linger') process.exitCode = Number(code ?? 0);
} else if (workerData === 'answers') {
  parentPort!.postMessage(await answers());
} else {
  parentPort!.postMessage('started');
  await states[String(workerData)]!();
  parentPort!.postMessage('under way');
}
