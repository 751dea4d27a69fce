import { channel } from 'node:diagnostics_channel';
import { Netns, NetlinkError, createLink, deleteLink, getLink, listLinks } from 'podtap';
import t from 'tap';
import { DumpInterruptedError } from '../../lib/errors.js';
import { attachment } from '../../lib/kernel/netns.js';
import { dump, dumps, request } from '../../lib/kernel/netlink.js';
import { native } from '../../lib/native.js';
import { Bytes } from '../../lib/wire/bytes.js';
import { RTM_DELLINK, RTM_NEWLINK, RTM_NEWLINKPROP, RTM_SETLINK, decodeLink, encodeLink, encodeLinkDump, encodeLinkGet } from '../../lib/wire/link.js'; // prettier-ignore
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP_INTR, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, eachMessage } from '../../lib/wire/message.js'; // prettier-ignore
import { Writer } from '../../lib/wire/writer.js';
import { requires } from '../support/requires.js';
import { again, fixture, fresh, inside, until } from '../support/inside.js';
import { since } from '../support/since.js';

const creation = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
const bridge = (name: string): Uint8Array => encodeLink(RTM_NEWLINK, creation, { name, kind: 'bridge' });
const ifb = (name: string): Uint8Array => encodeLink(RTM_NEWLINK, creation, { name, kind: 'ifb' });
const veth = (name: string, group = 0): Uint8Array =>
  encodeLink(RTM_NEWLINK, creation, { name, kind: 'veth', group, peer: { name: `${name}p`, group } });
const deleteGroup = (group: number): Uint8Array => encodeLink(RTM_DELLINK, NLM_F_ACK, { group });
const socketOf = (netns: Netns) => attachment(netns).socket;
const names = (links: readonly { readonly name: string }[]): string[] => links.map(({ name }) => name).sort();

interface Trip {
  readonly messages: Uint8Array;
  readonly replies: Uint8Array;
  readonly milliseconds: number;
}
/** Everything that goes over a netlink socket while `work` runs. */
async function traced(work: () => Promise<unknown>): Promise<Trip[]> {
  const trips: Trip[] = [];
  const keep = (trip: unknown): void => void trips.push(trip as Trip);
  channel('podtap:netlink').subscribe(keep);
  try {
    await work();
  } finally {
    channel('podtap:netlink').unsubscribe(keep);
  }
  return trips;
}
function flagsIn({ replies }: Trip): number {
  let flags = 0;
  eachMessage(Bytes.copy(replies), replies.length, (message) => (flags |= message.flags));
  return flags;
}

await t.test('a batch stops at the first error and says which', async (t) => {
  for (const wrong of [0, 2, 5]) {
    const netns = await fresh(t);
    const batch = Array.from({ length: 6 }, (_, index) => ifb(index === wrong ? 'lo' : `b${index}`));
    const error = await request(socketOf(netns), batch).catch((error: unknown) => error);
    t.type(error, NetlinkError);
    t.match(error, { index: wrong, code: 'EEXIST', errno: -17, syscall: 'RTM_NEWLINK' });
    t.match((error as Error).message, /^EEXIST: file exists, RTM_NEWLINK/);
    const done = Array.from({ length: wrong }, (_, index) => `b${index}`);
    t.same(names(await listLinks(netns)), [...done, 'lo'], 'what stood before was done, what stood behind was not');
    const reply = await native().netlinkRequest(socketOf(netns), Buffer.concat([ifb('c0'), ifb('lo'), ifb('c1')]));
    t.match(reply, { completed: 1, errno: 0, syscall: undefined });
  }
});

await t.test('what the kernel says about an error', async (t) => {
  const netns = await fresh(t);
  const long = request(socketOf(netns), [bridge('a'), encodeLink(RTM_NEWLINK, creation, { name: 'a-name-of-20-letters', kind: 'bridge' })]);
  await t.rejects(long, {
    index: 1,
    code: 'ERANGE',
    extack: { message: 'Attribute failed policy validation', attribute: 'IFLA_IFNAME', offset: 32, policy: { maxLength: 15 } },
  });
});

