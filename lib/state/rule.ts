import type { Rule } from '../wire/rule.js';
import { type Resource, type Value, keys } from './resource.js';
import { canonical } from './value.js';

export function ruleResource(read: Rule): Resource {
  const { object: _, flags: _flags, ...rule } = read;
  const group = `${keys.rule(rule.family ?? 'ipv4')}${rule.priority}`;
  const value = rule as unknown as Value;
  return { kind: 'rule', key: `${group}|${canonical(value)}`, group, read, value };
}
