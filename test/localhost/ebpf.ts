// The eBPF programs as a backend of the proofs, by either hook; where the kernel has no tcx, all by cls_bpf.
import { addQdisc } from 'podtap';
import t, { type Test } from 'tap';
import { type LocalhostStatistics, attachLocalhost, configureLocalhost, openLocalhostOn } from '../../lib/kernel/localhost.js';
import { requires } from '../support/requires.js';
import type { Backend } from './proofs.js';
import type { World } from './world.js';

const skips = { usual: requires('tun', 'root', 'bpf_hook'), cls_bpf: requires('tun', 'root', 'clsact', 'cls_bpf') };
const only = process.env.ONLY;

/** ONLY=word: those whose name contains it. Those that say so are by cls_bpf. */
export async function proof(name: string, run: (t: Test) => Promise<void>): Promise<void> {
  const skip = skips[name.includes('cls_bpf') ? 'cls_bpf' : 'usual'];
  if (only === undefined || name.includes(only)) await t.test(name, { skip }, run);
}

const tcx: Backend = {
  name: 'tcx',
  attach: (pod, config) => attachLocalhost(pod, { config, hook: 'tcx' }),
  configure: configureLocalhost,
};

export const filter: Backend = {
  name: 'cls_bpf',
  attach: async (pod, config) => {
    for (const link of ['lo', config.link, ...config.guests.map(({ tap }) => tap)])
      await addQdisc(pod, link, { kind: 'clsact' }).catch(there);
    await attachLocalhost(pod, { config, hook: 'filter' });
  },
  configure: configureLocalhost,
};

/** A plumbing by filters has its ingress qdisc on eth0 and TAP. */
function there(error: unknown): void {
  if ((error as { code?: unknown }).code !== 'EEXIST') throw error;
}

export const usual: Backend = requires('tcx') === false ? tcx : filter;

export async function statistics({ pod, link }: World): Promise<LocalhostStatistics> {
  await using opened = await openLocalhostOn(pod, link);
  return opened!.statistics();
}
