// antiSpoof where programs carry the pod's localhost.
import t from 'tap';
import { requires } from '../support/requires.js';
import { spoofs } from '../plumb/spoof.js';

t.setTimeout(300_000);
const skip = requires('tun', 'root', 'tcx', 'clsact', 'u32', 'cls_bpf', 'bridge');
for (const mode of ['redirect', 'ebpf', 'bridge'] as const) await spoofs(mode, skip, { services: ['127.0.0.1:8080/tcp'], backend: 'ebpf' });
