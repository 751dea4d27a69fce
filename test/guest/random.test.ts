// Of random networks every renderer says all, or refuses naming what it cannot say, or says what it left out.
import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import t from 'tap';
import { parse } from 'yaml';
import {
  GuestConfigError,
  type GuestNetwork,
  type Loss,
  cloudHypervisor,
  cloudInit,
  dracutCmdline,
  firecracker,
  keywords,
  linuxCmdline,
  mirage,
  qemu,
  rumprun,
  solo5,
  uml,
  unikraft,
} from 'podtap/guest';
import { networks } from './networks.js';
import { type Read, parseUkargs, readCloudHypervisor, readDracut, readKernelIp, readMirage, readQemu, readRumprun, readUnikraft } from './readers.js'; // prettier-ignore

const everything: readonly Loss[] = ['ipv4', 'ipv6', 'addresses', 'gateway', 'routes', 'mtu'];
const runs = { numRuns: 400 };

/** As `Read` has them. */
function routesOf(network: GuestNetwork): string[] {
  return network.routes.map(
    ({ dst, via }) => `${/^(0\.0\.0\.0|::)\/0$/.test(dst) ? 'default' : dst}${via === undefined ? '' : ` via ${via}`}`,
  );
}
const sorted = (list: readonly string[]): string[] => [...list].sort();

/** What it rendered; undefined: it refused, and said what and why. */
function attempt<T>(render: () => T): T | undefined {
  try {
    return render();
  } catch (error) {
    if (!(error instanceof GuestConfigError)) throw error;
    if (error.field === '' || !error.message.startsWith(`${error.guest}: `)) throw error;
    return undefined;
  }
}

interface Kind {
  readonly render: (
    network: GuestNetwork,
    without: readonly Loss[],
  ) => { readonly text: string; readonly untold: GuestNetwork['notes'] & object };
  readonly read: (text: string) => Read;
  /** How many of so many random networks it can say without loss: that it refuses everything is no way out. */
  readonly least: number;
}

/** What the pages of cloud-init's reference say of them. */
function readCloudInit(text: string): Read {
  type Route = { to: string; via?: string };
  type Subnet = { address: string; gateway?: string; routes?: { destination: string; gateway: string }[]; dns_nameservers?: string[] };
  const [one, other] = [parse(text, { version: '1.1' }), parse(text)] as unknown[];
  if (JSON.stringify(one) !== JSON.stringify(other)) throw new Error('YAML 1.1 and 1.2 differ');
  const config = one as { ethernets?: Record<string, { addresses: string[]; routes?: Route[]; nameservers?: { addresses?: string[] } }>; config?: { subnets: Subnet[] }[] }; // prettier-ignore
  const cards = Object.values(config.ethernets ?? {});
  const subnets = (config.config ?? []).flatMap((card) => card.subnets);
  const name = (dst: string): string => (/^(0\.0\.0\.0|::)\/0$/.test(dst) ? 'default' : dst);
  return {
    addresses: [...cards.flatMap((card) => card.addresses), ...subnets.map(({ address }) => address)],
    routes: [
      ...cards.flatMap((card) => card.routes ?? []).map(({ to, via }) => `${name(to)}${via === undefined ? '' : ` via ${via}`}`),
      ...subnets.flatMap(({ gateway }) => (gateway === undefined ? [] : [`default via ${gateway}`])),
      ...subnets.flatMap((subnet) => subnet.routes ?? []).map((route) => `${name(route.destination)} via ${route.gateway}`),
    ],
    servers: [...cards.flatMap((card) => card.nameservers?.addresses ?? []), ...subnets.flatMap((subnet) => subnet.dns_nameservers ?? [])],
  };
}

const kinds: Readonly<Record<string, Kind>> = {
  mirage: { render: (network, without) => mirage(network, { without }), read: readMirage, least: 0.1 },
  rumprun: { render: (network, without) => rumprun(network, { without, offSubnetGateway: without.length > 0 ? 'omit' : 'refuse' }), read: readRumprun, least: 0.005 }, // prettier-ignore
  unikraft: { render: (network, without) => unikraft(network, { without }), read: readUnikraft, least: 0.05 },
  'unikraft 0.16': { render: (network, without) => unikraft(network, { without, version: '0.16.0' }), read: readUnikraft, least: 0.05 },
  linuxCmdline: { render: (network, without) => linuxCmdline(network, { without, offSubnetGateway: without.length > 0 ? 'omit' : 'refuse' }), read: readKernelIp, least: 0.02 }, // prettier-ignore
  dracutCmdline: { render: (network, without) => dracutCmdline(network, { without, devices: ['eth0'] }), read: readDracut, least: 0.05 },
  'dracutCmdline systemd': { render: (network, without) => dracutCmdline(network, { without, reader: 'systemd' }), read: readDracut, least: 0.1 }, // prettier-ignore
  cloudInit: { render: (network, without) => cloudInit(network, { without, names: ['eth0'] }), read: readCloudInit, least: 0.5 },
  'cloudInit 1': { render: (network, without) => cloudInit(network, { without, version: 1, names: ['eth0'] }), read: readCloudInit, least: 0.2 }, // prettier-ignore
};

