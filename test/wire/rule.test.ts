// Rules. The samples are a kernel's (6.18).
import { deepStrictEqual } from 'node:assert';
import fc from 'fast-check';
import t from 'tap';
import { AF_INET6 } from '../../lib/wire/constants.js';
import { NLM_F_DUMP } from '../../lib/wire/message.js';
import { RTM_DELRULE, RTM_NEWRULE, type Rule, type RuleRequest, decodeRule, encodeRule, encodeRuleDump } from '../../lib/wire/rule.js';
import { hex, one, losses } from './messages.js';

const local = '3400000020000200000000000000000002000000ff0000010000000008000f00ff00000008000e00ffffffff0500150002000000';
// ip rule add not from 10.0.0.0/8 fwmark 1/0xff iif v priority 100 table 300
const full =
  '5c00000020000200000000000000000002000800fc0000010200000008000f002c01000008000e00ffffffff05001500000000000600030076000000080006006400000008000a000100000008001000ff000000080002000a000000';

await t.test('what a kernel sends', async (t) => {
  t.strictSame(one(local, decodeRule), { object: 'rule', family: 'ipv4', priority: 0, action: 'table', table: 255, protocol: 'kernel' });
  t.strictSame(one(full, decodeRule), {
    object: 'rule',
    family: 'ipv4',
    priority: 100,
    not: true,
    from: '10.0.0.0/8',
    iif: 'v',
    mark: 1,
    markMask: 255,
    action: 'table',
    table: 300,
    protocol: 'unspec',
  });
});

await t.test('requests', async (t) => {
  const sent = (rule: RuleRequest, type = RTM_NEWRULE): Rule => one(encodeRule(type, 0, rule), decodeRule);
  t.strictSame(sent({ from: 'fd00::/8', priority: 9, goto: 100 }), {
    object: 'rule',
    family: 'ipv6',
    priority: 9,
    from: 'fd00::/8',
    action: 'goto',
    goto: 100,
  });
  t.match(sent({ priority: 1 }), { family: 'ipv4', action: 'table', table: 254 });
  t.match(sent({ priority: 1 }, RTM_DELRULE), { action: 'unspec', table: undefined }, 'deletes whatever fits');
  t.match(sent({ l3mdev: true, priority: 1000 }), { l3mdev: true, action: 'table', table: undefined });
  t.match(sent({ action: 'prohibit' }), { action: 'prohibit', table: undefined });
  t.notOk(sent({ priority: 1, flags: ['unresolved', 'iif_detached'] }).flags);
  // 0 is a priority; an absent one is the kernel's to choose.
  t.equal(encodeRule(RTM_NEWRULE, 0, { priority: 0 }).length, encodeRule(RTM_NEWRULE, 0, {}).length + 8);
  t.equal(one(encodeRuleDump(NLM_F_DUMP, AF_INET6), decodeRule).family, 'ipv6');
  t.throws(() => sent({ from: '10.0.0.0/99' }), TypeError);
  t.throws(() => sent({ action: 'dance' }), TypeError);
});

const u32 = fc.nat({ max: 0xfffffffe });
const range = fc.record({ start: fc.nat({ max: 65535 }), end: fc.nat({ max: 65535 }) }, { noNullPrototype: true });
const prefix = fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 })).map(([address, length]) => `${address}/${length}`);
const rule = fc
  .tuple(
    fc.record(
      {
        object: fc.constant('rule' as const),
        family: fc.constantFrom('ipv4', 'ipmr', '77'),
        priority: u32,
        action: fc.constantFrom('table', 'goto', 'nop', 'blackhole', 'unreachable', 'prohibit', '77'),
        table: u32.map((table) => table + 1),
        protocol: fc.constantFrom('boot', 'static', '77'),
      },
      { noNullPrototype: true },
    ),
    fc.record(
      {
        not: fc.constant(true),
        from: prefix,
        to: prefix,
        iif: fc.constant('eth0'),
        oif: fc.constant('lo'),
        mark: u32,
        tos: fc.integer({ min: 1, max: 255 }),
        dscp: fc.nat({ max: 63 }),
        dscpMask: fc.constant(0x3e),
        flowLabel: u32,
        flowLabelMask: u32,
        ipProtocol: fc.constantFrom('tcp', '200'),
        sport: range,
        sportMask: fc.constant(0xff00),
        dport: range,
        dportMask: fc.constant(0xff00),
        uidRange: fc.record({ start: u32, end: u32 }, { noNullPrototype: true }),
        tunnelId: fc.bigInt({ min: 0n, max: 0xffffffffffffffffn }),
        l3mdev: fc.constant(true),
        goto: u32,
        suppressPrefixLength: u32,
        suppressIfGroup: u32,
        flow: u32,
        flags: fc.constant(['find_saddr', '0x20']),
        unknown: fc.constant([{ type: 999, data: new Uint8Array([1, 2]) }]),
      },
      { requiredKeys: [], noNullPrototype: true },
    ),
  )
  .chain(([required, parts]) =>
    // A mask comes with a mark.
    fc.boolean().map((masked): Rule => ({ ...required, ...parts, ...(parts.mark !== undefined && masked && { markMask: 0xff }) })),
  );

await t.test('there and back', async () => {
  fc.assert(
    fc.property(rule, (rule) => {
      deepStrictEqual(one(encodeRule(RTM_NEWRULE, 0, rule), decodeRule), rule);
    }),
    { numRuns: 200 },
  );
});

await t.test('broken bytes', async (t) => {
  t.equal(losses([hex(local), hex(full)], decodeRule), 0);
});
