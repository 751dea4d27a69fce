// A guest that is not this kernel: user-mode Linux on the TAP, told its network by the texts of podtap/guest, and nothing else.
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Netns, addAddress, addRoute, bridgeEnslave, cloneMac, createTap, flushAddresses, readAddr } from 'podtap';
import { createLab, ping } from 'podtap/lab';
import { defineGuest, dracutCmdline, guestOf, uml } from 'podtap/guest';
import { requires } from '../support/requires.js';
import { root } from '../support/root.js';

const skip = requires('tun', 'uml', 'busybox');

/** An initramfs of busybox and init.sh, which configures the network as dracut would. */
function initramfs(): string {
  const folder = t.testdir({ root: { bin: {}, proc: {}, dev: {} } });
  copyFileSync(execFileSync('sh', ['-c', 'command -v busybox'], { encoding: 'utf8' }).trim(), join(folder, 'root/bin/busybox'));
  copyFileSync(join(root, 'test/guest/init.sh'), join(folder, 'root/init'));
  chmodSync(join(folder, 'root/init'), 0o755);
  // Debian's has IPv6 as a module.
  const release = execFileSync('linux.uml', ['--version'], { encoding: 'utf8' }).trim();
  for (const [at, module] of ['lib/crc-ccitt.ko', 'net/ipv6/ipv6.ko'].entries())
    copyFileSync(`/usr/lib/uml/modules/${release}/kernel/${module}`, join(folder, `root/${at}.ko`));
  const archive = join(folder, 'initrd');
  const { status } = spawnSync('sh', ['-ec', `cd "$1/root"; find . | busybox cpio -o -H newc > "$2"`, 'sh', folder, archive]);
  if (status !== 0) throw new Error('no initramfs');
  return archive;
}
const initrd = skip === false ? initramfs() : '';

