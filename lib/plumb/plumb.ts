// snapshot -> plan -> apply -> verify: the whole job, or nothing.
import { readFile } from 'node:fs/promises';
import { inspect } from 'node:util';
import { PlumbError, PodtapError, invalidArgument } from '../errors.js';
import { guestOf } from '../guest/interface.js';
import type { GuestNetwork } from '../guest/network.js';
import { substituted } from '../localhost/gateway.js';
import { parseResolvConf } from '../guest/resolv.js';
import { announce } from '../kernel/announce.js';
import { request } from '../kernel/netlink.js';
import { type Netns, attachment, netnsOf } from '../kernel/netns.js';
import { type HeldQueues, closeTun } from '../kernel/tap.js';
import { seated, turn } from '../kernel/turn.js';
import { type Operation, command } from '../operation/kinds.js';
import { localMac } from '../primitive/mac.js';
import type { Scope } from '../primitive/scope.js';
import type { Images } from '../state/images.js';
import type { Resource } from '../state/resource.js';
import { devicesOf } from '../state/route.js';
import { type Part, type State, snapshot } from '../state/snapshot.js';
import { type Journal, openJournal } from '../transaction/journal.js';
import type { Member } from '../transaction/member.js';
import { standingOf, undoHeld } from '../transaction/recover.js';
import { recordOf } from '../transaction/record.js';
import { type Transaction, Work, applies, enters, outerOf, transaction } from '../transaction/transaction.js';
import { type Link, RTM_SETLINK, encodeLink } from '../wire/link.js';
import { NLM_F_ACK } from '../wire/message.js';
import type { Route } from '../wire/route.js';
import type { Rule } from '../wire/rule.js';
import { type Ability, can as has } from './datapath/ability.js';
import { pickMode } from './datapath/auto.js';
import type { Planned } from './datapath/datapath.js';
import { type Wiring, datapathOf, faultParts, faultsOf, guardParts, isMode } from './datapath/datapaths.js';
import { plumbError } from './failure.js';
import { addressesOf, pickLink } from './link.js';
import { markOf, parseMark } from './mark.js';
import { type Asked, type PlumbOptions, type Settings, settingsOf } from './options.js';
import { hasMoved, localhostStep } from './localhost/carry.js';
import { backendFor, checkAlone, localhostFaults, localhostState, lookAt, planLocalhost, settled } from './localhost/localhost.js';
import { type NextHop, nextHop } from './localhost/next-hop.js';
import { Plumbing, steps } from './plumbing.js';
import { type PlumbRecord, plumbRecord, recordValue } from './record.js';
import { freshTapMac, tapName } from './tap.js';

/** What is read before anything is changed. */
function partsFor({ mode, antiSpoof }: Asked): ReadonlySet<Part> {
  return new Set<Part>(['address', 'route', 'rule', 'neighbor', 'proxy', ...datapathOf(mode).parts, ...(antiSpoof ? guardParts : [])]);
}

/**
 * Gives the place of a pod's interface to a guest: makes a TAP, joins it with the interface, and tells what the guest must be told. The guest
 * has the interface's addresses, and (unless `guestMac` says otherwise) its MAC, so that nobody on the wire sees a difference. It needs no
 * reader on the TAP, and holds none of its descriptors.
 *
 * All or nothing: if anything fails, or the signal aborts it, the namespace is as it was, which a crash does not prevent: `recover` undoes
 * what was interrupted. Where the interface is plumbed already, with the same options, nothing is changed. Given a transaction, it
 * is part of that one.
 *
 * Mode 'redirect' (the default): what comes in by the interface leaves by the TAP and the other way round, by a filter on each that
 * redirects. The interface keeps all that it has; the pod's processes get nothing from outside meanwhile. If the TAP goes away, the
 * filter on the interface eats what comes in: `maintain` gives the pod its network back then, or `repair` and `undo` by hand.
 *
 * Mode 'bridge': interface and TAP are the two ports of a bridge. The interface loses its addresses and gets another MAC; it stays up.
 * `planPlumbing` prints the commands of ip(8) and bridge(8) that do the same.
 *
 * @throws PlumbError, with `code`, `transient` and `cause`; TypeError ERR_INVALID_ARG_*; PodtapError ERR_JOURNAL_*; the signal's reason
 * @example
 * await using net = await plumb(pod, { tap: 'tap100', vmm: 'firecracker', label: `vm/${id}` });
 * // start the monitor with net.guest and net.tap
 * net.keep();
 */
