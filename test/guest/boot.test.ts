// A guest that is not this kernel: user-mode Linux on the TAP, told its network by the texts of podtap/guest, and nothing else.
import t from 'tap';
import { Netns, addAddress, addRoute, bridgeEnslave, cloneMac, createTap, flushAddresses, readAddr } from 'podtap';
import { createLab, ping } from 'podtap/lab';
import { defineGuest, dracutCmdline, guestOf, uml } from 'podtap/guest';
import { type Machine, boot as bootMachine, needed } from '../support/machine.js';
import { requires } from '../support/requires.js';

const skip = requires('tun', ...needed.uml);

/** Boots it; it has pinged `far`. */
function boot(netns: Netns, args: readonly string[], far: readonly string[]): Promise<Machine> {
  return bootMachine('uml', netns, { args, parameters: [`far=${far.join(',')}`] });
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
