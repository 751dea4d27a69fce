import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UnsupportedError } from './errors.js';

declare const descriptorBrand: unique symbol;

/**
 * A file descriptor that native code owns: closed by `close`, or when it is garbage collected, or when the
 * environment (the process or a worker) ends. Work that is under way on it keeps the number from being reused.
 */
export interface Descriptor {
  readonly [descriptorBrand]: never;
}

/** What every failed system call rejects or throws with: an Error with these fields. */
export interface SystemFailure extends Error {
  readonly errno: number; // positive, as in errno.h
  readonly syscall: string; // 'setns', 'open', 'ioctl(TUNSETIFF)' ...
  readonly path?: string;
}

/** How a batch of netlink requests went. */
export interface NetlinkReply {
  /**
   * Every message the kernel answered with, back to back (each 4-byte aligned, as received): objects, NLMSG_DONE,
   * NLMSG_ERROR (acknowledgements too). In each, nlmsg_seq is the index of the request in the batch that it answers.
   */
  readonly replies: ArrayBuffer;
  /** Requests that were executed and answered without error. Less than the batch: the next one failed, the rest was not sent. */
  readonly completed: number;
  /** 0, or the errno of the transport itself (sendmsg, recvmsg; EMSGSIZE where an answer was truncated): the request at `completed` has no answer. */
  readonly errno: number;
  readonly syscall: string | undefined;
}

/** How to open a TAP or TUN device: the fields of TUNSETIFF and of the ioctls around it. */
export interface TunSpec {
  readonly name: string; // '' or 'tap%d': the kernel chooses
  readonly flags: number; // IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE; of the first queue also IFF_TUN_EXCL
  readonly queues: number; // descriptors to open, the first with IFF_TUN_EXCL if `flags` has it
  readonly ifindex?: number; // TUNSETIFINDEX, before TUNSETIFF
  readonly persist?: boolean; // TUNSETPERSIST
  readonly owner?: number; // TUNSETOWNER; 0 is root, undefined is not sent
  readonly group?: number; // TUNSETGROUP
  readonly vnetHeaderSize?: number; // TUNSETVNETHDRSZ
  readonly offload?: number; // TUNSETOFFLOAD: TUN_F_* bits, on every queue; 0 is sent
  readonly hold?: boolean; // false: the descriptors are closed in the same trip, and `queues` is empty
}

export interface TunInfo {
  readonly name: string;
  readonly ifindex: number;
  readonly flags: number; // TUNGETIFF
  readonly vnetHeaderSize: number; // TUNGETVNETHDRSZ; 0 without IFF_VNET_HDR
}

/** How to open a macvtap: the same, as far as its character device knows it. */
export interface MacvtapSpec {
  readonly ifindex: number;
  readonly flags: number; // IFF_TAP | IFF_NO_PI, and IFF_VNET_HDR, IFF_MULTI_QUEUE
  readonly queues: number; // each is an open(2) of its own
  readonly vnetHeaderSize?: number;
  readonly offload?: number;
}

/** Of a character device. */
export interface DeviceNumber {
  readonly major: number;
  readonly minor: number;
}

export interface PacketSpec {
  readonly ifindex: number;
  readonly protocol: number; // ETH_P_*, host byte order
  readonly filter?: Uint8Array; // struct sock_filter[], attached before the socket is bound
  readonly outgoing?: boolean; // false: PACKET_IGNORE_OUTGOING
  readonly promiscuous?: boolean; // PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC
  readonly ringBlocks?: number; // for readPackets: TPACKET_V3, blocks of 128 KiB, handed over when they are full or 8 ms old
  readonly bufferSize?: number; // SO_RCVBUFFORCE, else SO_RCVBUF; bytes
}

export interface SocketSpec {
  readonly family: 4 | 6;
  readonly type: 'tcp-listen' | 'tcp-connect' | 'udp' | 'icmp';
  readonly address: string; // textual, without a zone
  readonly port: number; // 0 for icmp
  readonly scopeId?: number; // ifindex, for IPv6 link-local
}

