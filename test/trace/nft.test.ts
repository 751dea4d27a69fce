// Traces through nftables, against what the kernel does with a real packet: rulesets by nft(8), of many kinds and at random.
import fc from 'fast-check';
import { type Netns, addAddress, addRoute, createTap, createVeth, getLink, openPacketSocket, setNeighbor, setSysctl } from 'podtap';
import { defineGuest } from 'podtap/guest';
import { createLab, ping, runGuest } from 'podtap/lab';
import {
  type CapturedFrame,
  type PathTrace,
  type TraceOptions,
  capture,
  captureAlong,
  compareFrames,
  tracePath,
  udpPort,
} from 'podtap/trace';
import t, { type Test } from 'tap';
import { POD_MAC, Stack, createSlash16, settled } from '../../examples/labs.js';
import { encodeFrame } from '../../lib/wire/frame.js';
import { agentsOf } from '../localhost/world.js';
import { fresh, inside } from '../support/inside.js';
import { requires } from '../support/requires.js';

const skip = requires('nft');

function rules(netns: Netns, script: string): void {
  // What closes a block wants a line of its own.
  inside(netns, `nft -f - <<'END'\nflush ruleset\n${script.replaceAll(/( \})+$/gm, (all) => all.replaceAll(' ', '\n'))}\nEND`);
}

interface Routed extends Readonly<Record<'client' | 'node' | 'server', Netns>> {
  /** Sends one from the client to the router; what came to the server until another one did that is always let through. */
  send(packet: { source: string; destination: string; ports: { source: number; destination: number }; ttl: number; length: number }): Promise<readonly CapturedFrame[]>; // prettier-ignore
}

/** A client and a server behind a router, all with addresses for everybody. */
async function routed(t: Test): Promise<Routed> {
  const stack = new Stack();
  t.teardown(() => stack[Symbol.asyncDispose]());
  const lab = stack.use(
    await createLab({
      nodes: { client: {}, node: { forward: true }, server: {} },
      links: [
        { client: '10.0.1.2/24', node: '10.0.1.1/24' },
        { server: '10.0.2.2/24', node: '10.0.2.1/24' },
      ],
      routes: { client: { default: '10.0.1.1' }, server: { default: '10.0.2.1' } },
    }),
  );
  const { client, node, server } = lab;
  await addAddress(client, 'eth0', '10.0.1.3/24');
  await addAddress(server, 'eth0', '10.0.2.3/24');
  await settled({ client, node, server });
  const [mac, own, far] = [(await getLink(node, 'eth0'))!.mac, (await getLink(client, 'eth0'))!.mac, (await getLink(server, 'eth0'))!.mac];
  for (const address of ['10.0.2.2', '10.0.2.3']) await setNeighbor(node, 'eth1', { address, mac: far, state: 'permanent' });
  await setNeighbor(client, 'eth0', { address: '10.0.1.1', mac, state: 'permanent' });
  const socket = stack.use(await openPacketSocket(client, 'eth0'));
  const udp = (packet: object): Uint8Array => encodeFrame({ source: own, destination: mac, type: 0x0800, packet: { source: SENTINEL, destination: '10.0.2.2', ttl: 64, protocol: 'udp', length: 60, ports: { source: 9, destination: 9 }, ...packet } }); // prettier-ignore
  const send: Routed['send'] = async (packet) => {
    await using hearing = await capture(server, 'eth0');
    await socket.send([udp(packet), udp({})]);
    const frames: CapturedFrame[] = [];
    for await (const frame of hearing) {
      if (frame.frame?.packet?.source === SENTINEL) break;
      if (frame.direction === 'in' && frame.frame?.packet?.protocol === 'udp') frames.push(frame);
    }
    return frames;
  };
  return { client, node, server, send };
}
/** First in each chain: where it is, all that was sent before it has come, or never will. */
const SENTINEL = '10.0.1.9';
const PASS = `ip saddr ${SENTINEL} accept`;

let port = 20_000;

/** The trace of one UDP packet, and that what becomes of it is what was foretold. */
async function foretold(t: Test, lab: Routed, given: Partial<TraceOptions> & { readonly destination?: number } = {}): Promise<PathTrace> {
  const { client, node, server } = lab;
  const { to = '10.0.2.2', source = '10.0.1.2', ttl = 64, length = 60, destination = 53 } = given;
  const ports = { source: port++, destination }; // else it would be of a connection that is known
  const trace = await tracePath({ namespaces: { client, node, server }, from: 'client', to, source, protocol: 'udp', ports, ttl, length });
  const came = await lab.send({ source, destination: to, ports, ttl, length });
  t.strictSame(trace.undecided, []);
  t.equal(came.length > 0, trace.at?.namespace === 'server', trace.summary);
  const last = trace.hops.at(-1)!;
  if (came[0] !== undefined) t.strictSame(compareFrames(last.frame, came[0].frame!), [], String(trace));
  return trace;
}

function table(forward: string, more = ''): string {
  return `table inet t { ${more}\nchain forward { type filter hook forward priority 0; policy accept; ${PASS}\n${forward}\n} }`;
}

