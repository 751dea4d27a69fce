import { readFile } from 'node:fs/promises';
import { check, instance, optional } from '../check.js';
import { NetlinkError, PodtapError, UnsupportedError } from '../errors.js';
import { attachTcx, loadProgram } from '../kernel/bpf.js';
import { findLink } from '../kernel/link.js';
import { request } from '../kernel/netlink.js';
import { Netns, attachment } from '../kernel/netns.js';
import { changeNft } from '../kernel/nft.js';
import { tunFeatures } from '../kernel/tap.js';
import type { Operation } from '../operation/kinds.js';
import { run } from '../operation/run.js';
import { RTM_SETLINK, encodeLink } from '../wire/link.js';
import { NLM_F_ACK } from '../wire/message.js';
import { readSysctl, setSysctl } from './sysctl.js';

/** What is missing, and what to do about it. */
export interface Problem {
  readonly code: string;
  readonly message: string;
  readonly fix: string;
}

/** CAP_*: uapi/linux/capability.h. */
const capabilities = { capNetAdmin: 12, capNetRaw: 13, capSysAdmin: 21, capMknod: 27, capBpf: 39 } as const;

/** Interfaces that the probes stand on: they live in a namespace of their own, and go with it. */
const LOWER = 'lower';
const eth = { selector: { flags: ['terminal'], keys: [{ mask: 0, value: 0, offset: 0 }] } };
const filterOn = (priority: number, kind: string, options: object, actions?: readonly object[]): Operation =>
  ({
    op: 'filter.add',
    link: LOWER,
    filter: { parent: 'ingress', priority, kind, options, ...(actions !== undefined && { actions }) },
  }) as Operation;

/** What is tried for each feature, in this order; `veth` and `clsact` make what the others stand on. */
const probes: Readonly<Record<string, Operation>> = {
  veth: { op: 'veth.create', name: LOWER, options: { up: true }, peer: { name: 'lower-peer', options: {} } },
  bridge: { op: 'link.create', kind: 'bridge', name: 'probe0', options: {} },
  macvlan: link('macvlan', { link: LOWER, mode: 'bridge' }),
  macvtap: link('macvtap', { link: LOWER, mode: 'bridge' }),
  vxlan: link('vxlan', { id: 1 }),
  ifb: link('ifb'),
  dummy: link('dummy'),
  vlan: link('vlan', { link: LOWER, id: 7 }),
  clsact: { op: 'qdisc.add', link: LOWER, qdisc: { kind: 'clsact' } },
  u32: filterOn(1, 'u32', eth),
  matchall: filterOn(2, 'matchall', {}),
  flower: filterOn(3, 'flower', {}),
  clsBpf: filterOn(4, 'bpf', { operations: Uint8Array.of(6, 0, 0, 0, 0, 0, 0, 0) }), // BPF_RET | BPF_K: nothing matches
  mirred: filterOn(5, 'u32', eth, [{ kind: 'mirred', options: { action: 'redirect', direction: 'egress', dev: LOWER } }]),
  skbedit: filterOn(6, 'u32', eth, [{ kind: 'skbedit', options: { mark: 1 } }]),
  pedit: filterOn(7, 'u32', eth, [{ kind: 'pedit', options: { keys: [{ mask: -1, value: 0, offset: 0 }] } }]),
  gact: filterOn(8, 'u32', eth, [{ kind: 'gact', control: 'ok' }]),
};

function link(kind: string, options: object = {}): Operation {
  return { op: 'link.create', kind, name: `probe-${kind}`, options };
}

/**
 * What this kernel and these privileges allow: every feature is tried, in a namespace that is made for it and goes with it. With
 * `netns`, also whether that one may be changed; nothing in it is.
 *
 * @returns ok: what every TAP needs is there; features: by name; problems: what is missing and how it is mended
 * @example for (const { message, fix } of (await checkHost()).problems) console.error(`${message}\n  fix: ${fix}`)
 */
