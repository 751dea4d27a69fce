import fc from 'fast-check';
import t from 'tap';
import { aliasesOf, configServices, parseGuestPorts, parseService, parseServices } from '../../lib/localhost/services.js';

await t.test('services in words', async (t) => {
  t.strictSame(parseService('127.0.0.1:8080/tcp', 's'), { name: '127.0.0.1:8080/tcp', address: '127.0.0.1', protocols: ['tcp'], first: 8080, last: 8080 }); // prettier-ignore
  t.match(parseService('127.0.0.11:53/udp+tcp', 's'), { name: '127.0.0.11:53/tcp+udp', protocols: ['tcp', 'udp'] });
  t.match(parseService('127.0.0.1:9000-9010/udp', 's'), { first: 9000, last: 9010, protocols: ['udp'] });
  t.match(parseService('docker-dns', 's'), { address: '127.0.0.11', first: 53, last: 53, finds: 'docker' });
});

await t.test('what is wrong, and what would be right', async (t) => {
  for (const [text, why] of [
    ['', 'there is no port'],
    ['8080', 'there is no port'],
    ['127.0.0.1', 'there is no port'],
    ['127.0.0.1:/tcp', 'there is no port'],
    ['127.0.0.1:8080', "write '/tcp'"],
    ['127.0.0.1:8080/', "'' is not 'tcp' or 'udp'"],
    ['127.0.0.1:8080/sctp', "'sctp' is not 'tcp' or 'udp'"],
    ['127.0.0.1:8080/tcp+tcp', 'one protocol twice'],
    ['127.0.0.1:0/tcp', '1 to 65535'],
    ['127.0.0.1:65536/tcp', '1 to 65535'],
    ['127.0.0.1:9010-9000/tcp', 'write 9000-9010'],
    ['127.0.0.1:80,81/tcp', "'80,81' is no port"],
    ['127.0.0.1: 80/tcp', "' 80' is no port"],
    ['localhost:80/tcp', 'write 127.0.0.1'],
    ['10.0.0.1:80/tcp', 'not in 127.0.0.0/8'],
    ['127.0.0.0:80/tcp', 'nothing can be bound'],
    ['127.255.255.255:80/tcp', 'nothing can be bound'],
    ['127.1:80/tcp', "'127.1' is no IPv4 address"],
    ['[::1]:80/tcp', 'IPv6'],
    ['::1:80/tcp', 'IPv6'],
    ['docker', 'there is no port'],
  ] as const)
    t.throws(() => parseService(text, 'x'), { code: 'ERR_INVALID_ARG_VALUE', message: new RegExp(`^x must be a service such as .*${why.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}`) }, text); // prettier-ignore
  t.throws(() => parseServices(['127.0.0.1:80/tcp', '127.0.0.1:70-90/udp+tcp'], 'x'), /ports in common/);
  t.throws(() => parseServices(['docker-dns', '127.0.0.11:53/udp'], 'x'), /ports in common/);
  t.doesNotThrow(() => parseServices(['127.0.0.1:80/tcp', '127.0.0.1:80/udp', '127.0.0.2:80/tcp'], 'x'));
  t.throws(
    () =>
      parseServices(
        Array.from({ length: 257 }, (_, n) => `127.0.0.1:${n + 1}/tcp`),
        'x',
      ),
    /at most 256/,
  );
});

await t.test('any service is read again as it is written', async () => {
  const ports = fc.tuple(fc.integer({ min: 1, max: 65535 }), fc.integer({ min: 1, max: 65535 })).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const); // prettier-ignore
  const octet = fc.integer({ min: 1, max: 254 });
  fc.assert(
    fc.property(octet, octet, octet, ports, fc.constantFrom('tcp', 'udp', 'udp+tcp', 'tcp+udp'), (b, c, d, [first, last], protocol) => {
      const one = parseService(`127.${b}.${c}.${d}:${first}-${last}/${protocol}`, 'x');
      const again = parseService(one.name, 'x');
      if (JSON.stringify(one) !== JSON.stringify(again) || one.first !== first || one.last !== last) throw new Error(one.name);
    }),
  );
});

await t.test('aliases do not depend on the order of services', async (t) => {
  const some = ['127.0.0.9:1/tcp', 'docker-dns', '127.0.0.1:80/tcp', '127.0.0.10:1/tcp'];
  const services = parseServices(some, 'x');
  const aliases = aliasesOf(services, '169.254.77.0');
  t.strictSame(aliases, aliasesOf(parseServices([...some].reverse(), 'x'), '169.254.77.0'));
  t.equal(aliases.get('127.0.0.11'), '169.254.77.1');
  t.equal(aliases.get('127.0.0.1'), '169.254.77.2');
  t.equal(aliases.get('127.0.0.9'), '169.254.77.4', 'not .3, which is the pod');
  t.equal(aliases.get('127.0.0.10'), '169.254.77.5');
  const later = aliasesOf(parseServices(['127.0.0.2:1/tcp', '127.0.0.10:1/tcp', '127.0.0.9:1/tcp'], 'x'), '169.254.77.0', aliases);
  t.equal(later.get('127.0.0.9'), '169.254.77.4', 'what guests know stays');
  t.equal(later.get('127.0.0.10'), '169.254.77.5');
  t.equal(later.get('127.0.0.2'), '169.254.77.6');
  const many = parseServices(Array.from({ length: 61 }, (_, n) => `127.1.0.${n + 1}:80/tcp`), 'x'); // prettier-ignore
  t.throws(() => aliasesOf(many, '169.254.77.0'), /61 addresses.*60 are possible/);
  t.equal(aliasesOf(many.slice(1), '169.254.77.0').size, 62);
});

await t.test('as a backend is told them', async (t) => {
  const services = parseServices(['docker-dns', '127.0.0.1:9000-9010/udp'], 'x');
  const aliases = aliasesOf(services, '169.254.77.0');
  t.strictSame(configServices(services, aliases, { udp: 40000, tcp: 40001 }), [
    { alias: '169.254.77.2', address: '127.0.0.1', protocol: 'udp', first: 9000, last: 9010, to: 9000 },
    { alias: '169.254.77.1', address: '127.0.0.11', protocol: 'tcp', first: 53, last: 53, to: 40001 },
    { alias: '169.254.77.1', address: '127.0.0.11', protocol: 'udp', first: 53, last: 53, to: 40000 },
  ]);
  t.equal(configServices(services, aliases, { udp: 40000 }).length, 2, 'what Docker does not listen on is not exposed');
});

await t.test('ports of guests', async (t) => {
  t.strictSame(parseGuestPorts(['9001/tcp', '53/udp+tcp', '100-200/udp'], 'x'), [
    { protocol: 'tcp', first: 9001, last: 9001 },
    { protocol: 'tcp', first: 53, last: 53 },
    { protocol: 'udp', first: 53, last: 53 },
    { protocol: 'udp', first: 100, last: 200 },
  ]);
  for (const [text, why] of [
    ['9001', 'no protocol'],
    ['/tcp', 'no port'],
    ['1/tcp/udp', 'two protocols'],
    ['0/tcp', '1 to 65535'],
    ['9/icmp', "'icmp'"],
  ] as const)
    // prettier-ignore
    t.throws(() => parseGuestPorts([text], 'x'), { code: 'ERR_INVALID_ARG_VALUE', message: new RegExp(why) }, text);
  t.throws(() => parseGuestPorts(['80/tcp', '70-90/udp+tcp'], 'x'), /80\/tcp and 70-90\/tcp have ports in common/);
});
