// A transaction of primitives: all of it or none, nested, over several namespaces, aborted, killed, and with a journal that fails.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import {
  type Netns,
  type Scope,
  PlumbError,
  type Transaction,
  addAddress,
  addFilter,
  addQdisc,
  addRoute,
  addRule,
  createBridge,
  createTap,
  createVeth,
  deleteAddress,
  deleteLink,
  deleteNeighbor,
  deleteRoute,
  deleteRule,
  flushAddresses,
  getLink,
  listAddresses,
  listFilters,
  listLinks,
  listNeighbors,
  listQdiscs,
  listRoutes,
  listRules,
  plumb,
  recover,
  replaceRoute,
  setFdb,
  setLink,
  setNeighbor,
  setSysctl,
  transaction,
} from 'podtap';
import { type Dump, compare, dump } from '../oracle/dump.js';
import { withFaults } from '../oracle/faults.js';
import { pod as richPod } from '../oracle/planted.js';
import { type Interface, build, pods } from '../oracle/pod.js';
import { requires } from '../support/requires.js';
import { runs, searched } from '../support/search.js';
import { fresh } from '../support/inside.js';
import { directory } from './files.js';

t.setTimeout(600_000);
const skip = requires('bridge', 'tun', 'clsact', 'u32');
const lo = async (netns: Netns): Promise<string> =>
  (await listAddresses(netns, { link: 'lo' })).flatMap(({ address }) => /^10\.9\.(0\.\d)\/32$/.exec(address)?.[1] ?? []).join(' ');
/** 10.9.0.<n>, shown by `lo` as '0.<n>'. */
const add = (tx: Scope, n: number): Promise<void> => addAddress(tx, 'lo', `10.9.0.${n}/32`);
const failing = (tx: Scope): Promise<void> => addAddress(tx, 'lo', '10.9.0.1/32');
const caught = (work: Promise<unknown>): Promise<unknown> => work.then(() => undefined, (error: unknown) => error); // prettier-ignore

async function quiet(t: Parameters<typeof fresh>[0]): Promise<{ netns: Netns; journal: string }> {
  return { netns: await fresh(t), journal: directory(t) };
}

await t.test('what the body returns; and nothing is left in the journal', async (t) => {
  const { netns, journal } = await quiet(t);
  const result = await transaction(netns, async (tx) => (await add(tx, 1), await add(tx, 2), 7), { journal });
  t.equal(result, 7);
  t.equal(await lo(netns), '0.1 0.2');
  t.same(readdirSync(journal), []);
});

await t.test('a step fails: told with its command, what it was, and what was undone', async (t) => {
  const { netns, journal } = await quiet(t);
  const error = await caught(transaction(netns, async (tx) => (await add(tx, 1), await setLink(tx, 'lo', { mtu: 1400 }), await failing(tx)), { journal })); // prettier-ignore
  t.match(error, { name: 'TransactionError', code: 'ERR_TRANSACTION_FAILED', step: 'ip address add 10.9.0.1/32 dev lo', undone: ['address 10.9.0.1/32 of lo', 'mtu of lo'], leftBehind: [], cause: { code: 'EEXIST' }, message: /EEXIST/ }); // prettier-ignore
  t.equal(await lo(netns), '');
  t.equal((await getLink(netns, 'lo'))!.mtu, 65536);
  t.same(readdirSync(journal), []);
});

await t.test('a step that fails and is caught by the body: the rest goes on', async (t) => {
  const { netns, journal } = await quiet(t);
  await transaction(netns, async (tx) => (await add(tx, 1), await caught(failing(tx)), await add(tx, 2)), { journal });
  t.equal(await lo(netns), '0.1 0.2');
});