await t.test('what a router drops, and by which rule', { skip }, async (t) => {
  const lab = await routed(t);
  const { node } = lab;
  const drops = async (ruleset: string, given: Parameters<typeof foretold>[2] = {}): Promise<PathTrace> => {
    rules(node, ruleset);
    const trace = await foretold(t, lab, given);
    t.match(trace.loss, { code: 'FILTERED', namespace: 'node' }, ruleset);
    return trace;
  };
  const passes = async (ruleset: string, given: Parameters<typeof foretold>[2] = {}): Promise<PathTrace> => {
    rules(node, ruleset);
    const trace = await foretold(t, lab, given);
    t.ok(trace.delivered, ruleset);
    return trace;
  };
  const { loss } = await drops(table('udp dport 53 drop comment "no names"'));
  t.match(loss!.reason, /^chain inet t forward \(forward\) in node drops it, rule \d+ of forward \("no names"\)$/);
  t.match((await passes(table('udp dport 54 drop'))).hops.at(-2)!.because, [{ by: 'route' }, { by: 'chain', text: /accepts it, at its end$/ }, { by: 'neighbor' }]); // prettier-ignore
  t.match((await drops(table('ip saddr 10.0.1.0/24 reject'))).loss!.icmp, /unreachable/);
  const closed = `table ip t { chain f { type filter hook forward priority 5; policy drop; ${PASS}; udp dport { 53, 100-200 } accept } }`;
  t.match((await drops(closed, { destination: 99 })).loss!.reason, /by its policy$/);
  for (const destination of [53, 100, 150, 200]) await passes(closed, { destination });
  for (const destination of [52, 54, 201]) await drops(closed, { destination });
  // An earlier accept ends its own chain only; a table that is dormant says nothing; another family's neither.
  await drops(`table ip a { chain f { type filter hook forward priority -5; accept } }\n${table('udp dport 53 drop')}`);
  await passes(`table inet t { flags dormant; chain f { type filter hook forward priority 0; drop } }`);
  await passes(`table ip6 t { chain f { type filter hook forward priority 0; drop } }`);
  await passes(`table inet t { chain f { type filter hook input priority 0; drop } }`);
  await drops(table('jump one', 'chain two { return; drop }\nchain one { udp dport 53 jump two; drop }'));
  await passes(table('goto one; drop', 'chain one { counter; }'));
  await drops(table('udp dport vmap { 53 : goto one, 54 : accept }', 'chain one { drop }'));
  await passes(table('udp dport vmap { 53 : goto one, 54 : accept }', 'chain one { drop }'), { destination: 54 });
  await drops(table('ip saddr . udp dport @known accept; drop', 'set known { type ipv4_addr . inet_service; elements = { 10.0.1.2 . 54 } }')); // prettier-ignore
  await passes(table('ip saddr . udp dport @known accept; drop', 'set known { type ipv4_addr . inet_service; flags interval; elements = { 10.0.1.0/24 . 50-60 } }')); // prettier-ignore
  await drops(table('ip daddr @these drop', 'map x { type ipv4_addr : verdict; }\nset these { type ipv4_addr; elements = { 10.0.2.2 } }'));
  await drops(table('meta mark 7 drop', 'chain p { type filter hook prerouting priority -150; udp dport 53 meta mark set 0x7 }'));
  await drops(table('ct state new udp dport 53 drop'));
  await passes(table('ct state established drop'));
  await drops(table('iifname "eth0" oifname "eth1" meta l4proto udp ip ttl < 64 drop'));
  await passes(table('ip ttl < 63 drop'));
  await drops(table('ip length > 59 drop'));
  await passes(table('ip length > 60 drop'));
  await drops(table('ip saddr & 0.0.0.3 == 2 drop'));
  await drops(table('fib daddr type != local drop'));
  await drops(table('iif eth0 udp sport >= 20000 drop'));
  await drops(`table inet t { chain f { type filter hook postrouting priority 0; ${PASS}; udp dport 53 drop } }`);
  await drops(`table netdev t { chain f { type filter hook ingress device eth0 priority 0; ${PASS}; udp dport 53 drop } }`);
  await drops(`table netdev t { chain f { type filter hook egress device eth1 priority 0; ${PASS}; ip ttl 63 drop } }`);
  t.match((await drops(`table arp t { chain f { type filter hook input priority 0; drop } }\n${table('drop')}`)).loss, {
    namespace: 'node',
  });
});

