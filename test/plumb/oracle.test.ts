// plumb is all or nothing, for any pod and whatever fails; and what is undone was never there. More pods: see search.ts
import fc from 'fast-check';
import t from 'tap';
import { PlumbError, plumb } from 'podtap';
import { compare, dump } from '../oracle/dump.js';
import { withFaults } from '../oracle/faults.js';
import { type Pod, build, pods } from '../oracle/pod.js';
import { directory } from '../transaction/files.js';
import { runs, searched } from '../support/search.js';
import { asBefore, none, richPod, skip, wanted } from './around.js';

t.setTimeout(runs(1) * 300_000);

for (const how of ['refused', 'lost'] as const) {
  await t.test(`the rich pod, each change ${how}`, { skip }, async (t) => {
    await using built = await build(richPod);
    const { netns } = built;
    const journal = directory(t);
    let before = await dump(netns);
    for (let at = 0; ; at++) {
      const { error, value, hit } = await withFaults([{ at, how }], () => plumb(netns, { ...wanted, journal }));
      if (hit.length > 0) t.ok(error instanceof PlumbError, `${at} ${hit[0]}: ${String(error)}`);
      await value?.undo();
      before = await asBefore(before, netns, journal, `${at} ${how}: ${hit[0]}`);
      if (hit.length === 0) break;
    }
  });
}

await t.test('the rich pod, each request refused, reads too', { skip }, async (t) => {
  await using built = await build(richPod);
  const { netns } = built;
  const journal = directory(t);
  let before = await dump(netns);
  for (let at = 0; ; at++) {
    const { value, hit } = await withFaults([{ at, how: 'refused' }], () => plumb(netns, { ...wanted, journal }), (request) => /^(RTM_GET|read )/.test(request)); // prettier-ignore
    await value?.undo();
    before = await asBefore(before, netns, journal, `${at}: ${hit[0]}`);
    if (hit.length === 0) break;
  }
});

/** Undone again, wherever a first and a second request fail; `undefined`: this pod cannot be plumbed. */
async function tried(t: Parameters<typeof directory>[0], pod: Pod, points: readonly number[]): Promise<string | undefined> {
  await using built = await build(pod);
  const { netns } = built;
  const journal = directory(t);
  let before = await dump(netns);
  const whole = await withFaults([], () => plumb(netns, { ...wanted, journal }));
  if (whole.value === undefined) {
    if (!(whole.error instanceof PlumbError)) throw whole.error;
    await asBefore(before, netns, journal, String(whole.error));
    return whole.error.code;
  }
  if (compare(before, await dump(netns)).length === 0) throw new Error('nothing was changed');
  const verified = await whole.value.verify();
  none(verified.problems.map(({ message }) => message), 'verify'); // prettier-ignore
  const report = await whole.value.undo();
  none(report.leftBehind, 'left behind');
  before = await asBefore(before, netns, journal, 'plumbed and undone');
  const count = whole.requests.length;
  for (const point of points) {
    const how = point % 2 === 0 ? 'refused' : 'lost';
    const at = (point >> 1) % count;
    // Some time after it, while it is undone, another one.
    const faults = [{ at, how }, { at: at + 1 + (point % 13), how: 'lost' }] as const; // prettier-ignore
    const { value, error, hit } = await withFaults(faults, () => plumb(netns, { ...wanted, journal }));
    await value?.undo();
    before = await asBefore(before, netns, journal, `${how} ${at}, ${hit.join(', ')}: ${String(error)}`);
  }
  return undefined;
}

await t.test('any pod', { skip }, async (t) => {
  const why = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(pods(), fc.array(fc.nat(10_000), { minLength: 2, maxLength: 2 }), async (pod, points) => {
      const code = (await tried(t, pod, points)) ?? 'plumbed';
      why.set(code, (why.get(code) ?? 0) + 1);
    }),
    searched(10),
  );
  t.comment([...why].map(([code, count]) => `${code} ${count}`).join(', '));
  t.ok((why.get('plumbed') ?? 0) > 0);
  for (const code of why.keys()) t.ok(['plumbed', 'ERR_PLUMB_NO_ADDRESS'].includes(code), code);
});

await t.test('again and again in one pod', { skip }, async (t) => {
  await using built = await build(richPod);
  const { netns } = built;
  const journal = directory(t);
  let before = await dump(netns);
  for (let round = 0; round < 10; round++) {
    const net = await plumb(netns, { ...wanted, journal, label: 'again' });
    t.ok(net.created);
    t.strictSame(await net.undo(), { state: 'undone', leftBehind: [] });
    before = await asBefore(before, netns, journal, `round ${round}`);
  }
});
