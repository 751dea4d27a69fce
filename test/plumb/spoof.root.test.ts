// antiSpoof by a program of eBPF and by macvtap, which are for real root.
import t from 'tap';
import { requires } from '../support/requires.js';
import { spoofs } from './spoof.js';

t.setTimeout(300_000);
await spoofs('ebpf', requires('tun', 'root', 'bpf_hook'));
await spoofs('macvtap', requires('tun', 'root', 'macvtap', 'clsact', 'cls_bpf', 'u32'));
