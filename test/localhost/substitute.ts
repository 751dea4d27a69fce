// `gateway: 'substitute'`: a guest that is configured by exactly what a renderer printed has the network that the pod had.
import { readdirSync } from 'node:fs';
import t from 'tap';
import { type PlumbingEvent, type Tap, getLink, openPlumbing } from 'podtap';
import { type GuestNetwork, linuxCmdline, rumprun } from 'podtap/guest';
import { type Guest, ping, runGuest } from 'podtap/lab';
import { compare, dump } from '../oracle/dump.js';
import { inside, until } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { POD, podOn } from './plumbed.js';
import type { Agent } from './world.js';

type Modes = readonly ('redirect' | 'ebpf' | 'bridge')[];

/** A guest that knows nothing but what is in the text. */
const kinds = {
  rumprun: {
    skip: false,
    run: (tap: Tap, guest: GuestNetwork) => {
      const { net } = JSON.parse(rumprun(guest).text) as { net: { addr: string; mask: string; gw: string } };
      return runGuest(tap, { mac: guest.mac, addresses: [`${net.addr}/${net.mask}`], routes: [{ dst: 'default', via: net.gw }] });
    },
  },
  "the kernel's ip=": {
    skip: requires('ipconfig'),
    run: async (tap: Tap, guest: GuestNetwork) => {
      const run = await runGuest(tap, { mac: guest.mac, addresses: [] });
      const parameter = /ip=\S+/.exec(linuxCmdline(guest).text)![0];
      // klibc's, with which an initramfs reads it; it refuses a gateway that is not on the link, as the kernel does.
      inside(run.netns, `/usr/lib/klibc/bin/ipconfig -d ${parameter}`);
      return run;
    },
  },
} as const;

