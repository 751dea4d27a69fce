/**
 * What can be wrong with an overlay.
 * - ERR_OVERLAY_UNDERLAY: this node has no interface or address to reach the others by
 * - ERR_OVERLAY_TAKEN: something that is not ours stands where ours should
 * - ERR_OVERLAY_CONFIG: the registry describes a network that cannot be joined
 * - ERR_OVERLAY_NOT_LISTED: the list of nodes does not have this one
 * - ERR_OVERLAY_NO_SUBNET: every subnet of the network is somebody's
 * - ERR_OVERLAY_SUBNET_LOST: this node's subnet went to another one, and it has a new one
 * - ERR_OVERLAY_NODE: what the registry says of another node cannot be, and the node is passed over
 * - ERR_OVERLAY_KERNEL: the kernel refused something; `cause` says why
 * - ERR_OVERLAY_LEFT: the overlay was left
 * - ERR_ETCD_UNREACHABLE: no endpoint answers
 * - ERR_ETCD_REFUSED: etcd answered with an error
 */
export type OverlayErrorCode =
  | 'ERR_OVERLAY_UNDERLAY'
  | 'ERR_OVERLAY_TAKEN'
  | 'ERR_OVERLAY_CONFIG'
  | 'ERR_OVERLAY_NOT_LISTED'
  | 'ERR_OVERLAY_NO_SUBNET'
  | 'ERR_OVERLAY_SUBNET_LOST'
  | 'ERR_OVERLAY_NODE'
  | 'ERR_OVERLAY_KERNEL'
  | 'ERR_OVERLAY_LEFT'
  | 'ERR_ETCD_UNREACHABLE'
  | 'ERR_ETCD_REFUSED';

/** An overlay that cannot be joined, or a problem that one has met since. */
export class OverlayError extends Error {
  override readonly name = 'OverlayError';
  readonly code: OverlayErrorCode;
  /** What it is about: a node's subnet, an interface, a key of the registry. */
  readonly about?: string;

  constructor(code: OverlayErrorCode, message: string, details: { readonly about?: string | undefined; readonly cause?: unknown } = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    if (details.about !== undefined) this.about = details.about;
  }
}
