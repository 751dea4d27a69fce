// Random descriptions of networks: plain ones and odd ones.
import fc from 'fast-check';
import { type GuestNetwork, defineGuest } from 'podtap/guest';

const octet = fc.integer({ min: 1, max: 254 });
const ipv4 = fc.tuple(fc.constantFrom('10.1', '172.17', '192.168', '100.64'), octet, octet).map(([net, a, b]) => `${net}.${a}.${b}`);
const ipv6 = fc.integer({ min: 1, max: 0xfffe }).map((n) => `fd00:0:0:7::${n.toString(16)}`);
const cidr4 = fc.tuple(ipv4, fc.constantFrom(8, 16, 24, 27, 30, 31, 32)).map(([address, length]) => `${address}/${length}`);
const cidr6 = fc.tuple(ipv6, fc.constantFrom(48, 60, 64, 127, 128)).map(([address, length]) => `${address}/${length}`);
const label = fc.stringMatching(/^[a-z0-9]([a-z0-9_-]{0,8}[a-z0-9])?$/);
const mac = fc.uint8Array({ minLength: 5, maxLength: 5 }).map((bytes) => ['02', ...Array.from(bytes, (n) => n.toString(16).padStart(2, '0'))].join(':')); // prettier-ignore
// Of the kernel's names: any byte but '/', ':', white space and NUL.
const name = fc.oneof(fc.constantFrom('tap0', 'eth0', 'net1'), fc.stringMatching(/^[!-.0-9;-~]{1,15}$/).filter((text) => !text.includes('%') && text !== '.' && text !== '..')); // prettier-ignore

const route = fc.oneof(
  { weight: 3, arbitrary: fc.record({ dst: fc.constantFrom('10.9.0.0/16', '203.0.113.0/24'), via: ipv4 }) },
  fc.record({ dst: fc.constant('fd09::/64'), via: ipv6 }, { requiredKeys: ['dst'] }),
  fc.record({ dst: fc.constant('10.8.0.0/16'), metric: fc.nat(1000), mtu: fc.integer({ min: 576, max: 1500 }) }, { requiredKeys: ['dst'] }),
  fc.record({ dst: fc.constantFrom('10.7.0.0/16', 'fd07::/64'), type: fc.constantFrom('blackhole' as const, 'unreachable' as const) }),
  fc.record({ dst: fc.constant('10.6.0.0/16'), nexthops: fc.array(fc.record({ via: ipv4, weight: fc.integer({ min: 1, max: 9 }) }), { minLength: 2, maxLength: 3 }) }), // prettier-ignore
);

/** Half of them are what most pods have: one address, a gateway. */
export const networks: fc.Arbitrary<GuestNetwork> = fc
  .record({
    mac,
    mtu: fc.oneof(fc.constant(1500), fc.integer({ min: 68, max: 9000 })),
    tap: name,
    link: name,
    addresses: fc.oneof(fc.tuple(cidr4), fc.tuple(cidr4, cidr6), fc.array(fc.oneof(cidr4, cidr6), { maxLength: 4 })),
    gateway: fc.record(
      { ipv4: fc.oneof(fc.constant('near'), fc.constant('169.254.1.1'), ipv4), ipv6: fc.oneof(fc.constantFrom('fe80::1', 'near'), ipv6) },
      { requiredKeys: [] },
    ),
    routes: fc.oneof(fc.constant([]), fc.array(route, { maxLength: 3 })),
    neighbors: fc.array(fc.record({ address: ipv4, mac, permanent: fc.boolean() }), { maxLength: 2 }),
    dns: fc.record({ servers: fc.array(fc.oneof(ipv4, ipv6), { maxLength: 4 }), search: fc.array(fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => labels.join('.')), { maxLength: 3 }) }), // prettier-ignore
    hostname: fc.option(label, { nil: undefined }),
  })
  .map(({ addresses, gateway, hostname, ...rest }) => {
    const gateways = Object.entries(gateway).map(([family, via]) => [family, via === 'near' ? near(addresses, family) : via]);
    return defineGuest({
      ...rest,
      addresses: addresses.map((address) => ({ address })),
      gateway: Object.fromEntries(
        gateways.filter(([, via]) => via !== undefined && !addresses.some((address) => address.startsWith(`${via}/`))),
      ) as GuestNetwork['gateway'],
      ...(hostname !== undefined && { hostname }),
    });
  });

/** The address beside the first of that family. */
function near(addresses: readonly string[], family: string): string | undefined {
  const own = addresses.find((address) => address.includes(':') === (family === 'ipv6'))?.split('/')[0];
  if (own === undefined) return undefined;
  const at = own.lastIndexOf(family === 'ipv6' ? ':' : '.') + 1;
  const radix = family === 'ipv6' ? 16 : 10;
  return own.slice(0, at) + (parseInt(own.slice(at), radix) ^ 1).toString(radix);
}
