import { runScenes } from '../support/scenes.js';

// As root of a user namespace.
await runScenes();
