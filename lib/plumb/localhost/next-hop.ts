// For a gateway that stands in for another: which one, and the MAC of the real one, asked for while the pod can still ask, and again later:
// a router is replaced, or its address moves to another one, and the guest, which does not know it, cannot find that out.
import { setTimeout as delay } from 'node:timers/promises';
import { PlumbError } from '../../errors.js';
import { announce } from '../../kernel/announce.js';
import { askArp } from '../../kernel/arp.js';
import { EchoSocket } from '../../kernel/echo.js';
import type { Netns } from '../../kernel/netns.js';
import { type Substitute, substituteFor } from '../../localhost/gateway.js';
import { occupiedPrefixes } from '../../localhost/plan.js';
import { type State, snapshot } from '../../state/snapshot.js';
import { RT_TABLE_MAIN } from '../../wire/constants.js';
import type { Link } from '../../wire/link.js';
import type { Route } from '../../wire/route.js';
import type { Neighbor } from '../../wire/neighbor.js';
import { addressesOf } from '../link.js';
import type { Asked } from '../options.js';
import type { PlumbRecord } from '../record.js';

export interface NextHop {
  readonly substitute: Substitute;
  /** undefined: the pod has no gateway. */
  readonly mac: string | undefined;
}

/** undefined: none is asked for, or needed. @throws PlumbError ERR_PLUMB_NO_GATEWAY: it does not answer */
export async function nextHop(netns: Netns, state: State, link: Link, { gateway: wanted }: Asked): Promise<NextHop | undefined> {
  if (wanted !== 'substitute') return undefined;
  const address = addressesOf(state, link.ifindex).find((one) => !one.address.includes(':') && one.scope !== 'link')?.address;
  if (address === undefined) return undefined; // IPv6 routers have addresses on every link
  const gateway = gatewayOf(state, link);
  const known = new Set(occupiedPrefixes(state).map((text) => text.replace(/\/32$/, '')));
  const substitute = substituteFor(address, gateway, known);
  if (substitute === undefined) return undefined;
  return {
    substitute,
    mac: gateway === undefined ? undefined : await resolve(netns, link, gateway, neighborOf(state, link.ifindex, gateway)?.mac),
  };
}

function gatewayOf(state: State, { ifindex }: Link): string | undefined {
  const routes = [...state.resources.values()]
    .filter(({ kind }) => kind === 'route')
    .map(({ value }) => value as unknown as Route)
    .filter(
      ({ dst, table = RT_TABLE_MAIN, dev, via }) =>
        dst === '0.0.0.0/0' && table === RT_TABLE_MAIN && dev === ifindex && via !== undefined && !via.includes(':'),
    ) // prettier-ignore
    .sort((a, b) => (a.metric ?? 0) - (b.metric ?? 0));
  return routes[0]?.via;
}

/** Milliseconds: the kernel asks three times, a second apart. */
const LONGEST = 4000;
const AGAIN = 20;

async function resolve(netns: Netns, { name, ifindex }: Link, gateway: string, known: string | undefined): Promise<string> {
  if (known !== undefined) return known;
  // Whether it is answered makes no difference: for it, the kernel finds out the MAC.
  const socket = await EchoSocket.open(netns, gateway);
  try {
    for (let waited = 0; waited < LONGEST; waited += AGAIN) {
      if (waited % 1000 === 0) await socket.exchange(1, new Uint8Array(8), 1);
      const mac = neighborOf(await snapshot(netns, new Set(['neighbor'])), ifindex, gateway)?.mac;
      if (mac !== undefined) return mac;
      await delay(AGAIN);
    }
  } finally {
    socket.close();
  }
  throw new PlumbError(`the gateway ${gateway} of '${name}' does not answer ARP: its MAC must be known for a gateway in its place`, { code: 'ERR_PLUMB_NO_GATEWAY', transient: true }); // prettier-ignore
}

/** As the pod's neighbour table has it, if it is of use. */
function neighborOf(state: State, link: number, address: string): Neighbor | undefined {
  return state.neighbors.find((one) => one.ifindex === link && one.address === address && one.mac !== '' && !['failed', 'incomplete', 'noarp'].includes(one.state)); // prettier-ignore
}

// ------------------------------------------------------------------ once it stands in for it

/** Milliseconds for an answer: proxies wait up to 800 before they give theirs (arp(7), proxy_delay). */
const PATIENCE = 1500;
/** While others wait. */
const SOON = 300;

interface Real {
  readonly address: string;
  /** As the guests are told. */
  readonly mac: string;
}

/** undefined: nothing stands in for a router, or for none. */
function realOf({ guest, localhost }: PlumbRecord): Real | undefined {
  const address = guest.substituted?.gateway.instead;
  const mac = localhost?.config.gateway?.mac;
  return address === undefined || mac === undefined || address.includes(':') ? undefined : { address, mac };
}

/**
 * Its MAC now; undefined: nobody says. What somebody has fixed in the pod's neighbour table holds. Else it is asked for on the wire in the guest's
 * name, as the pod's own table may be old, and has nothing where the pod has no address.
 */
export async function nextHopNow(netns: Netns, record: PlumbRecord, patience: number = PATIENCE): Promise<string | undefined> {
  const real = realOf(record);
  if (real === undefined) return undefined;
  const { wiring, localhost } = record;
  const fixed = await neighborNow(netns, record, real);
  if (fixed?.state === 'permanent') return fixed.mac;
  const question = { address: real.address, sender: { mac: wiring.guestMac, address: localhost!.config.addresses[0]! } };
  const answers = await askArp(netns, wiring.link.ifindex, question, patience).catch((): readonly string[] => []); // the interface is gone, which is told elsewhere
  return answers.includes(real.mac) ? real.mac : answers[0];
}

async function neighborNow(netns: Netns, { wiring }: PlumbRecord, { address }: Real): Promise<Neighbor | undefined> {
  return neighborOf(await snapshot(netns, new Set(['neighbor'])), wiring.link.ifindex, address);
}

/** Milliseconds. The kernel takes what it knows of a neighbour for certain for about 30 s, and then asks when it needs it. */
const SELDOM = 5000;
/** Where the pod's stack has heard of another MAC. */
const OFTEN = 1000;

/** For whoever looks again and again: asks now and then, and soon when the pod's stack knows another MAC. */
export class NextHopWatch {
  #asked = -Infinity;
  #mac: string | undefined;

  async now(netns: Netns, record: PlumbRecord): Promise<string | undefined> {
    const real = realOf(record);
    if (real === undefined) return undefined;
    const since = performance.now() - this.#asked;
    if (since < OFTEN) return this.#mac;
    if (since < SELDOM) {
      const known = (await neighborNow(netns, record, real))?.mac;
      if (known === undefined || known === real.mac) return this.#mac;
    }
    this.#mac = await nextHopNow(netns, record, SOON);
    this.#asked = performance.now();
    return this.#mac;
  }
}

/** Whether `NextHopWatch` has something to ask. */
export function hasNextHop(record: PlumbRecord): boolean {
  return realOf(record) !== undefined;
}

/** Guests have asked for their gateway already, and go on by what they were answered, some for minutes: they are told. */
export async function announceGateway(netns: Netns, { wiring, localhost, guests = [] }: PlumbRecord): Promise<void> {
  const { address, mac } = localhost!.config.gateway!;
  // One that nobody holds hears nothing, and will ask.
  for (const { tap } of [wiring, ...guests.map((one) => one.wiring)]) await announce(netns, tap.ifindex, mac, [address]).catch(() => undefined); // prettier-ignore
}
