// What the maps of the eBPF programs are filled with: as long as the kernel will have it, and a range is all of its ports and no other.
import fc from 'fast-check';
import t from 'tap';
import { localhost } from '../../lib/kernel/programs/localhost.js';
import type { LocalhostConfig } from '../../lib/localhost/config.js';
import { decodeProgramsConfig } from '../../lib/wire/bpf/localhost-look.js';
import { CELLS, LONGEST_TEXT, decodeTold, emptyCell, localhostCounters, localhostMaps } from '../../lib/wire/bpf/localhost.js';

const config: LocalhostConfig = {
  link: 12,
  podHasAddresses: true,
  mac: '02:00:00:00:00:22',
  addresses: ['10.1.0.2', '10.1.0.3'],
  aliases: '169.254.77.0',
  loopback: '127.77.0.0',
  aliasMac: '02:75:6e:63:00:01',
  services: [
    { alias: '169.254.77.1', address: '127.0.0.11', protocol: 'udp', first: 53, last: 53, to: 40_053 },
    { alias: '169.254.77.2', address: '127.0.0.1', protocol: 'tcp', first: 1, last: 65_535, to: 1 },
  ],
  guests: [
    { slot: 1, tap: 20, ports: [{ protocol: 'tcp', first: 1, last: 65_535 }] },
    { slot: 63, tap: 21, ports: [{ protocol: 'udp', first: 53, last: 60 }] },
  ],
  gateway: { address: '10.1.0.254', mac: '02:00:00:00:00:11' },
};

void t.test('keys and values are as long as those of native/bpf/localhost.c', (t) => {
  const maps = localhostMaps(config);
  for (const [name, contents] of Object.entries(maps)) {
    const map = localhost.maps.find((one) => one.name === name)!;
    t.ok(contents.length > 0 && contents.length <= map.maxEntries, name);
    for (const [key, value] of contents) {
      if (key.length !== map.keySize || value.length !== map.valueSize) t.fail(`${name}: ${key.length} ${value.length}`);
    }
  }
  const size = (name: string): number | undefined => localhost.maps.find((one) => one.name === name)?.maxEntries;
  t.equal(size('counters'), localhostCounters.length);
  t.equal(size('cells'), CELLS);
  t.equal(localhost.maps.find(({ name }) => name === 'cells')?.valueSize, emptyCell.length);
  t.equal(localhost.maps.find(({ name }) => name === 'told')?.valueSize, LONGEST_TEXT + 4);
  t.end();
});

void t.test('what was told is read back', (t) => {
  t.strictSame(decodeTold(localhostMaps(config).told![0]![1]), config);
  t.equal(decodeTold(new Uint8Array(LONGEST_TEXT + 4)), undefined);
  t.end();
});

void t.test('the cells are shared out, and no two shares overlap', (t) => {
  const shares = localhostMaps(config).guests!.map(([, value]) => new DataView(value.buffer, value.byteOffset)).map((view) => ({ first: view.getUint32(4, true), count: view.getUint32(8, true) })); // prettier-ignore
  const taken = shares.filter(({ count }) => count > 0).sort((a, b) => a.first - b.first);
  t.equal(taken.length, 3, 'two guests, and the pod');
  for (const [index, { first, count }] of taken.entries()) t.ok(first + count <= (taken[index + 1]?.first ?? CELLS));
  t.end();
});

/** As the kernel looks up: the longest prefix. [address, shift] */
function lookUp(
  contents: readonly (readonly [Uint8Array, Uint8Array])[],
  protocol: number,
  port: number,
): readonly [string, number] | undefined {
  let best: { bits: number; value: Uint8Array } | undefined;
  for (const [key, value] of contents) {
    const view = new DataView(key.buffer, key.byteOffset);
    const bits = view.getUint32(0, true) - 48;
    const same = key[8] === protocol && view.getUint16(10) >> (16 - bits) === port >> (16 - bits);
    if (same && bits > (best?.bits ?? -1)) best = { bits, value };
  }
  if (best === undefined) return undefined;
  return [best.value.subarray(0, 4).join('.'), best.value[4]! | (best.value[5]! << 8)];
}

void t.test('ranges', (t) => {
  const range = fc.tuple(fc.integer({ min: 1, max: 65_535 }), fc.integer({ min: 0, max: 65_534 }), fc.integer({ min: 1, max: 65_535 }));
  fc.assert(
    fc.property(range, ([first, more, start]) => {
      const last = Math.min(65_535, first + more);
      const to = Math.min(start, 65_535 - (last - first));
      const one = { alias: '169.254.77.1', address: '127.0.0.11', protocol: 'udp' as const, first, last, to };
      const { services, answers } = localhostMaps({ ...config, services: [one] });
      const byAlias = services!.filter(([key]) => key[4] === 169);
      for (const port of [0, 1, first - 1, first, first + 1, (first + last) >> 1, last - 1, last, last + 1, 65_535]) {
        if (port > 65_535) continue;
        const inside = port >= first && port <= last;
        const found = lookUp(byAlias, 17, port);
        if ((found !== undefined) !== inside) throw new Error(`${port} of ${first} to ${last}`);
        if (found === undefined) continue;
        const real = (port + found[1]) & 0xffff;
        if (found[0] !== '127.0.0.11' || real !== to + port - first) throw new Error(`${port} is ${real}`);
        const back = lookUp(answers!, 17, real);
        if (back?.[0] !== '169.254.77.1' || ((real + back[1]) & 0xffff) !== port) throw new Error(`${real} is not ${port} again`);
      }
      if (lookUp(byAlias, 6, first) !== undefined) throw new Error('another protocol');
    }),
    { numRuns: Number(process.env.RUNS ?? 100) },
  );
  t.end();
});

void t.test('what the programs are told can be read back', (t) => {
  const read = (one: LocalhostConfig): ReturnType<typeof decodeProgramsConfig> => decodeProgramsConfig(localhostMaps(one).configs![0]![1]);
  const { link, podHasAddresses, mac, aliases, loopback, aliasMac } = config;
  const plain = { link, podHasAddresses, several: true, listeners: true, noNextHop: false, aliases, loopback, firstTap: 20, addresses: ['10.1.0.2', '10.1.0.3', undefined, undefined], known: new Set([1, 2]), mac, aliasMac }; // prettier-ignore
  t.strictSame(read(config), { ...plain, gateway: '10.1.0.254', gatewayMac: '02:00:00:00:00:11' });
  t.match(read({ ...config, gateway: { address: '10.1.0.254', mac: aliasMac } }), { noNextHop: true, gatewayMac: aliasMac });
  const { gateway: _, ...without } = config;
  const alone = read({ ...without, podHasAddresses: false, guests: [{ slot: 1, tap: 20, ports: [] }] });
  t.match(alone, { podHasAddresses: false, several: false, listeners: false, noNextHop: false });
  t.equal(alone.gateway, undefined);
  t.end();
});
