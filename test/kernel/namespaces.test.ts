import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { Netns, addAddress, createLink, getLink, listAddresses, listLinks, readSysctl } from 'podtap';
import t from 'tap';
import { attachment } from '../../lib/kernel/netns.js';
import { request } from '../../lib/kernel/netlink.js';
import { native } from '../../lib/native.js';
import { RTM_DELLINK, RTM_NEWLINK, encodeLink } from '../../lib/wire/link.js';
import { NLM_F_ACK, NLM_F_CREATE } from '../../lib/wire/message.js';
import { again, fresh, inside, pause, until } from '../support/inside.js';

const count = (folder: string): number => readdirSync(`/proc/self/${folder}`).length;
/** Which namespace each thread of this process is in, as far as it still lives. */
function threads(): Map<string, string> {
  const found = new Map<string, string>();
  for (const task of readdirSync('/proc/self/task')) {
    try {
      found.set(task, readlinkSync(`/proc/self/task/${task}/ns/net`));
    } catch {
      // It ended meanwhile.
    }
  }
  return found;
}

await t.test('1,000 open namespaces are not 1,000 threads', async (t) => {
  await getLink(await fresh(t), 'lo'); // whatever is made once is there
  const before = { fds: count('fd'), own: native().openDescriptors() };
  const all = await Promise.all(Array.from({ length: 1000 }, () => Netns.create()));
  t.ok(count('task') < 20, `${count('task')} threads`);
  t.equal(count('fd') - before.fds, 2000, 'two descriptors each');
  t.equal(native().openDescriptors() - before.own, 2000);
  t.equal(new Set(all.map(({ id }) => id.inode)).size, 1000);
  t.equal(new Set(all.map(({ id }) => id.cookie)).size, 1000);
  await Promise.all(all.map((netns, index) => addAddress(netns, 'lo', `10.0.${index >> 8}.${index & 255}/32`)));
  const addresses = await Promise.all(all.map(async (netns) => (await listAddresses(netns, { link: 'lo', family: 'ipv4' })).map(({ address }) => address))); // prettier-ignore
  t.equal(
    addresses.filter((own, index) => own.length === 2 && own.includes(`10.0.${index >> 8}.${index & 255}/32`)).length,
    1000,
    'requests work in every one, and none mixes them up',
  );
  t.ok(count('task') < 20, `${count('task')} threads`);
  await Promise.all(all.map((netns) => netns.close()));
  t.equal(count('fd'), before.fds);
  t.equal(native().openDescriptors(), before.own);
});

await t.test('a closed handle lets its namespace go', async (t) => {
  const netns = await Netns.create();
  const { inode, cookie } = netns.id;
  t.type(cookie, 'bigint');
  t.match(netns.id.bootId, readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim());
  t.equal(readlinkSync(netns.path!), `net:[${inode}]`);
  const other = await again(t, netns);
  t.same(other.id, netns.id);
  await netns.close();
  t.match(await getLink(other, 'lo'), { name: 'lo', up: true }, 'another handle still has it');
  t.throws(() => attachment(netns), { code: 'ERR_NETNS_CLOSED' });
});

await t.test('the event loop goes on while RTNL is held', async (t) => {
  const netns = await fresh(t);
  const other = await again(t, netns);
  const { socket } = attachment(netns);
  // Deleting a bridge waits for RCU with RTNL held: 10 to 20 ms each.
  const made = Array.from({ length: 40 }, (_, index) =>
    encodeLink(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE, { name: `b${index}`, kind: 'bridge', group: 9 }),
  );
  await request(socket, made);
  let [ticks, latest, last] = [0, 0, performance.now()];
  const timer = setInterval(() => {
    latest = Math.max(latest, performance.now() - last);
    last = performance.now();
    ticks++;
  }, 5);
  let held = true;
  const started = performance.now();
  const deletion = request(socket, [encodeLink(RTM_DELLINK, NLM_F_ACK, { group: 9 })]).finally(() => (held = false));
  await pause(5);
  const waiting = Promise.all([
    createLink(other, 'ifb', 'i0'),
    createLink(other, 'ifb', 'i1'),
    addAddress(other, 'lo', '10.0.0.1/32'),
    readSysctl(other, 'net.ipv4.ip_forward'),
  ]);
  const heldMeanwhile = held;
  await Promise.all([deletion, waiting]);
  clearInterval(timer);
  const took = performance.now() - started;
  t.ok(heldMeanwhile, 'the others were asked for while it was held');
  t.ok(took < 100 || latest < took / 2, `at the latest ${latest.toFixed()} ms late, in ${took.toFixed()} ms`);
  t.ok(took < 100 || ticks > 5, `${ticks} ticks`);
  t.same((await listLinks(other)).map(({ name }) => name).sort(), ['i0', 'i1', 'lo']);
});

