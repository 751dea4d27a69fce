// `gateway: 'substitute'`: a guest that is configured by exactly what a renderer printed has the network that the pod had.
import t from 'tap';
import { type Tap, getLink } from 'podtap';
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