export async function plumb(scope: Scope, options: PlumbOptions = {}): Promise<Plumbing> {
  await turn(); // before the options are checked, too: of many pods at once that alone would take long
  const settings = settingsOf(options, 'plumb');
  attachment(scope);
  const { asked, signal } = settings;
  const resolv = await readResolvConf(asked);
  signal?.throwIfAborted();
  try {
    const outer = outerOf(scope as Netns | Transaction);
    return outer === undefined ? await plumbAlone(scope as Netns, settings, resolv) : await plumbIn(outer, settings, resolv);
  } catch (error) {
    throw plumbError(error);
  }
}

/** What `plumb` would do: operations, and as text the script that a person would have written. */
export interface Plan {
  readonly operations: readonly Operation[];
  toString(): string;
}

/** Changes nothing. @throws as `plumb` does before its first change */
export async function planPlumbing(scope: Scope, options: PlumbOptions = {}): Promise<Plan> {
  const settings = settingsOf(options, 'planPlumbing');
  const { signal } = settings;
  try {
    const asked = await decided(scope, settings);
    const state = await snapshot(scope, partsFor(asked));
    signal?.throwIfAborted();
    const { operations } = await plan(netnsOf(scope), state, asked);
    // It is planned once the TAP is there: it is told the TAP's index, and what there is in the namespace then.
    const { localhost, gateway } = asked;
    const later = [
      ...(localhost === undefined ? [] : [`# then: the pod's localhost for the guest: ${localhost.services.join(', ')}`]),
      ...(gateway === 'substitute' ? ["# then: a gateway in the place of the pod's, if that is outside of its subnet"] : []),
    ];
    return { operations, toString: () => [script(operations, state), ...later.map((line) => `${line}\n`)].join('') };
  } catch (error) {
    throw plumbError(error);
  }
}

/** By names: indexes are another namespace's others. */
function script(operations: readonly Operation[], state: State): string {
  const named = operations.map((operation) => {
    const { link } = operation as { link?: string | number };
    return typeof link === 'number' ? ({ ...operation, link: state.links.get(link)?.name ?? link } as Operation) : operation;
  });
  return `${named.map(command).join('\n')}\n`;
}

// ------------------------------------------------------------------ applying

interface Applied {
  readonly record: PlumbRecord;
  /** Of a TAP that lives only as long as it is held. */
  readonly held: HeldQueues;
  readonly after: State;
}

/** How long somebody else may be at work in the namespace. */
const PATIENCE = 10_000; // milliseconds

async function plumbAlone(netns: Netns, settings: Settings, resolv: string | undefined): Promise<Plumbing> {
  const { asked, journal: where, signal } = settings;
  const journal = where === false ? undefined : await journalFor(netns, where);
  const work = new Work(journal, { signal, label: asked.label, patience: PATIENCE, ofUser: false });
  let found: Plumbing | undefined;
  let applied: Applied | undefined;
  let images: Images | undefined;
  let member: Member | undefined;
  await work.run(
    netns,
    async (tx) => {
      ({ member } = await tx[enters]());
      found = await existing(member, settings);
      if (found === undefined) applied = await seated(() => apply(tx, settings, resolv));
    },
    async (first) => {
      if (applied !== undefined) images = await first.finish(applied.after, recordValue(applied.record));
    },
  );
  if (found !== undefined) return followed(found, signal);
  const entry = member!.entry;
  return new Plumbing(netns, applied!.record, entry === undefined ? { images: images! } : { journal: journal!, entry }, true, {
    held: applied!.held,
  });
}

/** What Docker has changed since is followed. */
async function followed(plumbing: Plumbing, signal: AbortSignal | undefined): Promise<Plumbing> {
  if (plumbing.localhost !== undefined)
    await plumbing[steps](
      async (netns, record) => ((await hasMoved(netns, record)) ? localhostStep(netns, record, {}) : undefined),
      signal,
    );
  return plumbing;
}

/** As a part of a transaction: it stays when that one is over, with an entry of its own. */
async function plumbIn(tx: Transaction, settings: Settings, resolv: string | undefined): Promise<Plumbing> {
  return transaction(
    tx,
    async (inner) => {
      const entered = await inner[enters]();
      const found = await existing(entered.member, settings);
      if (found !== undefined) return found;
      const { record, after, held } = await seated(() => apply(inner, settings, resolv));
      const { images, entry } = await entered.member.keep(entered.images, after, settings.asked.label, recordValue(record));
      const whose = { held, outer: tx };
      if (entry === undefined) return new Plumbing(tx.netns, record, { images }, true, whose);
      entered.keeps(entry);
      return new Plumbing(tx.netns, record, { journal: entered.member.journal!, entry }, true, whose);
    },
    settings.signal === undefined ? {} : { signal: settings.signal },
  );
}

