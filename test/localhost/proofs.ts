// What a backend of the pod's localhost must do, whichever it is: functions over one, with real frames and sockets.
import { type Netns, openPacketSocket } from 'podtap';
import { ping } from 'podtap/lab';
import type { Test } from 'tap';
import type { LocalhostConfig } from '../../lib/localhost/config.js';
import { inside, pause, until } from '../support/inside.js';
import { type Packet, arp, ethernet, icmp, ipv4, isArpAnswer, isWhole, portsOf, tcp, udp } from './frames.js';
import { ALIASES, ALIAS_MAC, DNS, LOCAL, NODE, POD, SERVICES, SUBSTITUTE, type World, type WorldOptions, worldOf } from './world.js';

export interface Backend {
  readonly name: string;
  /** What stands on the way is there: the datapath, the route, the sysctls. */
  attach(pod: Netns, config: LocalhostConfig): Promise<void>;
  /** It cannot see on which ports the pod's own processes listen to the world: only what they begin. */
  readonly blind?: true;
  /** Another configuration, in place of the one before. */
  configure(pod: Netns, config: LocalhostConfig): Promise<void>;
}

/** The pod's services, and somebody outside. */
async function serve({ sidecar, outside }: World): Promise<void> {
  await sidecar.serve('udp', '127.0.0.11', 40_053, 'dns ');
  await sidecar.serve('tcp', '127.0.0.11', 40_054, 'dns ');
  await sidecar.serve('tcp', '127.0.0.1', 8080, 'web ');
  await sidecar.serve('udp', '127.0.0.1', 8181, 'big ', 4000);
  await sidecar.serve('tcp', '127.0.0.1', 15_042, 'range ');
  await outside.serve('udp', NODE.address, 7001);
  await outside.serve('tcp', NODE.address, 7000);
}

export async function withWorld(t: Test, backend: Backend, options: WorldOptions): Promise<World> {
  const world = await worldOf(t, options);
  await serve(world);
  await backend.attach(world.pod, world.config);
  return world;
}

/** The first exchange may meet neighbours that are not known yet. */
async function answers(t: Test, what: string, wanted: string, ask: () => Promise<string | undefined>): Promise<void> {
  let said: string | undefined;
  await until(async () => (said = await ask()) === wanted);
  t.equal(said, wanted, what);
}

async function reachesServices(t: Test, world: World, at = 0): Promise<void> {
  const { agent } = world.guests[at]!;
  await answers(t, 'UDP', 'dns hello', () => agent.says('udp', DNS, 53, { expect: 9 }));
  await answers(t, 'TCP', 'dns hello', () => agent.says('tcp', DNS, 53, { expect: 9 }));
}

// ------------------------------------------------------------------ one guest

/** Services by alias, whatever the datapath, and with checksums and segments left open or not. */
export async function services(t: Test, backend: Backend, options: WorldOptions): Promise<World> {
  const world = await withWorld(t, backend, options);
  const { agent, netns } = world.guests[0]!;
  await reachesServices(t, world);
  await answers(t, 'TCP, the same port', 'web hello', () => agent.says('tcp', LOCAL, 8080, { expect: 9 }));
  await answers(t, 'TCP, a range', 'range hello', () => agent.says('tcp', LOCAL, 5042, { expect: 11 }));
  t.match(await agent.ask('udp', LOCAL, 8181, { size: 3000 }), { length: 4000 }, 'fragments both ways');
  t.match(await agent.ask('tcp', LOCAL, 8080, { size: 3_000_000, expect: 3_000_004, timeout: 20 }), { length: 3_000_004, whole: true }, 'a long answer'); // prettier-ignore
  t.equal(await agent.says('udp', LOCAL, 4444), 'ConnectionRefusedError', 'an ICMP error comes back');
  t.equal(await agent.says('tcp', LOCAL, 5001), 'ConnectionRefusedError', 'a reset comes back');
  t.equal(await agent.says('udp', DNS, 53, { expect: 9, from: [POD.second, 0] }), 'dns hello', 'from the guest’s other address');
  t.equal((await ping(netns, DNS, { timeout: 2000 })).received, 1, 'an alias answers echo requests');
  t.equal((await ping(netns, `${ALIASES}.17`, { timeout: 300 })).received, 0, 'nobody’s alias does not');
  // By the datapath, as before.
  await answers(t, 'to the world', 'hello', () => agent.says('udp', NODE.address, 7001));
  await agent.serve('tcp', '0.0.0.0', 9555, 'guest ');
  await answers(t, 'from the world', 'guest hello', () => world.outside.says('tcp', POD.address, 9555, { expect: 11 }));
  return world;
}

/** Whatever the reverse path filter is, and whether the aliases are on the guest's link or behind its gateway, or it has no gateway. */
export async function surroundings(t: Test, backend: Backend): Promise<void> {
  for (const filter of [1, 2, 0])
    await t.test(`rp_filter ${filter}`, async (t) => {
      const world = await worldOf(t, { routes: [{ dst: `${ALIASES}.0/24` }] });
      for (const name of ['all', 'default', 'eth0', 'lo', 'tap1'])
        inside(world.pod, `sysctl -qw net.ipv4.conf.${name}.rp_filter=${filter}`);
      await serve(world);
      await backend.attach(world.pod, world.config);
      await reachesServices(t, world);
      t.match(inside(world.guests[0]!.netns, `ip neigh show ${DNS}`), ALIAS_MAC, 'ARP was answered');
    });
}

