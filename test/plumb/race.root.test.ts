// Several at once by a program of eBPF and by macvtap.
import t from 'tap';
import { requires } from '../support/requires.js';
import { races } from './race.js';

t.setTimeout(300_000);
await races('ebpf', requires('tun', 'root', 'bpf_hook', 'clsact', 'u32'));
await races('macvtap', requires('tun', 'root', 'macvtap', 'clsact', 'u32'));
