// What a stranger can do to what carries the pod's localhost.
import { requires } from '../support/requires.js';

/** A command, the problem that it makes, and whether the guest reaches nothing then. */
export type Breakage = readonly [command: string, code: string, breaks: boolean];

const TABLE = '$(nft list tables netdev | sed -n "s/^table netdev //p")';

export const nftBreakages: readonly Breakage[] = [
  [`nft delete table netdev "${TABLE}"`, 'LOCALHOST_MISSING', true],
  [`nft flush chain netdev "${TABLE}" loopback`, 'LOCALHOST_CHANGED', true],
];

/** In mode redirect. */
export const passBreakage: Breakage = [
  'for pref in $(tc filter show dev tap0 ingress | sed -n "s/.*pref \\([0-9]*\\) u32.*7074:1.*/\\1/p" | sort -u); do tc filter delete dev tap0 ingress pref $pref; done',
  'LOCALHOST_MISSING',
  true,
];

export const ebpfBreakages: readonly Breakage[] = [
  [detach('lo', 'egress'), 'LOCALHOST_MISSING', true],
  [detach('eth0', 'ingress'), 'LOCALHOST_MISSING', false],
  [detach('tap0', 'ingress'), 'LOCALHOST_MISSING', true],
];

/** Of tcx by bpf(2): BPF_PROG_DETACH (9) of BPF_TCX_INGRESS (46) or EGRESS (47). Of filters by their priority. */
function detach(link: string, direction: 'ingress' | 'egress'): string {
  if (requires('tcx') !== false) {
    const place = direction === 'egress' ? direction : 'parent ffff:';
    const priorities = `tc filter show dev ${link} ${place} | sed -n 's/.* pref \\([0-9]*\\) bpf .*podtap_lh_.*/\\1/p'`;
    return `for pref in $(${priorities}); do tc filter del dev ${link} ${place} pref $pref; done`;
  }
  const type = direction === 'ingress' ? 46 : 47;
  return `python3 -c "
import ctypes, os, socket, struct
number = {'x86_64': 321, 'aarch64': 280}[os.uname().machine]
libc = ctypes.CDLL(None, use_errno=True)
index = socket.if_nametoindex('${link}')
def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b'\\0'), 128)
    result = libc.syscall(number, command, buffer, 128)
    if result < 0: raise SystemExit(os.strerror(ctypes.get_errno()))
    return result, buffer.raw
ids = (ctypes.c_uint32 * 16)()
_, raw = bpf(16, struct.pack('IIIIQII', index, ${type}, 0, 0, ctypes.addressof(ids), 16, 0))
found = [one for one in ids if one]
for one in found:
    fd, _ = bpf(13, struct.pack('I', one))
    info = ctypes.create_string_buffer(256)
    bpf(15, struct.pack('IIQ', fd, 256, ctypes.addressof(info)))
    if info.raw[64:80].startswith(b'podtap_lh_'): bpf(9, struct.pack('IIII', index, fd, ${type}, 0))
    os.close(fd)
"`;
}
