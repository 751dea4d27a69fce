// What both backends of localhost are told, checked.
import * as v from 'valibot';
import { type Schema, array, boolean, integer, interfaceMac, ip, oneOf, optional, options } from '../check.js';
import type { ConfigGuest, ConfigService, LocalhostConfig, PortRange } from '../wire/localhost.js';
import { parseIp } from '../wire/text.js';

const ipv4 = v.pipe(ip, v.check((value) => parseIp(value)?.length === 4, 'must be an IPv4 address')); // prettier-ignore
/** So many bits of it are 0. */
const network = (zeros: number, what: string): Schema<string> =>
  v.pipe(ipv4, v.check((value) => (new DataView(parseIp(value)!.buffer).getUint32(0) & ((1 << zeros) - 1)) === 0, `must be the first address of a /${32 - zeros}, ${what}`)); // prettier-ignore
const ifindex = integer(1, 0x7fffffff);
const range = { protocol: oneOf('tcp', 'udp'), first: integer(1, 0xffff), last: integer(1, 0xffff) };
function inOrder<T extends PortRange>(schema: Schema<T>): Schema<T> {
  return v.pipe(schema, v.check(({ first, last }) => first <= last, 'must not end before it begins')); // prettier-ignore
}
/** Of 127.0.0.0/8: nothing else is the pod's localhost. */
const loopback = v.pipe(ipv4, v.startsWith('127.', 'must be within 127.0.0.0/8'));
const service: Schema<ConfigService> = inOrder(options({ alias: ipv4, address: loopback, ...range, to: integer(1, 0xffff) }));
const guest: Schema<ConfigGuest> = options({
  slot: integer(1, 63),
  tap: ifindex,
  ports: v.pipe(array(inOrder<PortRange>(options(range))), v.readonly()),
});

export const localhostConfig: Schema<LocalhostConfig> = options({
  link: ifindex,
  podHasAddresses: boolean,
  mac: interfaceMac,
  addresses: v.pipe(array(ipv4), v.minLength(1, 'must name at least one address'), v.readonly()),
  aliases: network(8, 'such as 169.254.77.0'),
  loopback: v.pipe(network(9, 'such as 127.77.0.0'), v.startsWith('127.', 'must be within 127.0.0.0/8')),
  aliasMac: interfaceMac,
  services: v.pipe(array(service), v.readonly()),
  guests: v.pipe(array(guest), v.minLength(1, 'must name at least one guest'), v.readonly()),
  gateway: optional(options({ address: ipv4, mac: interfaceMac })),
});
