// What becomes of a plumbing, as its events tell it; what verify and inspect see, and what repair mends.
import { type Netns, type Plumbing, type PlumbingEvent, type PlumbOptions, addAddress, addRoute, deleteLink, deleteRoute, inspect, listAddresses, plumb, setLink } from 'podtap'; // prettier-ignore
import t, { type Test } from 'tap';
import { inside, until } from '../support/inside.js';
import { createNode } from '../support/pod.js';
import { requires } from '../support/requires.js';

async function plumbed(t: Test, options: PlumbOptions = {}): Promise<{ pod: Netns; net: Plumbing }> {
  const pod = await (await createNode(t)).pod(2);
  const net = await plumb(pod, { tap: 'tap0', mode: 'bridge', ...options });
  t.teardown(() => net[Symbol.asyncDispose]());
  return { pod, net };
}

/** What came since the last time: waits until `enough` says so. */
function listen(t: Test, net: Plumbing) {
  const stop = new AbortController();
  const came: PlumbingEvent[] = [];
  const ended = (async () => {
    for await (const event of net.events({ signal: stop.signal })) came.push(event);
    return true;
  })();
  t.teardown(async () => {
    stop.abort();
    await ended;
  });
  const take = async (enough: (events: readonly PlumbingEvent[]) => boolean): Promise<PlumbingEvent[]> => {
    t.ok(await until(() => enough(came)), `came: ${JSON.stringify(came)}`);
    return came.splice(0);
  };
  return {
    ended,
    take,
    stop: () => stop.abort(),
    /** Up to the first that fits; this one. */
    first: async <K extends PlumbingEvent['type']>(type: K, fits: (event: PlumbingEvent & { type: K }) => boolean = () => true) => {
      const matches = (event: PlumbingEvent): event is PlumbingEvent & { type: K } => event.type === type && fits(event as never);
      const events = await take((all) => all.some(matches));
      return { event: events.find(matches)!, before: events.slice(0, events.findIndex(matches)), events };
    },
  };
}

await t.test('attached and detached', async (t) => {
  const { net } = await plumbed(t);
  const { first, stop, ended } = listen(t, net);
  const { tap } = net;
  await tap.send([]); // opens it
  t.same((await first('attached')).events, [{ type: 'attached' }]);
  await tap.close();
  t.same((await first('detached')).events, [{ type: 'detached' }]);
  stop();
  t.equal(await ended, true, 'an abort ends it without an error');
});

await t.test('attached already', async (t) => {
  const { net } = await plumbed(t);
  await net.tap.send([]);
  await net.tap.waitAttached();
  t.same((await listen(t, net).first('attached')).events, [{ type: 'attached' }]);
});

await t.test('changed: what the guest must be told', async (t) => {
  const { pod, net } = await plumbed(t);
  const { first } = listen(t, net);
  t.equal(net.guest.mtu, 1500);
  // Somebody's first change is seen only by who listens already.
  await net.tap.send([]);
  await first('attached');
  await setLink(pod, 'eth0', { mtu: 1400 });
  const { event: mtu } = await first('changed', ({ what }) => what === 'mtu');
  t.equal(mtu.guest.mtu, 1400);
  t.equal(net.guest.mtu, 1400, 'the plumbing follows');

  await addAddress(pod, 'eth0', '10.9.0.9/24');
  const { event: address } = await first('changed', ({ what }) => what === 'address');
  t.same(address.guest.addresses.map((one) => one.address), ['10.1.0.2/16', 'fd00:1::2/64', '10.9.0.9/24']); // prettier-ignore
  t.equal(address.guest.mtu, 1400);

  await addRoute(pod, { dst: '10.77.0.0/16', via: '10.9.0.1', dev: 'eth0', metric: 7 });
  const { event: route } = await first('changed', ({ what }) => what === 'route');
  t.match(route.guest.routes.at(-1), { dst: '10.77.0.0/16', via: '10.9.0.1', metric: 7 });
  const { length } = route.guest.routes;
  await deleteRoute(pod, { dst: '10.77.0.0/16' });
  const { event: gone } = await first('changed', ({ what }) => what === 'route');
  t.equal(gone.guest.routes.length, length - 1);
  t.same(net.guest, gone.guest);
  t.same(JSON.parse(JSON.stringify(net.guest)), net.guest);
});

