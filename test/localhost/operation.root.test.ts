// The operations of the pod's localhost by eBPF: undone without a trace, and refused before anything is done. bpf(2) wants real root.
import { type Netns, createTap, createVeth, deleteLink, transaction } from 'podtap';
import t, { type Test } from 'tap';
import { detachTcx, listIds, openProgram } from '../../lib/kernel/bpf.js';
import { findLocalhost, openLocalhostOn } from '../../lib/kernel/localhost.js';
import type { LocalhostConfig } from '../../lib/localhost/config.js';
import type { Operation } from '../../lib/operation/kinds.js';
import { lackingPrograms } from '../../lib/operation/localhost-ebpf.js';
import { run } from '../../lib/operation/run.js';
import { snapshot } from '../../lib/state/snapshot.js';
import { fixture, fresh, inside, until } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { directory } from '../transaction/files.js';
import { compare, dump } from '../oracle/dump.js';

t.setTimeout(300_000);
const tcx = requires('tun', 'root', 'tcx');
const cls = requires('tun', 'root', 'clsact', 'cls_bpf');

async function podOf(t: Test): Promise<{ pod: Netns; config: LocalhostConfig; journal: string; more: number }> {
  const [node, pod] = [await fresh(t), await fresh(t)];
  await createVeth(node, 'vn', { ifindex: 11, up: true, peer: { scope: pod, name: 'eth0', ifindex: 12, addresses: ['10.1.0.2/24'], up: true } }); // prettier-ignore
  inside(pod, 'ip link set lo up; sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1');
  const taps: number[] = [];
  for (const name of ['tap1', 'tap2']) {
    const tap = await createTap(pod, name);
    t.teardown(() => tap.close());
    taps.push(tap.ifindex);
  }
  const config: LocalhostConfig = {
    link: 12,
    podHasAddresses: true,
    mac: '02:00:00:00:00:22',
    addresses: ['10.1.0.2'],
    aliases: '169.254.77.0',
    loopback: '127.77.0.0',
    aliasMac: '02:75:6e:63:00:01',
    services: [{ alias: '169.254.77.1', address: '127.0.0.11', protocol: 'udp', first: 53, last: 53, to: 40_053 }],
    guests: [{ slot: 1, tap: taps[0]!, ports: [] }],
  };
  return { pod, config, journal: directory(t), more: taps[1]! };
}

/** Programs of the pod's localhost, by interface. */
async function attached(pod: Netns, config: LocalhostConfig, more: number): Promise<string[]> {
  const found = await Promise.all([1, config.link, config.guests[0]!.tap, more].map((index) => findLocalhost(pod, index)));
  return found.flat().map(({ ifindex, direction, name, hook }) => `${ifindex} ${direction} ${name} ${hook}`);
}

/** The kernel frees what nobody holds a moment later. */
async function gone(kind: 'program' | 'map', ids: readonly number[]): Promise<boolean> {
  return until(async () => {
    const there = new Set(await listIds(kind));
    return ids.every((id) => !there.has(id));
  });
}

async function mapsOf(ids: readonly number[]): Promise<readonly number[]> {
  const found: number[] = [];
  for (const id of ids) {
    await using program = await openProgram(id);
    found.push(...(await program.info()).mapIds);
  }
  return [...new Set(found)];
}

const stop = (): never => {
  throw new Error('enough');
};

