import * as v from 'valibot';
import {
  type LinkRef,
  abortSignal,
  boolean,
  check,
  either,
  hostname,
  ifindex,
  interfaceMac,
  interfaceName,
  linkRef,
  mtu,
  oneOf,
  optional,
  options,
  text,
  u32,
} from '../check.js';
import { invalidArgument } from '../errors.js';
import type { TapOffload } from '../kernel/tap.js';
import { tapShape } from '../operation/tap.js';
import { type LocalhostAsked, type LocalhostOptions, localhostAsked, localhostOptions } from '../localhost/asked.js';
import type { Picked } from './datapath/auto.js';
import type { TapOptions } from '../primitive/tap.js';

export type Mode = 'redirect' | 'ebpf' | 'bridge' | 'macvtap';
export type Vmm = 'qemu' | 'firecracker' | 'cloud-hypervisor' | 'solo5-hvt' | 'solo5-spt' | 'uml';

export interface PlumbOptions {
  /** The pod's interface. Default: the one with an address that could be meant. */
  readonly link?: LinkRef;
  /** The TAP's name, or what it shall be like. Default: the first of tap0, tap1, ... that is free, persistent, and held by nobody. One that is not persistent is held until its descriptors are taken, and lives as long as whoever holds them. */
  readonly tap?: string | (TapOptions & { readonly name?: string; readonly attach?: 'name' | 'fd' });
  /** Default 'redirect'. 'auto': what fits the interface and this kernel, told as `picked`. */
  readonly mode?: Mode | 'auto';
  /**
   * How podtap's filter stands to those of others on the pod's interface, in redirect and ebpf. Default 'last': theirs see every frame first, and
   * what one of them drops, redirects or takes for the pod does not come to the guest; 'first': the guest has it, and theirs see nothing.
   */
  readonly filters?: 'first' | 'last';
  /** The mode of a macvtap. Default 'passthru': it has the interface for itself; 'bridge': others may stand on it beside. */
  readonly macvtap?: 'passthru' | 'bridge';
  /** Sets the TAP's flags as this monitor opens it, and how it comes by it: QEMU by descriptor, others by name. */
  readonly vmm?: Vmm;
  /** Default 'clone': the guest takes over the interface's MAC; under a bridge that one gets another. In redirect, another one is set on the interface, too. Neighbours are told of it. */
  readonly guestMac?: 'clone' | 'random' | (string & {});
  /**
   * Default false. The guest sends with its own MAC and addresses only, in ARP and neighbour discovery too; what it sends otherwise goes
   * nowhere, not up into the pod either: another address, a VLAN's tag, DHCP from 0.0.0.0, router advertisements, EtherTypes other than
   * IPv4, ARP and IPv6. Its addresses are those that the interface has when it is plumbed, and the link-local one that is made of its MAC;
   * a guest that makes itself others cannot use them. In mode 'ebpf' the program checks it, in the others a filter of cls_bpf (CONFIG_NET_CLS_BPF).
   */
  readonly antiSpoof?: boolean;
  /** What of the pod's localhost the guest reaches: as `exposeLocalhost`, in the same step. Not in mode 'macvtap'. */
  readonly localhost?: LocalhostOptions;
  /**
   * Default 'keep'. 'substitute': where the pod's IPv4 gateway is outside of its subnet (a /32 with 169.254.1.1) or there is none, the guest is told
   * a narrow prefix and a gateway inside of it, chosen at run time, and what was substituted (`guest.substituted`). For guests that refuse
   * another (rumprun, the kernel's `ip=`). Not in mode 'macvtap'.
   */
  readonly gateway?: 'keep' | 'substitute';
  /** Unique on the machine, at most 200 bytes: how the plumbing is found again. */
  readonly label?: string;
  /** A path; what it says of nameservers is told to the guest. */
  readonly resolvConf?: string;
  readonly hostname?: string;
  /** Default 'same': an interface that is plumbed already, with the same options, is left as it is, and returned. */
  readonly ifPlumbed?: 'same' | 'error';
  /** Default true. A string is the directory; false: undo works in this process only. */
  readonly journal?: boolean | string;
  readonly signal?: AbortSignal;
}

/** An alias of an interface has 255 bytes, and the mark needs some of them. */
const LONGEST_LABEL = 200;

const label = v.pipe(
  text,
  v.check((value) => value !== '' && Buffer.byteLength(value) <= LONGEST_LABEL, `must have 1 to ${LONGEST_LABEL} bytes`),
  v.check((value) => !/\p{Cc}/u.test(value), 'must have no control characters'),
);
export const tapSchema = options({
  ...tapShape,
  name: optional(interfaceName),
  attach: optional(oneOf('name', 'fd')),
  persist: optional(boolean),
  owner: optional(u32),
  group: optional(u32),
  mac: optional(interfaceMac),
  mtu: optional(mtu),
  up: optional(boolean),
  ifindex: optional(ifindex),
});
export const vmmSchema = oneOf('qemu', 'firecracker', 'cloud-hypervisor', 'solo5-hvt', 'solo5-spt', 'uml');
const schema = options({
  link: optional(linkRef),
  tap: optional(either(interfaceName, tapSchema, 'must be the name of a TAP, or options of one')),
  mode: optional(oneOf('redirect', 'ebpf', 'bridge', 'macvtap', 'auto')),
  filters: optional(oneOf('first', 'last')),
  macvtap: optional(oneOf('passthru', 'bridge')),
  vmm: optional(vmmSchema),
  guestMac: optional(either(oneOf('clone', 'random'), interfaceMac, "must be 'clone', 'random' or a unicast MAC")),
  antiSpoof: optional(boolean),
  localhost: optional(localhostOptions),
  gateway: optional(oneOf('keep', 'substitute')),
  label: optional(label),
  resolvConf: optional(text),
  hostname: optional(hostname),
  ifPlumbed: optional(oneOf('same', 'error')),
  journal: optional(either(boolean, text, 'must be true, false or a directory')),
  signal: optional(abortSignal),
});

