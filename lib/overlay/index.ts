export type { EtcdAccess, EtcdTls } from './etcd/client.js';
export { type EtcdOptions, etcdRegistry } from './etcd/registry.js';
export { OverlayError, type OverlayErrorCode } from './error.js';
export { type ListedNode, type NodeList, nodeList } from './list.js';
export type { OverlayEnd, OverlayNetwork, OverlayNode } from './node.js';
export { type Overlay, type OverlayOptions, joinOverlay } from './overlay.js';
export type { Joining, JoiningEnd, OverlayMembership, OverlayRegistry } from './registry.js';
