import { type Address, type FdbEntry, type KernelEvent, type Link, Netns, type Neighbor, type Route, type Rule, type WatchOptions, addAddress, addRoute, addRule, bridgeEnslave, createLink, createVeth, deleteAddress, deleteLink, deleteNeighbor, deleteRoute, deleteRule, getLink, listAddresses, listLinks, setLink, setNeighbor, setSysctl, watch } from 'podtap'; // prettier-ignore
import t, { type Test } from 'tap';
import { attachment } from '../../lib/kernel/netns.js';
import { request } from '../../lib/kernel/netlink.js';
import { native } from '../../lib/native.js';
import { RTM_NEWADDR, encodeAddress } from '../../lib/wire/address.js';
import { RTM_DELLINK, RTM_NEWLINK, RTM_SETLINK, encodeLink } from '../../lib/wire/link.js';
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL } from '../../lib/wire/message.js';
import { again, fresh, inside, pause, until } from '../support/inside.js';

type Snapshot = Extract<KernelEvent, { type: 'snapshot' }>;

/** Subscribed: its first event, the snapshot, was read. */
async function watched(netns: Netns, options: WatchOptions = {}) {
  const controller = new AbortController();
  const events = watch(netns, { signal: controller.signal, ...options, resync: true });
  const { value: snapshot } = (await events.next()) as { value: Snapshot };
  return { events, snapshot, abort: () => controller.abort() };
}

/** The events that `work` makes, in the order in which they came: those up to the one that says that it was the last. */
async function told(t: Test, groups: WatchOptions['groups'], work: (netns: Netns) => Promise<unknown>): Promise<KernelEvent[]> {
  const netns = await fresh(t);
  await createLink(netns, 'ifb', 'i0', { addrGenMode: 'none', up: true });
  const { events } = await watched(netns, { ...(groups !== undefined && { groups: [...groups, 'link'] }) });
  await work(netns);
  await createLink(netns, 'ifb', 'last');
  const all: KernelEvent[] = [];
  for await (const event of events) {
    if (event.type === 'new' && 'name' in event.object && event.object.name === 'last') break;
    all.push(event);
  }
  return all;
}
function of<T>(events: readonly KernelEvent[], kind: string): { type: 'new' | 'deleted'; object: T }[] {
  return events.filter((event) => 'object' in event && event.object.object === kind) as never;
}

await t.test('links', async (t) => {
  const events = of<Link>(
    await told(t, ['link'], async (netns) => {
      await setLink(netns, 'i0', { mtu: 1400 });
      await setLink(netns, 'i0', { up: false }); // before Linux 6.2 only such an interface is renamed
      await setLink(netns, 'i0', { name: 'i1' });
      await deleteLink(netns, 'i1');
    }),
    'link',
  );
  t.match(
    events.find(({ object }) => object.mtu === 1400),
    { type: 'new', object: { name: 'i0', kind: 'ifb', up: true } },
  );
  t.match(
    events.find(({ object }) => object.name === 'i1'),
    { type: 'new', object: { mtu: 1400 } },
  );
  t.match(events.at(-1), { type: 'deleted', object: { name: 'i1' } });
});

await t.test('addresses of both families', async (t) => {
  const netns = await fresh(t);
  await createLink(netns, 'ifb', 'i0', { addrGenMode: 'none', up: true });
  const { ifindex } = (await getLink(netns, 'i0'))!;
  const { events } = await watched(netns, { groups: ['address'] });
  // IPv6 addresses are told a moment later: once they have passed duplicate address detection, or would have.
  const next = async (type: string, address: string): Promise<void> => {
    for (;;) {
      const { value } = await events.next();
      const { object } = value as { object: Address };
      if (object.address !== address) continue;
      t.match({ type: value!.type, object }, { type, object: { object: 'address', ifindex, scope: 'global' } }, `${type} ${address}`);
      if (value!.type === type) return;
    }
  };
  await addAddress(netns, 'i0', '10.0.0.1/24');
  await next('new', '10.0.0.1/24');
  await addAddress(netns, 'i0', { address: 'fd00::1/64', flags: ['nodad'] });
  await next('new', 'fd00::1/64');
  await deleteAddress(netns, 'i0', '10.0.0.1/24');
  await next('deleted', '10.0.0.1/24');
  await deleteAddress(netns, 'i0', 'fd00::1/64');
  await next('deleted', 'fd00::1/64');
  await events.return();
});

