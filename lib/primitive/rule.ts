import { check, family as familySchema, optional, options } from '../check.js';
import { deleted, run } from '../operation/run.js';
import { NLM_F_DUMP } from '../wire/message.js';
import { type Rule, type RuleRequest, decodeRule, encodeRuleDump } from '../wire/rule.js';
import type { Family, Scope } from './scope.js';
import { familyNumber, readTable } from './table.js';

/**
 * Lists the routing policy: which table is looked up when.
 *
 * Like `ip rule show`, `ip -6 rule show`. ip-rule(8), RTM_GETRULE.
 */
export async function listRules(scope: Scope, filter: { readonly family?: Family } = {}): Promise<readonly Rule[]> {
  const { family } = check(options({ family: optional(familySchema) }), filter, 'listRules');
  const rules: Rule[] = [];
  for (const one of family === undefined ? (['ipv4', 'ipv6'] as const) : [family])
    rules.push(...(await readTable(scope, encodeRuleDump(NLM_F_DUMP, familyNumber(one)), decodeRule)));
  return rules;
}

/**
 * Adds a rule. Without a `priority` the kernel takes the one before the last; without any address or `family` it is one of IPv4.
 *
 * Like `ip rule add from PREFIX table N`. RTM_NEWRULE.
 * @throws NetlinkError EEXIST: the same rule is there; UnsupportedError: the kernel is too old for `dscp` (6.12), `flowLabel` (6.14) or the
 *   masks of DSCP and ports (6.15), which it would pass over. Nothing is done then
 */
export async function addRule(scope: Scope, rule: RuleRequest): Promise<void> {
  await run(scope, 'addRule', [{ op: 'rule.add', rule }]);
}

/** Deletes the first rule that fits what is given. Like `ip rule delete`. Resolves false where there was none. */
export async function deleteRule(scope: Scope, rule: RuleRequest): Promise<boolean> {
  return deleted(run(scope, 'deleteRule', [{ op: 'rule.delete', rule }]));
}
