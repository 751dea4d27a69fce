import t from 'tap';
import { requires } from '../support/requires.js';
import { Netns, type Rule, addRoute, addRule, createVeth, deleteRule, getRoute, listRules, transaction } from 'podtap';
import { type Json, ip, ipJson, sh } from '../support/oracle.js';

type Request = Parameters<typeof addRule>[1];

async function oracle(netns: Netns, family: 'ipv4' | 'ipv6', priority: number): Promise<Json[]> {
  return (await ipJson(netns, `${family === 'ipv6' ? '-6' : '-4'} rule show`)).filter((rule) => rule.priority === priority);
}
/** The kernel's own come first and last: those in between. */
async function mine(netns: Netns, family?: 'ipv4' | 'ipv6'): Promise<readonly Rule[]> {
  return (await listRules(netns, family === undefined ? {} : { family })).filter(({ priority }) => priority > 0 && priority < 32766);
}
async function all(netns: Netns): Promise<string> {
  return `${await sh(netns, 'ip -4 -d rule show')}\n${await sh(netns, 'ip -6 -d rule show')}`;
}
/** Whatever the kernel adds to what was asked for. */
const found = new Set(['object', 'family', 'action', 'table', 'protocol', 'flags', 'markMask']);

// Those that iproute2 6.1 prints, and how; then those that it does not know, which only podtap itself can read back.
const selectors: readonly (readonly ['both' | 'ipv4' | 'ipv6', Request, Json | undefined])[] = [
  ['both', { table: 100 }, { src: 'all', table: '100' }],
  ['both', { table: 4000000000 }, { table: '4000000000' }],
  ['both', {}, { table: 'main' }],
  ['ipv4', { from: '10.0.0.0/8', table: 9 }, { src: '10.0.0.0', srclen: 8 }],
  ['ipv4', { from: '10.0.0.1', to: '10.1.0.0/16', table: 9 }, { src: '10.0.0.1', dst: '10.1.0.0', dstlen: 16 }],
  ['ipv6', { from: 'fd00::/16', to: 'fd01::1', table: 9 }, { src: 'fd00::', srclen: 16, dst: 'fd01::1' }],
  ['both', { iif: 'eth0', table: 9 }, { iif: 'eth0' }],
  ['both', { oif: 'eth0', table: 9 }, { oif: 'eth0' }],
  ['both', { iif: 'not-there', table: 9 }, { iif: 'not-there', iif_detached: null }],
  ['both', { mark: 7, table: 9 }, { fwmark: '0x7', fwmask: undefined }],
  ['both', { mark: 7, markMask: 255, table: 9 }, { fwmark: '0x7', fwmask: '0xff' }],
  ['both', { mark: 0, markMask: 255, table: 9 }, { fwmark: '0', fwmask: '0xff' }],
  ['both', { tos: 0x10, table: 9 }, { tos: '0x10' }],
  ['both', { ipProtocol: 'tcp', table: 9 }, { ipproto: 'tcp' }],
  ['both', { ipProtocol: '99', table: 9 }, { ipproto: 'ipproto-99' }],
  ['both', { ipProtocol: 'udp', sport: { start: 53, end: 53 }, table: 9 }, { sport: 53 }],
  ['both', { ipProtocol: 'udp', dport: { start: 1000, end: 2000 }, table: 9 }, { dport_start: 1000, dport_end: 2000 }],
  ['both', { uidRange: { start: 0, end: 0 }, table: 9 }, { uid_start: 0, uid_end: 0 }],
  ['both', { tunnelId: 77n, table: 9 }, { tun_id: 77 }],
  ['both', { l3mdev: true }, { l3mdev: null }],
  ['both', { not: true, mark: 5, table: 9 }, { not: null, fwmark: '0x5' }],
  ['both', { action: 'blackhole' }, { action: 'blackhole' }],
  ['both', { action: 'unreachable' }, { action: 'unreachable' }],
  ['both', { action: 'prohibit' }, { action: 'prohibit' }],
  ['both', { action: 'nop' }, { nop: null }],
  ['both', { action: 'goto', goto: 32766 }, { goto: 32766 }],
  ['both', { goto: 32766 }, { goto: 32766 }],
  ['both', { goto: 5000 }, { goto: 5000, unresolved: null }],
  ['both', { suppressPrefixLength: 0, table: 254 }, { suppress_prefixlen: 0 }],
  ['both', { suppressIfGroup: 7, table: 254 }, { suppress_ifgroup: '7' }],
  ['ipv4', { flow: 0x30004, table: 9 }, { flow_from: '3', flow_to: '4' }],
  ['both', { protocol: 'static', table: 9 }, { protocol: 'static' }],
];
const dscp: typeof selectors = [['both', { dscp: 8, table: 9 }, undefined]];
const masked: typeof selectors = [
  ['both', { dscp: 8, dscpMask: 0x38, table: 9 }, undefined],
  ['ipv6', { flowLabel: 0x12345, flowLabelMask: 0xfffff, table: 9 }, undefined],
  ['both', { sport: { start: 0x100, end: 0x100 }, sportMask: 0xff00, ipProtocol: 'tcp', table: 9 }, undefined],
  ['both', { dport: { start: 0x200, end: 0x200 }, dportMask: 0xff00, ipProtocol: 'tcp', table: 9 }, undefined],
];