/** A Linux guest's own 127.0.0.1, sent out by its card. */
export async function literal(t: Test, backend: Backend): Promise<void> {
  const world = await withWorld(t, backend, {});
  const { netns, agent } = world.guests[0]!;
  const rules = ['127.0.0.1 tcp 8080', '127.0.0.1 tcp 8081', '127.0.0.11 udp 53', '127.0.0.11 udp 40053'].map((line) => {
    const [address, protocol, port] = line.split(' ');
    return `ip rule add pref 0 ipproto ${protocol} dport ${port} to ${address} lookup 99`;
  });
  const routes = ['127.0.0.1', '127.0.0.11'].map(
    (address) => `ip route add ${address} via ${NODE.address} dev eth0 src ${POD.address} table 99`,
  );
  inside(netns, ['sysctl -qw net.ipv4.conf.eth0.route_localnet=1 net.ipv4.conf.eth0.accept_local=1', 'ip rule add pref 1 lookup local; ip rule del pref 0', ...rules, ...routes].join('; ')); // prettier-ignore
  await answers(t, '127.0.0.1:8080', 'web hello', () => agent.says('tcp', '127.0.0.1', 8080, { expect: 9 }));
  await answers(t, '127.0.0.11:53', 'dns hello', () => agent.says('udp', '127.0.0.11', 53, { expect: 9 }));
  t.equal(await agent.says('udp', '127.0.0.11', 40_053, { timeout: 0.5 }), 'TimeoutError', 'its real port is not declared');
  await world.sidecar.serve('tcp', '127.0.0.1', 8081);
  t.equal(await agent.says('tcp', '127.0.0.1', 8081, { timeout: 0.5 }), 'TimeoutError', 'what is not declared');
}

/** Docker's resolver asks its upstream from inside the pod's namespace. */
export async function upstream(t: Test, backend: Backend, options: WorldOptions): Promise<void> {
  const world = await withWorld(t, backend, options);
  const { sidecar, guests } = world;
  await answers(t, 'UDP, connected', 'hello', () => sidecar.says('udp', NODE.address, 7001));
  await answers(t, 'UDP, not connected', 'hello', () => sidecar.says('udp', NODE.address, 7001, { connected: false }));
  await answers(t, 'TCP', 'hello', () => sidecar.says('tcp', NODE.address, 7000));
  t.match(await sidecar.ask('udp', NODE.address, 7001, { size: 4000 }), { length: 4000 }, 'fragments');
  t.equal(await sidecar.says('udp', NODE.address, 7999), 'ConnectionRefusedError', 'an ICMP error');
  // Though the router of the pod's stack is asked for anew.
  inside(world.pod, 'ip neigh flush dev eth0');
  await answers(t, 'TCP, after ARP', 'hello', () => sidecar.says('tcp', NODE.address, 7000));
  for (const { agent } of guests) await answers(t, 'and the guest', 'hello', () => agent.says('tcp', NODE.address, 7000));
  await reachesServices(t, world);
}

/** What is sent by the guest's wire, and which of it came up to the pod's loopback; the last one must. */
async function uptoLoopback(world: World, frames: readonly Uint8Array[]): Promise<number> {
  const [tap] = world.taps;
  await using lo = await openPacketSocket(world.pod, 'lo', { outgoing: false });
  let came = 0;
  const last = 61_999;
  const done = (async () => {
    for await (const batch of lo.frames()) {
      for (const one of batch) {
        const port = (one[34]! << 8) | one[35]!;
        if (port === last) return;
        // Not what the services answer.
        if (one[30] === 127 && one[31] === 0) came++;
      }
    }
  })();
  for (let at = 0; at < frames.length; at += 4096) await tap!.send(frames.slice(at, at + 4096));
  // A queue may lose it.
  const end = udp({ ...GUEST, port: last }, { ...ALIAS, address: DNS, port: 53 });
  const again = setInterval(() => void tap!.send([end]).catch(() => undefined), 100);
  await done;
  clearInterval(again);
  return came;
}

const GUEST = { mac: POD.mac, address: POD.address };
const ALIAS = { mac: ALIAS_MAC };

