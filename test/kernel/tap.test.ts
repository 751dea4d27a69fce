import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { closeSync, readFileSync, readSync, writeSync } from 'node:fs';
import { Netns, type Tap, type TapOptions, addAddress, createBridge, createLink, createTap, createVeth, deleteLink, getLink, listLinks, openPacketSocket, openTap, setLink, setNeighbor } from 'podtap'; // prettier-ignore
import t, { type Test } from 'tap';
import { attachment } from '../../lib/kernel/netns.js';
import { native } from '../../lib/native.js';
import { IFF_MULTI_QUEUE, IFF_NO_PI, IFF_PERSIST, IFF_TAP, IFF_TUN_EXCL, IFF_VNET_HDR } from '../../lib/wire/tun.js';
import { fresh, inside, ip, pause, take, until } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { since } from '../support/since.js';
import { frame, numberOf, typeOf, udp, udpIsValid } from './frames.js';

const skip = requires('tun');

interface Shown {
  readonly ifindex: number;
  readonly mtu: number;
  readonly address: string;
  readonly flags: readonly string[];
  readonly linkinfo: {
    readonly info_data: Record<string, string | number | boolean>;
    readonly info_slave_data?: { readonly state: string };
  };
}
function shown(netns: Netns, name: string): Shown {
  return ip<Shown>(netns, `link show dev ${name}`)[0]!;
}

/** Closed at the end of the test. */
function closing<T extends { close(): unknown }>(t: Test, handle: T): T {
  t.teardown(async () => void (await handle.close()));
  return handle;
}
const descriptors = (): number => native().openDescriptors();

/** A TAP without IPv6 chatter, so that the frames of a test are all there are. */
async function quiet(t: Test, netns: Netns, name = 'tap0', options: TapOptions = {}): Promise<Tap> {
  const tap = closing(t, await createTap(netns, name, { ...options, up: false }));
  await setLink(netns, name, { addrGenMode: 'none' });
  await setLink(netns, name, { up: true });
  return tap;
}

/** What ethtool -k says, by ioctl(SIOCETHTOOL): checksums, segmentation of TCP over IPv4. */
function features(netns: Netns, name: string): { csum: boolean; tso: boolean } {
  const script = `
import ctypes, fcntl, json, socket, struct
s = socket.socket()
def get(command):
  value = ctypes.create_string_buffer(struct.pack('=II', command, 0), 8)
  fcntl.ioctl(s, 0x8946, struct.pack('16sP', b'${name}', ctypes.addressof(value)))
  return struct.unpack('=II', value.raw)[1] != 0
print(json.dumps({ 'csum': get(0x16), 'tso': get(0x1e) }))`;
  return JSON.parse(inside(netns, `python3 -c "${script}"`)) as { csum: boolean; tso: boolean };
}

await t.test('what is asked for is what the kernel shows', { skip }, async (t) => {
  const netns = await fresh(t);
  const plain = { type: 'tap', pi: false, vnet_hdr: false, multi_queue: false, persist: true, user: undefined, group: undefined };
  const cases: [TapOptions, Partial<Record<string, string | number | boolean | undefined>>, Partial<Shown>?][] = [
    [{}, {}],
    [{ owner: 0 }, { user: 'root' }],
    [{ group: 0 }, { group: 'root' }],
    [
      { owner: 0, group: 0 },
      { user: 'root', group: 'root' },
    ],
    [{ queues: 4 }, { multi_queue: true, numqueues: 0, numdisabled: 0 }],
    [{ queues: 256 }, { multi_queue: true }],
    [{ vnetHdr: true }, { vnet_hdr: true }],
    [
      { vnetHdr: true, offload: { csum: true, tso4: true, tso6: true, uso: since(6, 2) }, queues: 2 },
      { vnet_hdr: true, multi_queue: true },
    ],
    [{ mac: '02:AB:00:00:00:01' }, {}, { address: '02:ab:00:00:00:01' }],
    [{ mtu: 68 }, {}, { mtu: 68 }],
    [{ mtu: 65521 }, {}, { mtu: 65521 }],
    [{ ifindex: 777 }, {}, { ifindex: 777 }],
    [{ mac: '02:00:00:00:00:07', mtu: 1400, ifindex: 778, owner: 0, queues: 2, vnetHdr: true }, { user: 'root', multi_queue: true, vnet_hdr: true }, { address: '02:00:00:00:00:07', mtu: 1400, ifindex: 778 }], // prettier-ignore
  ];
  for (const [options, info, link = {}] of cases) {
    const tap = await createTap(netns, 'tap0', options);
    const seen = shown(netns, 'tap0');
    const { info_data } = seen.linkinfo;
    const told = Object.fromEntries(Object.keys({ ...plain, ...info }).map((key) => [key, info_data[key]]));
    t.same(told, { ...plain, ...info }, JSON.stringify(options));
    t.match(seen, link);
    t.ok(seen.flags.includes('UP'));
    t.match(tap, { name: 'tap0', ifindex: seen.ifindex, mac: seen.address, mtu: seen.mtu, queues: options.queues ?? 1, vnetHdr: options.vnetHdr ?? false }); // prettier-ignore
    t.match(await openTap(netns, 'tap0'), { vnetHdr: options.vnetHdr ?? false, ifindex: seen.ifindex });
    await tap.close();
    t.equal(await deleteLink(netns, 'tap0'), true);
  }
});

