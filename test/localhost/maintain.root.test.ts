import { requires } from '../support/requires.js';
import { ebpfBreakages } from './breakages.js';
import { maintained } from './maintained.js';

await maintained('ebpf', ['redirect', 'ebpf', 'bridge'], ebpfBreakages, requires('root', 'tun', 'tcx', 'u32', 'cls_bpf', 'clsact'));