await t.test('answers belong to their requests', async (t) => {
  const netns = await fresh(t);
  const answers = await request(socketOf(netns), [
    encodeLinkGet('lo'),
    encodeLink(RTM_NEWLINK, creation | NLM_F_ECHO, { name: 'b0', kind: 'bridge', ifindex: 70 }),
    encodeLink(RTM_SETLINK, NLM_F_ACK, { ifindex: 70, mtu: 1400 }),
    encodeLinkGet('b0'),
    encodeLinkDump({}),
    encodeLinkGet(1),
  ]);
  const links = answers.map(({ from, messages }) => messages.map((message) => decodeLink(from, message)));
  // RTM_NEWLINK is echoed since Linux 6.2.
  const echo = since(6, 2) ? 'b0 1500' : '';
  t.same(
    links.map((each) => each.map(({ name, mtu }) => `${name} ${mtu}`).join()),
    ['lo 65536', echo, '', 'b0 1400', 'lo 65536,b0 1400', 'lo 65536'],
  );
});

await t.test('500 at once, on one handle and on several', async (t) => {
  const handles = await Promise.all([1, 2, 3, 4].map(() => fresh(t)));
  await Promise.all(
    handles.map((netns, which) =>
      request(
        socketOf(netns),
        Array.from({ length: 25 }, (_, index) => encodeLink(RTM_NEWLINK, creation, { name: `v${index}`, kind: 'ifb', ifindex: 1000 * (which + 1) + index })), // prettier-ignore
      ),
    ),
  );
  const ask = async (which: number, number: number): Promise<boolean> => {
    const netns = handles[which]!;
    if (number % 50 === 49) return (await listLinks(netns)).filter(({ ifindex }) => Math.floor(ifindex / 1000) === which + 1).length === 25;
    if (number % 10 === 9) return (await getLink(netns, `absent${number}`)) === undefined;
    const index = number % 25;
    const link = await getLink(netns, number % 2 === 0 ? `v${index}` : 1000 * (which + 1) + index);
    return link?.name === `v${index}` && link.ifindex === 1000 * (which + 1) + index;
  };
  const wrong = (answers: readonly boolean[]): number => answers.filter((right) => !right).length;
  t.equal(wrong(await Promise.all(Array.from({ length: 500 }, (_, number) => ask(0, number)))), 0, 'one');
  t.equal(wrong(await Promise.all(Array.from({ length: 500 }, (_, number) => ask(number % 4, number)))), 0, 'several');
});

await t.test('requests on one handle run in the order of the calls', async (t) => {
  const netns = await fresh(t);
  const socket = socketOf(netns);
  const steps = Array.from({ length: 20 }, (_, index) => [
    request(socket, [ifb('x')]),
    request(socket, [encodeLink(RTM_SETLINK, NLM_F_ACK, { name: 'x', alias: `number ${index}` })]),
    request(socket, [encodeLinkGet('x')]),
    request(socket, [encodeLink(RTM_SETLINK, NLM_F_ACK, { name: 'x', alias: '' }), encodeLink(RTM_NEWLINK, NLM_F_ACK, { name: 'lo', alias: `${index}` })]), // prettier-ignore
    request(socket, [encodeLinkGet('lo')]),
    request(socket, [encodeLink(RTM_DELLINK, NLM_F_ACK, { name: 'x' })]),
  ]);
  const answers = await Promise.all(steps.flat());
  const seen = answers.filter((_, index) => index % 6 === 2 || index % 6 === 4).map(([answer]) => decodeLink(answer!.from, answer!.messages[0]!).alias); // prettier-ignore
  t.same(
    seen,
    steps.flatMap((_, index) => [`number ${index}`, `${index}`]),
  );
  t.same(names(await listLinks(netns)), ['lo']);
});

await t.test('what was left over in a socket, or sent by others, is no answer', async (t) => {
  const netns = await fresh(t);
  const socket = socketOf(netns);
  await createLink(netns, 'ifb', 'i0');
  const stray = encodeLinkGet('i0').slice();
  new DataView(stray.buffer).setUint32(8, 0x7777, true);
  t.equal(native().write(socket, [stray, stray], 0), 2, 'asked past the library, and not read');
  t.match(await getLink(netns, 'lo'), { name: 'lo' });
  t.match(await getLink(netns, 'i0'), { name: 'i0' });
  // Anybody with CAP_NET_ADMIN may send to a netlink socket: a refusal of the next request, under its number.
  const forge = `
import socket, struct
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
s.bind((0, 0))
own = s.getsockname()[0]
ports = [int(line.split()[2]) for line in open('/proc/net/netlink').readlines()[1:] if line.split()[1] == '0']
sent = 0
for port in ports:
  if port in (0, own): continue
  for seq in range(0, 40):
    s.sendto(struct.pack('=IHHIIiIHHII', 36, 2, 0, seq, 0, -1, 16, 18, 5, seq, 0), (port, 0))
  sent += 1
print(sent)`;
  t.equal(Number(inside(netns, `python3 -c "${forge}"`)), 1);
  t.match(await getLink(netns, 'lo'), { name: 'lo' }, 'who sent it counts, not what it says');
});