await t.test('NAT: where it goes then, and from whom', { skip }, async (t) => {
  const lab = await routed(t);
  const nat = (chain: string, priority: number, what: string): string => `table ip nat { chain c { type nat hook ${chain} priority ${priority}; ${what} } }`; // prettier-ignore
  rules(lab.node, nat('prerouting', -100, 'udp dport 53 dnat to 10.0.2.3:5353'));
  const there = await foretold(t, lab, { to: '10.0.1.1' });
  t.match(there.at, { namespace: 'server', device: 'eth0' });
  t.match(there.hops.at(-1)!.frame.packet, { destination: '10.0.2.3', ports: { destination: 5353 } });
  t.match(String(there), /chain ip nat c \(prerouting\) in node translates it, rule \d+ of c: destination 10\.0\.1\.1 port 53 becomes 10\.0\.2\.3 port 5353$/m); // prettier-ignore
  rules(lab.node, nat('postrouting', 100, 'oifname "eth1" masquerade'));
  t.equal((await foretold(t, lab)).hops.at(-1)!.frame.packet!.source, '10.0.2.1');
  rules(lab.node, nat('postrouting', 100, 'snat to 10.0.2.77'));
  t.equal((await foretold(t, lab)).hops.at(-1)!.frame.packet!.source, '10.0.2.77');
  rules(lab.node, nat('prerouting', -100, 'dnat to udp dport map { 53 : 10.0.2.2, 54 : 10.0.2.3 }'));
  t.equal((await foretold(t, lab, { to: '10.0.1.1', destination: 54 })).hops.at(-1)!.frame.packet!.destination, '10.0.2.3');
  // What NAT changed the filters behind it see; and the state of it.
  rules(lab.node, `${nat('prerouting', -100, 'udp dport 53 dnat to 10.0.2.3:5353')}\n${table('udp dport 5353 ct status dnat ct original proto-dst 53 drop')}`); // prettier-ignore
  t.equal((await foretold(t, lab)).loss?.code, 'FILTERED');
  // The first chain that translates ends it.
  rules(lab.node, `${nat('prerouting', -110, 'dnat to 10.0.2.3')}\ntable ip other { chain c { type nat hook prerouting priority -90; dnat to 10.0.2.2 } }`); // prettier-ignore
  t.equal((await foretold(t, lab)).hops.at(-1)!.frame.packet!.destination, '10.0.2.3');
  // To itself.
  rules(lab.node, nat('prerouting', -100, 'udp dport 53 redirect to :5353'));
  t.match(await foretold(t, lab), { at: { namespace: 'node' } });
});

await t.test("a host's own: Docker's resolver, whose port is a translation in nat OUTPUT", { skip }, async (t) => {
  const pod = await fresh(t);
  const trace = (options: Partial<TraceOptions> = {}): Promise<PathTrace> => tracePath({ namespaces: { pod }, from: 'pod', to: '127.0.0.11', protocol: 'udp', ports: { destination: 53 }, ...options }); // prettier-ignore
  rules(pod, 'table ip nat { chain OUTPUT { type nat hook output priority -100; ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:40123; ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.11:40124 } }'); // prettier-ignore
  const asked = await trace();
  t.match(asked, { delivered: true, at: { namespace: 'pod', device: 'lo' }, undecided: [] });
  t.match(asked.hops.map(({ device, direction, frame }) => [device, direction, frame.packet!.ports!.destination]), [['lo', 'out', 40123], ['lo', 'in', 40123]]); // prettier-ignore
  t.match(String(asked), /chain ip nat OUTPUT \(output\) in pod translates it, rule \d+ of OUTPUT: destination 127\.0\.0\.11 port 53 becomes 127\.0\.0\.11 port 40123/); // prettier-ignore
  const { agrees, hops } = await captureAlong(
    asked,
    { pod },
    async () => void inside(pod, "bash -c 'echo question > /dev/udp/127.0.0.11/53'"),
  );
  t.ok(agrees, { differences: hops.flatMap(({ differences }) => differences) });
  t.equal((await trace({ protocol: 'tcp' })).hops.at(-1)!.frame.packet!.ports!.destination, 40124);
  t.equal((await trace({ ports: { destination: 54 } })).hops.at(-1)!.frame.packet!.ports!.destination, 54);

  rules(pod, 'table ip t { chain o { type filter hook output priority 0; ip daddr 127.0.0.0/8 drop } }');
  t.match((await trace()).loss, { code: 'FILTERED', namespace: 'pod', device: 'lo', reason: /\(output\)/ });
  await t.rejects(ping(pod, '127.0.0.11', { timeout: 60 }), { code: 'EPERM' });
  rules(pod, 'table ip t { chain i { type filter hook input priority 0; iif lo ip protocol icmp drop } }');
  t.match((await tracePath({ namespaces: { pod }, from: 'pod', to: '127.0.0.11' })).loss, { code: 'FILTERED', reason: /\(input\)/ });
  t.equal((await ping(pod, '127.0.0.11', { timeout: 60 })).received, 0);
  // A mark that asks for another route: of a chain of the type 'route' alone.
  await addAddress(pod, 'lo', '10.7.7.7/32');
  await createVeth(pod, 'v0', { up: true, addresses: ['10.8.0.1/24'], peer: { name: 'v1', up: true } });
  await addRoute(pod, { dst: '10.9.0.0/24', dev: 'v0' });
  await addRoute(pod, { dst: '10.9.0.0/24', type: 'blackhole', table: 8 });
  inside(pod, 'ip rule add fwmark 8 lookup 8');
  for (const [type, code] of [
    ['route', 'BLACKHOLE'],
    ['filter', 'NO_NEIGHBOR'],
  ] as const) {
    rules(pod, `table ip t { chain o { type ${type} hook output priority -150; ip daddr 10.9.0.0/24 mark set 8 } }`);
    t.equal((await tracePath({ namespaces: { pod }, from: 'pod', to: '10.9.0.1' })).loss?.code, code, type);
  }
});

