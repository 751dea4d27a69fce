// The kernel's own look-ups, and in words why there is no way.
import { maskTo, splitCidr } from '../check.js';
import { NetlinkError } from '../errors.js';
import { request } from '../kernel/netlink.js';
import { attachment } from '../kernel/netns.js';
import { RT_TABLE_DEFAULT, RT_TABLE_LOCAL, RT_TABLE_MAIN } from '../wire/constants.js';
import type { Packet } from '../wire/frame.js';
import type { Link } from '../wire/link.js';
import { type Route, type RouteLookup, decodeRoute, encodeRouteGet } from '../wire/route.js';
import type { Rule } from '../wire/rule.js';
import { parseIp } from '../wire/text.js';
import type { Decision, LossCode } from './hop.js';
import type { Space } from './space.js';

export interface Way {
  readonly route: Route;
  readonly decision: Decision;
}
export interface NoWay {
  readonly code: LossCode;
  readonly reason: string;
  readonly icmp?: string;
}

/** What the kernel takes as IP protocol of a look-up. */
const asked = new Set(['tcp', 'udp', 'icmp', 'icmpv6']);

export interface Question {
  readonly packet: Packet;
  /** Where it came in; absent: it is sent from here. */
  readonly iif?: Link;
  readonly oif?: number;
  readonly mark?: number;
  /** The source is not chosen yet. */
  readonly anySource?: boolean;
}

export async function lookUp(space: Space, question: Question): Promise<Way | NoWay> {
  const { packet, iif, oif, mark, anySource } = question;
  const ipv6 = packet.destination.includes(':');
  const { ports, protocol } = packet;
  const lookup: RouteLookup = {
    ...(anySource !== true && { from: packet.source }),
    ...(iif !== undefined && { iif: iif.ifindex }),
    ...(oif !== undefined && { oif }),
    ...(mark !== undefined && { mark }),
    ...(asked.has(protocol) && { ipProtocol: protocol }),
    ...((protocol === 'tcp' || protocol === 'udp') && ports !== undefined && ports.source !== 0 && { sport: ports.source }),
    ...((protocol === 'tcp' || protocol === 'udp') && ports !== undefined && { dport: ports.destination }),
    // IPv6's answers tell the table anyway, and the flag is refused.
    table: !ipv6,
  };
  try {
    const route = await ask(space, packet.destination, lookup);
    const refusal = refused(route, space);
    if (refusal !== undefined) return refusal;
    // The entry of the table, for what is said of it; the look-up itself tells what the packet takes.
    const entry = await ask(space, packet.destination, { ...lookup, fibMatch: true }).catch(() => route);
    return { route, decision: await say(space, route, entry, question) };
  } catch (error) {
    if (!(error instanceof NetlinkError)) throw error;
    return iif === undefined ? noRoute(space, packet, error) : whyNotIn(space, question, iif, error);
  }
}

export async function ask(space: Space, to: string, lookup: RouteLookup): Promise<Route> {
  const [answer] = await request(attachment(space.netns).socket, [encodeRouteGet(to, lookup)]);
  return decodeRoute(answer!.from, answer!.messages[0]!);
}

const refusals: Readonly<Record<string, { readonly code: LossCode; readonly icmp?: string }>> = {
  blackhole: { code: 'BLACKHOLE' },
  unreachable: { code: 'UNREACHABLE', icmp: 'destination host unreachable' },
  prohibit: { code: 'PROHIBITED', icmp: 'destination administratively prohibited' },
};

function refused({ type = 'unicast', dst, table }: Route, space: Space): NoWay | undefined {
  const known = refusals[type];
  return known === undefined ? undefined : { ...known, reason: `in ${space.name} a route of the type ${type} to ${dst} (table ${tableName(table)}) forbids it` }; // prettier-ignore
}

function noRoute(space: Space, { destination }: Packet, { code }: NetlinkError): NoWay {
  const told = { EINVAL: refusals.blackhole, EHOSTUNREACH: refusals.unreachable, EACCES: refusals.prohibit }[code];
  if (told !== undefined) return { ...told, reason: `in ${space.name} a route to ${destination} forbids it (${code})` };
  return { code: 'NO_ROUTE', reason: `${space.name} has no route to ${destination}`, icmp: 'destination network unreachable' };
}

