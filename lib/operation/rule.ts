import * as v from 'valibot';
import { type Schema, boolean, cidr, interfaceName, optional, options, oneOf, sameFamily, u16, u32, u8 } from '../check.js';
import { keys } from '../state/resource.js';
import { UnsupportedError } from '../errors.js';
import type { Bytes } from '../wire/bytes.js';
import { AF_INET, AF_INET6, ipProtocols, protocols } from '../wire/constants.js';
import { type Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_ECHO, NLM_F_EXCL } from '../wire/message.js';
import {
  RTM_DELRULE,
  RTM_NEWRULE,
  type Range,
  type RuleRequest,
  decodeRule,
  encodeRule,
  encodeRuleDump,
  ruleActions,
} from '../wire/rule.js';
import { type DoubtOfMade, type OperationKind, asRead, nameOf, netlink, operation, option, realms, words } from './operation.js';

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

/** FRA_PROTOCOL of rules that stand there for a moment only. No daemon has this number (uapi/linux/rtnetlink.h). */
export const PASSING = '222';

/** Selectors that an older kernel passes over: the rule would match what it should not. By the kernel that knows them first, in uapi/linux/fib_rules.h. */
const since = {
  dscp: '6.12',
  flowLabel: '6.14',
  flowLabelMask: '6.14',
  dscpMask: '6.15',
  sportMask: '6.15',
  dportMask: '6.15',
} as const;
type Late = keyof typeof since;

/** All bits, which is the same as no mask, and is not told. */
const whole: Partial<Record<Late, number>> = { dscpMask: 0x3f, sportMask: 0xffff, dportMask: 0xffff };

function lateIn(rule: RuleRequest): readonly Late[] {
  return (Object.keys(since) as Late[]).filter((name) => rule[name] !== undefined && rule[name] !== whole[name]);
}

/** Whether one that is there has what was asked for. */
function says(there: RuleRequest, asked: RuleRequest, name: Late): boolean {
  return (there[name] ?? whole[name]) === (asked[name] ?? whole[name]);
}

/** Those that this kernel knows, as was found out. */
const known = new Set<Late>();

/**
 * The same selectors in a rule that does nothing: the look-up goes on behind it. By its protocol an undo finds it, should this process be
 * killed before it is deleted.
 */
function tryOut(rule: RuleRequest, late: readonly Late[]): DoubtOfMade {
  const { table: _t, goto: _g, l3mdev: _l, suppressPrefixLength: _p, suppressIfGroup: _i, flow: _f, ...selectors } = rule;
  const like = { ...selectors, action: 'nop', protocol: PASSING };
  const { family, priority } = { family: familyOf(rule), ...rule };
  const gone = { family, action: 'nop', protocol: PASSING, ...(priority !== undefined && { priority }) };
  return {
    trial: [encodeRule(RTM_NEWRULE, NLM_F_ACK | NLM_F_ECHO | NLM_F_CREATE | NLM_F_EXCL, like), encodeRule(RTM_DELRULE, NLM_F_ACK, gone)],
    judge: (from, message) => {
      const told = decodeRule(from, message);
      const wrong = late.filter((name) => !says(told, rule, name));
      if (wrong.length > 0) return passedOver(wrong);
      for (const name of late) known.add(name);
      return undefined;
    },
  };
}

function passedOver(late: readonly Late[]): UnsupportedError {
  const names = late.map((name) => `'${name}'`).join(', ');
  const minimumKernel = late.map((name) => since[name]).sort().at(-1)!; // prettier-ignore
  return new UnsupportedError(
    `this kernel does not know ${names} of rules (since Linux ${minimumKernel}): it would pass over that without a word, and the rule would match more`,
    { feature: `rule ${late.join(', ')}`, minimumKernel },
  );
}

export const ruleAdd: OperationKind<RuleAdd> = {
  schema: operation('rule.add', { rule: ruleSchema }),
  links: () => [],
  requests: ({ rule }) => {
    const flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    const message = encodeRule(RTM_NEWRULE, flags, rule);
    const late = lateIn(rule).filter((name) => !known.has(name));
    return [late.length === 0 ? netlink(message) : netlink(message, tryOut(rule, late))];
  },
  parts: () => ['rule'],
  // Without a priority the kernel takes the next one before those that are there.
  touches: ({ rule }, on) => on.mayAdd(`${keys.rule(familyOf(rule))}${rule.priority ?? ''}`),
  command: ({ rule }) => `${ipOf(rule)} rule add ${ruleWords(rule)}`,
};

export const ruleDelete: OperationKind<RuleDelete> = {
  schema: operation('rule.delete', { rule: ruleSchema }),
  links: () => [],
  requests: ({ rule }) => {
    const late = lateIn(rule);
    const message = encodeRule(RTM_DELRULE, NLM_F_ACK, rule);
    if (late.length === 0) return [netlink(message)];
    const isMeant = (from: Bytes, one: Message): boolean => {
      const there = decodeRule(from, one);
      return late.every((name) => says(there, rule, name));
    };
    return [netlink(message, { dump: encodeRuleDump(NLM_F_DUMP, familyOf(rule) === 'ipv6' ? AF_INET6 : AF_INET), isMeant })];
  },
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
