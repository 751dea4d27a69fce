import { cloudHypervisor } from './cloud-hypervisor.js';
import { cloudInit } from './cloud-init.js';
import { dracutCmdline } from './dracut.js';
import { firecracker } from './firecracker.js';
import { linuxCmdline } from './linux.js';
import { mirage } from './mirage.js';
import { qemu } from './qemu.js';
import { rumprun } from './rumprun.js';
import { solo5 } from './solo5.js';
import { uml } from './uml.js';
import { unikraft } from './unikraft.js';

/** Every guest kind there is, by its renderer's name: for programs that are told the kind as a word. `keywords` takes a template instead. */
export const guestKinds = {
  cloudHypervisor,
  cloudInit,
  dracutCmdline,
  firecracker,
  linuxCmdline,
  mirage,
  qemu,
  rumprun,
  solo5,
  uml,
  unikraft,
};

export type GuestKind = keyof typeof guestKinds;