await t.test('savepoints: by passing tx, by the namespace, and several deep', async (t) => {
  for (const nest of [(tx: Transaction) => tx, (tx: Transaction) => tx.netns] as const) {
    const { netns, journal } = await quiet(t);
    const no = new Error('no');
    // The inner one fails, the outer one goes on.
    await transaction(
      netns,
      async (tx) => {
        await add(tx, 1);
        const error = await caught(transaction(nest(tx), async (inner) => (await add(inner, 2), await deleteAddress(inner, 'lo', '10.9.0.1/32'), Promise.reject(no)))); // prettier-ignore
        t.equal(error, no);
        t.equal(await lo(netns), '0.1');
        await transaction(nest(tx), async (inner) => {
          await add(inner, 3);
          await caught(transaction(nest(inner), async (deep) => (await add(deep, 4), Promise.reject(no))));
          await add(inner, 5);
        });
      },
      { journal },
    );
    t.equal(await lo(netns), '0.1 0.3 0.5');
    // The inner one succeeds, the outer one fails.
    const before = await lo(netns);
    t.equal(await caught(transaction(netns, async (tx) => {
      await transaction(nest(tx), async (inner) => (await add(inner, 6), await deleteAddress(inner, 'lo', '10.9.0.3/32')));
      throw no;
    }, { journal })), no); // prettier-ignore
    t.same((await lo(netns)).split(' ').sort(), before.split(' ').sort());
    t.same(readdirSync(journal), []);
  }
});

await t.test('calls at once within one body are done in order, and all undone', async (t) => {
  const { netns, journal } = await quiet(t);
  await transaction(netns, async (tx) => Promise.all([1, 2, 3, 4, 5].map((n) => add(tx, n))), { journal });
  t.equal(await lo(netns), '0.1 0.2 0.3 0.4 0.5');
  const error = await caught(transaction(netns, async (tx) => Promise.all([add(tx, 6), failing(tx), add(tx, 7)]), { journal }));
  t.match(error, { code: 'ERR_TRANSACTION_FAILED' });
  t.equal(await lo(netns), '0.1 0.2 0.3 0.4 0.5');
});

await t.test('after its end', async (t) => {
  const { netns, journal } = await quiet(t);
  const closed = { name: 'PodtapError', code: 'ERR_TRANSACTION_CLOSED' };
  let kept: Transaction | undefined;
  let inner: Transaction | undefined;
  let late: Promise<unknown> | undefined;
  await transaction(netns, async (tx) => {
    kept = tx;
    await transaction(tx, async (one) => void (inner = one));
    await t.rejects(add(inner!, 1), closed);
    late = caught(new Promise((resolve) => void setTimeout(resolve, 20)).then(() => add(tx, 1))); // prettier-ignore
  }, { journal }); // prettier-ignore
  await t.rejects(add(kept!, 1), closed);
  t.throws(() => kept!.in(netns), closed);
  await t.rejects(
    transaction(kept!, async () => 1),
    closed,
  );
  t.match(await late, closed);
  t.equal(await lo(netns), '');
});

await t.test('what cannot be undone is refused before anything is done', { skip: requires('dummy') || skip }, async (t) => {
  const { netns, journal } = await quiet(t);
  await createVeth(netns, 'v0', { peer: { name: 'v1' } });
  const before = await dump(netns);
  const refused: readonly ((tx: Transaction) => Promise<unknown>)[] = [(tx) => deleteLink(tx, 'v0'), (tx) => setLink(tx, 'v0', { netns })];
  for (const one of refused) {
    const error = await caught(transaction(netns, async (tx) => (await setLink(tx, 'v1', { mtu: 1400 }), await one(tx)), { journal }));
    t.match(error, { code: 'ERR_TRANSACTION_IRREVERSIBLE', message: /cannot be undone/ });
    t.strictSame(compare(before, await dump(netns)), []);
  }
  // What it has made itself it may delete.
  await transaction(netns, async (tx) => (await createBridge(tx, 'br0'), await deleteLink(tx, 'br0')), { journal });
  t.equal(await getLink(netns, 'br0'), undefined);
}); // prettier-ignore

await t.test('aborted at each step', async (t) => {
  const { netns, journal } = await quiet(t);
  const reason = new Error('enough');
  for (let at = 0; at <= 4; at++) {
    const controller = new AbortController();
    const body = async (tx: Transaction): Promise<void> => {
      for (const n of [1, 2, 3, 4]) {
        if (n > at) controller.abort(reason);
        await add(tx, n);
      }
      if (at === 4) controller.abort(reason);
    };
    t.equal(await caught(transaction(netns, body, { journal, signal: controller.signal })), reason);
    t.equal(await lo(netns), '', `${at}`);
    t.equal(await caught(transaction(netns, (tx) => transaction(tx, body, { signal: controller.signal }), { journal })), reason);
    t.equal(await lo(netns), '', `${at}, nested`);
  }
  t.same(readdirSync(journal), []);
});

