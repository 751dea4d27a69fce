import { once } from 'node:events';
import { closeSync, openSync, readFileSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { Server, Socket } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { Netns, createVeth, getLink, listLinks } from 'podtap';
import { run, sh } from '../support/oracle.js';

/** The inode of a namespace, as the magic link has it: net:[4026531840]. */
function inodeOf(path: string): bigint {
  return BigInt(/\d+/.exec(readlinkSync(path))![0]);
}
async function text(stream: AsyncIterable<unknown>): Promise<string> {
  let all = '';
  for await (const part of stream) all += String(part);
  return all;
}

await t.test('current', async (t) => {
  await using netns = await Netns.current();
  t.equal(netns.id.inode, inodeOf('/proc/self/ns/net'));
  t.equal(netns.path, '/proc/self/ns/net');
  t.equal(netns.id.bootId, readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim());
});

await t.test('create: anonymous, with its loopback up', async (t) => {
  await using netns = await Netns.create();
  await using other = await Netns.create();
  t.not(netns.id.inode, other.id.inode);
  t.not(netns.id.cookie, other.id.cookie);
  t.not(netns.id.inode, inodeOf('/proc/self/ns/net'));
  t.strictSame(
    (await listLinks(netns)).map(({ name, kind, up }) => ({ name, kind, up })),
    [{ name: 'lo', kind: 'loopback', up: true }],
  );
  t.match(await sh(netns, 'ip address show dev lo'), '127.0.0.1/8');
});

await t.test('create without a loopback', async (t) => {
  await using netns = await Netns.create({ loopback: false });
  t.equal((await getLink(netns, 'lo'))?.up, false);
});

await t.test('create with a name, as ip netns add', async (t) => {
  const netns = await Netns.create({ name: 'blue' });
  t.equal(netns.path, '/run/netns/blue');
  t.match(await sh(netns, 'ip netns list'), /^blue/m);
  t.equal((await run(netns, 'ip', ['netns', 'exec', 'blue', 'readlink', '/proc/self/ns/net'])).stdout.trim(), `net:[${netns.id.inode}]`);
  await t.rejects(Netns.create({ name: 'blue' }), { code: 'EEXIST', name: 'PodtapError', message: /\/run\/netns\/blue/ });

  // It outlives the handle, and is the same one when it is opened again.
  await netns.close();
  await using again = await Netns.open({ name: 'blue' });
  t.strictSame(again.id, netns.id);
  t.equal(again.path, '/run/netns/blue');

  t.equal(await Netns.delete('blue'), true);
  t.equal(await Netns.delete('blue'), false);
  t.strictSame(readdirSync('/run/netns'), []);
  // A name taken away leaves the handle good.
  t.equal((await getLink(again, 'lo'))?.up, true);
  await t.rejects(Netns.open({ name: 'blue' }), { code: 'ERR_NETNS_GONE', path: '/run/netns/blue' });
});

await t.test('one made by ip netns add is opened and deleted', async (t) => {
  await using here = await Netns.current();
  await sh(here, 'ip netns add green');
  {
    await using green = await Netns.open({ name: 'green' });
    t.equal((await getLink(green, 'lo'))?.up, false);
    t.equal(green.id.inode, inodeOfFile(await sh(here, 'ip netns exec green readlink /proc/self/ns/net')));
  }
  t.equal(await Netns.delete('green'), true);
  t.notMatch(await sh(here, 'ip netns list'), 'green');
});
function inodeOfFile(link: string): bigint {
  return BigInt(/\d+/.exec(link)![0]);
}

await t.test('open by path, pid and descriptor: one and the same', async (t) => {
  await using netns = await Netns.create();
  const child = await netns.spawn('sleep', ['60'], { stdio: 'ignore' });
  const pid = child.pid!;
  const fd = openSync(`/proc/${pid}/ns/net`, 'r');
  try {
    for (const ref of [`/proc/${pid}/ns/net`, { path: `/proc/${pid}/ns/net` }, { pid }, { fd }, netns.path!]) {
      await using opened = await Netns.open(ref);
      t.strictSame(opened.id, netns.id, `by ${JSON.stringify(ref)}`);
      t.type(opened.id.cookie, 'bigint');
    }
  } finally {
    closeSync(fd);
    child.kill('SIGKILL');
    await once(child, 'close');
  }
  // A descriptor is not a path that would be good for anybody else: the handle has one of its own.
  const own = openSync(netns.path!, 'r');
  const byFd = await Netns.open({ fd: own });
  closeSync(own);
  t.equal(inodeOf(byFd.path!), netns.id.inode);
  await byFd.close();
});

await t.test('the namespace of a process that is gone', async (t) => {
  await using netns = await Netns.create();
  const child = await netns.spawn('true');
  await once(child, 'close');
  await t.rejects(Netns.open({ pid: child.pid! }), { code: 'ERR_NETNS_GONE', name: 'PodtapError', syscall: 'open' });
  await t.rejects(Netns.open('/run/netns/nobody'), { code: 'ERR_NETNS_GONE', path: '/run/netns/nobody' });
});

await t.test('what is no network namespace is refused', async (t) => {
  const file = join(t.testdir({ plain: 'nothing' }), 'plain');
  for (const path of [file, '/dev/null', '/proc/self/ns/mnt', '/proc/self/ns/user', '/']) {
    await t.rejects(
      Netns.open(path),
      { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE', message: `Netns.open: '${path}' is no network namespace` },
      path,
    );
  }
});

await t.test('an aborted open', async (t) => {
  const reason = new Error('no more');
  await t.rejects(Netns.open('/proc/self/ns/net', { signal: AbortSignal.abort(reason) }), reason);
  const controller = new AbortController();
  const opening = Netns.open('/proc/self/ns/net', { signal: controller.signal });
  controller.abort(reason);
  await t.rejects(opening, reason); // and the ledger sees that nothing is left open
});

await t.test('a closed handle', async (t) => {
  const netns = await Netns.create();
  await netns.close();
  await netns.close();
  const closed = { code: 'ERR_NETNS_CLOSED', name: 'PodtapError' };
  await t.rejects(listLinks(netns), closed);
  await t.rejects(netns.spawn('true'), closed);
  await t.rejects(netns.openSocket({ type: 'udp', address: '127.0.0.1', port: 0 }), closed);
  t.throws(() => readlinkSync(netns.path!));
});

await t.test('close while a request is under way: the request is finished', async (t) => {
  const netns = await Netns.create();
  const link = getLink(netns, 'lo');
  await netns.close();
  t.equal((await link)?.name, 'lo');
});

await t.test('an open handle pins the namespace, and its links', async (t) => {
  await using here = await Netns.create();
  const there = await Netns.create();
  await createVeth(here, 'near', { peer: { scope: there, name: 'far' } });
  t.equal((await getLink(there, 'far'))?.kind, 'veth');
  await there.close();
  // The kernel takes a namespace down at leisure.
  for (let tries = 0; tries < 1000 && (await getLink(here, 'near')) !== undefined; tries++)
    await new Promise((done) => setTimeout(done, 10));
  t.equal(await getLink(here, 'near'), undefined);
});

await t.test('list', async (t) => {
  await using here = await Netns.current();
  await using named = await Netns.create({ name: 'listed' });
  await using quiet = await Netns.create();
  const child = await quiet.spawn('sleep', ['60'], { stdio: 'ignore' });
  try {
    const list = await Netns.list();
    t.strictSame(
      list.find(({ inode }) => inode === named.id.inode),
      { inode: named.id.inode, pids: [], path: '/run/netns/listed' },
    );
    t.strictSame(
      list.find(({ inode }) => inode === quiet.id.inode),
      { inode: quiet.id.inode, pids: [child.pid] },
    );
    t.ok(list.find(({ inode }) => inode === here.id.inode)?.pids.includes(process.pid));
  } finally {
    child.kill('SIGKILL');
    await once(child, 'close');
    await Netns.delete('listed');
  }
});

await t.test('spawn: a ChildProcess in that namespace', async (t) => {
  await using netns = await Netns.create();
  const child = await netns.spawn('readlink', ['/proc/self/ns/net']);
  t.ok(child instanceof ChildProcess);
  t.equal((await text(child.stdout!)).trim(), `net:[${netns.id.inode}]`);
  const elsewhere = await netns.spawn('readlink', ['/proc/self/ns/mnt']);
  t.equal((await text(elsewhere.stdout!)).trim(), readlinkSync('/proc/self/ns/mnt'), 'and no other namespace is changed');
});

await t.test('spawn: arguments, environment, folder, streams, exit', async (t) => {
  await using netns = await Netns.create();
  const words = ['with space', '', "quote'", '$HOME', '--', '-1'];
  const args = await netns.spawn('printf', ['[%s]\n', ...words]);
  t.equal(await text(args.stdout!), words.map((word) => `[${word}]\n`).join(''));

  const env = await netns.spawn('/bin/sh', ['-c', 'echo "$PODTAP_WORD"; pwd; cat; echo oops >&2; exit 7'], {
    env: { PODTAP_WORD: 'hello', PATH: process.env.PATH },
    cwd: '/usr',
  });
  const closed = once(env, 'close');
  env.stdin!.end('from above\n');
  const [out, err] = await Promise.all([text(env.stdout!), text(env.stderr!)]);
  t.equal(out, 'hello\n/usr\nfrom above\n');
  t.equal(err, 'oops\n');
  t.strictSame(await closed, [7, null]);
  t.equal(env.exitCode, 7);

  const killed = await netns.spawn('sleep', ['60'], { stdio: 'ignore' });
  const end = once(killed, 'close');
  t.equal(killed.kill('SIGTERM'), true);
  t.strictSame(await end, [null, 'SIGTERM']);
});

await t.test('spawn: descriptors are where they were put, and no others are there', async (t) => {
  await using netns = await Netns.create();
  const fd = openSync('/dev/zero', 'r');
  try {
    const stdio: StdioOptions = ['ignore', 'pipe', 'inherit', fd];
    const script = 'cd /proc/$$/fd; for fd in *; do readlink $fd; done';
    const child = await netns.spawn('sh', ['-c', script], { stdio });
    const targets = (await text(child.stdout!)).trim().split('\n').map(withoutInode);
    t.ok(targets.includes('/dev/zero'));
    t.equal((await text((await netns.spawn('readlink', ['/proc/self/fd/3'], { stdio })).stdout!)).trim(), '/dev/zero');
    const plain = spawn('sh', ['-c', script], { stdio });
    t.strictSame(targets, (await text(plain.stdout!)).trim().split('\n').map(withoutInode), 'as with child_process.spawn');
  } finally {
    closeSync(fd);
  }
});

await t.test('spawn: programs that cannot be run', async (t) => {
  await using netns = await Netns.create();
  const plain = join(t.testdir({ plain: 'nothing' }), 'plain');
  await t.rejects(netns.spawn('no-such-program'), {
    name: 'PodtapError',
    code: 'ENOENT',
    errno: -2,
    syscall: 'execve',
    path: 'no-such-program',
    message: /'no-such-program'/,
  });
  await t.rejects(netns.spawn(plain), { code: 'EACCES', syscall: 'execve' });
  await t.rejects(netns.spawn('true', [], { cwd: '/nowhere' }), { code: 'ENOENT' });
  for (const shell of [true, '/bin/sh'])
    await t.rejects(netns.spawn('true', [], { shell }), { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE', message: /shell/ });
  const [code] = (await once(await netns.spawn('true', [], { shell: false }), 'close')) as [number];
  t.equal(code, 0);
});

await t.test('spawn: a program that ends at once is not missed', async (t) => {
  await using netns = await Netns.create();
  const wait = (): void => {
    const until = performance.now() + 60;
    while (performance.now() < until);
  };
  // Node learns of the end of a first program and, with the same signal, of that of a second one, whose start it has not heard of.
  const spawn = async (...[command, args, options]: Parameters<Netns['spawn']>): Promise<ChildProcess> => {
    const first = await netns.spawn('echo', ['first']);
    wait();
    t.equal(await text(first.stdout!), 'first\n');
    const spawning = netns.spawn(command, args, options);
    wait();
    return spawning;
  };
  const echo = await spawn('echo', ['hello']);
  const ended = once(echo, 'close');
  t.equal(await text(echo.stdout!), 'hello\n');
  t.strictSame(await ended, [0, null]);

  const quiet = await spawn('true', [], { stdio: 'ignore' });
  t.strictSame(await once(quiet, 'exit'), [0, null]);
  t.equal(quiet.exitCode, 0);
  t.strictSame(await once(await spawn('true', [], { stdio: 'ignore' }), 'close'), [0, null]);
  t.strictSame(await once(await spawn('echo', ['hello']), 'close'), [0, null], 'nobody reads what it wrote');

  const data: string[] = [];
  const read = await spawn('sh', ['-c', 'echo one; echo two >&2']);
  read.stdout!.on('data', (part) => data.push(String(part)));
  read.stderr!.on('data', (part) => data.push(String(part)));
  await once(read, 'close');
  t.strictSame(data.sort(), ['one\n', 'two\n']);
  await t.rejects(spawn('no-such-program'), { code: 'ENOENT' });
});

await t.test('spawn does not hold the namespace', async (t) => {
  const netns = await Netns.create();
  const child = await netns.spawn('cat');
  await netns.close();
  child.stdin!.end('still there');
  t.equal(await text(child.stdout!), 'still there');
});

function withoutInode(target: string): string {
  return target.replace(/\d+/, 'N');
}

for (const [family, address] of [
  ['IPv4', '127.0.0.1'],
  ['IPv6', '::1'],
] as const) {
  await t.test(`openSocket: TCP, ${family}`, async (t) => {
    await using netns = await Netns.create();
    const port = 7777;
    const server = new Server((socket) => socket.pipe(socket));
    server.listen({ fd: await netns.openSocket({ type: 'tcp-listen', address, port }) });
    await once(server, 'listening');
    t.match(await sh(netns, 'ss -Hltn'), `:${port}`);

    const client = new Socket({ fd: await netns.openSocket({ type: 'tcp-connect', address, port }) });
    client.end('echo');
    t.equal(await text(client), 'echo');
    await t.rejects(netns.openSocket({ type: 'tcp-listen', address, port }), { code: 'EADDRINUSE', errno: -98 });
    // Nobody listens on that port where this program is.
    await using here = await Netns.current();
    await t.rejects(here.openSocket({ type: 'tcp-connect', address, port }), {
      name: 'PodtapError',
      code: 'ECONNREFUSED',
      errno: -111,
      syscall: 'connect',
      message: new RegExp(`${address} port ${port}`),
    });
    await new Promise((done) => server.close(done));
  });

  await t.test(`openSocket: UDP, ${family}`, async (t) => {
    await using netns = await Netns.create();
    const fd = await netns.openSocket({ type: 'udp', address, port: 7000 });
    try {
      t.match(await sh(netns, 'ss -Hlun'), ':7000');
      t.match(readlinkSync(`/proc/self/fd/${fd}`), /^socket:/);
    } finally {
      closeSync(fd);
    }
    const used = await netns.openSocket({ type: 'udp', address, port: 7001 });
    await t.rejects(netns.openSocket({ type: 'udp', address, port: 7001 }), { code: 'EADDRINUSE' });
    closeSync(used);
  });
}

await t.test('openSocket: no way, no address, no patience', async (t) => {
  await using netns = await Netns.create();
  await t.rejects(netns.openSocket({ type: 'tcp-connect', address: '10.9.9.9', port: 80 }), { code: 'ENETUNREACH' });
  await t.rejects(netns.openSocket({ type: 'tcp-listen', address: '10.9.9.9', port: 80 }), { code: 'EADDRNOTAVAIL' });

  // A neighbour that is known but does not answer: the connection attempt hangs until it is aborted.
  await using far = await Netns.create();
  await createVeth(netns, 'eth0', { up: true, addresses: ['10.9.0.1/24'], peer: { scope: far, name: 'eth0', up: true } });
  await sh(netns, 'ip neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev eth0 nud permanent');
  const reason = new Error('too long');
  const controller = new AbortController();
  const connecting = netns.openSocket({ type: 'tcp-connect', address: '10.9.0.2', port: 80, signal: controller.signal });
  setTimeout(() => controller.abort(reason), 30);
  await t.rejects(connecting, reason);
  await t.rejects(netns.openSocket({ type: 'udp', address: '127.0.0.1', port: 0, signal: AbortSignal.abort(reason) }), reason);
});

await t.test('no thread of this program is in another namespace', async (t) => {
  await using netns = await Netns.create();
  await listLinks(netns);
  const here = readlinkSync('/proc/self/ns/net');
  for (const task of readdirSync('/proc/self/task')) {
    let there = here;
    try {
      there = readlinkSync(`/proc/self/task/${task}/ns/net`);
    } catch {
      continue; // gone meanwhile
    }
    t.equal(there, here);
  }
});

await t.test('a name whose file is there, but no namespace on it', async (t) => {
  writeFileSync('/run/netns/file', '');
  await t.rejects(Netns.create({ name: 'file' }), { code: 'EEXIST' });
  await t.rejects(Netns.open({ name: 'file' }), { code: 'ERR_INVALID_ARG_VALUE' });
  t.equal(await Netns.delete('file'), true);
  t.strictSame(readdirSync('/run/netns'), []);
});
