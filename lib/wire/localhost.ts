// What a backend of the pod's localhost (eBPF programs, or a table of nftables) is told: everything, as one plain value. It stands here,
// because what makes bytes of it knows nothing above; lib/localhost/config.ts is its front door.

/** Some ports of a protocol: `first` to `last`, both included. */
export interface PortRange {
  readonly protocol: 'tcp' | 'udp';
  readonly first: number;
  readonly last: number;
}

/** `alias:port` as the guest dials it, and `address:port` of the pod that it means. Ports of a range keep their distance: port - first + to. */
export interface ConfigService extends PortRange {
  readonly alias: string;
  readonly address: string;
  readonly to: number;
}

export interface ConfigGuest {
  /** 1 to 63. */
  readonly slot: number;
  /** The TAP's ifindex. */
  readonly tap: number;
  readonly ports: readonly PortRange[];
}

export interface LocalhostConfig {
  /** The ifindex of the pod's interface. That of the loopback is always 1. */
  readonly link: number;
  /** Whether the pod's own stack still has addresses (redirect, ebpf): then what comes in for one of its sockets is left to it. false in bridge mode. */
  readonly podHasAddresses: boolean;
  /** The guests', which they share. */
  readonly mac: string;
  /** The guests' IPv4 addresses, without prefix lengths; the pod's address P is the first one. Only these may be source addresses towards localhost. */
  readonly addresses: readonly string[];
  /**
   * A /24 that the guest sees, by its first address: 169.254.77.0. `.1` and others: services; `.2`: 127.0.0.1, or the guest that owns the port;
   * `.3`: P, as the source that a guest sees of a process that dials P; `.64` + j and `.128` + j: the guest in slot j.
   */
  readonly aliases: string;
  /** A /23 on the loopback, by its first address: 127.77.0.0. `.0.j`: the guest in slot j; `.1.j`: the same, where it had dialled a literal 127.x.y.z. */
  readonly loopback: string;
  /** Locally administered; answers ARP for aliases when the guest thinks that they are on-link. */
  readonly aliasMac: string;
  /** Default closed: only these are reachable. */
  readonly services: readonly ConfigService[];
  /** The first one gets what nobody owns. One guest and no ports: everything is its. */
  readonly guests: readonly ConfigGuest[];
  /** An address that the guest is given as its gateway: ARP for it is answered with `mac`, the real next hop's, or aliasMac where there is none. */
  readonly gateway?: { readonly address: string; readonly mac: string };
}
