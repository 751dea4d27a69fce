// A transaction that bridges a pod by primitives, failed at each of its requests: what is left is what was.
import fc from 'fast-check';
import t from 'tap';
import { type Netns, bridgeEnslave, cloneMac, createTap, flushAddresses, setLink, transaction } from 'podtap';
import { compare, dump } from '../oracle/dump.js';
import { withFaults } from '../oracle/faults.js';
import { pod } from '../oracle/planted.js';
import { build, pods } from '../oracle/pod.js';
import { searched } from '../support/search.js';

async function change(netns: Netns): Promise<void> {
  await transaction(netns, async (tx) => {
    await createTap(tx, 'tap0', { mtu: 1450 });
    await setLink(tx, 'eth0', { addrGenMode: 'none' });
    await flushAddresses(tx, 'eth0', { family: 'ipv6' });
    await flushAddresses(tx, 'eth0', { family: 'ipv4' });
    await bridgeEnslave(tx, { bridge: 'br0', ports: ['eth0', 'tap0'] });
    await cloneMac(tx, { from: 'eth0' });
    throw new Error('enough');
  });
}

void t.test('a body that throws leaves the pod as it was', async (t) => {
  await using built = await build(pod);
  const before = await dump(built.netns);
  await t.rejects(change(built.netns), { message: 'enough' });
  t.strictSame(compare(before, await dump(built.netns)), []);
});

for (const how of ['refused', 'lost'] as const) {
  void t.test(`each request ${how}`, { timeout: 300_000 }, async (t) => {
    for (let at = 0; ; at++) {
      await using built = await build(pod);
      const before = await dump(built.netns);
      const { error, hit } = await withFaults([{ at, how }], () => change(built.netns));
      t.ok(error instanceof Error, `${at}`);
      t.strictSame(compare(before, await dump(built.netns)), [], `${at} ${hit[0]}`);
      if (hit.length === 0) break;
    }
  });
}

void t.test('any pod', { timeout: 600_000 }, async (t) => {
  await fc.assert(
    fc.asyncProperty(pods(), async (drawn) => {
      await using built = await build(drawn);
      const before = await dump(built.netns);
      const error: unknown = await change(built.netns).catch((caught: unknown) => caught);
      const differences = compare(before, await dump(built.netns));
      if (differences.length > 0) throw new Error(`${String(error)}\n${differences.join('\n')}`);
      t.match((error as Error).message, /enough/);
    }),
    searched(25),
  );
});