/** Whoever may not change the namespace need not be told about directories. */
async function journalFor(netns: Netns, where: boolean | string): Promise<Journal> {
  try {
    return await openJournal(typeof where === 'string' ? where : undefined);
  } catch (error) {
    await request(attachment(netns).socket, [encodeLink(RTM_SETLINK, NLM_F_ACK, { ifindex: LOOPBACK })]);
    throw error;
  }
}
const LOOPBACK = 1; // ifindex, in every namespace

async function apply(tx: Transaction, settings: Settings, resolv: string | undefined): Promise<Applied> {
  const { signal } = settings;
  const asked = await decided(tx, settings);
  const state = await snapshot(tx, partsFor(asked));
  const { link, tap, guestMac, mtu, operations, wiring: wiringOf } = await plan(tx.netns, state, asked);
  const resolved = await nextHop(tx.netns, state, link, asked);
  const partsAfter = new Set([...datapathOf(asked.mode).partsAfter, ...(asked.antiSpoof ? guardParts : [])]);
  let told: { readonly guest: GuestNetwork } | { readonly error: unknown } | undefined;
  const meanwhile = (): void => {
    try {
      told = { guest: guestFor(state, link, { asked, resolv, mac: guestMac, mtu, tap }) };
    } catch (error) {
      told = { error }; // thrown once the outcome of what is under way is known
    }
  };
  const performed = await tx[applies](operations, { signal, state, after: partsAfter, meanwhile });
  if (told === undefined || 'error' in told) throw told?.error;
  const after = performed.after ?? (await snapshot(tx, partsAfter));
  const wiring = wiringOf(after);
  const [fault] = faultsOf(wiring, after);
  if (fault !== undefined)
    throw new PlumbError(`all steps were done, and yet ${fault.message}`, { code: 'ERR_PLUMB_FAILED', transient: true });
  // Neighbours know the addresses by another MAC, and would until the guest says something.
  if (guestMac !== link.mac) {
    const addresses = addressesOf(state, link.ifindex).map(({ address }) => address.replace(/\/.*/, ''));
    await announce(tx.netns, link.ifindex, guestMac, addresses).catch(() => undefined);
  }
  const held = performed.outcomes.flatMap(({ tun }) => tun?.queues ?? []);
  try {
    return { ...(await withLocalhost(tx, { record: { wiring, guest: told.guest, asked }, after }, resolved, settings)), held };
  } catch (error) {
    await closeTun({ queues: held });
    throw error;
  }
}

/** In the same transaction: what was asked for of the pod's localhost, and a gateway that is another one. */
async function withLocalhost(
  tx: Transaction,
  applied: Omit<Applied, 'held'>,
  next: NextHop | undefined,
  { signal }: Settings,
): Promise<Omit<Applied, 'held'>> {
  const { asked } = applied.record;
  const substitute = next?.substitute;
  if (asked.localhost === undefined && substitute === undefined) return applied;
  const { netns } = tx;
  const chosen = await backendFor(asked.localhost?.backend, applied.record.wiring);
  const state = await localhostState(netns, chosen.backend);
  checkAlone(state, applied.record);
  const record = substitute === undefined ? applied.record : { ...applied.record, guest: substituted(applied.record.guest, substitute) };
  const change = {
    asked: asked.localhost ?? { services: [] },
    ...(substitute !== undefined && { gateway: { address: substitute.gateway, mac: next?.mac } }),
  };
  const { operations, record: changed } = await planLocalhost(netns, state, record, chosen, change);
  await tx[applies](operations, { signal, state });
  const parts = [...datapathOf(asked.mode).partsAfter, ...(asked.antiSpoof ? guardParts : []), ...datapathOf(asked.mode).faultParts];
  const after = await lookAt(netns, changed, parts, operations);
  const [fault] = localhostFaults(changed, after);
  if (fault !== undefined)
    throw new PlumbError(`all steps were done, and yet ${fault.message}`, { code: 'ERR_PLUMB_FAILED', transient: true });
  return { record: settled(changed, after), after };
}

