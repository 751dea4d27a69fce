// The proofs of the pod's localhost, by eBPF programs. bpf(2) wants real root.
import type { Netns } from 'podtap';
import t from 'tap';
import { attachLocalhost, configureLocalhost } from '../../lib/kernel/localhost.js';
import type { LocalhostConfig } from '../../lib/localhost/config.js';
import { requires } from '../support/requires.js';
import { type Backend, services } from './proofs.js';

t.setTimeout(600_000);
const skip = requires('tun', 'root', 'tcx');

const tcx: Backend = {
  name: 'tcx',
  attach: (pod: Netns, config: LocalhostConfig) => attachLocalhost(pod, { config, hook: 'tcx' }),
  configure: (pod, config) => configureLocalhost(pod, config),
};
for (const mode of ['redirect', 'ebpf', 'bridge'] as const)
  await t.test(`one guest's services: ${mode}`, { skip }, (t) => services(t, tcx, { mode }));
