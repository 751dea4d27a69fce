import { findDevice, Macvtap } from '../kernel/macvtap.js';
import { type HeldQueues, Tap, type TapPlace } from '../kernel/tap.js';
import type { AnyWiring } from './datapath/datapath.js';

/** The guest's wire, of whatever kind. Holds nothing yet, but what is held already. */
export function deviceOf(
  place: TapPlace,
  { mode, tap, tapMac, mtu, shape }: Pick<AnyWiring, 'mode' | 'tap' | 'tapMac' | 'mtu' | 'shape'>,
  held: HeldQueues = [],
): Tap | Macvtap {
  const link = { ifindex: tap.ifindex, mac: tapMac, mtu };
  if (mode !== 'macvtap') return new Tap(place, link, { name: tap.name, ...shape }, held);
  return new Macvtap(place, link, { name: tap.name, ...shape }, () => place.use((netns) => findDevice(netns, tap.name, tap.ifindex)));
}
