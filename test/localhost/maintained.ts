// maintain() of a plumbing whose guests have the pod's localhost, with the guest's frames checked: what strangers do to either is mended
// while it goes on; a TAP that goes takes all of it with it. By either backend.
import { readdirSync } from 'node:fs';
import t from 'tap';
import type { PlumbingEvent } from 'podtap';
import { lookUp, runResolver } from '../../examples/dns.js';
import { compare, dump } from '../oracle/dump.js';
import { inside, until } from '../support/inside.js';
import type { Breakage } from './breakages.js';
import { NODE, POD, podOn } from './plumbed.js';

export async function maintained(
  backend: 'ebpf' | 'nft',
  modes: readonly ('redirect' | 'ebpf' | 'bridge')[],
  breakages: readonly Breakage[],
  skip: string | false,
): Promise<void> {
  t.setTimeout(300_000);

  for (const mode of modes)
    await t.test(`mode ${mode}: what breaks is mended, Docker's resolver is followed, the TAP goes`, { skip }, async (t) => {
      const { pod, journal, outside, guest: run, plumb } = await podOn(t);
      const before = await dump(pod);
      let resolver = await runResolver(pod, '127.0.0.11', { web: '10.1.0.9' });
      const net = await plumb({ mode, tap: 'tap0', label: 'vm/1', antiSpoof: true, localhost: { services: ['docker-dns'], backend } });
      await net.addGuest({ name: 'web', tap: 'tap7', ports: ['8001/tcp'] });
      const [guest, web] = [await run(net), await run(net, 'web')];
      const [server = ''] = net.guest.dns.servers;
      await web.serve('tcp', '0.0.0.0', 8001, 'web ');
      const told: string[] = [];
      const note = (event: PlumbingEvent): void => void told.push('problem' in event ? `${event.type} ${event.problem.code}` : event.type);
      const ended = net.maintain({ onEvent: note });
      // Whoever does the next thing before it has looked again is mended along with the last one, and not told of.
      const rests = (): boolean => told.filter((one) => one.startsWith('broken')).length === told.filter((one) => one.startsWith('repaired')).length; // prettier-ignore
      const works = async (what: string, address: string): Promise<void> => {
        for (const by of ['udp', 'tcp'] as const) t.ok(await until(async () => (await lookUp(guest.netns, server, 'web', by)) === address, 10_000), `${what}: ${by}`); // prettier-ignore
        t.ok(await until(async () => (await outside.says('tcp', POD, 8001, { timeout: 1 })) === 'web hello', 10_000), `${what}: the other guest`); // prettier-ignore
      };
      await works('at first', '10.1.0.9');
      t.ok(await until(() => told.includes('attached')), 'it listens');

      const route = inside(pod, 'ip route show table local').split('\n').find((line) => /^local 127\.\d+\.\d+\.0\/23/.test(line))!.trim(); // prettier-ignore
      for (const [command] of [
        ...breakages,
        [`ip route delete table local ${route}`],
        ['sysctl -qw net.ipv4.conf.lo.route_localnet=0'],
        ...(mode === 'redirect' ? ([['tc qdisc del dev tap0 ingress'], ['tc filter del dev eth0 ingress']] as const) : []),
        ...(mode === 'bridge' ? ([['tc qdisc del dev tap0 ingress'], ['ip link set eth0 nomaster']] as const) : []),
      ] as const) {
        told.length = 0;
        inside(pod, command);
        t.ok(await until(async () => told.some((one) => one.startsWith('broken')) && rests() && (await net.verify()).ok, 15_000), `${command}: ${told.join(', ')}, ${JSON.stringify((await net.verify()).problems)}`); // prettier-ignore
        await works(command, '10.1.0.9');
      }

      // As often as the engine starts anew.
      for (const address of ['10.1.0.10', '10.1.0.11']) {
        await resolver[Symbol.asyncDispose]();
        resolver = await runResolver(pod, '127.0.0.11', { web: address });
        await works('the resolver has other ports', address);
      }
      await resolver[Symbol.asyncDispose]();
      t.ok(await until(() => told.includes('broken RESOLVER_GONE'), 15_000), told.join());
      resolver = await runResolver(pod, '127.0.0.11', { web: '10.1.0.12' });
      await works('the resolver is there again', '10.1.0.12');

      // What is not the guest's goes nowhere, after all that has been mended.
      inside(guest.netns, 'ip address add 10.1.0.77/16 dev eth0');
      await outside.serve('udp', NODE, 7001);
      t.ok(await until(async () => (await guest.says('udp', NODE, 7001, { timeout: 1 })) === 'hello'));
      t.equal(await guest.says('udp', NODE, 7001, { from: ['10.1.0.77', 0], timeout: 0.5 }), 'TimeoutError');
      t.equal(await lookUp(guest.netns, server, 'web'), '10.1.0.12');

      // Another guest's TAP is nobody else's concern.
      await web.stop();
      told.length = 0;
      inside(pod, 'ip link delete tap7');
      t.ok(await until(() => told.includes('broken GUEST_TAP_GONE'), 15_000), told.join());
      t.ok(await until(async () => (await net.verify()).problems.every(({ code }) => code === 'GUEST_TAP_GONE')), JSON.stringify((await net.verify()).problems)); // prettier-ignore
      t.match(await net.repair(), [{ code: 'GUEST_TAP_GONE' }]);
      t.equal(await lookUp(guest.netns, server, 'web'), '10.1.0.12');
      await net.removeGuest('web');
      t.ok((await net.verify()).ok);
      await guest.stop();
      inside(pod, 'ip link delete tap0');
      t.equal(await ended, 'gone');
      await resolver[Symbol.asyncDispose]();
      t.match(await net.undo(), { state: 'already-undone' });
      t.strictSame(compare(before, await dump(pod)), []);
      t.strictSame(readdirSync(journal), []);
    });
}
