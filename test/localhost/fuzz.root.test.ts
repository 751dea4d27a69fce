// Frames of any kind through the programs of the pod's localhost, each run by itself (BPF_PROG_TEST_RUN): whatever it is, what is for
// localhost goes on to nobody, and what goes to the loopback is for a service that was declared. bpf(2) wants real root.
import fc from 'fast-check';
import t from 'tap';
import { type Localhost, loadLocalhost } from '../../lib/kernel/localhost.js';
import type { LocalhostConfig } from '../../lib/localhost/config.js';
import { verdicts } from '../../lib/wire/bpf/numbers.js';
import { fresh } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { icmp, ipv4, isWhole, portsOf, tcp, udp } from './frames.js';
import { ALIASES, ALIAS_MAC, DNS, LOCAL, NODE, POD, SERVICES } from './world.js';

t.setTimeout(300_000);
const skip = requires('root');
const runs = Number(process.env.RUNS ?? 2000);

/** Frames of a run come in by the loopback, so that has the first guest's slot. */
const config: LocalhostConfig = {
  link: 1,
  podHasAddresses: true,
  mac: POD.mac,
  addresses: [POD.address, POD.second],
  aliases: `${ALIASES}.0`,
  loopback: '127.77.0.0',
  aliasMac: ALIAS_MAC,
  services: SERVICES,
  guests: [
    { slot: 1, tap: 1, ports: [{ protocol: 'tcp', first: 9001, last: 9010 }] },
    { slot: 2, tap: 99, ports: [{ protocol: 'udp', first: 9002, last: 9002 }] },
  ],
};
const guest = { mac: POD.mac, address: POD.address };
const NEXT = verdicts.next >>> 0;

const address = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.constantFrom(
      DNS,
      LOCAL,
      '127.0.0.1',
      '127.0.0.11',
      `${ALIASES}.3`,
      `${ALIASES}.66`,
      '127.77.0.1',
      POD.address,
      NODE.address,
    ),
  },
  fc.tuple(fc.constantFrom('127.0.0', '127.77.1', ALIASES, '10.1.0'), fc.nat(255)).map(([net, last]) => `${net}.${last}`),
);
const port = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(53, 8080, 8181, 5000, 5099, 9001, 9002, 40_053) },
  fc.integer({ min: 0, max: 65_535 }),
);
const base = fc
  .record({
    from: fc.oneof({ weight: 4, arbitrary: fc.constantFrom(POD.address, POD.second) }, address),
    to: address,
    sport: port,
    dport: port,
    kind: fc.constantFrom('udp', 'tcp', 'icmp', 'error', 'other'),
    text: fc.string({ maxLength: 40 }),
    flags: fc.nat(255),
  }) // prettier-ignore
  .map(({ from, to, sport, dport, kind, text, flags }) => {
    const [a, b] = [
      { ...guest, address: from, port: sport },
      { mac: ALIAS_MAC, address: to, port: dport },
    ];
    if (kind === 'udp') return udp(a, b, text);
    if (kind === 'tcp') return tcp(a, b, flags);
    if (kind === 'icmp') return icmp(a, b, Uint8Array.of(flags, 0, 0, 0, sport >> 8, sport & 255, 0, 1));
    if (kind === 'error') return icmp(a, b, Uint8Array.of(3, flags & 7, 0, 0, 0, 0, 2, 88, ...udp(b, a, text).subarray(14)));
    return ipv4(a, b, { protocol: flags });
  });
/** Some bytes are others, or it ends early. */
const spoilt = fc
  .tuple(
    base,
    fc.array(fc.tuple(fc.nat(70), fc.nat(255)), { maxLength: 3 }),
    fc.oneof({ weight: 5, arbitrary: fc.constant(999) }, fc.integer({ min: 34, max: 60 })),
  ) // prettier-ignore
  .map(([frame, changes, length]) => {
    const one = frame.slice(0, length);
    for (const [at, byte] of changes) if (at >= 14 && at < one.length) one[at] = byte;
    return one;
  });

function isLocal(frame: Uint8Array): boolean {
  return frame[30] === 127 || frame.subarray(30, 33).join('.') === ALIASES;
}

function declared(address: string, protocol: number, port: number): boolean {
  return SERVICES.some((one) => one.address === address && (one.protocol === 'tcp' ? 6 : 17) === protocol && port >= one.to && port <= one.to + one.last - one.first); // prettier-ignore
}

