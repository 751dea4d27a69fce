// As root of a user namespace.
import { requires } from '../support/requires.js';
import { crashes } from './crash.js';

await crashes('nft', requires('tun', 'u32', 'nft'));
