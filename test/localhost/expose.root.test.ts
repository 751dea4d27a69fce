import { requires } from '../support/requires.js';
import { ebpfBreakages } from './breakages.js';
import { exposes } from './exposes.js';

await exposes('ebpf', ['redirect', 'ebpf', 'bridge'], ebpfBreakages, requires('root', 'tun', 'bpf_hook', 'u32'));