await t.test('UDP segments, of kernels that cannot leave them to guests', { skip }, async (t) => {
  const netns = await fresh(t);
  const made = createTap(netns, 'tap0', { vnetHdr: true, offload: { csum: true, uso: true } });
  if (since(6, 2)) return (await made).close();
  await t.rejects(made, { name: 'UnsupportedError', feature: 'tap offload uso', minimumKernel: '6.2' });
  t.strictSame((await listLinks(netns)).length, 1, 'nothing is left');
});

await t.test('down, and not persistent', { skip }, async (t) => {
  const netns = await fresh(t);
  const before = descriptors();
  const down = await createTap(netns, 'tap0', { up: false });
  t.notOk(shown(netns, 'tap0').flags.includes('UP'));
  t.equal(descriptors(), before, 'a persistent TAP is held by nobody');
  await down.close();
  for (const queues of [1, 3]) {
    const tap = await createTap(netns, 'tap1', { persist: false, queues });
    t.equal(descriptors(), before + queues);
    t.equal(shown(netns, 'tap1').linkinfo.info_data.persist, false);
    if (queues > 1) t.equal(shown(netns, 'tap1').linkinfo.info_data.numqueues, queues);
    await tap.close();
    t.equal(descriptors(), before);
    t.ok(await until(async () => (await getLink(netns, 'tap1')) === undefined), 'gone with its descriptors');
  }
});

