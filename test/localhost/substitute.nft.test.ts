// As root of a user namespace.
import { requires } from '../support/requires.js';
import { substitutes } from './substitute.js';

await substitutes('nft', ['redirect', 'bridge'], requires('tun', 'u32', 'nft'));