await t.test('bytes that are no whole messages are refused before they are sent', async (t) => {
  const netns = await fresh(t);
  const whole = encodeLinkGet('lo');
  const claims = (length: number): Uint8Array => {
    const bytes = whole.slice();
    new DataView(bytes.buffer).setUint32(0, length, true);
    return bytes;
  };
  const malformed: Record<string, Uint8Array> = {
    none: new Uint8Array(0),
    'half a header': whole.subarray(0, 15),
    'shorter than a header': claims(15),
    'length 0': claims(0),
    'longer than it is': claims(whole.length + 1),
    'longer than anything': claims(0xffffffff),
    'a second one cut off': Buffer.concat([whole, whole.subarray(0, whole.length - 1)]),
    'a second one without a header': Buffer.concat([whole, new Uint8Array(4)]),
  };
  for (const [what, bytes] of Object.entries(malformed))
    await t.rejects(native().netlinkRequest(socketOf(netns), bytes), { name: 'Error', errno: 22, syscall: 'sendmsg' }, what);
  await t.rejects(native().netlinkRequest(socketOf(netns), 'text' as never), { name: 'Error', errno: 22 });
  await t.rejects(native().netlinkRequest({} as never, whole), { name: 'Error', errno: 9 }, 'no descriptor');
  const attribute = whole.slice();
  new DataView(attribute.buffer).setUint16(32, 0xfff0, true);
  await t.rejects(request(socketOf(netns), [attribute]), { code: 'EINVAL' }, 'an attribute that runs out of its message');
  await t.rejects(request(socketOf(netns), [Uint8Array.of(16, 0, 0, 0, 0x00, 0x10, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0)]), {
    code: 'EOPNOTSUPP',
    syscall: '4096',
  });
  t.match(await getLink(netns, 'lo'), { name: 'lo' }, 'and the socket is as good as before');
});

await t.test('a dump that changes while it is read is read again', async (t) => {
  const netns = await fresh(t);
  const others = [await again(t, netns), await again(t, netns)];
  const still = Array.from({ length: 150 }, (_, index) => `s${index}`);
  await request(
    socketOf(netns),
    still.map((name) => veth(name)),
  );
  let going = true;
  const churn = others.map(async (other, which) => {
    while (going) {
      const batch = Array.from({ length: 40 }, (_, index) => veth(`c${which}x${index}`, 7 + which));
      await request(socketOf(other), [...batch, deleteGroup(7 + which)]);
    }
  });
  let [interrupted, wrong] = [0, 0];
  const end = performance.now() + 5000;
  for (let round = 0; round < 20 || (interrupted === 0 && performance.now() < end); round++) {
    let links: readonly { name: string }[] | undefined;
    const trips = await traced(async () => {
      links = await listLinks(netns).catch((error: unknown) => {
        if (!(error instanceof DumpInterruptedError)) throw error;
        return error.partial as { name: string }[];
      });
    });
    const own = trips.filter(({ messages }) => new DataView(messages.buffer, messages.byteOffset).getUint16(6, true) & 0x100 && messages.length < 100); // prettier-ignore
    const flagged = own.filter((trip) => (flagsIn(trip) & NLM_F_DUMP_INTR) !== 0).length;
    interrupted += flagged;
    if (own.length !== Math.min(flagged + 1, 10)) wrong++;
    const unmoved = names(links!).filter((name) => name.startsWith('s'));
    if (unmoved.length !== 300 || new Set(names(links!)).size !== links!.length) wrong++;
  }
  going = false;
  await Promise.all(churn);
  t.ok(interrupted > 0, `the kernel interrupted ${interrupted} dumps`);
  t.equal(wrong, 0, 'every one was read again, and nothing was missed or told twice');
});

