// Keys of flower that came late: older kernels pass over them without a word.
import t from 'tap';
import { Netns, addFilter, addQdisc, createVeth, listFilters, transaction } from 'podtap';
import { sh } from '../support/oracle.js';
import { requires } from '../support/requires.js';

const cases = [
  ['l2_miss', { l2_miss: 1 }, requires('flower_l2_miss') === false, '6.5'],
  ['spi', { ip_proto: 50, spi: 7, spi_mask: 0xffffffff }, requires('flower_spi') === false, '6.6'],
  ['num_of_vlans', { num_of_vlans: 2 }, true, '5.19'],
] as const;

await t.test(
  'a key that the kernel does not know is an error, and not a filter that matches more',
  { skip: requires('flower') },
  async (t) => {
    for (const [name, keys, isKnown, minimumKernel] of cases) {
      await using netns = await Netns.create();
      await createVeth(netns, 'eth0', { peer: { name: 'x' } });
      await addQdisc(netns, 'eth0', { kind: 'ingress' });
      const protocol = name === 'num_of_vlans' ? 'all' : 'ip';
      const filter = { parent: 'ffff:', protocol, priority: 7, handle: '0x1', kind: 'flower', options: { keys } };
      const left = async (): Promise<string> =>
        `${await sh(netns, 'tc filter show dev eth0 parent ffff:')}\n${await sh(netns, 'tc chain show dev eth0 parent ffff:')}`;
      const before = await left();
      if (isKnown) {
        for (let time = 0; time < 2; time++) await addFilter(netns, 'eth0', { ...filter, priority: 7 + time });
        const there = (await listFilters(netns, 'eth0', 'ffff:')).filter(({ handle }) => handle !== undefined);
        t.match(
          there,
          [
            { priority: 7, options: { keys } },
            { priority: 8, options: { keys } },
          ],
          name,
        );
        t.notMatch(await left(), /chain [1-9]/, 'nothing is left of the trial');
        continue;
      }
      const error = { name: 'UnsupportedError', feature: `flower ${name}`, minimumKernel };
      await t.rejects(addFilter(netns, 'eth0', filter), error, name);
      t.equal(await left(), before, `${name}: nothing is left`);
      await t.rejects(
        transaction(netns, (tx) => addFilter(tx, 'eth0', filter)),
        { name: 'TransactionError', cause: error, leftBehind: [] },
        `${name}, in a transaction`,
      );
      t.equal(await left(), before, `${name}: nothing is left`);
    }
  },
);
