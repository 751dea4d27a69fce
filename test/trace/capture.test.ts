// Captures: what is heard, and files of it that tcpdump reads.
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Netns, addAddress, createVeth, deleteLink, openPacketSocket, setLink } from 'podtap';
import { ping } from 'podtap/lab';
import {
  type Capture,
  type CaptureFilter,
  type CaptureOptions,
  arp,
  capture,
  encodeCaptures,
  etherType,
  icmp,
  tcpPort,
  udpPort,
  writeCaptures,
} from 'podtap/trace';
import t, { type Test } from 'tap';
import { encodeFrame } from '../../lib/wire/frame.js';
import { frame as numbered, numberOf } from '../kernel/frames.js';
import { fresh } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { readPcapng } from './pcapng.js';

const [NEAR, FAR] = ['02:00:00:00:00:01', '02:00:00:00:00:02'];

async function wire(t: Test): Promise<{ netns: Netns; hear: (link: string, options?: CaptureOptions) => Promise<Capture> }> {
  const netns = await fresh(t);
  const end = { up: true, addrGenMode: 'none' } as const;
  await createVeth(netns, 'v0', { ...end, mac: NEAR, peer: { ...end, name: 'v1', mac: FAR } });
  return {
    netns,
    hear: async (link, options) => {
      const capturing = await capture(netns, link, options);
      t.teardown(() => capturing.close());
      return capturing;
    },
  };
}

/** Some of each kind. */
function assortment(): Uint8Array[] {
  const ip = (packet: object, version6 = false): Uint8Array =>
    encodeFrame({ source: NEAR, destination: FAR, type: version6 ? 0x86dd : 0x0800, packet: { source: version6 ? 'fd00::1' : '10.0.0.1', destination: version6 ? 'fd00::2' : '10.0.0.2', ttl: 9, length: 80, protocol: 'udp', ...packet } }); // prettier-ignore
  const ports = (source: number, destination: number): object => ({ ports: { source, destination } });
  return [
    ip({ protocol: 'icmp', icmp: { type: 8, code: 0 } }),
    ip({ protocol: 'icmpv6', icmp: { type: 128, code: 0 } }, true),
    ...[true, false].flatMap((six) => ['udp', 'tcp', 'sctp'].flatMap((protocol) => [ip({ protocol, ...ports(53, 9) }, six), ip({ protocol, ...ports(9, 53) }, six), ip({ protocol, ...ports(9, 10) }, six)])),
    ip({ ...ports(53, 53), fragmentOffset: 800 }),
    encodeFrame({ source: NEAR, destination: 'ff:ff:ff:ff:ff:ff', type: 0x0806, arp: { operation: 'request', sender: { mac: NEAR, address: '10.0.0.1' }, target: { mac: '00:00:00:00:00:00', address: '10.0.0.2' } } }),
    encodeFrame({ source: NEAR, destination: FAR, vlans: [7], type: 0x0800, packet: { source: '10.0.0.1', destination: '10.0.0.2', ttl: 9, length: 80, protocol: 'udp', ports: { source: 53, destination: 53 } } }),
    numbered(1),
  ]; // prettier-ignore
}

await t.test('both directions, whole, with the time', async (t) => {
  const { netns, hear } = await wire(t);
  const [near, far] = [await hear('v0'), await hear('v1')];
  await using socket = await openPacketSocket(netns, 'v0');
  const before = BigInt(Date.now() - 1) * 1_000_000n;
  const sent = assortment();
  await socket.send(sent);
  const [left, came] = [await near.stop(), await far.stop()];
  const after = BigInt(Date.now() + 1) * 1_000_000n;
  for (const frames of [left, came]) {
    t.strictSame(frames.map(({ bytes }) => Buffer.from(bytes).toString('hex')), sent.map((bytes) => Buffer.from(bytes).toString('hex'))); // prettier-ignore
    t.ok(frames.every(({ bytes, length }) => bytes.length === length));
    t.ok(frames.every(({ time }, index) => time >= before && time <= after && time >= (frames[index - 1]?.time ?? 0n)));
  }
  t.ok(left.every(({ direction, type }) => direction === 'out' && type === 'outgoing'));
  t.ok(came.every(({ direction }) => direction === 'in'));
  t.strictSame([...new Set(came.map(({ type }) => type))].sort(), ['broadcast', 'host']);
  t.strictSame(came.at(-2)?.frame?.vlans, [7]);
  t.strictSame(far.statistics(), { received: sent.length, dropped: 0 });
});

