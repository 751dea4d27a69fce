// A trace in words, and in what JSON can hold.
import type { Frame, Packet } from '../wire/frame.js';
import type { PathTrace } from './path.js';

/** '02:.. > 02:.., 10.244.1.3 > 10.244.3.3, TTL 63, icmp, length 84', as `tcpdump -ne` orders it; what is inside of a VXLAN packet behind it. */
export function tellFrame({ source, destination, vlans = [], packet, arp, type }: Frame): string {
  const tags = vlans.map((vlan) => `, VLAN ${vlan}`).join('');
  const macs = `${source} > ${destination}${tags}`;
  if (packet !== undefined) return `${macs}, ${tellPacket(packet)}`;
  if (arp === undefined) return `${macs}, type 0x${type.toString(16).padStart(4, '0')}`;
  return `${macs}, ARP ${arp.operation === 'reply' ? `${arp.sender.address} is at ${arp.sender.mac}` : `who has ${arp.target.address}, tell ${arp.sender.address}`}`; // prettier-ignore
}

export function tellPacket({ source, destination, ttl, protocol, ports, icmp, vxlan, length }: Packet): string {
  const ip = source.includes(':') ? 'IPv6' : 'IPv4';
  const inside = vxlan === undefined ? '' : `, VXLAN VNI ${vxlan.vni} { ${tellFrame(vxlan.frame)} }`;
  const [from, to] = ports === undefined ? [source, destination] : [`${source} port ${ports.source === 0 ? 'any' : ports.source}`, `${destination} port ${ports.destination}`]; // prettier-ignore
  return `${ip} ${from} > ${to}, TTL ${ttl}, ${protocol}${icmp === undefined ? '' : echo(icmp.type)}, length ${length}${inside}`;
}

function echo(type: number): string {
  return type === 8 || type === 128 ? ' echo request' : type === 0 || type === 129 ? ' echo reply' : ` type ${type}`;
}

export function tell({ from, packet, hops, because, notes, undecided, summary }: Omit<PathTrace, 'toString' | 'toJSON'>): string {
  const lines = [`${from}: ${tellPacket(packet)}`];
  hops.forEach((hop, index) => {
    for (const { text } of hop.because) lines.push(`      ${text}`);
    const { namespace, device, direction, peer, frame } = hop;
    const arrow = direction === 'in' ? '<==' : '==>';
    const wire = peer === undefined ? '' : ` ${arrow} ${peer.device}${peer.namespace === namespace ? '' : ` in ${peer.namespace}`}`;
    lines.push(`${String(index + 1).padStart(3)}. ${namespace}: ${device} ${direction === 'in' ? 'in ' : 'out'}${wire}`);
    lines.push(`     ${tellFrame({ ...frame, ...outerOf(frame) })}`);
    const inner = frame.packet?.vxlan?.frame;
    if (inner !== undefined) lines.push(`       inside, VNI ${frame.packet!.vxlan!.vni}: ${tellFrame(inner)}`);
  });
  for (const { text } of because) lines.push(`      ${text}`);
  for (const { text } of undecided) lines.push(`not decided: ${text}`);
  for (const note of notes) lines.push(`note: ${note}`);
  lines.push(summary);
  return lines.join('\n');
}

/** What it carries has a line of its own. */
function outerOf({ packet }: Frame): Pick<Frame, 'packet'> {
  if (packet?.vxlan === undefined) return {};
  const { vxlan: _, ...outer } = packet;
  return { packet: outer };
}

export function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return String(value);
  if (value instanceof Uint8Array) return Array.from(value, (byte) => byte.toString(16).padStart(2, '0')).join('');
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined && typeof one !== 'function').map(([key, one]) => [key, plain(one)])); // prettier-ignore
}
