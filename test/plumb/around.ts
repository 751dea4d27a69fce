// What the tests of plumb by the oracle have in common: what must be there afterwards, and what must not.
import { readdirSync } from 'node:fs';
import type { Netns, PlumbOptions } from 'podtap';
import { ping } from 'podtap/lab';
import { type Dump, compare, dump } from '../oracle/dump.js';
import { pod as rich } from '../oracle/planted.js';
import { type Pod } from '../oracle/pod.js';
import { type Ended, fixture, inside, until } from '../support/inside.js';
import { requires } from '../support/requires.js';

/** Also with a second interface that can be plumbed. */
export const richPod: Pod = rich;

const needs = {
  bridge: ['tun', 'bridge'],
  redirect: ['tun', 'bridge'],
  ebpf: ['tun', 'root', 'bpf_hook'],
  macvtap: ['tun', 'root', 'macvtap'],
} as const;

/** Files such as oracle.redirect.test.ts run the tests of oracle.test.ts by another datapath. */
export const mode = (process.env.PLUMB_MODE ?? 'bridge') as NonNullable<PlumbOptions['mode']>;
/** What the tests of plumb by the oracle cannot be without. */
export const skip = requires('clsact', 'u32', ...needs[mode as keyof typeof needs]);

/** Where there is one, eth1 has addresses as well: which one is meant must be said. */
export const wanted: PlumbOptions = { link: 'eth0', tap: 'tap0', mode };
/** What plumb makes then. */
export const ours = mode === 'bridge' ? ['tap0', 'br0'] : ['tap0'];

export function none(differences: readonly string[], about: string): void {
  if (differences.length > 0) throw new Error(`${about}:\n  ${differences.join('\n  ')}`);
}

/**
 * The pod is as it was, and the journal empty: no entry, no lock, nothing half written. Resolves with how the pod is now, to be compared
 * with the next time: a lifetime is set in whole seconds, and may be a second longer each time it is put back.
 */
export async function asBefore(before: Dump, netns: Netns, directory: string, about: string): Promise<Dump> {
  const now = await dump(netns);
  none(compare(before, now), about);
  const left = readdirSync(directory);
  if (left.length > 0) throw new Error(`${about}: in the journal's directory is still ${left.join(', ')}`);
  return now;
}

/** In a process of its own; see plumb.fixture.ts. */
export function elsewhere(
  what: string,
  netns: Netns,
  directory: string,
  options: PlumbOptions = wanted,
  env: NodeJS.ProcessEnv = {},
  ...more: readonly string[]
): Promise<Ended> {
  return fixture('plumb/plumb.fixture.js', [what, netns.path!, directory, JSON.stringify(options), ...more], { env });
}

export async function answers(from: Netns, address: string): Promise<boolean> {
  return (await ping(from, address, { count: 1, timeout: 1000 })).received === 1;
}

/** Until the kernel has made eth0's link-local address: also without duplicate address detection it is tentative for a moment. */
export async function steady(pod: Netns): Promise<void> {
  await until(() => /^(?!.*tentative).*fe80::/s.test(inside(pod, 'ip -6 address show dev eth0')));
}
