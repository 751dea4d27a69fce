// exposeLocalhost and plumb's `localhost`: what guests reach then, that it is undone, repeated, mended; by eBPF programs.
import t from 'tap';
import { exposeLocalhost, openPlumbing, recover } from 'podtap';
import { compare, dump } from '../oracle/dump.js';
import { inside, until } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { readdirSync } from 'node:fs';
import { podOn } from './plumbed.js';

t.setTimeout(240_000);
const skip = requires('root', 'tun', 'tcx', 'u32');
const SERVICES = ['127.0.0.1:8080/tcp', '127.0.0.1:8181/udp'];

for (const mode of ['redirect', 'ebpf', 'bridge'] as const)
  await t.test(`services, in mode ${mode}`, { skip }, async (t) => {
    const { pod, sidecar, journal, guest: run, plumb } = await podOn(t);
    const before = await dump(pod);
    const net = await plumb({ mode, tap: 'tap0', label: 'vm/1', localhost: { services: SERVICES } });
    const { services, localhost, backend, why, problems } = net.localhost!;
    t.equal(backend, 'ebpf', why);
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
    t.ok(counters.toService!.packets > 0n && counters.closed!.packets > 0n);

    const again = await plumb({ mode, tap: 'tap0', label: 'vm/1', localhost: { services: [...SERVICES].reverse() } });
    t.equal(again.created, false);
    t.strictSame(again.localhost, net.localhost);
    await t.rejects(plumb({ mode, label: 'vm/1', localhost: { services: ['127.0.0.1:9/tcp'] } }), { code: 'ERR_PLUMB_CONFLICT', message: /localhost/ }); // prettier-ignore
    await guest.stop();
    t.match(await net.undo(), { state: 'undone', leftBehind: [] });
    t.strictSame(compare(before, await dump(pod)), []);
    t.strictSame(inside(pod, 'tc filter show dev lo egress; sysctl -n net.ipv4.conf.lo.route_localnet net.ipv4.conf.lo.accept_local').trim(), '0\n0'); // prettier-ignore
    t.strictSame(readdirSync(journal), []);
    await again[Symbol.asyncDispose]();

    const anew = await plumb({ mode, label: 'vm/1', localhost: { services: SERVICES } });
    t.equal(anew.localhost!.localhost, localhost, 'the same label, the same addresses');
    await anew.undo();
  });

await t.test('added later, to a plumbing of any process', { skip }, async (t) => {
  const { pod, sidecar, journal, guest: run, plumb } = await podOn(t);
  const before = await dump(pod);
  (await plumb({ tap: 'tap0', label: 'vm/2' })).keep();
  await using net = (await openPlumbing(pod, { label: 'vm/2', journal }))!;
  t.equal(net.localhost, undefined);
  const first = await exposeLocalhost(net, { services: ['127.0.0.1:8080/tcp', '127.0.0.9:1/tcp'] });
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
  await exposeLocalhost(net, { services: SERVICES });
  await net.addGuest({ name: 'web', ports: ['80/tcp'] });
  t.strictSame((await net.verify()).problems, []);
  t.match(await net.undo(), { state: 'undone', leftBehind: [] });
  t.strictSame(compare(before, await dump(pod)), []);
});

await t.test('what others change is told, and mended', { skip }, async (t) => {
  const { pod, sidecar, guest: run, plumb } = await podOn(t);
  const before = await dump(pod);
  const net = await plumb({ tap: 'tap0', label: 'vm/3', localhost: { services: SERVICES } });
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
    [detach('lo', 'egress'), 'LOCALHOST_MISSING', true],
    [detach('eth0', 'ingress'), 'LOCALHOST_MISSING', false],
    [detach('tap0', 'ingress'), 'LOCALHOST_MISSING', true],
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
  const left = ['eth0', 'lo'].map((link) => inside(pod, `bpftool net show dev ${link} 2>/dev/null || true`)).join(''); // prettier-ignore
  t.notMatch(left, /podtap/);
});

/** Of tcx by bpf(2): BPF_PROG_DETACH (9) of BPF_TCX_INGRESS (46) or EGRESS (47), the first one there. */
function detach(link: string, direction: 'ingress' | 'egress'): string {
  const type = direction === 'ingress' ? 46 : 47;
  return `python3 -c "
import ctypes, os, socket, struct
number = {'x86_64': 321, 'aarch64': 280}[os.uname().machine]
libc = ctypes.CDLL(None, use_errno=True)
index = socket.if_nametoindex('${link}')
def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b'\\0'), 128)
    result = libc.syscall(number, command, buffer, 128)
    if result < 0: raise SystemExit(os.strerror(ctypes.get_errno()))
    return result, buffer.raw
ids = (ctypes.c_uint32 * 16)()
_, raw = bpf(16, struct.pack('IIIIQII', index, ${type}, 0, 0, ctypes.addressof(ids), 16, 0))
found = [one for one in ids if one]
for one in found:
    fd, _ = bpf(13, struct.pack('I', one))
    info = ctypes.create_string_buffer(256)
    bpf(15, struct.pack('IIQ', fd, 256, ctypes.addressof(info)))
    if info.raw[64:80].startswith(b'podtap_lh_'): bpf(9, struct.pack('IIII', index, fd, ${type}, 0))
    os.close(fd)
"`;
}

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
  await exposeLocalhost(net, { services: SERVICES });
  await t.rejects(exposeLocalhost(net, { services: SERVICES, backend: 'nft' }), { code: 'ERR_PLUMB_CONFLICT', message: /backend/ });
  await net.undo();
});
