// Processes that are killed at any change, and in any call on a file of the journal, while they plumb, undo or recover: another one gets
// everything back. More points: see search.ts
import { spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { type RecoverReport, openPlumbing, plumb, recover, unplumb } from 'podtap';
import { compare, dump, expected } from '../oracle/dump.js';
import { requestsOf } from '../oracle/faults.js';
import { type Built, build, pods } from '../oracle/pod.js';
import { tamper, tamperings } from '../oracle/tamper.js';
import { root } from '../support/root.js';
import { until } from '../support/inside.js';
import { directory } from '../transaction/files.js';
import { runs, searched } from '../support/search.js';
import { asBefore, mode, elsewhere, none, ours, richPod, skip, wanted } from './around.js';

t.setTimeout(runs(1) * 300_000);
const labelled = { ...wanted, label: 'vm/1' };
const killedAt = (at: number): NodeJS.ProcessEnv => ({ ORACLE_FAULTS: JSON.stringify([{ at, how: 'killed' }]) });
type T = Parameters<typeof directory>[0];

/** Two at a time, each with a pod and a journal of its own. */
async function inTwo<I>(t: T, items: readonly I[], work: (item: I, built: Built, journal: string) => Promise<void>): Promise<void> {
  const rest = [...items];
  const worker = async (): Promise<void> => {
    await using built = await build(richPod);
    const journal = directory(t);
    for (let item = rest.shift(); item !== undefined; item = rest.shift()) await work(item, built, journal);
  };
  await Promise.all([worker(), worker()]);
}

function labelsOf(report: RecoverReport): string {
  const told = (['undone', 'kept', 'busy', 'dropped', 'failed', 'unreadable'] as const).map((name) =>
    report[name].map((one) => `${name} ${'label' in one ? one.label : JSON.stringify(one)}`),
  );
  return told.flat().join(', ');
}

/** How many changes a plumb and its undo make in the rich pod. */
async function changeCount(t: T): Promise<{ plumbs: number; undoes: number }> {
  await using built = await build(richPod);
  const journal = directory(t);
  const plumbs = await requestsOf(async () => (await plumb(built.netns, { ...labelled, journal })).keep());
  const undoes = await requestsOf(() => unplumb({ label: 'vm/1' }, { journal }));
  return { plumbs: plumbs.length, undoes: undoes.length };
}

/** The journal knows nothing of datapaths. */
async function ofTheJournal(name: string, test: (t: Test) => Promise<void>): Promise<void> {
  if (mode === 'bridge') await t.test(name, { skip }, test);
}

await t.test('killed at any change of plumb', { skip }, async (t) => {
  const { plumbs } = await changeCount(t);
  t.ok(plumbs > (mode === 'bridge' ? 15 : 5));
  await inTwo(t, [...Array(plumbs).keys()], async (at, { netns }, journal) => {
    const before = await dump(netns);
    const { signal, stdout, stderr } = await elsewhere('plumb', netns, journal, labelled, killedAt(at));
    t.equal(signal, 'SIGKILL', `${at}: ${stdout}${stderr}`);
    t.equal(await openPlumbing(netns, { journal }), undefined);
    t.equal(labelsOf(await recover({ journal })), 'undone vm/1', `${at}`);
    await asBefore(before, netns, journal, `killed at ${at}`);
  });
});

await ofTheJournal('killed in any call on a file', async (t) => {
  const calls = ['openSync', 'writeSync', 'renameSync', 'unlinkSync', 'closeSync'].flatMap((call) => [1, 2, 3].map((nth) => `${call} ${nth}`)); // prettier-ignore
  let killed = 0;
  await inTwo(t, calls, async (call, { netns }, journal) => {
    const before = await dump(netns);
    const { signal, stdout, stderr, code } = await elsewhere('plumb', netns, journal, labelled, { KILL_AT_CALL: call });
    if (signal === 'SIGKILL') killed++;
    else t.equal(code, 0, `${call}: ${stdout}${stderr}`);
    const report = labelsOf(await recover({ journal }));
    if (report.includes('kept')) {
      // It was written down as finished: then it is.
      await using net = (await openPlumbing(netns, { label: 'vm/1', journal }))!;
      t.equal((await net.verify()).ok, true, call);
      t.match(await unplumb({ label: 'vm/1' }, { journal }), { state: 'undone', leftBehind: [] });
    } else t.match(report, /^(undone vm\/1)?$/, call);
    await asBefore(before, netns, journal, `killed at ${call}`);
  });
  t.ok(killed >= 6, `${killed}`);
});

await t.test('killed while undoing, and while recovering', { skip }, async (t) => {
  const { undoes } = await changeCount(t);
  const points = [...Array(undoes).keys()].flatMap((at) => [['unplumb', at], ['recover finished', at]] as const); // prettier-ignore
  const some = points.filter((_, index) => index % Math.max(1, Math.floor(points.length / runs(10))) === 0);
  await inTwo(t, some, async ([what, at], { netns }, journal) => {
    const before = await dump(netns);
    (await plumb(netns, { ...labelled, journal })).keep();
    const { signal, stdout } = await elsewhere(what, netns, journal, labelled, killedAt(at));
    t.equal(signal, 'SIGKILL', `${what} ${at}: ${stdout}`);
    // And once more, a little later.
    await elsewhere('recover', netns, journal, labelled, killedAt(1));
    t.match(labelsOf(await recover({ journal })), /^(undone vm\/1)?$/);
    await asBefore(before, netns, journal, `${what} killed at ${at}`);
  });
});

await t.test('any pod, killed anywhere, and strangers before somebody recovers', { skip }, async (t) => {
  const tricks = tamperings(['addAddress', 'addRoute', 'addRule', 'setSysctl', 'setAlias', 'setQueue', 'rename', 'deleteRule', ...(mode !== 'redirect' ? (['deleteOurs'] as const) : [])]);
  await fc.assert(
    fc.asyncProperty(pods(), fc.nat(20), tricks, async (pod, at, todo) => {
      await using built = await build(pod);
      const { netns } = built;
      const journal = directory(t);
      const before = await dump(netns);
      const { signal, stdout } = await elsewhere('plumb', netns, journal, labelled, killedAt(at));
      if (signal !== 'SIGKILL') {
        if (stdout.includes('ERR_PLUMB_NO_ADDRESS')) return;
        t.match(await unplumb({ label: 'vm/1' }, { journal }), { state: 'undone' });
        return none(compare(before, await dump(netns)), `not killed at ${at}`);
      }
      const strangers = await tamper(built, todo, ours);
      const { undone } = await recover({ journal });
      if (undone.length !== 1) throw new Error('not undone');
      none(compare(expected(before, strangers.before, strangers.after), await dump(netns)), `killed at ${at}, ${strangers.did.join('; ')}: ${undone[0]!.leftBehind.join('; ')}`); // prettier-ignore
      none(readdirSync(journal), 'in the journal');
    }),
    searched(6),
  );
}); // prettier-ignore

await t.test('two plumbs in one transaction, killed anywhere', { skip }, async (t) => {
  const points = [...Array(runs(6)).keys()].map((at) => at * Math.max(1, Math.round(40 / runs(6))));
  let whole = 0;
  await inTwo(t, points, async (at, { netns }, journal) => {
    const before = await dump(netns);
    const { signal } = await elsewhere('both', netns, journal, { label: 'vm/' }, killedAt(at));
    const report = await recover({ journal });
    if (signal === 'SIGKILL') {
      t.match(labelsOf(report), /^undone /, `${at}`);
      t.equal(report.kept.length, 0);
    } else {
      whole++;
      t.equal(labelsOf(report), 'kept vm/0, kept vm/1');
      t.match(await unplumb({ netns: netns.path! }, { journal }), { state: 'undone', leftBehind: [] });
    }
    await asBefore(before, netns, journal, `both killed at ${at}`);
  });
  t.ok(whole < points.length);
});

await ofTheJournal('in any call on a file, too', async (t) => {
  const calls = ['renameSync', 'unlinkSync'].flatMap((call) => [1, 2, 3, 4, 5].map((nth) => `${call} ${nth}`));
  await inTwo(t, calls, async (call, { netns }, journal) => {
    const before = await dump(netns);
    const { signal } = await elsewhere('both', netns, journal, { label: 'vm/' }, { KILL_AT_CALL: call });
    const report = labelsOf(await recover({ journal }));
    const both = 'kept vm/0, kept vm/1';
    if (signal !== 'SIGKILL') t.equal(report, both, call);
    // Both or none: a transaction is over when its first entry is gone.
    t.ok(report === both || !report.includes('kept'), `${call}: ${report}`);
    t.equal(labelsOf(await recover({ journal })), report === both ? both : '', call);
    await unplumb({ netns: netns.path! }, { journal });
    await asBefore(before, netns, journal, `both killed at ${call}`);
  });
});

await ofTheJournal('two namespaces, killed anywhere: both or none', async (t) => {
  const plumbs = 2 * (await changeCount(t)).plumbs;
  const changes = [...Array(runs(4)).keys()].map((at) => killedAt(Math.floor((at * plumbs) / runs(4)) + 3));
  const calls = ['openSync', 'renameSync', 'unlinkSync'].flatMap((call) => [2, 3, 4, 5].map((nth) => ({ KILL_AT_CALL: `${call} ${nth}` }))); // prettier-ignore
  await using other = await build(richPod);
  const outcomes = new Set<string>();
  await using built = await build(richPod);
  const { netns } = built;
  const journal = directory(t);
  for (const env of [...changes, ...calls]) {
    const about = JSON.stringify(env);
    const before = [await dump(netns), await dump(other.netns)];
    const ended = await elsewhere('across', netns, journal, { ...wanted, label: 'vm/' }, env, other.netns.path!);
    const there = async (): Promise<boolean[]> => Promise.all([netns, other.netns].map(async (one) => (await openPlumbing(one, { journal }))?.keep() !== undefined)); // prettier-ignore
    const was = (await there()).join();
    const report = labelsOf(await recover({ journal }));
    t.notMatch(report, /failed/, about);
    t.equal((await there()).join(), was, `${about}: recovering decides nothing anew`);
    t.ok(['true,true', 'false,false'].includes(was), `${about}: ${was}, ${report}`);
    t.equal(ended.signal === null, ended.code === 0, `${about}: ${ended.stdout}${ended.stderr}`);
    outcomes.add(was);
    for (const one of [netns, other.netns]) await unplumb({ netns: one.path! }, { journal });
    none(compare(before[1]!, await dump(other.netns)), about);
    await asBefore(before[0]!, netns, journal, about);
  }
  t.equal(outcomes.size, 2);
});

await t.test('finished: it stays, until it is undone', { skip }, async (t) => {
  await using built = await build(richPod);
  const { netns } = built;
  const journal = directory(t);
  const before = await dump(netns);
  t.equal((await elsewhere('plumb', netns, journal, labelled)).code, 0);
  const plumbed = await dump(netns);
  t.equal(labelsOf(await recover({ journal })), 'kept vm/1');
  t.equal(labelsOf(await recover({ journal, label: /^other/, finished: 'undo' })), '');
  t.strictSame(compare(plumbed, await dump(netns)), []);
  t.equal(labelsOf(await recover({ journal, label: /^vm/, finished: 'undo' })), 'undone vm/1');
  await asBefore(before, netns, journal, 'recovered');
});

await t.test('a living process is left alone, and waited for', { skip }, async (t) => {
  await using built = await build(richPod);
  const { netns } = built;
  const journal = directory(t);
  const before = await dump(netns);
  // Its answer to the sixth change takes for ever: it is stopped there.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(NODE_OPTIONS|_?TAP)/.test(name)));
  const child = spawn(process.execPath, ['--conditions=podtap-source', join(root, 'dist/test/plumb/plumb.fixture.js'), 'plumb', netns.path!, journal, JSON.stringify(labelled)], { env: { ...env, STOP_AT: '6' }, stdio: ['ignore', 'ignore', 'inherit'] }); // prettier-ignore
  const ended = new Promise((resolve) => child.on('close', (_code, signal) => resolve(signal)));
  try {
    t.ok(await until(() => stateOf(child.pid!) === 'T', 15_000), 'it has stopped');
    const half = await dump(netns);
    t.equal(labelsOf(await recover({ journal })), 'busy vm/1');
    t.equal(labelsOf(await recover({ journal, finished: 'undo' })), 'busy vm/1');
    await t.rejects(plumb(netns, { ...wanted, journal, signal: AbortSignal.timeout(50) }), { name: 'TimeoutError' });
    await t.rejects(unplumb({ label: 'vm/1' }, { journal, signal: AbortSignal.timeout(50) }), { name: 'TimeoutError' });
    t.strictSame(compare(half, await dump(netns)), [], 'nobody has changed anything');
  } finally {
    child.kill('SIGKILL');
  }
  t.equal(await ended, 'SIGKILL');
  // Who plumbs now undoes what was interrupted, first.
  const net = await plumb(netns, { ...wanted, label: 'vm/2', journal });
  t.equal(net.created, true);
  t.equal((await net.verify()).ok, true);
  t.equal(labelsOf(await recover({ journal })), 'kept vm/2');
  await net.undo();
  await asBefore(before, netns, journal, 'undone');
});

function stateOf(pid: number): string | undefined {
  return /\) (\S)/.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'))?.[1];
}
