// addGuest and removeGuest: who gets what, what is refused, and that all of it is undone with the plumbing. By either backend.
import { readdirSync } from 'node:fs';
import t from 'tap';
import { exposeLocalhost, inspect, openPlumbing, plumb, recover, transaction } from 'podtap';
import { compare, dump } from '../oracle/dump.js';
import { inside, until } from '../support/inside.js';
import { NODE, POD, podOn } from './plumbed.js';

export async function several(
  backend: 'ebpf' | 'nft',
  modes: readonly ('redirect' | 'ebpf' | 'bridge')[],
  skip: string | false,
): Promise<void> {
  t.setTimeout(240_000);
  const localhost = { services: ['127.0.0.1:8080/tcp'], backend };

  for (const mode of modes)
    await t.test(`three guests, mode ${mode}`, { skip }, async (t) => {
      const { pod, journal, sidecar, outside, guest: run, plumb } = await podOn(t);
      const before = await dump(pod);
      const net = await plumb({ mode, tap: 'tap0', label: 'vm/1', localhost });
      const web = await net.addGuest({ name: 'web', tap: 'tap7', ports: ['8001/tcp'] });
      t.match(web, {
        name: 'web',
        ports: ['8001/tcp'],
        guest: { tap: 'tap7', mac: net.guest.mac, addresses: net.guest.addresses },
        tap: { name: 'tap7' },
      });
      await using other = (await openPlumbing(pod, { journal }))!;
      await other.addGuest({ name: 'udp', ports: ['8002/udp', '9000-9010/tcp'] });
      t.strictSame(other.guests.map(({ name }) => name), ['default', 'web', 'udp']); // prettier-ignore
      await net.addGuest({ name: 'web', tap: 'tap7', ports: ['8001/tcp'] });
      t.strictSame(net.guests.map(({ name }) => name), ['default', 'web', 'udp'], 'what another process did is seen'); // prettier-ignore
      t.strictSame((await net.verify()).problems, []);
      const [first, one, two] = [await run(net), await run(net, 'web'), await run(net, 'udp')];
      const local = net.localhost!.localhost;
      await first.serve('tcp', '0.0.0.0', 8001, 'first ');
      await first.serve('tcp', '0.0.0.0', 7000, 'first ');
      await one.serve('tcp', '0.0.0.0', 8001, 'web ');
      await two.serve('udp', '0.0.0.0', 8002, 'udp ');
      await two.serve('tcp', '0.0.0.0', 9007, 'range ');
      await sidecar.serve('tcp', '127.0.0.1', 8080, 'sidecar ');
      t.ok(await until(async () => (await outside.says('tcp', POD, 8001, { timeout: 1 })) === 'web hello', 15_000), 'the owner');
      t.equal(await outside.says('udp', POD, 8002), 'udp hello');
      t.equal(await outside.says('tcp', POD, 9007), 'range hello');
      t.equal(await outside.says('tcp', POD, 7000), 'first hello', 'nobody owns it');
      t.equal(await sidecar.says('tcp', '127.0.0.1', 8001), 'web hello', 'as kubectl port-forward dials');
      t.equal(await two.says('tcp', local, 8001), 'web hello', 'guest to guest');
      for (const guest of [first, one, two]) t.equal(await guest.says('tcp', local, 8080), 'sidecar hello');
      await outside.serve('udp', NODE, 7001);
      t.equal(await two.says('udp', NODE, 7001), 'hello');
      const { counters, flows } = await net.stats();
      for (const name of ['toOwner', 'toFlow', 'toFirst', 'toSidecar', 'fromSidecar', 'toPeer', 'fromGuest', 'arpAnswered'] as const) t.ok(counters[name]!.packets > 0n, name); // prettier-ignore
      t.ok(flows.udp! > 0, 'the flow of the guest that began one');

      await one.stop();
      await other.removeGuest('web');
      t.strictSame(other.guests.map(({ name }) => name), ['default', 'udp']); // prettier-ignore
      t.notMatch(inside(pod, 'ip link'), /tap7/);
      t.strictSame((await other.verify()).problems, []);
      t.equal(await outside.says('tcp', POD, 9007), 'range hello', 'the others go on');
      t.equal(await outside.says('tcp', POD, 8001), 'first hello', 'nobody owns it any more');
      t.match((await recover({ journal })).kept, [{ label: 'vm/1' }]);
      await Promise.all([first.stop(), two.stop()]);
      t.match(await net.undo(), { state: 'undone', leftBehind: [] });
      t.strictSame(compare(before, await dump(pod)), []);
      t.strictSame(readdirSync(journal), []);
    });

  await t.test('refused, and nothing is changed', { skip }, async (t) => {
    const { pod, plumb } = await podOn(t);
    const net = await plumb({ tap: 'tap0', localhost });
    await net.addGuest({ name: 'web', ports: ['80-90/tcp'] });
    const before = await dump(pod);
    for (const [options, what] of [
      [
        { name: 'web', ports: ['80-90/udp'] },
        { code: 'ERR_PLUMB_CONFLICT', message: /other options: ports/ },
      ],
      [
        { name: 'b', ports: ['85/tcp'] },
        { code: 'ERR_PLUMB_CONFLICT', message: /85\/tcp of the guest 'b' is the guest 'web''s/ },
      ],
      [
        { name: 'b', tap: 'tap0', ports: [] },
        { code: 'ERR_PLUMB_CONFLICT', message: /'tap0'/ },
      ],
      [
        { name: 'b', tap: 'eth0', ports: [] },
        { code: 'ERR_PLUMB_CONFLICT', message: /none of podtap's/ },
      ],
      [
        { name: 'b', tap: { ifindex: net.tap.ifindex }, ports: [] },
        { code: 'ERR_PLUMB_CONFLICT', message: /index/ },
      ],
      [
        { name: 'b', tap: { mtu: 9000 }, ports: [] },
        { code: 'ERR_INVALID_ARG_VALUE', message: /mtu/ },
      ],
      [
        { name: 'b', tap: { persist: false }, ports: [] },
        { code: 'ERR_INVALID_ARG_VALUE', message: /persist/ },
      ],
      [
        { name: 'default', ports: [] },
        { code: 'ERR_INVALID_ARG_VALUE', message: /another name/ },
      ],
      [
        { name: 'a b', ports: [] },
        { code: 'ERR_INVALID_ARG_VALUE', message: /name/ },
      ],
      [
        { name: 'b', ports: ['80'] },
        { code: 'ERR_INVALID_ARG_VALUE', message: /^addGuest: 'ports.0' .*no protocol/ },
      ],
      [
        { name: 'b', port: [] },
        { code: 'ERR_INVALID_ARG_VALUE', message: /did you mean 'ports'/ },
      ],
    ] as const)
      await t.rejects(net.addGuest(options as never), what, JSON.stringify(options));
    await t.rejects(net.removeGuest('nobody'), { code: 'ERR_PLUMB_NO_GUEST', message: /there are 'default', 'web'/ });
    await t.rejects(net.removeGuest('default'), { code: 'ERR_PLUMB_NO_GUEST', message: /undo/ });
    await t.rejects(net.addGuest({ name: 'c', ports: [], signal: AbortSignal.abort() }), { name: 'AbortError' });
    t.strictSame(compare(before, await dump(pod)), []);
    t.equal(net.guests.length, 2);
    await net.undo();
    await t.rejects(net.addGuest({ name: 'late', ports: [] }), { code: 'ERR_PLUMB_CONFLICT', message: /undone/ });
  });

  await t.test('within a transaction, and with it', { skip }, async (t) => {
    const { pod, journal } = await podOn(t);
    const before = await dump(pod);
    const work = (fails: boolean): Promise<unknown> =>
      transaction(
        pod,
        async (tx) => {
          const net = await plumb(tx, { tap: 'tap0', label: 'vm/2' });
          await exposeLocalhost(net, localhost);
          await net.addGuest({ name: 'web', ports: ['80/tcp'] });
          await net.addGuest({ name: 'gone', ports: [] });
          await net.removeGuest('gone');
          await t.rejects(net.addGuest({ name: 'b', ports: ['80/tcp'] }), { code: 'ERR_PLUMB_CONFLICT' });
          t.equal(net.guests.length, 2);
          net.keep();
          if (fails) throw new Error('the end');
        },
        { journal },
      );
    await t.rejects(work(true), { message: 'the end' });
    t.strictSame(compare(before, await dump(pod)), []);
    t.strictSame(readdirSync(journal), []);
    await work(false);
    await using net = (await openPlumbing(pod, { journal, label: 'vm/2' }))!;
    t.equal(net.guests.length, 2);
    t.strictSame((await net.verify()).problems, []);
    t.match(await net.undo(), { state: 'undone', leftBehind: [] });
    t.strictSame(compare(before, await dump(pod)), []);
  });

  await t.test('a TAP that somebody takes down or away', { skip }, async (t) => {
    const { pod, plumb } = await podOn(t);
    const before = await dump(pod);
    const net = await plumb({ tap: 'tap0', label: 'vm/3', localhost });
    await net.addGuest({ name: 'web', tap: 'tap7', ports: ['80/tcp'] });
    t.match(String(await inspect(pod)), /web on tap7/);
    inside(pod, 'ip link set tap7 down');
    t.match((await net.verify()).problems, [{ code: 'LINK_DOWN' }]);
    t.strictSame(await net.repair(), []);
    inside(pod, 'ip link delete tap7');
    t.ok((await net.verify()).problems.some(({ code }) => code === 'GUEST_TAP_GONE'));
    await net.removeGuest('web');
    t.strictSame((await net.verify()).problems, []);
    t.match(await net.undo(), { state: 'undone', leftBehind: [] });
    t.strictSame(compare(before, await dump(pod)), []);
  });
}