await t.test('a limit, a signal, and frames as they come', async (t) => {
  const { netns, hear } = await wire(t);
  await using socket = await openPacketSocket(netns, 'v0');
  const limited = await hear('v1', { limit: 3 });
  const collecting = limited.collect();
  await socket.send([1, 2, 3, 4].map((number) => numbered(number)));
  t.strictSame((await collecting).map(({ bytes }) => numberOf(bytes)), [1, 2, 3]); // prettier-ignore
  const stop = new AbortController();
  const endless = await hear('v1', { signal: stop.signal });
  const seen: number[] = [];
  const reading = (async () => {
    for await (const { bytes } of endless) seen.push(numberOf(bytes));
  })();
  await socket.send([numbered(5)]);
  stop.abort();
  await reading;
  t.strictSame(seen, [5], 'what had come before the end');
  await t.rejects(endless.collect(), { code: 'ERR_HANDLE_CLOSED' });
  const aborted = await hear('v1', { signal: AbortSignal.abort() });
  t.strictSame(await aborted.collect(), []);
  await t.rejects(capture(netns, 'v9'), { code: 'ENODEV' });
  await t.rejects(capture(netns, 'v1', { limit: 0 }), { code: 'ERR_INVALID_ARG_VALUE' });
  const going = await hear('v1');
  const ended = t.rejects(going.collect(), { code: 'ENETDOWN' }, 'the interface is gone');
  await deleteLink(netns, 'v0');
  await ended;
});

await t.test('what finds no room is counted', async (t) => {
  const { netns, hear } = await wire(t);
  await using socket = await openPacketSocket(netns, 'v0');
  const small = await hear('v1', { bufferSize: 1 });
  const count = 4000;
  for (let at = 0; at < count; at += 500) await socket.send(Array.from({ length: 500 }, (_, index) => numbered(at + index, 1000)));
  const { received, dropped } = small.statistics();
  t.equal(received, count);
  t.ok(dropped > 0);
  const frames = await small.stop();
  t.equal(frames.length, received - dropped);
  t.strictSame(frames.map(({ bytes }) => numberOf(bytes)), Array.from({ length: frames.length }, (_, index) => index)); // prettier-ignore
  // What has room is not lost, however much it is.
  const large = await hear('v1', { bufferSize: 8 << 20 });
  const reading = large.collect();
  for (let at = 0; at < count; at += 500) await socket.send(Array.from({ length: 500 }, (_, index) => numbered(at + index, 1000)));
  await large.stop();
  t.equal((await reading).length + large.statistics().dropped, count);
  t.equal(large.statistics().dropped, 0);
});

await t.test('ready filters take what tcpdump takes', async (t) => {
  const { netns, hear } = await wire(t);
  const folder = t.testdir({});
  const filters: readonly (readonly [filter: CaptureFilter, expression: string])[] = [
    [icmp(), 'icmp or icmp6'],
    [arp(), 'arp'],
    [udpPort(53), 'udp port 53'],
    [tcpPort(53), 'tcp port 53'],
    [tcpPort(9), 'tcp port 9'],
    [etherType(0x88b5), 'ether proto 0x88b5'],
    [etherType(0x86dd), 'ip6'],
  ];
  const captures = await Promise.all(filters.map(([filter]) => hear('v1', { filter })));
  await using socket = await openPacketSocket(netns, 'v0');
  const sent = assortment().filter((bytes) => bytes[12] !== 0x81); // the kernel takes the tag off before a filter sees it
  await socket.send(sent);
  const all = join(folder, 'all.pcapng');
  await writeCaptures(all, [{ name: 'v1', frames: sent.map((bytes, index) => ({ time: BigInt(index), direction: 'in', type: 'host', length: bytes.length, bytes, frame: undefined })) }]); // prettier-ignore
  for (const [index, [, expression]] of filters.entries()) {
    const took = (await captures[index]!.stop()).map(({ bytes }) => Buffer.from(bytes).toString('hex'));
    const wanted = readPcap(tcpdump(all, '-w', '-', expression));
    t.not(wanted.length, 0, expression);
    t.strictSame(took, wanted, expression);
  }
  t.throws(() => udpPort(0), { code: 'ERR_INVALID_ARG_VALUE' });
});

