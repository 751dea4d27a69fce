// Several at once by redirect and by bridge.
import t from 'tap';
import { requires } from '../support/requires.js';
import { races } from './race.js';

t.setTimeout(300_000);
for (const mode of ['redirect', 'bridge'] as const) await races(mode, requires('tun', 'clsact', 'u32', 'bridge'));
