// Run by the tests beside it: changes the plumbing with the label vm/1 in the namespace of a path, as its first argument says; and is killed where
// ORACLE_FAULTS or KILL_AT_CALL ('renameSync 2': before the journal's second rename) say.
import { Netns, openPlumbing, recover } from 'podtap';
import { backendFor } from '../../lib/plumb/localhost/localhost.js';
import { installFaultsOfEnvironment } from '../oracle/faults.js';
import { type Call, intercept } from '../transaction/files.js';
import { changes } from './changes.js';

const [what = '', path = '', journal = '', backend = 'ebpf'] = process.argv.slice(2);
const netns = await Netns.open(path);
// What is tried out once in a process does not count.
await backendFor(backend as 'ebpf', { mode: 'redirect' } as never).catch(() => undefined);
const net = await openPlumbing(netns, { label: 'vm/1', journal });
installFaultsOfEnvironment();
const [call, nth] = (process.env.KILL_AT_CALL ?? '').split(' ');
let seen = 0;
if (call !== '')
  intercept((now: Call) => {
    if (now === call && ++seen === Number(nth)) process.kill(process.pid, 'SIGKILL');
  });
try {
  if (what === 'recover') await recover({ journal });
  else if (what === 'undo') await net!.undo();
  else await changes[what]!(net!, backend as 'ebpf');
} catch (error) {
  const { name, code, message } = error as Error & { code?: string };
  console.log(JSON.stringify({ name, code, message }));
  process.exitCode = 1;
}
await net?.[Symbol.asyncDispose]();
await netns.close();
