// What the programs make of our texts that read them in earnest.
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { Netns, createTap, createVeth, type Tap } from 'podtap';
import { type GuestNetwork, cloudInit, defineGuest, dracutCmdline, linuxCmdline, qemu } from 'podtap/guest';
import { run, sh } from '../support/oracle.js';
import { requires } from '../support/requires.js';

const base = {
  mac: '0a:58:ac:11:00:05',
  tap: 'tap100',
  mtu: 1450,
  hostname: 'podname',
  dns: { servers: ['169.254.77.1'], search: ['a.b'] },
};
const bridged = defineGuest({ ...base, addresses: [{ address: '172.17.0.5/16' }], gateway: { ipv4: '172.17.0.1' } });
const routed = defineGuest({ ...base, addresses: [{ address: '172.17.0.5/32' }], gateway: { ipv4: '169.254.1.1' } });
const dual = defineGuest({
  ...base,
  addresses: [{ address: '172.17.0.5/16' }, { address: '172.17.0.6/16' }, { address: 'fd00::5/64' }],
  gateway: { ipv4: '172.17.0.1', ipv6: 'fe80::1' },
  routes: [
    { dst: '10.9.0.0/16', via: '172.17.0.9', metric: 7 },
    { dst: 'fd09::/64', via: 'fd00::9' },
  ],
  dns: { servers: ['169.254.77.1', 'fd00::53'], search: ['a.b', 'c.d'] },
});

// ------------------------------------------------------------------ ip=

/** klibc's ipconfig, with which Debian's initramfs reads the kernel's own `ip=`: what eth0 has then. */
async function ipconfig(parameter: string): Promise<{ addresses: string; routes: string }> {
  await using netns = await Netns.create();
  await createVeth(netns, 'eth0', { peer: { name: 'x', up: true } });
  const line = parameter.replace('ip=', '').replace('podname', ''); // the host name would be that of this machine
  await sh(netns, `/usr/lib/klibc/bin/ipconfig -d ${line}`);
  return { addresses: await sh(netns, 'ip -4 -brief address show dev eth0'), routes: await sh(netns, 'ip route') };
}

await t.test('ip= by ipconfig', { skip: requires('ipconfig') }, async (t) => {
  const near = await ipconfig(linuxCmdline(bridged).text);
  t.match(near.addresses, / 172\.17\.0\.5\/16\b/);
  t.match(near.routes, /^default via 172\.17\.0\.1 dev eth0/m);
  const wide = await ipconfig(linuxCmdline(routed, { offSubnetGateway: 'widen' }).text);
  t.match(wide.addresses, / 172\.17\.0\.5\/5\b/);
  t.match(wide.routes, /^default via 169\.254\.1\.1 dev eth0/m);
  const omitted = await ipconfig(linuxCmdline(routed, { offSubnetGateway: 'omit' }).text);
  t.match(omitted.addresses, / 172\.17\.0\.5\/31\b/);
  t.notMatch(omitted.routes, /default/);
  // Why the plain form is refused.
  const guessed = await ipconfig('ip=172.17.0.5::169.254.1.1:255.255.255.255::eth0:off');
  t.match(guessed.addresses, / 172\.17\.0\.5\/16\b/);
  t.notMatch(guessed.routes, /default/);
});

await t.test('dracut’s ip= by systemd-network-generator', { skip: requires('network_generator') }, async (t) => {
  const generated = async (guest: GuestNetwork | readonly GuestNetwork[]): Promise<Record<string, string>> => {
    const root = t.testdir();
    await using netns = await Netns.create();
    const { parameters } = dracutCmdline(guest, { reader: 'systemd' });
    const { status, stderr } = await run(netns, '/lib/systemd/systemd-network-generator', [`--root=${root}`, '--', ...parameters]);
    t.equal(stderr, '');
    t.equal(status, 0);
    const folder = join(root, 'run/systemd/network');
    return Object.fromEntries(readdirSync(folder).map((file) => [file, readFileSync(join(folder, file), 'utf8')]));
  };
  const [one] = Object.values(await generated(bridged));
  t.match(one, /^Name=eth0\n/m);
  t.match(one, /^MTUBytes=1450\n/m);
  t.match(one, /^DNS=169\.254\.77\.1\n/m);
  t.match(one, /^Hostname=podname\n/m);
  t.match(one, /\[Address\]\nAddress=172\.17\.0\.5\/16\n/);
  t.match(one, /\[Route\]\nGateway=172\.17\.0\.1\n/);
  const [peer] = Object.values(await generated(routed));
  t.match(peer, /\[Address\]\nAddress=172\.17\.0\.5\/32\nPeer=169\.254\.1\.1\n/);
  t.match(peer, /\[Route\]\nGateway=169\.254\.1\.1\n/);
  const [all] = Object.values(await generated(dual));
  for (const address of ['172.17.0.5/16', '172.17.0.6/16', 'fd00::5/64']) t.ok(all!.includes(`\nAddress=${address}\n`), address);
  for (const route of ['Gateway=172.17.0.1', 'Gateway=fe80::1', 'Destination=10.9.0.0/16\nGateway=172.17.0.9', 'Destination=fd09::/64\nGateway=fd00::9']) t.ok(all!.includes(`[Route]\n${route}\n`), route); // prettier-ignore
  t.match(all, /^DNS=fd00::53\n/m);
  t.equal(Object.keys(await generated([bridged, routed])).length, 2);
});

