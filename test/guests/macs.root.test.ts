// Real guests with a MAC of their own, of macvtaps: what must be answered, and what must not.
import { rootModes } from './modes.js';
import { macSuite } from './suites.js';

await macSuite(rootModes);
