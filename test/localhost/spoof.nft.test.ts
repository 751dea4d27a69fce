// antiSpoof where nftables carries the pod's localhost: the guest's frames come to the table only once they were checked.
import t from 'tap';
import { requires } from '../support/requires.js';
import { spoofs } from '../plumb/spoof.js';

t.setTimeout(300_000);
const skip = requires('tun', 'clsact', 'u32', 'cls_bpf', 'bridge', 'nft');
for (const mode of ['redirect', 'bridge'] as const) await spoofs(mode, skip, { services: ['127.0.0.1:8080/tcp'], backend: 'nft' });
