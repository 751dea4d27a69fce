// Several at once, in whatever mode: calls in one process and in several, of one runtime and of two that know nothing of each other.
import t from 'tap';
import { type PlumbOptions, inspect, openPlumbing, plumb, unplumb } from 'podtap';
import { dump } from '../oracle/dump.js';
import { build } from '../oracle/pod.js';
import { directory } from '../transaction/files.js';
import { asBefore, elsewhere, richPod } from './around.js';

export async function races(mode: NonNullable<PlumbOptions['mode']>, skip: string | false): Promise<void> {
  const wanted: PlumbOptions = { link: 'eth0', tap: 'tap0', mode };

  await t.test(`${mode}: eight calls for one pod: one plumbs, the others get the same`, { skip }, async (t) => {
    await using built = await build(richPod);
    const { netns } = built;
    const journal = directory(t);
    const before = await dump(netns);
    const all = await Promise.all(Array.from({ length: 8 }, () => plumb(netns, { ...wanted, label: 'vm/1', journal })));
    t.equal(all.filter(({ created }) => created).length, 1);
    t.equal(new Set(all.map(({ guest }) => JSON.stringify(guest))).size, 1);
    t.equal((await inspect(netns)).plumbings.length, 1);
    const reports = await Promise.all(all.map((net) => net.undo()));
    t.same(reports.map(({ state }) => state).sort(), ['already-undone', 'already-undone', 'already-undone', 'already-undone', 'already-undone', 'already-undone', 'already-undone', 'undone']); // prettier-ignore
    await asBefore(before, netns, journal, 'undone by all');
  });

  await t.test(`${mode}: four processes for one pod`, { skip }, async (t) => {
    await using built = await build(richPod);
    const { netns } = built;
    const journal = directory(t);
    const before = await dump(netns);
    const all = await Promise.all(Array.from({ length: 4 }, () => elsewhere('plumb', netns, journal, { ...wanted, label: 'vm/1' })));
    const told = all.map(({ stdout, stderr }) => {
      t.equal(stderr, '');
      return JSON.parse(stdout) as { created?: boolean; tap?: string };
    });
    t.equal(told.filter(({ created }) => created).length, 1, JSON.stringify(told));
    t.ok(told.every(({ tap }) => tap === 'tap0'), JSON.stringify(told)); // prettier-ignore
    const undone = await Promise.all(['undo', 'unplumb', 'recover finished'].map((what) => elsewhere(what, netns, journal, { ...wanted, label: 'vm/1' }))); // prettier-ignore
    for (const { stderr } of undone) t.notMatch(stderr, /Error(?!.*undefined)/);
    await unplumb({ label: 'vm/1' }, { journal });
    await asBefore(before, netns, journal, 'undone by three');
  });

  await t.test(`${mode}: plumbing and undoing at once, again and again`, { skip }, async (t) => {
    await using built = await build(richPod);
    const { netns } = built;
    const journal = directory(t);
    const before = await dump(netns);
    const errors: unknown[] = [];
    const work = async (mine: number): Promise<void> => {
      for (let round = 0; round < 2; round++) {
        const net = await plumb(netns, { ...wanted, journal }).catch((error: unknown) => void errors.push(error));
        if ((round + mine) % 2 === 0) await net?.undo();
        else await unplumb({ netns: netns.path! }, { journal });
        net?.keep();
      }
    };
    await Promise.all([work(0), work(1), work(2)]);
    t.same(errors, []);
    await unplumb({ netns: netns.path! }, { journal });
    await asBefore(before, netns, journal, 'in the end');
  });

  await t.test(`${mode}: two runtimes, with a TAP and a label of their own each: one wins`, { skip }, async (t) => {
    await using built = await build(richPod);
    const { netns } = built;
    const journal = directory(t);
    let before = await dump(netns);
    for (let round = 0; round < 3; round++) {
      const runtimes = ['a', 'b'].map((name) => elsewhere('plumb', netns, journal, { ...wanted, tap: `tap-${name}`, label: `vm/${name}` }));
      const told = (await Promise.all(runtimes)).map(
        ({ stdout }) => JSON.parse(stdout) as { created?: boolean; code?: string; message?: string },
      );
      t.equal(told.filter(({ created }) => created).length, 1, JSON.stringify(told));
      t.match(told.filter(({ code }) => code !== undefined), [{ code: 'ERR_PLUMB_CONFLICT', message: /'eth0' is plumbed already/ }]); // prettier-ignore
      const { plumbings, problems } = await inspect(netns);
      t.equal(plumbings.length, 1);
      t.strictSame(problems, []);
      await using net = (await openPlumbing(netns, { journal }))!;
      t.match(await net.verify({ traffic: true }), { ok: true });
      t.strictSame(await net.undo(), { state: 'undone', leftBehind: [] });
      before = await asBefore(before, netns, journal, `round ${round}`);
    }
  });

  await t.test(`${mode}: two runtimes, with a journal each`, { skip }, async (t) => {
    await using built = await build(richPod);
    const { netns } = built;
    const journals = [directory(t), directory(t)] as const;
    const before = await dump(netns);
    // They cannot wait for each other: whoever comes second finds what is there, or that the kernel refuses.
    const first = await plumb(netns, { ...wanted, journal: journals[0] });
    const plumbed = await dump(netns);
    const others = [mode, 'redirect', 'bridge'] as const;
    for (const [other, tap] of others.flatMap(
      (other) =>
        [
          [other, 'tap0'],
          [other, 'tap9'],
        ] as const,
    )) {
      // prettier-ignore
      await t.rejects(plumb(netns, { ...wanted, mode: other, tap, journal: journals[1] }), { code: 'ERR_PLUMB_CONFLICT', message: /'eth0' is plumbed already, by \w+ to 'tap0', and this journal does not know it/ }); // prettier-ignore
      await asBefore(plumbed, netns, journals[1], `${other} ${tap}`);
    }
    t.match(await first.verify({ traffic: true }), { ok: true });
    t.strictSame(await first.undo(), { state: 'undone', leftBehind: [] });
    await asBefore(before, netns, journals[0], 'undone');
  });
}
