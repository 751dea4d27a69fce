import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { root } from './root.js';

/** Whose lack it is, and what finds out: undefined where it is there, else what was said instead. */
interface Probe {
  readonly of: 'kernel' | 'machine' | 'user';
  readonly missing: () => string | undefined;
}

// BPF_PROG_QUERY of BPF_TCX_INGRESS (46) on the loopback.
const tcx = bpf('16', 'II', '1, 46');
const clsBpf = kernel("tc qdisc add dev v0 clsact; tc filter add dev v0 ingress bpf bytecode '1,6 0 0 0,' classid 1:1");

/** The only reasons for which a test may be skipped. Each is probed, in a namespace of its own. */
const probes = {
  bond: linkKind('type bond'),
  bridge: linkKind('type bridge'),
  bridge_vlan: linkKind('type bridge vlan_filtering 1'),
  dummy: linkKind('type dummy'),
  ifb: linkKind('type ifb'),
  ipvlan: linkKind('link v0 type ipvlan'),
  macvlan: linkKind('link v0 type macvlan'),
  macvtap: linkKind('link v0 type macvtap'),
  netkit: linkKind('type netkit'),
  vlan: linkKind('link v0 type vlan id 7'),
  vrf: linkKind('type vrf table 7'),
  vxlan: linkKind('type vxlan id 7 dstport 8472'),

  act_more: action(
    'csum ip4h action nat ingress 10.0.0.1/32 10.0.0.2 action vlan pop action tunnel_key unset action police rate 8mbit burst 10000 action sample rate 9 group 5 action skbmod set dmac 02:00:00:00:00:07',
  ),
  clsact: kernel('tc qdisc add dev v0 clsact'),
  cls_bpf: clsBpf,
  flower: kernel('tc qdisc add dev v0 clsact; tc filter add dev v0 ingress protocol ip flower ip_proto tcp classid 1:1'),
  fq_codel: kernel('tc qdisc add dev v0 root fq_codel'),
  gact: action('gact drop'),
  htb: kernel('tc qdisc add dev v0 root handle 1: htb'),
  // Older kernels say it in their log.
  htb_warning: kernel(
    'tc qdisc add dev v0 root handle 1: htb; tc class add dev v0 parent 1: classid 1:1 htb rate 10gbit 2>&1 | grep -q quantum || { echo no extended acknowledgement >&2; exit 1; }',
  ),
  matchall: kernel('tc qdisc add dev v0 clsact; tc filter add dev v0 ingress matchall classid 1:1'),
  netem: kernel('tc qdisc add dev v0 root netem delay 1ms'),
  pedit: action('pedit ex munge ip ttl set 1'),
  prio: kernel('tc qdisc add dev v0 root prio'),
  skbedit: action('skbedit mark 1'),
  tbf: kernel('tc qdisc add dev v0 root tbf rate 1mbit burst 10kb latency 10ms'),
  u32_mark: kernel('tc qdisc add dev v0 clsact; tc filter add dev v0 ingress u32 match mark 5 0xff classid 1:1'),

  u32: kernel('tc qdisc add dev v0 ingress; tc filter add dev v0 ingress protocol ip u32 match u32 0 0 action mirred egress mirror dev v1'),

  // Of flower's keys, too.
  flower_l2_miss: since('6.5', 'the key l2_miss of flower'),
  flower_spi: since('6.6', 'the key spi of flower'),

  /** That it says why it takes no address. */
  address_extack: kernel(
    'ip address add 10.0.0.1/24 dev v0; ip address add 10.0.0.1/24 dev v0 2>&1 | grep -q already || { echo no extended acknowledgement >&2; exit 1; }',
  ),
  /** That net.core is there in a user namespace. */
  core_sysctls: kernel('test -e /proc/sys/net/core/somaxconn || { echo no net.core in a namespace of a user >&2; exit 1; }'),

  // Before them the kernel passes over these attributes without a word.
  rule_dscp: since('6.12', 'the selector dscp of rules'),
  rule_masks: since('6.15', 'selectors of rules with masks'),

  encap_ip: kernel('ip link set v0 up; ip route add 10.9.0.0/16 encap ip id 5 dst 10.1.1.1 dev v0'),
  encap_mpls: kernel('ip link set v0 up; ip route add 10.9.0.0/16 encap mpls 100 dev v0'),
  encap_seg6: kernel('ip link set v0 up; ip -6 route add fd09::/16 encap seg6 mode encap segs fd00::7 dev v0'),

  busybox: command('busybox', '! ldd "$(command -v busybox)" >/dev/null 2>&1 || { echo not a static one >&2; exit 1; }'),
  cloud_init: command('cloud-init', 'cloud-init --version'),
  docker: command('dockerd', 'dockerd --version && docker --version && command -v containerd runc >/dev/null'),
  dracut: command('sh', 'test -r /usr/lib/dracut/modules.d/40network/net-lib.sh || { echo not installed >&2; exit 1; }'),
  guest_kernel: { of: 'machine', missing: () => (existsSync(join(root, 'cache/guests/vmlinuz')) ? undefined : 'node scripts/kernels.mjs has not fetched it') }, // prettier-ignore
  ipconfig: command('/usr/lib/klibc/bin/ipconfig', 'true'),
  netplan: command('netplan', 'netplan generate --help'),
  network_generator: command('/lib/systemd/systemd-network-generator', 'true'),
  tshark: command('tshark', 'tshark --version && capinfos --version'),
  qemu: command('qemu-system-x86_64', 'qemu-system-x86_64 --version'),
  uml: command('linux.uml', bootsUml()),

  tcx,
  /** Where programs can be attached: by tcx, or in filters. */
  bpf_hook: { of: 'kernel', missing: () => (tcx.missing() === undefined ? undefined : clsBpf.missing()) },

  clang: command('clang', 'clang --version'),
  nft: command('nft', 'nft list ruleset'),
  iptables: command('iptables', 'iptables -t nat -S'),

  tun: { of: 'user', missing: () => attempt(() => closeSync(openSync('/dev/net/tun', 'r+'))) },
  root: { of: 'user', missing: () => (isRoot() ? undefined : 'this is root of a user namespace, or nobody') },
} satisfies Record<string, Probe>;

