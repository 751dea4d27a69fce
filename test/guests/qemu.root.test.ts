// Debian's kernel in QEMU in every datapath that only root of the machine can make.
import { rootModes } from './modes.js';
import { qemuSuite } from './suites.js';

await qemuSuite(rootModes);
