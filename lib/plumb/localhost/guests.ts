// Several guests behind one address of a pod, told apart by their ports: each has a TAP of its own.
import * as v from 'valibot';
import { abortSignal, array, check, optional, options, either, interfaceName, text } from '../../check.js';
import { PlumbError, invalidArgument } from '../../errors.js';
import type { GuestNetwork } from '../../guest/network.js';
import type { Macvtap } from '../../kernel/macvtap.js';
import type { Netns } from '../../kernel/netns.js';
import type { Tap } from '../../kernel/tap.js';
import { firstOverlap, parseGuestPorts, rangeText } from '../../localhost/services.js';
import { randomNumber } from '../../random.js';
import { inspect } from 'node:util';
import type { State } from '../../state/snapshot.js';
import type { Link } from '../../wire/link.js';
import { tapDevice } from '../datapath/datapath.js';
import { backendOf, checking } from './carry.js';
import { FIRST_SLOT, checkAlone, localhostState, planLocalhost, refuse } from './localhost.js';
import { guestMark } from '../mark.js';
import { type Asked, type PlumbOptions, type Vmm, tapAsked, tapSchema, vmmSchema } from '../options.js';
import type { GuestRecord, PlumbRecord } from '../record.js';
import type { Step } from '../step.js';
import { freshTapMac, tapName } from '../tap.js';

export interface PlumbedGuest {
  readonly name: string;
  /** '8080/tcp': what comes in for them goes to this guest. */
  readonly ports: readonly string[];
  readonly guest: GuestNetwork;
  readonly tap: Tap | Macvtap;
}

export interface AddGuestOptions {
  /** Among the plumbing's guests. */
  readonly name: string;
  /** As of plumb. Default: the first of tap0, tap1, ... that is free. */
  readonly tap?: PlumbOptions['tap'];
  readonly vmm?: Vmm;
  /** '8080/tcp', '53/udp+tcp', '9000-9010/tcp'. What nobody owns is the first guest's. */
  readonly ports: readonly string[];
  readonly signal?: AbortSignal;
}

/** The one that plumb made. */
export const FIRST_GUEST = 'default';

const schema = options({
  name: v.pipe(
    text,
    v.check((value) => /^[\w.-]{1,64}$/.test(value), "must be a name: 1 to 64 letters, digits, '_', '.' and '-'"),
    v.check((value) => value !== FIRST_GUEST, `must be another name than '${FIRST_GUEST}', which is that of the guest that plumb made`),
  ),
  tap: optional(either(interfaceName, tapSchema, 'must be the name of a TAP, or options of one')),
  vmm: optional(vmmSchema),
  ports: array(text),
  signal: optional(abortSignal),
});

export interface WantedGuest {
  readonly name: string;
  readonly ports: readonly string[];
  readonly tap: Asked['tap'];
}

/** @throws TypeError ERR_INVALID_ARG_* */
export function wantedGuest(given: AddGuestOptions): WantedGuest & { readonly signal: AbortSignal | undefined } {
  const { name, ports, vmm, signal } = check(schema, given, 'addGuest') as AddGuestOptions;
  const tap = tapAsked(given.tap, vmm);
  if (!tap.persist) throw invalidArgument('ERR_INVALID_ARG_VALUE', "addGuest: 'tap.persist' must be true: a TAP that goes with its monitor would leave its guest's ports behind"); // prettier-ignore
  return { name, ports: [...new Set(parseGuestPorts(ports, 'addGuest').map(rangeText))], tap, signal };
}

/** undefined: it is there, and the same. @throws PlumbError ERR_PLUMB_CONFLICT; UnsupportedError: a macvtap */
export async function addGuestStep(netns: Netns, record: PlumbRecord, wanted: WantedGuest): Promise<Step | undefined> {
  const { wiring, guests = [] } = record;
  refuse(record);
  const there = guests.find(({ name }) => name === wanted.name);
  if (there !== undefined) {
    const differences = differencesOf(there, wanted);
    if (differences.length === 0) return undefined;
    throw new PlumbError(`there is a guest '${wanted.name}' already, with other options: ${differences.join('; ')}; remove that one first`, { code: 'ERR_PLUMB_CONFLICT' }); // prettier-ignore
  }
  for (const { name, ports } of guests) {
    const clash = firstOverlap(parseGuestPorts(wanted.ports, ''), parseGuestPorts(ports, ''));
    if (clash !== undefined) throw new PlumbError(`${rangeText(clash[0])} of the guest '${wanted.name}' is the guest '${name}''s already (${rangeText(clash[1])})`, { code: 'ERR_PLUMB_CONFLICT' }); // prettier-ignore
  }
  const slot = freeSlot(guests);
  const chosen = await backendOf(record, {});
  const state = await localhostState(netns, chosen.backend);
  checkAlone(state, record);
  const link = state.links.get(wiring.link.ifindex);
  if (link === undefined) throw new PlumbError(`${wiring.link.name} (${wiring.link.ifindex}) is gone`, { code: 'ERR_PLUMB_NO_LINK' });
  const { added, operations } = await tapFor(netns, state, link, record, wanted, slot);
  const planned = await planLocalhost(netns, state, record, chosen, { guests: [...guests, added] });
  const all = [...operations, ...planned.operations];
  return { operations: all, record: planned.record, ...checking(netns, planned.record, all) };
}