await t.test('two namespaces: all or none', async (t) => {
  const { netns, journal } = await quiet(t);
  const other = await fresh(t);
  await transaction(netns, async (tx) => (await add(tx, 1), await add(tx.in(other), 2)), { journal });
  t.same([await lo(netns), await lo(other)], ['0.1', '0.2']);
  const error = await caught(transaction(netns, async (tx) => (await add(tx, 3), await add(tx.in(other), 4), await add(tx, 3)), { journal })); // prettier-ignore
  t.match(error, { code: 'ERR_TRANSACTION_FAILED', undone: ['address 10.9.0.4/32 of lo', 'address 10.9.0.3/32 of lo'] });
  t.same([await lo(netns), await lo(other)], ['0.1', '0.2']);
  for (let at = 0; ; at++) {
    const { hit, error: met } = await withFaults([{ at, how: at % 2 === 0 ? 'lost' : 'refused' }], () => transaction(netns, async (tx) => (await add(tx.in(other), 5), await add(tx, 6)), { journal })); // prettier-ignore
    if (hit.length === 0) break;
    t.ok(met instanceof Error);
    t.same([await lo(netns), await lo(other)], ['0.1', '0.2'], `${at}`);
  }
  t.same(readdirSync(journal), []);
});

// ------------------------------------------------------------------ any sequence of primitives

type Step = (tx: Transaction, netns: Netns) => Promise<unknown>;
const choose = <T>(from: readonly T[], pick: number): T | undefined => from[pick % Math.max(1, from.length)];
const links = ['eth0', 'eth1', 'br0', 'tap0', 'br7', 'w7', 't7', 'lo'];

/** Whatever there is at that moment is changed; what is refused was refused. */
const steps: Readonly<Record<string, (pick: number) => Step>> = {
  addAddress: (pick) => (tx) => addAddress(tx, choose(links, pick)!, choose(['10.5.0.1/24', '10.1.0.9/24', { address: 'fd05::1/64', flags: ['nodad'] }, '10.1.0.2/24'], pick >> 3)!),
  deleteAddress: (pick) => async (tx, netns) => {
    const found = choose(await listAddresses(netns), pick);
    if (found !== undefined) await deleteAddress(tx, found.ifindex!, found);
  },
  flush: (pick) => (tx) => flushAddresses(tx, choose(links, pick)!, { family: pick % 2 === 0 ? 'ipv4' : 'ipv6' }),
  addRoute: (pick) => (tx) => addRoute(tx, choose([{ dst: '10.66.0.0/16', dev: 'eth0' }, { dst: '10.21.0.0/24', via: '10.1.0.9', dev: 'eth0', onlink: true, metric: 3 }, { dst: 'fd66::/32', dev: 'eth0' }, { dst: '10.67.0.0/16', type: 'blackhole', table: 100 }], pick)!),
  replaceRoute: (pick) => (tx) => replaceRoute(tx, choose([{ dst: '10.20.0.0/16', dev: 'eth0', metric: 5 }, { dst: '0.0.0.0/0', dev: 'eth0' }, { dst: '10.21.0.0/24', dev: 'eth1' }], pick)!),
  deleteRoute: (pick) => async (tx, netns) => {
    const found = choose((await listRoutes(netns, { table: 'all' })).filter(({ protocol }) => protocol !== 'kernel'), pick);
    if (found !== undefined) await deleteRoute(tx, found);
  },
  addRule: (pick) => (tx) => addRule(tx, { priority: 1000 + (pick % 5), table: 100, ...choose([{ from: '10.1.0.2/32' }, { iif: 'eth0' }, { mark: 5 }], pick) }),
  deleteRule: (pick) => async (tx, netns) => {
    const found = choose((await listRules(netns)).filter(({ priority }) => priority !== 0), pick);
    if (found !== undefined) await deleteRule(tx, found);
  },
  setNeighbor: (pick) => (tx) => setNeighbor(tx, 'eth0', { address: choose(['10.1.0.1', '10.1.0.66', 'fd00:1::66'], pick)!, mac: '02:00:00:00:66:66', state: 'permanent' }),
  deleteNeighbor: (pick) => async (tx, netns) => {
    const found = choose((await listNeighbors(netns)).filter(({ state }) => state === 'permanent'), pick);
    if (found !== undefined) await deleteNeighbor(tx, found.ifindex, found);
  },
  setFdb: (pick) => (tx) => setFdb(tx, choose(['w7', 'br7', 'eth0'], pick)!, { mac: '02:00:00:00:66:67', state: 'noarp', flags: ['master'] }),
  qdisc: (pick) => (tx) => addQdisc(tx, choose(links, pick)!, { kind: 'clsact' }),
  filter: (pick) => async (tx, netns) => {
    const hook = choose((await listQdiscs(netns)).filter(({ kind }) => kind === 'clsact'), pick);
    if (hook !== undefined && (await listFilters(netns, hook.ifindex, 'ingress')).length < 3) await addFilter(tx, hook.ifindex, { parent: 'ingress', kind: 'u32', priority: 66, protocol: 'ip', options: {} });
  },
  sysctl: (pick) => (tx) => setSysctl(tx, ...(choose<readonly [string, string]>([['net.ipv4.ip_forward', '1'], ['net.ipv4.conf.all.forwarding', '1'], ['net.ipv6.conf.all.forwarding', '1'], ['net.ipv6.conf.eth0.disable_ipv6', '1'], ['net.ipv6.conf.all.disable_ipv6', '1'], ['net.ipv4.conf.eth0.rp_filter', '2'], ['net.ipv6.conf.eth0.hop_limit', '9'], ['net.ipv4.conf.eth0.promote_secondaries', '1'], ['net.ipv4.neigh.eth0.gc_stale_time', '61']], pick)!)),
  set: (pick) => (tx) => setLink(tx, choose(links, pick)!, choose([{ mtu: 1400 }, { mac: '02:00:00:00:66:68' }, { up: false }, { up: true }, { txQueueLength: 66 }, { alias: 'x' }, { group: 66 }, { promiscuous: true }, { allMulticast: true }, { arp: false }, { addrGenMode: 'none' as const }, { mtu: 1279 }], pick >> 3)!),
  rename: (pick) => (tx) => setLink(tx, choose(['eth1', 't7', 'br0'], pick)!, { name: `new${pick % 3}` }),
  enslave: (pick) => (tx) => setLink(tx, choose(['eth0', 'eth1', 't7', 'tap0'], pick)!, { master: choose(['br7', 'br0', null], pick >> 2)! }),
  bridge: () => (tx) => createBridge(tx, 'br0', { up: true }),
  tap: () => (tx) => createTap(tx, 'tap0'),
}; // prettier-ignore

