// Several at once: calls in one process and in several, plumbing and undoing one pod; and the plan as a script, which does the same.
import { readdirSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import {
  Netns,
  PlumbError,
  type PlumbOptions,
  type Plumbing,
  openPlumbing,
  planPlumbing,
  plumb,
  recover,
  transaction,
  unplumb,
} from 'podtap';
import { type Dump, compare, dump } from '../oracle/dump.js';
import { withFaults } from '../oracle/faults.js';
import { type Pod, build, pods } from '../oracle/pod.js';
import { run } from '../support/oracle.js';
import { requires } from '../support/requires.js';
import { directory } from '../transaction/files.js';
import { runs, searched } from '../support/search.js';
import { asBefore, mode, none, richPod, wanted } from './around.js';

t.setTimeout(runs(1) * 300_000);
const skip = requires('bridge', 'tun', 'clsact', 'u32');

await t.test('with other options: a conflict', { skip }, async (t) => {
  await using built = await build(richPod);
  const { netns } = built;
  const journal = directory(t);
  const net = await plumb(netns, { ...wanted, label: 'vm/1', journal });
  const plumbed = await dump(netns);
  for (const [options, message] of [
    [{ tap: 'tap9' }, /tap.name was 'tap0', and now is 'tap9'/],
    [{ guestMac: 'random' }, /guestMac was 'clone', and now is 'random'/],
    [{ vmm: 'qemu' }, /tap.vnetHdr was false, and now is true/],
    [{ label: 'vm/2' }, /label was 'vm\/1', and now is 'vm\/2'/],
    [{ ifPlumbed: 'error' }, /ifPlumbed is 'error'/],
  ] as const) {
    await t.rejects(plumb(netns, { link: 'eth0', mode, journal, ...options }), { name: 'PlumbError', code: 'ERR_PLUMB_CONFLICT', message }, JSON.stringify(options)); // prettier-ignore
    t.strictSame(compare(plumbed, await dump(netns)), []);
  }
  t.equal((await plumb(netns, { link: 'eth0', mode, journal })).keep().created, false);
  await net.undo();
});

await t.test('one label for two pods; of a pod that is gone', { skip }, async (t) => {
  await using one = await build(richPod);
  await using other = await build(richPod);
  const journal = directory(t);
  const before = await dump(other.netns);
  const net = await plumb(one.netns, { ...wanted, label: 'vm/1', journal });
  const both = plumb(other.netns, { ...wanted, label: 'vm/1', journal });
  await t.rejects(both, { code: 'ERR_JOURNAL_LABEL_TAKEN', message: /the label 'vm\/1' is taken/ });
  none(compare(before, await dump(other.netns)), 'refused');
  await net.undo();
  const short = await Netns.create();
  await run(short, 'sh', ['-ec', 'ip link add eth0 type veth peer name p0; ip link set eth0 up; ip address add 10.1.0.2/24 dev eth0']);
  (await plumb(short, { ...wanted, label: 'vm/1', journal })).keep();
  await short.close();
  t.match(await recover({ journal }), { dropped: [{ label: 'vm/1', state: 'applied' }], undone: [], kept: [] });
  const again = await plumb(other.netns, { ...wanted, label: 'vm/1', journal });
  t.ok(again.created);
  await again.undo();
  await asBefore(before, other.netns, journal, 'undone');
});

await t.test('a label that only a dead pod has is in the way of nobody', { skip }, async (t) => {
  await using built = await build(richPod);
  const journal = directory(t);
  const short = await Netns.create();
  await run(short, 'sh', ['-ec', 'ip link add eth0 type veth peer name p0; ip link set eth0 up; ip address add 10.1.0.2/24 dev eth0']);
  (await plumb(short, { ...wanted, label: 'vm/1', journal })).keep();
  await short.close();
  t.match(await unplumb({ label: 'vm/1' }, { journal }), { state: 'namespace-gone' });
  const net = await plumb(built.netns, { ...wanted, label: 'vm/1', journal });
  await net.undo();
  t.same(readdirSync(journal), []);
});

await t.test('two interfaces of one pod, in any order', { skip }, async (t) => {
  await using built = await build(richPod);
  const { netns } = built;
  const journal = directory(t);
  let before = await dump(netns);
  const two = async (): Promise<Plumbing[]> => transaction(netns, async (tx) => [(await plumb(tx, { link: 'eth0', label: 'a', mode: 'bridge' })).keep(), (await plumb(tx, { link: 'eth1', label: 'b', mode: 'bridge' })).keep()], { journal }); // prettier-ignore
  for (const how of ['reverse', 'together', 'recover'] as const) {
    const nets = await two();
    t.same(nets.map(({ created, tap }) => [created, tap.name]), [[true, 'tap0'], [true, 'tap1']]); // prettier-ignore
    t.equal((await openPlumbing(netns, { label: 'b', journal }))!.keep().tap.name, 'tap1');
    for (const net of nets) t.same((await net.verify()).problems, []);
    if (how === 'together') t.match(await unplumb({ netns: netns.path! }, { journal }), { state: 'undone', leftBehind: [] });
    else if (how === 'recover') t.equal((await recover({ journal, finished: 'undo' })).undone.length, 2);
    else {
      // A route of eth1 needs an address of eth0: it comes back with that one.
      const [first, second] = nets as [Plumbing, Plumbing];
      t.match(await second.undo(), { state: 'undone', leftBehind: [/^route 10\.20\.1\.0\/24 table 100 .* dev eth1 needs address 10\.1\.0\.2\/24 of eth0/] });
      t.strictSame(await first.undo(), { state: 'undone', leftBehind: [] });
    }
    before = await asBefore(before, netns, journal, how);
  } // prettier-ignore
  // The second one fails: none of it stays.
  const failing = await transaction(netns, async (tx) => [(await plumb(tx, { link: 'eth0' })).keep(), await plumb(tx, { link: 'eth7' })], { journal }).catch((error: unknown) => error); // prettier-ignore
  t.match(failing, { code: 'ERR_PLUMB_NO_LINK' });
  before = await asBefore(before, netns, journal, 'the second one failed');
  for (let at = 20; ; at += 7) {
    const { error, hit } = await withFaults([{ at, how: at % 2 === 0 ? 'refused' : 'lost' }], two);
    if (hit.length === 0) break;
    t.ok(error instanceof Error, `${at}`);
    before = await asBefore(before, netns, journal, `${at} of two`);
  }
  await unplumb({ netns: netns.path! }, { journal });
});

// ------------------------------------------------------------------ the plan as a script

/** As it was made by one; without what chance or the order of making chose: indexes, and MACs that neither had before. */
function masked({ names, rows }: Dump, known: ReadonlySet<string>): Dump {
  const numbers = new Map(Object.entries(names).map(([number, name]) => [number, name]));
  const text = (value: string): string =>
    value
      .replace(/\{(\d+)\}/g, (token, number: string) => `{${numbers.get(number) ?? token}}`)
      .replace(/\b[\da-f]{4}\.[\da-f]{1,2}(:[\da-f]{1,2}){5}\b/g, 'bridge-id')
      .replace(/\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b/g, (mac) => (known.has(mac) ? mac : 'XX:XX:XX:XX:XX:XX'))
      .replace(/ linkdown\b/g, ''); // whether the kernel has looked at the carrier since
  const indexed = new Set(['ifindex', 'master', 'dev', 'info.root_port', 'iflink', 'actions.0.options.dev']);
  const kept = rows
    // The bridge's and the ports' own entries of its table carry their MACs, of which there may be several alike.
    .map(({ table, id, order, fields }) => ({
      table,
      id: text(id),
      ...(order !== undefined && { order: text(order) }),
      fields: Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, typeof value === 'string' ? text(value) : indexed.has(name) ? (numbers.get(String(value)) ?? value) : value])), // prettier-ignore
    }));
  return { names: Object.fromEntries(Object.values(names).map((name) => [name, name])), rows: kept };
}

