/// <reference lib="esnext.disposable" preserve="true" />
export {
  BpfLoadError,
  DumpInterruptedError,
  type ExtendedAck,
  NetlinkError,
  PlumbError,
  PodtapError,
  TransactionError,
  UnsupportedError,
} from './errors.js';
export type { LinkRef } from './check.js';
export type { GuestAddress, GuestNeighbor, GuestNetwork, GuestNexthop, GuestNote, GuestRoute, GuestSubstitution } from './guest/network.js';
export { Macvtap } from './kernel/macvtap.js';
export { Netns, type NetnsRef } from './kernel/netns.js';
export { type BpfInstruction, type PacketOptions, PacketSocket } from './kernel/packet.js';
export { Tap, type TapFds, type TapHolder, type TapOffload } from './kernel/tap.js';
export type { LinkOptions } from './operation/link.js';
export type { MacvlanOptions } from './operation/link/macvlan.js';
export type { BridgePortOptions } from './operation/link/port.js';
export type { VxlanOptions } from './operation/link/vxlan.js';
export type { FdbRequest, NeighborEntry } from './operation/neighbor.js';
export type { ActionRequest } from './operation/action.js';
export type { FilterRequest } from './operation/filter.js';
export type { QdiscRequest } from './operation/qdisc.js';
export { addAddress, deleteAddress, flushAddresses, listAddresses } from './primitive/address.js';
export { bridgeEnslave } from './primitive/bridge.js';
export { type InterfaceConfig, readAddr } from './primitive/config.js';
export {
  type BridgeOptions,
  type VethEnd,
  createBridge,
  createLink,
  createMacvtap,
  createVeth,
  createVxlan,
  deleteLink,
  getLink,
  listLinks,
  setLink,
} from './primitive/link.js';
export { type Problem, checkHost } from './primitive/host.js';
export { openMacvtap } from './primitive/macvtap.js';
export { cloneMac } from './primitive/mac.js';
export { deleteFdb, deleteNeighbor, listFdb, listNeighbors, setFdb, setNeighbor } from './primitive/neighbor.js';
export { openPacketSocket } from './primitive/packet.js';
export { addRoute, deleteRoute, getRoute, listRoutes, replaceRoute } from './primitive/route.js';
export { addRule, deleteRule, listRules } from './primitive/rule.js';
export type { Family, Scope } from './primitive/scope.js';
export { readSysctl, setSysctl } from './primitive/sysctl.js';
export { addFilter, addQdisc, deleteFilter, deleteQdisc, listFilters, listQdiscs } from './primitive/tc.js';
export { type TapOptions, createTap, openTap } from './primitive/tap.js';
export { type KernelEvent, type WatchOptions, watch } from './primitive/watch.js';
export type { PlumbingEvent } from './plumb/events.js';
export type { MaintainOptions } from './plumb/maintain.js';
export { type InspectedPlumbing, type Inspection, inspect } from './plumb/inspect.js';
export { exposeLocalhost } from './plumb/localhost/expose.js';
export type { AddGuestOptions, PlumbedGuest } from './plumb/localhost/guests.js';
export type { ExposedLocalhost, ExposedService } from './plumb/localhost/localhost.js';
export type { PlumbingStats } from './plumb/localhost/stats.js';
export type { LocalhostOptions } from './localhost/asked.js';
export type { Picked } from './plumb/datapath/auto.js';
export type { Mode, PlumbOptions, Vmm } from './plumb/options.js';
export { type Plan, planPlumbing, plumb } from './plumb/plumb.js';
export { type Plumbing, type Verification } from './plumb/plumbing.js';
export { type RecoverOptions, openPlumbing, recover, unplumb } from './plumb/recover.js';
export type { Crossing } from './plumb/traffic.js';
export type { RecoverReport, UndoReport } from './transaction/recover.js';
export { type Transaction, type TransactionOptions, transaction } from './transaction/transaction.js';
export type { Address } from './wire/address.js';
export type { Link } from './wire/link.js';
export type { FdbEntry, Neighbor } from './wire/neighbor.js';
export type { Encap, Nexthop, Route, RouteMetrics } from './wire/route.js';
export type { Rule } from './wire/rule.js';
export type { Filter, Qdisc } from './wire/tc.js';
