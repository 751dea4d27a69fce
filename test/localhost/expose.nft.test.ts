// As root of a user namespace.
import { requires } from '../support/requires.js';
import { nftBreakages, passBreakage } from './breakages.js';
import { exposes } from './exposes.js';

await exposes('nft', ['redirect', 'bridge'], [...nftBreakages, passBreakage], requires('tun', 'u32', 'nft'));
