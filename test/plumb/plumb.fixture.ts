// Run by the tests beside it: plumbs, or does what else its first argument says, in the namespace of a path, with options as JSON; and is
// killed where ORACLE_FAULTS or KILL_AT_CALL ('renameSync 2': in the middle of the journal's second rename) say.
import { Netns, addAddress, openPlumbing, planPlumbing, plumb, recover, transaction, unplumb } from 'podtap';
import type { PlumbOptions } from 'podtap';
import { installGate } from '../../lib/kernel/gate.js';
import { changes, installFaultsOfEnvironment } from '../oracle/faults.js';
import { type Call, intercept } from '../transaction/files.js';

const [what = '', path = '', directory = '', json = '{}'] = process.argv.slice(2);
const options = JSON.parse(json) as PlumbOptions;
const label = options.label ?? '';
const netns = await Netns.open(path);

// What plumb tries out once in a process does not count.
await planPlumbing(netns, { link: 'eth0', ...options }).catch(() => undefined);
installFaultsOfEnvironment();
const [call, nth] = (process.env.KILL_AT_CALL ?? '').split(' ');
let seen = 0;
// STOP_AT: it goes to sleep before that change, with its locks.
if (process.env.STOP_AT !== undefined) {
  let changed = 0;
  installGate((trip) => {
    changed += trip.filter(changes).length;
    if (changed >= Number(process.env.STOP_AT)) process.kill(process.pid, 'SIGSTOP');
    return undefined;
  });
}
if (call !== '')
  intercept((now: Call) => {
    if (now === call && ++seen === Number(nth)) process.kill(process.pid, 'SIGKILL');
  });

const acts: Readonly<Record<string, () => Promise<unknown>>> = {
  plumb: async () => {
    const net = await plumb(netns, { ...options, journal: directory });
    net.keep();
    return { created: net.created, tap: net.tap.name };
  },
  /** Twice in one transaction. */
  both: () =>
    transaction(
      netns,
      async (tx) => {
        (await plumb(tx, { ...options, link: 'eth0', label: `${label}0` })).keep();
        (await plumb(tx, { ...options, link: 'eth1', label: `${label}1` })).keep();
      },
      { journal: directory },
    ),
  /** In another namespace too, whose path is the fifth argument. */
  across: async () => {
    await using other = await Netns.open(process.argv[6]!);
    return await transaction(
      netns,
      async (tx) => {
        (await plumb(tx, { ...options, label: `${label}0` })).keep();
        (await plumb(tx.in(other), { ...options, label: `${label}1` })).keep();
      },
      { journal: directory },
    );
  },
  /** Here what was there already, then in another namespace, and then here once more. */
  'there and back': async () => {
    await using other = await Netns.open(process.argv[6]!);
    return await transaction(
      netns,
      async (tx) => {
        (await plumb(tx, options)).keep();
        (await plumb(tx.in(other), { ...options, label: `${label}1` })).keep();
        await addAddress(tx, 'lo', '10.9.9.9/32');
      },
      { journal: directory },
    );
  },
  undo: async () => (await openPlumbing(netns, { journal: directory }))!.undo(),
  unplumb: () => unplumb({ label }, { journal: directory }),
  recover: () => recover({ journal: directory }),
  'recover finished': () => recover({ journal: directory, finished: 'undo' }),
};
try {
  console.log(JSON.stringify(await acts[what]!()));
} catch (error) {
  const { name, code, message } = error as Error & { code?: string };
  console.log(JSON.stringify({ name, code, message }));
  process.exitCode = 1;
}
await netns.close();
