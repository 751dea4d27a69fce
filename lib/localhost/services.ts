// What of the pod's localhost a guest shall reach, as it is asked for in words: '127.0.0.1:8080/tcp'.
import { invalidArgument } from '../errors.js';
import { parseIp } from '../wire/text.js';
import type { ConfigService, PortRange } from './config.js';

/** Docker's resolver: the real ports are looked for, and the guest dials 53. */
export const DOCKER_DNS = 'docker-dns';
export const DOCKER_ADDRESS = '127.0.0.11';
export const DNS_PORT = 53;

export interface Service {
  /** In its one form: the same service is always written the same. */
  readonly name: string;
  /** In the pod's 127.0.0.0/8. */
  readonly address: string;
  readonly protocols: readonly ('tcp' | 'udp')[];
  /** As the guest dials them. */
  readonly first: number;
  readonly last: number;
  /** Whose real ports are found and followed. */
  readonly finds?: 'docker';
}

const EXAMPLES = "'127.0.0.1:8080/tcp', '127.0.0.11:53/udp+tcp', '127.0.0.1:9000-9010/tcp' or 'docker-dns'";
const MOST = 256;

/** @throws TypeError ERR_INVALID_ARG_*, told as a mistake of `where` */
export function parseServices(given: readonly string[], where: string): readonly Service[] {
  if (given.length > MOST) throw invalidArgument('ERR_INVALID_ARG_VALUE', `${where}: 'services' must have at most ${MOST} services; it has ${given.length}`); // prettier-ignore
  const services = given.map((text, index) => parseService(text, `${where}: 'services.${index}'`));
  const taken = new Map<string, Service>();
  for (const service of services) {
    for (const other of taken.values())
      if (overlap(service, other)) throw invalidArgument('ERR_INVALID_ARG_VALUE', `${where}: services '${other.name}' and '${service.name}' have ports in common; name each once`); // prettier-ignore
    taken.set(service.name, service);
  }
  return services.sort((a, b) => (a.name < b.name ? -1 : 1));
}

export function parseService(text: string, where: string): Service {
  const wrong = (why: string): Error => invalidArgument('ERR_INVALID_ARG_VALUE', `${where} must be a service such as ${EXAMPLES} (${why}); received '${text}'`); // prettier-ignore
  if (typeof text !== 'string') throw invalidArgument('ERR_INVALID_ARG_TYPE', `${where} must be a service such as ${EXAMPLES}`);
  if (text === DOCKER_DNS) return { name: text, address: DOCKER_ADDRESS, protocols: ['tcp', 'udp'], first: DNS_PORT, last: DNS_PORT, finds: 'docker' }; // prettier-ignore
  if (text.includes('[') || text.split(':').length > 2) throw wrong(NO_IPV6);
  const match = /^([^:/]*):([^/]*)(?:\/(.*))?$/.exec(text);
  if (match === null) throw wrong('there is no port');
  const [, address = '', ports = '', words] = match;
  const bytes = parseIp(address);
  if (bytes === undefined) throw wrong(address === 'localhost' ? "'localhost' can be several addresses: write 127.0.0.1" : `'${address}' is no IPv4 address`); // prettier-ignore
  if (bytes[0] !== 127) throw wrong(`${address} is not in 127.0.0.0/8: what is not the pod's localhost, a guest dials as it is`);
  if (/^127\.(0\.0\.0|255\.255\.255)$/.test(address)) throw wrong(`nothing can be bound to ${address}`);
  const { first, last } = parsePorts(ports, wrong);
  if (words === undefined) throw wrong("there is no protocol: write '/tcp', '/udp' or '/udp+tcp'");
  const protocols = parseProtocols(words, wrong);
  return { name: `${address}:${portsText({ first, last })}/${protocols.join('+')}`, address, protocols, first, last };
}

const NO_IPV6 = "IPv6 has no range of loopback addresses to translate to: ::1 is its only one, and a packet's source and destination could not be told apart; have the service listen on 127.0.0.1, too"; // prettier-ignore

/** '9001', '9000-9010'; with a protocol '9001/tcp'. Without one, of a guest's ports, both. @throws TypeError */
export function parseGuestPorts(given: readonly string[], where: string): readonly PortRange[] {
  const ranges = given.flatMap((text, index) => {
    const at = `${where}: 'ports.${index}'`;
    const wrong = (why: string): Error => invalidArgument('ERR_INVALID_ARG_VALUE', `${at} must be ports of the guest such as '8080/tcp', '53/udp+tcp' or '9000-9010/tcp' (${why}); received '${text}'`); // prettier-ignore
    if (typeof text !== 'string') throw invalidArgument('ERR_INVALID_ARG_TYPE', `${at} must be ports such as '8080/tcp'`);
    const [ports = '', words, ...more] = text.split('/');
    if (more.length > 0) throw wrong('there are two protocols');
    if (words === undefined) throw wrong("there is no protocol: write '/tcp', '/udp' or '/udp+tcp'");
    const { first, last } = parsePorts(ports, wrong);
    return parseProtocols(words, wrong).map((protocol): PortRange => ({ protocol, first, last }));
  });
  const clash = firstOverlap(ranges, ranges);
  if (clash !== undefined) throw invalidArgument('ERR_INVALID_ARG_VALUE', `${where}: ports ${rangeText(clash[0])} and ${rangeText(clash[1])} have ports in common; name each once`); // prettier-ignore
  return ranges;
}

