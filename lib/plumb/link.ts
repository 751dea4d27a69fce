// Which interface of the pod is meant, and whether it can be plumbed.
import type { LinkRef } from '../check.js';
import { PlumbError } from '../errors.js';
import type { State } from '../state/snapshot.js';
import type { Address } from '../wire/address.js';
import type { Link } from '../wire/link.js';
import { parseMark } from './mark.js';

/** Why an interface cannot be used, after its name in a sentence. */
export type Refusal = (link: Link) => string | undefined;

/** @throws PlumbError ERR_PLUMB_NO_LINK, _NO_ADDRESS, _AMBIGUOUS_LINK, _ENSLAVED, _LINK_KIND, _LINK_DOWN */
export function pickLink(state: State, wanted: LinkRef | undefined, refusal: Refusal): Link {
  const link = wanted === undefined ? onlyOne(state, refusal) : named(state, wanted);
  const why = link.type === 'ether' ? refusal(link) : `carries no Ethernet frames (${link.type})`;
  if (why !== undefined) throw refused('ERR_PLUMB_LINK_KIND', `'${link.name}' ${why}`);
  if (link.master !== undefined) {
    const master = state.links.get(link.master);
    throw refused('ERR_PLUMB_ENSLAVED', `'${link.name}' is a port of ${master === undefined ? 'another interface' : `'${master.name}'`} already; take it out of there, or undo what put it there`); // prettier-ignore
  }
  if (addressesOf(state, link.ifindex).every(({ address }) => !isOfUse(address)))
    throw refused('ERR_PLUMB_NO_ADDRESS', `'${link.name}' has no address that a guest could take over; give it one, or name another interface`); // prettier-ignore
  if (!link.up) throw refused('ERR_PLUMB_LINK_DOWN', `'${link.name}' is down; bring it up first`);
  return link;
}

function named(state: State, wanted: LinkRef): Link {
  const link = state.link(wanted);
  if (link !== undefined) return link;
  const there = [...state.links.values()].map(({ name }) => `'${name}'`).join(', ');
  throw refused('ERR_PLUMB_NO_LINK', `there is no interface ${typeof wanted === 'number' ? `with index ${wanted}` : `'${wanted}'`} in this namespace; there are ${there}`); // prettier-ignore
}

function onlyOne(state: State, refusal: Refusal): Link {
  const others = [...state.links.values()].filter(({ kind, alias }) => kind !== 'loopback' && parseMark(alias) === undefined);
  if (others.length === 0)
    throw refused('ERR_PLUMB_NO_LINK', 'there is no interface but the loopback in this namespace; is it the pod\'s, and has the engine set it up?'); // prettier-ignore
  const addressed = others.filter(({ ifindex }) => addressesOf(state, ifindex).some(({ address }) => isOfUse(address)));
  const candidates = addressed.filter((link) => link.master === undefined && link.type === 'ether' && refusal(link) === undefined);
  const [only] = candidates.length === 0 ? addressed : candidates;
  const names = (links: readonly Link[]): string => links.map(({ name }) => `'${name}'`).join(', ');
  if (only === undefined) throw refused('ERR_PLUMB_NO_ADDRESS', `no interface has an address that a guest could take over; there are ${names(others)}`); // prettier-ignore
  if (candidates.length > 1) throw refused('ERR_PLUMB_AMBIGUOUS_LINK', `several interfaces have addresses: ${names(candidates)}; say which one is meant, as 'link'`); // prettier-ignore
  return only;
}

/** Of an interface, as the kernel told them. */
export function addressesOf(state: State, ifindex: number): readonly Address[] {
  return [...state.resources.values()]
    .filter(({ kind, link }) => kind === 'address' && link === ifindex)
    .map(({ read }) => read as Address);
}

/** A link-local IPv6 address every interface makes for itself. */
function isOfUse(address: string): boolean {
  return !/^fe[89ab][0-9a-f]:/.test(address);
}

function refused(code: string, message: string): PlumbError {
  return new PlumbError(message, { code });
}
