// As root of a user namespace.
import { requires } from '../support/requires.js';
import { nftBreakages } from './breakages.js';
import { maintained } from './maintained.js';

await maintained('nft', ['redirect', 'bridge'], nftBreakages, requires('tun', 'u32', 'nft', 'cls_bpf', 'clsact'));