const someSteps = fc.array(fc.record({ what: fc.constantFrom(...Object.keys(steps)), pick: fc.nat(999) }), { minLength: 1, maxLength: 7 });
const enough = new Error('enough');

await t.test('any steps in any pod, and then a throw', { skip }, async (t) => {
  let done = 0;
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(pods(), someSteps, fc.boolean(), async (pod, todo, rich) => {
      // Nexthop objects go with an interface that is taken down, and podtap makes none.
      const drawn = rich ? richPod : pod;
      // The last address that goes takes legs of multipath routes with it that were there without one.
      const addressed = <I extends Interface | null>(one: I, address: string): I => (one === null ? one : { ...one, addresses: [...one.addresses, address] }); // prettier-ignore
      await using built = await build({
        ...drawn,
        eth0: addressed(drawn.eth0, '10.88.1.1/32'),
        eth1: addressed(drawn.eth1, '10.88.2.1/32'),
        nexthops: [],
        routes: drawn.routes.filter((line) => !line.includes('nhid')),
      });
      const { netns } = built;
      const before = await dump(netns);
      const error = await caught(
        transaction(netns, async (tx) => {
          for (const { what, pick } of todo) {
            const met = await caught(steps[what]!(pick)(tx, netns));
            if (met === undefined) done++;
            else refused++;
          }
          throw enough;
        }, { journal: false }),
      ); // prettier-ignore
      const differences = compare(before, await dump(netns));
      if (differences.length > 0 || error !== enough) throw new Error(`${String(error)}:\n  ${differences.join('\n  ')}`);
    }),
    {
      ...searched(20),
      interruptAfterTimeLimit: 30_000 * runs(1),
      markInterruptAsFailure: false,
    },
  );
  t.comment(`${done} done, ${refused} refused`);
  t.ok(done > 0);
});

