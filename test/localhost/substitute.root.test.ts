import { requires } from '../support/requires.js';
import { substitutes } from './substitute.js';

await substitutes('ebpf', ['redirect', 'ebpf', 'bridge'], requires('root', 'tun', 'bpf_hook', 'u32'));
