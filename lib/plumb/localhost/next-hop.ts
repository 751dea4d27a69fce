// For a gateway that stands in for another: which one, and the MAC of the real one, asked for while the pod can still ask.
import { setTimeout as delay } from 'node:timers/promises';
import { PlumbError } from '../../errors.js';
import { EchoSocket } from '../../kernel/echo.js';
import type { Netns } from '../../kernel/netns.js';
import { type Substitute, substituteFor } from '../../localhost/gateway.js';
import { occupiedPrefixes } from '../../localhost/plan.js';
import { type State, snapshot } from '../../state/snapshot.js';
import { RT_TABLE_MAIN } from '../../wire/constants.js';
import type { Link } from '../../wire/link.js';
import type { Route } from '../../wire/route.js';
import { addressesOf } from '../link.js';
import { macOf } from './localhost.js';
import type { Asked } from '../options.js';

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
  return { substitute, mac: gateway === undefined ? undefined : await resolve(netns, link, gateway, macOf(state, link.ifindex, gateway)) };
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
      const mac = macOf(await snapshot(netns, new Set(['neighbor'])), ifindex, gateway);
      if (mac !== undefined) return mac;
      await delay(AGAIN);
    }
  } finally {
    socket.close();
  }
  throw new PlumbError(`the gateway ${gateway} of '${name}' does not answer ARP: its MAC must be known for a gateway in its place`, { code: 'ERR_PLUMB_NO_GATEWAY', transient: true }); // prettier-ignore
}
