// What each nlmsg_type of NETLINK_ROUTE is called, and what stands in it (uapi/linux/rtnetlink.h). For errors and the debug print:
// who decodes a reply knows what it asked for.
import { addressFamily } from './address.js';
import { connectionFamily } from './conntrack.js';
import { AF_BRIDGE } from './constants.js';
import { bridgePortFamily, linkFamily, linkRequestFamily } from './link.js';
import { type AnyFamily, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN, NLM_F_REQUEST } from './message.js';
import { neighborFamily } from './neighbor.js';
import { nsidFamily } from './nsid.js';
import { routeFamily } from './route.js';
import { chainFamily, elementsFamily, generationFamily, ruleFamily as nftRuleFamily, setFamily, tableFamily } from './nft/message.js';
import { ruleFamily } from './rule.js';
import { filterFamily, qdiscFamily } from './tc.js';

export interface MessageKind {
  readonly name: string;
  /** Absent: this version knows the name only. */
  readonly family?: AnyFamily;
  /** Of requests, where these differ. */
  readonly request?: AnyFamily;
  /** Of AF_BRIDGE, where it differs. */
  readonly bridge?: AnyFamily;
}

const link = { family: linkFamily, request: linkRequestFamily, bridge: bridgePortFamily } as unknown as Omit<MessageKind, 'name'>;
const address = { family: addressFamily as unknown as AnyFamily };
const nsid = { family: nsidFamily as unknown as AnyFamily };
const route = { family: routeFamily as unknown as AnyFamily };
const neighbor = { family: neighborFamily as unknown as AnyFamily };
const qdisc = { family: qdiscFamily as unknown as AnyFamily };
const filter = { family: filterFamily as unknown as AnyFamily };
const rule = { family: ruleFamily as unknown as AnyFamily };

/** Three types each. */
function nftables(kinds: Readonly<Record<string, unknown>>): Record<number, MessageKind> {
  const types = Object.entries(kinds).flatMap(([name, family], index) =>
    ['NEW', 'GET', 'DEL'].map(
      (verb, at) => [0x0a00 + 3 * index + at, { name: `NFT_MSG_${verb}${name}`, family: family as AnyFamily }] as const,
    ),
  );
  return Object.fromEntries(types);
}

export const messageKinds: Readonly<Record<number, MessageKind>> = {
  1: { name: 'NLMSG_NOOP' },
  [NLMSG_ERROR]: { name: 'NLMSG_ERROR' },
  [NLMSG_DONE]: { name: 'NLMSG_DONE' },
  [NLMSG_OVERRUN]: { name: 'NLMSG_OVERRUN' },
  16: { name: 'RTM_NEWLINK', ...link },
  17: { name: 'RTM_DELLINK', ...link },
  18: { name: 'RTM_GETLINK', ...link },
  19: { name: 'RTM_SETLINK', ...link },
  20: { name: 'RTM_NEWADDR', ...address },
  21: { name: 'RTM_DELADDR', ...address },
  22: { name: 'RTM_GETADDR', ...address },
  24: { name: 'RTM_NEWROUTE', ...route },
  25: { name: 'RTM_DELROUTE', ...route },
  26: { name: 'RTM_GETROUTE', ...route },
  28: { name: 'RTM_NEWNEIGH', ...neighbor },
  29: { name: 'RTM_DELNEIGH', ...neighbor },
  30: { name: 'RTM_GETNEIGH', ...neighbor },
  32: { name: 'RTM_NEWRULE', ...rule },
  33: { name: 'RTM_DELRULE', ...rule },
  34: { name: 'RTM_GETRULE', ...rule },
  36: { name: 'RTM_NEWQDISC', ...qdisc },
  37: { name: 'RTM_DELQDISC', ...qdisc },
  38: { name: 'RTM_GETQDISC', ...qdisc },
  40: { name: 'RTM_NEWTCLASS', ...qdisc },
  41: { name: 'RTM_DELTCLASS', ...qdisc },
  42: { name: 'RTM_GETTCLASS', ...qdisc },
  44: { name: 'RTM_NEWTFILTER', ...filter },
  45: { name: 'RTM_DELTFILTER', ...filter },
  46: { name: 'RTM_GETTFILTER', ...filter },
  52: { name: 'RTM_NEWPREFIX' },
  68: { name: 'RTM_NEWNDUSEROPT' },
  80: { name: 'RTM_NEWNETCONF' },
  81: { name: 'RTM_DELNETCONF' },
  82: { name: 'RTM_GETNETCONF' },
  84: { name: 'RTM_NEWMDB' },
  85: { name: 'RTM_DELMDB' },
  86: { name: 'RTM_GETMDB' },
  88: { name: 'RTM_NEWNSID', ...nsid },
  89: { name: 'RTM_DELNSID', ...nsid },
  90: { name: 'RTM_GETNSID', ...nsid },
  100: { name: 'RTM_NEWCHAIN', ...filter },
  101: { name: 'RTM_DELCHAIN', ...filter },
  102: { name: 'RTM_GETCHAIN', ...filter },
  104: { name: 'RTM_NEWNEXTHOP' },
  105: { name: 'RTM_DELNEXTHOP' },
  106: { name: 'RTM_GETNEXTHOP' },
  108: { name: 'RTM_NEWLINKPROP', ...link },
  109: { name: 'RTM_DELLINKPROP', ...link },
  // NETLINK_NETFILTER: the number of the subsystem, ctnetlink or nf_tables, in the upper byte. The two that begin and end a batch have numbers of
  // rtnetlink's (16, 17).
  0x0100: { name: 'IPCTNL_MSG_CT_NEW', family: connectionFamily },
  0x0101: { name: 'IPCTNL_MSG_CT_GET', family: connectionFamily },
  ...nftables({ TABLE: tableFamily, CHAIN: chainFamily, RULE: nftRuleFamily, SET: setFamily, SETELEM: elementsFamily }),
  0x0a0f: { name: 'NFT_MSG_NEWGEN', family: generationFamily },
  0x0a10: { name: 'NFT_MSG_GETGEN', family: generationFamily },
};

/** 'RTM_NEWLINK'; a number without a name: 'RTM_120'. */
export function typeName(type: number): string {
  return Object.hasOwn(messageKinds, type) ? messageKinds[type]!.name : `RTM_${type}`;
}

/** The formats of one message, by its type, its flags (is it a request?) and the first byte of its body, the address family. */
export function messageFamilyOf(type: number, flags: number, addressFamily: number): AnyFamily | undefined {
  if (!Object.hasOwn(messageKinds, type)) return undefined;
  const { family, request, bridge } = messageKinds[type]!;
  if (addressFamily === AF_BRIDGE && bridge !== undefined) return bridge;
  return (flags & NLM_F_REQUEST) !== 0 && request !== undefined ? request : family;
}
