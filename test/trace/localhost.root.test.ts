// Paths to the pod's localhost and back, by podtap's eBPF programs, against what really passes. bpf(2) wants real root.
import { defineGuest } from 'podtap/guest';
import { ping } from 'podtap/lab';
import { type PathTrace, type TraceOptions, tracePath } from 'podtap/trace';
import t, { type Test } from 'tap';
import { type LoadedObject, linkTcx, loadObject, loadProgram } from '../../lib/kernel/bpf.js';
import { localhost } from '../../lib/kernel/programs/localhost.js';
import { filter, proof, usual } from '../localhost/ebpf.js';
import type { Backend } from '../localhost/proofs.js';
import { type Agent, type WorldOptions, ALIASES, ALIAS_MAC, DNS, LOCAL, NODE, POD, SUBSTITUTE } from '../localhost/world.js';
import { inside, until } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { docker, several, tracedWorld } from './localhost.js';

t.setTimeout(600_000);

await t.test("scene 6: Docker's resolver", { skip: requires('tun', 'root', 'bpf_hook', 'iptables', 'bridge') }, (t) =>
  docker(t, { backend: 'ebpf', hops: ['tap100 in', 'lo in'] }),
);

await proof('scene 6 and 7, by the usual hook', (t) => scene(t, usual));
await proof('scene 6 and 7: bridge, by cls_bpf', (t) => scene(t, filter, { mode: 'bridge' }));

async function scene(t: Test, backend: Backend, options: WorldOptions = {}): Promise<void> {
  const traced = await tracedWorld(t, options);
  await backend.attach(traced.world.pod, traced.world.config);
  await several(t, traced, 'SPOOFED');
}

/** Which entries of podtap's maps a trace stands on, in order: 'services 169.254.77.1 port 53/udp'. */
function entriesOf({ hops, because }: PathTrace): readonly string[] {
  const all = [...hops.flatMap((hop) => hop.because), ...because];
  return all.flatMap((one) => (one.by === 'program' ? (one.entries ?? []) : [])).map(({ map, key, value }) => `${map} ${key}: ${value}`);
}

const delivered = (guest: string): object => ({ delivered: true, at: { guest } });