await t.test(
  "frames that chains forward, copy and rewrite, as podtap's localhost does it",
  { skip: skip || requires('tun', 'bridge') },
  async (t) => {
    // prettier-ignore
    const stack = new Stack();
    t.teardown(() => stack[Symbol.asyncDispose]());
    const namespaces = await createSlash16(stack);
    const { pod, client } = namespaces;
    const tap = stack.use(await createTap(pod, 'tap0', { up: true }));
    const [alias, inner, P] = ['169.254.77.1', '127.77.0.1', '172.17.0.5'];
    const mac = POD_MAC; // as eth0, which keeps it
    const network = defineGuest({ mac, mtu: 1500, tap: 'tap0', addresses: [{ address: `${P}/16` }], routes: [{ dst: '0.0.0.0/0', via: '172.17.0.1' }], neighbors: [{ address: '172.17.0.1', mac: '02:00:00:cc:cc:c1', permanent: true }] }); // prettier-ignore
    await setSysctl(pod, 'net.ipv4.conf.lo.route_localnet', 1);
    await setSysctl(pod, 'net.ipv4.conf.lo.accept_local', 1);
    await setSysctl(pod, 'net.ipv4.conf.eth0.arp_ignore', 8); // the guest alone answers
    const bytes = (text: string): string => `0x${text.replaceAll(':', '')}`;
    rules(pod, `table netdev lh {
    map guests { type inet_proto . inet_service : verdict; elements = { udp . 9001 : goto to_tap, icmp . 0 : drop } }
    chain to_tap { @ll,0,48 set ${bytes(mac)} fwd to tap0; }
    chain tap { type filter hook ingress device tap0 priority 0;
      ip saddr != ${P} drop
      ip daddr ${alias} udp dport 53 udp dport set 40123 ip saddr set ${inner} ip daddr set 127.0.0.11 @ll,0,48 set 0 @ll,48,48 set 0 meta pkttype set host fwd to lo
      ip daddr ${alias} drop
      fwd to eth0; }
    chain lo { type filter hook ingress device lo priority 0;
      ip daddr ${inner} ip saddr 127.0.0.11 udp sport 40123 udp sport set 53 ip saddr set ${alias} ip daddr set ${P} @ll,48,48 set 0x027700000001 goto to_tap; }
    chain eth0 { type filter hook ingress device eth0 priority 0;
      ip protocol udp ip protocol . udp dport vmap @guests
      ether type arp dup to tap0 accept; }
  }`); // prettier-ignore
    const guest = stack.use(await runGuest(tap, network));
    await setNeighbor(guest.netns, 'eth0', { address: '172.17.0.1', mac: '02:00:00:cc:cc:c1', state: 'permanent' });
    await settled(namespaces);
    const guests = { vm: { namespace: 'pod', network } };
    const trace = (options: Partial<TraceOptions>): Promise<PathTrace> => tracePath({ namespaces, guests, from: 'vm', to: alias, protocol: 'udp', ports: { destination: 53 }, ...options }); // prettier-ignore
    const alike = async (told: PathTrace, sender: Netns, to: string, port: number, source = ''): Promise<void> => {
      const last = told.hops.at(-1)!;
      const { agrees, hops } = await captureAlong(told, namespaces, async () => {
        // What a guest sends comes later than its sending.
        await using hearing = await capture(namespaces[last.namespace as 'pod'], last.ifindex, { filter: udpPort(last.frame.packet!.ports!.destination), limit: 1 }); // prettier-ignore
        inside(sender, source === '' ? `bash -c 'echo x > /dev/udp/${to}/${port}'` : source);
        await hearing.collect();
      });
      t.ok(agrees, { told: String(told), differences: hops.flatMap(({ hop, differences }) => differences.map((one) => `${hop.device} ${hop.direction}: ${one}`)) }); // prettier-ignore
      t.strictSame(told.undecided, []);
    };
    const names = await trace({});
    t.match(names, { delivered: true, at: { namespace: 'pod', device: 'lo' } });
    t.strictSame(names.hops.map(({ device, direction }) => `${device} ${direction}`), ['tap0 in', 'lo out', 'lo in']); // prettier-ignore
    t.match(names.hops.at(-1)!.frame, { destination: '00:00:00:00:00:00', packet: { source: inner, destination: '127.0.0.11', ports: { destination: 40123 } } }); // prettier-ignore
    await alike(names, guest.netns, alias, 53);
    t.match((await trace({ ports: { destination: 80 } })).loss, {
      code: 'FILTERED',
      reason: /netdev lh tap \(ingress of tap0\) in pod drops it/,
    });
    t.match((await trace({ source: '172.17.0.9' })).loss, { code: 'FILTERED' });
    // The resolver's answer.
    const answer = await trace({ from: 'pod', source: '127.0.0.11', to: inner, ports: { source: 40123, destination: 5353 } });
    t.match(answer, { delivered: true, at: { guest: 'vm' } });
    t.match(answer.hops.at(-1)!.frame, { destination: mac, packet: { source: alias, destination: P, ports: { source: 53, destination: 5353 } } }); // prettier-ignore
    await alike(answer, pod, '', 0, `python3 -c "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.11', 40123)); s.sendto(b'x', ('${inner}', 5353))"`); // prettier-ignore
    // From outside: by the port, else to the pod. A question is copied.
    const inbound = await trace({ from: 'client', to: P, ports: { destination: 9001 } });
    t.match(inbound, { delivered: true, at: { guest: 'vm' } });
    await alike(inbound, client, P, 9001);
    t.match(await trace({ from: 'client', to: P, ports: { destination: 9002 } }), { delivered: true, at: { device: 'eth0' } });
    await alike(await trace({ to: '172.17.0.4', ports: { destination: 7 } }), guest.netns, '172.17.0.4', 7);
  },
);