/** With the mode that fits, where none was asked for. */
async function decided(scope: Scope, { asked, auto }: Settings): Promise<Asked> {
  if (!auto) return asked;
  const picked = await pickMode(scope, asked);
  return { ...asked, mode: picked.mode, tap: { ...asked.tap, ...(picked.mode === 'macvtap' && { attach: 'fd' as const }) }, picked };
}

interface Planning extends Planned<Wiring> {
  readonly link: Link;
  readonly tap: string;
  readonly guestMac: string;
  readonly mtu: number;
}

async function plan(netns: Netns, state: State, asked: Asked): Promise<Planning> {
  const datapath = datapathOf(asked.mode);
  if (asked.link !== undefined) refuseMarked(state, state.link(asked.link));
  const link = pickLink(state, asked.link, datapath.refusal);
  refuseMarked(state, link);
  const tap = await tapName(netns, state, asked.tap.name, datapath.tapPrefix ?? 'tap');
  const taken = asked.tap.ifindex === undefined ? undefined : state.links.get(asked.tap.ifindex);
  if (taken !== undefined) throw new PlumbError(`the index ${taken.ifindex} is that of '${taken.name}' already; choose another one`, { code: 'ERR_PLUMB_CONFLICT' }); // prettier-ignore
  const mtu = asked.tap.mtu ?? link.mtu;
  if (mtu > link.mtu)
    throw invalidArgument('ERR_INVALID_ARG_VALUE', `plumb: 'tap.mtu' must be at most that of '${link.name}', ${link.mtu}: longer frames would be dropped there without a word; received ${mtu}`); // prettier-ignore
  const guestMac = asked.guestMac === 'clone' ? link.mac : asked.guestMac === 'random' ? localMac() : asked.guestMac;
  const mark = markOf({ mode: asked.mode, link: link.name, mac: guestMac, ...(asked.label !== undefined && { label: asked.label }) });
  const fresh = { macs: [localMac(), localMac()] as const, tapMac: freshTapMac() };
  const addresses = addressesOf(state, link.ifindex);
  const can = new Set<Ability>();
  for (const ability of datapath.abilities ?? []) if (await has(ability)) can.add(ability);
  return { link, tap, guestMac, mtu, ...datapath.plan({ state, link, addresses, asked, tap, guestMac, mtu, mark, can, fresh }) };
}

/** @throws PlumbError ERR_PLUMB_CONFLICT: it is plumbed, in whatever mode, and this journal does not know it */
function refuseMarked(state: State, link: Link | undefined): void {
  for (const { name, kind, alias } of link === undefined ? [] : state.links.values()) {
    const mark = parseMark(alias);
    if (mark === undefined || mark.link !== link!.name || !isMode(mark.mode) || (kind !== 'tun' && kind !== 'macvtap')) continue;
    const label = mark.label === undefined ? '' : `, with the label '${mark.label}'`;
    throw new PlumbError(`'${link!.name}' is plumbed already, by ${mark.mode} to '${name}'${label}, and this journal does not know it; undo it with the journal that does, or if that is lost, delete '${name}' (inspect() tells what else is left)`, { code: 'ERR_PLUMB_CONFLICT' }); // prettier-ignore
  }
}

// ------------------------------------------------------------------ what the guest is told

async function readResolvConf({ resolvConf }: Asked): Promise<string | undefined> {
  if (resolvConf === undefined) return undefined;
  try {
    return await readFile(resolvConf, 'utf8');
  } catch (error) {
    const { code = 'EIO' } = error as NodeJS.ErrnoException;
    throw new PodtapError(`${code}: plumb: 'resolvConf' cannot be read: '${resolvConf}'`, { code, path: resolvConf, cause: error });
  }
}