await t.test('names', { skip }, async (t) => {
  const netns = await fresh(t);
  const made = [await createTap(netns), await createTap(netns), await createTap(netns, 'pod%d'), await createTap(netns, 'a%db'), await createTap(netns, 'fifteen-letters')]; // prettier-ignore
  t.same(
    made.map(({ name }) => name),
    ['tap0', 'tap1', 'pod0', 'a0b', 'fifteen-letters'],
  );
  for (const tap of made) t.match(await getLink(netns, tap.name), { ifindex: tap.ifindex, kind: 'tun' });
  for (const name of ['', 'sixteen-letters!', 'a/b', 'a b', '%d%d', '.', '..', 'a:b', 'x%s'])
    await t.rejects(createTap(netns, name), { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' }, name);
  await t.rejects(createTap(netns, 7 as never), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' });
  t.equal((await listLinks(netns)).length, 6);
});

await t.test('what is taken is never adopted', { skip }, async (t) => {
  const netns = await fresh(t);
  const { ifindex } = await createTap(netns, 'tap0', { mtu: 1400 });
  await createLink(netns, 'ifb', 'ifb0');
  for (const name of ['tap0', 'ifb0', 'lo'])
    await t.rejects(createTap(netns, name, { mtu: 1300 }), { code: 'EBUSY', syscall: 'ioctl(TUNSETIFF)' }, name);
  for (const persist of [true, false]) await t.rejects(createTap(netns, 'tap1', { ifindex, persist }), { code: 'EBUSY' }, 'the index');
  t.match(await getLink(netns, 'tap0'), { ifindex, mtu: 1400 });
  t.same((await listLinks(netns)).map(({ name }) => name).sort(), ['ifb0', 'lo', 'tap0']);
});

await t.test('misuse is told before any system call', { skip }, async (t) => {
  const netns = await fresh(t);
  const wrong: [object, RegExp][] = [
    [{ queues: 257 }, /'queues'/],
    [{ queues: 0 }, /'queues'/],
    [{ owner: -1 }, /'owner'/],
    [{ group: 2 ** 32 }, /'group'/],
    [{ vnetHdr: true, offload: { tso4: true } }, /'offload' must have csum: true/],
    [{ vnetHdr: true, offload: { tso6: true, csum: false } }, /'offload' must have csum: true/],
    [{ vnetHdr: true, offload: { uso: true } }, /'offload' must have csum: true/],
    [{ offload: { csum: true } }, /vnetHdr/],
    [{ vnetHdr: true, offload: { ecn: true } }, /'ecn'/],
    [{ mac: '01:00:00:00:00:01' }, /'mac' must be a unicast MAC/],
    [{ mtu: 67 }, /'mtu'/],
    [{ ifindex: 0 }, /'ifindex'/],
    [{ vnethdr: true }, /did you mean 'vnetHdr'/],
  ];
  for (const [options, message] of wrong) await t.rejects(createTap(netns, 'tap0', options), { name: 'TypeError', message });
  t.equal((await listLinks(netns)).length, 1);
});

await t.test('a failure on the way leaves no device and no descriptor', { skip }, async (t) => {
  const netns = await fresh(t);
  const before = descriptors();
  for (const persist of [true, false]) {
    for (const queues of [1, 3]) {
      await t.rejects(createTap(netns, 'tap0', { mtu: 65_536, persist, queues }), { code: 'EINVAL', syscall: 'RTM_SETLINK' });
      t.same([await getLink(netns, 'tap0'), descriptors()], [undefined, before]);
    }
  }
  // Of the user namespace that a test runs in only root is mapped.
  await t.rejects(createTap(netns, 'tap0', { owner: 12345 }), { code: 'EINVAL', syscall: 'ioctl(TUNSETOWNER)' });
  await t.rejects(createTap(netns, 'tap0', { group: 12345, queues: 2 }), { code: 'EINVAL', syscall: 'ioctl(TUNSETGROUP)' });
  const spec = { name: 'tap0', flags: IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL, queues: 1, persist: true };
  const multi = { ...spec, flags: spec.flags | IFF_MULTI_QUEUE };
  const inner = attachment(netns).netns;
  await t.rejects(native().tunOpen(inner, { ...multi, queues: 257 }), { name: 'Error', errno: 7 }, 'E2BIG of the last queue');
  await t.rejects(native().tunOpen(inner, { ...multi, queues: 257, hold: false }), { name: 'Error', errno: 7 });
  await t.rejects(native().tunOpen(inner, { ...spec, queues: 2 }), { name: 'Error', errno: 16 }, 'a second queue without IFF_MULTI_QUEUE');
  await t.rejects(native().tunOpen(inner, { ...spec, vnetHeaderSize: 9 }), { name: 'Error', errno: 22, syscall: 'ioctl(TUNSETVNETHDRSZ)' });
  await t.rejects(native().tunOpen(inner, { ...spec, offload: 0x2 }), { name: 'Error', errno: 22, syscall: 'ioctl(TUNSETOFFLOAD)' });
  await t.rejects(native().tunOpen(inner, { ...spec, name: 'sixteen-letters!' }), { name: 'Error', errno: 34 });
  t.same([(await listLinks(netns)).length, descriptors()], [1, before]);
});

await t.test('opening one that is there', { skip }, async (t) => {
  const netns = await fresh(t);
  const before = descriptors();
  await t.rejects(openTap(netns, 'tap0'), { code: 'ENODEV', message: /'tap0'/ });
  t.equal((await listLinks(netns)).length, 1, 'TUNSETIFF would have made one');
  await createBridge(netns, 'br0');
  await t.rejects(openTap(netns, 'br0'), { code: 'EINVAL', message: /of kind bridge/ });
  inside(netns, 'ip tuntap add dev tun0 mode tun');
  await t.rejects(openTap(netns, 'tun0'), { code: 'EINVAL', message: /a tun/ });
  inside(netns, 'ip tuntap add dev one mode tap; ip tuntap add dev many mode tap multi_queue vnet_hdr');
  await t.rejects(openTap(netns, 'one', { queues: 2 }), { code: 'EINVAL', message: /one queue/ });
  await t.rejects(openTap(netns, 'many', { queues: 1 }), { code: 'EINVAL', message: /several queues/ });
  await t.rejects(openTap(netns, 'one', { offload: { csum: true } }), { code: 'ERR_INVALID_ARG_VALUE' }, 'not without the vnet header');
  for (const [name, options, queues] of [
    ['one', {}, 1],
    ['many', {}, 1],
    ['many', { queues: 3 }, 3],
  ] as const) {
    await using tap = await openTap(netns, name, options);
    t.match(tap, { name, queues, vnetHdr: name === 'many', ifindex: (await getLink(netns, name))!.ifindex });
    await using held = await tap.takeFds();
    t.equal(held.fds.length, queues);
    t.equal(Boolean(shown(netns, name).linkinfo.info_data.vnet_hdr), name === 'many', 'its shape is what it was');
    if (name === 'many') t.equal(shown(netns, name).linkinfo.info_data.numqueues, queues);
    else await t.rejects((await openTap(netns, name)).takeFds(), { code: 'EBUSY' });
  }
  const gone = await openTap(netns, 'one');
  await deleteLink(netns, 'one');
  await t.rejects(gone.takeFds(), { code: 'ENODEV' });
  t.equal(await getLink(netns, 'one'), undefined, 'and none was made in its place');
  inside(netns, 'ip tuntap add dev one mode tap');
  await t.rejects(gone.takeFds(), { code: 'ENODEV' }, 'another one of that name is not it');
  t.equal(descriptors(), before);
});

/** A guest in a process of its own: echoes every frame on its descriptors, source and destination swapped, as node or python alike could. */
const echo = `
import os, select, sys
fds = [int(word) for word in sys.argv[1:]]
print('ready', flush=True)
while True:
  for fd in select.select(fds, [], [])[0]:
    try: frame = os.read(fd, 70000)
    except BlockingIOError: continue
    if frame[12:14] == b'\\x88\\xb5': os.write(fd, frame[6:12] + frame[0:6] + b'\\x88\\xb6' + frame[14:])
`;

await t.test('descriptors for a child process', { skip }, async (t) => {
  const netns = await fresh(t);
  for (const queues of [1, 3]) {
    const tap = await quiet(t, netns, `tap${queues}`, { queues });
    const fds = await tap.takeFds();
    for (const fd of fds.fds) t.match(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'), /^flags:\t02\d+2$/m, 'close-on-exec, to read and write'); // prettier-ignore
    const { stdio, childFds } = fds.stdio(4);
    t.same(
      childFds,
      Array.from({ length: queues }, (_, index) => 4 + index),
    );
    t.same(stdio, ['ignore', 'inherit', 'inherit', 'inherit', ...fds.fds]);
    stdio[1] = 'pipe' as never;
    stdio[3] = 'ignore';
    const child = spawn('python3', ['-c', echo, ...childFds.map(String)], { stdio });
    const bystander = spawn('sleep', ['30'], { stdio: 'ignore' });
    t.teardown(() => bystander.kill());
    await once(child.stdout!, 'data');
    await fds[Symbol.asyncDispose]();
    await fds[Symbol.asyncDispose]();
    t.match(await tap.holders(), [{ pid: child.pid!, command: /^python/, queues }]);
    t.equal((await tap.holders()).length, 1, 'neither this process nor the bystander');
    await tap.waitAttached();
    const wire = closing(t, await openPacketSocket(netns, tap.name, { protocol: 0x88b6, outgoing: false }));
    const answers = wire.frames();
    const sent = [1, 2, 3].map((number) => frame(number));
    t.equal(await wire.send(sent), 3);
    const heard: number[] = [];
    for await (const batch of answers) {
      for (const bytes of batch) heard.push(numberOf(bytes));
      if (heard.length >= 3) break;
    }
    t.same(heard.sort(), [1, 2, 3]);
    const detached = tap.waitDetached();
    child.kill('SIGKILL');
    await detached;
    t.same(await tap.holders(), []);
    bystander.kill();
  }
});

await t.test("taken descriptors are the caller's, and closed once", { skip }, async (t) => {
  const netns = await fresh(t);
  const before = descriptors();
  const tap = closing(t, await createTap(netns, 'tap0', { persist: false }));
  const fds = await tap.takeFds();
  t.equal(descriptors(), before, 'what was held is handed over');
  t.ok(await getLink(netns, 'tap0'));
  await tap.close();
  t.ok(await getLink(netns, 'tap0'), 'the caller has it');
  await t.rejects(tap.takeFds(), { code: 'ERR_HANDLE_CLOSED' });
  fds.close();
  const reused = [1, 2].map(() => native().duplicate(attachment(netns).netns)); // perhaps of the same number
  fds.close();
  for (const fd of reused) closeSync(fd);
  t.ok(await until(async () => (await getLink(netns, 'tap0')) === undefined));
});

await t.test("a previous owner's offloads and header size do not survive", { skip }, async (t) => {
  const netns = await fresh(t);
  const inner = attachment(netns).netns;
  const flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  const theirs = async (): Promise<void> => {
    const { queues } = await native().tunOpen(inner, { name: 'tap0', flags, queues: 1, offload: 7, vnetHeaderSize: 12 });
    native().close(queues[0]!);
  };
  await createTap(netns, 'tap0', { vnetHdr: true });
  await theirs();
  t.same(features(netns, 'tap0'), { csum: true, tso: true }, 'they do without us');
  for (const [vnetHdr, offload, expected] of [
    [false, {}, { csum: false, tso: false }],
    [true, {}, { csum: false, tso: false }],
    [true, { csum: true }, { csum: true, tso: false }],
    [true, { csum: true, tso4: true }, { csum: true, tso: true }],
  ] as const) {
    await theirs();
    const tap = await openTap(netns, 'tap0', { vnetHdr, offload });
    const taken = await tap.takeFds();
    t.same(features(netns, 'tap0'), expected, JSON.stringify({ vnetHdr, offload }));
    const queue = native().adopt(taken.fds[0]!);
    taken.close();
    const base = IFF_TAP | IFF_NO_PI | IFF_PERSIST;
    t.match(await native().tunInfo(queue), { name: 'tap0', ifindex: tap.ifindex, vnetHeaderSize: vnetHdr ? 10 : 0, flags: base | (vnetHdr ? IFF_VNET_HDR : 0) }); // prettier-ignore
    native().close(queue);
  }
  // The size is kept even where it does not show: it would be back with the next vnet header.
  await theirs();
  (await (await openTap(netns, 'tap0', { vnetHdr: false })).takeFds()).close();
  const { queues, vnetHeaderSize } = await native().tunOpen(inner, { name: 'tap0', flags, queues: 1 });
  t.equal(vnetHeaderSize, 10);
  native().close(queues[0]!);
});

await t.test('holders: who has which TAP of that name', { skip }, async (t) => {
  const [here, there] = [await fresh(t), await fresh(t)];
  const [one, other] = [await createTap(here, 'tap0', { queues: 4 }), await createTap(there, 'tap0', { queues: 4 })];
  t.same(await one.holders(), []);
  const hold = async (tap: Tap, count: number, command: string) => {
    await using fds = await tap.takeFds();
    const child = spawn(command, ['30'], { stdio: ['ignore', 'ignore', 'ignore', ...fds.fds.slice(0, count)] });
    t.teardown(() => child.kill());
    await once(child, 'spawn');
    return child.pid!;
  };
  const [a, b, c] = [await hold(one, 4, 'sleep'), await hold(other, 2, 'sleep'), await hold(other, 1, 'sleep')];
  t.same(await one.holders(), [{ pid: a, command: 'sleep', queues: 4 }]);
  const byPid = (x: { pid: number }, y: { pid: number }): number => x.pid - y.pid;
  t.same([...(await other.holders())].sort(byPid), [{ pid: b, command: 'sleep', queues: 2 }, { pid: c, command: 'sleep', queues: 1 }].sort(byPid)); // prettier-ignore
  const own = closing(t, await createTap(here, 'tap1', { persist: false, queues: 2 }));
  t.match(await own.holders(), [{ pid: process.pid, queues: 2 }], 'this process is one too');
  await setLink(here, 'tap1', { up: false });
  await setLink(here, 'tap1', { name: 'renamed' });
  await own.close();
  await t.rejects(own.holders(), { code: 'ERR_HANDLE_CLOSED' });
});

await t.test('waiting for somebody to attach, and to leave', { skip }, async (t) => {
  const netns = await fresh(t);
  const tap = closing(t, await createTap(netns, 'tap0'));
  const before = descriptors();
  await tap.waitDetached();
  let attached = false;
  const waiting = tap.waitAttached().then(() => (attached = true));
  await pause(30);
  t.equal(attached, false);
  const fds = await tap.takeFds();
  await waiting;
  await tap.waitAttached();
  let detached = false;
  const leaving = tap.waitDetached().then(() => (detached = true));
  await pause(30);
  t.equal(detached, false);
  fds.close();
  await leaving;

  await t.rejects(tap.waitAttached({ signal: AbortSignal.abort() }), { name: 'AbortError' });
  const controller = new AbortController();
  const aborted = tap.waitAttached({ signal: controller.signal });
  setTimeout(() => controller.abort(), 20);
  await t.rejects(aborted, { name: 'AbortError' });
  await t.rejects(tap.waitAttached({ signal: AbortSignal.timeout(10) }), { name: 'TimeoutError' });
  await t.rejects(tap.waitAttached({ signal: 'now' as never }), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' });

  const several = [tap.waitAttached(), tap.waitAttached(), tap.waitAttached({ signal: new AbortController().signal })];
  const held = await tap.takeFds();
  await Promise.all(several);
  held.close();

  const forever = tap.waitAttached();
  await pause(20);
  await deleteLink(netns, 'tap0');
  await t.rejects(forever, { code: 'ENODEV', message: /'tap0' is gone/ });
  await t.rejects(tap.waitAttached(), { code: 'ENODEV' });
  await tap.waitDetached();
  const second = await createTap(netns, 'tap1');
  const secondFds = await second.takeFds();
  const gone = second.waitDetached();
  await pause(20);
  await deleteLink(netns, 'tap1');
  await gone;
  secondFds.close();
  t.ok(await until(() => descriptors() === before), `${descriptors()} descriptors`);
});

await t.test('frames both ways', { skip }, async (t) => {
  for (const vnetHdr of [false, true]) {
    for (const queues of [1, 4]) {
      const netns = await fresh(t);
      const tap = await quiet(t, netns, 'tap0', { vnetHdr, queues });
      t.equal(tap.vnetHeaderBytes, vnetHdr ? 10 : 0);
      const wire = closing(t, await openPacketSocket(netns, 'tap0', { outgoing: false, bufferSize: 16 << 20 }));
      const [count, header] = [5000, new Uint8Array(tap.vnetHeaderBytes)];
      const incoming = wire.frames();
      const heard = new Map<number, number>();
      const listening = (async () => {
        for await (const batch of incoming) {
          for (const bytes of batch) heard.set(numberOf(bytes), bytes.length);
          if (heard.size === count) return;
        }
      })();
      const outgoing = tap.frames();
      const got = new Map<number, number>();
      const headers = new Set<string>();
      let received = 0;
      const reading = (async () => {
        for await (const batch of outgoing) {
          for (const bytes of batch) {
            got.set(numberOf(bytes.subarray(tap.vnetHeaderBytes)), bytes.length - tap.vnetHeaderBytes);
            headers.add(Buffer.from(bytes.subarray(0, tap.vnetHeaderBytes)).toString('hex'));
            received++;
          }
          if (got.size === count) return;
        }
      })();
      await tap.waitAttached();
      for (let at = 0; at < count; at += 100) {
        const batch = Array.from({ length: 100 }, (_, index) => frame(at + index, 60 + ((at + index) % 1400)));
        t.equal(await tap.send(batch.map((bytes) => (vnetHdr ? Buffer.concat([header, bytes]) : bytes))), 100, { diagnostic: false });
        t.equal(await wire.send(batch), 100, { diagnostic: false });
        while (received < at - 400) await pause(1);
      }
      await Promise.all([listening, reading]);
      const right = (map: Map<number, number>): boolean => Array.from({ length: count }, (_, number) => map.get(number) === 60 + (number % 1400)).every(Boolean); // prettier-ignore
      t.ok(right(heard), `sent by the guest (${vnetHdr}, ${queues})`);
      t.ok(right(got), 'read by the guest');
      t.same([...headers], [vnetHdr ? '00'.repeat(10) : '']);
      t.equal(received, count, 'none twice');
    }
  }
});

await t.test("frames in order, in batches, that stay the reader's", { skip }, async (t) => {
  const netns = await fresh(t);
  const tap = await quiet(t, netns);
  const frames = tap.frames();
  const first = frames.next();
  await tap.waitAttached();
  const wire = closing(t, await openPacketSocket(netns, 'tap0', { protocol: 0 }));
  await wire.send([frame(0)]);
  t.same(
    (await first).value!.map((bytes) => numberOf(bytes)),
    [0],
  );
  await wire.send(Array.from({ length: 300 }, (_, index) => frame(index, 500)));
  const batches = await take(frames, 2);
  t.ok(batches[0]!.length > 100, `${batches[0]!.length} frames in the first batch`);
  t.same(
    batches.flat().map((bytes) => numberOf(bytes)),
    Array.from({ length: batches.flat().length }, (_, index) => index),
  );
});

await t.test('a reader that rests leaves the frames to the kernel', { skip }, async (t) => {
  const netns = await fresh(t);
  const tap = await quiet(t, netns);
  const frames = tap.frames();
  const first = frames.next();
  await tap.waitAttached();
  const wire = closing(t, await openPacketSocket(netns, 'tap0', { protocol: 0 }));
  await wire.send([frame(0)]);
  await first;
  await wire.send(Array.from({ length: 900 }, (_, index) => frame(index)));
  const { value } = await frames.next();
  await pause(20);
  const taken = await tap.takeFds();
  const [fd] = taken.fds;
  const into = Buffer.alloc(2000);
  const rest: number[] = [];
  for (;;) {
    try {
      rest.push(numberOf(into.subarray(0, readSync(fd!, into))));
    } catch (error) {
      t.match(error, { code: 'EAGAIN' });
      break;
    }
  }
  const read = value!.map((bytes) => numberOf(bytes));
  t.ok(rest.length > 500, `${read.length} were read, ${rest.length} were not`);
  t.same(
    [...read, ...rest],
    Array.from({ length: 900 }, (_, index) => index),
  );
  // Sending has a limit too: what nobody takes is refused where it can be, and counted.
  t.equal(writeSync(fd!, frame(1)), 64);
  taken.close();
  t.same(await frames.next(), { done: true, value: undefined }, 'what was handed over is read by others');
});

await t.test('big frames', { skip }, async (t) => {
  const netns = await fresh(t);
  const tap = await quiet(t, netns, 'tap0', { mtu: 65_521 });
  const wire = closing(t, await openPacketSocket(netns, 'tap0', { outgoing: false, bufferSize: 16 << 20 }));
  const sizes = [65_535, 64, 60_000, 9000, 65_535, 65_535, 65_535, 1514];
  const batch = sizes.map((size, number) => frame(number, size));
  const outgoing = tap.frames();
  const first = outgoing.next();
  await tap.waitAttached();
  await wire.send(batch);
  const got = [...(await first).value!];
  while (got.length < sizes.length) got.push(...(await outgoing.next()).value!);
  t.same(got.map((bytes) => [numberOf(bytes), bytes.length]), sizes.map((size, number) => [number, size])); // prettier-ignore
  const incoming = wire.frames();
  const next = incoming.next();
  t.equal(await tap.send(batch), sizes.length);
  const heard = [...(await next).value!];
  while (heard.length < sizes.length) heard.push(...(await incoming.next()).value!);
  t.same(heard.map((bytes) => [numberOf(bytes), bytes.length]), sizes.map((size, number) => [number, size])); // prettier-ignore
});

await t.test('what the kernel refuses', { skip }, async (t) => {
  const netns = await fresh(t);
  const tap = await quiet(t, netns);
  await t.rejects(tap.send([new Uint8Array(13)]), { code: 'EINVAL' }, 'no Ethernet header');
  t.equal(await tap.send([frame(0), frame(1), new Uint8Array(13), frame(2)]), 2, 'those before it were sent');
  t.equal(await tap.send([]), 0);
  await setLink(netns, 'tap0', { up: false });
  await t.rejects(tap.send([frame(0)]), { code: 'EIO' }, 'down');
  const headed = await quiet(t, netns, 'tap1', { vnetHdr: true });
  await t.rejects(headed.send([new Uint8Array(9)]), { code: 'EINVAL' }, 'shorter than the vnet header');
});

await t.test('UDP through the TAP', { skip }, async (t) => {
  const host = { address: '10.9.0.1', port: 7000 };
  const guest = { mac: '02:00:00:00:00:02', address: '10.9.0.2', port: 9000 };
  for (const [vnetHdr, offload] of [
    [false, {}],
    [true, {}],
    [true, { csum: true }],
  ] as const) {
    const netns = await fresh(t);
    const tap = await quiet(t, netns, 'tap0', { vnetHdr, offload });
    await addAddress(netns, 'tap0', `${host.address}/24`);
    await setNeighbor(netns, 'tap0', { address: guest.address, mac: guest.mac });
    const fd = await netns.openSocket({ type: 'udp', ...host });
    const socket = createSocket('udp4');
    t.teardown(() => socket.close());
    socket.bind({ fd } as never);
    const frames = tap.frames();
    const first = frames.next();
    await tap.waitAttached();
    socket.send('from the host', guest.port, guest.address);
    const [packet] = (await first).value!;
    const header = packet!.subarray(0, tap.vnetHeaderBytes);
    const bytes = packet!.subarray(tap.vnetHeaderBytes);
    t.equal(typeOf(bytes), 0x0800);
    t.equal(Buffer.from(bytes.subarray(42)).toString(), 'from the host');
    const open = vnetHdr && 'csum' in offload;
    t.equal(udpIsValid(bytes), !open, 'the kernel fills in the checksum unless the guest takes it open');
    if (vnetHdr) t.equal(header[0], open ? 1 : 0, 'VIRTIO_NET_HDR_F_NEEDS_CSUM');
    const heard = once(socket, 'message');
    const answer = udp(guest, { ...host, mac: tap.mac }, Buffer.from('from the guest'));
    await tap.send([vnetHdr ? Buffer.concat([new Uint8Array(10), answer]) : answer]);
    t.equal(String((await heard)[0]), 'from the guest');
  }
});

await t.test('under a bridge, to another port', { skip }, async (t) => {
  const netns = await fresh(t);
  await createBridge(netns, 'br0', { stp: false, forwardDelay: 0, multicastSnooping: false });
  await createVeth(netns, 'v0', { master: 'br0', up: true, addrGenMode: 'none', peer: { name: 'v1', up: true, addrGenMode: 'none' } });
  await setLink(netns, 'br0', { addrGenMode: 'none', up: true });
  const tap = closing(t, await createTap(netns, 'tap0', { up: false }));
  await setLink(netns, 'tap0', { master: 'br0', addrGenMode: 'none', up: true });
  const far = closing(t, await openPacketSocket(netns, 'v1', { protocol: 0x88b5, outgoing: false }));
  const [toGuest, toFar] = [tap.frames(), far.frames()];
  const [first, other] = [toGuest.next(), toFar.next()];
  await tap.waitAttached();
  for (const port of ['tap0', 'v0']) t.ok(await until(() => shown(netns, port).linkinfo.info_slave_data?.state === 'forwarding'));
  await tap.send([frame(1, 1514)]);
  t.same(
    (await other).value!.map((bytes) => numberOf(bytes)),
    [1],
  );
  await far.send([frame(2, 1514)]);
  t.same(
    (await first).value!.map((bytes) => numberOf(bytes)),
    [2],
  );
});

await t.test('the end of an iteration', { skip }, async (t) => {
  const before = descriptors();
  const netns = await Netns.create();
  const attempt = async (name: string, end: (tap: Tap, controller: AbortController) => unknown, busy: boolean): Promise<string> => {
    const tap = await createTap(netns, name, { queues: busy ? 1 : 2 });
    await setLink(netns, name, { addrGenMode: 'none' });
    const controller = new AbortController();
    const frames = tap.frames({ signal: controller.signal });
    const first = frames.next();
    await tap.waitAttached();
    let outcome: string;
    if (busy) {
      // It rests at a yield, with more to read.
      await using wire = await openPacketSocket(netns, name, { protocol: 0 });
      await wire.send([frame(0)]);
      await first;
      await wire.send([frame(1), frame(2)]);
      await end(tap, controller);
      outcome = await frames.next().then(({ done }) => (done ? 'done' : 'more'), (error: Error & { code?: string }) => error.code ?? error.name); // prettier-ignore
    } else {
      await pause(10);
      await end(tap, controller);
      outcome = await first.then(({ done }) => (done ? 'done' : 'more'), (error: Error & { code?: string }) => error.code ?? error.name); // prettier-ignore
    }
    t.same(await frames.next(), { done: true, value: undefined });
    await tap.close();
    await deleteLink(netns, name);
    return outcome;
  };
  for (const busy of [false, true]) {
    t.equal(await attempt('a0', (_, controller) => controller.abort(), busy), 'done', `by abort, ${busy}`);
    t.equal(await attempt('c0', (tap) => tap.close(), busy), 'done', `by close, ${busy}`);
    t.equal(await attempt('d0', (tap) => deleteLink(netns, tap.name), busy), 'done', `by deletion, ${busy}`);
  }
  const tap = await createTap(netns, 'tap0');
  t.same(await tap.frames({ signal: AbortSignal.abort() }).next(), { done: true, value: undefined });
  await t.rejects(tap.frames({ signal: 1 as never }).next(), { name: 'TypeError' });
  await deleteLink(netns, 'tap0');
  await t.rejects(tap.send([frame(0)]), { code: 'EBADFD' }, 'sending to one that is gone');
  await tap.close();
  await t.rejects(tap.frames().next(), { code: 'ERR_HANDLE_CLOSED' });
  await t.rejects(tap.send([frame(0)]), { code: 'ERR_HANDLE_CLOSED' });
  const refused = await createTap(netns, 'tap1');
  const opening = refused.frames().next();
  await refused.close();
  await opening.catch((error: unknown) => t.match(error, { code: 'ERR_HANDLE_CLOSED' }));
  await netns.close();
  t.equal(descriptors(), before, 'closed while it was being opened');
});

await t.test('whoever needs a descriptor first opens it for all', { skip }, async (t) => {
  const netns = await fresh(t);
  for (const queues of [1, 2]) {
    const before = descriptors();
    const tap = await createTap(netns, `tap${queues}`, { queues });
    const reading = tap.frames().next();
    t.same(await Promise.all([tap.send([frame(0)]), tap.send([frame(1)])]), [1, 1]);
    t.equal(descriptors(), before + queues);
    await tap.close();
    await reading;
    t.equal(descriptors(), before);
  }
});

await t.test('queues: attached, detached, and who gets the frames', { skip }, async (t) => {
  const netns = await fresh(t);
  await quiet(t, netns, 'tap0', { queues: 2 });
  const inner = attachment(netns).netns;
  const { queues } = await native().tunOpen(inner, { name: 'tap0', flags: IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE, queues: 2 });
  const wire = closing(t, await openPacketSocket(netns, 'tap0', { protocol: 0 }));
  const [into, ends] = [new Uint8Array(256 * 1024), new Uint32Array(256)];
  const counts = async (): Promise<number[]> => {
    // 50 flows, told apart by their addresses.
    await wire.send(Array.from({ length: 50 }, (_, flow) => udp({ mac: '02:00:00:00:00:01', address: `10.1.0.${flow + 1}`, port: 1000 + flow }, { mac: '02:00:00:00:00:02', address: '10.2.0.1', port: 53 }, new Uint8Array(10)))); // prettier-ignore
    await pause(5);
    return queues.map((queue) => Math.max(0, native().readTun(queue, into, ends)));
  };
  await until(async () => (await getLink(netns, 'tap0'))?.carrier === true);
  const [first, second] = await counts();
  t.ok(first! > 5 && second! > 5 && first! + second! === 50, `${first} and ${second}`);
  await native().tunSetQueue(queues[1]!, false);
  t.match(shown(netns, 'tap0').linkinfo.info_data, { numqueues: 1, numdisabled: 1 });
  t.same(await counts(), [50, 0], 'a detached queue gets nothing');
  await t.rejects(native().tunSetQueue(queues[1]!, false), { name: 'Error', errno: 22, syscall: 'ioctl(TUNSETQUEUE)' });
  await native().tunSetQueue(queues[1]!, true);
  t.match(shown(netns, 'tap0').linkinfo.info_data, { numqueues: 2, numdisabled: 0 });
  t.ok((await counts())[1]! > 5);
  t.match(await native().tunInfo(queues[1]!), { name: 'tap0' });
  for (const queue of queues) native().close(queue);
  await t.rejects(native().tunSetQueue(queues[1]!, true), { name: 'Error', errno: 9 });
  t.ok((await native().tunFeatures()) & IFF_MULTI_QUEUE);
});

await t.test('setActiveQueues: idle queues get nothing, and are attached again when they are handed over', { skip }, async (t) => {
  const netns = await fresh(t);
  const tap = closing(t, await createTap(netns, 'tap0', { queues: 3 }));
  const active = (): unknown => shown(netns, 'tap0').linkinfo.info_data;
  await tap.setActiveQueues(1);
  t.match(active(), { numqueues: 1, numdisabled: 2 });
  await tap.setActiveQueues(1);
  await tap.setActiveQueues(2);
  t.match(active(), { numqueues: 2, numdisabled: 1 });
  await t.rejects(tap.setActiveQueues(0), { code: 'ERR_INVALID_ARG_VALUE' });
  await t.rejects(tap.setActiveQueues(4), { code: 'ERR_INVALID_ARG_VALUE' });
  const fds = await tap.takeFds();
  t.match(active(), { numqueues: 3, numdisabled: 0 });
  fds.close();
});
