// Processes that are killed at any change of a step, and in any call on a file of the journal: what is there then is as before the step or
// complete, whoever comes next; and undone, the pod is what it was. One datapath, either backend. All points: RUNS=12.
import { readdirSync } from 'node:fs';
import t from 'tap';
import { type Netns, openPlumbing, plumb, recover, unplumb } from 'podtap';
import { backendFor } from '../../lib/plumb/localhost/localhost.js';
import { type Part, snapshot } from '../../lib/state/snapshot.js';
import { canonical } from '../../lib/state/value.js';
import { type Dump, compare, dump } from '../oracle/dump.js';
import { requestsOf, withFaults } from '../oracle/faults.js';
import { build } from '../oracle/pod.js';
import { none, richPod } from '../plumb/around.js';
import { fixture } from '../support/inside.js';
import { runs } from '../support/search.js';
import { directory } from '../transaction/files.js';
import { changes, needs } from './changes.js';

export async function crashes(backend: 'ebpf' | 'nft', skip: string | false): Promise<void> {
  t.setTimeout(runs(1) * 400_000);
  const wanted = { link: 'eth0', tap: 'tap0', mode: 'redirect', label: 'vm/1' } as const;

  /** Of what the oracle does not see: programs, tables, what they were told. */
  const unseen = async (netns: Netns): Promise<string> => {
    const state = await snapshot(
      netns,
      new Set<Part>([...(backend === 'ebpf' ? (['tcx', 'filter'] as const) : (['nft'] as const)), 'localhost']),
    );
    const found = [...state.resources.values()].filter(({ kind }) => ['tcx', 'nft', 'localhost'].includes(kind));
    return found.map(({ kind, key, value }) => (kind === 'tcx' ? key.replace(/\d+$/, '') : `${key} ${canonical(value)}`)).sort().join('\n'); // prettier-ignore
  };
  interface Look {
    readonly dump: Dump;
    readonly unseen: string;
  }
  const look = async (netns: Netns): Promise<Look> => ({ dump: await dump(netns), unseen: await unseen(netns) });
  const differences = (a: Look, b: Look): readonly string[] => [...compare(a.dump, b.dump), ...(a.unseen === b.unseen ? [] : [`${a.unseen}\n    was expected, and there is\n${b.unseen}`])]; // prettier-ignore

  const elsewhere = (what: string, netns: Netns, journal: string, env: NodeJS.ProcessEnv): ReturnType<typeof fixture> =>
    fixture('localhost/crash.fixture.js', [what, netns.path!, journal, backend], { env, timeout: 60_000 });

  let number = 0; // of what comes next after a kill: others for each step
  for (const [what, before] of Object.entries(needs)) {
    await t.test(`${what}: refused, its answer lost, killed`, { skip }, async (t) => {
      await using built = await build(richPod);
      const { netns } = built;
      const journal = directory(t);
      const first = await look(netns);
      const start = async (): Promise<void> => {
        const net = await plumb(netns, { ...wanted, journal });
        net.keep();
        for (const one of before) await changes[one]!(net, backend);
      };
      await start();
      await backendFor(backend, { mode: 'redirect' } as never); // what is tried out once in a process does not count
      const requests = await requestsOf(async () => {
        await using net = (await openPlumbing(netns, { journal }))!;
        await changes[what]!(net, backend);
      });
      t.ok(requests.length >= 1, requests.join(', '));
      t.match(await unplumb({ label: 'vm/1' }, { journal }), { state: 'undone', leftBehind: [] });
      none(differences(first, await look(netns)), `${what}, undone`);

      for (const [turn, how] of (['refused', 'lost', 'killed'] as const).entries())
        for (let at = 0; at < requests.length; at++) {
          // Each of them in one of the ways.
          if (runs(1) === 1 && (at + turn) % 3 !== 0) continue;
          // Of many maps that are made one after the other, each leaves the same behind: nothing. So does each message of a batch.
          const kindOf = (request = ''): string => (request.startsWith('NFT_') ? 'NFT' : request.startsWith('BPF_') ? request : '');
          if (runs(1) === 1 && kindOf(requests[at]) !== '' && kindOf(requests[at]) === kindOf(requests[at - 1])) continue;
          const about = `${what} ${how} at ${at}, ${requests[at]!}`;
          await start();
          const then = await look(netns);
          if (how === 'killed') {
            const { signal, stdout, stderr } = await elsewhere(what, netns, journal, { ORACLE_FAULTS: JSON.stringify([{ at, how }]) });
            if (signal !== 'SIGKILL') throw new Error(`${about}: ${stdout}${stderr}`);
            const { kept, undone, failed } = await recover({ journal });
            t.match(kept, [{ label: 'vm/1' }], about);
            t.ok(
              undone.every(({ step, label }) => step === true && label === 'vm/1') && failed.length === 0,
              'of the step it is told as such',
            );
          } else {
            await using net = (await openPlumbing(netns, { journal }))!;
            const { error, hit } = await withFaults([{ at, how }], () => changes[what]!(net, backend));
            // What comes after the change is done cannot fail it.
            if (error === undefined && what !== 'remove' && hit.length > 0) throw new Error(`${about}: no error`);
            if (error === undefined) await recover({ journal });
            if (hit.length === 0) {
              await net.undo();
              break;
            }
          }
          await using net = (await openPlumbing(netns, { journal }))!;
          none(
            (await net.verify()).problems.map(({ message }) => message),
            about,
          );
          const isDone = what === 'remove' ? net.guests.length === 1 : what === 'add' ? net.guests.length === 2 : what === 'expose others' ? net.localhost!.services.length === 1 : net.localhost !== undefined; // prettier-ignore
          if (!isDone) none(differences(then, await look(netns)), about);
          else t.equal(what, 'remove', about);
          t.match(await net.undo(), { state: 'undone', leftBehind: [] }, about);
          none(differences(first, await look(netns)), `${about}, undone`);
          none(readdirSync(journal), about);
        }
    });

    await t.test(`${what}: killed in any call on a file, and what comes next`, { skip }, async (t) => {
      await using built = await build(richPod);
      const { netns } = built;
      const journal = directory(t);
      const first = await look(netns);
      const calls = ['writeSync', 'renameSync', 'unlinkSync'].flatMap((call) => [1, 2, 3].map((nth) => `${call} ${nth}`));
      const nexts = ['recover', 'plumb', 'undo', 'unplumb', 'again', 'undo all', 'killed undo'] as const;
      const outcomes = new Set<boolean>();
      for (const call of calls)
        for (const next of nexts) {
          if (number++ % Math.max(1, Math.ceil(12 / runs(1))) !== 0) continue;
          const about = `${what} killed at ${call}, then ${next}`;
          const net = await plumb(netns, { ...wanted, journal });
          net.keep();
          for (const one of before) await changes[one]!(net, backend);
          const then = await look(netns);
          const { signal, code, stdout, stderr } = await elsewhere(what, netns, journal, { KILL_AT_CALL: call });
          if (signal !== 'SIGKILL' && code !== 0) throw new Error(`${about}: ${stdout}${stderr}`);
          if (next === 'recover' || next === 'plumb' || next === 'again') {
            if (next === 'recover') t.match((await recover({ journal })).kept, [{ label: 'vm/1' }], about);
            if (next === 'plumb') t.equal((await plumb(netns, { ...wanted, journal })).keep().created, false, about);
            await using now = (await openPlumbing(netns, { journal }))!;
            if (next === 'again') {
              const gone = what === 'remove' && now.guests.length === 1;
              if (gone) await now.repair();
              else await changes[what]!(now, backend);
            }
            none(
              (await now.verify()).problems.map(({ message }) => message),
              about,
            );
            const isSame = differences(then, await look(netns)).length === 0;
            outcomes.add(isSame);
            // Complete: the same as when nobody is killed.
            if (!isSame && next !== 'again') {
              const complete = await look(netns);
              await now.undo();
              const whole = await plumb(netns, { ...wanted, journal });
              whole.keep();
              for (const one of [...before, what]) await changes[one]!(whole, backend);
              const wantedLook = await look(netns);
              // The table's parts are told by sums of what stands in them, the TAPs' indexes too.
              const told = ({ unseen: rest }: Look): string => rest.split('\n').filter((line) => line.startsWith('localhost/')).join('\n').replace(/\d{6}/g, 'N').replace(/(?:[0-9a-f]{2}:){5}[0-9a-f]{2}/g, 'MAC'); // prettier-ignore
              t.equal(told(complete), told(wantedLook), about);
            }
          }
          if (next === 'killed undo') await elsewhere('undo', netns, journal, { ORACLE_FAULTS: JSON.stringify([{ at: 1 + (number % 5), how: 'killed' }]) }); // prettier-ignore
          if (next === 'undo all') t.match(await recover({ journal, finished: 'undo' }), { failed: [], unreadable: [] }, about);
          else if (next === 'undo') t.match(await net.undo(), { state: 'undone', leftBehind: [] }, about);
          else
            t.match(await unplumb(number % 2 === 0 ? { netns: netns.path! } : { label: 'vm/1' }, { journal }), { leftBehind: [] }, about);
          await recover({ journal });
          none(differences(first, await look(netns)), `${about}, undone`);
          none(readdirSync(journal), about);
        }
      t.ok(outcomes.size > 0);
    });
  }
}
