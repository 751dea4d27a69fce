// Debian's kernel in QEMU in every datapath that root of a user namespace can make.
import { modes } from './modes.js';
import { qemuSuite } from './suites.js';

await qemuSuite(modes);