// ------------------------------------------------------------------ a journal that cannot be written, or read

await t.test('a full disk, a read-only one, a missing directory: nothing is changed', { skip }, async (t) => {
  const base = directory(t);
  const small = join(base, 'small');
  mkdirSync(small);
  const mount = (...args: readonly string[]): number | null => spawnSync('mount', args).status;
  t.equal(mount('-t', 'tmpfs', '-o', 'size=64k,mode=700', 'tmpfs', small), 0);
  t.teardown(() => void spawnSync('umount', [small]));
  await using built = await build(richPod);
  const { netns } = built;
  let before = await dump(netns);
  const both = async (journal: string, code: string, message: RegExp): Promise<void> => {
    const error = { name: 'PodtapError', code, message };
    await t.rejects(plumb(netns, { link: 'eth0', journal }), error);
    await t.rejects(plumb(netns, { link: 'eth0', journal, label: 'a' }), { code: /^ERR_(JOURNAL|LOCK)/ });
    await t.rejects(
      transaction(netns, (tx) => setLink(tx, 'eth0', { mtu: 1400 }), { journal }),
      error,
    );
    const now = await dump(netns);
    t.strictSame(compare(before, now), [], code);
    before = now;
  };
  spawnSync('sh', ['-c', `cat /dev/zero > ${small}/filler`]);
  await both(small, 'ERR_JOURNAL_FULL', /full/);
  t.equal(mount('-o', 'remount,ro', small), 0);
  t.match(await caught(plumb(netns, { link: 'eth0', journal: small })), { message: /read-only/ });
  t.strictSame(compare(before, await dump(netns)), []);
  await both(join(base, 'no', 'such'), 'ERR_JOURNAL_DIRECTORY', /does not exist/);
});

await t.test('a disk that fills up in between: undone, and told', { skip }, async (t) => {
  const small = join(directory(t), 'small');
  mkdirSync(small);
  spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256k,mode=700', 'tmpfs', small]);
  t.teardown(() => void spawnSync('umount', [small]));
  await using built = await build(richPod);
  const { netns } = built;
  const before = await dump(netns);
  const error = await caught(transaction(netns, async (tx) => {
    await setLink(tx, 'eth0', { mtu: 1400 });
    await flushAddresses(tx, 'eth0', { family: 'ipv4' });
    spawnSync('sh', ['-c', `cat /dev/zero > ${small}/filler`]);
    await flushAddresses(tx, 'eth0', { family: 'ipv6' });
  }, { journal: small })); // prettier-ignore
  t.match(error, { code: 'ERR_JOURNAL_FULL' });
  t.strictSame(compare(before, await dump(netns)), []);
  t.same(readdirSync(small), ['filler']);
});

/** Signed as podtap does it, with other content. */
function forge(path: string, change: (body: { images: { touched: unknown[]; additions: unknown[]; orders: unknown[] } } & Record<string, unknown>) => void): void {
  const [, head = '', body = ''] = readFileSync(path, 'utf8').split('\n');
  const value = JSON.parse(body) as Parameters<typeof change>[0];
  change(value);
  const text = `${head}\n${JSON.stringify(value)}\n`;
  writeFileSync(path, `podtap journal 1 ${createHash('sha256').update(text).digest('hex')}\n${text}`, { mode: 0o600 });
} // prettier-ignore