await t.test('a dump that never rests ends with what there is', async (t) => {
  const netns = await fresh(t);
  await createLink(netns, 'ifb', 'i0');
  // The kernel's own answers, marked as it would mark them; how often depends on luck otherwise.
  const addon = native();
  const original = addon.netlinkRequest.bind(addon);
  let left = Infinity;
  addon.netlinkRequest = async (socket, messages) => {
    const reply = await original(socket, messages);
    const from = new Bytes(reply.replies);
    if (left-- > 0) eachMessage(from, from.u8.length, ({ type, start, flags }) => void (type === NLMSG_DONE && from.view.setUint16(start - 10, flags | NLM_F_DUMP_INTR, true))); // prettier-ignore
    return reply;
  };
  t.teardown(() => (addon.netlinkRequest = original));
  const trips = await traced(async () => {
    const error = await listLinks(netns).catch((error: unknown) => error);
    t.type(error, DumpInterruptedError);
    t.match(error, { code: 'ERR_DUMP_INTERRUPTED', name: 'DumpInterruptedError', attempts: 10, syscall: 'RTM_GETLINK' });
    t.match((error as DumpInterruptedError).partial, [{ name: 'lo' }, { name: 'i0' }], 'of the last try only');
    t.equal((error as DumpInterruptedError).partial.length, 2);
  });
  t.equal(trips.length, 10);
  await t.rejects(dumps(socketOf(netns), [encodeLinkDump({}), encodeLinkDump({})]), { code: 'ERR_DUMP_INTERRUPTED', attempts: 10 });
  left = 9;
  t.equal((await listLinks(netns)).length, 2, 'the tenth is good');
  left = 9;
  const [first, second] = await dumps(socketOf(netns), [encodeLinkDump({}), encodeLinkDump({ kind: 'ifb' })]);
  t.same([first!.messages.length, second!.messages.length], [2, 1]);
});

await t.test('an abort before and during', async (t) => {
  const netns = await fresh(t);
  const socket = socketOf(netns);
  const trips = await traced(async () => {
    await t.rejects(request(socket, [ifb('before')], AbortSignal.abort()), { name: 'AbortError' });
    await t.rejects(dump(socket, encodeLinkDump({}), decodeLink, AbortSignal.abort(new Error('mine'))), { message: 'mine' });
  });
  t.equal(trips.length, 0, 'nothing was sent');
  const controller = new AbortController();
  const during = request(socket, [ifb('during'), ifb('during2')], controller.signal);
  controller.abort();
  await t.rejects(during, { name: 'AbortError' });
  t.same(names(await listLinks(netns)), ['during', 'during2', 'lo'], 'done, and told when it was');
  const refused = new AbortController();
  const failing = request(socket, [ifb('during')], refused.signal);
  refused.abort();
  await t.rejects(failing, { code: 'EEXIST' }, 'a refusal says more than the abort');
  await t.rejects(Netns.open('/proc/self/ns/net', { signal: AbortSignal.abort() }), { name: 'AbortError' });
});

await t.test('closing a handle lets requests under way finish', async (t) => {
  const netns = await Netns.create();
  const other = await again(t, netns);
  const made = request(
    socketOf(netns),
    Array.from({ length: 50 }, (_, index) => veth(`v${index}`)),
  );
  const asked = getLink(netns, 'v49');
  await netns.close();
  await netns.close();
  await made;
  t.match(await asked, { name: 'v49' });
  t.equal((await listLinks(other)).length, 101);
  await t.rejects(getLink(netns, 'lo'), { code: 'ERR_NETNS_CLOSED' });
});

await t.test('tracing', async (t) => {
  const netns = await fresh(t);
  const trips = await traced(async () => {
    await request(socketOf(netns), [bridge('b0'), encodeLinkGet('b0')]);
    await request(socketOf(netns), [bridge('b0')]).catch(() => undefined);
  });
  t.equal(trips.length, 2, 'a trip each, the refused one too');
  const [first, second] = trips;
  t.same(Buffer.from(first!.messages), Buffer.concat([bridge('b0'), encodeLinkGet('b0')]));
  const types: number[] = [];
  eachMessage(Bytes.copy(first!.replies), first!.replies.length, ({ type, sequence }) => types.push(type, sequence));
  t.same(types, [NLMSG_ERROR, 0, RTM_NEWLINK, 1]);
  t.ok(second!.replies.length > 16);
  t.ok(first!.milliseconds > 0 && first!.milliseconds < 5000);
});