for (const [name, { render, read, least }] of Object.entries(kinds)) {
  await t.test(name, async (t) => {
    let told = 0;
    fc.assert(
      fc.property(networks, (network) => {
        const rendered = attempt(() => render(network, []));
        if (rendered !== undefined) {
          told++;
          const said = read(rendered.text);
          t.strictSame(sorted(said.addresses), sorted(network.addresses.map(({ address }) => address)), rendered.text);
          // On the link a gateway is there without a route to it; a route of a family without an address may be left out, with a note.
          const noted = rendered.untold.filter(({ field }) => field === 'routes').map(({ reason }) => reason).join('\n'); // prettier-ignore
          for (const route of said.routes)
            if (route.includes(' via ')) t.ok(routesOf(network).includes(route), `${route}: ${rendered.text}`);
          const unsaid = routesOf(network).filter((route) => !said.routes.includes(route));
          for (const route of unsaid) t.ok(noted.includes(route) || noted.includes(route.replace('default', '0.0.0.0/0')) || noted.includes(route.replace('default', '::/0')) || /^(\S+)\/(32|128)$/.test(route), `${route}: ${rendered.text}`); // prettier-ignore
          if (network.hostname !== undefined && name !== 'cloudInit' && name !== 'cloudInit 1') t.ok(said.hostname === network.hostname || rendered.untold.some(({ field }) => field === 'hostname'), `${network.hostname}: ${rendered.text}`); // prettier-ignore
          const dns = rendered.untold.filter(({ field }) => field.startsWith('dns')).map(({ reason }) => reason).join('\n'); // prettier-ignore
          for (const server of network.dns.servers) t.ok(said.servers?.includes(server) === true || dns.includes(server), `${server}: ${rendered.text}`); // prettier-ignore
        }
        const lossy = attempt(() => render(network, everything));
        if (lossy === undefined) return;
        const { addresses, routes } = read(lossy.text);
        const reasons = lossy.untold.map(({ reason }) => reason).join('\n');
        for (const { address } of network.addresses) t.ok(addresses.includes(address) || reasons.includes(address), `${address}: ${lossy.text}\n${reasons}`); // prettier-ignore
        for (const route of routes) if (route.includes(' via ')) t.ok(routesOf(network).includes(route), `${route}: ${lossy.text}`);
      }),
      runs,
    );
    t.ok(told >= least * runs.numRuns, `${told} of ${runs.numRuns} said without loss`);
  });
}

await t.test('monitors', async (t) => {
  fc.assert(
    fc.property(networks, (network) => {
      const { tap, mac, mtu } = network;
      const [, netdev = '', , device = ''] = qemu(network).args;
      t.match(readQemu(netdev), { '': 'tap', ifname: tap, script: 'no', downscript: 'no' });
      t.match(readQemu(device), { mac, host_mtu: String(mtu) });
      t.match(readCloudHypervisor(cloudHypervisor(network, { without: ['mtu'] }).args[1]!), { tap, mac, ...(mtu >= 1280 && { mtu: String(mtu) }) }); // prettier-ignore
      t.match(JSON.parse(firecracker(network).text), { host_dev_name: tap, guest_mac: mac });
      const vector = attempt(() => uml(network).args[0]!);
      if (vector === undefined) t.match(tap, /[,=\s"]/);
      else t.same(vector.split(','), ['vec0:transport=tap', `ifname=${tap}`, 'depth=128', 'gro=1', `mac=${mac}`, `mtu=${mtu}`]);
      const tender = attempt(() => solo5(network).args[0]!);
      if (tender === undefined) t.match(tap, /^@/);
      else t.equal(/^--net:([A-Za-z0-9]{1,67})=(\S{1,15})$/.exec(tender)?.[2], tap);
    }),
    runs,
  );
});

await t.test('quoting: a shell, and what splits words as it does, give back what went in', async (t) => {
  const texts: string[] = [];
  const words: string[] = [];
  const hostile = fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(...' \t\n"\'\\$`;&|<>*?![](){}#~,=:-a') })).filter((text) => !text.includes('\0')); // prettier-ignore
  fc.assert(
    fc.property(networks, hostile, (network, value) => {
      for (const { text, args } of [qemu(network, { properties: { x: value } }), cloudHypervisor(network, { without: ['mtu'] })]) {
        texts.push(text);
        words.push(...args);
      }
      const own = { ...network, addresses: [{ address: '10.0.0.2/24' }], gateway: {}, routes: [] };
      t.strictSame(readUnikraft(unikraft(own, { app: ['a', value, 'b'] }).text).app, ['a', value, 'b']);
      t.strictSame(parseUkargs(unikraft(own, { app: [value] }).text).at(-1), value);
      const json = attempt(() => rumprun({ ...own, mtu: 1500 }, { env: [value] }).text);

      if (json === undefined) t.match(value, /["\\\x00-\x1f\x7f]/);
      else t.strictSame(readRumprun(json).entries.find(([key]) => key === 'env')?.[1], value);
      t.equal(keywords(network, '<tap>').text, network.tap);
    }),
    { numRuns: 200 },
  );
  const { stdout } = spawnSync('sh', ['-s'], { input: texts.map((text) => `printf '%s\\0' ${text}`).join('\n'), encoding: 'utf8' });
  t.strictSame(stdout.split('\0').slice(0, -1), words);
});
