import { UnsupportedError } from '../errors.js';
import { openProgram, queryTcx } from '../kernel/bpf.js';
import type { Scope } from '../kernel/netns.js';
import { type Resource, keys } from './resource.js';

/** A program on tcx, as it is taken off again. */
export interface TcxProgram {
  readonly direction: 'ingress' | 'egress';
  readonly name: string;
  readonly id: number;
}

/** Programs on what comes in by an interface, and on what goes out. None where the kernel has no tcx. @throws PodtapError EPERM: in a user namespace nobody may ask */
export async function tcxResources(scope: Scope, ifindex: number): Promise<readonly Resource[]> {
  const found: Resource[] = [];
  for (const direction of ['ingress', 'egress'] as const) {
    const { programs } = await queryTcx(scope, { ifindex, direction }).catch((error: unknown) => {
      if (error instanceof UnsupportedError || isGone(error)) return { programs: [] };
      throw error;
    });
    for (const { id } of programs) {
      await using program = await openProgram(id).catch((error: unknown): undefined => {
        if (!isGone(error)) throw error;
      });
      if (program === undefined) continue;
      const { name } = await program.info();
      const value = { direction, name, id };
      found.push({ kind: 'tcx', key: keys.tcx(ifindex, direction, name, id), link: ifindex, value });
    }
  }
  return found;
}

/** An interface that went since the interfaces were read, and its programs with it. */
export function isGone(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return code === 'ENODEV' || code === 'ENOENT';
}
