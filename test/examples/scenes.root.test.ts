import { requires } from '../support/requires.js';
import { runScenes } from '../support/scenes.js';

// As root of the machine.
await runScenes(requires('tun', 'root'));