await t.test('dracut’s ip= and rd.route= by its own scripts', { skip: requires('dracut') }, async (t) => {
  const script = `wait_for_dev() { :; } # what dracut-lib.sh would look for beside it
    . /usr/lib/dracut/modules.d/99base/dracut-lib.sh; . /usr/lib/dracut/modules.d/40network/net-lib.sh
    for word in "$@"; do case $word in
      ip=*) ip_to_var "\${word#ip=}"; echo "ip $ip $srv $gw $mask $hostname $dev $autoconf $mtu" ;;
      rd.route=*) route_to_var "\${word#rd.route=}"; echo "route $route_mask $route_gw $route_dev" ;;
    esac; done`;
  await using netns = await Netns.create();
  const read = async (network: GuestNetwork): Promise<string[]> => {
    const { stdout } = await run(netns, 'sh', [
      '-c',
      script,
      'sh',
      ...dracutCmdline(network, { without: ['ipv6', 'addresses'] }).parameters,
    ]);
    return stdout.trim().split('\n').map((line) => line.replace(/ +/g, ' ')); // prettier-ignore
  };
  t.same(await read(bridged), ['ip 172.17.0.5 172.17.0.1 16 podname eth0 none 1450']);
  t.same(await read(routed), ['ip 172.17.0.5 169.254.1.1 169.254.1.1 32 podname eth0 none 1450']);
  t.same(await read(dual), ['ip 172.17.0.5 172.17.0.1 16 podname eth0 none 1450', 'route 10.9.0.0/16 172.17.0.9 eth0']);
  const six = defineGuest({ ...base, addresses: [{ address: 'fd00::5/64' }], gateway: { ipv6: 'fd77::1' }, routes: [{ dst: 'fd09::/64', via: 'fd00::9' }, { dst: 'fd08::/64' }] }); // prettier-ignore
  t.same(await read(six), ['ip fd00::5 fd77::1 64 podname eth0 none 1450', 'route fd77::1/128 eth0', 'route fd08::/64 eth0', 'route fd09::/64 fd00::9 eth0']); // prettier-ignore
  t.same(await read({ ...six, addresses: [{ address: 'fd00::5/128' }], routes: [], gateway: { ipv6: 'fd77::1' } }), ['ip fd00::5 fd77::1 fd77::1 128 podname eth0 none 1450']); // prettier-ignore
});

// ------------------------------------------------------------------ cloud-init

await t.test('version 2 by netplan', { skip: requires('netplan') }, async (t) => {
  const generate = async (network: GuestNetwork): Promise<string> => {
    const root = t.testdir({ etc: { netplan: { '50.yaml': '' } } });
    const { text } = cloudInit(network, { names: ['net1'] });
    writeFileSync(join(root, 'etc/netplan/50.yaml'), `network:\n${text.replace(/^(?=.)/gm, '  ')}`, { mode: 0o600 });
    await using netns = await Netns.create();
    const { status, stderr } = await run(netns, 'netplan', ['generate', '--root-dir', root]);
    t.equal(status, 0, stderr);
    const folder = join(root, 'run/systemd/network');
    return readdirSync(folder).map((file) => readFileSync(join(folder, file), 'utf8')).join('\n'); // prettier-ignore
  };
  const near = await generate(dual);
  for (const line of ['Name=net1', 'PermanentMACAddress=0a:58:ac:11:00:05', 'MTUBytes=1450', 'Address=172.17.0.5/16', 'Address=172.17.0.6/16', 'Address=fd00::5/64', 'DNS=fd00::53', 'Domains=a.b c.d']) t.ok(near.includes(`\n${line}\n`), line); // prettier-ignore
  t.match(near, /Destination=10\.9\.0\.0\/16\nGateway=172\.17\.0\.9\nMetric=7\n/);
  const odd = await generate(
    defineGuest({
      ...routed,
      addresses: [{ address: '172.17.0.5/32' }, { address: 'fd00::5/128' }],
      gateway: { ipv4: '169.254.1.1', ipv6: 'fe80::1' },
      routes: [
        { dst: '169.254.1.1/32' },
        { dst: '10.7.0.0/16', type: 'blackhole' },
        { dst: '10.8.0.0/16', via: '169.254.1.1', mtu: 1400, src: '172.17.0.5' },
      ],
    }),
  );
  t.match(odd, /Destination=169\.254\.1\.1\/32\nScope=link\n/);
  t.match(odd, /Destination=10\.7\.0\.0\/16\nType=blackhole\n/);
  t.match(odd, /Destination=0\.0\.0\.0\/0\nGateway=169\.254\.1\.1\nGatewayOnLink=true\n/);
  t.match(odd, /Destination=::\/0\nGateway=fe80::1\nGatewayOnLink=true\n/);
  t.match(odd, /Destination=10\.8\.0\.0\/16\nGateway=169\.254\.1\.1\nPreferredSource=172\.17\.0\.5\nGatewayOnLink=true\nMTUBytes=1400\n/);
});