await t.test('PODTAP_DEBUG=netlink prints what goes over the wire', async (t) => {
  const debug = await fixture('kernel/netlink.fixture.js', [], { env: { PODTAP_DEBUG: 'other,netlink' } });
  t.same([debug.code, debug.stdout], [0, 'EEXIST\n']);
  t.match(debug.stderr, /^RTM_NEWLINK REQUEST\|ACK\|EXCL\|CREATE seq 0 \d+ bytes/m);
  t.match(debug.stderr, /^ {2}IFLA_IFNAME "lo"$/m);
  t.match(debug.stderr, /^ {4}IFLA_INFO_KIND "bridge"$/m);
  t.match(debug.stderr, /^NLMSG_ERROR .*: EEXIST, file exists to RTM_NEWLINK$/m);
  const silent = await fixture('kernel/netlink.fixture.js', [], { env: { PODTAP_DEBUG: 'netlinks' } });
  t.same([silent.code, silent.stderr], [0, '']);
});

await t.test('a warning that comes with a success is not lost', { skip: requires('htb_warning') }, async (t) => {
  const netns = await fresh(t);
  inside(netns, 'ip link add v0 type veth peer name v1; tc qdisc add dev v0 root handle 1: htb');
  const { ifindex } = (await getLink(netns, 'v0'))!;
  // tc class add dev v0 parent 1: classid 1:1 htb rate 10gbit: "quantum of class 10001 is big. Consider r2q change."
  const writer = new Writer();
  for (const word of [0, 40 | ((creation | NLM_F_REQUEST) << 16), 0, 0]) writer.u32(word); // RTM_NEWTCLASS
  for (const word of [0, ifindex, 0x10001, 0x10000, 0]) writer.u32(word); // struct tcmsg
  writer.attribute(1, new TextEncoder().encode('htb\0')); // TCA_KIND
  const options = writer.beginAttribute(2); // TCA_OPTIONS
  const parameters = writer.beginAttribute(1); // TCA_HTB_PARMS: struct tc_htb_opt
  for (let spec = 0; spec < 2; spec++) for (const word of [1 << 8, 0, 1_250_000_000]) writer.u32(word); // struct tc_ratespec
  for (const word of [2000, 2000, 0, 0, 0]) writer.u32(word);
  writer.endAttribute(parameters);
  writer.endAttribute(options);
  writer.setU32(0, writer.length);
  const warned: Error[] = [];
  const keep = (warning: Error): void => void warned.push(warning);
  const printers = process.listeners('warning');
  process.removeAllListeners('warning').on('warning', keep);
  t.teardown(() => {
    process.off('warning', keep);
    for (const print of printers) process.on('warning', print);
  });
  await request(socketOf(netns), [encodeLinkGet('lo'), writer.finish()]);
  t.ok(await until(() => warned.length > 0));
  t.match(warned, [{ name: 'NetlinkWarning', message: /^RTM_NEWTCLASS: .*quantum of class 10001 is big/ }]);
  t.match(inside(netns, 'tc class show dev v0'), /class htb 1:1 /, 'done all the same');
});

await t.test('an object that fills more than any buffer is made for', async (t) => {
  const netns = await fresh(t);
  await createLink(netns, 'ifb', 'i0');
  const altnames = Array.from({ length: 490 }, (_, index) => `${index}-`.padEnd(127, 'x'));
  for (let at = 0; at < altnames.length; at += 10)
    await request(socketOf(netns), [encodeLink(RTM_NEWLINKPROP, creation, { name: 'i0', altnames: altnames.slice(at, at + 10) })]);
  t.equal((await getLink(netns, 'i0'))?.altnames?.length, 490, 'alone: 66 KB');
  const [, link] = await listLinks(netns);
  t.same([...link!.altnames!].sort(), [...altnames].sort(), 'in a dump');
  await t.rejects(
    request(socketOf(netns), [encodeLink(RTM_NEWLINKPROP, creation, { name: 'i0', altnames: altnames.slice(0, 10).map((name) => `y${name}`.slice(0, 127)) })]), // prettier-ignore
    { code: 'EINVAL' },
    'the kernel has no room for more',
  );
});

await t.test('a transport that fails leaves the outcome open, and says so', async (t) => {
  const netns = await fresh(t);
  const addon = native();
  // Not a netlink socket.
  const descriptor = await addon.sysctlOpen(attachment(netns).netns, 'ipv4');
  t.teardown(() => addon.close(descriptor));
  await t.rejects(request(descriptor, [encodeLinkGet('lo')]), { name: 'NetlinkError', index: 0, message: /its outcome is not known/ });
  t.equal(await deleteLink(netns, 'absent'), false);
});
