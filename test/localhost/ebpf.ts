// The eBPF programs as a backend of the proofs, by either hook.
import { addQdisc } from 'podtap';
import t, { type Test } from 'tap';
import { type LocalhostStatistics, attachLocalhost, configureLocalhost, openLocalhostOn } from '../../lib/kernel/localhost.js';
import { requires } from '../support/requires.js';
import type { Backend } from './proofs.js';
import type { World } from './world.js';

const skips = { tcx: requires('tun', 'root', 'tcx'), cls_bpf: requires('tun', 'root', 'clsact', 'cls_bpf') };
const only = process.env.ONLY;

/** ONLY=word: those whose name contains it. Those that say so are by cls_bpf. */
export async function proof(name: string, run: (t: Test) => Promise<void>): Promise<void> {
  const skip = skips[name.includes('cls_bpf') ? 'cls_bpf' : 'tcx'];
  if (only === undefined || name.includes(only)) await t.test(name, { skip }, run);
}

export const tcx: Backend = {
  name: 'tcx',
  attach: (pod, config) => attachLocalhost(pod, { config, hook: 'tcx' }),
  configure: configureLocalhost,
};

export const filter: Backend = {
  name: 'cls_bpf',
  attach: async (pod, config) => {
    for (const link of ['lo', config.link, ...config.guests.map(({ tap }) => tap)]) await addQdisc(pod, link, { kind: 'clsact' });
    await attachLocalhost(pod, { config, hook: 'filter' });
  },
  configure: configureLocalhost,
};

export async function statistics({ pod, link }: World): Promise<LocalhostStatistics> {
  await using opened = await openLocalhostOn(pod, link);
  return opened!.statistics();
}
