// The first frame behind a start. A carrier that comes on is not a queue that takes frames: the kernel gives the interface its queue from a
// work of its own (linkwatch), and loses what is sent before. Whoever asks for the interface has that work done (Linux 6.8; before, one sees
// when it is), so podtap and its tests ask. What the prototype of the nftables backend lost at its start was that; see lib/localhost/README.md.
import { createTap, getLink, openPacketSocket, openTap } from 'podtap';
import t from 'tap';
import { checkOperations, perform } from '../../lib/operation/run.js';
import { nftOperations } from '../../lib/localhost/nft.js';
import { snapshot } from '../../lib/state/snapshot.js';
import { frame, numberOf } from '../kernel/frames.js';
import { fresh, inside, take, until } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { DNS, worldOf } from './world.js';

t.setTimeout(300_000);
const rounds = Math.ceil(10 * Number(process.env.RUNS ?? 1));
/** WAIT=no shows what is lost otherwise. */
const wait = process.env.WAIT !== 'no';

await t.test('to a TAP that has just been opened', { skip: requires('tun') }, async (t) => {
  const pod = await fresh(t);
  inside(pod, 'sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1');
  let lost = 0;
  for (let round = 0; round < rounds; round++) {
    const made = await createTap(pod, 'tap0');
    await using socket = await openPacketSocket(pod, 'tap0');
    const tap = await openTap(pod, 'tap0');
    await tap.send([]); // attaches
    if (wait) await until(async () => (await getLink(pod, 'tap0'))?.operstate === 'UP');
    await socket.send([frame(1)]).catch(() => undefined);
    await until(async () => (await getLink(pod, 'tap0'))?.operstate === 'UP');
    const again = setInterval(() => void socket.send([frame(2)]).catch(() => undefined), 20);
    const [batch] = await take(tap.frames(), 1);
    clearInterval(again);
    if (numberOf(batch![0]!) !== 1) lost++;
    await tap.close();
    await made.close();
    inside(pod, 'ip link delete tap0');
  }
  t.equal(lost, 0, `of ${rounds}`);
});

await t.test('of a guest, to a service by nftables: one try each', { skip: requires('tun') }, async (t) => {
  for (let round = 0; round < rounds; round++)
    await t.test(`start ${round + 1}`, async (t) => {
      const world = await worldOf(t);
      await world.sidecar.serve('udp', '127.0.0.11', 40_053);
      const state = await snapshot(world.pod, new Set(['qdisc', 'filter']));
      await perform(world.pod, checkOperations('localhost', nftOperations(world.config, state)));
      await until(async () => (await getLink(world.pod, 'eth0'))?.operstate === 'UP');
      t.equal(await world.guests[0]!.agent.says('udp', DNS, 53, { timeout: 2 }), 'hello');
    });
});
