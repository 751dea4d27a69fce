// The TAP that shall be made: what it is called, and what others have of that name.
import { randomBytes } from '../random.js';
import type { Netns } from '../kernel/netns.js';
import { Tap, type TapHolder, placeIn } from '../kernel/tap.js';
import { PlumbError } from '../errors.js';
import type { State } from '../state/snapshot.js';
import { formatMac } from '../wire/text.js';
import { freeName } from './datapath/datapath.js';

/** @throws PlumbError ERR_PLUMB_TAP_BUSY, _CONFLICT */
export async function tapName(netns: Netns, state: State, wanted: string | undefined, prefix: string): Promise<string> {
  if (wanted === undefined) return freeName(state, prefix);
  const there = state.link(wanted);
  if (there === undefined) return wanted;
  const { name, ifindex, mac, mtu, kind } = there;
  const tap = new Tap(placeIn(netns), { ifindex, mac, mtu }, { name, queues: 1, vnetHdr: false, offload: {} }, []);
  throw busyTap(name, kind === 'tun' ? await tap.holders() : []);
}

/** Locally administered, and of all such MACs the highest: a bridge takes the lowest of its ports'. */
export function freshTapMac(): string {
  const bytes = randomBytes(6);
  bytes[0] = 0xfe;
  return formatMac(bytes, 0, 6);
}

function busyTap(name: string, holders: readonly TapHolder[]): PlumbError {
  const who = holders.map(({ pid, command }) => `${command} (${pid})`).join(', ');
  const code = holders.length > 0 ? 'ERR_PLUMB_TAP_BUSY' : 'ERR_PLUMB_CONFLICT';
  const said = holders.length > 0 ? `the TAP '${name}' is there already, and held by ${who}` : `there is an interface '${name}' already, and it is none of podtap's`; // prettier-ignore
  return new PlumbError(`${said}; choose another name, or delete it`, { code, holders, transient: holders.length > 0 });
}
