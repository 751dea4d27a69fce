import { requires } from '../support/requires.js';
import { crashes } from './crash.js';

await crashes('ebpf', requires('root', 'tun', 'bpf_hook', 'u32'));