/** struct bpf_insn[] and what stands around it: BPF_PROG_LOAD. */
export interface BpfProgramSpec {
  readonly type: number; // BPF_PROG_TYPE_*
  readonly attachType?: number; // expected_attach_type
  readonly name: string; // up to 15 bytes
  readonly license: string;
  readonly instructions: Uint8Array;
  readonly relocations: readonly number[]; // pairs: the instruction that loads a map, and which of `maps`
  readonly maps: readonly Descriptor[];
}

export interface BpfMapSpec {
  readonly type: number; // BPF_MAP_TYPE_*
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly name: string;
}

/** Where a program is attached: to an interface, among others (since Linux 6.6). */
export interface BpfPlace {
  readonly ifindex: number;
  readonly attachType: number; // BPF_TCX_INGRESS, ...
  readonly flags?: number; // BPF_F_BEFORE, BPF_F_AFTER, BPF_F_REPLACE; BPF_F_ID and BPF_F_LINK say what relativeId is
  readonly relativeId?: number;
  readonly expectedRevision?: bigint;
}

export interface BpfProgramInfo {
  readonly id: number;
  readonly type: number;
  readonly name: string;
  readonly tag: string; // of the instructions, as hexadecimal
  readonly instructions: number; // as the kernel runs them; 0 where it may not be told
  readonly mapIds: readonly number[];
  readonly loadTime: bigint; // ns since boot
  readonly runTime: bigint; // ns, while bpfEnableStatistics is held
  readonly runCount: bigint;
}

export interface BpfMapInfo extends BpfMapSpec {
  readonly id: number;
}

export interface BpfLinkInfo {
  readonly id: number;
  readonly type: number; // BPF_LINK_TYPE_*
  readonly program: number;
  readonly ifindex: number; // of tcx; 0: the interface is gone
  readonly attachType: number;
}

/** How far a batch came; errno of the one at `completed`. */
export interface BpfMapReply {
  readonly completed: number;
  readonly errno: number;
}

export interface NativeAddon {
  // ---- descriptors
  close(descriptor: Descriptor): void; // idempotent; a wait under way rejects with ECANCELED
  /** As `close`, off the JavaScript thread: of what the kernel lets go only after RCU waits of milliseconds. Packet sockets, and TAPs: the last queue of one that is not persistent takes the device with it. */
  closeSlowly(descriptor: Descriptor): Promise<void>;
  number(descriptor: Descriptor): number; // -1 once closed
  duplicate(descriptor: Descriptor): number; // F_DUPFD_CLOEXEC: the caller owns it
  adopt(fd: number): Descriptor; // takes a duplicate; the caller keeps its own
  release(descriptor: Descriptor): number; // the caller owns it from now on
  closeNumber(fd: number): void; // of one that was released or duplicated; node:fs cannot everywhere: Deno's has numbers of its own
  /** Descriptors that are open in this environment: for leak checks. */
  openDescriptors(): number;

  // ---- waiting: one epoll thread for each environment, started at need
  /** Resolves with the poll(2) events seen (POLLERR and POLLHUP always count). Keeps the event loop alive. One waiter for each descriptor and direction. */
  wait(descriptor: Descriptor, direction: 'readable' | 'writable'): Promise<number>;
  cancelWait(descriptor: Descriptor): void; // rejects its waits with ECANCELED
  /** None of these blocks. Datagrams are laid back to back in `into`; the first `count` entries of `ends` say where each ends. How many were read; -errno if the first could not be (-EAGAIN: none there). read(2) for tun, recv(2) else. */
  readTun(descriptor: Descriptor, into: Uint8Array, ends: Uint32Array): number;
  readSocket(descriptor: Descriptor, into: Uint8Array, ends: Uint32Array): number;
  /** As readSocket, but what the kernel did not send (nl_pid other than 0) is passed over. */
  readNetlink(descriptor: Descriptor, into: Uint8Array, ends: Uint32Array): number;
  /** As readSocket, of a packet socket with a ring: before each frame stands a header, which lib/wire/capture.ts reads. */
  readPackets(descriptor: Descriptor, into: Uint8Array, ends: Uint32Array): number;
  /** write(2) of each, from the one at `from` on; how many were written, -errno if the first could not be. */
  write(descriptor: Descriptor, datagrams: readonly Uint8Array[], from: number): number;