await t.test('forged entries are refused, or do no more than an entry can', { skip }, async (t) => {
  const journal = directory(t);
  await using built = await build({ ...richPod, others: [] });
  const { netns } = built;
  const net = await plumb(netns, { link: 'eth0', journal });
  net.keep();
  const [name = ''] = readdirSync(journal);
  const path = join(journal, name);
  const honest = readFileSync(path);
  const before = await dump(netns);
  // A bridge's carrier follows its ports a moment later.
  const settles = (line: string): boolean => !/ (br0|tap0): .*(state|flags|carrier)/.test(line);
  const unreadable: readonly ((body: Parameters<Parameters<typeof forge>[1]>[0]) => void)[] = [
    (body) => void (body.images = null as never),
    (body) => void body.images.touched.push(['process/1', 'x', 'any']),
    (body) => void body.images.touched.push(['sysctl/', 'x', 'any']),
    (body) => void body.images.touched.push(7),
    (body) => void body.images.touched.push(['setting/1/mtu', 1]),
    (body) => void body.images.additions.push(['link/', []]),
    (body) => void body.images.orders.push([1, 2]),
    (body) => void (body.main = '../../etc'),
    (body) => void body.images.touched.push([`setting/1/${'x'.repeat(5000)}`, 1, 'any']),
  ];
  for (const [index, change] of unreadable.entries()) {
    writeFileSync(path, honest, { mode: 0o600 });
    forge(path, change);
    const report = await recover({ journal, finished: 'undo' });
    t.match(report, { unreadable: [{ path, reason: /does not tell what to undo/ }], undone: [] }, `${index}`);
    t.strictSame(compare(before, await dump(netns)).filter(settles), []);
  }
  // Known keys, and nonsense in them: whatever comes of it, it is an answer, and the machine's own sysctls are not touched.
  const nonsense: readonly unknown[][] = [
    ['sysctl/../../kernel/hostname', 'evil', 'any'],
    ['sysctl/net.ipv4.conf.../../../../kernel/hostname', 'evil', 'any'],
    ['sysctl/kernel.hostname', 'evil', 'any'],
    ['setting/1/netns', 'x', 'any'],
    ['setting/1/__proto__', { polluted: true }, 'any'],
    ['setting/100/name', '../../x', 'any'],
    ['setting/100/mac', { toString: 1 }, 'any'],
    ['address/100/10.0.0.0/8', { address: '$(touch /run/evil)' }, 'any'],
    ['route/254/10.0.0.0/8/0/0/|unicast', { dst: 7, dev: 'x; touch /run/evil' }, 'any'],
    ['rule/ipv4/5|x', { priority: -1, table: [] }, 'any'],
    ['neighbor/100/10.0.0.1', null, 'any'],
    ['filter/100/x', { kind: 'bpf', options: { fd: 3 } }, 'any'],
    ['qdisc/100/root', { kind: '../../x' }, 'any'],
    ['fdb/100/x/', { mac: 'x' }, 'any'],
    ['link/0', null, 'any'],
  ];
  const hostname = readFileSync('/proc/sys/kernel/hostname', 'latin1');
  for (const one of nonsense) {
    writeFileSync(path, honest, { mode: 0o600 });
    forge(path, (body) => void (body.images.touched = [one]));
    const report = await recover({ journal, finished: 'undo' });
    const told = report.undone.length + report.failed.length + report.unreadable.length;
    t.equal(told, 1, `${JSON.stringify(one)}: ${JSON.stringify(report)}`);
    t.equal(readFileSync('/proc/sys/kernel/hostname', 'latin1'), hostname);
    t.strictSame(compare(before, await dump(netns)).filter(settles), [], JSON.stringify(one));
    t.notOk(readdirSync('/run').includes('evil'));
    t.notOk('polluted' in {});
  }
  writeFileSync(path, honest, { mode: 0o600 });
  t.match(await recover({ journal, finished: 'undo' }), { undone: [{ leftBehind: [] }], failed: [] });
}); // prettier-ignore

await t.test('torn, garbage and newer entries: told, left as they are, and in nobody\'s way', { skip }, async (t) => {
  const journal = directory(t);
  await using built = await build(richPod);
  const { netns } = built;
  const before: Dump = await dump(netns);
  const first = await plumb(netns, { link: 'eth0', journal });
  const [name = ''] = readdirSync(journal);
  const path = join(journal, name);
  const honest = readFileSync(path);
  for (const bytes of [honest.subarray(0, 700), Buffer.from('garbage'), Buffer.from(honest.toString().replace('journal 1 ', 'journal 2 '))]) {
    writeFileSync(path, bytes);
    const report = await recover({ journal, finished: 'undo' });
    t.match(report, { unreadable: [{ path }], undone: [], kept: [], failed: [] });
    t.ok(readFileSync(path).equals(bytes));
    const error = await caught(plumb(netns, { link: 'eth0', journal }));
    t.ok(error instanceof PlumbError, String(error)); // it is plumbed, and nobody can tell how
  }
  writeFileSync(path, honest, { mode: 0o600 });
  await first.undo();
  t.strictSame(compare(before, await dump(netns)), []);
  t.equal((await listLinks(netns)).some(({ name: one }) => one === 'tap0'), false);
}); // prettier-ignore