await t.test('routes of both families', async (t) => {
  const events = of<Route>(
    await told(t, ['route'], async (netns) => {
      await addAddress(netns, 'i0', '10.0.0.1/24');
      await addRoute(netns, { dst: '10.9.0.0/16', via: '10.0.0.9' });
      await addRoute(netns, { dst: 'fd09::/16', dev: 'i0' });
      await deleteRoute(netns, { dst: '10.9.0.0/16', via: '10.0.0.9' });
    }),
    'route',
  );
  t.match(
    events.find(({ object }) => object.dst === '10.9.0.0/16'),
    { type: 'new', object: { via: '10.0.0.9' } },
  );
  t.match(
    events.find(({ object }) => object.dst === 'fd09::/16'),
    { type: 'new' },
  );
  t.match(events.at(-1), { type: 'deleted', object: { dst: '10.9.0.0/16' } });
});

await t.test('neighbours', async (t) => {
  const events = of<Neighbor>(
    await told(t, ['neighbor'], async (netns) => {
      await setNeighbor(netns, 'i0', { address: '10.0.0.2', mac: '02:00:00:00:00:02' });
      await setNeighbor(netns, 'i0', { address: 'fd00::2', mac: '02:00:00:00:00:03' });
      await deleteNeighbor(netns, 'i0', '10.0.0.2');
    }),
    'neighbor',
  );
  t.match(events.find(({ object }) => object.address === '10.0.0.2'), { type: 'new', object: { mac: '02:00:00:00:00:02', state: 'permanent' } }); // prettier-ignore
  t.match(
    events.find(({ object }) => object.address === 'fd00::2'),
    { type: 'new', object: { mac: '02:00:00:00:00:03' } },
  );
  t.ok(events.some(({ type, object }) => object.address === '10.0.0.2' && (type === 'deleted' || object.state === 'failed')));
});

await t.test('rules of both families', async (t) => {
  const events = of<Rule>(
    await told(t, ['rule'], async (netns) => {
      await addRule(netns, { priority: 100, from: '10.0.0.0/24', table: 100 });
      await addRule(netns, { priority: 101, from: 'fd00::/64', table: 101 });
      await deleteRule(netns, { priority: 100, from: '10.0.0.0/24', table: 100 });
    }),
    'rule',
  );
  t.match(events, [
    { type: 'new', object: { priority: 100, from: '10.0.0.0/24', table: 100 } },
    { type: 'new', object: { priority: 101, from: 'fd00::/64', table: 101 } },
    { type: 'deleted', object: { priority: 100 } },
  ]);
});

await t.test('all groups unless told otherwise, and no others than asked for', async (t) => {
  const change = async (netns: Netns): Promise<void> => {
    await addAddress(netns, 'i0', '10.0.0.1/24');
    await setNeighbor(netns, 'i0', { address: '10.0.0.2', mac: '02:00:00:00:00:02' });
    await addRule(netns, { priority: 100, table: 100 });
  };
  const kinds = (events: readonly KernelEvent[]): string[] => [...new Set(events.flatMap((event) => ('object' in event ? [String(event.object.object)] : [])))].sort(); // prettier-ignore
  t.same(
    kinds(await told(t, undefined, change)),
    ['address', 'link', 'neighbor', 'route', 'rule'].filter((kind) => kind !== 'link'),
  );
  t.same(kinds(await told(t, ['address'], change)), ['address']);
  const netns = await fresh(t);
  for (const options of [{ groups: ['links'] }, { bufferSize: 0 }, { resync: 1 }, { signal: 1 }, { group: [] }])
    await t.rejects(watch(netns, options as never).next(), { name: 'TypeError' }, JSON.stringify(options));
});

await t.test('a snapshot of the groups that are watched', async (t) => {
  const netns = await fresh(t);
  await setLink(netns, 'lo', { up: true });
  // Left down: on a device that is up the kernel solicits routers, and its flags change by the clock.
  await createLink(netns, 'ifb', 'i0');
  await addAddress(netns, 'i0', '10.0.0.1/24');
  const { snapshot, events } = await watched(netns, { groups: ['link', 'address'] });
  t.equal(snapshot.type, 'snapshot');
  t.same(snapshot.objects, [...(await listLinks(netns)), ...(await listAddresses(netns))]);
  await events.return();
});

