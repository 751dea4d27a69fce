// User-mode Linux in every datapath that root of a user namespace can make.
import { modes } from './modes.js';
import { umlSuite } from './suites.js';

await umlSuite(modes);