await t.test(
  'a bridge hands what passes to the chains of IP, where br_netfilter is on',
  { skip: skip || requires('bridge') },
  async (t) => {
    const stack = new Stack();
    t.teardown(() => stack[Symbol.asyncDispose]());
    const namespaces = await createSlash16(stack);
    const { node, client } = namespaces;
    const is = async (ruleset: string): Promise<PathTrace> => {
      rules(node, ruleset);
      const trace = await tracePath({ namespaces, from: 'client', to: '172.17.0.5' });
      t.equal((await ping(client, '172.17.0.5', { timeout: trace.delivered ? 1000 : 100 })).received === 1, trace.delivered, trace.summary);
      return trace;
    };
    t.ok((await is('')).delivered);
    const dropped = await is('table ip t { chain f { type filter hook forward priority 0; iifname "k8s_br0" ip protocol icmp drop } }');
    // A kernel without br_netfilter lets it pass.
    if (!dropped.delivered) t.match(dropped.loss, { code: 'FILTERED', namespace: 'node', device: 'veth5' });
    await setSysctl(node, 'net.bridge.bridge-nf-call-iptables', 0).catch(() => undefined);
    t.ok((await is('table ip t { chain f { type filter hook forward priority 0; drop } }')).delivered);
    t.match((await is('table bridge t { chain f { type filter hook forward priority 0; iifname "veth4" oifname "veth5" ip protocol icmp drop } }')).loss, { code: 'FILTERED', reason: /chain bridge t f \(forward\) in node/ }); // prettier-ignore
    t.match((await is('table bridge t { chain f { type filter hook prerouting priority 0; ether type ip drop } }')).loss, {
      code: 'FILTERED',
    });
  },
);

await t.test('what cannot be told is said, and never passes in silence', { skip }, async (t) => {
  const lab = await routed(t);
  const { client, node, server } = lab;
  const trace = (options: Partial<TraceOptions> = {}): Promise<PathTrace> => tracePath({ namespaces: { client, node, server }, from: 'client', to: '10.0.2.2', protocol: 'udp', ports: { destination: 53 }, ...options }); // prettier-ignore
  for (const [ruleset, why] of [
    [table('limit rate 1/second accept'), /by how much has passed \(limit\)/],
    [table('udp sport 1000 drop'), /by the source port, which was not given/],
    [table('meta cpu 0 drop'), /by meta cpu/],
    [table('@ih,0,8 7 drop').replace('@ih,0,8', '@th,64,8'), /by what is in the packet/],
    [table('numgen random mod 2 vmap { 0 : accept, 1 : drop }'), /by chance, or a turn/],
    [table('queue num 0'), /by a program that is asked|by 'queue'/],
    [
      'table ip n { chain p { type nat hook postrouting priority 100; snat to 10.0.2.50-10.0.2.60 } }',
      /by which of several addresses it takes/,
    ],
  ] as const) {
    try {
      rules(node, ruleset);
    } catch {
      t.comment(`this kernel has no ${ruleset}`);
      continue;
    }
    const open = await trace();
    t.match(
      open,
      { delivered: false, loss: undefined, at: { namespace: 'server' }, undecided: [{ namespace: 'node', text: why }] },
      ruleset,
    );
    t.match(
      open.undecided[0]!.text,
      /^here chain \w+ \w+ \w+ \(\w+\) in node decides, rule \d+ of \w+, by .*, which podtap does not evaluate$/,
    );
    t.match(open.summary, /^10\.0\.1\.2 > 10\.0\.2\.2 would reach server by eth0, seen 4 times on its way; but here chain /);
    t.match(String(open), /^not decided: here chain /m);
    t.match(JSON.parse(JSON.stringify(open)), { undecided: [{ namespace: 'node' }] });
  }
  // What it would change nothing to know is not asked.
  rules(node, table('udp sport 1000 counter; limit rate 1/second log'));
  t.ok((await trace()).delivered);
  // Of a connection that is known NAT's chains are not asked.
  rules(
    node,
    `${table('ct state established accept; drop')}\ntable ip n { chain p { type nat hook postrouting priority 100; masquerade } }`,
  );
  t.equal((await trace()).loss?.code, 'FILTERED');
  t.match(await trace({ connection: 'established', ports: { source: 20_000, destination: 53 } }), { delivered: false, at: { namespace: 'server' }, undecided: [{ text: /chains were asked when the connection began: the table of connections has none of UDP/ }] }); // prettier-ignore
  t.match(await trace({ connection: 'established', ports: { destination: 53 } }), { undecided: [{ text: /without both ports it is not known/ }] }); // prettier-ignore
});

