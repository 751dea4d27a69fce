// What a localhost's configuration must be like, for whichever backend.
import * as v from 'valibot';
import { type Schema, array, boolean, ifindex, integer, interfaceMac, ip, oneOf, optional, options } from '../check.js';
import type { LocalhostConfig, PortRange } from '../wire/localhost.js';

const MOST_ADDRESSES = 4; // the loopback's /23 has room for so many of each of 63 guests
const MOST_RANGES = 1024;
const LOCALHOST_ALIAS = 2;
const FIRST_PEER = 64;

const ipv4 = v.pipe(ip, v.check((value) => !value.includes(':'), 'must be an IPv4 address: there is no localhost of IPv6 for guests')); // prettier-ignore
const network = (zeros: RegExp, what: string): Schema<string> => v.pipe(ipv4, v.check((value) => zeros.test(value), `must be ${what}`)); // prettier-ignore
const port = integer(1, 65_535);
const range = { protocol: oneOf('tcp', 'udp'), first: port, last: port };
const BACKWARDS = 'must have a first port that is not above the last';

const shape = options({
  link: ifindex,
  podHasAddresses: boolean,
  mac: interfaceMac,
  addresses: v.pipe(array(ipv4), v.minLength(1, 'must have one address at least'), v.maxLength(MOST_ADDRESSES, `must have at most ${MOST_ADDRESSES} addresses`)), // prettier-ignore
  aliases: network(/\.0$/, 'the first address of a /24'),
  loopback: network(/^127\.\d+\.\d*[02468]\.0$/, 'the first address of a /23 of 127.0.0.0/8'),
  aliasMac: interfaceMac,
  services: v.pipe(
    array(
      v.pipe(
        options({ alias: ipv4, address: network(/^127\./, 'an address of 127.0.0.0/8'), ...range, to: port }),
        v.check(({ first, last }) => first <= last, BACKWARDS),
        v.check(({ first, last, to }) => to + last - first <= 65_535, 'must have real ports up to 65535'),
      ),
    ),
    v.maxLength(MOST_RANGES, `must have at most ${MOST_RANGES} ranges`),
  ),
  guests: v.pipe(
    array(
      options({
        slot: integer(1, 63),
        tap: ifindex,
        ports: v.pipe(array(v.pipe(options(range), v.check(({ first, last }) => first <= last, BACKWARDS))), v.maxLength(MOST_RANGES, `must have at most ${MOST_RANGES} ranges`)), // prettier-ignore
      }),
    ),
    v.minLength(1, 'must have one guest at least'),
  ),
  gateway: optional(options({ address: ipv4, mac: interfaceMac })),
});

/** How two of them contradict each other. undefined: they do not. */
function contradiction({ aliases, loopback, addresses, mac, aliasMac, services, guests }: LocalhostConfig): string | undefined {
  if (mac === aliasMac) return "'aliasMac' is the guests' own MAC";
  const net = (address: string): string => address.replace(/\.\d+$/, '');
  const low = net(loopback);
  const loopbacks = [low, low.replace(/\d+$/, (third) => String(Number(third) + 1))];
  if (low === '127.0.0') return "'loopback' is 127.0.0.0/23, where the pod's own services are";
  if (addresses.some((address) => address.startsWith('127.') || net(address) === net(aliases)))
    return "an address of 'addresses' is an alias, or of 127.0.0.0/8";
  if (aliases.startsWith('127.')) return "'aliases' is a network of 127.0.0.0/8";
  const [of, at] = [new Map<string, string>(), new Map<string, string>()];
  for (const { alias, address } of services) {
    const last = Number(alias.split('.')[3]);
    if (net(alias) !== net(aliases) || last === 0 || last === 3 || last >= FIRST_PEER) return `the alias ${alias} is not one of 'aliases' for services (.1, .2, .4 to .63)`; // prettier-ignore
    if ((last === LOCALHOST_ALIAS) !== (address === '127.0.0.1')) return `127.0.0.1, and nothing else, has the alias .${LOCALHOST_ALIAS}, not ${address} ${alias}`; // prettier-ignore
    if (loopbacks.includes(net(address))) return `the service's address ${address} is one of 'loopback'`;
    if ((of.get(alias) ?? address) !== address) return `the alias ${alias} has two addresses`;
    if ((at.get(address) ?? alias) !== alias) return `the address ${address} has two aliases`;
    of.set(alias, address);
    at.set(address, alias);
  }
  const twice =
    overlap(services.map(({ alias, ...one }) => ({ ...one, of: alias }))) ??
    overlap(services.map(({ address, protocol, first, last, to }) => ({ of: address, protocol, first: to, last: to + last - first }))) ??
    overlap(guests.flatMap(({ ports }) => ports.map((one) => ({ ...one, of: 'guests' }))));
  if (twice !== undefined) return `${twice.protocol} port ${twice.first} of ${twice.of} is there twice`;
  if (new Set(guests.map(({ slot }) => slot)).size < guests.length) return 'two guests have one slot';
  if (new Set(guests.map(({ tap }) => tap)).size < guests.length) return 'two guests have one TAP';
  return undefined;
}

interface Owned extends PortRange {
  readonly of: string;
}

/** The second of two that share a port. */
function overlap(ranges: readonly Owned[]): Owned | undefined {
  const place = ({ of, protocol }: Owned): string => `${of} ${protocol}`;
  const sorted = [...ranges].sort((a, b) => (place(a) < place(b) ? -1 : place(a) > place(b) ? 1 : a.first - b.first));
  return sorted.find((one, index) => {
    const before = sorted[index - 1];
    return before !== undefined && place(before) === place(one) && one.first <= before.last;
  });
}

export const localhostConfig: Schema<LocalhostConfig> = v.pipe(
  shape as Schema<LocalhostConfig>,
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const why = contradiction(dataset.value);
    if (why !== undefined) addIssue({ message: `must agree with itself: ${why}` });
  }),
);
