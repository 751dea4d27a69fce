// A macvtap: an interface on another one, whose wire is a character device with a number of its own.
import { readdir, readlink, stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { check } from '../check.js';
import { PodtapError, UnsupportedError } from '../errors.js';
import { type Descriptor, type DeviceNumber, type SystemFailure, native } from '../native.js';
import { errnoCode } from '../wire/errno.js';
import { TapDevice, type TapPlace, type TapShape, closeTun, signalOption, tunSpec } from './device.js';
import { pass } from './gate.js';
import { type Scope, attachment } from './netns.js';
import { system } from './system.js';

const POLL_MILLISECONDS = 250;

/**
 * A macvtap, held by its descriptors: there is no name by which a monitor could open it. Holds none until one is needed; the interface
 * stays when all are closed.
 */
export class Macvtap extends TapDevice {
  #number: DeviceNumber | (() => Promise<DeviceNumber>);
  readonly #place: TapPlace;
  readonly #shape: TapShape;

  /** For the primitives: see openMacvtap. */
  constructor(
    place: TapPlace,
    link: { readonly ifindex: number; readonly mac: string; readonly mtu: number },
    shape: TapShape,
    device: DeviceNumber | (() => Promise<DeviceNumber>),
  ) {
    super(link, shape, [], 'macvtap');
    this.#place = place;
    this.#shape = shape;
    this.#number = device;
  }

  /** Of its character device, for a device cgroup or a node of one's own: `mknod PATH c MAJOR MINOR`. Of one that has not been looked for yet: 0:0; see `findDevice`. */
  get device(): DeviceNumber {
    return typeof this.#number === 'function' ? { major: 0, minor: 0 } : this.#number;
  }

  /** Looks for it, where that was not done. @throws PodtapError ENODEV, EPERM */
  async findDevice(): Promise<DeviceNumber> {
    if (typeof this.#number === 'function') this.#number = await this.#number();
    return this.#number;
  }

  /** Resolves when somebody has a queue of it open: the kernel tells nobody, so it is asked again and again. */
  async waitAttached(settings: { readonly signal?: AbortSignal } = {}): Promise<void> {
    await this.#waitHolders(true, settings, 'waitAttached');
  }

  /** Resolves when nobody has it open any more. */
  async waitDetached(settings: { readonly signal?: AbortSignal } = {}): Promise<void> {
    await this.#waitHolders(false, settings, 'waitDetached');
  }

  async #waitHolders(held: boolean, settings: { readonly signal?: AbortSignal }, where: string): Promise<void> {
    const { signal } = check(signalOption, settings, where);
    while ((await this.holders()).length > 0 !== held) await delay(POLL_MILLISECONDS, undefined, { signal });
  }

  protected override async openQueues(): Promise<readonly Descriptor[]> {
    const { queues, vnetHeaderSize, offload, flags } = tunSpec(this.#shape);
    const spec = { ifindex: this.ifindex, queues, flags, ...(vnetHeaderSize !== undefined && { vnetHeaderSize }), ...(offload !== undefined && { offload }) }; // prettier-ignore
    const open = (): ReturnType<ReturnType<typeof native>['macvtapOpen']> =>
      this.#place.use((netns) => native().macvtapOpen(attachment(netns).netns, spec));
    const opened = await system(
      pass(`open macvtap ${this.name}`, open, { syscall: 'openat' }, closeTun),
      (failure) => this.#refusal(failure) ?? macvtapFailure(this.name, failure),
    );
    return opened.queues;
  }

  /** Its number is the device's own, on the whole machine: what has it open is a queue. */
  protected override async queuesOf(pid: number): Promise<number> {
    let queues = 0;
    const device = await this.findDevice();
    for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
      const path = `/proc/${pid}/fd/${fd}`;
      const target = await readlink(path).catch(() => '');
      // Not every file: one on a network that is gone would keep who asks.
      if (!/tap[^/]*$/.test(target)) continue;
      const status = await stat(path).catch(() => undefined);
      if (status?.isCharacterDevice() === true && status.rdev === encodeDevice(device)) queues++;
    }
    return queues;
  }

  #refusal({ errno, syscall, path }: SystemFailure): PodtapError | undefined {
    const code = errnoCode(errno);
    const { major, minor } = this.device;
    const details = { code, errno: -errno, syscall, path };
    const node = `mknod /dev/tap${this.ifindex} c ${major} ${minor}`;
    if (syscall === 'mknodat' && code === 'EPERM')
      return new PodtapError(
        `EPERM: the macvtap '${this.name}' is opened by its character device ${major}:${minor}, for which no node can be made here (CAP_MKNOD ` +
          `of the first user namespace is missing), and none of /dev/tap* is it. Run as real root, or have one made: ${node}`,
        details,
      );
    if ((syscall === 'openat' || syscall === 'open') && (code === 'EPERM' || code === 'EACCES'))
      return new PodtapError(
        `${code}: the character device ${major}:${minor} of the macvtap '${this.name}' is closed to this process: its mode, or the device cgroup, must allow 'c ${major}:${minor} rw'`,
        details,
      );
    if ((syscall === 'openat' || syscall === 'open') && (code === 'ENODEV' || code === 'ENXIO' || code === 'ENOENT')) return gone(this.name, this.ifindex); // prettier-ignore
    return undefined;
  }
}

/**
 * The number of its character device: which is not the ifindex, and stands in no netlink message.
 * @throws PodtapError ENODEV: there is no macvtap with that ifindex; EPERM: no sysfs can be mounted to look it up
 */
export async function findDevice(scope: Scope, name: string, ifindex: number): Promise<DeviceNumber> {
  return system(native().macvtapFind(attachment(scope).netns, ifindex), (failure) =>
    failure.syscall === 'openat' && errnoCode(failure.errno) === 'ENOENT' ? gone(name, ifindex) : macvtapFailure(name, failure),
  );
}

function gone(name: string, ifindex: number): PodtapError {
  return new PodtapError(`the macvtap '${name}' with ifindex ${ifindex} is gone`, { code: 'ENODEV' });
}

function macvtapFailure(name: string, { errno, syscall, path }: SystemFailure): Error | undefined {
  const code = errnoCode(errno);
  if (!['fsopen', 'fsconfig', 'fsmount'].includes(syscall)) return undefined;
  if (code === 'ENOSYS')
    return new UnsupportedError(`a macvtap is opened by way of fsopen(2), which this kernel has not: it is there since Linux 5.2`, {
      feature: 'fsopen',
      minimumKernel: '5.2',
    });
  return new PodtapError(
    `${code}: ${syscall} '${path ?? ''}': the character device of the macvtap '${name}' is told by a sysfs of its namespace only, and none can be ` +
      'mounted: that needs CAP_SYS_ADMIN, and in a user namespace a /sys that is wholly visible',
    { code, errno: -errno, syscall, path },
  );
}

/** As st_rdev has it: makedev(3). */
function encodeDevice({ major, minor }: DeviceNumber): number {
  return (minor & 0xff) + ((major & 0xfff) << 8) + (minor >>> 8) * 0x100000;
}