await t.test('broken, and repaired', async (t) => {
  const { pod, net } = await plumbed(t);
  const { first } = listen(t, net);
  await net.tap.send([]);
  await first('attached');
  await setLink(pod, 'eth0', { master: null });
  const { event } = await first('broken');
  t.match(event.problem, { code: 'NOT_ENSLAVED', message: /^eth0 is a port of no bridge/, fix: /^ip link set dev eth0 master / });
  t.match(await net.verify(), { ok: false, problems: [{ code: 'NOT_ENSLAVED' }] });
  t.same(await net.repair(), []);
  t.match((await first('repaired')).event, { problem: { code: 'NOT_ENSLAVED' } });
  t.match(await net.verify(), { ok: true, problems: [] });
  await net.tap.close();
  t.match(await net.verify({ traffic: true }), { ok: true, toGuest: 'crossed', fromGuest: 'crossed' });
  t.match(await net.undo(), { state: 'undone', leftBehind: [] });
  t.same(await net.undo(), { state: 'already-undone', leftBehind: [] });
});

await t.test('the TAP is gone', async (t) => {
  const { pod, net } = await plumbed(t);
  const { first, ended } = listen(t, net);
  await net.tap.send([]);
  await first('attached');
  await deleteLink(pod, 'tap0');
  await first('gone');
  t.equal(await ended, true, 'nothing follows');
  t.match(await net.undo(), { state: 'undone' });
  t.same((await listAddresses(pod, { link: 'eth0', family: 'ipv4' })).map(({ address }) => address), ['10.1.0.2/16']); // prettier-ignore
});

await t.test('more at once than fits: the state is read anew', async (t) => {
  const { pod, net } = await plumbed(t);
  const { first, take } = listen(t, net);
  await net.tap.send([]);
  await first('attached');
  // This thread does nothing meanwhile, and eth0's change is the last.
  const routes = (verb: string): string => `seq 1 20000 | sed 's#.*#route ${verb} 10.200.0.0/16 dev lo metric &#' | ip -batch -`;
  inside(pod, `${routes('add')}; ${routes('delete')}; ip link set eth0 nomaster`);
  // Which of the two is told first depends on what was being read when it began.
  const has = (events: readonly PlumbingEvent[], type: string): boolean => events.some((event) => event.type === type);
  const events = await take((all) => has(all, 'overrun') && has(all, 'broken'));
  t.match(
    events.find(({ type }) => type === 'broken'),
    { problem: { code: 'NOT_ENSLAVED' } },
  );
});

await t.test('traffic', async (t) => {
  for (const options of [{}, { vmm: 'qemu' }, { tap: { name: 'tap0', queues: 2 } }] as const) {
    const { net } = await plumbed(t, options);
    t.same(await net.verify({ traffic: true }), { ok: true, toGuest: 'crossed', fromGuest: 'crossed', problems: [] });
    t.same(await net.tap.holders(), [], 'it holds nothing afterwards');
    await net.tap.send([]);
    t.same(await net.verify({ traffic: true }), { ok: true, toGuest: 'skipped', fromGuest: 'skipped', problems: [] });
    t.same(await net.verify(), { ok: true, toGuest: 'skipped', fromGuest: 'skipped', problems: [] });
    await t.rejects(net.verify({ traffic: true, signal: AbortSignal.abort(new Error('enough')) }), { message: 'enough' });
  }
});

await t.test('traffic that a filter takes away', { skip: requires('u32', 'clsact') }, async (t) => {
  const { pod, net } = await plumbed(t);
  const catchAll = (dev: string, hook: string): string => `tc filter add dev ${dev} ${hook} protocol all u32 match u32 0 0 action mirred egress redirect dev lo`; // prettier-ignore
  inside(pod, `tc qdisc add dev tap0 clsact; ${catchAll('tap0', 'ingress')}`);
  t.match(await net.verify({ traffic: true }), { ok: false, toGuest: 'crossed', fromGuest: 'lost', problems: [{ code: 'FRAME_LOST', message: /from the guest/ }] }); // prettier-ignore
  inside(pod, `tc qdisc delete dev tap0 clsact; tc qdisc add dev tap0 clsact; ${catchAll('tap0', 'egress')}`);
  t.match(await net.verify({ traffic: true }), { ok: false, toGuest: 'lost', fromGuest: 'crossed', problems: [{ code: 'FRAME_LOST', message: /to the guest/ }] }); // prettier-ignore
  inside(pod, 'tc qdisc delete dev tap0 clsact');
  t.match(await net.verify({ traffic: true }), { ok: true });
});

