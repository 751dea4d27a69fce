// What a datapath is: a way to join a pod's interface with a guest's TAP. One file each, and one line in datapaths.ts.
import * as v from 'valibot';
import { boolean, ifindex, integer, interfaceMac, interfaceName, mtu, oneOf, optional, options } from '../../check.js';
import type { Netns } from '../../kernel/netns.js';
import type { Operation } from '../../operation/kinds.js';
import type { Problem } from '../../primitive/host.js';
import type { Part, State } from '../../state/snapshot.js';
import type { Address } from '../../wire/address.js';
import type { Link } from '../../wire/link.js';
import type { Ability } from './ability.js';
import type { Mark } from '../mark.js';
import type { Asked } from '../options.js';

/** What the guest may send from, where that is checked (antiSpoof). */
export const guestSource = options({ mac: interfaceMac, addresses: v.array(v.string()) });
export type GuestSource = v.InferOutput<typeof guestSource>;

export const namedLink = options({ name: interfaceName, ifindex });

/** What is recorded of every plumbing, and kept in the journal; a datapath adds its mode, and what else it must know. */
export const wiringEntries = {
  link: namedLink,
  tap: namedLink,
  guestMac: interfaceMac,
  /** Of the TAP's host side. */
  tapMac: interfaceMac,
  linkMac: interfaceMac,
  mtu,
  shape: options({
    queues: integer(1, 256),
    vnetHdr: boolean,
    offload: options({ csum: optional(boolean), tso4: optional(boolean), tso6: optional(boolean), uso: optional(boolean) }),
  }),
  attach: oneOf('name', 'fd'),
  /** Absent: the guest may send from anything. */
  source: optional(guestSource),
};
export type AnyWiring = Readonly<v.InferOutput<ReturnType<typeof options<typeof wiringEntries>>>> & { readonly mode: string };

/** A problem, with what mends it, where that can be done. */
export interface Fault extends Problem {
  readonly repair: readonly Operation[];
}

export interface PlanInput {
  readonly state: State;
  /** The pod's interface, and its addresses in the order of the kernel's dump. */
  readonly link: Link;
  readonly addresses: readonly Address[];
  readonly asked: Asked;
  /** The TAP's name. */
  readonly tap: string;
  readonly guestMac: string;
  readonly mtu: number;
  /** For IFLA_IFALIAS of what is made. */
  readonly mark: string;
  /** Of the datapath's abilities those that this kernel has. */
  readonly can: ReadonlySet<Ability>;
  /** Chosen at random: MACs that are locally administered, and one that is for a TAP. */
  readonly fresh: { readonly macs: readonly [string, string]; readonly tapMac: string };
}

export interface Planned<W> {
  readonly operations: readonly Operation[];
  /** What is to be recorded, when it was done. */
  readonly wiring: (after: State) => W;
}

/** Sends frames the way that those from outside take to the guest. */
export interface Inlet extends AsyncDisposable {
  send(frame: Uint8Array): Promise<unknown>;
}

/** A plumbing as the kernel's state shows it. What is missing of it is among the problems. */
export interface Found<W> {
  readonly link?: Link | undefined;
  readonly tap?: Link | undefined;
  /** As it must have been meant; undefined where too much is gone. */
  readonly wiring?: W | undefined;
  readonly problems: readonly Problem[];
}

export interface Datapath<W extends AnyWiring> {
  readonly mode: W['mode'];
  readonly schema: v.GenericSchema<unknown, W>;
  /** Tables of the kernel that `plan` needs, and those that it changes, beside those that tell what the guest must be told. */
  readonly parts: readonly Part[];
  /** Tables of what the plan touches and of what it makes. */
  readonly partsAfter: readonly Part[];
  /** Tables that must have been read for `faults` and `find`. */
  readonly faultParts: readonly Part[];
  /** Of the name of the guest's end, where none is given; default 'tap'. */
  readonly tapPrefix?: string;
  /** What `plan` must know of this kernel. */
  readonly abilities?: readonly Ability[];
  /** Whether the pod's interface has its addresses all the while. */
  readonly keepsAddresses: boolean;
  /** Why an interface cannot be joined this way; it follows its name in a sentence. undefined: it can. */
  readonly refusal: (link: Link) => string | undefined;
  /** What is to be done: from nothing but what is given. */
  plan(input: PlanInput): Planned<W>;
  /** What is not as it was made. Empty: the guest can be reached. */
  faults(wiring: W, state: State): readonly Fault[];
  /** From kernel state alone, by what carries the same mark. */
  find(mark: Mark, links: readonly Link[], state: State): Found<W>;
  /** What such plumbings have left whose mark is gone with its interface. */
  strays?(state: State): readonly Problem[];
  inlet(netns: Netns, wiring: W): Promise<Inlet>;
}

export function freeName(state: State, prefix: string): string {
  for (let number = 0; ; number++) if (state.link(`${prefix}${number}`) === undefined) return `${prefix}${number}`;
}

export function named(state: State, name: string): { name: string; ifindex: number } {
  return { name, ifindex: state.link(name)?.ifindex ?? 0 };
}

