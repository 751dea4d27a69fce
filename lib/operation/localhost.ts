// What both backends of localhost are told, checked.
import * as v from 'valibot';
import { type Schema, array, boolean, integer, interfaceMac, ip, oneOf, optional, options, u16 } from '../check.js';
import type { LocalhostConfig } from '../wire/localhost.js';
import { parseIp } from '../wire/text.js';

const ipv4 = v.pipe(ip, v.check((value) => parseIp(value)?.length === 4, 'must be an IPv4 address')); // prettier-ignore
const ends = (zeros: number, what: string): Schema<string> =>
  v.pipe(ipv4, v.check((value) => (new DataView(parseIp(value)!.buffer).getUint32(0) & ((1 << zeros) - 1)) === 0, `must be the first address of a /${32 - zeros}, ${what}`)); // prettier-ignore
const ifindex = integer(1, 0x7fffffff);
const range = { protocol: oneOf('tcp', 'udp'), first: integer(1, 0xffff), last: integer(1, 0xffff) };
const inOrder = v.check(({ first, last }: { first: number; last: number }) => first <= last, 'must not end before it begins');

export const localhostConfig: Schema<LocalhostConfig> = options({
  link: ifindex,
  podHasAddresses: boolean,
  mac: interfaceMac,
  addresses: v.pipe(array(ipv4), v.minLength(1, 'must name at least one address'), v.readonly()),
  aliases: ends(8, 'such as 169.254.77.0'),
  loopback: v.pipe(ends(9, 'such as 127.77.0.0'), v.startsWith('127.', 'must be within 127.0.0.0/8')),
  aliasMac: interfaceMac,
  services: v.pipe(
    array(
      v.pipe(
        options({ alias: ipv4, address: v.pipe(ipv4, v.startsWith('127.', 'must be within 127.0.0.0/8')), ...range, to: u16 }),
        inOrder,
      ),
    ),
    v.readonly(),
  ),
  guests: v.pipe(
    array(
      options({ slot: integer(1, 63), tap: ifindex, ports: v.pipe(array(v.pipe(options(range), inOrder)), v.readonly()) }) as Schema<
        LocalhostConfig['guests'][number]
      >,
    ),
    v.minLength(1, 'must name at least one guest'),
    v.readonly(),
  ),
  gateway: optional(options({ address: ipv4, mac: interfaceMac })),
}) as Schema<LocalhostConfig>;
