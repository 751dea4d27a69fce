// RTM_NEWRULE and kin: struct fib_rule_hdr and FRA_* of uapi/linux/fib_rules.h.
import { type Unknown, be32, be64, ip, named, string, struct, table, u16, u32, u8, unread } from './attribute.js';
import type { Bytes } from './bytes.js';
import { AF_INET, AF_INET6, RT_TABLE_MAIN, ipProtocols, protocols } from './constants.js';
import { type Message, decodeAttributes, decodeHeader, encodeMessage, messageFamily } from './message.js';
import { Naming, flagBits, flagNames } from './names.js';
import { defaultPrefix, familyOf, parsePrefix } from './prefix.js';

export const RTM_NEWRULE = 32;
export const RTM_DELRULE = 33;
export const RTM_GETRULE = 34;

const portRange = struct([
  ['start', u16],
  ['end', u16],
]);

export const ruleFamily = messageFamily(
  [
    ['family', u8],
    ['dst_len', u8],
    ['src_len', u8],
    ['tos', u8],
    ['table', u8],
    ['res1', u8],
    ['res2', u8],
    ['action', u8],
    ['flags', u32],
  ],
  table('FRA', {
    dst: [1, ip],
    src: [2, ip],
    iifname: [3, string],
    goto: [4, u32],
    priority: [6, u32],
    fwmark: [10, u32],
    flow: [11, u32],
    tun_id: [12, be64],
    suppress_ifgroup: [13, u32],
    suppress_prefixlen: [14, u32],
    table: [15, u32],
    fwmask: [16, u32],
    oifname: [17, string],
    pad: [18, unread],
    l3mdev: [19, u8],
    uid_range: [
      20,
      struct([
        ['start', u32],
        ['end', u32],
      ]),
    ],
    protocol: [21, named(u8, protocols)],
    ip_proto: [22, named(u8, ipProtocols)],
    sport_range: [23, portRange],
    dport_range: [24, portRange],
    dscp: [25, u8], // since 6.12
    flowlabel: [26, be32], // since 6.14, as its mask
    flowlabel_mask: [27, be32],
    sport_mask: [28, u16], // since 6.15, as the next two
    dport_mask: [29, u16],
    dscp_mask: [30, u8],
  }),
);

/** FR_ACT_*; 'table' is FR_ACT_TO_TBL. */
export const ruleActions = new Naming('rule action', { unspec: 0, table: 1, goto: 2, nop: 3, blackhole: 6, unreachable: 7, prohibit: 8 });

/** AF_INET, AF_INET6, RTNL_FAMILY_IPMR, RTNL_FAMILY_IP6MR: a dump of AF_UNSPEC has them all. */
const families = new Naming('family', { ipv4: AF_INET, ipv6: AF_INET6, ipmr: 128, ip6mr: 129 });

const FIB_RULE_INVERT = 0x02;
/** FIB_RULE_*. 'unresolved': the target of a goto is missing; 'iif_detached', 'oif_detached': the interface is. */
const ruleFlags = { permanent: 0x01, unresolved: 0x04, iif_detached: 0x08, oif_detached: 0x10, find_saddr: 0x10000 } as const;
/** What the kernel finds out itself. */
const FOUND = ruleFlags.unresolved | ruleFlags.iif_detached | ruleFlags.oif_detached;

/** "Not set": -1, which the kernel sends with every rule. */
const NONE = 0xffffffff;

export interface Range {
  readonly start: number;
  readonly end: number;
}