/** Everything but what is declared: each port of 127.0.0.1 and 127.0.0.11, by alias and literally, and some of other addresses. */
export async function closed(t: Test, backend: Backend, count?: (world: World) => Promise<bigint>): Promise<void> {
  const world = await withWorld(t, backend, { bare: true });
  const isOpen = (protocol: 'tcp' | 'udp', address: string, port: number): boolean =>
    SERVICES.some(
      (one) => one.protocol === protocol && [one.alias, one.address].includes(address) && port >= one.first && port <= one.last,
    );
  const frameOf = (protocol: 'tcp' | 'udp', address: string, port: number): Uint8Array =>
    (protocol === 'tcp' ? tcp : udp)({ ...GUEST, port: 50_000 }, { ...ALIAS, address, port });
  const ways: readonly (readonly ['tcp' | 'udp', string])[] = [DNS, LOCAL, '127.0.0.1', '127.0.0.11'].flatMap((address) => [['tcp', address], ['udp', address]] as const); // prettier-ignore
  let tried = 0;
  for (const [protocol, address] of ways) {
    const frames: Uint8Array[] = [];
    for (let port = 0; port <= 65_535; port++) if (!isOpen(protocol, address, port)) frames.push(frameOf(protocol, address, port));
    tried += frames.length;
    t.equal(await uptoLoopback(world, frames), 0, `${protocol} to ${address}`);
  }
  const others: Uint8Array[] = [];
  const some = [0, 1, 22, 53, 80, 443, 2375, 6379, 8080, 8181, 10_250, 15_042, 40_053, 40_054, 50_000, 65_535];
  const addresses = [...[0, 2, 3, 10, 12, 53, 254, 255].map((last) => `127.0.0.${last}`), '127.0.1.1', '127.1.2.3', '127.77.0.1', '127.77.1.1', '127.255.255.254', ...[0, 3, 4, 17, 63, 64, 65, 66, 129, 191, 192, 255].map((last) => `${ALIASES}.${last}`)]; // prettier-ignore
  for (const address of addresses) for (const port of some) others.push(frameOf('tcp', address, port), frameOf('udp', address, port));
  for (let last = 0; last < 256; last++) for (let third = 0; third < 256; third++) others.push(frameOf('udp', `127.${third}.${last}.${(third + last) & 255}`, 40_053)); // prettier-ignore
  // Other protocols, and what cannot be read.
  const to = { ...ALIAS, address: DNS };
  others.push(ipv4(GUEST, to, { protocol: 132 }), ipv4(GUEST, to, { protocol: 1, payload: Uint8Array.of(13, 0, 0, 0, 0, 0, 0, 0) }), ipv4(GUEST, to, { protocol: 17, payload: new Uint8Array(2) }), ipv4(GUEST, to, { protocol: 6, payload: new Uint8Array(3) })); // prettier-ignore
  // To what is declared, but with a source route on to somewhere else.
  const declared = udp({ ...GUEST, port: 50_000 }, { ...to, port: 53 }).subarray(34);
  others.push(ipv4(GUEST, to, { protocol: 17, payload: declared, options: [131, 7, 4, 127, 0, 0, 1, 0] }));
  const readable = others.filter((one) => !(one[30] === 127 && one[31] === 0 && one[32] === 0 && (one[33] === 1 || one[33] === 11)));
  tried += readable.length;
  t.equal(await uptoLoopback(world, readable), 0, 'other addresses, other protocols');
  // Declared, but not from the guest's address.
  const spoofed = ['10.1.0.9', '10.1.0.1', '127.0.0.1', '127.77.0.1', `${ALIASES}.2`, '0.0.0.0', '255.255.255.255'].map((address) =>
    udp({ ...GUEST, address, port: 50_000 }, { ...ALIAS, address: DNS, port: 53 }),
  );
  t.equal(await uptoLoopback(world, spoofed), 0, 'from addresses that are not the guest’s');
  if (count !== undefined) t.equal(await count(world), BigInt(tried), 'each of them was counted');
  t.ok(tried > 500_000, `${tried} frames`);
}