await t.test('a file of several interfaces', async (t) => {
  const { netns, hear } = await wire(t);
  await addAddress(netns, 'v0', '10.0.0.1/24');
  const [near, far] = [await hear('v0'), await hear('v1')];
  await using socket = await openPacketSocket(netns, 'v0');
  await socket.send(assortment());
  await ping(netns, '10.0.0.9', { timeout: 20 }).catch(() => undefined); // asks by ARP
  const interfaces = [
    { name: 'pod/v0', frames: await near.stop(), statistics: near.statistics() },
    { name: 'node/v1', frames: await far.stop(), statistics: far.statistics() },
  ];
  const path = join(t.testdir({}), 'both.pcapng');
  writeFileSync(path, 'what was there', { mode: 0o644 });
  await writeCaptures(path, interfaces);
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.strictSame(readFileSync(path), Buffer.from(encodeCaptures(interfaces)));

  const read = readPcapng(readFileSync(path));
  t.strictSame(
    read.interfaces,
    ['pod/v0', 'node/v1'].map((name) => ({ name, resolution: 9, linkType: 1 })),
  );
  t.strictSame(read.statistics, interfaces.map(({ statistics }) => ({ received: BigInt(statistics.received), dropped: 0n }))); // prettier-ignore
  const told = interfaces.flatMap(({ frames }, of) => frames.map(({ time, bytes, length, direction }) => ({ of, time, length, direction, bytes: Buffer.from(bytes).toString('hex') }))); // prettier-ignore
  const order = (a: { time: bigint; of: number }, b: { time: bigint; of: number }): number => Number(a.time - b.time) || a.of - b.of;
  t.strictSame([...read.packets].sort(order), told.sort(order));
  t.ok(
    read.packets.every(({ time }, index) => time >= (read.packets[index - 1]?.time ?? 0n)),
    'in order',
  );

  const lines = tcpdump(path, '-nett', '--nano')
    .toString()
    .split('\n')
    .filter((line) => /^\d/.test(line)); // others go on
  t.equal(lines.length, told.length);
  t.match(lines[0], new RegExp(`^${String(read.packets[0]!.time / 1_000_000_000n)}\\.\\d{9} .*10\\.0\\.0\\.1 > 10\\.0\\.0\\.2: ICMP echo request`)); // prettier-ignore
  t.match(lines.join('\n'), /vlan 7/);
});