export async function substitutes(backend: 'ebpf' | 'nft', modes: Modes, skip: string | false): Promise<void> {
  t.setTimeout(240_000);
  for (const mode of modes)
    for (const [name, { run, skip: lacks }] of Object.entries(kinds))
      await t.test(`${name}, mode ${mode}: a /32 with a gateway elsewhere`, { skip: skip || lacks }, async (t) => {
        const { node, pod, outside, sidecar, agentIn, plumb } = await podOn(t, {
          address: `${POD}/32`,
          gateway: '169.254.1.1',
          onNode: '10.9.0.1/24',
        });
        const before = await dump(pod);
        const options = {
          mode,
          tap: 'tap0',
          label: 'vm/1',
          gateway: 'substitute',
          localhost: { services: ['127.0.0.1:8080/tcp'], backend },
        } as const;
        const net = await plumb(options);
        t.match(net.guest.substituted, { gateway: { instead: '169.254.1.1' }, address: { instead: `${POD}/32` } });
        t.strictSame((await net.verify()).problems, []);
        t.equal((await plumb(options)).created, false);
        await t.rejects(plumb({ ...options, gateway: 'keep' }), { code: 'ERR_PLUMB_CONFLICT', message: /gateway/ });
        const guest: Guest = await run(net.tap as Tap, net.guest);
        t.teardown(() => guest.close());
        const agent: Agent = agentIn(guest.netns);
        await until(async () => (await getLink(pod, 'tap0'))?.operstate === 'UP');
        t.ok(
          await until(async () => (await ping(guest.netns, '10.9.0.1', { timeout: 500 })).received > 0, 10_000),
          'what is behind the gateway',
        );
        await outside.serve('tcp', '10.9.0.1', 7000, 'world ');
        t.equal(await agent.says('tcp', '10.9.0.1', 7000), 'world hello');
        await agent.serve('tcp', '0.0.0.0', 9000, 'guest ');
        t.equal(await outside.says('tcp', POD, 9000), 'guest hello', 'and the guest from there');
        await sidecar.serve('tcp', '127.0.0.1', 8080, 'sidecar ');
        t.equal(await agent.says('tcp', net.localhost!.localhost, 8080), 'sidecar hello', 'the alias by the gateway');
        // As lwIP has it.
        inside(guest.netns, 'ip route add 169.254.0.0/16 dev eth0');
        t.equal(await agent.says('tcp', net.localhost!.localhost, 8080), 'sidecar hello', 'the alias on the link');
        await guest.close();
        t.match(await net.undo(), { state: 'undone', leftBehind: [] });
        t.strictSame(compare(before, await dump(pod)), []);
        void node;
      });

  for (const mode of modes)
    for (const how of ['repair', 'maintain'] as const)
      await t.test(`the next hop gets another MAC, mode ${mode}: ${how}`, { skip }, async (t) => {
        const { node, pod, journal, outside, agentIn, plumb } = await podOn(t, {
          address: `${POD}/32`,
          gateway: '169.254.1.1',
          onNode: '10.9.0.1/24',
        });
        const before = await dump(pod);
        const options = { mode, tap: 'tap0', label: 'vm/1', gateway: 'substitute', localhost: { services: ['127.0.0.1:8080/tcp'], backend } } as const; // prettier-ignore
        const net = await plumb(options);
        const guest = await kinds.rumprun.run(net.tap as Tap, net.guest);
        t.teardown(() => guest.close());
        const agent = agentIn(guest.netns);
        await until(async () => (await getLink(pod, 'tap0'))?.operstate === 'UP');
        await outside.serve('tcp', '10.9.0.1', 7000, 'world ');
        const reaches = async (): Promise<boolean> => (await agent.says('tcp', '10.9.0.1', 7000, { timeout: 1 })) === 'world hello';
        t.ok(await until(reaches, 10_000));
        const { gateway } = net.guest;
        // Whoever asks the guest's stack again within the test's time would be answered rightly by itself: it must be told.
        inside(guest.netns, 'sysctl -qw net.ipv4.neigh.eth0.base_reachable_time_ms=3600000 net.ipv4.neigh.eth0.delay_first_probe_time=3600'); // prettier-ignore
        const neighbor = (): string => inside(guest.netns, `ip neigh show ${gateway.ipv4}`);
        const stop = new AbortController();
        t.teardown(() => stop.abort());
        const told: string[] = [];
        const note = (event: PlumbingEvent): void => void ('problem' in event && told.push(`${event.type} ${event.problem.code}`));
        const ended = how === 'maintain' ? net.maintain({ signal: stop.signal, onEvent: note }) : undefined;

        for (const mac of ['02:00:00:00:09:01', '02:00:00:00:09:02']) {
          told.length = 0;
          inside(node, `ip link set vn down; ip link set vn address ${mac}; ip link set vn up; ip route replace ${POD} dev vn`);
          if (ended === undefined) {
            t.ok(await until(async () => (await net.verify()).problems.some(({ code }) => code === 'GATEWAY_MAC_CHANGED'), 10_000));
            t.equal(await reaches(), false, 'the guest sends to nobody');
            t.strictSame(await net.repair(), []);
          } else t.ok(await until(() => told.includes('repaired GATEWAY_MAC_CHANGED'), 30_000), told.join());
          t.match(neighbor(), mac, 'the guest was told');
          t.ok(await until(reaches, 10_000), 'and reaches what is behind it');
          t.strictSame((await net.verify()).problems, []);
          t.equal((await plumb(options)).created, false);
        }
        // What is in the journal is what another process goes on with.
        await using other = (await openPlumbing(pod, { journal }))!;
        t.strictSame((await other.verify()).problems, []);
        t.strictSame(await other.repair(), []);
        stop.abort();
        if (ended !== undefined) t.equal(await ended, 'aborted');
        await guest.close();
        t.match(await other.undo(), { state: 'undone', leftBehind: [] });
        t.strictSame(compare(before, await dump(pod)), []);
        t.strictSame(readdirSync(journal), []);
      });

  await t.test('a next hop that somebody has fixed is asked for nothing', { skip }, async (t) => {
    const { pod, plumb } = await podOn(t, { address: `${POD}/32`, gateway: '169.254.1.1', onNode: '10.9.0.1/24' });
    inside(pod, 'ip neigh replace 169.254.1.1 lladdr 02:00:00:00:0a:01 dev eth0 nud permanent');
    const before = await dump(pod);
    const net = await plumb({ mode: 'redirect', gateway: 'substitute', localhost: { services: [], backend } });
    t.strictSame((await net.verify()).problems, [], 'whatever ARP says');
    inside(pod, 'ip neigh replace 169.254.1.1 lladdr 02:00:00:00:0a:02 dev eth0 nud permanent');
    t.match((await net.verify()).problems, [{ code: 'GATEWAY_MAC_CHANGED', message: /02:00:00:00:0a:02, and guests are told 02:00:00:00:0a:01/ }]); // prettier-ignore
    t.strictSame(await net.repair(), []);
    t.strictSame((await net.verify()).problems, []);
    inside(pod, 'ip neigh replace 169.254.1.1 lladdr 02:00:00:00:0a:01 dev eth0 nud permanent');
    t.match(await net.undo(), { state: 'undone', leftBehind: [] });
    t.strictSame(compare(before, await dump(pod)), []);
  });

  await t.test('a network without a gateway', { skip }, async (t) => {
    const { pod, outside, sidecar, agentIn, plumb } = await podOn(t, { gateway: false });
    const before = await dump(pod);
    const net = await plumb({
      tap: 'tap0',
      label: 'vm/1',
      gateway: 'substitute',
      localhost: { services: ['127.0.0.1:8080/tcp'], backend },
    });
    t.match(net.guest, {
      addresses: [{ address: `${POD}/16` }],
      gateway: { ipv4: '10.1.255.254' },
      substituted: { gateway: { is: '10.1.255.254' } },
    });
    const guest = await kinds.rumprun.run(net.tap as Tap, net.guest);
    t.teardown(() => guest.close());
    const agent = agentIn(guest.netns);
    await until(async () => (await getLink(pod, 'tap0'))?.operstate === 'UP');
    await outside.serve('tcp', '10.1.0.1', 7000, 'neighbour ');
    t.ok(
      await until(async () => (await agent.says('tcp', '10.1.0.1', 7000, { timeout: 1 })) === 'neighbour hello'),
      'the neighbours are there',
    );
    await sidecar.serve('tcp', '127.0.0.1', 8080, 'sidecar ');
    t.equal(await agent.says('tcp', net.localhost!.localhost, 8080), 'sidecar hello');
    await guest.close();
    t.match(await net.undo(), { state: 'undone', leftBehind: [] });
    t.strictSame(compare(before, await dump(pod)), []);
  });

  await t.test('none is needed, or none can be had', { skip }, async (t) => {
    const { pod, plumb } = await podOn(t);
    const net = await plumb({ gateway: 'substitute' });
    t.equal(net.guest.substituted, undefined, 'the gateway is inside the subnet');
    t.equal(net.localhost, undefined);
    await net.undo();
    inside(
      pod,
      'ip address flush dev eth0; ip address add 10.1.0.2/32 dev eth0; ip route add 169.254.1.1 dev eth0 scope link; ip route add default via 169.254.1.1 dev eth0; sysctl -qw net.ipv4.neigh.eth0.retrans_time_ms=50',
    );
    const before = await dump(pod);
    await t.rejects(plumb({ gateway: 'substitute' }), { code: 'ERR_PLUMB_NO_GATEWAY', transient: true });
    t.strictSame(compare(before, await dump(pod)), []);
  });
}
