// A trace against what really passes.
import type { Netns } from '../kernel/netns.js';
import type { Frame, Packet } from '../wire/frame.js';
import { type CapturedFrame, type CapturedInterface, capture } from './capture.js';
import type { CaptureFilter } from './filters.js';
import type { Hop } from './hop.js';
import type { PathTrace } from './path.js';

export interface Witnessed {
  readonly hop: Hop;
  /** The first frame there that the trace foretold; else the one that comes nearest to it. */
  readonly captured?: CapturedFrame;
  readonly agrees: boolean;
  /** In what they differ: 'TTL: 63 foretold, 64 seen'. */
  readonly differences: readonly string[];
}

export interface Witness {
  readonly agrees: boolean;
  /** One for each hop of the trace. */
  readonly hops: readonly Witnessed[];
  /** All frames, by interface: for writeCaptures(). */
  readonly interfaces: readonly CapturedInterface[];
}

/**
 * Captures at every hop of a trace while something is done that sends the packet, and compares MACs, VLANs, addresses, TTL, ports and
 * what is inside with what was foretold. Of a flooded frame only the ways of the trace are heard.
 *
 * @example const { agrees } = await captureAlong(trace, { pod, node }, () => ping(pod, '10.244.3.3'))
 */
export async function captureAlong(
  trace: Pick<PathTrace, 'hops'>,
  namespaces: Readonly<Record<string, Netns>>,
  act: () => Promise<unknown>,
  settings: { readonly filter?: CaptureFilter } = {},
): Promise<Witness> {
  const places = new Map(trace.hops.map((hop) => [keyOf(hop), hop]));
  const open = await Promise.all([...places].map(async ([key, { namespace, ifindex }]) => [key, await capture(namespaces[namespace]!, ifindex, { bufferSize: 1 << 20, ...settings })] as const)); // prettier-ignore
  const heard = new Map<string, readonly CapturedFrame[]>();
  const interfaces: CapturedInterface[] = [];
  try {
    await act();
    for (const [key, capturing] of open) {
      const frames = await capturing.stop();
      heard.set(key, frames);
      interfaces.push({ name: key, frames, statistics: capturing.statistics() });
    }
  } finally {
    await Promise.all(open.map(([, capturing]) => capturing.close()));
  }
  const hops = trace.hops.map((hop) => witness(hop, heard.get(keyOf(hop)) ?? []));
  return { agrees: hops.every(({ agrees }) => agrees), hops, interfaces };
}

function keyOf({ namespace, device }: Hop): string {
  return `${namespace}/${device}`;
}

function witness(hop: Hop, frames: readonly CapturedFrame[]): Witnessed {
  const meant = innermost(hop.frame);
  const candidates = frames
    .filter(({ direction, frame }) => direction === hop.direction && frame?.packet !== undefined && isSame(meant, innermost(frame)))
    .map((captured) => ({ captured, differences: compareFrames(hop.frame, captured.frame!) }))
    .sort((a, b) => a.differences.length - b.differences.length);
  const [nearest] = candidates;
  if (nearest === undefined) return { hop, agrees: false, differences: [`no such packet was seen to go ${hop.direction} there`] };
  return { hop, ...nearest, agrees: nearest.differences.length === 0 };
}

function innermost({ packet }: Frame): Packet | undefined {
  return packet?.vxlan === undefined ? packet : innermost(packet.vxlan.frame);
}

function isSame(a: Packet | undefined, b: Packet | undefined): boolean {
  return a !== undefined && b !== undefined && a.source === b.source && a.destination === b.destination && a.protocol === b.protocol && a.icmp?.type === b.icmp?.type; // prettier-ignore
}

/** In what a frame differs from what was foretold; what was not foretold (a port from a hash) is not compared. */
export function compareFrames(foretold: Frame, seen: Frame, where = ''): readonly string[] {
  const differences: string[] = [];
  const compare = (what: string, a: string | number | boolean | undefined, b: string | number | boolean | undefined): void => {
    if (a !== undefined && a !== b) differences.push(`${where}${what}: ${String(a)} foretold, ${String(b)} seen`);
  };
  compare('source MAC', foretold.source, seen.source);
  compare('destination MAC', foretold.destination, seen.destination);
  compare('VLANs', (foretold.vlans ?? []).join(), (seen.vlans ?? []).join());
  compare('EtherType', foretold.type, seen.type);
  const [a, b] = [foretold.packet, seen.packet];
  if (a === undefined || b === undefined) return differences;
  compare('source', a.source, b.source);
  compare('destination', a.destination, b.destination);
  compare('TTL', a.ttl, b.ttl);
  compare('protocol', a.protocol, b.protocol);
  compare('source port', a.ports?.source === 0 ? undefined : a.ports?.source, b.ports?.source);
  compare('destination port', a.ports?.destination, b.ports?.destination);
  // TCP's packets are of many lengths.
  if (a.icmp !== undefined || a.vxlan?.frame.packet?.icmp !== undefined) compare('length', a.length, b.length);
  if ((a.vxlan === undefined) !== (b.vxlan === undefined)) compare('VXLAN', a.vxlan !== undefined, b.vxlan !== undefined);
  if (a.vxlan === undefined || b.vxlan === undefined) return differences;
  compare('VNI', a.vxlan.vni, b.vxlan.vni);
  return [...differences, ...compareFrames(a.vxlan.frame, b.vxlan.frame, `${where}inside, `)];
}
