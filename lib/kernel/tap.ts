import { readFile, readdir, readlink, stat } from 'node:fs/promises';
import { check } from '../check.js';
import { PodtapError, UnsupportedError } from '../errors.js';
import { type Descriptor, type SystemFailure, type TunSpec, native } from '../native.js';
import { errnoCode } from '../wire/errno.js';
import { TapDevice, type TapPlace, type TapShape, closeTun, signalOption, tunSpec } from './device.js';
import { pass } from './gate.js';
import { findLink } from './link.js';
import { type Netns, type Scope, attachment } from './netns.js';
import { system } from './system.js';
import { subscribe } from './watch.js';

export { type TapFds, type TapHolder, type TapOffload, type TapPlace, type TapShape, closeTun, placeIn, tunSpec } from './device.js';
export type { TunSpec };

/** For a change of carrier that no event tells of: a TAP that is down has none. */
const POLL_MILLISECONDS = 250;

/** What went wrong with /dev/net/tun, in the words of who must mend it. */
export function tunFailure(failure: SystemFailure): Error | undefined {
  const code = errnoCode(failure.errno);
  const details = { errno: -failure.errno, syscall: failure.syscall, path: failure.path };
  if (failure.path === '/dev/net/tun') {
    const why =
      code === 'ENOENT' || code === 'ENXIO' || code === 'ENODEV'
        ? 'there is no /dev/net/tun: load the module tun (CONFIG_TUN), or in a container give it the device (mknod /dev/net/tun c 10 200)'
        : code === 'EACCES' || code === 'EPERM'
          ? '/dev/net/tun is closed to this user: its mode, or the device cgroup of the container, must allow reading and writing'
          : undefined;
    if (why !== undefined) return new PodtapError(`${code}: ${why}`, { code: 'ERR_TUN_UNAVAILABLE', ...details });
  }
  // Something else stands there by that name.
  if (code === 'ENOTTY' && failure.syscall.startsWith('ioctl(TUN')) {
    return new PodtapError('ENOTTY: /dev/net/tun is another device here: make it anew (mknod /dev/net/tun c 10 200)', { code: 'ERR_TUN_UNAVAILABLE', ...details }); // prettier-ignore
  }
  // It cannot be the others (tunSpec): they are older than any kernel with network namespaces as podtap needs them.
  if (code === 'EINVAL' && failure.syscall === 'ioctl(TUNSETOFFLOAD)') {
    return new UnsupportedError("this kernel's TAPs cannot leave UDP segments to the guest ('offload': uso): they can since Linux 6.2", {
      feature: 'tap offload uso',
      minimumKernel: '6.2',
    });
  }
  if (code === 'EPERM' && failure.syscall === 'ioctl(TUNSETIFF)') {
    return new PodtapError('EPERM: making or opening this TAP needs CAP_NET_ADMIN in its namespace, or to be its owner or in its group', {
      code,
      ...details,
    });
  }
  return undefined;
}

/** Descriptors of a device that were opened already: a queue each. */
export type HeldQueues = readonly Descriptor[];

/**
 * A TAP device: an interface whose wire is a descriptor. Holds none until one is needed, if the device is persistent, so that a
 * monitor can open it by name.
 */
export class Tap extends TapDevice {
  readonly #place: TapPlace;
  readonly #shape: TapShape;

  /** For the primitives: see createTap and openTap. */
  constructor(
    place: TapPlace,
    link: { readonly ifindex: number; readonly mac: string; readonly mtu: number },
    shape: TapShape,
    held: readonly Descriptor[],
  ) {
    super(link, shape, held, 'TAP');
    this.#place = place;
    this.#shape = shape;
  }