await t.test('its end: an abort, the loop left, the namespace closed', async (t) => {
  const netns = await fresh(t);
  const before = native().openDescriptors();
  const idle = await watched(netns);
  t.equal(native().openDescriptors(), before + 1);
  const waiting = idle.events.next();
  await pause(5);
  idle.abort();
  t.same(await waiting, { done: true, value: undefined });
  t.equal(native().openDescriptors(), before, 'by an abort while it waits');

  const busy = await watched(netns, { groups: ['link'] });
  for (let mtu = 1000; mtu < 1010; mtu++) await setLink(netns, 'lo', { mtu });
  await busy.events.next();
  busy.abort();
  t.ok((await busy.events.next()).done !== true, 'what was read already may come');
  while ((await busy.events.next()).done !== true);
  t.equal(native().openDescriptors(), before, 'by an abort while it is read');

  const left = await watched(netns, { groups: ['link'] });
  await setLink(netns, 'lo', { mtu: 1200 });
  for await (const event of left.events) {
    t.equal(event.type, 'new');
    break;
  }
  t.equal(native().openDescriptors(), before, 'by a break');
  await t.rejects(
    (async () => {
      const thrown = await watched(netns, { groups: ['link'] });
      await setLink(netns, 'lo', { mtu: 1201 });
      for await (const event of thrown.events) throw new Error(event.type);
    })(),
    { message: 'new' },
  );
  t.equal(native().openDescriptors(), before, 'by an error');
  t.same(await watch(netns, { signal: AbortSignal.abort() }).next(), { done: true, value: undefined });

  const closing = await Netns.create();
  const { events } = await watched(closing, { groups: ['link'] });
  const other = await again(t, closing);
  await closing.close();
  const next = events.next();
  await setLink(other, 'lo', { mtu: 1300 });
  t.match((await next).value, { type: 'new', object: { name: 'lo' } }, 'a watch has a socket of its own');
  await events.return();
  await t.rejects(watch(closing).next(), { code: 'ERR_NETNS_CLOSED' });
});

await t.test('an overrun is told, and read up by a snapshot', async (t) => {
  const netns = await fresh(t);
  const { events, abort } = await watched(netns, { groups: ['link'], bufferSize: 4096 });
  const flap = Array.from({ length: 60 }, (_, index) => encodeLink(RTM_SETLINK, NLM_F_ACK, { name: 'lo', up: index % 2 === 0 }));
  await request(attachment(netns).socket, flap);
  await setLink(netns, 'lo', { mtu: 1234 });
  const kinds: string[] = [];
  let snapshot: Snapshot | undefined;
  for await (const event of events) {
    kinds.push(event.type);
    if (event.type !== 'snapshot') continue;
    snapshot = event;
    break;
  }
  t.same(kinds.slice(-2), ['overrun', 'snapshot']);
  t.match(snapshot!.objects, [{ name: 'lo', mtu: 1234, up: false }]);
  abort();

  // Without resync the stream goes on as well.
  const plain = watch(netns, { groups: ['link'], bufferSize: 4096 });
  const first = plain.next();
  await until(async () => {
    await setLink(netns, 'lo', { mtu: 1300 + Math.floor(Math.random() * 1000) });
    return Promise.race([first.then(() => true), pause(1).then(() => false)]);
  });
  await request(attachment(netns).socket, flap);
  await createLink(netns, 'ifb', 'lost');
  let overruns = 0;
  while (overruns === 0) if ((await plain.next()).value?.type === 'overrun') overruns++;
  await createLink(netns, 'ifb', 'told');
  for await (const event of plain) {
    t.equal(event.type, 'new', { diagnostic: false });
    if ('object' in event && 'name' in event.object && event.object.name === 'told') break;
  }
  await plain.return();
});

