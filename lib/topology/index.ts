/// <reference lib="esnext.disposable" preserve="true" />
import type { Netns } from '../kernel/netns.js';
import type { DrawOptions } from './picture.js';
import { type Topology, type TopologyOptions, readTopology, withMachine } from './read.js';
import { dot, mermaid, tree } from './text.js';

export type { DrawOptions, DrawnPath } from './picture.js';
export type { Topology, TopologyDevice, TopologyEdge, TopologyEnd, TopologyGuest, TopologyNamespace, TopologyOptions } from './read.js';

/** A topology that can be told: as a tree by String(), as JSON by JSON.stringify(). */
export interface ToldTopology extends Topology {
  toString(): string;
  /** A flowchart of Mermaid. */
  toMermaid(options?: DrawOptions): string;
  /** For Graphviz; drawSvg() of podtap/topology/svg draws it. */
  toDot(options?: DrawOptions): string;
}

/**
 * Reads how namespaces are wired: their devices with addresses, veth pairs, bridges and their ports, TAPs and who holds them,
 * redirects by filters of tc and podtap's eBPF programs, overlays. Without namespaces: all of this machine that may be entered, by their
 * names of ip-netns(8), or as 'pid N'.
 *
 * Like `ip -d link`, `ip address`, `bridge link`, `bridge fdb`, `tc filter show` and `ip netns list-id` in each of them.
 * @throws NetlinkError; PodtapError
 * @example console.log(String(await topology({ node, pod })))
 */
export async function topology(
  namespaces?: Readonly<Record<string, Netns>> | readonly Netns[],
  settings: TopologyOptions = {},
): Promise<ToldTopology> {
  const read =
    namespaces === undefined ? await withMachine((all) => readTopology(all, settings)) : await readTopology(namespaces, settings);
  return {
    ...read,
    toString: () => tree(read),
    toMermaid: (options) => mermaid(read, options),
    toDot: (options) => dot([{ topology: read, ...(options !== undefined && { options }) }]),
  };
}
