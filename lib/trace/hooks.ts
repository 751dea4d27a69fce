// The hooks of netfilter: in the stack of IP, in bridges, and for ARP.
import type { Frame } from '../wire/frame.js';
import { ETH_P_IP, ETH_P_IPV6 } from '../wire/frame.js';
import type { Link } from '../wire/link.js';
import type { NftFamily } from '../wire/nft/numbers.js';
import type { Trail } from './hop.js';
import { type Asked, type Passed, passChains } from './nft.js';
import type { Place } from './space.js';

/** The tables of iptables before nftables, and where they are asked. */
const LEGACY: Readonly<Record<string, readonly string[]>> = {
  raw: ['prerouting', 'output'],
  mangle: ['prerouting', 'input', 'forward', 'output', 'postrouting'],
  nat: ['prerouting', 'input', 'output', 'postrouting'],
  filter: ['input', 'forward', 'output'],
  security: ['input', 'forward', 'output'],
};

/** 'stack': of IP, whose chains are those of the family of the packet and of inet. */
export async function passThrough(
  families: 'stack' | readonly NftFamily[],
  asked: Omit<Asked, 'families'>,
  frame: Frame,
  trail: Trail,
): Promise<Passed> {
  // prettier-ignore
  if (families !== 'stack') return passChains({ ...asked, families }, frame, trail);
  const { space, hook } = asked;
  const ipv6 = frame.type === ETH_P_IPV6;
  const there = await space.legacyTables(ipv6);
  const tables = (there ?? []).filter((table) => LEGACY[table]?.includes(hook));
  const on = there !== undefined ? trail : trail.note(`tables of the old iptables in ${space.name} could not be looked for, and were taken to be none`); // prettier-ignore
  const doubts = tables.map((table) => ({ namespace: space.name, text: `here the table ${table} of ${ipv6 ? 'ip6tables' : 'iptables'} (legacy, not of nftables) in ${space.name} decides, which podtap does not read` })); // prettier-ignore
  return passChains({ ...asked, families: ['inet', ipv6 ? 'ip6' : 'ip'] }, frame, on.doubt(...doubts));
}

/** Out by a port of a bridge: its own chains, and where br_netfilter is on, those of IP, with the bridge as both ends. */
export async function passBridge(
  { space, link: bridge }: Place,
  from: Link | undefined,
  port: Link,
  frame: Frame,
  trail: Trail,
  first: boolean,
): Promise<Passed> {
  // prettier-ignore
  const own = async (hook: string, given: Passed): Promise<Passed> => given.verdict.go !== 'on' ? given : passThrough(['bridge'], { space, hook, ...(from !== undefined && { iif: from }), oif: port, first }, given.frame, given.trail); // prettier-ignore
  const ip = async (hook: string, given: Passed): Promise<Passed> => given.verdict.go !== 'on' ? given : passThrough('stack', { space, hook, ...(hook !== 'postrouting' && { iif: bridge }), ...(hook !== 'prerouting' && { oif: bridge }), first }, given.frame, given.trail); // prettier-ignore
  const begun: Passed = { verdict: { go: 'on' }, frame, trail, copies: [], reroute: false };
  if (from === undefined) return own('postrouting', await own('output', begun));
  if (!(await asksIp({ space, link: bridge }, frame))) return own('postrouting', await own('forward', begun));
  const before = await ip('prerouting', begun);
  const passed = await ip('postrouting', await own('postrouting', await ip('forward', await own('forward', before))));
  const { packet } = before.frame;
  if (packet?.destination === frame.packet?.destination) return passed;
  return { ...passed, trail: passed.trail.doubt({ namespace: space.name, text: `here br_netfilter decides where ${bridge.name} in ${space.name} sends what was translated, which podtap does not evaluate` }) }; // prettier-ignore
}

/** br_netfilter: net.bridge.bridge-nf-call-iptables, or the bridge's own setting. */
async function asksIp({ space, link }: Place, { type, packet }: Frame): Promise<boolean> {
  if ((type !== ETH_P_IP && type !== ETH_P_IPV6) || packet === undefined) return false;
  const ipv6 = type === ETH_P_IPV6;
  const info = (link.info ?? {}) as { nf_call_iptables?: number; nf_call_ip6tables?: number };
  if ((ipv6 ? info.nf_call_ip6tables : info.nf_call_iptables) === 1) return true;
  return (await space.sysctl(`net.bridge.bridge-nf-call-${ipv6 ? 'ip6tables' : 'iptables'}`)) === 1;
}