export type Feature = keyof typeof probes;

const known = new Map<string, string | false>();

/**
 * For `t.test(name, { skip: requires('dummy') }, ...)`: false where everything is there, else the reason in the one form
 * that `npm test` takes. It probes again at the end, and a skip that was not needed is a failure.
 */
export function requires(...features: readonly Feature[]): string | false {
  for (const feature of features) {
    let reason = known.get(feature);
    if (reason === undefined) {
      const missing = probes[feature].missing();
      reason = missing === undefined ? false : `${probes[feature].of} lacks ${feature}: ${missing}`;
      known.set(feature, reason);
    }
    if (reason !== false) return reason;
  }
  return false;
}

/** An action of a u32 filter, which stands on clsact. */
function action(words: string): Probe {
  return kernel(`tc qdisc add dev v0 clsact; tc filter add dev v0 ingress protocol ip u32 match u32 0 0 action ${words}`);
}

/** bpf(2) with a command and the first fields of its attributes, by python: no tool for it is on every machine. */
function bpf(command: string, layout: string, values: string): Probe {
  const numbers = "{'x86_64': 321, 'aarch64': 280}[os.uname().machine]";
  const lines = [
    'import ctypes, os, struct',
    `attributes = struct.pack('${layout}', ${values}).ljust(128, b'\\0')`,
    `libc = ctypes.CDLL(None, use_errno=True)`,
    `if libc.syscall(${numbers}, ${command}, attributes, len(attributes)) < 0: raise SystemExit(os.strerror(ctypes.get_errno()))`,
  ];
  return kernel(`python3 -c "${lines.join('\n')}"`);
}

/** Where nothing but the version tells. */
function since(version: string, what: string): Probe {
  return kernel(`printf "${version}\\n%s\\n" "$(uname -r)" | sort -CV || { echo "${what} came with Linux ${version}" >&2; exit 1; }`);
}

function linkKind(kind: string): Probe {
  return kernel(`ip link add x0 ${kind}`);
}

/** A script that succeeds where the kernel can, run where there is a veth v0 and nothing else. */
function kernel(script: string): Probe {
  return { of: 'kernel', missing: () => shell(script) };
}

function command(name: string, script: string): Probe {
  return { of: 'machine', missing: () => shell(`command -v ${name} >/dev/null || { echo not installed >&2; exit 1; }; ${script}`) };
}

/**
 * To its first process: where the processor has more registers than that kernel knows of (AMX), "ptrace set fp regs failed" comes instead,
 * in Linux 6.1.
 */
function bootsUml(): string {
  return `
    folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; mkdir -p "$folder/root/bin" "$folder/root/dev"; cd "$folder/root"
    cp "$(command -v busybox)" bin/busybox; printf '#!/bin/busybox sh\\necho it boots\\nbusybox poweroff -f\\n' > init; chmod +x init
    find . | busybox cpio -o -H newc > "$folder/initrd" 2> /dev/null
    timeout 60 linux.uml mem=64M initrd="$folder/initrd" uml_dir="$folder" con=null con0=null,fd:1 quiet panic=-1 < /dev/null > "$folder/said" 2>&1 || true
    grep -q 'it boots' "$folder/said" || { grep -m 1 -oE 'userspace - .*|Kernel panic.*' "$folder/said" >&2; exit 1; }`;
}

function shell(script: string): string | undefined {
  const line = `ip link add v0 type veth peer name v1; ${script}`;
  const { status, stderr, error } = spawnSync('unshare', ['--net', 'sh', '-ec', line], { encoding: 'utf8' });
  if (error) throw error;
  return status === 0 ? undefined : stderr.trim().replace(/\s+/g, ' ');
}

function attempt(action: () => void): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** bpf(2) asks for capabilities in the first user namespace, whose map is the whole range. */
function isRoot(): boolean {
  const map = '/proc/self/uid_map';
  return process.getuid?.() === 0 && existsSync(map) && /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync(map, 'latin1'));
}

// node --conditions=podtap-source --require test/support/netns.cjs dist/test/support/requires.js dummy vlan: those that are there.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const asked = process.argv.slice(2).filter((name): name is Feature => name in probes);
  process.stdout.write(JSON.stringify(asked.filter((feature) => requires(feature) === false)));
}