/** How each monitor opens a TAP: sources in guest/, one file each. */
const monitors: Readonly<Record<Vmm, { readonly vnetHdr: boolean; readonly attach: 'name' | 'fd' }>> = {
  qemu: { vnetHdr: true, attach: 'fd' },
  firecracker: { vnetHdr: true, attach: 'name' },
  'cloud-hypervisor': { vnetHdr: true, attach: 'name' },
  'solo5-hvt': { vnetHdr: false, attach: 'name' },
  'solo5-spt': { vnetHdr: false, attach: 'name' },
  uml: { vnetHdr: false, attach: 'name' },
};

/** How a TAP shall be, with what follows from the monitor that opens it. */
export function tapAsked(given: PlumbOptions['tap'], vmm: Vmm | undefined): Asked['tap'] {
  const tap = typeof given === 'string' ? { name: given } : (given ?? {});
  const monitor = vmm === undefined ? { vnetHdr: false, attach: 'name' as const } : monitors[vmm];
  return {
    name: tap.name,
    attach: tap.attach ?? monitor.attach,
    persist: tap.persist ?? true,
    queues: tap.queues ?? 1,
    vnetHdr: tap.vnetHdr ?? monitor.vnetHdr,
    offload: tap.offload ?? {},
    owner: tap.owner,
    group: tap.group,
    mac: tap.mac?.toLowerCase(),
    mtu: tap.mtu,
    ifindex: tap.ifindex,
  };
}

/** What is asked for, with what follows from it. */
export interface Asked {
  readonly link: LinkRef | undefined;
  readonly mode: Mode;
  readonly filters: 'first' | 'last';
  readonly macvtap: 'passthru' | 'bridge';
  readonly guestMac: string;
  readonly antiSpoof: boolean;
  /** Where the mode was left to podtap. */
  readonly picked?: Picked;
  readonly label: string | undefined;
  readonly resolvConf: string | undefined;
  readonly hostname: string | undefined;
  /** Of the pod's localhost. */
  readonly localhost?: LocalhostAsked;
  readonly gateway?: 'keep' | 'substitute';
  readonly tap: {
    readonly name: string | undefined;
    readonly attach: 'name' | 'fd';
    readonly persist: boolean;
    readonly queues: number;
    readonly vnetHdr: boolean;
    readonly offload: TapOffload;
    readonly owner: number | undefined;
    readonly group: number | undefined;
    readonly mac: string | undefined;
    readonly mtu: number | undefined;
    readonly ifindex: number | undefined;
  };
}

export interface Settings {
  /** Its mode is still to be picked where `auto` says so. */
  readonly asked: Asked;
  readonly auto: boolean;
  readonly ifPlumbed: 'same' | 'error';
  readonly journal: boolean | string;
  readonly signal: AbortSignal | undefined;
}

/** @throws TypeError ERR_INVALID_ARG_*, told as a mistake of `where` */
export function settingsOf(given: PlumbOptions, where: string): Settings {
  const { link, mode: wanted = 'redirect', antiSpoof = false, filters = 'last', macvtap = 'passthru', guestMac = 'clone', vmm, localhost, gateway, label, resolvConf, hostname, ifPlumbed = 'same', journal = true, signal } = check(schema, given, where) as PlumbOptions; // prettier-ignore
  const tap = typeof given.tap === 'string' ? { name: given.tap } : (given.tap ?? {});
  const monitor = vmm === undefined ? { vnetHdr: false, attach: 'name' as const } : monitors[vmm];
  const mode = wanted === 'auto' ? 'redirect' : wanted;
  if (mode === 'macvtap') {
    const by = tap.attach === 'name' ? "'tap.attach' is 'name'" : tap.attach === undefined && monitor.attach === 'name' && vmm !== undefined ? `'vmm' is '${vmm}'` : undefined; // prettier-ignore
    if (by !== undefined) throw invalidArgument('ERR_INVALID_ARG_VALUE', `${where}: 'mode' must not be 'macvtap' where the monitor opens the TAP by its name (${by}): a macvtap has none, only a descriptor`); // prettier-ignore
    const localhostly = localhost !== undefined ? 'localhost' : gateway === 'substitute' ? 'gateway' : undefined;
    if (localhostly !== undefined) throw invalidArgument('ERR_INVALID_ARG_VALUE', `${where}: '${localhostly}' is nothing for mode 'macvtap': what a macvtap carries does not come by the pod's own stack; choose mode 'redirect', 'ebpf' or 'bridge'`); // prettier-ignore
    for (const name of ['persist', 'owner', 'group', 'mac'] as const)
      if (tap[name] !== undefined) throw invalidArgument('ERR_INVALID_ARG_VALUE', `${where}: 'tap.${name}' is nothing that a macvtap has; leave it out in mode 'macvtap'`); // prettier-ignore
  }
  return {
    asked: {
      link,
      mode,
      filters,
      macvtap,
      guestMac: guestMac.toLowerCase(),
      antiSpoof,
      label,
      resolvConf,
      hostname,
      tap: { ...tapAsked(given.tap, vmm), ...(mode === 'macvtap' && { attach: 'fd' as const }) },
      ...(localhost !== undefined && { localhost: localhostAsked(localhost, where) }),
      ...(gateway !== undefined && { gateway }),
    },
    auto: wanted === 'auto',
    ifPlumbed,
    journal,
    signal,
  };
}
