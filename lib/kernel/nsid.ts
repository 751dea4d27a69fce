import { decodeNsid, encodeNsidGet } from '../wire/nsid.js';
import { request } from './netlink.js';
import { type Netns, type Scope, attachment, netnsNumber } from './netns.js';

/**
 * By which numbers one namespace knows others: what `netnsid` says of the other end of a veth. What it does not know by any is left out.
 * Like `ip netns list-id`. RTM_GETNSID, in one trip.
 */
export async function namespaceNumbers(scope: Scope, others: readonly Netns[]): Promise<ReadonlyMap<number, Netns>> {
  const answers = await request(
    attachment(scope).socket,
    others.map((other) => encodeNsidGet(netnsNumber(other))),
  );
  const found = new Map<number, Netns>();
  answers.forEach(({ from, messages }, index) => {
    const number = messages[0] === undefined ? undefined : decodeNsid(from, messages[0]);
    if (number !== undefined) found.set(number, others[index]!);
  });
  return found;
}
