// Real guests with a MAC of their own: what must be answered, and what must not.
import { modes } from './modes.js';
import { macSuite } from './suites.js';

await macSuite(modes);