for (const [which, some, skip] of [
  ['every selector', selectors, false],
  ['that of DSCP', dscp, requires('rule_dscp')],
  ['selectors with masks', masked, requires('rule_masks')],
] as const)
  await t.test(`addRule: ${which}, as ip shows it, read back, deleted`, { skip }, async (t) => {
    await using netns = await Netns.create();
    await createVeth(netns, 'eth0', { peer: { name: 'x' } });
    for (const [families, rule, expected] of some) {
      for (const family of families === 'both' ? (['ipv4', 'ipv6'] as const) : [families]) {
        const name = `${family} ${JSON.stringify(rule, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value))}`;
        const request = { ...rule, family, priority: 100 };
        await addRule(netns, request);
        const [shown, ...more] = await oracle(netns, family, 100);
        t.ok(shown, name);
        t.strictSame(more, [], name);
        for (const [key, value] of Object.entries(expected ?? {})) t.strictSame(shown![key], value, `${name}: ${key}`);
        const [read] = await mine(netns, family);
        t.equal(read?.family, family);
        const prefix = (text: string | undefined): string | undefined =>
          text === undefined || text.includes('/') ? text : `${text}/${text.includes(':') ? 128 : 32}`;
        const { from, to, ...same } = request;
        t.hasStrict(
          read,
          { ...same, ...(from !== undefined && { from: prefix(from) }), ...(to !== undefined && { to: prefix(to) }) },
          name,
        );
        for (const key of Object.keys(read!)) t.ok(found.has(key) || key in request, `${name}: nothing else, such as ${key}`);
        await t.rejects(addRule(netns, request), { name: 'NetlinkError', code: 'EEXIST', syscall: 'RTM_NEWRULE' }, name);

        // What was read deletes it, and makes it anew.
        const text = await all(netns);
        t.equal(await deleteRule(netns, read!), true, `${name}: deleted as it was read`);
        t.strictSame(await oracle(netns, family, 100), []);
        await addRule(netns, read!);
        t.equal(await all(netns), text, `${name}: as before`);
        t.strictSame(await mine(netns, family), [read]);
        t.equal(await deleteRule(netns, request), true, `${name}: deleted`);
        t.equal(await deleteRule(netns, request), false, `${name}: not there any more`);
        t.strictSame(await mine(netns), []);
      }
    }
  });

// Older kernels pass over these without a word. Each with what they would make of it.
const late: readonly (readonly [boolean, Request, Request, RegExp])[] = [
  [requires('rule_dscp') === false, { dscp: 8, table: 9 }, { table: 9 }, /'dscp' .*6\.12/],
  [requires('rule_masks') === false, { dscp: 8, dscpMask: 0x38, table: 9 }, { table: 9 }, /'dscpMask' .*6\.15/],
  [requires('rule_masks') === false, { family: 'ipv6', flowLabel: 0x12345, flowLabelMask: 0xfffff, table: 9 }, { family: 'ipv6', table: 9 }, /'flowLabel'.*6\.14/], // prettier-ignore
  [requires('rule_masks') === false, { sport: { start: 0x100, end: 0x100 }, sportMask: 0xff00, ipProtocol: 'tcp', action: 'blackhole' }, { sport: { start: 0x100, end: 0x100 }, ipProtocol: 'tcp', action: 'blackhole' }, /'sportMask' .*6\.15/], // prettier-ignore
  [requires('rule_masks') === false, { not: true, dport: { start: 0x200, end: 0x200 }, dportMask: 0xff00, ipProtocol: 'udp', goto: 32766 }, { not: true, dport: { start: 0x200, end: 0x200 }, ipProtocol: 'udp', goto: 32766 }, /'dportMask' .*6\.15/], // prettier-ignore
];

