// flannel's keys and values in etcd (pkg/subnet and pkg/lease of flannel-io/flannel): what flanneld reads and writes, byte for byte. Pure.
import { OverlayError } from '../error.js';
import { type OverlayEnd, type OverlayNetwork, type OverlayNode } from '../node.js';
import { type Family, type Subnet, formatAddress, holds, masked, parseAddress, parseSubnet, sizeOf, subnet, widthOf } from '../subnet.js';

/** Of one family: where subnets are taken from. */
export interface Range {
  readonly network: Subnet;
  readonly length: number;
  /** The first and the last subnet. */
  readonly min: bigint;
  readonly max: bigint;
}

export interface FlannelConfig {
  readonly network: OverlayNetwork;
  readonly ipv4?: Range;
  readonly ipv6?: Range;
}

/**
 * The value of .../config: { Network, SubnetLen, SubnetMin, SubnetMax, EnableIPv4, EnableIPv6, IPv6..., Backend: { Type, VNI, Port, MTU,
 * Learning, DirectRouting } }.
 * @throws OverlayError ERR_OVERLAY_CONFIG
 */
export function parseConfig(text: string): FlannelConfig {
  const config = object(text, 'it is no JSON object');
  const backend = (config.Backend ?? {}) as Record<string, unknown>;
  if (backend.Type !== 'vxlan') throw wrong(`its backend is ${told(backend.Type ?? 'udp')}, and podtap joins 'vxlan'`);
  if (backend.GBP === true) throw wrong('it has group policy (GBP), which podtap does not speak');
  const ipv4 = config.EnableIPv4 === false ? undefined : range('ipv4', config, ['Network', 'SubnetLen', 'SubnetMin', 'SubnetMax'], 24);
  const ipv6 =
    config.EnableIPv6 === true ? range('ipv6', config, ['IPv6Network', 'IPv6SubnetLen', 'IPv6SubnetMin', 'IPv6SubnetMax'], 64) : undefined;
  if (ipv4 === undefined && ipv6 === undefined) throw wrong('neither IPv4 nor IPv6 is enabled');
  const [vni, port, mtu] = [number(backend, 'VNI', 0, 0xffffff), number(backend, 'Port', 0, 0xffff), number(backend, 'MTU', 0, 65535)];
  return {
    network: {
      families: [...(ipv4 === undefined ? [] : (['ipv4'] as const)), ...(ipv6 === undefined ? [] : (['ipv6'] as const))],
      ...(ipv4 !== undefined && { ipv4: ipv4.network.text }),
      ...(ipv6 !== undefined && { ipv6: ipv6.network.text }),
      ...(vni !== undefined && { vni }),
      // 0 is Go's way to say that there is none.
      ...(port !== undefined && port !== 0 && { port }),
      ...(mtu !== undefined && mtu !== 0 && { mtu }),
      directRouting: backend.DirectRouting === true,
      learning: backend.Learning === true,
    },
    ...(ipv4 !== undefined && { ipv4 }),
    ...(ipv6 !== undefined && { ipv6 }),
  };
}

/** Lengths are by flannel's rules: room for four subnets at least; of a large network a /24 (/64) each, of a small one a quarter. */
function range(family: Family, config: Record<string, unknown>, names: readonly [string, string, string, string], usual: number): Range {
  const [nameOfNetwork, nameOfLength, nameOfMin, nameOfMax] = names;
  const text = config[nameOfNetwork];
  const given = typeof text === 'string' ? /^(.*)\/(\d{1,3})$/.exec(text) : null;
  const address = given === null ? undefined : parseAddress(family, given[1]!);
  const width = widthOf(family);
  const wide = Number(given?.[2]);
  if (address === undefined || wide > width - 4) throw wrong(`${nameOfNetwork} is ${told(text)}, and must be an ${family} prefix of at most /${width - 4}`); // prettier-ignore
  // Go keeps the network's address as it was written; its prefix is what counts.
  const network = subnet(family, masked(family, address, wide), wide);
  const own = number(config, nameOfLength, 0, width - 2) ?? 0;
  if (own !== 0 && own < wide + 2) throw wrong(`${nameOfLength} is ${own}, and ${network.text} must have room for four subnets`);
  const length = own !== 0 ? own : wide <= usual - 2 ? usual : wide + 2;
  const size = sizeOf(family, length);
  const bound = (name: string, otherwise: bigint): bigint => {
    const value = config[name];
    if (value === undefined || value === null || value === '' || value === '0.0.0.0' || value === '::') return otherwise;
    const at = typeof value === 'string' ? parseAddress(family, value) : undefined;
    if (at === undefined || !holds(network, { family, address: at }) || masked(family, at, length) !== at)
      throw wrong(`${name} is ${told(value)}, and must be the beginning of a /${length} in ${network.text}`);
    return at;
  };
  // The first one is left out: its first address is the network's own.
  return { network, length, min: bound(nameOfMin, network.address + size), max: bound(nameOfMax, network.address + sizeOf(family, wide) - size) }; // prettier-ignore
}

