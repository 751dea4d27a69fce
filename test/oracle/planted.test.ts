// Single mistakes of an undo, planted one after the other: `compare` names each, in both views.
import t, { type Test } from 'tap';
import { run } from '../support/oracle.js';
import { ping } from '../../lib/lab/ping.js';
import { requires } from '../support/requires.js';
import { compare, dump } from './dump.js';
import { type Planted, harmless, planted, pod } from './planted.js';
import { type Built, build } from './pod.js';

const everything = requires('bridge', 'tun', 'clsact', 'u32');

async function sh({ netns }: Built, script: string): Promise<void> {
  const { status, stderr } = await run(netns, 'sh', ['-e'], script);
  if (status !== 0 || stderr !== '') throw new Error(`${script}: ${stderr}`);
}

/** Each of them in turn, in one pod. */
async function plant(t: Test, mistakes: readonly Planted[]): Promise<void> {
  await using built = await build(pod);
  let before = await dump(built.netns);
  for (const { mistake, command, shows, by } of mistakes) {
    await sh(built, command);
    const after = await dump(built.netns);
    const found = compare(before, after);
    const sees = (ofPodtap: boolean): boolean => found.some((line) => shows.test(line) && line.startsWith('podtap') === ofPodtap);
    t.strictSame({ podtap: sees(true), tools: sees(false) }, { podtap: by === undefined, tools: true }, mistake, { command, found });
    before = after;
  }
}

// Pods of which each gets mistakes that stand far apart in the list, so that they do not get into one another's way.
const PODS = 16;

await t.test('every planted mistake is named', { skip: everything }, async (t) => {
  t.ok(planted.length >= 80);
  for (let first = 0; first < PODS; first += 2)
    await Promise.all(
      [first, first + 1].map((pod) =>
        plant(
          t,
          planted.filter((_, index) => index % PODS === pod),
        ),
      ),
    );
});

await t.test('what no undo could put back is no difference', { skip: everything }, async (t) => {
  await using built = await build(pod);
  const before = await dump(built.netns);
  const { received } = await ping(built.netns, '10.2.0.1');
  t.equal(received, 1, 'the pod works');
  t.strictSame(compare(before, await dump(built.netns)), [], 'counters, and a neighbour that was learned');
  for (const { what, command } of harmless) {
    await sh(built, command);
    t.strictSame(compare(before, await dump(built.netns)), [], what);
  }
});
