// The pod's localhost by eBPF programs: attached for good, told something else, and taken off by whoever finds them.
import { integer, oneOf, optional } from '../check.js';
import { type LocalhostPlace, localhostPlaces } from '../kernel/localhost.js';
import { keys } from '../state/resource.js';
import type { State } from '../state/snapshot.js';
import { ownFilter } from '../state/tc.js';
import type { Value } from '../state/value.js';
import type { LocalhostConfig } from '../wire/localhost.js';
import { localhostConfig } from './localhost-config.js';
import { type OperationKind, device, operation } from './operation.js';
import type { Touching } from './touching.js';

/** Loads the programs, tells them, and attaches them ahead of others: to the pod's interface, the loopback and the guests' TAPs. */
export interface LocalhostEbpf {
  readonly op: 'localhost.ebpf';
  readonly config: LocalhostConfig;
  /** 'tcx', or filters of cls_bpf; their qdiscs must be there: clsact on the loopback, ingress or clsact on the others. */
  readonly hook: 'tcx' | 'filter';
  /** Of filters, on each of the interfaces: those of the datapath must have a higher number. Default 1. */
  readonly priority?: number;
}

/** Tells those that are attached something else; flows stay. Attaches what is missing, such as the program of a further guest's TAP. */
export interface LocalhostConfigure {
  readonly op: 'localhost.configure';
  readonly config: LocalhostConfig;
}

export const EBPF = 'ebpf';

function linksOf({ link, guests }: LocalhostConfig): readonly number[] {
  return [link, ...guests.map(({ tap }) => tap)];
}

function inForce(config: LocalhostConfig, on: Touching): void {
  on.will(keys.localhost(config.link), { backend: EBPF, config: config as unknown as Value });
}

export const localhostEbpf: OperationKind<LocalhostEbpf> = {
  schema: operation('localhost.ebpf', { config: localhostConfig, hook: oneOf('tcx', 'filter'), priority: optional(integer(1, 0xffff)) }),
  links: ({ config }) => linksOf(config),
  requests: ({ config, hook, priority }) => [{ by: 'bpf', localhost: { config, hook, ...(priority !== undefined && { priority }) } }],
  parts: ({ hook }) => [hook, 'localhost'],
  touches: ({ config, hook }, on) => {
    for (const { ifindex, direction, name } of localhostPlaces(config)) {
      if (hook === 'tcx') on.mayAdd(keys.tcx(ifindex, direction, name));
      else {
        const { key, value } = ownFilter(ifindex, name);
        on.will(key, value);
      }
    }
    inForce(config, on);
  },
  command: ({ config, hook }) =>
    `# the eBPF programs ${localhostPlaces(config)
      .map(({ ifindex, direction, name }) => `${name} on ${device(ifindex)} ${direction}`)
      .join(', ')}, ${hook === 'tcx' ? 'tcx' : 'cls_bpf'}`,
};

export const localhostConfigure: OperationKind<LocalhostConfigure> = {
  schema: operation('localhost.configure', { config: localhostConfig }),
  links: ({ config }) => linksOf(config),
  requests: ({ config }) => [{ by: 'bpf', told: config }],
  parts: () => ['tcx', 'filter', 'localhost'],
  touches: ({ config }, on) => {
    for (const place of localhostPlaces(config)) {
      if (isOn(on.state, place)) continue;
      // By whichever hook the others are attached.
      on.mayAdd(keys.tcx(place.ifindex, place.direction, place.name));
      on.mayAdd(ownFilter(place.ifindex, place.name).key);
    }
    inForce(config, on);
  },
  command: ({ config }) => `# the eBPF programs of the pod's localhost on ${device(config.link)} are told: ${config.guests.length} guests, ${config.services.length} services`, // prettier-ignore
};

function isOn(state: State, { ifindex, direction, name }: LocalhostPlace): boolean {
  if (state.resources.has(ownFilter(ifindex, name).key)) return true;
  return [...state.resources.keys()].some((key) => key.startsWith(keys.tcx(ifindex, direction, name)));
}

/** What a configuration needs and the kernel has no more, in words; `state` with the parts 'tcx' and 'filter'. Empty: all is there. */
export function lackingPrograms(state: State, config: LocalhostConfig): readonly string[] {
  return localhostPlaces(config)
    .filter((place) => !isOn(state, place))
    .map(({ ifindex, direction, name }) => `the program ${name} on ${state.links.get(ifindex)?.name ?? `if${ifindex}`}, ${direction}`);
}