const LAST_SLOT = 63;

function freeSlot(guests: readonly GuestRecord[]): number {
  for (let slot = FIRST_SLOT + 1; slot <= LAST_SLOT; slot++) if (guests.every((one) => one.slot !== slot)) return slot;
  throw new PlumbError(`there are ${guests.length + 1} guests already, and ${LAST_SLOT} are possible`, { code: 'ERR_PLUMB_CONFLICT' });
}

/** The TAP's index is chosen here: what carries the pod's localhost is told it before the TAP is there. */
async function tapFor(
  netns: Netns,
  state: State,
  link: Link,
  { wiring, guest }: PlumbRecord,
  { name, ports, tap: asked }: WantedGuest,
  slot: number,
): Promise<{ readonly added: GuestRecord; readonly operations: Step['operations'] }> {
  const tap = await tapName(netns, state, asked.name, 'tap');
  const ifindex = asked.ifindex ?? freeIndex(state);
  const taken = state.links.get(ifindex);
  if (taken !== undefined) throw new PlumbError(`the index ${ifindex} is that of '${taken.name}' already; choose another one`, { code: 'ERR_PLUMB_CONFLICT' }); // prettier-ignore
  const mtu = asked.mtu ?? wiring.mtu;
  if (mtu > link.mtu) throw invalidArgument('ERR_INVALID_ARG_VALUE', `addGuest: 'tap.mtu' must be at most that of '${link.name}', ${link.mtu}; received ${mtu}`); // prettier-ignore
  const tapMac = asked.mac ?? freshTapMac();
  const mark = guestMark({ link: link.name, mac: wiring.guestMac, name });
  const device = tapDevice({ link, asked: { tap: { ...asked, ifindex } }, tap, mtu, mark, fresh: { tapMac } });
  const { queues, vnetHdr, offload, attach } = asked;
  return {
    operations: [...device.operations, { op: 'link.set', link: tap, change: { up: true } }],
    added: {
      name,
      slot,
      ports,
      wiring: { tap: { name: tap, ifindex }, tapMac, mtu, shape: { queues, vnetHdr, offload }, attach },
      guest: { ...guest, tap, mtu },
      asked,
    },
  };
}

/** High ones: see transaction/member.ts. */
function freeIndex(state: State): number {
  let index: number;
  do index = 100_000 + (randomNumber() % 900_000);
  while (state.links.has(index));
  return index;
}

function differencesOf(there: GuestRecord, wanted: WantedGuest): string[] {
  const differences: string[] = [];
  const look = (name: string, was: unknown, is: unknown): void => {
    if (is !== undefined && inspect(was) !== inspect(is)) differences.push(`${name} was ${inspect(was)}, and now is ${inspect(is)}`);
  };
  look('ports', [...there.ports].sort(), [...wanted.ports].sort());
  look('tap.name', there.wiring.tap.name, wanted.tap.name);
  for (const name of ['attach', 'persist', 'queues', 'vnetHdr', 'offload', 'owner', 'group', 'mac', 'mtu', 'ifindex'] as const) look(`tap.${name}`, there.asked[name], wanted.tap[name]); // prettier-ignore
  return differences;
}

/** @throws PlumbError ERR_PLUMB_NO_GUEST */
export async function removeGuestStep(netns: Netns, record: PlumbRecord, name: string): Promise<Step> {
  const { guests = [] } = record;
  const leaving = guests.find((one) => one.name === name);
  if (leaving === undefined) {
    const why = name === FIRST_GUEST ? 'it is the one that plumb made: undo the plumbing' : `there are ${[FIRST_GUEST, ...guests.map((one) => one.name)].map((one) => `'${one}'`).join(', ')}`; // prettier-ignore
    throw new PlumbError(`there is no guest '${name}' to remove; ${why}`, { code: 'ERR_PLUMB_NO_GUEST' });
  }
  const chosen = await backendOf(record, {});
  const state = await localhostState(netns, chosen.backend);
  const { operations, record: changed } = await planLocalhost(netns, state, record, chosen, { guests: guests.filter((one) => one !== leaving) }); // prettier-ignore
  const { tap } = leaving.wiring;
  return { operations, record: changed, ...checking(netns, changed, operations), gone: [{ ...tap, kind: 'tun' }] };
}
