import { array, check, integer, optional, options, text } from '../check.js';
import type { GuestNetwork } from './network.js';
import { shell } from './quote.js';
import { type LossOptions, type Rendered, Report, lossEntries } from './report.js';

export interface CloudHypervisorOptions extends Pick<LossOptions, 'without'> {
  readonly id?: string;
  /** Descriptors of the TAP that it inherits, one for each pair of queues, made with vnet_hdr. Default: it opens the TAP by its name. */
  readonly fds?: readonly number[];
  /** By name: pairs of queues. More than one: the TAP must have been made for several. Default 1. */
  readonly queues?: number;
}

export interface CloudHypervisorNet {
  /** Absent with descriptors, which the API takes beside the JSON (SCM_RIGHTS). */
  readonly tap?: string;
  readonly mac: string;
  readonly mtu?: number;
  readonly num_queues?: number;
  readonly id?: string;
}

export interface CloudHypervisorRendered extends Rendered {
  readonly args: readonly string[];
  /** An element of `net` in vm.create, and the body of vm.add-net. */
  readonly net: CloudHypervisorNet;
  /** `args` for a POSIX shell. */
  readonly text: string;
}

const schema = options({
  id: optional(text),
  fds: optional(array(integer(0, 0x7fffffff))),
  queues: optional(integer(1, 128)),
  without: lossEntries.without,
});

/**
 * A network interface of Cloud Hypervisor: `--net tap=tap100,mac=0a:58:ac:11:00:05,mtu=1450`. `ip` and `mask` are never said: they would
 * be those of the TAP on the host. The MTU is set on the TAP too, and offered to the guest. What the guest is told is its own configuration's
 * affair: see `cloudInit`, `linuxCmdline`.
 *
 * cloud-hypervisor, vmm/src/config.rs (NetConfig::parse, validate), option_parser/src/lib.rs for quoting; net_util/src/tap.rs.
 * @throws GuestConfigError an MTU below 1280; a descriptor below 3
 * @example cloudHypervisor(guest, { fds: [3, 4] }).args // ['--net', 'fd=[3,4],num_queues=4,mac=...,mtu=1450']
 */
export function cloudHypervisor(guest: GuestNetwork, settings: CloudHypervisorOptions = {}): CloudHypervisorRendered {
  const { id, fds, queues, without } = check(schema, settings, 'cloudHypervisor');
  const report = new Report('cloudHypervisor', without);
  const { tap, mac, mtu } = report.take(guest);
  const low = fds?.find((fd) => fd < 3);
  if (low !== undefined) throw report.error('fds', `cloudHypervisor: descriptors are 3 or more; received ${low}`);
  if (fds !== undefined && (fds.length === 0 || new Set(fds).size < fds.length || queues !== undefined))
    throw report.error('fds', "cloudHypervisor: 'fds' is one or more different descriptors, which say how many queues there are");
  if (id !== undefined && (id === '' || id.startsWith('_')))
    throw report.error('id', `cloudHypervisor: an id is not empty, and '_' begins its own; received ${JSON.stringify(id)}`);
  if (mtu > 0xffff) throw report.error('mtu', `cloudHypervisor: the MTU goes up to 65535, and it is ${mtu}`);
  if (mtu < 1280) report.lose('mtu', 'mtu', `the MTU is 1280 at least, and it is ${mtu}`, 'set it on the TAP, which is what the guest is told'); // prettier-ignore
  const pairs = fds?.length ?? queues ?? 1;
  const rest = { ...(pairs > 1 && { num_queues: 2 * pairs }), mac, ...(mtu >= 1280 && { mtu }), ...(id !== undefined && { id }) };
  const words = [
    fds === undefined ? `tap=${quoted(report, 'tap', tap)}` : `fd=[${fds.join(',')}]`,
    ...Object.entries(rest).map(([name, value]) => `${name}=${quoted(report, name, String(value))}`),
  ];
  const args = ['--net', words.join(',')];
  return { args, net: { ...(fds === undefined && { tap }), ...rest }, text: shell(args), untold: report.untold };
}

/** Quotes protect commas; inside of them a quote is doubled. */
function quoted(report: Report, name: string, value: string): string {
  if (value.includes('\0')) throw report.error(name, `cloudHypervisor: '${name}' contains NUL, which ends an argument`);
  return /^[\w.:@%+/-]+$/.test(value) ? value : `"${value.replaceAll('"', '""')}"`;
}