await t.test('both versions by cloud-init', { skip: requires('cloud_init') }, async (t) => {
  const convert = async (network: GuestNetwork, version: 1 | 2, output: string): Promise<string> => {
    const folder = t.testdir();
    writeFileSync(join(folder, 'network-config'), cloudInit(network, { version, netplan: false, without: ['routes'] }).text);
    mkdirSync(join(folder, 'out'));
    const args = ['devel', 'net-convert', '--network-data', join(folder, 'network-config'), '--kind', 'yaml', '--output-kind', output, '--distro', 'debian', '--directory', join(folder, 'out')]; // prettier-ignore
    await using netns = await Netns.create();
    const { status, stderr } = await run(netns, 'cloud-init', args);
    t.equal(status, 0, stderr);
    const files = readdirSync(join(folder, 'out'), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    return files.map((file) => readFileSync(join(file.parentPath, file.name), 'utf8')).join('\n');
  };
  for (const version of [1, 2] as const) {
    const interfaces = await convert(dual, version, 'eni');
    for (const line of ['ATTR{address}=="0a:58:ac:11:00:05"', 'mtu 1450', 'address 172.17.0.5/16', 'address 172.17.0.6/16', 'address fd00::5/64', '172.17.0.1', 'fe80::1', '10.9.0.0/16 gw 172.17.0.9', 'fd09::/64 gw fd00::9', 'dns-nameservers 169.254.77.1 fd00::53', 'dns-search a.b c.d']) t.ok(interfaces.includes(line), `${version}: ${line}`); // prettier-ignore
  }
  t.match(await convert(dual, 1, 'eni'), /10\.9\.0\.0\/16 gw 172\.17\.0\.9 metric 7/, 'which 22.4 drops of version 2');
  const interfaces = await convert(routed, 1, 'eni');
  t.match(interfaces, /address 172\.17\.0\.5\/32\n(.*\n)*? +gateway 169\.254\.1\.1\n/);
});

// ------------------------------------------------------------------ QEMU

/** What its monitor says of a machine that has not been started. */
async function machine(netns: Netns, args: readonly string[], tap?: Tap): Promise<string> {
  const rest = [
    '-M',
    'pc',
    '-accel',
    'tcg',
    '-m',
    '16',
    '-nodefaults',
    '-no-user-config',
    '-display',
    'none',
    '-S',
    '-monitor',
    'stdio',
    ...args,
  ];
  await using fds = await tap?.takeFds();
  const child =
    fds === undefined
      ? await netns.spawn('qemu-system-x86_64', rest, { stdio: ['pipe', 'pipe', 'pipe'] })
      : spawn('qemu-system-x86_64', rest, { stdio: ['pipe', 'pipe', 'pipe', ...fds.fds] });
  child.stdin!.on('error', () => undefined).end('info network\ninfo qtree\nquit\n');
  const [out, error] = await Promise.all([text(child.stdout!), text(child.stderr!)]);
  return (out + error).replaceAll('\r', '');
}

await t.test('QEMU', { skip: requires('qemu', 'tun') }, async (t) => {
  await using netns = await Netns.create();
  const card = { romfile: '' };
  const named = await createTap(netns, 'a,b', { mtu: 1450 });
  const guest = defineGuest({ ...bridged, tap: 'a,b' });
  const byName = await machine(netns, qemu(guest, { properties: card }).args);
  t.match(byName, /net0-card: index=0,type=nic,model=virtio-net-pci,macaddr=0a:58:ac:11:00:05/);
  t.match(byName, /net0: index=0,type=tap,ifname=a,b,script=no,downscript=no/);
  t.match(byName, /host_mtu = 1450 /);
  await named.close();

  const tap = await createTap(netns, 'tap100', { queues: 2, vnetHdr: true });
  const byFds = await machine(netns, qemu(bridged, { fds: [3, 4], properties: card }).args, tap);
  t.match(byFds, /index=0,type=tap,fd=3\n/);
  t.match(byFds, /index=1,type=tap,fd=4\n/);
  t.match(byFds, /mq = true/);
  t.match(byFds, /vectors = 6 /);
  await tap.close();

  const single = await createTap(netns, 'tap1', { vnetHdr: true });
  t.match(await machine(netns, qemu(bridged, { fds: [3], properties: card }).args, single), /type=tap,fd=3\n/);
  await single.close();
  const older = await createTap(netns, 'tap2', { vnetHdr: true });
  t.match(await machine(netns, qemu(bridged, { fd: 3, properties: card }).args, older), /type=tap,fd=3\n/);
  await older.close();
});