await t.test('NAT of a connection that goes on is what the table of connections says', { skip }, async (t) => {
  const { client, node, server } = await routed(t);
  const namespaces = { client, node, server };
  const agentIn = agentsOf(t);
  const [asking, answering] = [agentIn(client), agentIn(server)];
  rules(
    node,
    `table ip n { chain d { type nat hook prerouting priority -100; meta l4proto { tcp, udp } th dport 53 dnat to 10.0.2.3:5353 }
    chain s { type nat hook postrouting priority 100; oifname "eth1" meta l4proto { tcp, udp } masquerade to :30000-40000 random } }
    table ip f { chain p { type filter hook prerouting priority -90; ip daddr 10.0.2.2 drop }
    chain s { type filter hook postrouting priority 90; ip saddr 10.0.2.1 drop } }`,
  );
  // Sent by the client itself to where nobody is on its link: it is routed again.
  rules(client, 'table ip n { chain o { type nat hook output priority -100; ip daddr 10.0.1.77 udp dport 54 dnat to 10.0.2.2:53 } }');
  const same = async (path: PathTrace, act: () => Promise<unknown>): Promise<void> => {
    t.match(path, { delivered: true, undecided: [], notes: [] }, String(path));
    const { agrees, hops } = await captureAlong(path, namespaces, act);
    t.ok(agrees, { path: String(path), differences: hops.flatMap(({ hop, differences }) => differences.map((one) => `${hop.namespace} ${hop.device} ${hop.direction}: ${one}`)) }); // prettier-ignore
  };
  for (const [index, { protocol, to, port }] of (
    [
      { protocol: 'udp', to: '10.0.2.2', port: 53 },
      { protocol: 'tcp', to: '10.0.2.2', port: 53 },
      { protocol: 'udp', to: '10.0.1.77', port: 54 },
    ] as const
  ).entries()) {
    const own = 20_000 + index;
    if (port === 53) await answering.serve(protocol, '10.0.2.3', 5353);
    const trace = (options: Partial<TraceOptions>): Promise<PathTrace> => tracePath({ namespaces, from: 'client', to, protocol, ports: { source: own, destination: port }, ...options }); // prettier-ignore
    t.match((await trace({})).undecided, [{ namespace: 'node', text: /by chance: it takes any port/ }]);
    const hold = `${protocol} ${port}`;
    const again = (): Promise<unknown> => asking.ask(protocol, to, port, { again: hold, text: 'a', expect: 1 });
    t.match(await asking.ask(protocol, to, port, { from: ['10.0.1.2', own], text: 'a', expect: 1, hold }), { text: 'a' });
    const there = await trace({ connection: 'established' });
    await same(there, again);
    const { source, destination, ports } = there.hops.at(-1)!.frame.packet!;
    t.strictSame([source, destination, ports!.destination], ['10.0.2.1', '10.0.2.3', 5353]);
    t.ok(ports!.source >= 30_000 && ports!.source <= 40_000);
    t.equal(there.hops[0]!.frame.packet!.destination, '10.0.2.2');
    t.match(String(there), /table of connections of node: .* answered by .* becomes 10\.0\.2\.3 port 5353/);
    const back = await tracePath({ namespaces, from: 'server', source: '10.0.2.3', to: '10.0.2.1', protocol, ports: { source: 5353, destination: ports!.source }, connection: 'established' }); // prettier-ignore
    t.match(back.at, { namespace: 'client' });
    await same(back, again);
    t.match(back.hops.at(-1)!.frame.packet, { source: '10.0.2.2', destination: '10.0.1.2', ports: { source: 53, destination: own } });
    // What the client's own translation undoes no capture sees.
    if (port === 54) t.match(back.because.find(({ by }) => by === 'connection')?.text, /source 10\.0\.2\.2 port 53 becomes 10\.0\.1\.77 port 54$/); // prettier-ignore
  }
});