await t.test('what a guest sends', { skip }, async (t) => {
  const netns = await fresh(t);
  await using loaded: Localhost = await loadLocalhost(config);
  const program = loaded.programs.podtap_lh_tap!;
  const verdictsSeen = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(spoilt, async (frame) => {
      const { value, frame: now } = await program.run(netns, frame);
      const local = isLocal(frame);
      verdictsSeen.set(`${local} ${value}`, (verdictsSeen.get(`${local} ${value}`) ?? 0) + 1);
      if (!local) return;
      if (value !== verdicts.drop && value !== verdicts.redirect) throw new Error(`it went on: ${value >>> 0}`);
      // To the loopback by its MAC; the others are answers to echo, and what is for another guest.
      if (value !== verdicts.redirect || now.subarray(0, 12).some((byte) => byte !== 0)) return;
      const [from, to] = [now.subarray(26, 30).join('.'), now.subarray(30, 34).join('.')];
      if (!/^127\.77\.[01]\.(1|65)$/.test(from)) throw new Error(`from ${from}`);
      const isFirst = (((now[20]! << 8) | now[21]!) & 0x1fff) === 0;
      if (!isFirst) {
        if (!['127.0.0.1', '127.0.0.11'].includes(to)) throw new Error(`a fragment to ${to}`);
        return;
      }
      const [protocol, at] = now[23] === 1 ? [now[34 + 8 + 9]!, 34 + 28] : [now[23]!, 34];
      const real = now[23] === 1 ? portsOf(now, at)[0] : portsOf(now, at)[1];
      if (!declared(to, protocol, real)) throw new Error(`to ${to}, protocol ${protocol}, port ${real}`);
      if (isWhole(frame) && !isWhole(now)) throw new Error('its sums are not right any more');
    }),
    { numRuns: runs },
  );
  t.ok((verdictsSeen.get(`true ${verdicts.redirect}`) ?? 0) > runs / 400, [...verdictsSeen].join('; '));
  t.ok((verdictsSeen.get(`true ${verdicts.drop}`) ?? 0) > runs / 100);
});

await t.test('what comes by the pod’s interface', { skip }, async (t) => {
  const netns = await fresh(t);
  await using loaded = await loadLocalhost(config);
  await fc.assert(
    fc.asyncProperty(spoilt, async (frame) => {
      const { value } = await loaded.programs.podtap_lh_link!.run(netns, frame);
      const evil = isLocal(frame) || frame[26] === 127 || frame.subarray(26, 29).join('.') === ALIASES;
      if (evil && value !== verdicts.drop) throw new Error(`it went on: ${value >>> 0}`);
      if (!evil && value === verdicts.pass) throw new Error('the pod has no socket for it');
    }),
    { numRuns: runs },
  );
  t.ok((await loaded.statistics()).martian.packets > BigInt(runs) / 10n);
});

await t.test('what the pod’s processes send', { skip }, async (t) => {
  const netns = await fresh(t);
  await using loaded = await loadLocalhost(config);
  const sender = fc.constantFrom('127.0.0.1', '127.0.0.11', '127.0.0.12', POD.address);
  const receiver = fc.constantFrom('127.77.0.1', '127.77.1.1', '127.77.0.65', '127.77.0.2', '127.77.0.9', '127.0.0.1', POD.address);
  await fc.assert(
    fc.asyncProperty(sender, receiver, port, port, fc.boolean(), async (from, to, sport, dport, isTcp) => {
      const [a, b] = [
        { mac: '00:00:00:00:00:00', address: from, port: sport },
        { mac: '00:00:00:00:00:00', address: to, port: dport },
      ];
      const sent = isTcp ? tcp(a, b) : udp(a, b);
      const { value, frame: now } = await loaded.programs.podtap_lh_lo!.run(netns, sent);
      const slot = /^127\.77\.[01]\.(1|65|2)$/.exec(to);
      if (to.startsWith('127.77.')) {
        const may = slot !== null && declared(from, isTcp ? 6 : 17, sport);
        if (value !== (may ? verdicts.redirect : verdicts.drop)) throw new Error(`${value >>> 0}, and it ${may ? 'may' : 'may not'}`);
      } else if (value >>> 0 !== NEXT && value !== verdicts.redirect) throw new Error(`${value}`);
      if (value === verdicts.redirect && (!isWhole(now) || now.subarray(0, 6).join() !== guest.mac.split(':').map((octet) => parseInt(octet, 16)).join())) throw new Error('it is spoilt'); // prettier-ignore
    }),
    { numRuns: runs / 2 },
  );
  t.ok((await loaded.statistics()).fromService.packets > 0n);
});
