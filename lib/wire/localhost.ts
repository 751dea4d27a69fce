// What a pod's localhost is to its guests: one plain value, which every backend is told. It stands here because what makes bytes of it
// knows nothing above; lib/localhost/config.ts is its front door.

export interface LocalhostConfig {
  /** The ifindex of the pod's interface; the loopback's is always 1. */
  readonly link: number;
  /** Whether the pod's own stack still has addresses (redirect, ebpf): then what comes in for one of its sockets is left to it. false in bridge mode. */
  readonly podHasAddresses: boolean;
  /** The guests' MAC (they share it) and IPv4 addresses, without prefix lengths: P is the first one. Only these may be source addresses towards localhost. */
  readonly mac: string;
  readonly addresses: readonly string[];
  /**
   * A /24 that the guest sees (169.254.77.0) and a /23 on lo (127.77.0.0), chosen at run time. aliases.N is service N's address, aliases.2
   * by custom 127.0.0.1 or the guest that owns the port, aliases.3 P as the source of a sidecar, .64+slot and .128+slot the other guests.
   */
  readonly aliases: string;
  readonly loopback: string;
  /** Locally administered; answers ARP for aliases when the guest thinks that they are on-link. */
  readonly aliasMac: string;
  /** Default closed: only these are reachable. */
  readonly services: readonly ConfigService[];
  /** The first in the list is the default for what nobody owns. One guest and no ports: everything is its. */
  readonly guests: readonly ConfigGuest[];
  /** An address that the guest is given as gateway; ARP for it is answered with `mac` (the real next hop's, or aliasMac where there is none). */
  readonly gateway?: { readonly address: string; readonly mac: string };
}

/** `alias:port` as the guest dials it is `address:port` in the pod. Ports keep their distance: the real one is `to + (port - first)`. */
export interface ConfigService extends PortRange {
  readonly alias: string;
  readonly address: string;
  readonly to: number;
}

/** From `first` to `last`, both included. */
export interface PortRange {
  readonly protocol: 'tcp' | 'udp';
  readonly first: number;
  readonly last: number;
}

export interface ConfigGuest {
  /** 1 to 63. */
  readonly slot: number;
  /** The ifindex of its TAP. */
  readonly tap: number;
  /** That it owns: what comes in for them, from outside or from localhost, is for it. */
  readonly ports: readonly PortRange[];
}