/** A rule of policy routing. */
export interface Rule {
  readonly object?: 'rule';
  /** 'ipv4', 'ipv6'; 'ipmr' and 'ip6mr' of multicast routing. Absent in a request: that of the addresses in it; without any IPv4. */
  readonly family?: string;
  readonly priority: number;
  /** Everything it says must hold, or, with this, must not. */
  readonly not?: boolean;
  /** CIDR; absent: any. */
  readonly from?: string;
  readonly to?: string;
  readonly iif?: string;
  readonly oif?: string;
  readonly mark?: number;
  /** Which bits of the mark count; absent: all. */
  readonly markMask?: number;
  /** The DS field, IPv4's TOS (without ECN); `dscp` is its upper six bits (since 6.12). */
  readonly tos?: number;
  readonly dscp?: number;
  /** Masks of dscp and ports; absent: all bits. A flow label comes with its mask. */
  readonly dscpMask?: number;
  readonly flowLabel?: number;
  readonly flowLabelMask?: number;
  /** 'tcp', 'udp', 'icmp', 'icmpv6', 'sctp', ..., or a number. */
  readonly ipProtocol?: string;
  readonly sport?: Range;
  readonly sportMask?: number;
  readonly dport?: Range;
  readonly dportMask?: number;
  readonly uidRange?: Range;
  readonly tunnelId?: bigint;
  /** The table comes from the VRF of the interface. */
  readonly l3mdev?: boolean;
  /** 'table' (default), 'goto', 'nop', 'blackhole', 'unreachable', 'prohibit'. */
  readonly action?: string;
  /** Absent in a request: main, where the action is 'table'. */
  readonly table?: number;
  /** The priority to go on at. */
  readonly goto?: number;
  /** A route with a prefix of this length or shorter does not count. */
  readonly suppressPrefixLength?: number;
  /** A route through an interface of this group does not count. */
  readonly suppressIfGroup?: number;
  /** Realms. */
  readonly flow?: number;
  /** Who made it: 'kernel', 'static', ..., as for routes. Absent in a request: unspec. */
  readonly protocol?: string;
  /** 'permanent' (cannot be deleted), 'unresolved', 'iif_detached', 'oif_detached', 'find_saddr'. */
  readonly flags?: readonly string[];
  readonly unknown?: readonly Unknown[];
}

/** A rule to be added or deleted. Without a priority the kernel takes one before the lowest, or deletes the first that fits. */
export type RuleRequest = Omit<Rule, 'priority'> & { readonly priority?: number };

export function decodeRule(from: Bytes, message: Message): Rule {
  const header = decodeHeader(ruleFamily, from, message);
  const attributes = decodeAttributes(ruleFamily, from, message);
  const { priority, dst, src, iifname, oifname, fwmark, fwmask, suppress_prefixlen, suppress_ifgroup, l3mdev } = attributes;
  const { goto, flow, tun_id, uid_range, protocol, ip_proto, sport_range, dport_range } = attributes;
  const { dscp, dscp_mask, flowlabel, flowlabel_mask, sport_mask, dport_mask, unknown } = attributes;
  const routeTable = attributes.table ?? header.table;
  const flags = header.flags & ~FIB_RULE_INVERT;
  const any = defaultPrefix(header.family).slice(0, -2);
  return {
    object: 'rule',
    family: families.name(header.family),
    priority: priority ?? 0, // 0 is not sent
    ...((header.flags & FIB_RULE_INVERT) !== 0 && { not: true }),
    ...((src !== undefined || header.src_len !== 0) && { from: `${src ?? any}/${header.src_len}` }),
    ...((dst !== undefined || header.dst_len !== 0) && { to: `${dst ?? any}/${header.dst_len}` }),
    ...(iifname !== undefined && { iif: iifname }),
    ...(oifname !== undefined && { oif: oifname }),
    // A mask alone, that is, of mark 0, has no FRA_FWMARK.
    ...((fwmark !== undefined || fwmask !== undefined) && { mark: fwmark ?? 0 }),
    ...(fwmask !== undefined && fwmask !== NONE && { markMask: fwmask }),
    ...(header.tos !== 0 && { tos: header.tos }),
    ...(dscp !== undefined && { dscp }),
    ...(dscp_mask !== undefined && dscp_mask !== 0x3f && { dscpMask: dscp_mask }),
    ...(flowlabel !== undefined && { flowLabel: flowlabel }),
    ...(flowlabel_mask !== undefined && { flowLabelMask: flowlabel_mask }),
    ...(ip_proto !== undefined && { ipProtocol: ip_proto }),
    ...(sport_range !== undefined && { sport: sport_range }),
    ...(sport_mask !== undefined && sport_mask !== 0xffff && { sportMask: sport_mask }),
    ...(dport_range !== undefined && { dport: dport_range }),
    ...(dport_mask !== undefined && dport_mask !== 0xffff && { dportMask: dport_mask }),
    ...(uid_range !== undefined && { uidRange: uid_range }),
    ...(tun_id !== undefined && { tunnelId: tun_id }),
    ...(l3mdev !== undefined && l3mdev !== 0 && { l3mdev: true }),
    action: ruleActions.name(header.action),
    ...(routeTable !== 0 && { table: routeTable }),
    ...(goto !== undefined && { goto }),
    ...(suppress_prefixlen !== undefined && suppress_prefixlen !== NONE && { suppressPrefixLength: suppress_prefixlen }),
    ...(suppress_ifgroup !== undefined && suppress_ifgroup !== NONE && { suppressIfGroup: suppress_ifgroup }),
    ...(flow !== undefined && { flow }),
    ...(protocol !== undefined && { protocol }),
    ...(flags !== 0 && { flags: flagNames(ruleFlags, flags) }),
    ...(unknown !== undefined && { unknown }),
  };
}