/** The kernel says one errno for many reasons: which it is, its settings tell. */
async function whyNotIn(space: Space, question: Question, iif: Link, error: NetlinkError): Promise<NoWay> {
  const { packet, mark } = question;
  const { source, destination } = packet;
  const ipv6 = destination.includes(':');
  const where = `${iif.name} in ${space.name}`;
  if (!ipv6) {
    if ((await space.owner(source)) !== undefined && (await space.ipv4(iif, 'accept_local')) === 0)
      return { code: 'MARTIAN', reason: `${source}, the source, is an address of ${space.name} itself, and ${where} takes no packet from there (accept_local is 0)` }; // prettier-ignore
    if ((source.startsWith('127.') || destination.startsWith('127.')) && (await space.ipv4(iif, 'route_localnet')) === 0)
      return { code: 'MARTIAN', reason: `addresses of 127.0.0.0/8 do not come in by ${where} (route_localnet is 0)` };
    const back = await wayBack(space, source, mark);
    const filter = await space.ipv4(iif, 'rp_filter');
    if ((filter === 1 && back !== iif.ifindex) || (filter === 2 && back === undefined)) {
      const by =
        back === undefined ? 'there is no way back' : `the way back is by ${(await space.link(back))?.name ?? `interface ${back}`}`;
      return { code: 'RP_FILTER', reason: `${where} drops packets from ${source}, for ${by} (rp_filter is ${filter})` };
    }
    if (!(await space.forwards(iif, false)))
      return { code: 'NOT_FORWARDED', reason: `${destination} is no address of ${space.name}, which does not forward what comes in by ${iif.name} (net.ipv4.conf.${iif.name}.forwarding is 0)` }; // prettier-ignore
  }
  const out = await ask(space, destination, { ...(mark !== undefined && { mark }), table: !ipv6 }).catch((one: unknown) => one);
  if (out instanceof NetlinkError) return noRoute(space, packet, out);
  return refused(out as Route, space) ?? { code: 'NO_ROUTE', reason: `${space.name} has no way for ${source} > ${destination} that comes in by ${iif.name} (${error.code})`, icmp: 'destination unreachable' }; // prettier-ignore
}

async function wayBack(space: Space, source: string, mark: number | undefined): Promise<number | undefined> {
  const route = await ask(space, source, { ...(mark !== undefined && { mark }) }).catch(() => undefined);
  return typeof route?.dev === 'number' ? route.dev : undefined;
}

async function say(space: Space, route: Route, entry: Route, question: Question): Promise<Decision> {
  const table = entry.table ?? route.table ?? RT_TABLE_MAIN;
  const name = async (dev: Route['dev']): Promise<string> =>
    typeof dev === 'number' ? ((await space.link(dev))?.name ?? `if${dev}`) : (dev ?? '?');
  const words = [
    ...(entry.type !== undefined && entry.type !== 'unicast' ? [entry.type] : []),
    entry.dst.replace(/^(0\.0\.0\.0|::)\/0$/, 'default'),
    ...(route.via !== undefined ? [`via ${route.via}`] : []),
    `dev ${await name(route.dev)}`,
    ...(entry.onlink === true ? ['onlink'] : []),
    ...(entry.mtu !== undefined ? [`mtu ${entry.mtu}`] : []),
  ];
  const rule = await ruleOf(space, table, question);
  const by = rule === undefined ? '' : `, by rule ${rule.priority}`;
  return { by: 'route', table, route: entry, text: `route of ${space.name}: ${words.join(' ')} (table ${tableName(table)}${by})` };
}

export function tableName(table = RT_TABLE_MAIN): string {
  return { [RT_TABLE_DEFAULT]: 'default', [RT_TABLE_MAIN]: 'main', [RT_TABLE_LOCAL]: 'local' }[table] ?? String(table);
}

/** Which rule leads to a table that packets do not come to by themselves. */
async function ruleOf(space: Space, table: number, { packet, iif, mark = 0 }: Question): Promise<Rule | undefined> {
  if (table === RT_TABLE_MAIN || table === RT_TABLE_LOCAL || table === RT_TABLE_DEFAULT) return undefined;
  const family = packet.destination.includes(':') ? 'ipv6' : 'ipv4';
  return (await space.rules()).find(
    (rule) =>
      rule.table === table &&
      (rule.from === undefined || (splitCidr(rule.from).family === family && isInside(packet.source, rule.from))) &&
      (rule.to === undefined || (splitCidr(rule.to).family === family && isInside(packet.destination, rule.to))) &&
      (rule.iif === undefined || rule.iif === (iif?.name ?? 'lo')) &&
      (rule.mark === undefined || ((mark ^ rule.mark) & (rule.markMask ?? 0xffffffff)) === 0),
  );
}

/** Whether an address is in a prefix. */
export function isInside(address: string, prefix: string): boolean {
  const { address: base, length, family } = splitCidr(prefix === 'default' ? (address.includes(':') ? '::/0' : '0.0.0.0/0') : prefix);
  if ((family === 'ipv6') !== address.includes(':')) return false;
  const [a, b] = [parseIp(address)!, parseIp(base)!];
  return maskTo(a, length).every((byte, index) => byte === maskTo(b, length)[index]);
}