for (const hook of ['tcx', 'filter'] as const) {
  const qdiscs = ({ link, guests }: LocalhostConfig): Operation[] =>
    hook === 'tcx' ? [] : [1, link, guests[0]!.tap].map((link): Operation => ({ op: 'qdisc.add', link, qdisc: { kind: 'clsact' } }));

  await t.test(`${hook}: undone, nothing is left`, { skip: hook === 'tcx' ? tcx : cls }, async (t) => {
    const { pod, config, journal, more } = await podOf(t);
    const before = await dump(pod);
    let [ids, maps]: [number[], readonly number[]] = [[], []];
    const body = transaction(
      pod,
      async (tx) => {
        await run(tx, 'test', [
          { op: 'sysctl.set', key: 'net.ipv4.conf.lo.route_localnet', value: '1' },
          { op: 'route.add', route: { dst: '127.77.0.0/23', type: 'local', table: 255, dev: 'lo', mtu: 1500 } },
          ...qdiscs(config),
          { op: 'localhost.ebpf', config, hook },
        ]);
        t.strictSame(await attached(pod, config, more), [
          `1 egress podtap_lh_lo ${hook}`,
          `12 ingress podtap_lh_link ${hook}`,
          `${config.guests[0]!.tap} ingress podtap_lh_tap ${hook}`,
        ]);
        ids = (await Promise.all([1, 12, config.guests[0]!.tap].map((index) => findLocalhost(pod, index)))).flat().map(({ id }) => id);
        maps = await mapsOf(ids);
        t.ok(maps.length > 10);
        const state = await snapshot(pod, new Set(['tcx', 'filter', 'localhost']));
        t.strictSame(lackingPrograms(state, config), []);
        t.match(state.get('localhost/12'), { backend: 'ebpf', config });
        stop();
      },
      { journal },
    );
    await t.rejects(body, { message: 'enough' });
    t.strictSame(await attached(pod, config, more), []);
    t.strictSame(compare(before, await dump(pod)), []);
    t.equal(ids.length, 3);
    t.equal(await gone('program', ids), true, 'the kernel has none of the programs any more');
    t.equal(await gone('map', maps), true, 'nor a map');
    const state = await snapshot(pod, new Set(['tcx', 'filter', 'localhost']));
    t.equal(state.get('localhost/12'), undefined);
    t.equal(lackingPrograms(state, config).length, 3);
  });

  await t.test(`${hook}: another configuration is undone to the one before`, { skip: hook === 'tcx' ? tcx : cls }, async (t) => {
    const { pod, config, journal, more } = await podOf(t);
    await run(pod, 'test', [...qdiscs(config), { op: 'localhost.ebpf', config, hook }]);
    const before = await attached(pod, config, more);
    const told = async (): Promise<LocalhostConfig | undefined> => {
      await using opened = await openLocalhostOn(pod, 12);
      return opened?.configuration();
    };
    const other: LocalhostConfig = {
      ...config,
      services: [...config.services, { alias: '169.254.77.2', address: '127.0.0.1', protocol: 'tcp', first: 5000, last: 5999, to: 6000 }],
      guests: [{ ...config.guests[0]!, ports: [{ protocol: 'tcp', first: 80, last: 99 }] }, { slot: 2, tap: more, ports: [{ protocol: 'udp', first: 53, last: 53 }] }], // prettier-ignore
    };
    const qdisc: Operation[] = hook === 'tcx' ? [] : [{ op: 'qdisc.add', link: more, qdisc: { kind: 'ingress' } }];
    const body = transaction(
      pod,
      async (tx) => {
        await run(tx, 'test', [...qdisc, { op: 'localhost.configure', config: other }]);
        t.strictSame(await told(), other);
        t.equal((await attached(pod, config, more)).length, before.length + 1);
        stop();
      },
      { journal },
    );
    await t.rejects(body, { message: 'enough' });
    t.strictSame(await told(), config);
    t.strictSame(await attached(pod, config, more), before);

    // One that was taken away is attached again.
    if (hook === 'filter') return;
    const [own] = await findLocalhost(pod, config.guests[0]!.tap);
    t.equal(await detachTcx(pod, own!, own!.id), true);
    const state = await snapshot(pod, new Set(['tcx', 'filter']));
    t.strictSame(lackingPrograms(state, config), ['the program podtap_lh_tap on tap1, ingress']);
    await run(pod, 'test', [{ op: 'localhost.configure', config }]);
    t.strictSame(await attached(pod, config, more), before);
  });
}

await t.test('they outlive their process, and their TAP; another process tells them something else', { skip: tcx }, async (t) => {
  const { pod, config, more } = await podOf(t);
  const { code, stderr } = await fixture('localhost/attach.fixture.js', [pod.path!, JSON.stringify(config)]);
  t.equal(code, 0, stderr);
  t.equal((await attached(pod, config, more)).length, 3);
  const other = { ...config, services: [], guests: [{ slot: 2, tap: more, ports: [] }] };
  t.equal(await deleteLink(pod, 'tap1'), true);
  await run(pod, 'test', [{ op: 'localhost.configure', config: other }]);
  await using opened = await openLocalhostOn(pod, 12);
  t.strictSame(await opened!.configuration(), other);
  t.strictSame(await attached(pod, other, 12), ['1 egress podtap_lh_lo tcx', '12 ingress podtap_lh_link tcx', `${more} ingress podtap_lh_tap tcx`, '12 ingress podtap_lh_link tcx']); // prettier-ignore
  t.equal((await opened!.statistics()).toService.packets, 0n);
});