  // ---- namespaces
  netnsOpen(path: string): Promise<Descriptor>; // EINVAL where the path is no network namespace
  netnsCreate(): Promise<Descriptor>; // anonymous: it lives as long as a descriptor, process or mount does
  netnsMount(netns: Descriptor, path: string): Promise<void>; // as ip-netns(8): file and bind mount; EEXIST
  netnsUnmount(path: string): Promise<void>; // umount2(MNT_DETACH), unlink
  /** Enters it once: a request socket, and who it is. */
  netnsAttach(netns: Descriptor): Promise<{ socket: Descriptor; cookie: bigint | undefined; inode: bigint }>;
  /** O_PATH on /proc/sys/net/<name> as seen inside. */
  sysctlOpen(netns: Descriptor, name: string): Promise<Descriptor>;
  sysctlRead(directory: Descriptor, path: string): Promise<string>;
  sysctlWrite(directory: Descriptor, path: string, value: string): Promise<void>;
  /** A file of /proc/net as seen inside. */
  procNetRead(netns: Descriptor, name: string): Promise<string>;
  /** Bound and listening, or connecting (wait 'writable', then socketError), or connected where UDP and ICMP have a peer. Non-blocking. */
  socketOpen(netns: Descriptor, spec: SocketSpec): Promise<Descriptor>;
  socketError(descriptor: Descriptor): number; // SO_ERROR

  // ---- netlink
  /** A further socket, with EXT_ACK, CAP_ACK and STRICT_CHK as every one; joined to multicast groups (RTNLGRP_*). */
  netlinkOpen(netns: Descriptor, protocol: number, options: { groups?: readonly number[]; bufferSize?: number }): Promise<Descriptor>;
  /** One trip. `messages` is whole nlmsghdrs back to back; nlmsg_seq and nlmsg_pid are set by native code. Requests on one socket are run in the order of the calls. */
  netlinkRequest(socket: Descriptor, messages: Uint8Array): Promise<NetlinkReply>;
  /** The same messages as one datagram, for nfnetlink's transactions: `completed` is 0 or all, and the replies tell which of them failed. */
  netlinkBatch(socket: Descriptor, messages: Uint8Array): Promise<NetlinkReply>;

  // ---- devices
  tunOpen(netns: Descriptor, spec: TunSpec): Promise<TunInfo & { queues: Descriptor[] }>;
  // Every ioctl on a tun descriptor takes RTNL, which others can hold for milliseconds: so none of them is synchronous.
  tunInfo(queue: Descriptor): Promise<TunInfo>;
  tunFeatures(): Promise<number>; // TUNGETFEATURES
  tunSetQueue(queue: Descriptor, attached: boolean): Promise<void>;
  /** Which device a descriptor of another process belongs to (pidfd_getfd(2), TUNGETIFF, TUNGETDEVNETNS). */
  tunOf(pid: number, fd: number): Promise<{ name: string; netnsInode: bigint }>;
  /** ENOENT of 'openat': there is no macvtap with that index; of 'fsopen', 'fsconfig', 'fsmount': no sysfs can be mounted. */
  macvtapFind(netns: Descriptor, ifindex: number): Promise<DeviceNumber>;
  macvtapOpen(netns: Descriptor, spec: MacvtapSpec): Promise<TunInfo & { queues: Descriptor[] }>;
  packetOpen(netns: Descriptor, spec: PacketSpec): Promise<Descriptor>;
  /** Since the last call: frames that the filter took, those without room among them, and these. PACKET_STATISTICS. */
  packetStatistics(descriptor: Descriptor): { readonly received: number; readonly dropped: number };