function number(of: Record<string, unknown>, name: string, min: number, max: number): number | undefined {
  const value = of[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) throw wrong(`${name} is ${told(value)}, and must be an integer from ${min} to ${max}`); // prettier-ignore
  return value;
}

function object(text: string, otherwise: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // said below
  }
  throw wrong(otherwise);
}

function wrong(why: string): OverlayError {
  return new OverlayError('ERR_OVERLAY_CONFIG', `the network's configuration cannot be used: ${why}`, { about: 'config' });
}

function told(value: unknown): string {
  return (JSON.stringify(value) ?? String(value)).slice(0, 80);
}

// ------------------------------------------------------------------ nodes

/** Of one key: a node's subnets and what it says of itself. */
export interface Lease {
  readonly subnets: { readonly ipv4?: Subnet; readonly ipv6?: Subnet };
  readonly node: OverlayNode;
}

/** '10.244.1.0-24', '10.244.1.0-24&fd00:10:244:1::-64'; without IPv4, Go's empty prefix stands in its place. */
export function keyOf(subnets: Lease['subnets']): string {
  const ipv4 = (subnets.ipv4?.text ?? '0.0.0.0/0').replace('/', '-');
  return subnets.ipv6 === undefined ? ipv4 : `${ipv4}&${subnets.ipv6.text.replace('/', '-')}`;
}

/** undefined where it is no key of a node. */
export function parseKey(key: string): Lease['subnets'] | undefined {
  const match = /^(\d{1,3}(?:\.\d{1,3}){3})-(\d{1,2})(?:&([0-9a-f:.]{2,45})-(\d{1,3}))?$/.exec(key);
  if (match === null) return undefined;
  const none = match[1] === '0.0.0.0' && match[2] === '0';
  const ipv4 = none ? undefined : parseSubnet(`${match[1]}/${match[2]}`);
  const ipv6 = match[3] === undefined ? undefined : parseSubnet(`${match[3]}/${match[4]}`);
  if ((ipv4 === undefined && !none) || (match[3] !== undefined && ipv6 === undefined) || (none && ipv6 === undefined)) return undefined;
  return { ...(ipv4 !== undefined && { ipv4 }), ...(ipv6 !== undefined && { ipv6 }) };
}

/** As Go's encoding/json writes LeaseAttrs. */
export function formatValue(node: OverlayNode, vni: number): string {
  // flannel keeps 16 of a VNI's 24 bits in here, and does not read it.
  const data = (end: OverlayEnd): object => ({ VNI: vni & 0xffff, VtepMAC: end.vtepMac });
  return JSON.stringify({
    PublicIP: node.ipv4?.publicIp ?? '0.0.0.0',
    PublicIPv6: node.ipv6?.publicIp ?? null,
    BackendType: 'vxlan',
    ...(node.ipv4 !== undefined && { BackendData: data(node.ipv4) }),
    ...(node.ipv6 !== undefined && { BackendV6Data: data(node.ipv6) }),
  });
}

/** What a key and its value say; a text where they say nothing that could be used. Whether it is true is another matter (`admit`). */
export function parseLease(key: string, value: string): Lease | string {
  const subnets = parseKey(key);
  if (subnets === undefined) return 'its key is none of a subnet';
  let said: Record<string, unknown>;
  try {
    said = object(value, '');
  } catch {
    return 'its value is no JSON object';
  }
  if (said.BackendType !== 'vxlan') return `its backend is ${told(said.BackendType)}, not 'vxlan'`;
  const node: { ipv4?: OverlayEnd; ipv6?: OverlayEnd } = {};
  const ends = [
    ['ipv4', 'PublicIP', 'BackendData'],
    ['ipv6', 'PublicIPv6', 'BackendV6Data'],
  ] as const;
  for (const [family, nameOfAddress, nameOfData] of ends) {
    const own = subnets[family];
    if (own === undefined) continue;
    const publicIp = said[nameOfAddress];
    const data = said[nameOfData] as { VtepMAC?: unknown } | null | undefined;
    const address = typeof publicIp === 'string' ? parseAddress(family, publicIp) : undefined;
    if (address === undefined) return `its ${nameOfAddress} is ${told(publicIp)}`;
    if (typeof data !== 'object' || data === null || typeof data.VtepMAC !== 'string') return `its ${nameOfData} has no VtepMAC`;
    node[family] = { subnet: own.text, publicIp: formatAddress(family, address), vtepMac: data.VtepMAC.toLowerCase() };
  }
  return { subnets, node };
}
