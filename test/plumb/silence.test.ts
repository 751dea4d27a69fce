// What plumb makes says nothing by itself, to the guest or to the wire, and takes no address from a router's advertisement.
import { type Netns, openPacketSocket, plumb } from 'podtap';
import t from 'tap';
import { checksum } from '../../lib/wire/checksum.js';
import { formatMac } from '../../lib/wire/text.js';
import { inside, ip, pause } from '../support/inside.js';
import { createNode } from '../support/pod.js';
import { requires } from '../support/requires.js';
import { directory } from '../transaction/files.js';

t.setTimeout(120_000);
const skip = requires('tun', 'bridge', 'clsact', 'u32');

/** RFC 4861, 4.2: from fe80::1 to all nodes, with the prefix fd00:7::/64, of which everybody may make himself an address. */
function advertisement(): Uint8Array {
  const source = Buffer.from('fe800000000000000000000000000001', 'hex');
  const everybody = Buffer.from('ff020000000000000000000000000001', 'hex');
  const prefix = Buffer.from('0304' + '40c0' + '00015180' + '00003840' + '00000000' + 'fd000007000000000000000000000000', 'hex');
  const message = Buffer.concat([Buffer.from('86000000' + '40000708' + '00000000' + '00000000', 'hex'), prefix]);
  const pseudo = Buffer.concat([source, everybody, Buffer.from([0, 0, 0, message.length, 0, 0, 0, 58]), message]);
  message.writeUInt16BE(checksum(pseudo), 2);
  const ethernet = Buffer.from('333300000001' + '020000000001' + '86dd', 'hex');
  const ipv6 = Buffer.concat([Buffer.from([0x60, 0, 0, 0, 0, message.length, 58, 255]), source, everybody]);
  return Buffer.concat([ethernet, ipv6, message]);
}

/** Source MACs of the frames that an interface receives, or sends, meanwhile. */
async function sourcesAt(netns: Netns, link: string, meanwhile: () => Promise<unknown>): Promise<string[]> {
  await using wire = await openPacketSocket(netns, link);
  const stop = new AbortController();
  const sources = new Set<string>();
  const reading = (async () => {
    for await (const frames of wire.frames({ signal: stop.signal })) for (const frame of frames) sources.add(formatMac(frame, 6, 6));
  })().catch((error: unknown) => {
    if (!stop.signal.aborted) throw error;
  });
  await meanwhile();
  stop.abort();
  await reading;
  return [...sources];
}

for (const mode of ['bridge', 'redirect'] as const)
  await t.test(mode, { skip }, async (t) => {
    const made = await createNode(t);
    const { netns: node } = made;
    const pod = await made.pod(2);
    // As a plugin may leave it, and as the kernel's default is.
    inside(pod, 'sysctl -qw net.ipv6.conf.eth0.accept_ra=2 net.ipv6.conf.default.accept_ra=2');
    const addressesOf = (): string[] => ip<{ ifname: string; addr_info: { local: string }[] }>(pod, '-6 address show').flatMap(({ ifname, addr_info }) => addr_info.map(({ local }) => `${ifname} ${local}`)); // prettier-ignore
    await using net = await plumb(pod, { mode, tap: 'tap0', journal: directory(t) });
    // Carrier: what has none says nothing anyway.
    await using fds = await net.tap.takeFds();
    await net.tap.waitAttached();
    const before = addressesOf();
    await using wire = await openPacketSocket(node, 'veth2');
    const sources = await sourcesAt(pod, 'tap0', async () => {
      await pause(500);
      await wire.send([advertisement()]);
      // Solicitations of routers, reports of groups and duplicate address detection all come within a second.
      await pause(1500);
    });
    t.ok(sources.includes('02:00:00:00:00:01'), 'the advertisement was for the guest');
    const own = ip<{ ifname: string; address: string }>(pod, 'link show').filter(({ ifname }) => ifname !== 'lo');
    for (const { ifname, address } of own) if (address !== net.guest.mac) t.notOk(sources.includes(address), `${ifname} says nothing to the guest`); // prettier-ignore
    const added = addressesOf().filter((one) => !before.includes(one));
    t.same(added, mode === 'bridge' ? [] : added.filter((one) => one.startsWith('eth0 ')), 'nobody but the guest has an address of it');
    t.same(before.filter((one) => /^(tap0|br0) /.test(one)), [], 'what was made has no address'); // prettier-ignore
    fds.close();
  });