await t.test('what contradicts itself is refused before anything is done', { skip: tcx }, async (t) => {
  const { pod, config } = await podOf(t);
  const [service] = config.services;
  const guest = config.guests[0]!;
  const bad: readonly (readonly [string, Partial<Record<keyof LocalhostConfig, unknown>>, RegExp])[] = [
    ['no guests', { guests: [] }, /guests/],
    ['slot 0', { guests: [{ ...guest, slot: 0 }] }, /from 1 to 63/],
    ['slot 64', { guests: [{ ...guest, slot: 64 }] }, /from 1 to 63/],
    ['a slot twice', { guests: [guest, { ...guest, tap: 99 }] }, /one slot/],
    ['a TAP twice', { guests: [guest, { ...guest, slot: 2 }] }, /one TAP/],
    ['five addresses', { addresses: ['10.1.0.2', '10.1.0.3', '10.1.0.4', '10.1.0.5', '10.1.0.6'] }, /at most 4/],
    ['IPv6', { addresses: ['fd00::1'] }, /IPv4/],
    ['an IPv6 service', { services: [{ ...service, address: '::1' }] }, /IPv4/],
    ['a service elsewhere', { services: [{ ...service, address: '10.1.0.2' }] }, /127\.0\.0\.0/],
    ['an odd /23', { loopback: '127.77.1.0' }, /\/23/],
    ['the usual loopback', { loopback: '127.0.0.0' }, /own services/],
    ['no network', { aliases: '169.254.77.1' }, /\/24/],
    ['an alias elsewhere', { services: [{ ...service, alias: '169.254.78.1' }] }, /not one of/],
    ['the alias of the pod', { services: [{ ...service, alias: '169.254.77.3' }] }, /not one of/],
    ['a peer’s alias', { services: [{ ...service, alias: '169.254.77.65' }] }, /not one of/],
    ['localhost’s alias', { services: [{ ...service, alias: '169.254.77.2' }] }, /127\.0\.0\.1/],
    ['localhost by another', { services: [{ ...service, address: '127.0.0.1' }] }, /127\.0\.0\.1/],
    ['two addresses', { services: [service, { ...service, address: '127.0.0.12', protocol: 'tcp' }] }, /two addresses/],
    ['two aliases', { services: [service, { ...service, alias: '169.254.77.4', protocol: 'tcp' }] }, /two aliases/],
    ['a port twice', { services: [service, { ...service, to: 50_000 }] }, /twice/],
    ['a real port twice', { services: [service, { ...service, first: 54, last: 54 }] }, /twice/],
    ['ranges that overlap', { guests: [{ ...guest, ports: [{ protocol: 'tcp', first: 1, last: 100 }, { protocol: 'tcp', first: 100, last: 101 }] }] }, /twice/], // prettier-ignore
    ['backwards', { guests: [{ ...guest, ports: [{ protocol: 'tcp', first: 2, last: 1 }] }] }, /not above/],
    ['beyond the last port', { services: [{ ...service, first: 1, last: 100, to: 65_500 }] }, /65535/],
    ['one MAC', { aliasMac: config.mac }, /own MAC/],
    ['a multicast MAC', { aliasMac: '01:00:00:00:00:01' }, /unicast/],
    ['a misspelled option', { guest: [] } as never, /did you mean 'guests'/],
  ];
  for (const [name, change, message] of bad) {
    const operation = { op: 'localhost.ebpf', config: { ...config, ...change }, hook: 'tcx' } as Operation;
    await t.rejects(run(pod, 'test', [operation]), { code: /^ERR_INVALID_ARG_/, message }, name);
  }
  t.strictSame(await attached(pod, config, 12), []);
  await t.rejects(run(pod, 'test', [{ op: 'localhost.configure', config }]), { code: 'ENOENT' }, 'nothing is there to be told');
});