/** Boots it, waits until it has pinged `far`; what it says of itself. Where this machine is short of processes the guest's first one may fail to fork. */
async function boot(netns: Netns, args: readonly string[], far: readonly string[], tries = 3): Promise<Running> {
  const running = await start(netns, args, far);
  if (tries === 1 || !/can't fork/.test(running.said)) return running;
  await running[Symbol.asyncDispose]();
  return boot(netns, args, far, tries - 1);
}

async function start(netns: Netns, args: readonly string[], far: readonly string[]): Promise<Running> {
  const home = t.testdirName;
  mkdirSync(home, { recursive: true });
  const child = await netns.spawn('linux.uml', ['mem=128M', `initrd=${initrd}`, `uml_dir=${home}`, 'con=null', 'con0=null,fd:1', 'quiet', 'panic=-1', ...args, `far=${far.join(',')}`], { stdio: ['ignore', 'pipe', 'pipe'] }); // prettier-ignore
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  let said = '';
  await new Promise<void>((resolve) => {
    for (const stream of [child.stdout!, child.stderr!])
      stream.setEncoding('utf8').on('data', (part: string) => {
        said += part.replaceAll('\r', '');
        if (/that is all|Kernel panic/.test(said)) resolve();
      });
    void ended.then(resolve);
  });
  return {
    said,
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}
interface Running extends AsyncDisposable {
  readonly said: string;
}

await t.test('a pod on a bridge: what eth0 had, the guest has', { skip }, async (t) => {
  await using lab = await createLab({ nodes: { client: {}, pod: {} }, links: [{ client: '172.17.0.1/16 fd00::1/64', pod: '172.17.0.5/16 fd00::5/64' }] }); // prettier-ignore
  await addAddress(lab.client, 'lo', '10.99.0.1/32');
  await addRoute(lab.pod, { dst: 'default', via: '172.17.0.1' });
  const eth0 = await readAddr(lab.pod, 'eth0');
  const guest = guestOf(eth0, { tap: 'tap100', mtu: 1450, hostname: 'podname', dns: { servers: ['10.99.0.1'] } });
  await using tap = await createTap(lab.pod, 'tap100', { mtu: guest.mtu });
  await flushAddresses(lab.pod, 'eth0');
  t.equal((await cloneMac(lab.pod, { from: 'eth0' })).guestMac, guest.mac);
  await bridgeEnslave(lab.pod, { bridge: 'br0', ports: ['eth0', 'tap100'] });

  const { args, device } = uml(guest);
  const cmdline = dracutCmdline(guest, { reader: 'systemd', devices: [device] });
  t.same(cmdline.untold, []);
  await using running = await boot(lab.pod, [...args, ...cmdline.parameters], ['10.99.0.1', 'fd00::1']);
  const { said } = running;
  t.match(said, /^name podname$/m);
  t.match(said, new RegExp(`mtu 1450 [^]*link/ether ${guest.mac} `));
  for (const { address } of guest.addresses) t.ok(said.includes(` ${address} `), address);
  t.match(said, /^nameserver 10\.99\.0\.1$/m);
  t.match(said, /^reached 10\.99\.0\.1$/m, 'by the gateway');
  t.match(said, /^reached fd00::1$/m);
  t.equal((await ping(lab.client, '172.17.0.5')).received, 1);
  t.equal((await ping(lab.client, 'fd00::5')).received, 1);
  await tap.close();
});

/** A router behind the TAP that is on nobody's subnet, as Calico has it. */
async function router(): Promise<Netns> {
  const netns = await Netns.create();
  await createTap(netns, 'tap100').then((tap) => tap.close());
  await addAddress(netns, 'tap100', '169.254.1.1/32');
  await addAddress(netns, 'tap100', { address: 'fe80::1/64', flags: ['nodad'] });
  await addRoute(netns, { dst: '172.17.0.5/32', dev: 'tap100' });
  await addRoute(netns, { dst: 'fd00::5/128', dev: 'tap100' });
  for (const address of ['10.99.0.1/32', 'fd99::1/128']) await addAddress(netns, 'lo', address);
  return netns;
}

await t.test('a gateway outside of the subnet', { skip }, async (t) => {
  await using netns = await router();
  const guest = defineGuest({ tap: 'tap100', addresses: [{ address: '172.17.0.5/32' }], gateway: { ipv4: '169.254.1.1' } });
  // The older driver, which is the guest's eth0.
  const { args, device } = uml(guest, { driver: 'tuntap' });
  t.equal(device, 'eth0');
  await using running = await boot(netns, [...args, ...dracutCmdline(guest).parameters], ['10.99.0.1', '169.254.1.1']);
  t.match(running.said, /^default via 169\.254\.1\.1 dev eth0 $/m);
  t.match(running.said, new RegExp(`link/ether ${guest.mac} `));
  t.match(running.said, /^reached 10\.99\.0\.1$/m);
  t.match(running.said, /^reached 169\.254\.1\.1$/m);
  t.equal((await ping(netns, '172.17.0.5')).received, 1);
});

await t.test('the same, and a subnet', { skip }, async (t) => {
  await using netns = await router();
  const guest = defineGuest({ tap: 'tap100', addresses: [{ address: '172.17.0.5/24' }], gateway: { ipv4: '169.254.1.1' } });
  const { args, device } = uml(guest);
  await using running = await boot(netns, [...args, ...dracutCmdline(guest, { devices: [device] }).parameters], ['10.99.0.1']);
  t.match(running.said, / 172\.17\.0\.5\/24 /);
  t.match(running.said, /^reached 10\.99\.0\.1$/m);
});

await t.test('IPv6, and a link-local gateway', { skip }, async (t) => {
  await using netns = await router();
  const guest = defineGuest({ tap: 'tap100', addresses: [{ address: 'fd00::5/128' }], gateway: { ipv6: 'fe80::1' } });
  const { args, device } = uml(guest);
  await using running = await boot(netns, [...args, ...dracutCmdline(guest, { devices: [device] }).parameters], ['fd99::1']);
  t.match(running.said, /^default via fe80::1 dev vec0 /m);
  t.match(running.said, /^reached fd99::1$/m);
  t.equal((await ping(netns, 'fd00::5')).received, 1);
});
