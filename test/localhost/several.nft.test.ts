// As root of a user namespace.
import { requires } from '../support/requires.js';
import { several } from './several.js';

await several('nft', ['redirect', 'bridge'], requires('tun', 'u32', 'nft'));