function guestFor(
  state: State,
  link: Link,
  told: { asked: Asked; resolv: string | undefined; mac: string; mtu: number; tap: string },
): GuestNetwork {
  const { asked, resolv, mac, mtu, tap } = told;
  const { name, ifindex } = link;
  const of = <T>(kind: Resource['kind']): T[] =>
    [...state.resources.values()].filter((one) => one.kind === kind).map(({ read }) => read as T);
  const addresses = addressesOf(state, ifindex);
  const own = new Set(addresses.map(({ address }) => address.replace(/\/.*/, '')));
  const names = (prefix: string | undefined): boolean => prefix !== undefined && own.has(prefix.replace(/\/.*/, ''));
  const config = {
    name,
    ifindex,
    mac: link.mac,
    mtu: link.mtu,
    addresses,
    // Those that leave by no interface, too: where nothing goes, nothing goes from the guest.
    routes: of<Route>('route').filter((route) => devicesOf(route).some((device) => device === undefined || device === ifindex)),
    rules: of<Rule>('rule').filter(({ iif, oif, from, to }) => iif === name || oif === name || names(from) || names(to)),
    neighbors: state.neighbors.filter((one) => one.ifindex === ifindex),
  };
  return guestOf(config, {
    tap,
    mac,
    mtu,
    ...(resolv !== undefined && { dns: parseResolvConf(resolv) }),
    ...(asked.hostname !== undefined && { hostname: asked.hostname }),
  });
}

// ------------------------------------------------------------------ what is there already

/** The plumbing that is meant, if it is there, and as it was asked for. What was interrupted in this namespace is undone. */
async function existing(member: Member, settings: Settings): Promise<Plumbing | undefined> {
  const { journal, netns } = member;
  if (journal === undefined || netns.id.cookie === undefined) return undefined;
  const { asked, ifPlumbed } = settings;
  const { entries } = await journal.entries({ cookie: netns.id.cookie });
  const standing = await standingOf(journal, entries);
  // What stays of a transaction is undone with all the rest of it.
  const inOrder = [...entries].sort((a, b) => Number(recordOf(a).kept !== undefined) - Number(recordOf(b).kept !== undefined));
  const undone = new Set<string>();
  for (const entry of inOrder) {
    const { main, kept } = recordOf(entry);
    const { joins } = recordOf(entry);
    // A step that was interrupted goes with what it joins, where that goes.
    if (joins !== undefined && entries.some((one) => one.id === joins && standing(one) === 'unfinished')) continue;
    if (entry.id === member.entry?.id || main === (member.entry?.id ?? '') || undone.has(main ?? '')) continue;
    const how = standing(entry);
    const record = plumbRecord(kept);
    if (how === 'over') await journal.remove(entry);
    else if (how === 'unfinished') {
      await undoHeld(journal, [entry], netns);
      undone.add(entry.id);
    } else if (record !== undefined && isMeant(record, asked)) {
      // What a monitor had open is no more: that one is over, and this is another.
      if (faultsOf(record.wiring, await snapshot(netns, faultParts(record.wiring))).some(({ code }) => code.endsWith('_GONE'))) {
        await undoHeld(journal, [entry], netns);
        continue;
      }
      const differences = differencesOf(record, settings);
      if (ifPlumbed === 'same' && differences.length === 0) return new Plumbing(netns, record, { journal, entry }, false);
      const why = differences.length === 0 ? "and ifPlumbed is 'error'" : `with other options: ${differences.join('; ')}`;
      throw new PlumbError(`'${record.wiring.link.name}' is plumbed already, ${why}; undo that one first`, { code: 'ERR_PLUMB_CONFLICT' });
    }
  }
  return undefined;
}

function isMeant({ wiring, asked: then }: PlumbRecord, { link, label }: Asked): boolean {
  if (link !== undefined) return link === wiring.link.name || link === wiring.link.ifindex;
  return label === undefined || then.label === undefined || label === then.label;
}

/** What was left to podtap then or is now makes no difference. */
function differencesOf({ wiring, asked: then, localhost }: PlumbRecord, { asked: now, auto }: Settings): string[] {
  const differences: string[] = [];
  const look = (name: string, was: unknown, is: unknown): void => {
    if (is !== undefined && inspect(was) !== inspect(is)) differences.push(`${name} was ${inspect(was)}, and now is ${inspect(is)}`);
  };
  if (!auto) look('mode', then.mode, now.mode);
  for (const name of ['guestMac', 'antiSpoof', 'label', 'resolvConf', 'hostname', 'filters', 'macvtap'] as const)
    look(name, then[name], now[name]);
  if (now.localhost !== undefined) look('localhost', localhost?.asked, { ...localhost?.asked, ...now.localhost });
  if (now.gateway !== undefined) look('gateway', then.gateway ?? 'keep', now.gateway);
  look('tap.name', wiring.tap.name, now.tap.name);
  for (const name of ['attach', 'persist', 'queues', 'vnetHdr', 'offload', 'owner', 'group', 'mac', 'mtu', 'ifindex'] as const) look(`tap.${name}`, then.tap[name], now.tap[name]); // prettier-ignore
  return differences;
}
