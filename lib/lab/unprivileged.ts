// `node --import podtap/unprivileged program.js`: runs the program once more in user, network and mount namespaces of its own, where it
// is root, with the loopback up and an empty /run. For tests and labs, without privileges and without a trace on the machine.
import { spawnSync } from 'node:child_process';
import { constants } from 'node:os';
import { isMainThread } from 'node:worker_threads';
import { helperPath } from '../kernel/helper.js';

/** Inherited by what the program starts, so that a test runner's children stay in its namespaces. */
const marker = 'PODTAP_UNPRIVILEGED';

if (isMainThread && process.env[marker] === undefined) {
  const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const { status, signal, error } = spawnSync(helperPath('podtap-unprivileged'), again, {
    stdio: 'inherit',
    env: { ...process.env, [marker]: '1' },
  });
  if (error !== undefined) throw error;
  // As a shell tells of a signal.
  process.exit(status ?? 128 + constants.signals[signal ?? 'SIGKILL']);
}