await t.test("Wireshark's own programs read the same", { skip: requires('tshark') }, async (t) => {
  const { hear, netns } = await wire(t);
  const [near, far] = [await hear('v0', { filter: cutTo(60) }), await hear('v1')];
  await using socket = await openPacketSocket(netns, 'v0');
  await socket.send(assortment());
  const interfaces = [
    { name: 'pod/v0', frames: await near.stop(), statistics: near.statistics() },
    { name: 'node/v1', frames: await far.stop(), statistics: { received: 7, dropped: 3 } },
    { name: 'node/quiet', frames: [] },
  ];
  // All ways in which a frame is addressed.
  const strange = (['multicast', 'otherhost'] as const).map((type, index) => ({ ...interfaces[1]!.frames[0]!, type, time: interfaces[1]!.frames.at(-1)!.time + BigInt(1 + index) })); // prettier-ignore
  interfaces[1]!.frames = [...interfaces[1]!.frames, ...strange];
  const path = join(t.testdir({}), 'three.pcapng');
  await writeCaptures(path, interfaces);

  const told = interfaces.flatMap(({ name, frames }, of) => frames.map((frame) => ({ ...frame, name, of })));
  const fields = ['time_epoch', 'interface_id', 'interface_name', 'packet_flags_direction', 'packet_flags_reception_type', 'len', 'cap_len', 'comment']; // prettier-ignore
  const lines = program(
    'tshark',
    '-r',
    path,
    '-n',
    '-t',
    'e',
    '-T',
    'fields',
    ...fields.flatMap((name) => ['-e', `frame.${name}`]),
    '-e',
    'eth.src',
  );
  const read = lines.split('\n').filter((line) => line !== '').map((line) => line.split('\t')); // prettier-ignore
  const reception = { outgoing: 0, host: 1, multicast: 2, broadcast: 3, otherhost: 4, loopback: 0 };
  const wanted = told.map(({ time, of, name, direction, type, length, bytes, frame }) => [`${time / 1_000_000_000n}.${String(time % 1_000_000_000n).padStart(9, '0')}`, `${of}`, name, direction === 'out' ? 2 : 1, `${reception[type]}`, `${length}`, `${bytes.length}`, '', frame!.source]); // prettier-ignore
  t.strictSame(read.map(([time, of, name, direction, ...rest]) => [time, of, name, Number(direction), ...rest]).sort(), wanted.sort()); // prettier-ignore
  t.strictSame([...new Set(read.map((words) => words[4]))].sort(), ['0', '1', '2', '3', '4']);
  t.ok(told.some(({ length, bytes }) => bytes.length < length));
  // Nothing in it that Wireshark wonders about.
  t.equal(program('tshark', '-r', path, '-n', '-Y', '_ws.malformed && frame.len == frame.cap_len && !sctp'), '');

  const information = program('capinfos', '-M', path);
  t.match(information, /^File type: +pcapng$/m);
  t.match(information, /^File timestamp precision: +nanoseconds \(9\)$/m);
  t.match(information, new RegExp(`^Number of packets: +${told.length}$`, 'm'));
  t.match(information, /^Strict time order: +True$/m);
  t.match(information, /^Capture application: +podtap$/m);
  const each = [...information.matchAll(/Name = (.*)$[^#]*Number of stat entries = (\d+)\n +Number of packets = (\d+)$/gm)].map(([, name, entries, packets]) => [name, Number(entries), Number(packets)]); // prettier-ignore
  t.strictSame(each, interfaces.map(({ name, frames, ...more }) => [name, 'statistics' in more ? 1 : 0, frames.length])); // prettier-ignore
});

/** Takes so many bytes of all. */
function cutTo(bytes: number): CaptureFilter {
  return [[0x06, 0, 0, bytes]];
}

function program(name: string, ...args: readonly string[]): string {
  return execFileSync(name, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

await t.test('one that is down says so', async (t) => {
  const { netns, hear } = await wire(t);
  const capturing = await hear('v1');
  const ended = t.rejects(capturing.collect(), { code: 'ENETDOWN' });
  await setLink(netns, 'v1', { up: false });
  await ended;
});

/** As nobody: as root it would become a user whom this namespace does not have. */
function tcpdump(path: string, ...args: readonly string[]): Buffer {
  return execFileSync('unshare', ['--user', 'tcpdump', '-r', '-', ...args], { input: readFileSync(path), stdio: ['pipe', 'pipe', 'pipe'] });
}

/** The old format: a header of 24 bytes, and one of 16 before each frame. */
function readPcap(file: Buffer): string[] {
  const frames: string[] = [];
  for (let at = 24; at < file.length;) {
    const length = file.readUInt32LE(at + 8);
    frames.push(file.toString('hex', at + 16, at + 16 + length));
    at += 16 + length;
  }
  return frames;
}