/** `type` is RTM_NEWRULE or RTM_DELRULE. Adding a rule twice makes two, without NLM_F_EXCL. */
export function encodeRule(type: number, flags: number, rule: RuleRequest): Uint8Array {
  const family = rule.family === undefined ? (familyOf(rule.from) ?? familyOf(rule.to) ?? AF_INET) : families.number(rule.family);
  const from = rule.from === undefined ? undefined : parsePrefix(rule.from, family);
  const to = rule.to === undefined ? undefined : parsePrefix(rule.to, family);
  const added = type === RTM_NEWRULE;
  const action = rule.action === undefined ? defaultAction(added, rule) : ruleActions.number(rule.action);
  const routeTable = rule.table ?? (added && action === ruleActions.numbers.table && rule.l3mdev !== true ? RT_TABLE_MAIN : 0);
  return encodeMessage(
    ruleFamily,
    type,
    flags,
    {
      family,
      dst_len: to?.length ?? 0,
      src_len: from?.length ?? 0,
      tos: rule.tos ?? 0,
      table: routeTable < 256 ? routeTable : 0,
      action,
      flags: (flagBits(ruleFlags, rule.flags ?? []) & ~FOUND) | (rule.not === true ? FIB_RULE_INVERT : 0),
    },
    {
      dst: to?.address,
      src: from?.address,
      iifname: rule.iif,
      oifname: rule.oif,
      goto: rule.goto,
      priority: rule.priority,
      fwmark: rule.mark,
      fwmask: rule.markMask,
      flow: rule.flow,
      tun_id: rule.tunnelId,
      suppress_ifgroup: rule.suppressIfGroup,
      suppress_prefixlen: rule.suppressPrefixLength,
      table: routeTable < 256 ? undefined : routeTable,
      l3mdev: rule.l3mdev === true ? 1 : undefined,
      uid_range: rule.uidRange,
      protocol: rule.protocol,
      ip_proto: rule.ipProtocol,
      sport_range: rule.sport,
      dport_range: rule.dport,
      dscp: rule.dscp,
      flowlabel: rule.flowLabel,
      flowlabel_mask: rule.flowLabelMask,
      sport_mask: rule.sportMask,
      dport_mask: rule.dportMask,
      dscp_mask: rule.dscpMask,
      unknown: rule.unknown,
    },
  );
}

function defaultAction(added: boolean, rule: RuleRequest): number {
  if (rule.goto !== undefined) return ruleActions.numbers.goto;
  return added ? ruleActions.numbers.table : ruleActions.numbers.unspec; // of a rule to delete: any
}

/** A dump of RTM_GETRULE; AF_UNSPEC for both families. */
export function encodeRuleDump(flags: number, family: number): Uint8Array {
  return encodeMessage(ruleFamily, RTM_GETRULE, flags, { family }, {});
}