export async function checkHost(
  netns?: Netns,
): Promise<{ readonly ok: boolean; readonly features: Readonly<Record<string, boolean>>; readonly problems: readonly Problem[] }> {
  check(optional(instance(Netns as never, 'a Netns')), netns, 'checkHost');
  const problems: Problem[] = [];
  const features: Record<string, boolean> = await heldCapabilities();
  features.tun = await tunFeatures().then(
    () => true,
    (error: Error) => {
      problems.push({
        code: 'NO_TUN',
        message: error.message,
        fix: 'load the module tun, or give the container the device /dev/net/tun: readable and writable, and allowed by its device cgroup',
      });
      return false;
    },
  );
  const scratch = await Netns.create().catch((error: Error) => {
    problems.push({
      code: 'NO_SYS_ADMIN',
      message: `no network namespace can be made: ${error.message}`,
      fix: 'run as root or with CAP_SYS_ADMIN, or in a user namespace: node --import podtap/unprivileged',
    });
    return undefined;
  });
  features.namespaces = scratch !== undefined;
  if (scratch !== undefined) {
    try {
      features.netnsCookie = scratch.id.cookie !== undefined;
      for (const [name, operation] of Object.entries(probes)) {
        const lacks = await tryOut(scratch, operation);
        features[name] = lacks === undefined;
        if (lacks !== undefined && needed.has(name)) problems.push({ code: `NO_${name.toUpperCase()}`, ...lacks });
      }
      Object.assign(features, await tryBpf(scratch), { nftables: await tryNft(scratch) });
    } finally {
      await scratch.close();
    }
  }
  if (netns !== undefined) await checkNetns(netns, problems);
  return { ok: problems.length === 0, features, problems };
}

/** Of this process, in its own user namespace: the effective ones. capabilities(7). */
async function heldCapabilities(): Promise<Record<string, boolean>> {
  const held = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(await readFile('/proc/self/status', 'latin1'))?.[1] ?? '0'}`);
  return Object.fromEntries(Object.entries(capabilities).map(([name, bit]) => [name, ((held >> BigInt(bit)) & 1n) === 1n]));
}

/** Without these there is no datapath from eth0 to a TAP. */
const needed = new Set(['veth', 'bridge', 'mirred']);

/** undefined: it works. */
async function tryOut(scratch: Netns, operation: Operation): Promise<Omit<Problem, 'code'> | undefined> {
  try {
    await run(scratch, 'checkHost', [operation]);
    return undefined;
  } catch (error) {
    if (error instanceof UnsupportedError) return { message: error.message, fix: `load the module, or use a kernel with ${error.config}` };
    // What it stands on is missing, and has been told as such.
    if (error instanceof NetlinkError || error instanceof PodtapError) return { message: error.message, fix: 'see the other problems' };
    throw error;
  }
}

/** bpf: programs can be loaded; tcx: and attached without a qdisc (else by cls_bpf, where there is clsact). No problem where not: other datapaths need neither. */
async function tryBpf(scratch: Netns): Promise<{ bpf: boolean; tcx: boolean }> {
  const missing = (error: unknown): undefined => {
    if (!(error instanceof UnsupportedError || error instanceof PodtapError)) throw error;
    return undefined;
  };
  const instructions = Uint8Array.of(0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x95, 0, 0, 0, 0, 0, 0, 0); // r0 = -1; exit
  const program = await loadProgram('probe', { instructions }).catch(missing);
  const lower = await findLink(scratch, LOWER);
  if (program === undefined || lower === undefined) return { bpf: program !== undefined, tcx: false };
  try {
    const attached = attachTcx(scratch, { ifindex: lower.ifindex, direction: 'ingress' }, program).then(() => true);
    return { bpf: true, tcx: (await attached.catch(missing)) ?? false };
  } finally {
    await program.close();
  }
}

/** Tables of devices' families too. */
async function tryNft(scratch: Netns): Promise<boolean> {
  const hook = { name: 'ingress', priority: 0, devices: [LOWER] };
  try {
    await changeNft(scratch, [
      { create: { table: { family: 'netdev', name: 'probe' } } },
      { create: { chain: { family: 'netdev', table: 'probe', name: 'probe', hook } } },
    ]);
    return true;
  } catch (error) {
    if (error instanceof UnsupportedError || error instanceof NetlinkError || error instanceof PodtapError) return false;
    throw error;
  }
}

async function checkNetns(netns: Netns, problems: Problem[]): Promise<void> {
  // A change of nothing: refused all the same where changes are.
  await request(attachment(netns).socket, [encodeLink(RTM_SETLINK, NLM_F_ACK, { ifindex: 1 })]).catch((error: Error) =>
    problems.push({
      code: 'NO_NET_ADMIN',
      message: `this namespace may not be changed: ${error.message}`,
      fix: "run with CAP_NET_ADMIN in the namespace's user namespace",
    }),
  );
  const key = 'net.ipv4.ip_forward';
  await setSysctl(netns, key, await readSysctl(netns, key)).catch((error: PodtapError) => {
    // Without privileges it is refused too, which has been told.
    if (error.code === 'EROFS')
      problems.push({ code: 'SYSCTL_READ_ONLY', message: error.message, fix: 'mount /proc/sys writable, or run outside of the container' });
  });
}