/** What somebody does, what is said of it, and whether repair mends it. */
const faults: readonly (readonly [code: string, script: string, more?: { repaired?: false; inspect?: false }])[] = [
  ['NOT_ENSLAVED', 'ip link set eth0 nomaster'],
  ['NOT_ENSLAVED', 'ip link set tap0 nomaster'],
  ['NOT_ENSLAVED', 'ip link add other type bridge; ip link set eth0 master other'],
  ['LINK_DOWN', 'ip link set tap0 down'],
  ['LINK_DOWN', 'ip link set eth0 down'],
  ['LINK_DOWN', 'ip link set br0 down'],
  ['MAC_IS_THE_GUESTS', 'ip link set eth0 address GUEST'],
  ['MAC_IS_THE_GUESTS', 'ip link set br0 address GUEST', { repaired: false }],
  ['MAC_CHANGED', 'ip link set eth0 address 02:00:00:00:00:99', { inspect: false }],
  // It may have been asked for.
  ['MTU_MISMATCH', 'ip link set tap0 mtu 1300', { inspect: false }],
  ['MTU_MISMATCH', 'ip link set eth0 mtu 1300'],
  ['ADDRESS_ON_LINK', 'ip address add 10.1.0.99/16 dev eth0'],
  ['ADDRESS_ON_LINK', 'ip address add fd00:1::99/64 dev eth0 nodad'],
  ['FDB_ENTRY_MISSING', 'bridge fdb delete GUEST dev tap0 master'],
  ['IPV6_NOT_SILENT', 'ip link set eth0 addrgenmode eui64'],
  ['IPV6_NOT_SILENT', 'ip link set br0 mtu 1500'],
  ['LINK_GONE', 'ip link delete eth0', { repaired: false }],
  ['TAP_GONE', 'ip link delete tap0', { repaired: false }],
  ['BRIDGE_GONE', 'ip link delete br0', { repaired: false }],
];
for (const [code, script, { repaired = true, inspect: told = true } = {}] of faults) {
  await t.test(`${code}: ${script}`, async (t) => {
    const { pod, net } = await plumbed(t, { label: 'vm/7' });
    t.match(await inspect(pod), { plumbings: [{ label: 'vm/7', mode: 'bridge', link: 'eth0', tap: 'tap0', holders: [] }], problems: [] });
    inside(pod, script.replaceAll('GUEST', net.guest.mac));
    const codes = async (): Promise<string[]> => (await net.verify()).problems.map((problem) => problem.code);
    t.ok((await codes()).includes(code), String(await codes()));
    const seen = await inspect(pod);
    if (told) t.ok(seen.problems.some((problem) => problem.code === code && problem.fix !== ''), String(seen)); // prettier-ignore
    const left = await net.repair();
    if (repaired) {
      t.same(left, []);
      t.match(await net.verify({ traffic: true }), { ok: true, toGuest: 'crossed', fromGuest: 'crossed' });
      t.same((await inspect(pod)).problems, []);
    } else {
      t.ok(left.some((problem) => problem.code === code));
    }
    t.match(await net.undo(), { state: 'undone' });
    t.same((await inspect(pod)).plumbings, []);
  });
}

await t.test('inspect prints', async (t) => {
  const { pod, net } = await plumbed(t, { label: 'vm/7' });
  t.equal(String(await inspect(pod)), 'eth0 <-> tap0 by bridge, label vm/7, held by nobody');
  await net.tap.send([]);
  t.match(String(await inspect(pod)), new RegExp(`^eth0 <-> tap0 by bridge, label vm/7, held by .* \\(${process.pid}\\)$`));
  inside(pod, 'ip link set tap0 down');
  t.match(String(await inspect(pod)), /\nLINK_DOWN: tap0 is down\n {2}fix: ip link set dev tap0 up$/);
  await net.undo();
  t.equal(String(await inspect(pod)), 'nothing is plumbed here');
});