/** What should carry the mark, or be named by it. */
export function missing({ link }: Mark, parts: readonly (readonly [what: string, found: Link | undefined])[]): readonly Problem[] {
  const code = (what: string): string => (what.startsWith('interface') ? 'LINK_GONE' : `${what.toUpperCase()}_GONE`);
  return parts.flatMap(
    ([what, found]) =>
    found === undefined ? [{ code: code(what), message: `the ${what} of the plumbing of '${link}' is gone`, fix: 'undo the plumbing, and plumb anew' }] : [], // prettier-ignore
  );
}

/** What can be told of a plumbing without its record: its descriptors' shape cannot. */
export function seen(link: Link, tap: Link): Omit<AnyWiring, 'mode' | 'guestMac'> {
  const info = tap.info instanceof Uint8Array ? undefined : (tap.info as { vnet_hdr?: number } | undefined);
  return {
    link: { name: link.name, ifindex: link.ifindex },
    tap: { name: tap.name, ifindex: tap.ifindex },
    linkMac: link.mac,
    tapMac: tap.mac,
    mtu: tap.mtu,
    shape: { queues: 1, vnetHdr: info?.vnet_hdr === 1, offload: {} },
    attach: 'name',
  };
}

/** Below it a device has no IPv6 at all (RFC 8200, 5). */
export const LEAST_IPV6_MTU = 1280;

/** The guest's TAP: made, silent, and still down. */
export function tapDevice({
  link,
  asked,
  tap,
  mtu,
  mark,
  fresh,
}: Pick<PlanInput, 'link' | 'tap' | 'mtu' | 'mark'> & {
  readonly asked: Pick<Asked, 'tap'>;
  readonly fresh: Pick<PlanInput['fresh'], 'tapMac'>;
}): {
  // prettier-ignore
  readonly operations: readonly Operation[];
  wiring(after: State): Pick<AnyWiring, 'link' | 'tap' | 'tapMac' | 'mtu' | 'shape' | 'attach'>;
} {
  const { persist, queues, vnetHdr, offload, owner, group, ifindex, attach } = asked.tap;
  const tapMac = asked.tap.mac ?? fresh.tapMac;
  const silent = link.addrGenMode !== undefined && mtu >= LEAST_IPV6_MTU;
  return {
    operations: [
      {
        op: 'tap.create',
        name: tap,
        persist,
        queues,
        vnetHdr,
        offload,
        ...(owner !== undefined && { owner }),
        ...(group !== undefined && { group }),
        ...(ifindex !== undefined && { ifindex }),
      },
      // addr_gen_mode is refused in the message that makes a device, and must be 'none' before the device is up: the TAP would send its
      // own solicitations to the guest.
      { op: 'link.set', link: tap, change: { mac: tapMac, mtu, alias: mark, ...(silent && { addrGenMode: 'none' as const }) } },
    ],
    wiring: (after) => ({
      link: { name: link.name, ifindex: link.ifindex },
      tap: named(after, tap),
      tapMac,
      mtu,
      shape: { queues, vnetHdr, offload },
      attach,
    }),
  };
}

export function problemOf({ code, message, fix }: Problem): Problem {
  return { code, message, fix };
}

/** Collects faults of a plumbing: the beginning of what every datapath's `faults` says. */
export class Faults {
  readonly found: Fault[] = [];

  constructor(readonly state: State) {}

  tell(code: string, message: string, fix: string, ...repair: readonly Operation[]): void {
    this.found.push({ code, message, fix, repair });
  }

  /** undefined: it is gone, and that is told. */
  link(what: string, { name, ifindex: index }: AnyWiring['tap']): Link | undefined {
    const link = this.state.links.get(index);
    if (link === undefined) this.tell(`${what}_GONE`, `${name} (${index}) is gone`, 'undo the plumbing, and plumb anew');
    return link;
  }

  down(...links: readonly Link[]): void {
    for (const one of links)
      if (!one.up) this.tell('LINK_DOWN', `${one.name} is down`, `ip link set dev ${one.name} up`, setOf(one, { up: true }));
  }

  mac({ name, mac, ifindex: link }: Link, wanted: string): void {
    if (mac !== wanted) this.tell('MAC_CHANGED', `${name} has the MAC ${mac} instead of ${wanted}`, `ip link set dev ${name} address ${wanted}`, { op: 'link.set', link, change: { mac: wanted } }); // prettier-ignore
  }

  /** `why`: what it means for the guest. */
  mtu(link: Link, tap: Link, wanted: number, why: string): void {
    const mtu = Math.min(wanted, link.mtu);
    if (tap.mtu !== mtu) this.tell('MTU_MISMATCH', `${tap.name} has MTU ${tap.mtu}, ${link.name} ${link.mtu}: ${why}`, `ip link set dev ${tap.name} mtu ${mtu}, and tell the guest`, setOf(tap, { mtu })); // prettier-ignore
  }
}

export function setOf(of: Link, change: object): Operation {
  return { op: 'link.set', link: of.ifindex, change };
}

/** IPv6 first; of IPv4 secondaries before their primary, which would take them with it. */
export function addressDeletions({ ifindex }: Link, addresses: readonly Address[]): readonly Operation[] {
  const rank = ({ address, flags = [] }: Address): number => (address.includes(':') ? 0 : flags.includes('secondary') ? 1 : 2);
  return [...addresses]
    .sort((a, b) => rank(a) - rank(b))
    .map(({ address, peer }) => ({ op: 'address.delete', link: ifindex, address: { address, ...(peer !== undefined && { peer }) } }));
}