await t.test('a selector that the kernel does not know is an error, and not a rule that matches more', async (t) => {
  for (const [isKnown, rule, broader, message] of late) {
    const name = JSON.stringify(rule);
    await using netns = await Netns.create();
    // Others', at the same priority, which a careless deletion would take.
    const theirs = {
      family: rule.family ?? 'ipv4',
      ...(broader.table !== undefined ? { table: 9 } : { mark: 3 }),
      priority: 50,
      protocol: 'static',
    };
    await addRule(netns, theirs);
    const others = await mine(netns);
    const text = await all(netns);
    for (const priority of [50, undefined]) {
      const asked = { ...rule, ...(priority !== undefined && { priority }) };
      if (isKnown) {
        await addRule(netns, asked);
        t.match(await mine(netns), { length: 2 }, name);
        t.equal(await deleteRule(netns, { ...asked, priority: 51 }), false, name);
        t.equal(await deleteRule(netns, asked), true, `${name}: deleted`);
      } else {
        const error = { name: 'UnsupportedError', message };
        await t.rejects(addRule(netns, asked), error, name);
        t.equal(await all(netns), text, `${name}: nothing is left`);
        const step = transaction(netns, async (tx) => {
          await addRule(tx, { mark: 7, priority: 40 });
          await addRule(tx, asked);
        });
        await t.rejects(step, { name: 'TransactionError', cause: error, leftBehind: [] }, `${name}, in a transaction`);
      }
      t.equal(await all(netns), text, name);
      t.equal(await deleteRule(netns, asked), false, `${name}: another one is not it`);
      t.strictSame(await mine(netns), others, name);
    }
    // What it would be without: that is another rule, and stays.
    await addRule(netns, { ...broader, priority: 60 });
    t.equal(await deleteRule(netns, rule), false, `${name}: a broader one is not it`);
    t.equal((await mine(netns)).length, 2, name);
  }
});

await t.test('lossless: rules by ip, read, deleted, added again', async (t) => {
  await using netns = await Netns.create();
  await createVeth(netns, 'eth0', { peer: { name: 'x' } });
  await ip(
    netns,
    'rule add from 10.0.0.0/8 to 10.1.0.0/16 iif eth0 oif x fwmark 0x5/0xff dsfield 0x10 ipproto tcp sport 1-5 dport 80 uidrange 0-0 suppress_prefixlength 3 suppress_ifgroup 7 table 500 priority 100 protocol static',
    'rule add not fwmark 7 goto 32766 priority 5',
    'rule add nop priority 6',
    'rule add prohibit to 10.9.0.0/16 priority 7',
    'rule add tun_id 77 table 9 priority 8',
    'rule add realms 3/4 table 9 priority 9',
    'rule add l3mdev priority 10',
    'rule add goto 4000 priority 11',
    'rule add fwmark 0/0xff table 8 priority 12',
    'rule add iif gone table 8 priority 13',
    'rule add from 10.0.0.1 table 8 priority 14',
    'rule add from 10.0.0.2 table 8 priority 14',
    'rule add iif lo table 8 priority 14',
    '-6 rule add from fd00::/16 to fd01::/16 iif eth0 fwmark 5 ipproto udp dport 1-9 table 500 priority 100',
    '-6 rule add not from fd02::1 blackhole priority 20',
    '-6 rule add l3mdev priority 21 protocol 77',
    '-6 rule add suppress_prefixlength 0 table main priority 22',
    '-6 rule add fwmark 0/0xff goto 32766 priority 23',
  );
  const before = await all(netns);
  const rules = await mine(netns);
  t.equal(rules.length, 18);
  for (const rule of rules) t.equal(await deleteRule(netns, rule), true);
  t.strictSame(await mine(netns), []);
  for (const rule of rules) await addRule(netns, rule);
  t.equal(await all(netns), before);
  t.strictSame(await mine(netns), rules);
});