/** Two that are not the same object, and have a port in common. */
export function firstOverlap(some: readonly PortRange[], others: readonly PortRange[]): readonly [PortRange, PortRange] | undefined {
  for (const one of some)
    for (const other of others)
      if (one !== other && one.protocol === other.protocol && one.first <= other.last && other.first <= one.last) return [one, other];
  return undefined;
}

/** '9000-9010/tcp'. */
export function rangeText({ protocol, first, last }: PortRange): string {
  return `${portsText({ first, last })}/${protocol}`;
}

function parsePorts(text: string, wrong: (why: string) => Error): { readonly first: number; readonly last: number } {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  if (match === null) throw wrong(text === '' ? 'there is no port' : `'${text}' is no port or range of ports`);
  const first = Number(match[1]);
  const last = Number(match[2] ?? first);
  for (const port of [first, last]) if (port < 1 || port > 65_535) throw wrong(`ports go from 1 to 65535`);
  if (last < first) throw wrong(`the range ends before it begins: write ${last}-${first}`);
  return { first, last };
}

function parseProtocols(words: string, wrong: (why: string) => Error): readonly ('tcp' | 'udp')[] {
  const named = words.split('+');
  for (const one of named) if (one !== 'tcp' && one !== 'udp') throw wrong(`'${one}' is not 'tcp' or 'udp'`);
  if (new Set(named).size < named.length) throw wrong(`'${words}' names one protocol twice`);
  return (['tcp', 'udp'] as const).filter((one) => named.includes(one));
}

function portsText({ first, last }: { readonly first: number; readonly last: number }): string {
  return first === last ? `${first}` : `${first}-${last}`;
}

function overlap(a: Service, b: Service): boolean {
  return a.address === b.address && a.first <= b.last && b.first <= a.last && a.protocols.some((one) => b.protocols.includes(one));
}

// ------------------------------------------------------------------ what the guest dials

/** Numbers in the /24 of aliases that stand for something else: see LocalhostConfig. */
const RESOLVER = 1;
const LOCALHOST = 2;
const FIRST_OTHER = 4;
const LAST_OTHER = 63;

/** By the address in the pod, the one that the guest dials. Those that guests `know` already stay. @throws TypeError: too many addresses */
export function aliasesOf(
  services: readonly Pick<Service, 'address'>[],
  aliases: string,
  know: ReadonlyMap<string, string> = new Map(),
): ReadonlyMap<string, string> {
  const base = aliases.replace(/\.\d+$/, '');
  const known = new Map([[DOCKER_ADDRESS, RESOLVER], ['127.0.0.1', LOCALHOST]]); // prettier-ignore
  const others = [...new Set(services.map(({ address }) => address))].filter((address) => !known.has(address)).sort(byNumber);
  if (others.length > LAST_OTHER - FIRST_OTHER + 1) throw invalidArgument('ERR_INVALID_ARG_VALUE', `services: they are on ${others.length} addresses beside 127.0.0.1 and ${DOCKER_ADDRESS}; ${LAST_OTHER - FIRST_OTHER + 1} are possible`); // prettier-ignore
  const taken = new Set(others.flatMap((address) => know.get(address) ?? []));
  let next = FIRST_OTHER;
  for (const address of others) {
    while (taken.has(`${base}.${next}`)) next++;
    if (!know.has(address)) known.set(address, next++);
  }
  const made = [...known].map(([address, number]) => [address, `${base}.${number}`] as const);
  return new Map([...made, ...others.flatMap((address) => (know.has(address) ? [[address, know.get(address)!] as const] : []))]);
}

function byNumber(a: string, b: string): number {
  const number = (address: string): number => address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  return number(a) - number(b);
}

/** The ports that are really bound, where they are not those that the guest dials. */
export type RealPorts = Readonly<Partial<Record<'tcp' | 'udp', number>>>;

/** As a backend is told them. `docker`: where Docker's resolver listens; a protocol that it does not is left out. */
export function configServices(
  services: readonly Service[],
  alias: ReadonlyMap<string, string>,
  docker: RealPorts,
): readonly ConfigService[] {
  return services.flatMap(({ address, protocols, first, last, finds }) =>
    protocols.flatMap((protocol): ConfigService[] => {
      const to = finds === undefined ? first : docker[protocol];
      return to === undefined ? [] : [{ alias: alias.get(address)!, address, protocol, first, last, to }];
    }),
  );
}
