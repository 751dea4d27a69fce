import { requires } from '../support/requires.js';
import { several } from './several.js';

await several('ebpf', ['redirect', 'ebpf', 'bridge'], requires('root', 'tun', 'bpf_hook', 'u32'));
