export { type CloudHypervisorNet, type CloudHypervisorOptions, type CloudHypervisorRendered, cloudHypervisor } from './cloud-hypervisor.js';
export { type CloudInitOptions, type CloudInitRendered, cloudInit } from './cloud-init.js';
export { type DracutCmdlineOptions, type DracutCmdlineRendered, dracutCmdline } from './dracut.js';
export { GuestConfigError, type Loss } from './error.js';
export { type FirecrackerInterface, type FirecrackerOptions, type FirecrackerRendered, firecracker } from './firecracker.js';
export type { OffSubnetOptions } from './gateway.js';
export { type GuestOfOptions, type InterfaceLike, guestOf } from './interface.js';
export { type KeywordsRendered, keywords } from './keywords.js';
export { type GuestKind, guestKinds } from './kinds.js';
export { type LinuxCmdlineOptions, type LinuxCmdlineRendered, linuxCmdline } from './linux.js';
export { type MirageOptions, type MirageRendered, mirage } from './mirage.js';
export {
  type GuestAddress,
  type GuestNeighbor,
  type GuestNetwork,
  type GuestNexthop,
  type GuestNote,
  type GuestSubstitution,
  type GuestRoute,
  defineGuest,
} from './network.js';
export { type QemuOptions, type QemuRendered, qemu } from './qemu.js';
export type { Guests, LossOptions, Rendered } from './report.js';
export { type ResolvConf, parseResolvConf } from './resolv.js';
export { type RumprunOptions, type RumprunRendered, rumprun } from './rumprun.js';
export { type Solo5Options, type Solo5Rendered, solo5 } from './solo5.js';
export { type UmlOptions, type UmlRendered, uml } from './uml.js';
export { type UnikraftOptions, type UnikraftRendered, unikraft } from './unikraft.js';