await t.test('neighbour discovery passes the chains of IPv6, out and in', { skip }, async (t) => {
  const [near, router, far] = [await fresh(t), await fresh(t), await fresh(t)];
  const namespaces = { near, router, far };
  for (const netns of [near, router, far])
    inside(netns, 'ip link set lo up; sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.forwarding=1');
  const end = { up: true, addrGenMode: 'none' } as const;
  await createVeth(near, 'eth0', {
    ...end,
    addresses: ['fd01::2/64'],
    peer: { ...end, scope: router, name: 'r0', addresses: ['fd01::1/64'] },
  });
  await createVeth(far, 'eth0', {
    ...end,
    addresses: ['fd02::2/64', 'fe80::2/64'],
    peer: { ...end, scope: router, name: 'r1', addresses: ['fd02::1/64'] },
  });
  await addRoute(near, { dst: 'default', via: 'fd01::1' });
  await addRoute(far, { dst: 'default', via: 'fd02::1' });
  await settled(namespaces);
  const forget = (): void => {
    for (const netns of [near, router, far]) inside(netns, 'ip -6 neighbour flush all');
  };
  const trace = (to: string): Promise<PathTrace> => {
    forget();
    return tracePath({ namespaces, from: 'near', to });
  };
  const agrees = async (to: string, path: PathTrace, name: string): Promise<void> => {
    forget();
    t.equal((await ping(near, to, { timeout: 400 })).received === 1, path.delivered, `${name}: ${path.summary}`);
    t.strictSame(path.undecided, [], name);
  };
  const chain = (hook: string, rule: string): string => `table ip6 t { chain c { type filter hook ${hook} priority 0; ${rule} } }`;
  const [solicit, advertise] = ['icmpv6 type nd-neighbor-solicit', 'icmpv6 type nd-neighbor-advert'];
  for (const [netns, hook, rule, reason] of [
    [near, 'output', `${solicit} drop`, /nobody answers; chain ip6 t c \(output\) in near drops it/],
    [near, 'postrouting', `${solicit} drop`, /chain ip6 t c \(postrouting\) in near drops it/],
    [router, 'prerouting', `${solicit} drop`, /chain ip6 t c \(prerouting\) in router drops it/],
    [router, 'input', `${solicit} drop`, /chain ip6 t c \(input\) in router drops it/],
    [router, 'input', 'ip6 daddr ff02::1:ff00:1 drop', /chain ip6 t c \(input\) in router drops it/],
    [router, 'input', 'ip6 daddr ff02::1:ff00:2 drop', undefined],
    [router, 'output', `${advertise} drop`, /the answer of r0 in router is lost: chain ip6 t c \(output\) in router drops it/],
    [router, 'postrouting', `${advertise} drop`, /the answer of r0 in router is lost/],
    [near, 'prerouting', `${advertise} drop`, /the answer of r0 in router is lost: chain ip6 t c \(prerouting\) in near/],
    [near, 'input', `${advertise} drop`, /the answer of r0 in router is lost: chain ip6 t c \(input\) in near/],
    [near, 'input', `ip6 saddr fd01::1 ip6 daddr fd01::2 ${advertise} ip6 hoplimit 255 drop`, /the answer/],
    [near, 'forward', `${advertise} drop`, undefined],
    [near, 'output', `${solicit} ct state != untracked drop`, undefined],
    [near, 'input', `${advertise} ct state untracked drop`, /the answer/],
  ] as const) {
    rules(netns, chain(hook, rule));
    const path = await trace('fd01::1');
    if (reason === undefined) t.equal(path.loss, undefined, path.summary);
    else t.match(path.loss, { code: 'NO_NEIGHBOR', namespace: 'near', device: 'eth0', reason }, rule);
    await agrees('fd01::1', path, `${hook} ${rule}`);
    rules(netns, '');
  }
  // What is known is not asked for.
  const { mac } = (await getLink(router, 'r0'))!;
  await setNeighbor(near, 'eth0', { address: 'fd01::1', mac, state: 'permanent' });
  rules(near, chain('output', `${solicit} drop`));
  const known = await trace('fd01::1');
  t.match(known, { delivered: true });
  await agrees('fd01::1', known, 'known');
  inside(near, 'ip neighbour delete fd01::1 dev eth0');
  rules(near, chain('output', `${solicit} limit rate 1/second drop`));
  t.match(await trace('fd01::1'), { delivered: false, undecided: [{ namespace: 'near', text: /chain ip6 t c \(output\)/ }] });
  rules(near, '');
  // A router asks from its link-local address, and without one not at all.
  const asked = await trace('fd02::2');
  t.match(asked.loss, { code: 'NO_NEIGHBOR', namespace: 'router', device: 'r1', reason: /no link-local address there to ask from/ });
  await agrees('fd02::2', asked, 'no link-local address');
  await addAddress(router, 'r1', 'fe80::1/64');
  const found = await trace('fd02::2');
  t.match(found, { delivered: true }, found.summary);
  await agrees('fd02::2', found, 'link-local address');
  rules(far, chain('input', `ip6 saddr fe80::1 ${solicit} drop`));
  const dropped = await trace('fd02::2');
  t.match(dropped.loss, { code: 'NO_NEIGHBOR', namespace: 'router' }, dropped.summary);
  await agrees('fd02::2', dropped, 'from its link-local address');
});