await t.test('the plan as a script makes of an equal pod what plumb makes', { skip }, async (t) => {
  let planned = 0;
  const check = async (pod: Pod, more: PlumbOptions = {}): Promise<void> => {
    await using one = await build(pod);
    await using other = await build(pod);
    const known = new Set([one.pod.eth0.mac, one.pod.eth1?.mac ?? '', ...JSON.stringify(pod).matchAll(/\b[0-9a-f]{2}(?::[0-9a-f]{2}){5}\b/g)].flat().map(String)); // prettier-ignore
    const script = await planPlumbing(one.netns, { ...wanted, ...more }).then(String, (error: unknown) => {
      if (error instanceof PlumbError && error.code === 'ERR_PLUMB_NO_ADDRESS') return undefined;
      throw error;
    });
    if (script === undefined) return;
    planned++;
    const { status, stderr } = await run(one.netns, 'sh', ['-e'], script);
    if (status !== 0 || stderr !== '') throw new Error(`${stderr}\n${script}`);
    (await plumb(other.netns, { ...wanted, ...more, journal: directory(t) })).keep();
    none(compare(masked(await dump(other.netns), known), masked(await dump(one.netns), known)), script);
  };
  for (const mode of ['bridge', 'redirect'] as const) for (const antiSpoof of [false, true]) await check(richPod, { mode, antiSpoof });
  await fc.assert(
    fc.asyncProperty(pods(), (pod) => check(pod)),
    searched(6),
  );
  t.ok(planned > 1);
});