  /** Resolves when somebody (a monitor, or this object) has a queue of it open: when the TAP has carrier. */
  async waitAttached(settings: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const gone = (): never => {
      throw new PodtapError(`the TAP '${this.name}' is gone`, { code: 'ENODEV' });
    };
    await this.#place.use((netns) =>
      this.#waitCarrier(netns, (carrier) => (carrier === undefined ? gone() : carrier), settings, 'waitAttached'),
    );
  }

  /** Resolves when nobody has it open any more, or the TAP is gone. */
  async waitDetached(settings: { readonly signal?: AbortSignal } = {}): Promise<void> {
    await this.#place.use((netns) => this.#waitCarrier(netns, (carrier) => carrier !== true, settings, 'waitDetached'));
  }

  protected override openQueues(): Promise<readonly Descriptor[]> {
    return this.#place.use((netns) => openQueues(netns, this.#shape, this.ifindex));
  }

  protected override async queuesOf(pid: number): Promise<number> {
    let queues = 0;
    for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
      const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '');
      if (target === '/dev/net/tun' && (await this.#isOurs(pid, Number(fd)))) queues++;
    }
    return queues;
  }

  async #isOurs(pid: number, fd: number): Promise<boolean> {
    const { inode } = this.#place.id;
    try {
      const { name, netnsInode } = await native().tunOf(pid, fd);
      return name === this.name && netnsInode === inode;
    } catch {
      // Not ours to ask (ptrace(2) access), or an old kernel: the name must do, in a process of the TAP's namespace.
      const info = await readFile(`/proc/${pid}/fdinfo/${fd}`, 'latin1').catch(() => '');
      const process = await stat(`/proc/${pid}/ns/net`, { bigint: true }).catch(() => undefined);
      return /^iff:\t(.*)$/m.exec(info)?.[1] === this.name && process?.ino === inode;
    }
  }

  async #waitCarrier(
    netns: Netns,
    done: (carrier: boolean | undefined) => boolean,
    settings: { readonly signal?: AbortSignal },
    where: string,
  ): Promise<void> {
    this.checkOpen();
    const { signal } = check(signalOption, settings, where);
    signal?.throwIfAborted();
    const stop = new AbortController();
    const abort = (): void => stop.abort();
    signal?.addEventListener('abort', abort);
    // Subscribed before it is looked at, so that no change falls between.
    const events = await subscribe(netns, ['link'], { signal: stop.signal });
    const changes = events.changes[Symbol.asyncIterator]();
    try {
      let next = changes.next();
      for (;;) {
        if (done((await findLink(netns, this.ifindex))?.carrier)) return;
        const event = await Promise.race([next, pause(POLL_MILLISECONDS, stop.signal)]);
        signal?.throwIfAborted();
        if (event !== undefined) next = changes.next();
      }
    } finally {
      stop.abort();
      signal?.removeEventListener('abort', abort);
      await changes.return?.().catch(() => undefined);
      events.close();
    }
  }
}

export interface OpenedTun {
  readonly name: string;
  readonly ifindex: number;
  readonly flags: number;
  readonly vnetHeaderSize: number;
  /** Empty where they were not to be held. */
  readonly queues: readonly Descriptor[];
}

/** Makes or opens a TAP; every ioctl in one trip. */
export function openTun(scope: Scope, spec: TunSpec): Promise<OpenedTun> {
  const open = (): Promise<OpenedTun> => native().tunOpen(attachment(scope).netns, spec);
  return system(pass(`TUNSETIFF ${spec.name}`, open, { syscall: 'ioctl(TUNSETIFF)' }, closeTun), tunFailure);
}

/**
 * What the driver can: IFF_* bits of TUNGETFEATURES.
 * @throws PodtapError ERR_TUN_UNAVAILABLE
 */
export function tunFeatures(): Promise<number> {
  return system(native().tunFeatures(), tunFailure);
}

/** Opens the queues of a TAP that exists. TUNSETIFF makes one where there is none, so what was opened is compared with what was meant. */
export async function openQueues(scope: Scope, shape: TapShape, ifindex: number): Promise<readonly Descriptor[]> {
  const { queues, ...info } = await openTun(scope, tunSpec(shape, { hold: true }));
  if (info.ifindex === ifindex) return queues;
  await closeTun({ queues });
  throw new PodtapError(`the TAP '${shape.name}' with ifindex ${ifindex} is gone`, { code: 'ENODEV' });
}

function pause(milliseconds: number, signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve(undefined);
    };
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener('abort', end);
  });
}