await t.test(
  'iptables: by nftables it is followed as far as it is known; the old one is mentioned',
  { skip: skip || requires('iptables') },
  async (t) => {
    const pod = await fresh(t);
    const trace = (options: Partial<TraceOptions> = {}): Promise<PathTrace> => tracePath({ namespaces: { pod }, from: 'pod', to: '127.0.0.11', protocol: 'udp', ports: { destination: 53 }, ...options }); // prettier-ignore
    // As dockerd does it.
    inside(pod, `iptables-nft -t nat -N DOCKER_OUTPUT; iptables-nft -t nat -A OUTPUT -d 127.0.0.11 -j DOCKER_OUTPUT
    iptables-nft -t nat -A DOCKER_OUTPUT -d 127.0.0.11 -p tcp --dport 53 -j DNAT --to-destination 127.0.0.11:40124
    iptables-nft -t nat -A DOCKER_OUTPUT -d 127.0.0.11 -p udp --dport 53 -j DNAT --to-destination 127.0.0.11:40123`); // prettier-ignore
    const asked = await trace();
    t.match(asked, { delivered: true, undecided: [] }, String(asked));
    t.match(asked.hops.at(-1)!.frame.packet, { destination: '127.0.0.11', ports: { destination: 40123 } });
    const { agrees } = await captureAlong(asked, { pod }, async () => void inside(pod, "bash -c 'echo question > /dev/udp/127.0.0.11/53'"));
    t.ok(agrees);
    t.equal((await trace({ protocol: 'tcp' })).hops.at(-1)!.frame.packet!.ports!.destination, 40124);
    inside(
      pod,
      'iptables-nft -A INPUT -p icmp -m conntrack --ctstate NEW -m addrtype --dst-type LOCAL -m comment --comment none -j REJECT',
    );
    t.match((await tracePath({ namespaces: { pod }, from: 'pod', to: '127.0.0.1' })).loss, { code: 'FILTERED', reason: /rejects it/ });
    t.ok(
      (await tracePath({ namespaces: { pod }, from: 'pod', to: '127.0.0.1', connection: 'established' })).undecided.length > 0,
      'NAT was asked before',
    );
    inside(
      pod,
      'iptables-nft -I INPUT -m owner --uid-owner 0 -j DROP 2>/dev/null || iptables-nft -I INPUT -m statistic --mode random --probability 0.5 -j DROP',
    );
    t.match((await trace()).undecided, [{ text: /by iptables' match '(owner|statistic)', which podtap does not evaluate/ }]);

    const other = await fresh(t);
    const old = (): Promise<PathTrace> => tracePath({ namespaces: { other }, from: 'other', to: '127.0.0.1' });
    t.ok((await old()).delivered);
    try {
      inside(other, 'iptables-legacy -A INPUT -p icmp -j DROP');
    } catch {
      return t.comment('this kernel has no legacy iptables');
    }
    t.match(await old(), { delivered: false, undecided: [{ text: /^here the table filter of iptables \(legacy, not of nftables\) in other decides, which podtap does not read$/ }] }); // prettier-ignore
    return t.ok((await tracePath({ namespaces: { other }, from: 'other', to: '::1' })).delivered, 'that of IPv6 is another one');
  },
);

await t.test('any rules: it arrives where the trace says so, as it says', { skip }, async (t) => {
  const lab = await routed(t);
  const of = <T>(...all: readonly T[]): fc.Arbitrary<T> => fc.constantFrom(...all);
  const match = of(
    '', 'udp dport 53', 'udp dport != 53', 'udp dport { 53, 80 }', 'udp dport 50-60', 'udp dport != { 1-52, 80 }', 'udp sport > 1024', 'ip saddr 10.0.1.2',
    'ip saddr != 10.0.1.2', 'ip saddr 10.0.1.0/31', 'ip daddr { 10.0.2.2, 10.0.2.128/25 }', 'ip ttl 63', 'ip ttl >= 64', 'ip length < 100', 'meta mark 1', 'meta mark & 3 != 2',
    'ct state new', 'ct state { established, related }', 'ct mark 1', 'ct status dnat', 'iifname eth0', 'oifname "eth1"', 'iifname "eth*"', 'iifname != eth0', 'meta pkttype host',
    'fib daddr type local', 'fib saddr . iif oif missing', 'ip saddr . udp dport { 10.0.1.2 . 53, 10.0.1.3 . 80 }', 'ip saddr . udp dport { 10.0.1.2-10.0.1.3 . 53-79 }', 'udp length 40', 'ip protocol udp', 'meta l4proto 17', '@th,16,16 53', 'ip daddr & 255.255.255.1 == 10.0.2.0', 'ip version 4', 'ip dscp 0',
  ); // prettier-ignore
  const verdict = of('accept', 'drop', 'jump one', 'jump two', 'goto two', 'return', 'counter', 'meta mark set 1', 'meta mark set 2', 'ct mark set 1', 'udp dport set 53', 'ip saddr set 10.0.1.3', 'udp dport vmap { 53 : drop, 80 : jump two }', 'ip saddr vmap { 10.0.1.2 : accept, 10.0.1.3 : goto two }', 'reject'); // prettier-ignore
  const rule = fc.tuple(match, verdict).map((words) => words.join(' '));
  const body = fc.array(rule, { maxLength: 4 }).map((all) => all.join('\n'));
  const translation = of('', 'udp dport 53 dnat to 10.0.2.3:80', 'dnat to 10.0.2.2', 'udp dport 80 redirect to :53', 'accept');
  const masking = of('', 'masquerade', 'udp dport 53 snat to 10.0.2.99', 'accept');
  const policy = of('accept', 'drop');
  await fc.assert(
    fc.asyncProperty(
      fc.record({ pre: body, forward: body, one: body, two: body, policy, translation, masking, to: of('10.0.2.2', '10.0.2.3'), source: of('10.0.1.2', '10.0.1.3'), destination: of(53, 80, 55), ttl: of(64, 2, 1) }),
      async ({ pre, forward, one, two, policy, translation, masking, ...given }) => {
        const local = (words: string): string => words.replaceAll(/(jump|goto) one/g, '$1 two').replaceAll('reject', 'drop').replaceAll(/.*oifname.*\n?/g, '');
        const script = `table inet t {
          chain two { ${two.replaceAll(/(jump|goto) (one|two)/g, 'accept').replaceAll('reject', 'drop')}\n }
          chain one { ${local(one)}\n }
          chain pre { type filter hook prerouting priority -150; ${PASS}\n${local(pre)}\n }
          chain forward { type filter hook forward priority 0; policy ${policy}; ${PASS}\n${forward}\n }
          chain there { type nat hook prerouting priority -100; ${PASS}\n${translation}\n }
          chain back { type nat hook postrouting priority 100; ${PASS}\n${masking}\n } }`.replaceAll(/dnat to|snat to/g, (word) => word.replace(' ', ' ip ')); // prettier-ignore
        rules(lab.node, script);
        const { client, node, server } = lab;
        const { source, to, ttl } = given;
        const ports = { source: port++, destination: given.destination };
        const trace = await tracePath({ namespaces: { client, node, server }, from: 'client', to, source, protocol: 'udp', ports, ttl, length: 60 });
        const came = await lab.send({ source, destination: to, ports, ttl, length: 60 });
        const arrives = trace.at?.namespace === 'server';
        const told = `${script}\n${String(trace)}`;
        if (trace.undecided.length > 0) throw new Error(`undecided: ${told}`);
        if (arrives !== came.length > 0) throw new Error(`${came.length} came: ${told}`);
        const differences = arrives ? compareFrames(trace.hops.at(-1)!.frame, came[0]!.frame!) : [];
        if (differences.length > 0) throw new Error(`${differences.join('; ')}: ${told}`);
      },
    ),
    { numRuns: Number(process.env.RUNS ?? 40) },
  ); // prettier-ignore
});
