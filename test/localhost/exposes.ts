// exposeLocalhost and plumb's `localhost`: what guests reach then, that it is undone, repeated, mended, followed. By either backend.
import t from 'tap';
import { exposeLocalhost, openPlumbing, recover } from 'podtap';
import { compare, dump } from '../oracle/dump.js';
import { inside, until } from '../support/inside.js';
import { readdirSync } from 'node:fs';
import { lookUp, runResolver } from '../../examples/dns.js';
import type { Breakage } from './breakages.js';
import { podOn } from './plumbed.js';

const SERVICES = ['127.0.0.1:8080/tcp', '127.0.0.1:8181/udp'];

export async function exposes(
  backend: 'ebpf' | 'nft',
  modes: readonly ('redirect' | 'ebpf' | 'bridge')[],
  breakages: readonly Breakage[],
  skip: string | false,
): Promise<void> {
  t.setTimeout(240_000);

  for (const mode of modes)
    await t.test(`services, in mode ${mode}`, { skip }, async (t) => {
      const { pod, sidecar, journal, guest: run, plumb } = await podOn(t);
      const before = await dump(pod);
      const net = await plumb({ mode, tap: 'tap0', label: 'vm/1', localhost: { services: SERVICES, backend } });
      const { services, localhost, backend: by, why, problems } = net.localhost!;
      t.equal(by, backend, why);
      t.strictSame(problems, []);
      t.strictSame(services.map(({ service, address, protocols }) => [service, address, protocols]), [
        ['127.0.0.1:8080/tcp', localhost, ['tcp']],
        ['127.0.0.1:8181/udp', localhost, ['udp']],
      ]); // prettier-ignore
      t.match(localhost, /^169\.254\.\d+\.2$/);
      t.strictSame((await net.verify()).problems, []);
      const guest = await run(net);
      await sidecar.serve('tcp', '127.0.0.1', 8080, 'web ');
      await sidecar.serve('tcp', '127.0.0.1', 8081, 'not declared ');
      await sidecar.serve('udp', '127.0.0.1', 8181, 'udp ');
      t.ok(await until(async () => (await guest.says('tcp', localhost, 8080)) === 'web hello'));
      t.equal(await guest.says('udp', localhost, 8181), 'udp hello');
      t.not(await guest.says('tcp', localhost, 8081, { timeout: 0.5 }), 'not declared hello', 'closed unless declared');
      const { counters } = await net.stats();
      for (const name of ['toService', 'fromService', 'closed'] as const) t.ok(counters[name]!.packets > 0n && counters[name]!.bytes > counters[name]!.packets * 20n, name); // prettier-ignore
      t.equal(counters.spoofed!.packets, 0n);
      // What comes from the world for a process that listens gets there by eBPF; by nftables the guest has it, and that is said.
      await sidecar.serve('tcp', '0.0.0.0', 9100, 'unseen ');
      const warned = ((await net.verify()).warnings ?? []).filter(({ code }) => code === 'LISTENER_UNSEEN').map(({ message }) => /\d+\/tcp/.exec(message)![0]); // prettier-ignore
      t.strictSame(warned, backend === 'nft' && mode === 'redirect' ? ['9100/tcp'] : []);
      // What is counted is no change, and stays when something else is told.
      t.strictSame((await net.verify()).problems, []);
      await exposeLocalhost(net, { services: [...SERVICES, '127.0.0.1:8282/udp'], backend });
      await exposeLocalhost(net, { services: SERVICES, backend });
      inside(guest.netns, 'ip address add 10.1.0.77/16 dev eth0');
      t.not(await guest.says('udp', localhost, 8181, { from: ['10.1.0.77', 0], timeout: 0.5 }), 'udp hello');
      const later = (await net.stats()).counters;
      t.ok(later.spoofed!.packets > 0n);
      t.ok(later.toService!.packets >= counters.toService!.packets, 'it counts on');
      t.strictSame(later.martian, { packets: 0n, bytes: 0n });

      const again = await plumb({ mode, tap: 'tap0', label: 'vm/1', localhost: { services: [...SERVICES].reverse(), backend } });
      t.equal(again.created, false);
      t.strictSame(again.localhost, net.localhost);
      await t.rejects(plumb({ mode, label: 'vm/1', localhost: { services: ['127.0.0.1:9/tcp'] } }), { code: 'ERR_PLUMB_CONFLICT', message: /localhost/ }); // prettier-ignore
      await guest.stop();
      t.match(await net.undo(), { state: 'undone', leftBehind: [] });
      t.strictSame(compare(before, await dump(pod)), []);
      t.strictSame(inside(pod, 'tc filter show dev lo egress; sysctl -n net.ipv4.conf.lo.route_localnet net.ipv4.conf.lo.accept_local').trim(), '0\n0'); // prettier-ignore
      t.strictSame(readdirSync(journal), []);
      await again[Symbol.asyncDispose]();

      const anew = await plumb({ mode, label: 'vm/1', localhost: { services: SERVICES, backend } });
      t.equal(anew.localhost!.localhost, localhost, 'the same label, the same addresses');
      await anew.undo();
    });

  await t.test('added later, to a plumbing of any process', { skip }, async (t) => {
    const { pod, sidecar, journal, guest: run, plumb } = await podOn(t);
    const before = await dump(pod);
    (await plumb({ tap: 'tap0', label: 'vm/2' })).keep();
    await using net = (await openPlumbing(pod, { label: 'vm/2', journal }))!;
    t.equal(net.localhost, undefined);
    const first = await exposeLocalhost(net, { services: ['127.0.0.1:8080/tcp', '127.0.0.9:1/tcp'], backend });
    const state = await dump(pod);
    t.strictSame(await exposeLocalhost(net, { services: ['127.0.0.9:1/tcp', '127.0.0.1:8080/tcp'] }), first);
    t.strictSame(compare(state, await dump(pod)), [], 'the same again changes nothing');
    await using other = (await openPlumbing(pod, { label: 'vm/2', journal }))!;
    t.strictSame(other.localhost, first);
    const more = await exposeLocalhost(other, { services: ['127.0.0.2:1/tcp', '127.0.0.9:1/tcp', '127.0.0.1:8080/tcp'] });
    const addressOf = (name: string): string | undefined => more.services.find(({ service }) => service === name)?.address;
    t.equal(addressOf('127.0.0.9:1/tcp'), first.services.find(({ service }) => service === '127.0.0.9:1/tcp')?.address, 'where it was');
    t.not(addressOf('127.0.0.2:1/tcp'), addressOf('127.0.0.9:1/tcp'));
    const guest = await run(other);
    await sidecar.serve('tcp', '127.0.0.2', 1, 'two ');
    t.ok(await until(async () => (await guest.says('tcp', addressOf('127.0.0.2:1/tcp')!, 1)) === 'two hello'));
    t.match((await recover({ journal })).kept, [{ label: 'vm/2' }]);
    await guest.stop();
    // Who opened it before all this undoes all of it.
    t.match(await net.undo(), { state: 'undone', leftBehind: [] });
    t.strictSame(compare(before, await dump(pod)), []);
    t.strictSame(readdirSync(journal), []);
    await t.rejects(exposeLocalhost(other, { services: [] }), { code: 'ERR_PLUMB_CONFLICT', message: /undone/ });
  });

  await t.test('without a journal', { skip }, async (t) => {
    const { pod, plumb } = await podOn(t);
    const before = await dump(pod);
    const net = await plumb({ journal: false });
    await exposeLocalhost(net, { services: SERVICES, backend });
    await net.addGuest({ name: 'web', ports: ['80/tcp'] });
    t.strictSame((await net.verify()).problems, []);
    t.match(await net.undo(), { state: 'undone', leftBehind: [] });
    t.strictSame(compare(before, await dump(pod)), []);
  });

  await t.test("beside a filter of somebody else's, and the check of what the guest sends", { skip }, async (t) => {
    const { pod, node, sidecar, outside, guest: run, plumb } = await podOn(t);
    inside(pod, 'tc qdisc add dev eth0 ingress; tc filter add dev eth0 parent ffff: protocol ip pref 1 u32 match u32 0xffffffff 0xffffffff at 0'); // prettier-ignore
    const before = await dump(pod);
    const asked = { tap: 'tap0', antiSpoof: true, localhost: { services: SERVICES, backend } } as const;
    const net = await plumb(asked);
    t.match(await net.verify(), { ok: true, problems: [] });
    const guest = await run(net);
    inside(guest.netns, 'ip address add 10.1.9.9/32 dev lo');
    inside(node, 'ip route add 10.1.9.9/32 dev vn');
    await sidecar.serve('tcp', '127.0.0.1', 8080, 'web ');
    await outside.serve('udp', '10.1.0.1', 99, 'node ');
    t.ok(await until(async () => (await guest.says('tcp', net.localhost!.localhost, 8080)) === 'web hello'));
    t.equal(await guest.says('udp', '10.1.0.1', 99), 'node hello');
    const from = ['10.1.9.9', 0] as const;
    t.not(await guest.says('tcp', net.localhost!.localhost, 8080, { from, timeout: 0.5 }), 'web hello');
    t.not(await guest.says('udp', '10.1.0.1', 99, { from, timeout: 0.5 }), 'node hello');
    t.equal((await outside.seen()).length, 1, 'nothing of it came out');
    await guest.stop();
    t.match(await net.undo(), { state: 'undone', leftBehind: [] });
    t.strictSame(compare(before, await dump(pod)), []);
  });

  await t.test('what others change is told, and mended', { skip }, async (t) => {
    const { pod, sidecar, guest: run, plumb } = await podOn(t);
    const before = await dump(pod);
    const net = await plumb({ tap: 'tap0', label: 'vm/3', localhost: { services: SERVICES, backend } });
    const guest = await run(net);
    await sidecar.serve('tcp', '127.0.0.1', 8080, 'web ');
    const { localhost } = net.localhost!;
    const reaches = (): Promise<boolean> => until(async () => (await guest.says('tcp', localhost, 8080, { timeout: 1 })) === 'web hello');
    t.ok(await reaches());
    const route = inside(pod, 'ip route show table local').split('\n').find((line) => /^local 127\.\d+\.\d+\.0\/23/.test(line))!.trim(); // prettier-ignore
    for (const [what, code, breaks] of [
      ['sysctl -qw net.ipv4.conf.lo.route_localnet=0', 'LOCALHOST_SYSCTL', true],
      ['sysctl -qw net.ipv4.conf.lo.accept_local=0', 'LOCALHOST_SYSCTL', true],
      [`ip route delete table local ${route}`, 'LOCALHOST_ROUTE', false],
      ...breakages,
    ] as const) {
      inside(pod, what);
      t.match((await net.verify()).problems, [{ code }], what);
      if (breaks) t.not(await guest.says('tcp', localhost, 8080, { timeout: 0.5 }), 'web hello', what);
      t.strictSame(await net.repair(), [], what);
      t.strictSame((await net.verify()).problems, [], what);
      t.ok(await reaches(), what);
    }
    await guest.stop();
    t.match(await net.undo(), { state: 'undone', leftBehind: [] });
    t.strictSame(compare(before, await dump(pod)), []);
  });

  await t.test("Docker's resolver is followed while somebody listens", { skip }, async (t) => {
    const { pod, guest: run, plumb, journal } = await podOn(t);
    const before = await dump(pod);
    let resolver = await runResolver(pod, '127.0.0.11', { web: '10.1.0.9' });
    const net = await plumb({ tap: 'tap0', label: 'vm/4', localhost: { services: ['docker-dns'], backend } });
    t.strictSame(net.guest.dns.servers, [net.localhost!.services[0]!.address]);
    const guest = await run(net);
    const [server = ''] = net.guest.dns.servers;
    t.equal(await lookUp(guest.netns, server, 'web'), '10.1.0.9');
    const stop = new AbortController();
    const seen: string[] = [];
    const listening = (async () => {
      try {
        for await (const event of net.events({ signal: stop.signal }))
          if ('problem' in event) seen.push(`${event.type} ${event.problem.code}`);
      } catch (error) {
        if (!stop.signal.aborted) throw error;
      }
    })();
    await resolver[Symbol.asyncDispose]();
    resolver = await runResolver(pod, '127.0.0.11', { web: '10.1.0.10' });
    t.ok(await until(() => seen.includes('repaired RESOLVER_MOVED'), 20_000), seen.join());
    for (const by of ['udp', 'tcp'] as const) t.equal(await lookUp(guest.netns, server, 'web', by), '10.1.0.10', by);
    await resolver[Symbol.asyncDispose]();
    t.ok(await until(() => seen.includes('broken RESOLVER_GONE'), 20_000), seen.join());
    t.match(await net.repair(), [{ code: 'RESOLVER_GONE' }], 'which nobody can mend here');
    t.equal((await net.addGuest({ name: 'web', ports: [] })).name, 'web', 'and it is in the way of nothing');
    await net.removeGuest('web');
    stop.abort();
    await listening;
    // Whoever plumbs again, or repairs, follows it too.
    resolver = await runResolver(pod, '127.0.0.11', { web: '10.1.0.11' });
    await using again = await plumb({ label: 'vm/4' });
    t.equal(again.created, false);
    t.equal(await lookUp(guest.netns, server, 'web'), '10.1.0.11');
    await resolver[Symbol.asyncDispose]();
    resolver = await runResolver(pod, '127.0.0.11', { web: '10.1.0.12' });
    t.match((await again.verify()).problems, [{ code: 'RESOLVER_MOVED' }]);
    t.strictSame(await again.repair(), []);
    t.equal(await lookUp(guest.netns, server, 'web'), '10.1.0.12');
    await resolver[Symbol.asyncDispose]();
    await guest.stop();
    t.match(await net.undo(), { state: 'undone', leftBehind: [] });
    t.strictSame(compare(before, await dump(pod)), []);
    t.strictSame(readdirSync(journal), []);
  });

  await t.test('in bridge mode a resolver has no upstream, which is told', { skip }, async (t) => {
    const { pod, plumb } = await podOn(t);
    await using _ = await runResolver(pod, '127.0.0.11', {});
    const net = await plumb({ mode: 'bridge', localhost: { services: ['docker-dns'], backend } });
    t.match(net.localhost!.problems, [{ code: 'RESOLVER_WITHOUT_UPSTREAM' }]);
    const { ok, warnings = [] } = await net.verify();
    t.equal(ok, true);
    t.ok(warnings.some(({ code }) => code === 'RESOLVER_WITHOUT_UPSTREAM'));
    await net.undo();
  });

  await t.test('refused', { skip }, async (t) => {
    const { plumb, pod, node } = await podOn(t);
    await t.rejects(plumb({ mode: 'macvtap', localhost: { services: [] } }), { code: 'ERR_INVALID_ARG_VALUE', message: /'localhost' is nothing for mode 'macvtap'/ }); // prettier-ignore
    await t.rejects(plumb({ mode: 'macvtap', gateway: 'substitute' }), { code: 'ERR_INVALID_ARG_VALUE', message: /'gateway'/ });
    await t.rejects(plumb({ localhost: { services: ['[::1]:80/tcp'] } }), { code: 'ERR_INVALID_ARG_VALUE', message: /IPv6/ });
    const before = await dump(pod);
    await t.rejects(plumb({ localhost: { services: ['docker-dns'] } }), { code: 'ERR_PLUMB_NO_RESOLVER', transient: true });
    t.strictSame(compare(before, await dump(pod)), []);
    const net = await plumb();
    await t.rejects(exposeLocalhost(net, { services: ['docker-dns'] }), { code: 'ERR_PLUMB_NO_RESOLVER' });
    await t.rejects(exposeLocalhost(net, { services: ['127.0.0.1:80'] }), { code: 'ERR_INVALID_ARG_VALUE', message: /^exposeLocalhost: 'services.0'/ }); // prettier-ignore
    await t.rejects(exposeLocalhost(net, { service: [] } as never), { message: /did you mean 'services'/ });
    await t.rejects(exposeLocalhost(node as never, { services: [] }), { code: 'ERR_INVALID_ARG_TYPE' });
    await exposeLocalhost(net, { services: SERVICES, backend });
    await t.rejects(exposeLocalhost(net, { services: SERVICES, backend: backend === 'nft' ? 'ebpf' : 'nft' }), {
      code: 'ERR_PLUMB_CONFLICT',
      message: /backend/,
    });
    await net.undo();
  });
}