await proof('services, as they are dialled, and what answers', async (t) => {
  const traced = await tracedWorld(t);
  const { trace, alike, world } = traced;
  const { sidecar, config, pod } = world;
  const [one] = world.guests;
  await usual.attach(pod, config);
  await sidecar.serve('tcp', '127.0.0.1', 15_042, 'range ');
  await sidecar.serve('udp', '127.0.0.11', 40_053, 'dns ');
  // One of a range, by TCP.
  const range = await trace({ to: LOCAL, protocol: 'tcp', ports: { source: 5353, destination: 5042 } });
  t.match(range, { delivered: true, at: { namespace: 'pod', device: 'lo' } }, String(range));
  t.match(range.hops.at(-1)!.frame.packet, {
    source: '127.77.0.1',
    destination: '127.0.0.1',
    ports: { source: 5353, destination: 15_042 },
  });
  t.strictSame(entriesOf(range), [`services ${LOCAL} port 5042/tcp: 127.0.0.1 port 15042`, `hosts ${LOCAL}: 127.0.0.1`]);
  await alike(range, () => one!.agent.ask('tcp', LOCAL, 5042, { from: 5353, text: 'a', expect: 7 }));
  // By the pod's own address for it: another address of the loopback, so that the answer comes from there.
  inside(one!.netns, 'sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.eth0.route_localnet=1; ip rule add pref 0 to 127.0.0.11 lookup 99; ip rule add pref 1 lookup local; ip rule del pref 0 lookup local; ip route add 127.0.0.11 via 10.1.0.1 dev eth0 src 10.1.0.2 table 99'); // prettier-ignore
  const literal = await trace({ to: '127.0.0.11' });
  t.match(literal, { delivered: true, at: { namespace: 'pod' } }, String(literal));
  t.match(literal.hops.at(-1)!.frame.packet, { source: '127.77.1.1', destination: '127.0.0.11', ports: { destination: 40_053 } });
  await alike(literal, () => one!.agent.ask('udp', '127.0.0.11', 53, { from: ['10.1.0.2', 5353], text: 'a', timeout: 0.3 }));
  const back = await trace({ from: 'pod', source: '127.0.0.11', to: '127.77.1.1', ports: { source: 40_053, destination: 5353 } });
  t.match(back, delivered('one'), String(back));
  t.match(back.hops.at(-1)!.frame.packet, { source: '127.0.0.11', destination: POD.address, ports: { source: 53 } });
  await alike(back, () => one!.agent.ask('udp', '127.0.0.11', 53, { from: ['10.1.0.2', 5353], text: 'a', timeout: 0.3 }));
  // A second address of the guest has others, too.
  const second = await trace({ source: POD.second });
  t.match(second.hops.at(-1)!.frame.packet, { source: '127.77.0.65' });
  await alike(second, () => one!.agent.ask('udp', DNS, 53, { from: [POD.second, 5353], text: 'a', expect: 5 }));
  t.match(await trace({ from: 'pod', source: '127.0.0.11', to: '127.77.0.65', ports: { source: 40_053, destination: 5353 } }), { ...delivered('one'), hops: [{ frame: { packet: { destination: POD.second } } }] }); // prettier-ignore

  // An echo request is answered by the program, for what stands for something.
  const echo = await trace({ to: DNS, protocol: 'icmp' });
  t.match(echo, { delivered: true, at: { namespace: 'pod', device: 'tap1' }, undecided: [] }, String(echo));
  t.equal((await ping(one!.netns, DNS, { timeout: 300 })).received, 1);
  for (const nothing of [`${ALIASES}.9`, '127.0.0.12']) t.match((await trace({ to: nothing, protocol: 'icmp' })).loss, { code: 'FILTERED', reason: /stands for nothing that is declared/ }); // prettier-ignore
  t.equal((await ping(one!.netns, `${ALIASES}.9`, { timeout: 50 })).received, 0);
  t.match(await trace({ to: '127.0.0.11', protocol: 'icmp' }), { delivered: true });

  // Closed, and why.
  const why = async (options: Partial<TraceOptions>): Promise<string> => (await trace(options)).loss?.reason ?? 'it is delivered';
  t.match(await why({ ports: { source: 5353, destination: 54 } }), /169\.254\.77\.1 port 54\/udp is no such service/);
  t.match(await why({ protocol: 'tcp', to: LOCAL, ports: { source: 5353, destination: 5100 } }), /port 5100\/tcp is no such service/, 'behind the end of a range'); // prettier-ignore
  t.match(await why({ to: `${ALIASES}.66` }), /has sent nothing that this answers/);
  t.match(await why({ to: `${ALIASES}.200` }), /has sent nothing that this answers/);
  t.match(await why({ source: '10.1.0.99' }), /may send from 02:00:00:00:00:22 and 10\.1\.0\.2, 10\.1\.0\.3 only/);
  t.match(await why({ from: 'two', source: '10.1.0.99', to: NODE.address }), /nobody|no neighbour|SPOOFED|ARP/);
  t.match(await why({ from: 'pod', source: '127.0.0.1', to: '127.77.0.1', ports: { source: 99, destination: 5353 } }), /127\.0\.0\.1 port 99\/udp is none/); // prettier-ignore
  t.match(await why({ from: 'pod', source: '127.0.0.7', to: '127.77.0.1', ports: { source: 99, destination: 5353 } }), /127\.0\.0\.7 is none of theirs/); // prettier-ignore
  t.match(await why({ from: 'pod', source: '127.0.0.1', to: '127.77.0.9', ports: { source: 8181, destination: 5353 } }), /there is no guest in slot 9/); // prettier-ignore
  t.match(await why({ from: 'pod', source: '127.0.0.1', to: '127.77.0.1', protocol: 'icmp' }), /by TCP and UDP only/);
  // Without a port it cannot be told which service answers.
  t.match(await trace({ from: 'pod', source: '127.0.0.11', to: '127.77.0.1', ports: { destination: 5353 } }), { delivered: false, undecided: [{ text: /podtap_lh_lo on lo in pod decides, by the source port, which was not given/ }] }); // prettier-ignore
  // From outside to what is inside.
  inside(world.node, `ip route add ${ALIASES}.0/24 via ${POD.address}`);
  const martian = await trace({ from: 'node', to: DNS });
  t.match(
    martian.loss,
    { code: 'MARTIAN', namespace: 'pod', device: 'eth0', reason: /169\.254\.77\.1 is of the pod's localhost/ },
    String(martian),
  );
});

await proof('what a guest and the pod send each other', async (t) => {
  const { trace, alike, world } = await tracedWorld(t);
  const { sidecar, config, pod } = world;
  await usual.attach(pod, config);
  const two = world.guests[1]!;
  for (const protocol of ['udp', 'tcp'] as const) {
    await two.agent.serve(protocol, POD.address, 9002, 'two ');
    for (const [dialled, seen] of [
      ['127.0.0.1', LOCAL],
      [POD.address, `${ALIASES}.3`],
    ] as const) {
      // prettier-ignore
      const from = [dialled, 6000] as const;
      const there = await trace({ from: 'pod', source: dialled, to: dialled, protocol, ports: { source: 6000, destination: 9002 } });
      t.match(there, delivered('two'), String(there));
      t.match(
        there.hops.map(({ device, direction }) => `${device} ${direction}`),
        ['tap2 out'],
        'not seen on the loopback',
      );
      t.match(there.hops.at(-1)!.frame.packet, { source: seen, destination: POD.address, ports: { source: 6000, destination: 9002 } });
      // Before the pod has dialled, the answer answers nothing.
      const answering: Partial<TraceOptions> = { from: 'two', to: seen, protocol, ports: { source: 9002, destination: 6000 } };
      t.match((await trace(answering)).loss, { code: 'FILTERED' });
      await alike(there, () => sidecar.ask(protocol, dialled, 9002, { from, text: 'a', expect: 5 }));
      const hold = `${protocol} ${dialled}`;
      await sidecar.ask(protocol, dialled, 9002, { from: [dialled, 6001], text: 'a', expect: 5, hold });
      const answer = await trace({ ...answering, ports: { source: 9002, destination: 6001 } });
      t.match(answer, { delivered: true, at: { namespace: 'pod', device: 'lo' } }, String(answer));
      t.match(answer.hops.at(-1)!.frame.packet, { source: dialled, destination: dialled, ports: { source: 9002, destination: 6001 } });
      if (protocol === 'udp') await alike(answer, () => sidecar.ask('udp', dialled, 9002, { again: hold, text: 'a', expect: 5 }));
      await sidecar.drop(hold);
    }
  }
  // A process may have a guest's port for its side of a connection with another process.
  await sidecar.serve('tcp', '127.0.0.1', 8080);
  await sidecar.ask('tcp', '127.0.0.1', 8080, { from: ['127.0.0.1', 9001], text: 'a', expect: 1, hold: 'own' });
  const own = await trace({
    from: 'pod',
    source: '127.0.0.1',
    to: '127.0.0.1',
    protocol: 'tcp',
    ports: { source: 8080, destination: 9001 },
  });
  t.match(own, { delivered: true, at: { namespace: 'pod', device: 'lo' } }, String(own));
  await alike(own, () => sidecar.ask('tcp', '127.0.0.1', 8080, { again: 'own', text: 'a', expect: 1 }));
  await sidecar.drop('own');
  const long = await trace({ from: 'pod', source: '127.0.0.1', to: '127.0.0.1', ports: { source: 6000, destination: 9002 }, length: 1501 });
  t.match(
    long.loss,
    { code: 'MTU_EXCEEDED', namespace: 'pod', device: 'lo', reason: /1501 bytes is longer than the MTU of tap2, 1500/ },
    String(long),
  );
  t.match(await trace({ from: 'pod', source: '127.0.0.1', to: '127.0.0.1', ports: { source: 6000, destination: 9003 } }), { delivered: true, at: { namespace: 'pod' } }, "nobody's port is the pod's"); // prettier-ignore
});

await proof('several guests and the world', async (t) => {
  const { trace, alike, world } = await tracedWorld(t);
  const { sidecar, outside, config, pod } = world;
  await usual.attach(pod, config);
  const [one, two] = world.guests;
  await outside.serve('udp', NODE.address, 7001);
  const out: Partial<TraceOptions> = { to: NODE.address, ports: { source: 5000, destination: 7001 } };
  const send = (agent: Agent): Promise<unknown> => agent.ask('udp', NODE.address, 7001, { from: 5000, text: 'a', expect: 1 });
  for (const [name, guest] of [
    ['one', one],
    ['two', two],
  ] as const) {
    // prettier-ignore
    const first = await trace({ ...out, from: name });
    if (name === 'one') {
      t.equal(first.hops.at(-1)!.frame.packet!.ports!.source, 5000);
      t.strictSame(entriesOf(first), []);
    } else {
      t.equal(first.hops.at(-1)!.frame.packet!.ports!.source, 0, 'one that cannot be told');
      t.match(String(first), /another guest's flow has its port: it gets a free one, by chance/);
    }
    await alike(first, () => send(guest!.agent));
    // Then there is a flow, by which it can be told.
    const then = await trace({ ...out, from: name });
    t.match(entriesOf(then).at(-1), /^flows UDP 10\.1\.0\.2 port \d+ to 10\.1\.0\.1 port 7001: of slot/);
    const { source } = then.hops.at(-1)!.frame.packet!.ports!;
    t.equal(source === 5000, name === 'one', 'two guests, one port each');
    t.not(source, 0);
    await alike(then, () => send(guest!.agent));
    const answer = await trace({ from: 'node', to: POD.address, ports: { source: 7001, destination: source } });
    t.match(answer, delivered(name), String(answer));
    t.equal(answer.hops.at(-1)!.frame.packet!.ports!.destination, 5000);
    await alike(answer, () => send(guest!.agent));
  }
  // Of an own port nothing is changed; that of another one is not had.
  const own = await trace({ from: 'two', to: NODE.address, ports: { source: 9002, destination: 7001 } });
  t.strictSame([own.hops.at(-1)!.frame.packet!.ports!.source, entriesOf(own)], [9002, ['owners 9002/udp: slot 2']]);
  await alike(own, () => two!.agent.ask('udp', NODE.address, 7001, { from: 9002, text: 'a', expect: 1 }));
  t.match(String(await trace({ from: 'one', to: NODE.address, ports: { source: 9002, destination: 7001 } })), /its port is that of another guest/); // prettier-ignore

  // What the pod has begun is its, and a socket that waits, where no guest has declared the port.
  const into = (destination: number, source = 7001): Promise<PathTrace> => trace({ from: 'node', to: POD.address, ports: { source, destination } }); // prettier-ignore
  t.match(await into(9555), delivered('one'));
  t.match(String(await into(9555)), /nobody else has it: it is the first guest's/);
  await sidecar.ask('udp', NODE.address, 7001, { from: [POD.address, 9001], text: 'a', expect: 1, hold: 'up', connected: true });
  const upstream = await into(9001);
  t.match(upstream, { delivered: true, at: { namespace: 'pod', device: 'eth0' } }, String(upstream));
  t.match(String(upstream), /connected to 10\.1\.0\.1 port 7001: the packet is the pod's/);
  await alike(upstream, () => sidecar.ask('udp', NODE.address, 7001, { again: 'up', text: 'a', expect: 1 }));
  t.match(await into(9001, 7002), delivered('one'), 'not of the same sender');
  t.equal((await into(9001, 7002)).hops.at(-1)!.because.at(-1)!.by, 'filter', "the first guest's datapath has it next");
  await sidecar.drop('up');
  await until(async () => (await into(9001)).at?.guest === 'one');
  await sidecar.serve('udp', POD.address, 9100);
  const waiting = await into(9100, 7003);
  t.match(waiting, { delivered: true, at: { namespace: 'pod', device: 'eth0' } }, String(waiting));
  await alike(waiting, () => outside.ask('udp', POD.address, 9100, { from: 7003, text: 'a', expect: 1 }));
  // Its own port is never a guest's to send from.
  t.match(String(await trace({ from: 'two', to: NODE.address, ports: { source: 9100, destination: 7001 } })), /a socket of the pod's own has its port/); // prettier-ignore
  // ARP for the address that all share is answered once; a stranger's source goes nowhere.
  inside(world.node, 'ip neigh flush dev vn');
  t.match(String(await into(9002)), /asked by ARP, podtap's eBPF program on eth0 in pod answers: it is at 02:00:00:00:00:22/);
});

await proof('a gateway in the place of another one, or of none', async (t) => {
  for (const mac of [NODE.mac, ALIAS_MAC])
    await t.test(mac === ALIAS_MAC ? 'of none' : 'of another', async (t) => {
      const gateway = { address: SUBSTITUTE, mac };
      const { trace, alike, world } = await tracedWorld(t, {
        gateway,
        guests: 1,
        ports: () => [],
        routes: [{ dst: 'default', via: SUBSTITUTE }],
      });
      await usual.attach(world.pod, world.config);
      inside(world.node, 'ip address add 10.9.0.1/32 dev vn');
      await world.outside.serve('udp', '10.9.0.1', 7001);
      const path = await trace({ to: '10.9.0.1', ports: { source: 5000, destination: 7001 } });
      t.match(path, { delivered: true, at: { namespace: 'node' } }, String(path));
      t.match(String(path), /asked by ARP, podtap's eBPF program on tap1 in pod answers/);
      t.equal(path.hops[0]!.frame.destination, mac);
      t.equal(/the pod has no next hop: by eth0/.test(String(path)), mac === ALIAS_MAC);
      t.equal(path.hops.at(-1)!.frame.packet!.ttl, 64);
      await alike(path, () => world.guests[0]!.agent.ask('udp', '10.9.0.1', 7001, { from: 5000, text: 'a', timeout: 1 }));
    });
});

await proof('IPv6 is the first guest’s, but for sockets of the pod', async (t) => {
  const { namespaces, world } = await tracedWorld(t, { ipv6: true });
  await usual.attach(world.pod, world.config);
  const network = defineGuest({ mac: POD.mac, mtu: 1500, tap: 'tap1', addresses: [{ address: 'fd00:1::2/64' }] });
  const into = (destination: number): Promise<PathTrace> => tracePath({ namespaces, guests: { one: { namespace: 'pod', network } }, from: 'node', to: 'fd00:1::2', protocol: 'udp', ports: { source: 7000, destination } }); // prettier-ignore
  t.match(await into(9100), delivered('one'));
  await world.sidecar.serve('udp', 'fd00:1::2', 9100);
  const own = await into(9100);
  t.match(own, { delivered: true, at: { namespace: 'pod', device: 'eth0' } }, String(own));
  t.match(String(own), /a socket of the pod's own has UDP fd00:1::1 port 7000 to fd00:1::2 port 9100: the packet is the pod's/);
});

await proof("a stranger's program of the same name is not evaluated", async (t) => {
  const { trace, world } = await tracedWorld(t, { guests: 1 });
  const { pod, config, taps } = world;
  // Returns -1: what comes next decides.
  const next = Uint8Array.of(0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x95, 0, 0, 0, 0, 0, 0, 0);
  for (const [name, link, direction, asked] of [
    ['podtap_lh_tap', taps[0]!.ifindex, 'ingress', {}],
    ['podtap_to_link', taps[0]!.ifindex, 'ingress', {}],
    ['podtap_lh_link', config.link, 'ingress', { from: 'node', to: POD.address }],
    ['podtap_to_guest', config.link, 'ingress', { from: 'node', to: POD.address }],
    ['podtap_lh_lo', 1, 'egress', { from: 'pod', to: '127.0.0.1' }],
  ] as const) {
    await using program = await loadProgram(name, { instructions: next });
    await using _ = await linkTcx(pod, { ifindex: link, direction }, program, { order: 'first' });
    const path = await trace(asked);
    t.match(path, { delivered: false, undecided: [{ namespace: 'pod', text: new RegExp(`here the eBPF program ${name} on .* decides, which podtap does not evaluate`) }] }, name); // prettier-ignore
  }
  // Nor are its own, over maps that are not its own.
  await using strange = await strangeMaps();
  await using _ = await linkTcx(pod, { ifindex: 1, direction: 'egress' }, strange.programs.podtap_lh_lo!, { order: 'first' });
  const path = await trace({ from: 'pod', to: '127.0.0.1' });
  t.match(
    path,
    { delivered: false, undecided: [{ text: /podtap_lh_lo on lo in pod decides, by maps that could not be read/ }] },
    String(path),
  );
});

/** The same instructions, with as many answers as they like. */
async function strangeMaps(): Promise<LoadedObject> {
  const maps = localhost.maps.map((map) => (map.name === 'answers' ? { ...map, maxEntries: 7 } : map));
  return loadObject({ maps, programs: { podtap_lh_lo: localhost.programs.podtap_lh_lo } });
}
