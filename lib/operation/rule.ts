import * as v from 'valibot';
import { type Schema, boolean, cidr, interfaceName, optional, options, oneOf, sameFamily, u16, u32, u8 } from '../check.js';
import { keys } from '../state/resource.js';
import { ipProtocols, protocols } from '../wire/constants.js';
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL } from '../wire/message.js';
import { RTM_DELRULE, RTM_NEWRULE, type Range, type RuleRequest, encodeRule, ruleActions } from '../wire/rule.js';
import { type OperationKind, asRead, nameOf, netlink, operation, option, realms, words } from './operation.js';

export interface RuleAdd {
  readonly op: 'rule.add';
  readonly rule: RuleRequest;
}
export interface RuleDelete {
  readonly op: 'rule.delete';
  readonly rule: RuleRequest;
}

const range = (of: Schema<number>) => options({ start: of, end: of });

const fields = options({
  object: optional(v.literal('rule')),
  family: optional(oneOf('ipv4', 'ipv6')),
  priority: optional(u32),
  not: optional(boolean),
  from: optional(cidr),
  to: optional(cidr),
  iif: optional(interfaceName),
  oif: optional(interfaceName),
  mark: optional(u32),
  markMask: optional(u32),
  tos: optional(u8),
  dscp: optional(u8),
  dscpMask: optional(u8),
  flowLabel: optional(u32),
  flowLabelMask: optional(u32),
  ipProtocol: optional(nameOf(ipProtocols)),
  sport: optional(range(u16)),
  sportMask: optional(u16),
  dport: optional(range(u16)),
  dportMask: optional(u16),
  uidRange: optional(range(u32)),
  tunnelId: optional(v.bigint('must be a bigint')),
  l3mdev: optional(boolean),
  action: optional(nameOf(ruleActions)),
  table: optional(u32),
  goto: optional(u32),
  suppressPrefixLength: optional(u32),
  suppressIfGroup: optional(u32),
  flow: optional(u32),
  protocol: optional(nameOf(protocols)),
  flags: asRead,
  unknown: asRead,
}) as unknown as Schema<RuleRequest>;
/** What is read from the kernel can be added again as it is. */
export const ruleSchema = sameFamily(fields, ['from', 'family'], ['to', 'family'], ['to', 'from']);

export const ruleAdd: OperationKind<RuleAdd> = {
  schema: operation('rule.add', { rule: ruleSchema }),
  links: () => [],
  requests: ({ rule }) => [netlink(encodeRule(RTM_NEWRULE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, rule))],
  parts: () => ['rule'],
  // Without a priority the kernel takes the next one before those that are there.
  touches: ({ rule }, on) => on.mayAdd(`${keys.rule(familyOf(rule))}${rule.priority ?? ''}`),
  command: ({ rule }) => `${ipOf(rule)} rule add ${ruleWords(rule)}`,
};

export const ruleDelete: OperationKind<RuleDelete> = {
  schema: operation('rule.delete', { rule: ruleSchema }),
  links: () => [],
  requests: ({ rule }) => [netlink(encodeRule(RTM_DELRULE, NLM_F_ACK, rule))],
  parts: () => ['rule'],
  touches: ({ rule }, on) => on.mayGo('rule', ({ key }) => key.startsWith(`${keys.rule(familyOf(rule))}${rule.priority ?? ''}`)),
  command: ({ rule }) => `${ipOf(rule)} rule delete ${ruleWords(rule)}`,
};

function ipOf(rule: RuleRequest): string {
  return familyOf(rule) === 'ipv6' ? 'ip -6' : 'ip';
}

function familyOf({ family, from, to }: RuleRequest): string {
  return family ?? (from?.includes(':') === true || to?.includes(':') === true ? 'ipv6' : 'ipv4');
}

function ruleWords(rule: RuleRequest): string {
  const { priority, mark, markMask, goto, action = goto === undefined ? 'table' : 'goto', table } = rule;
  const masked = (value: string | number | undefined, mask: number | undefined): string | undefined =>
    value === undefined ? undefined : `${value}${mask === undefined ? '' : `/0x${mask.toString(16)}`}`;
  const between = (value: Range | undefined): string | undefined => (value === undefined ? undefined : `${value.start}-${value.end}`);
  return words(
    rule.not === true ? 'not' : undefined,
    'from',
    rule.from ?? 'all',
    ...option('to', rule.to),
    ...option('iif', rule.iif),
    ...option('oif', rule.oif),
    ...option('fwmark', masked(mark === undefined ? undefined : `0x${mark.toString(16)}`, markMask)),
    ...option('tos', rule.tos === undefined ? undefined : `0x${rule.tos.toString(16)}`),
    ...option('ipproto', rule.ipProtocol),
    ...option('dscp', masked(rule.dscp, rule.dscpMask)),
    ...option('flowlabel', masked(rule.flowLabel, rule.flowLabelMask)),
    ...option('sport', rule.sportMask === undefined ? between(rule.sport) : masked(rule.sport?.start, rule.sportMask)),
    ...option('dport', rule.dportMask === undefined ? between(rule.dport) : masked(rule.dport?.start, rule.dportMask)),
    ...option('uidrange', between(rule.uidRange)),
    ...option('tun_id', rule.tunnelId === undefined ? undefined : String(rule.tunnelId)),
    ...option('priority', priority),
    rule.l3mdev === true ? 'l3mdev' : undefined,
    ...option('protocol', rule.protocol),
    ...option('suppress_prefixlength', rule.suppressPrefixLength),
    ...option('suppress_ifgroup', rule.suppressIfGroup),
    ...option('realms', realms(rule.flow)),
    ...(action === 'table'
      ? option('table', table ?? (rule.l3mdev === true ? undefined : 'main'))
      : action === 'goto'
        ? ['goto', goto]
        : [action]),
  );
}