await t.test('a second overrun while the first is read up is not taken for news', async (t) => {
  const netns = await fresh(t);
  const { events } = await watched(netns, { groups: ['link'], bufferSize: 4096 });
  const flap = 'link set lo up\nlink set lo down\n'.repeat(30);
  const batch = (lines: string): string => inside(netns, `ip -batch - <<'end'\n${lines}end`);
  batch(flap);
  // The second one happens as soon as the first was read away, and what it loses is that the link is gone again.
  const addon = native();
  const original = addon.readNetlink.bind(addon);
  let overrun = false;
  let done = false;
  addon.readNetlink = (descriptor, into, ends) => {
    const count = original(descriptor, into, ends);
    if (overrun && count > 0 && !done) {
      done = true;
      // Up to the last of it: the kernel takes in more only after that.
      while (original(descriptor, into, ends) > 0);
      batch(`link add passing type ifb\n${flap}link delete passing\n`);
    }
    overrun ||= count < 0 && count !== -11;
    return count;
  };
  t.teardown(() => (addon.readNetlink = original));
  const names = new Map<number, string>();
  let last: Promise<unknown> | undefined;
  for await (const event of events) {
    if (event.type === 'snapshot') {
      names.clear();
      last ??= createLink(netns, 'ifb', 'last');
    }
    const objects = event.type === 'snapshot' ? event.objects : 'object' in event ? [event.object] : [];
    for (const object of objects as Link[]) {
      if (event.type === 'deleted') names.delete(object.ifindex);
      else names.set(object.ifindex, object.name);
    }
    if ([...names.values()].includes('last')) break;
  }
  await last;
  t.ok(done);
  t.same([...names.values()].sort(), ['last', 'lo']);
});

await t.test('what others send to the socket is no news', async (t) => {
  const netns = await fresh(t);
  const { events } = await watched(netns, { groups: ['link'] });
  // struct nlmsghdr with RTM_DELLINK, struct ifinfomsg of the loopback; to every rtnetlink socket of the namespace.
  const forge = `
import socket, struct
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
s.bind((0, 0))
own = s.getsockname()[0]
ports = [int(line.split()[2]) for line in open('/proc/net/netlink').readlines()[1:] if line.split()[1] == '0']
for port in ports:
  if port not in (0, own): s.sendto(struct.pack('=IHHIIBBHiII', 32, 17, 0, 0, 0, 0, 0, 772, 1, 0, 0), (port, 0))
print(len([port for port in ports if port not in (0, own)]))`;
  t.equal(inside(netns, `python3 -c "${forge}"`).trim(), '2', 'for requests, and the watch');
  await createLink(netns, 'ifb', 'last');
  t.match((await events.next()).value, { type: 'new', object: { name: 'last' } });
  await events.return();
});

await t.test('bridges tell of their ports in messages that are no news of links', async (t) => {
  const netns = await fresh(t);
  await createVeth(netns, 'v0', { up: true, peer: { name: 'v1', up: true } });
  const { events, snapshot } = await watched(netns, { groups: ['link', 'neighbor'] });
  const links = new Map((snapshot.objects as Link[]).filter(({ object }) => object === 'link').map((link) => [link.ifindex, link]));
  const deleted: string[] = [];
  await bridgeEnslave(netns, { bridge: 'br0', ports: ['v0'] });
  inside(netns, 'bridge fdb add 02:00:00:00:00:77 dev v0 master static; bridge link set dev v0 learning off');
  await setLink(netns, 'v0', { master: null });
  await setLink(netns, 'v0', { master: 'br0' });
  await deleteLink(netns, 'br0');
  await createLink(netns, 'ifb', 'last');
  for await (const event of events) {
    if (!('object' in event)) continue;
    t.not((event.object as Neighbor).mac, '02:00:00:00:00:77', 'a forwarding entry is no neighbour', { diagnostic: false });
    if (event.object.object !== 'link') continue;
    if (event.type === 'deleted') deleted.push(event.object.name);
    if (event.type === 'deleted') links.delete(event.object.ifindex);
    else links.set(event.object.ifindex, event.object);
    if (event.object.name === 'last') break;
  }
  t.same(deleted, ['br0']);
  const view = ({ name, kind, master, up }: Link): string => `${name} ${kind} ${master} ${up}`;
  t.same([...links.values()].map(view).sort(), (await listLinks(netns)).map(view).sort());
  t.equal((await getLink(netns, 'v0'))!.master, undefined);
});

await t.test('forwarding entries, where they are asked for', async (t) => {
  const fdb = (netns: Netns, line: string): string => inside(netns, `bridge fdb ${line} 02:00:00:00:00:77 dev v0 master static`);
  const work = async (netns: Netns): Promise<void> => {
    await createVeth(netns, 'v0', { up: true, peer: { name: 'v1', up: true } });
    await bridgeEnslave(netns, { bridge: 'br0', ports: ['v0'] });
    fdb(netns, 'add');
    fdb(netns, 'delete');
  };
  const entries = of<FdbEntry>(await told(t, ['fdb'], work), 'fdb').filter(({ object }) => object.mac === '02:00:00:00:00:77');
  t.match(entries, [{ type: 'new', object: { state: 'noarp' } }, { type: 'deleted' }]);
  t.strictSame(of(await told(t, ['fdb'], work), 'neighbor'), [], 'and no neighbours with them');
  t.strictSame(of(await told(t, undefined, work), 'fdb'), [], 'else not');
});