await t.test('no thread of the runtime ever changes its namespace', async (t) => {
  // Everything that enters one, so that every thread there will be is there.
  const use = async (): Promise<void> => {
    const netns = await Netns.create({ name: 'visited' });
    const again = await Netns.open({ name: 'visited' });
    await readSysctl(again, 'net.ipv4.ip_forward');
    await createLink(netns, 'ifb', 'i0');
    native().close(await native().packetOpen(attachment(netns).netns, { ifindex: 1, protocol: 3 }));
    native().close(await native().netlinkOpen(attachment(netns).netns, 0, { groups: [1] }));
    native().close(await native().socketOpen(attachment(netns).netns, { family: 4, type: 'udp', address: '127.0.0.1', port: 0 }));
    await Promise.all([netns.close(), again.close(), Netns.delete('visited')]);
  };
  await use();
  const own = readlinkSync('/proc/self/ns/net');
  const watcher = new Worker(
    `const { parentPort } = require('node:worker_threads');
     const { readdirSync, readlinkSync } = require('node:fs');
     const seen = {};
     let going = true;
     parentPort.once('message', () => (going = false));
     parentPort.postMessage('watching');
     (function look() {
       for (let round = 0; round < 20; round++)
         for (const task of readdirSync('/proc/self/task')) {
           try { (seen[task] ??= new Set()).add(readlinkSync('/proc/self/task/' + task + '/ns/net')); } catch {}
         }
       if (going) setImmediate(look); else parentPort.postMessage(Object.entries(seen).map(([task, all]) => [task, [...all]]));
     })();`,
    { eval: true },
  );
  await new Promise((resolve) => watcher.once('message', resolve));
  const before = threads();
  t.same([...new Set(before.values())], [own]);
  for (let round = 0; round < 100; round++) await use();
  const after = threads();
  const answer = new Promise<[string, string[]][]>((resolve) => watcher.once('message', resolve));
  watcher.postMessage('stop');
  const seen = await answer;
  await watcher.terminate();
  t.same([...new Set(after.values())], [own], 'after it');
  const lasting = seen.filter(([task]) => before.has(task) || after.has(task));
  t.ok(lasting.length >= before.size);
  t.same([...new Set(lasting.flatMap(([, namespaces]) => namespaces))], [own], 'those that last, at any time');
  const elsewhere = seen.filter(([, namespaces]) => namespaces.some((namespace) => namespace !== own));
  t.ok(elsewhere.length > 0, `${elsewhere.length} short-lived threads were seen elsewhere: this would have seen others`);
  t.ok(elsewhere.every(([task]) => !after.has(task)), 'and they are gone'); // prettier-ignore
});

await t.test('named namespaces are those of ip-netns(8)', async (t) => {
  const netns = await Netns.create({ name: 'blue' });
  t.teardown(() => netns.close());
  t.equal(netns.path, '/run/netns/blue');
  t.match(inside(netns, 'ip netns list'), /^blue\b/m);
  t.equal(inside(netns, 'ip netns identify $$').trim(), 'blue');
  inside(netns, 'ip netns add green');
  const green = await Netns.open({ name: 'green' });
  t.match(await getLink(green, 'lo'), { up: false });
  await green.close();
  await t.rejects(Netns.create({ name: 'green' }), { code: 'EEXIST' });
  t.same((await Netns.list()).flatMap(({ path }) => path ?? []).sort(), ['/run/netns/blue', '/run/netns/green']);
  t.equal(await Netns.delete('green'), true);
  t.equal(await Netns.delete('green'), false);
  t.match(await getLink(netns, 'lo'), { up: true }, 'a handle outlives the name');
  inside(netns, 'ip netns delete blue');
  t.match(await getLink(netns, 'lo'), { up: true });
  await t.rejects(Netns.open({ name: 'blue' }), { code: 'ERR_NETNS_GONE' });
  const down = await Netns.create({ loopback: false });
  t.match(await getLink(down, 'lo'), { up: false });
  await down.close();
});

await t.test('what is no namespace is refused', async (t) => {
  await t.rejects(Netns.open('/proc/self/ns/uts'), { code: 'ERR_INVALID_ARG_VALUE' });
  await t.rejects(Netns.open('/dev/null'), { code: 'ERR_INVALID_ARG_VALUE' });
  await t.rejects(Netns.open('/run/absent'), { code: 'ERR_NETNS_GONE', path: '/run/absent' });
  await t.rejects(Netns.open({ pid: 0x7ffffffe }), { code: 'ERR_NETNS_GONE' });
  await t.rejects(Netns.open({ fd: 0 }), { code: /^ERR_(INVALID_ARG_VALUE|NETNS_GONE)$|^E/ });
  await t.rejects(getLink({} as Netns, 'lo'), { code: 'ERR_INVALID_ARG_TYPE' });
});

await t.test('a program inside', async (t) => {
  const netns = await fresh(t);
  await createLink(netns, 'ifb', 'i0');
  const child = await netns.spawn('sh', ['-c', 'read line; echo "$line"; ls /proc/self/fd | xargs; cat /proc/self/net/dev; exit 3'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout!.setEncoding('utf8').on('data', (text: string) => (said += text));
  child.stdin!.end('hello\n');
  t.equal(await new Promise((resolve) => child.on('close', resolve)), 3);
  const [first, descriptors] = said.split('\n');
  t.equal(first, 'hello');
  const ordinary = spawnSync('sh', ['-c', 'ls /proc/self/fd | xargs'], { encoding: 'utf8' }).stdout.trim();
  t.equal(descriptors, ordinary, 'with no more open than any other child');
  t.match(said, /i0:/);
  await t.rejects(netns.spawn('/absent/program'), { code: 'ENOENT', path: '/absent/program' });
  t.ok(await until(() => native().openDescriptors() <= 6));
});
