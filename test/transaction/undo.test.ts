// A transaction that bridges a pod by primitives, failed at each of its requests: what is left is what was.
import fc from 'fast-check';
import t from 'tap';
import { type Netns, bridgeEnslave, cloneMac, createTap, deleteRoute, flushAddresses, recover, setLink, transaction } from 'podtap';
import { compare, dump } from '../oracle/dump.js';
import { withFaults } from '../oracle/faults.js';
import { pod } from '../oracle/planted.js';
import { build, pods } from '../oracle/pod.js';
import { fresh, inside } from '../support/inside.js';
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
    searched(18),
  );
});

void t.test('looks that fail for a passing reason, while it is undone', async (t) => {
  const body = (netns: Netns): Promise<void> =>
    transaction(netns, async (tx) => {
      await createTap(tx, 'tap0');
      await flushAddresses(tx, 'eth0');
      throw new Error('enough');
    });
  let undoing = false;
  // Changes tell where undoing begins: `body` asks for no addresses to be added.
  const looks = (request: string): boolean => {
    if (request === 'RTM_NEWADDR') undoing = true;
    return undoing && request.startsWith('RTM_GET');
  };
  for (const [faults, message] of [
    [[0], 'enough'],
    [[1], 'enough'],
    [[0, 1], 'enough'],
    [[0, 1, 2], /not everything could be put back: .*ENOMEM/],
  ] as const) {
    await using built = await build(pod);
    const before = await dump(built.netns);
    undoing = false;
    const { error, hit } = await withFaults(faults.map((at) => ({ at, how: 'refused' })), () => body(built.netns), looks); // prettier-ignore
    t.equal(hit.length, faults.length);
    t.match(error, { message });
    if (message !== 'enough') {
      t.match(await recover(), { undone: [{ state: 'undoing' }], failed: [] }, 'it is in the journal, and can be undone');
    }
    t.strictSame(compare(before, await dump(built.netns)), []);
  }
});

void t.test('a route that comes back against the rules of the pod leaves no rule behind', async (t) => {
  const netns = await fresh(t);
  inside(netns, 'ip link add eth0 type veth peer name p0; for one in p0 eth0; do ip link set $one addrgenmode none up; done; ip address add 10.1.0.2/24 dev eth0; ip route add default via 10.1.0.1; ip rule add not from 10.9.9.9 blackhole pref 100'); // prettier-ignore
  const before = await dump(netns);
  const enough = new Error('enough');
  const change = transaction(netns, async (tx) => (await deleteRoute(tx, { dst: 'default', via: '10.1.0.1' }), Promise.reject(enough)));
  t.equal(await change.catch((error: unknown) => error), enough);
  t.strictSame(compare(before, await dump(netns)), []);
});