/** Nothing of the segment that the pod's interface is on gets to localhost, or to the guest as if it were from there. */
export async function fromOutside(t: Test, backend: Backend): Promise<void> {
  for (const mode of ['redirect', 'bridge'] as const)
    for (const open of [true, false])
      await t.test(`${mode}, the hole ${open ? 'open' : 'closed'}`, async (t) => {
        const world = await withWorld(t, backend, { mode, bare: true, services: open ? SERVICES : [] });
        // A weakness of which such pods are known: their interface takes what is for localhost.
        for (const name of ['eth0', 'all']) inside(world.pod, `sysctl -qw net.ipv4.conf.${name}.route_localnet=1 net.ipv4.conf.${name}.accept_local=1 net.ipv4.conf.${name}.rp_filter=0`); // prettier-ignore
        await using wire = await openPacketSocket(world.node, 'vn');
        const from = { ...NODE, port: 50_000 };
        const to = (address: string, port: number): Packet => ({ mac: POD.mac, address, port });
        const evil = [
          ...['127.0.0.11', '127.0.0.1', '127.77.0.1', '127.77.1.1', '127.255.0.1', DNS, LOCAL, `${ALIASES}.65`].flatMap((address) =>
            [53, 8080, 40_053, 40_054].flatMap((port) => [udp(from, to(address, port)), tcp(from, to(address, port))]),
          ),
          ...['127.0.0.1', '127.0.0.11', DNS, LOCAL, '127.77.0.1'].flatMap((address) => [
            udp({ ...from, address }, to(POD.address, 50_000)),
            tcp({ ...from, address }, to(POD.address, 50_000)),
          ]),
          ...['127.0.0.1', DNS].map((address) => arp(1, NODE, { mac: '00:00:00:00:00:00', address }, 'ff:ff:ff:ff:ff:ff')),
          arp(2, { mac: NODE.mac, address: DNS }, { mac: POD.mac, address: POD.address }),
        ];
        const end = udp(from, to(POD.address, 61_998));
        const came: string[] = [];
        const sent = new Set(evil.map(hex));
        const done = (async () => {
          for await (const batch of world.taps[0]!.frames())
            for (const one of batch) {
              if (sent.has(hex(one))) came.push(hex(one));
              if (hex(one) === hex(end)) return;
            }
        })();
        await world.up(world.taps[0]!);
        await wire.send(evil);
        const again = setInterval(() => void wire.send([end]).catch(() => undefined), 50);
        await done;
        clearInterval(again);
        t.strictSame(came, [], 'the guest has none of it');
        t.strictSame(await world.sidecar.seen(), [], 'and the pod’s services have none');
      });
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** A process of the pod, such as kubectl's port-forward, dials a guest's port; and the guest reaches nothing by that. */
export async function sidecars(t: Test, backend: Backend, options: WorldOptions): Promise<void> {
  const world = await withWorld(t, backend, { guests: 1, ports, ...options });
  const { sidecar, guests } = world;
  for (const { agent, slot } of guests) {
    await agent.serve('tcp', '0.0.0.0', 9000 + slot, `guest${slot} `);
    await agent.serve('udp', '0.0.0.0', 9000 + slot, `guest${slot} `);
  }
  for (const { agent, slot } of guests) {
    const wanted = `guest${slot} hello`;
    const said = { expect: 12 };
    await answers(t, `TCP to guest ${slot}`, wanted, () => sidecar.says('tcp', '127.0.0.1', 9000 + slot, said));
    await answers(t, `UDP to guest ${slot}`, wanted, () => sidecar.says('udp', '127.0.0.1', 9000 + slot, said));
    t.equal(await sidecar.says('udp', '127.0.0.1', 9000 + slot, { ...said, connected: false }), wanted, 'UDP, not connected');
    t.match(await sidecar.ask('tcp', '127.0.0.1', 9000 + slot, { size: 500_000, expect: 500_007, timeout: 20 }), { length: 500_007, whole: true }, 'a long one'); // prettier-ignore
    await agent.serve('udp', '0.0.0.0', 9101 + 10 * slot, '', 4000);
    t.match(await sidecar.ask('udp', '127.0.0.1', 9101 + 10 * slot), { length: 4000 }, 'fragments of an answer');
    if (world.config.podHasAddresses)
      await answers(t, `by the pod’s address`, wanted, () => sidecar.says('tcp', POD.address, 9000 + slot, said));
  }
  const { agent } = guests[0]!;
  // Its own port as the source, which would be the guest's answer.
  await sidecar.serve('tcp', '127.0.0.1', 6379, 'secret ');
  await sidecar.serve('udp', '127.0.0.1', 6379, 'secret ');
  t.equal(await agent.says('tcp', LOCAL, 6379, { from: 9113, timeout: 0.5 }), 'TimeoutError', 'a guest that dials from its own port');
  t.equal(await agent.says('udp', LOCAL, 6379, { from: 9113, timeout: 0.5 }), 'TimeoutError', 'the same by UDP');
  t.equal(await sidecar.says('tcp', '127.0.0.1', 6379, { expect: 12 }), 'secret hello', 'the pod itself may');
  t.equal(await sidecar.says('udp', '127.0.0.1', 9113), 'ConnectionRefusedError', 'a guest’s ICMP error');
  t.equal(await sidecar.says('tcp', '127.0.0.1', 9113), 'ConnectionRefusedError', 'a guest’s reset');
  t.equal(
    await sidecar.says('tcp', '127.0.0.1', 6379, { from: ['127.0.0.1', 9114], expect: 12 }),
    'secret hello',
    'the pod’s own connection from a guest’s port',
  );
  // What no TAP could take goes nowhere.
  t.equal(
    (await sidecar.ask('udp', '127.0.0.1', 9001, { size: 4000, timeout: 0.3 })).error,
    'TimeoutError',
    'a datagram longer than the MTU',
  );
  await reachesServices(t, world);
}

/** A port of the guest's own is no door to what is not declared, to connections of the pod's own, or to what the pod believes of its loopback. */
export async function noDoor(t: Test, backend: Backend): Promise<void> {
  const world = await withWorld(t, backend, { bare: true, ports });
  const { sidecar, taps } = world;
  await sidecar.serve('tcp', '127.0.0.1', 6379);
  await sidecar.serve('udp', '127.0.0.1', 6379);
  t.equal((await sidecar.ask('tcp', '127.0.0.1', 6379, { from: ['127.0.0.1', 9114], hold: 'own' })).error, undefined);
  const from = (port: number): Packet => ({ ...GUEST, port });
  const to = { ...ALIAS, address: LOCAL, port: 6379 };
  const flags = [2, 4, 16, 18, 20, 24];
  const evil = [9111, 9114].flatMap((port) => [...flags.map((one) => tcp(from(port), to, one)), udp(from(port), to)]);
  t.equal(await uptoLoopback(world, evil), 0, 'from its own port');

  const asked = sidecar.ask('udp', '127.0.0.1', 9113, { timeout: 3, text: 'question' });
  let question: Uint8Array | undefined;
  for await (const batch of taps[0]!.frames()) {
    question = batch.find((one) => one.includes(0x71) && Buffer.from(one).includes('question'))?.slice();
    if (question !== undefined) break;
  }
  const error = (code: number, mtu: number): Uint8Array => {
    const quoted = question!.subarray(14);
    const message = new Uint8Array(8 + quoted.length);
    message.set([3, code, 0, 0, 0, 0, mtu >> 8, mtu & 255]);
    message.set(quoted, 8);
    return icmp(GUEST, { ...ALIAS, address: LOCAL }, message);
  };
  t.equal(await uptoLoopback(world, [error(4, 600)]), 0, 'that a packet was too long for it');
  await taps[0]!.send([error(3, 0)]);
  t.equal((await asked).error, 'ConnectionRefusedError', 'that nobody is there');
}

/** One where it has a server, and some where it has none. */
export const ports = (slot: number): LocalhostConfig['guests'][number]['ports'] =>
  (['tcp', 'udp'] as const).flatMap((protocol) => [
    { protocol, first: 9000 + slot, last: 9000 + slot },
    { protocol, first: 9100 + 10 * slot, last: 9109 + 10 * slot },
  ]);

/** An address inside the guest's narrow subnet for the gateway outside of it. */
export async function substitute(t: Test, backend: Backend): Promise<void> {
  await t.test('of the real next hop', async (t) => {
    const world = await withWorld(t, backend, { gateway: { address: SUBSTITUTE, mac: NODE.mac }, routes: [{ dst: 'default', via: SUBSTITUTE }] }); // prettier-ignore
    const { agent, netns } = world.guests[0]!;
    inside(world.node, 'ip address add 10.9.9.9/32 dev lo; ip link set lo up');
    await world.outside.serve('tcp', '10.9.9.9', 7003);
    await answers(t, 'to the world', 'hello', () => agent.says('tcp', '10.9.9.9', 7003));
    t.match(inside(netns, `ip neigh show ${SUBSTITUTE}`), NODE.mac);
    await reachesServices(t, world);
  });
  await t.test('of nobody', async (t) => {
    const routes = [
      { dst: 'default', via: SUBSTITUTE },
      { dst: `${NODE.address}/32`, via: SUBSTITUTE },
    ];
    const world = await withWorld(t, backend, { gateway: { address: SUBSTITUTE, mac: ALIAS_MAC }, routes });
    const { agent } = world.guests[0]!;
    await reachesServices(t, world);
    await answers(t, 'who is on the pod’s link', 'hello', () => agent.says('tcp', NODE.address, 7000));
    t.match(inside(world.guests[0]!.netns, `ip neigh show ${SUBSTITUTE}`), ALIAS_MAC);
  });
}

// ------------------------------------------------------------------ several guests

/** Everybody reaches whom it may, and nobody gets what is another one's. */
export async function together(t: Test, backend: Backend, options: WorldOptions = {}): Promise<void> {
  const world = await withWorld(t, backend, { guests: 2, ports, ...options });
  const { outside, sidecar, guests, node } = world;
  for (const { agent, slot } of guests) {
    await agent.serve('tcp', '0.0.0.0', 9000 + slot, `guest${slot} `);
    await agent.serve('udp', '0.0.0.0', 9000 + slot, `guest${slot} `);
  }
  await guests[0]!.agent.serve('tcp', '0.0.0.0', 9555, 'first ');
  await guests[1]!.agent.serve('tcp', '0.0.0.0', 9555, 'second ');
  await sidecar.serve('tcp', '0.0.0.0', 7100, 'sidecar ');
  for (const [index, { agent, netns, slot }] of guests.entries()) {
    await reachesServices(t, world, index);
    await answers(t, `guest ${slot} to the world, TCP`, 'hello', () => agent.says('tcp', NODE.address, 7000));
    await answers(t, `guest ${slot} to the world, UDP`, 'hello', () => agent.says('udp', NODE.address, 7001));
    t.match(await agent.ask('udp', NODE.address, 7001, { size: 4000 }), { length: 4000, whole: true }, 'fragments to the world and back');
    t.equal((await ping(netns, NODE.address, { timeout: 3000 })).received, 1, 'echo');
    t.equal(await agent.says('udp', NODE.address, 7999), 'ConnectionRefusedError', 'an ICMP error from the world');
    for (const { slot: other } of guests) {
      const wanted = `guest${other} hello`;
      await answers(t, `guest ${slot} to guest ${other} by localhost, TCP`, wanted, () => agent.says('tcp', LOCAL, 9000 + other, { expect: wanted.length })); // prettier-ignore
      await answers(t, 'UDP', wanted, () => agent.says('udp', LOCAL, 9000 + other));
      t.match(await agent.ask('udp', LOCAL, 9000 + other, { size: 4000 }), { length: 4007, whole: true }, 'fragments');
      if (other !== slot) t.equal(await agent.says('tcp', LOCAL, 9555, { timeout: 0.3 }), 'TimeoutError', 'a port that nobody declared');
    }
    await answers(t, `the world to guest ${slot}`, `guest${slot} hello`, () =>
      outside.says('tcp', POD.address, 9000 + slot, { expect: 12 }),
    );
    await answers(t, `UDP`, `guest${slot} hello`, () => outside.says('udp', POD.address, 9000 + slot));
    t.match(await outside.ask('udp', POD.address, 9000 + slot, { size: 4000 }), { length: 4007, whole: true }, 'fragments');
    await answers(t, `a sidecar to guest ${slot}`, `guest${slot} hello`, () =>
      sidecar.says('tcp', '127.0.0.1', 9000 + slot, { expect: 12 }),
    );
  }
  await answers(t, 'what nobody owns is the first one’s', 'first hello', () => outside.says('tcp', POD.address, 9555, { expect: 11 }));
  if (world.config.podHasAddresses) {
    if (backend.blind !== true)
      await answers(t, 'the world to a sidecar', 'sidecar hello', () => outside.says('tcp', POD.address, 7100, { expect: 13 }));
    await answers(t, 'a sidecar to the world', 'hello', () => sidecar.says('tcp', NODE.address, 7000));
  }
  t.equal((await ping(node, POD.address, { timeout: 2000 })).received, 1, 'the world’s echo request');

  for (const { agent, slot } of guests)
    t.equal(await agent.says('tcp', NODE.address, 7000, { from: [POD.second, 34_000] }), 'hello', `guest ${slot}’s other address`);

  // The same source port from two guests to one place, held open together.
  for (const protocol of ['tcp', 'udp'] as const) {
    const asked = guests.map(({ agent, slot }) => agent.ask(protocol, NODE.address, protocol === 'tcp' ? 7000 : 7001, { from: 33_333, text: `guest${slot}`, expect: 6, hold: protocol, timeout: 5 })); // prettier-ignore
    const said = await Promise.all(asked);
    t.strictSame(said.map(({ text }) => text), guests.map(({ slot }) => `guest${slot}`), `${protocol}, equal source ports`); // prettier-ignore
    const later = await Promise.all(guests.map(({ agent, slot }) => agent.ask(protocol, NODE.address, 7000, { again: protocol, text: `again${slot}`, expect: 6 }))); // prettier-ignore
    t.strictSame(later.map(({ text }) => text), guests.map(({ slot }) => `again${slot}`), 'and later'); // prettier-ignore
    for (const { agent } of guests) await agent.drop(protocol);
  }
  const echoes = await Promise.all(guests.map(({ agent }) => agent.echo(NODE.address, 77, 5)));
  t.strictSame(echoes, guests.map(() => 5), 'echo with equal ids'); // prettier-ignore
}

/** Who asks for the pod's address is answered once; what all must know, all get. */
export async function neighbours(t: Test, backend: Backend): Promise<void> {
  const world = await withWorld(t, backend, { guests: 3, bare: true });
  await using wire = await openPacketSocket(world.node, 'vn', { outgoing: false });
  const answersSeen: Uint8Array[] = [];
  const stop = new AbortController();
  const reading = (async () => {
    for await (const batch of wire.frames({ signal: stop.signal }))
      for (const one of batch) if (isArpAnswer(one, POD.address)) answersSeen.push(one.slice());
  })();
  const heard = world.taps.map(() => [] as string[]);
  const listening = world.taps.map(async (tap, index) => {
    for await (const batch of tap.frames({ signal: stop.signal })) heard[index]!.push(...batch.map(hex));
  });
  for (const tap of world.taps) await world.up(tap);
  const nobody = '00:00:00:00:00:00';
  const broadcast = 'ff:ff:ff:ff:ff:ff';
  const question = arp(1, NODE, { mac: nobody, address: POD.address }, broadcast);
  const announcement = arp(1, NODE, { mac: nobody, address: NODE.address }, broadcast);
  const reply = arp(2, NODE, GUEST, POD.mac);
  const datagram = udp({ ...NODE, port: 68 }, { mac: broadcast, address: '255.255.255.255', port: 67 });
  await wire.send([question, announcement, reply, datagram]);
  const toAll = [announcement, reply, datagram].map(hex);
  await until(() => heard.every((frames) => toAll.every((one) => frames.includes(one))));
  for (const [index, frames] of heard.entries()) {
    for (const one of toAll) t.equal(frames.filter((other) => other === one).length, 1, `guest ${index + 1} has it once`);
    t.notOk(frames.includes(hex(question)), 'and was not asked');
  }
  await pause(100);
  t.equal(answersSeen.length, 1, 'one answer');
  t.equal(hex(answersSeen[0]!.subarray(22, 28)), POD.mac.replaceAll(':', ''), 'with the guests’ MAC');
  stop.abort();
  await Promise.all([reading, ...listening]);
}

/** What goes under another port, because two guests have the same one: both ways, in errors too, and with all sums right. */
export async function moved(t: Test, backend: Backend): Promise<void> {
  const world = await withWorld(t, backend, { guests: 2, bare: true });
  const [first, second] = world.taps;
  await using wire = await openPacketSocket(world.node, 'vn', { outgoing: false, promiscuous: true });
  const nextOf = async (frames: AsyncIterable<readonly Uint8Array[]>, protocol: number, text: string): Promise<Uint8Array> => {
    for await (const batch of frames) {
      const found = batch.find((one) => one[12] === 8 && one[13] === 0 && one[23] === protocol && Buffer.from(one).includes(text));
      if (found !== undefined) return found.slice();
    }
    throw new Error('it ended');
  };
  const mine = { ...GUEST, port: 5000 };
  const there = { ...NODE, port: 7777 };
  for (const tap of world.taps) {
    await tap.send([]);
    await world.up(tap);
  }
  const exchange = async <T>(look: Promise<T>, send: () => Promise<unknown>): Promise<T> => {
    await send();
    return look;
  };
  const one = await exchange(nextOf(wire.frames(), 17, 'first'), () => first!.send([udp(mine, there, 'first')]));
  const two = await exchange(nextOf(wire.frames(), 17, 'second'), () => second!.send([udp(mine, there, 'second')]));
  const [port] = portsOf(two);
  t.strictSame(portsOf(one), [5000, 7777]);
  t.not(port, 5000, `goes as ${port}`);
  t.ok(isWhole(one) && isWhole(two), 'their sums are right');
  const again = await exchange(nextOf(wire.frames(), 17, 'second again'), () => second!.send([udp(mine, there, 'second again')]));
  t.strictSame(portsOf(again), [port, 7777], 'and goes so again');

  const answer = udp(there, { ...mine, port }, 'answer');
  const came = await exchange(nextOf(second!.frames(), 17, 'answer'), () => wire.send([answer]));
  t.strictSame(portsOf(came), [7777, 5000]);
  t.ok(isWhole(came));
  // Nobody is there any more: the guest quotes what it got, and outside it must be what was sent.
  const quote = (code: number, quoted: Uint8Array): Uint8Array => Uint8Array.of(3, code, 0, 0, 0, 0, 0, 0, ...quoted.subarray(14));
  const unreachable = await exchange(nextOf(wire.frames(), 1, 'answer'), () => second!.send([icmp(mine, there, quote(3, came))]));
  t.strictSame(portsOf(unreachable, 34 + 28), [7777, port]);
  t.ok(isWhole(unreachable));
  // A router on the way says something of what the guest has sent.
  const router = { mac: NODE.mac, address: '10.1.0.99' };
  const told = await exchange(nextOf(second!.frames(), 1, 'second'), () => wire.send([icmp(router, mine, quote(4, two))]));
  t.strictSame(portsOf(told, 34 + 28), [5000, 7777]);
  t.equal(told.subarray(26, 30).join('.'), '10.1.0.99');
  t.ok(isWhole(told));
}

/** As many guests as there can be: the last one reaches the world and the first one, and is reached. */
export async function most(t: Test, backend: Backend): Promise<void> {
  const world = await withWorld(t, backend, { guests: 63, bare: true, ports });
  const [first, last] = [await world.addGuest(world.taps[0]!, 1), await world.addGuest(world.taps[62]!, 63)];
  const port = 9063;
  await first.agent.serve('udp', '0.0.0.0', 9001, 'first ');
  await last.agent.serve('udp', '0.0.0.0', port, 'last ');
  await answers(t, 'to the world', 'hello', () => last.agent.says('udp', NODE.address, 7001));
  await answers(t, 'from the world', 'last hello', () => world.outside.says('udp', POD.address, port));
  await answers(t, 'to the first one', 'first hello', () => last.agent.says('udp', LOCAL, 9001));
  await answers(t, 'from the first one', 'last hello', () => first.agent.says('udp', LOCAL, port));
  await answers(t, 'from a sidecar', 'last hello', () => world.sidecar.says('udp', '127.0.0.1', port));
  await reachesServices(t, world, 1);
}

/** `count` exchanges of each guest, from equal source ports at the same time: none crossed, none lost. */
export async function equalPorts(t: Test, backend: Backend, guests: number, count: number, offload = false): Promise<void> {
  const world = await withWorld(t, backend, { guests, ports, offload });
  await warm(world);
  for (const [protocol, port, rounds] of [
    ['udp', 7001, 3],
    ['tcp', 7000, 1],
  ] as const) {
    const said = await Promise.all(
      world.guests.map(({ agent, slot }) => agent.many(protocol, [NODE.address, port], { first: 20_000, count: Math.ceil(count / 2 / rounds), rounds, name: `guest${slot}`, timeout: 10 })), // prettier-ignore
    );
    for (const [index, { exchanged, crossed, lost }] of said.entries())
      t.strictSame({ crossed, lost }, { crossed: 0, lost: 0 }, `guest ${index + 1}: ${exchanged} exchanges by ${protocol}`);
  }
  const dns = await Promise.all(world.guests.map(({ agent, slot }) => agent.many('udp', [DNS, 53], { first: 21_000, count: 200, name: `guest${slot}`, timeout: 10 }))); // prettier-ignore
  // The service says its name first.
  for (const { lost } of dns) t.equal(lost, 0, 'the service too');
}

async function warm({ guests }: World): Promise<void> {
  for (const { agent } of guests) await until(async () => (await agent.says('udp', NODE.address, 7001)) === 'hello');
}

/** Guests come and go while another one talks. */
export async function comeAndGo(t: Test, backend: Backend, check?: (world: World) => Promise<void>): Promise<void> {
  const world = await withWorld(t, backend, { guests: 2, ports });
  const { pod, guests, outside } = world;
  await warm(world);
  const held = await guests[0]!.agent.ask('tcp', NODE.address, 7000, { hold: 'long', from: 30_000 });
  t.equal(held.error, undefined);
  let running = true;
  const load = Promise.all(
    guests.map(async ({ agent, slot }) => {
      let [exchanged, crossed, lost] = [0, 0, 0];
      for (let turn = 0; running; turn++) {
        const said = await agent.many('udp', [NODE.address, 7001], {
          first: 22_000 + (turn % 20) * 20,
          count: 20,
          name: `guest${slot}`,
          timeout: 10,
        });
        exchanged += said.exchanged!;
        crossed += said.crossed!;
        lost += said.lost!;
      }
      return { exchanged, crossed, lost };
    }),
  );
  const tap = await world.addTap();
  for (let round = 0; round < 3; round++) {
    const third = { slot: 3, tap: tap.ifindex, ports: ports(3) };
    await backend.configure(pod, { ...world.config, guests: [...world.config.guests, third] });
    const guest = round === 0 ? await world.addGuest(tap, 3) : world.guests[2]!;
    if (round === 0) await guest.agent.serve('tcp', '0.0.0.0', 9003, 'guest3 ');
    await answers(t, 'the third is reached', 'guest3 hello', () => outside.says('tcp', POD.address, 9003, { expect: 12 }));
    await answers(t, 'and reaches', 'hello', () => guest.agent.says('tcp', NODE.address, 7000));
    await backend.configure(pod, world.config);
    t.equal(await guest.agent.says('udp', NODE.address, 7001, { timeout: 0.3 }), 'TimeoutError', 'gone');
    t.not(await outside.says('tcp', POD.address, 9003, { timeout: 0.3, expect: 12 }), 'guest3 hello', 'not reached any more');
  }
  running = false;
  for (const { exchanged, crossed, lost } of await load) t.strictSame({ crossed, lost }, { crossed: 0, lost: 0 }, `${exchanged} exchanges`);
  t.equal(
    (await guests[0]!.agent.ask('tcp', NODE.address, 7000, { again: 'long', expect: 5 })).text,
    'hello',
    'a connection that was there all the time',
  );
  await check?.(world);
}

/** A guest that opens more flows than there can be loses its own, and nobody else's. */
export async function flood(t: Test, backend: Backend, flows: number, check?: (world: World) => Promise<void>): Promise<void> {
  const world = await withWorld(t, backend, { guests: 3, bare: true, ports });
  const [, second, third] = world.taps;
  const good = await world.addGuest(second!, 2);
  await until(async () => (await good.agent.says('udp', NODE.address, 7001)) === 'hello');
  // As long as the flood lasts: a connection, and datagrams from ports that the flood takes, too.
  t.equal((await good.agent.ask('tcp', NODE.address, 7000, { hold: 'tcp', from: 40_000 })).error, undefined);
  t.equal((await good.agent.ask('udp', NODE.address, 7001, { hold: 'udp', from: 40_001, text: 'mine' })).text, 'mine');
  t.equal((await world.sidecar.ask('tcp', NODE.address, 7000, { hold: 'pod', from: 40_002 })).error, undefined);
  const mine = { mac: POD.mac, address: POD.address };
  const template = udp({ ...mine, port: 1 }, { ...NODE, port: 7001 });
  let sent = 0;
  while (sent < flows) {
    const batch = Array.from({ length: Math.min(4096, flows - sent) }, (_, index) => {
      const number = sent + index;
      const one = template.slice();
      // All ports to one place, and then to the next port there.
      const [port, to] = [number % 64_000, 7001 + (Math.floor(number / 64_000) % 30_000)];
      one.set([port >> 8, port & 255, to >> 8, to & 255], 34);
      return one;
    });
    await third!.send(batch);
    sent += batch.length;
  }
  t.equal(
    (await good.agent.ask('tcp', NODE.address, 7000, { again: 'tcp', text: 'still', expect: 5 })).text,
    'still',
    'another guest’s connection',
  );
  t.equal((await good.agent.ask('udp', NODE.address, 7001, { again: 'udp', text: 'still' })).text, 'still', 'its datagrams');
  t.equal((await world.sidecar.ask('tcp', NODE.address, 7000, { again: 'pod', text: 'still', expect: 5 })).text, 'still', 'the pod’s own');
  const said = await good.agent.many('udp', [NODE.address, 7001], { first: 41_000, count: 100, name: 'good', timeout: 10 });
  t.match(said, { exchanged: 100, crossed: 0, lost: 0 }, 'and new ones');
  await check?.(world);
}

/** Dual stack: IPv6 goes on as before; of several guests it is the first one's. */
export async function ipv6(t: Test, backend: Backend, options: WorldOptions): Promise<World> {
  const world = await withWorld(t, backend, { ipv6: true, ports, ...options });
  const [first] = world.guests;
  t.equal(await until(async () => (await ping(world.node, 'fd00:1::2', { timeout: 500 })).received === 1), true, 'to the guest');
  t.equal(await until(async () => (await ping(first!.netns, 'fd00:1::1', { timeout: 500 })).received === 1), true, 'from the guest');
  await reachesServices(t, world);
  if (!world.config.podHasAddresses) return world;
  const there = 'fd00:1::1';
  for (const protocol of ['udp', 'tcp'] as const) {
    await world.outside.serve(protocol, there, 7006);
    for (const agent of [world.sidecar, first!.agent]) {
      inside(world.pod, 'ip -6 neigh flush dev eth0');
      await answers(t, `${protocol} of the ${agent === first!.agent ? 'guest' : 'pod'}`, 'hello', () => agent.says(protocol, there, 7006));
    }
  }
  t.equal(await world.sidecar.says('udp', there, 7999), 'ConnectionRefusedError', 'an ICMPv6 error');
  return world;
}

/** Who has fd00:1::2, asked by somebody who would have it: RFC 4862, 5.4. The checksum does not matter here. */
export const neighbourSolicitation = ethernet(
  POD.mac,
  '33:33:ff:00:00:02',
  0x86dd,
  Uint8Array.from(Buffer.from(`6000000000183aff${'00'.repeat(16)}ff0200000000000000000001ff0000028700000000000000fd000001000000000000000000000002`, 'hex')), // prettier-ignore
);

/** How many of the frames that a guest sends come out of the pod. */
export async function outOf(world: World, at: number, frames: readonly Uint8Array[]): Promise<number> {
  await using wire = await openPacketSocket(world.node, 'vn', { outgoing: false, promiscuous: true });
  const sent = new Set(frames.map(hex));
  const end = udp({ ...GUEST, port: 61_997 }, { ...NODE, port: 7 });
  let came = 0;
  const done = (async () => {
    for await (const batch of wire.frames())
      for (const one of batch) {
        if (sent.has(hex(one))) came++;
        if (hex(one) === hex(end)) return;
      }
  })();
  await world.taps[at]!.send(frames);
  const again = setInterval(() => void world.taps[at]!.send([end]).catch(() => undefined), 50);
  await done;
  clearInterval(again);
  return came;
}
