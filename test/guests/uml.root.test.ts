// User-mode Linux in every datapath that only root of the machine can make.
import { rootModes } from './modes.js';
import { umlSuite } from './suites.js';

await umlSuite(rootModes);
