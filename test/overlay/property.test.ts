import type { Netns } from 'podtap';
import { createLab } from 'podtap/lab';
import { type ListedNode, joinOverlay, nodeList } from 'podtap/overlay';
import fc from 'fast-check';
import t from 'tap';
import { sh } from '../support/oracle.js';
import { requires } from '../support/requires.js';
import { searched } from '../support/search.js';
import { ONE, WIDE_ONE } from './nodes.js';

// Whatever the list was, and whatever happened to the node on the way: in the end there is what a node that joins with the last list has.

const skip = { skip: requires('vxlan') };

const hex = (number: number): string => number.toString(16).padStart(2, '0');

/** Few of each, so that nodes move, swap and contradict each other. */
const other: fc.Arbitrary<ListedNode> = fc
  .record({
    number: fc.integer({ min: 2, max: 6 }),
    length: fc.constantFrom(24, 24, 24, 25),
    at: fc.integer({ min: 1, max: 5 }),
    mac: fc.integer({ min: 1, max: 5 }),
    near: fc.boolean(),
    wide: fc.boolean(),
  }) // prettier-ignore
  .map(({ number, length, at, mac, near, wide }) => ({
    ipv4: { subnet: `10.244.${number}.0/${length}`, publicIp: near ? `192.161.1.${10 + at}` : `192.160.0.${10 + at}`, vtepMac: `46:00:00:00:04:${hex(mac)}` }, // prettier-ignore
    ...(wide && { ipv6: { subnet: `fd00:10:244:${number}::/64`, publicIp: near ? `fd00:161::${10 + at}` : `fd00:160::${10 + at}`, vtepMac: `46:00:00:00:06:${hex(mac)}` } }), // prettier-ignore
  }));
const lists = fc.array(other, { maxLength: 6 }).map((others): ListedNode[] => [{ ipv4: ONE, ipv6: WIDE_ONE }, ...others]);

type Step = { readonly what: 'update'; readonly list: ListedNode[] } | { readonly what: 'wait' | 'rejoin' } | { readonly what: 'tamper'; readonly command: string }; // prettier-ignore
const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ what: fc.constant('update' as const), list: lists }) },
  { weight: 2, arbitrary: fc.record({ what: fc.constantFrom('wait' as const, 'rejoin' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      what: fc.constant('tamper' as const),
      command: fc.constantFrom(
        'ip link delete flannel.1',
        'ip link set dev flannel-v6.1 down',
        'ip neigh flush dev flannel.1 nud all',
        'ip route flush proto 112',
        'ip -6 route flush proto 112',
        'ip link set dev flannel.1 address 46:00:00:00:09:09',
      ),
    }),
  },
);

/** In names, not in indexes, and in no order. */
async function state(node: Netns): Promise<string> {
  const lines = ['ip -br address', 'ip route', 'ip -6 route', 'ip neigh show nud permanent', 'ip -6 neigh show nud permanent', 'bridge fdb show dev flannel.1', 'bridge fdb show dev flannel-v6.1']; // prettier-ignore
  const texts: string[] = [];
  for (const line of lines) texts.push(`${line}:`, ...(await sh(node, line)).split('\n').sort());
  return texts.join('\n');
}

await t.test('any sequence of lists ends as a fresh joining with the last one', skip, async (t) => {
  await using lab = await createLab({
    nodes: { one: {}, router: {} },
    links: [{ one: '192.161.1.5/24 fd00:161::5/64', router: '192.161.1.2/24 fd00:161::2/64' }],
    routes: { one: { default: '192.161.1.2', '::/0': 'fd00:161::2' } },
  });
  await fc.assert(
    fc.asyncProperty(lists, fc.array(steps, { minLength: 1, maxLength: 8 }), fc.boolean(), async (first, sequence, directRouting) => {
      const registry = nodeList(first);
      const join = (from = registry) =>
        joinOverlay(lab.one, { registry: from, directRouting, publicIp: '192.161.1.5', publicIpv6: 'fd00:161::5' });
      let overlay = await join();
      for (const step of sequence) {
        if (step.what === 'update') registry.update(step.list);
        else if (step.what === 'wait') await overlay.reconcile();
        else if (step.what === 'tamper') await sh(lab.one, step.command).catch(() => undefined);
        else {
          await overlay.keep();
          overlay = await join();
        }
      }
      await overlay.reconcile();
      const reached = await state(lab.one);
      const again = await overlay.reconcile();
      const nodes = overlay.nodes;
      await overlay.leave();
      const fresh = await join(nodeList(registry.nodes));
      const wanted = await state(lab.one);
      const same = JSON.stringify(nodes) === JSON.stringify(fresh.nodes);
      await fresh.leave();
      if (reached !== wanted) throw new Error(`reached:\n${reached}\nwanted:\n${wanted}`);
      if (!same) throw new Error('other nodes are reached');
      if (again !== 0) throw new Error(`it was not at rest: ${again} changes more`);
    }),
    searched(25),
  );
  t.pass();
});