  // ---- eBPF: bpf(2); keys and values back to back, those of maps for each CPU with the values of all CPUs, 8-byte aligned
  bpfMapCreate(spec: BpfMapSpec): Promise<Descriptor>;
  /** Of a key that is not there `found` is 0, and its value zeros. */
  bpfMapGet(map: Descriptor, keys: Uint8Array): Promise<{ values: ArrayBuffer; found: ArrayBuffer }>;
  bpfMapSet(map: Descriptor, keys: Uint8Array, values: Uint8Array, flags: number): Promise<BpfMapReply>;
  /** `completed` counts what was there; what was not is passed over. */
  bpfMapDelete(map: Descriptor, keys: Uint8Array): Promise<BpfMapReply>;
  bpfMapEntries(map: Descriptor): Promise<{ keys: ArrayBuffer; values: ArrayBuffer }>;
  bpfMapInfo(map: Descriptor): Promise<BpfMapInfo>;
  /** Without `program` the kernel refused it: errno, and what the verifier says. */
  bpfProgramLoad(spec: BpfProgramSpec): Promise<{ program?: Descriptor; errno: number; log: string }>;
  bpfProgramInfo(program: Descriptor): Promise<BpfProgramInfo>;
  /** BPF_PROG_TEST_RUN of one frame, which comes in by the namespace's loopback. */
  bpfProgramRun(
    netns: Descriptor,
    program: Descriptor,
    frame: Uint8Array,
    repeat: number,
  ): Promise<{ value: number; nanoseconds: number; data: ArrayBuffer }>;
  bpfEnableStatistics(): Promise<Descriptor>; // while it is open
  bpfOpenId(kind: 'program' | 'map' | 'link', id: number): Promise<Descriptor>;
  bpfIds(kind: 'program' | 'map' | 'link'): Promise<readonly number[]>; // of the whole machine
  bpfPin(object: Descriptor, path: string): Promise<void>;
  bpfOpenPinned(path: string): Promise<Descriptor>;
  /** BPF_PROG_ATTACH: stays until it is detached or the interface goes. */
  bpfAttach(netns: Descriptor, place: BpfPlace, program: Descriptor, replaced?: Descriptor): Promise<void>; // BPF_F_REPLACE: `replaced`
  bpfDetach(netns: Descriptor, place: BpfPlace, program: Descriptor): Promise<void>;
  /** BPF_LINK_CREATE: attached while it is open somewhere, or pinned. */
  bpfLinkCreate(netns: Descriptor, place: BpfPlace, program: Descriptor): Promise<Descriptor>;
  bpfLinkDetach(link: Descriptor): Promise<void>;
  bpfLinkInfo(link: Descriptor): Promise<BpfLinkInfo>;
  /** In the order in which they run; `link` is 0 of what was attached without one. */
  bpfHookQuery(
    netns: Descriptor,
    place: BpfPlace,
  ): Promise<{ revision: bigint; attached: readonly { readonly program: number; readonly link: number }[] }>;

  // ---- locks
  /** flock(2) on a file of that name, which is made at need: held until it is released, or its environment or process ends. EAGAIN where somebody else has it; never waits. */
  lockAcquire(directory: string, name: string): Descriptor;
  /** Takes the file away, lets go and closes; from the call on the descriptor counts as closed. */
  lockRelease(lock: Descriptor, directory: string, name: string): void;
}

let loaded: NativeAddon | undefined;

/** The addon, loaded at the first call that needs the kernel, so that types and pure code can be imported on any OS. */
export function native(): NativeAddon {
  return (loaded ??= load());
}

/** Where the addon was found; the programs that were built with it are there too. */
export function addonDirectory(): string {
  return dirname((native() as NativeAddon & { path: string }).path); // `bindings` adds it
}

function load(): NativeAddon {
  if (process.platform !== 'linux') throw new UnsupportedError(`podtap needs Linux; this is ${process.platform}`, { feature: 'linux' });
  const require = createRequire(import.meta.url);
  const bindings = require('bindings') as (options: object) => NativeAddon;
  const root = fileURLToPath(new URL('../../', import.meta.url)); // from dist/lib and dist/bundle
  return bindings({
    bindings: 'podtap.node',
    module_root: root,
    try: [
      ['module_root', 'build', 'Release', 'bindings'],
      ['module_root', 'build', 'Debug', 'bindings'],
      ['module_root', 'prebuilds', `${process.platform}-${process.arch}`, 'bindings'],
    ],
  });
}
