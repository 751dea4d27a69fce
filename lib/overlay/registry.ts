import type { OverlayError } from './error.js';
import type { OverlayNetwork, OverlayNode } from './node.js';

/** Of a node that wants to join: how it can be reached. */
export interface Joining {
  readonly network: OverlayNetwork;
  readonly ipv4?: JoiningEnd;
  readonly ipv6?: JoiningEnd;
}
export interface JoiningEnd {
  readonly publicIp: string;
  /** Of the device that it has already. */
  readonly vtepMac?: string;
}

/**
 * Where nodes find each other. `nodeList` and `etcdRegistry` are the two that podtap brings; another one is an object of this shape.
 * What it tells is checked before anything is done with it.
 */
export interface OverlayRegistry {
  network(signal?: AbortSignal): Promise<OverlayNetwork>;
  /** Makes the node one of them: it has a subnet, and the others are told. `changed` is called whenever the membership says something else than before. */
  join(joining: Joining, changed: () => void, signal?: AbortSignal): Promise<OverlayMembership>;
}

export interface OverlayMembership {
  /** This node, as the others are told. */
  readonly self: OverlayNode;
  /** All nodes; whether this one is among them does not matter. */
  readonly nodes: readonly OverlayNode[];
  /** What is wrong now with the registry, or with entries that could not be read. */
  readonly problems: readonly OverlayError[];
  /** Ends it. The others are told, unless `keep` is set: then the place stays this node's until it joins again, or for as long as the registry keeps it. */
  leave(settings?: { readonly keep?: boolean }): Promise<void>;
}