/** A table of links and addresses, kept by events alone, as a supervisor would keep it. */
class Table {
  readonly links = new Map<number, Link>();
  readonly addresses = new Map<string, Address>();
  events = 0;
  overruns = 0;

  take(event: KernelEvent): void {
    this.events++;
    if (event.type === 'overrun') this.overruns++;
    else if (event.type === 'snapshot') {
      this.links.clear();
      this.addresses.clear();
      for (const object of event.objects) this.#set(object as Link | Address, true);
    } else this.#set(event.object as Link | Address, event.type === 'new');
  }

  #set(object: Link | Address, there: boolean): void {
    if ('name' in object) {
      if (there) this.links.set(object.ifindex, object);
      else this.links.delete(object.ifindex);
    } else {
      const key = `${object.ifindex} ${object.address}`;
      if (there) this.addresses.set(key, object);
      else this.addresses.delete(key);
    }
  }
}

for (const [what, bufferSize] of [
  ['with room for it', undefined],
  ['with overruns', 256 * 1024],
] as const) {
  await t.test(`a storm, ${what}`, async (t) => {
    const netns = await fresh(t);
    const { socket } = attachment(netns);
    const { events, snapshot, abort } = await watched(netns, {
      groups: ['link', 'address'],
      ...(bufferSize !== undefined && { bufferSize }),
    });
    const table = new Table();
    table.take(snapshot);
    const numbers = Array.from({ length: 1000 }, (_, index) => index);
    const creation = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    await setSysctl(netns, 'net.ipv6.conf.default.accept_dad', 0);
    const read = async (): Promise<void> => {
      for await (const event of events) {
        table.take(event);
        const end = performance.now() + 0.02;
        while (performance.now() < end);
      }
    };
    // One that reads from the beginning, one that finds its buffer full.
    let reader = bufferSize === undefined ? read() : undefined;
    // Every other pair in two groups: the first stays, the second goes again.
    const group = (number: number): number => 10 + (number % 2);
    await request(socket, numbers.map((number) => encodeLink(RTM_NEWLINK, creation, { name: `v${number}`, kind: 'veth', ifindex: 10_000 + number, group: group(number), peer: { name: `w${number}`, ifindex: 20_000 + number, group: group(number) } }))); // prettier-ignore
    reader ??= read();
    await request(socket, numbers.flatMap((number) => [
        encodeAddress(RTM_NEWADDR, creation, 10_000 + number, { address: `10.${number >> 8}.${number & 255}.1/24` }),
        encodeLink(RTM_SETLINK, NLM_F_ACK, { ifindex: 10_000 + number, up: true }),
        encodeLink(RTM_SETLINK, NLM_F_ACK, { ifindex: 20_000 + number, up: true }),
      ])); // prettier-ignore
    await request(socket, [encodeLink(RTM_DELLINK, NLM_F_ACK, { group: 11 })]);
    const link = ({ name, ifindex, up, carrier, master, mtu }: Link): string => `${name} ${ifindex} ${up} ${carrier} ${master} ${mtu}`;
    const address = ({ ifindex, address, flags }: Address): string => `${ifindex} ${address} ${flags?.join()}`;
    const kept = (): string[] => [...[...table.links.values()].map(link), ...[...table.addresses.values()].map(address)].sort();
    const dumped = async (): Promise<string[]> =>
      [...(await listLinks(netns)).map(link), ...(await listAddresses(netns)).map(address)].sort();
    // Carriers are told up to a second late.
    await until(async () => kept().join() === (await dumped()).join());
    t.same(kept(), await dumped());
    t.equal(table.links.size, 1001);
    abort();
    await reader;
    if (bufferSize === undefined) {
      t.equal(table.overruns, 0);
      t.ok(table.events > 10_000, `${table.events} events`);
    } else t.ok(table.overruns > 0, `${table.overruns} overruns, ${table.events} events`);
    await request(socket, [encodeLink(RTM_DELLINK, NLM_F_ACK, { group: 10 })]);
  });
}