await t.test('listRules: the kernel’s own, by family', async (t) => {
  await using netns = await Netns.create();
  const rules = await listRules(netns);
  t.strictSame(
    rules.map(({ family, priority, table, action }) => ({ family, priority, table, action })),
    [
      { family: 'ipv4', priority: 0, table: 255, action: 'table' },
      { family: 'ipv4', priority: 32766, table: 254, action: 'table' },
      { family: 'ipv4', priority: 32767, table: 253, action: 'table' },
      { family: 'ipv6', priority: 0, table: 255, action: 'table' },
      { family: 'ipv6', priority: 32766, table: 254, action: 'table' },
    ],
  );
  t.strictSame(await listRules(netns, { family: 'ipv6' }), rules.slice(3));
  // They are rules as any other.
  const [local, main] = rules;
  t.equal(await deleteRule(netns, main!), true);
  await addRule(netns, main!);
  t.strictSame(await listRules(netns), rules);
  t.equal(local?.priority, 0);
});

await t.test('priority 0, and none', async (t) => {
  await using netns = await Netns.create();
  await addRule(netns, { priority: 0, mark: 3, table: 9 });
  t.equal((await oracle(netns, 'ipv4', 0)).length, 2);
  t.equal(await deleteRule(netns, { priority: 0, mark: 3 }), true);
  await addRule(netns, { from: '10.0.0.1', table: 9 });
  await addRule(netns, { from: 'fd00::1', table: 9 });
  t.strictSame(
    (await mine(netns)).map(({ family, priority }) => ({ family, priority })),
    [
      { family: 'ipv4', priority: 32765 },
      { family: 'ipv6', priority: 32765 },
    ],
  );
});

await t.test('deleteRule takes the first that fits', async (t) => {
  await using netns = await Netns.create();
  for (const priority of [10, 20, 30]) await addRule(netns, { priority, from: `10.0.0.${priority}`, table: 9 });
  const left = async (): Promise<number[]> => (await mine(netns)).map(({ priority }) => priority);
  t.equal(await deleteRule(netns, { from: '10.0.0.20' }), true);
  t.strictSame(await left(), [10, 30]);
  t.equal(await deleteRule(netns, { table: 9 }), true);
  t.strictSame(await left(), [30]);
  t.equal(await deleteRule(netns, { table: 10 }), false);
  t.equal(await deleteRule(netns, { priority: 30, from: '10.0.0.31' }), false);
  t.equal(await deleteRule(netns, { priority: 30, family: 'ipv6' }), false);
  t.equal(await deleteRule(netns, { priority: 30 }), true);
  t.strictSame(await left(), []);
});

await t.test('a rule is in force', async (t) => {
  await using netns = await Netns.create();
  await createVeth(netns, 'eth0', { up: true, addresses: ['10.0.0.1/24'], peer: { name: 'x', up: true } });
  await addRoute(netns, { dst: 'default', via: '10.0.0.9', table: 500 });
  await t.rejects(getRoute(netns, '10.5.0.1'), { code: 'ENETUNREACH' });
  await addRule(netns, { mark: 0x40, markMask: 0xf0, table: 500 });
  await t.rejects(getRoute(netns, '10.5.0.1', { mark: 0x30 }), { code: 'ENETUNREACH' });
  t.hasStrict(await getRoute(netns, '10.5.0.1', { mark: 0x4f }), { via: '10.0.0.9', table: 500 });
});

await t.test('errors of the kernel', async (t) => {
  await using netns = await Netns.create();
  await t.rejects(addRule(netns, { priority: 5, goto: 4 }), { name: 'NetlinkError', code: 'EINVAL', extack: { message: /goto/i } });
  await t.rejects(addRule(netns, { sport: { start: 9, end: 3 }, ipProtocol: 'tcp', table: 9 }), {
    code: 'EINVAL',
    extack: { message: 'Invalid sport range' },
  });
  t.strictSame(await mine(netns), []);
});
