// With the real Docker engine: a guest in the place of a container's eth0 asks the real resolver at 127.0.0.11 for other containers.
import t from 'tap';
import { Netns, type Plumbing, plumb } from 'podtap';
import { runGuest } from 'podtap/lab';
import { lookUp } from '../../examples/dns.js';
import { compare, dump } from '../oracle/dump.js';
import { inside, until } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { directory } from '../transaction/files.js';
import { Engine } from './engine.js';

t.setTimeout(400_000);
const skip = requires('root', 'tun', 'docker', 'busybox', 'iptables', 'u32', 'bpf_hook');

await t.test('a container on a user-defined network', { skip }, async (t) => {
  const engine = await Engine.start(t);
  engine.docker('network', 'create', 'net1');
  engine.docker('network', 'create', '--internal', 'inner');

  await t.test('on an internal network: a gateway in the place of none', async (t) => {
    const web = engine.run('web', 'inner');
    const { pid, resolvConf } = engine.run('pod', 'inner');
    await using pod = await Netns.open({ pid });
    // This engine gives a gateway, behind which nothing is let through; others give none.
    inside(pod, 'ip route delete default');
    const net = await plumb(pod, {
      tap: 'tap0',
      resolvConf,
      journal: directory(t),
      gateway: 'substitute',
      localhost: { services: ['docker-dns'] },
    });
    await using _ = net;
    t.type(net.guest.substituted?.gateway.is, 'string');
    t.equal(net.guest.substituted!.gateway.instead, undefined);
    const guest = await runGuest(net.tap, net.guest);
    try {
      for (const by of ['udp', 'tcp'] as const) t.equal(await lookUp(guest.netns, net.guest.dns.servers[0]!, 'web', by), web.address, by);
    } finally {
      await guest.close();
    }
    await net.undo();
    engine.docker('rm', '-f', 'web', 'pod');
  });

  for (const [backend, mode] of [
    ['ebpf', 'redirect'],
    ['nft', 'redirect'],
    ['ebpf', 'ebpf'],
  ] as const)
    // prettier-ignore
    await t.test(`${backend}, mode ${mode}`, async (t) => {
      const web = engine.run('web', 'net1');
      const { pid, resolvConf } = engine.run('pod', 'net1');
      await using pod = await Netns.open({ pid });
      t.match(inside(pod, 'ss -Hlntu'), /127\.0\.0\.11:(?!53\b)\d+/, 'it does not listen on 53');
      const before = await dump(pod);
      const journal = directory(t);
      await using net: Plumbing = await plumb(pod, { mode, tap: 'tap0', resolvConf, label: `docker/${backend}`, journal, localhost: { services: ['docker-dns'], backend } }); // prettier-ignore
      const [{ address: alias } = { address: '' }] = net.localhost!.services;
      t.strictSame(net.guest.dns.servers, [alias], 'in the place of 127.0.0.11 of resolv.conf');
      t.strictSame((await net.verify()).problems, []);
      const guest = await runGuest(net.tap, net.guest);
      try {
        for (const by of ['udp', 'tcp'] as const) t.equal(await lookUp(guest.netns, alias, 'web', by), web.address, by);
        // Replaced by one that has another address.
        engine.docker('rm', '-f', 'web');
        engine.run('other', 'net1');
        const anew = engine.run('web', 'net1');
        t.not(anew.address, web.address);
        for (const by of ['udp', 'tcp'] as const)
          t.ok(await until(async () => (await lookUp(guest.netns, alias, 'web', by)) === anew.address, 10_000), `again by ${by}`);
        // A name that Docker does not know it asks another server for: there is an answer, that there is none.
        t.equal(await lookUp(guest.netns, alias, 'nobody.invalid', 'udp', 1000), undefined);
        t.equal(await lookUp(guest.netns, alias, 'web'), anew.address);

        // With the engine, its resolvers are other ones, on other ports.
        const ports = inside(pod, 'ss -Hlntu').match(/127\.0\.0\.11:\d+/g)!.sort();
        await engine.restart();
        t.ok(await until(() => inside(pod, 'ss -Hlntu').includes('127.0.0.11:'), 10_000));
        t.strictNotSame(inside(pod, 'ss -Hlntu').match(/127\.0\.0\.11:\d+/g)!.sort(), ports);
        t.match((await net.verify()).problems, [{ code: 'RESOLVER_MOVED' }]);
        t.strictSame(await net.repair(), []);
        t.equal(net.localhost!.services[0]!.address, alias, 'the guest goes on as it was told');
        for (const by of ['udp', 'tcp'] as const) t.equal(await lookUp(guest.netns, alias, 'web', by), anew.address, `after that, by ${by}`);
      } finally {
        await guest.close();
      }
      t.match(await net.undo(), { state: 'undone', leftBehind: [] });
      t.strictSame(compare(before, await dump(pod)).filter((line) => !/DOCKER|nat/.test(line)), []);
      engine.docker('rm', '-f', 'web', 'pod', 'other');
    });
});
