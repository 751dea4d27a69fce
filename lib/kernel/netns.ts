import type { ChildProcess, SpawnOptions, StdioOptions } from 'node:child_process';
import { readdir, readlink, stat } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import * as v from 'valibot';
import { type Schema, abortSignal, boolean, check, integer, ip, oneOf, optional, options, u16 } from '../check.js';
import { PodtapError, invalidArgument } from '../errors.js';
import { type Descriptor, native } from '../native.js';
import { errnoCode, errnoMessage } from '../wire/errno.js';
import { NLM_F_ACK } from '../wire/message.js';
import { RTM_SETLINK, encodeLink } from '../wire/link.js';
import { helperPath } from './helper.js';
import { request } from './netlink.js';
import { isSystemFailure, system } from './system.js';

/** Which namespace: a path (a plain string is one too), a process, a name of ip-netns(8), an open descriptor. */
export type NetnsRef = string | { readonly path: string } | { readonly pid: number } | { readonly name: string } | { readonly fd: number };

/** Where ip-netns(8) keeps named namespaces. */
const NAMED = '/run/netns';
const LOOPBACK = 1; // ifindex, in every namespace

const path = v.pipe(v.string('must be a path'), v.check((value) => value !== '' && !value.includes('\0'), 'must be a path, neither empty nor with NUL')); // prettier-ignore
const name = v.pipe(
  v.string('must be a name'),
  v.check(
    (value) => /^[^/\0]{1,255}$/u.test(value) && value !== '.' && value !== '..',
    "must be a name: 1 to 255 characters without '/' or NUL",
  ),
);
const descriptorNumber = integer(0, 0x7fffffff);
const reference: Schema<NetnsRef> = v.union(
  [path, options({ path }), options({ pid: integer(1, 0x7fffffff) }), options({ name }), options({ fd: descriptorNumber })],
  'must be a namespace: a path, { path }, { pid }, { name } or { fd }',
);
const socketOptions = options({ type: oneOf('tcp-listen', 'tcp-connect', 'udp'), address: ip, port: u16, signal: optional(abortSignal) });

/** What a Netns is made of; see `attachment`. */
interface Attachment {
  readonly netns: Descriptor;
  /** For requests; events have sockets of their own. */
  readonly socket: Descriptor;
  readonly sysctl: Map<string, Promise<Descriptor>>;
  /** How many handles share it. */
  users: number;
}

/** A namespace, or what acts in one: a transaction. */
export type Scope = Netns | { readonly netns: Netns };

export function netnsOf(scope: Scope): Netns {
  return scope instanceof Netns ? scope : scope.netns;
}

/** A second handle on the same open namespace, to be closed by itself. */
export let share: (netns: Netns) => Netns;

/** For the rooms above: what stands behind a Netns. Throws where it is none, or closed. */
export let attachment: (scope: Scope) => Attachment;

/** The number of its descriptor, for the kernel to find it by (IFLA_NET_NS_FD): good while the handle is open. */
export function netnsNumber(scope: Scope): number {
  return native().number(attachment(scope).netns);
}

/**
 * An open network namespace. It pins the namespace, so close it (`await using`, or `close()`); idle, it does not keep the event
 * loop alive. No thread of the program ever enters it: a short-lived native thread does, and opens there what is needed.
 */
export class Netns implements AsyncDisposable {
  /**
   * Boot id and SO_NETNS_COOKIE name a namespace for ever; inode numbers are used again within seconds. `cookie` is undefined
   * before Linux 5.14.
   */
  readonly id: { readonly bootId: string; readonly cookie: bigint | undefined; readonly inode: bigint };
  /** For jailers, nsenter(1) and CNI. That of an anonymous namespace (/proc/PID/fd/N) is good while this handle is open. */
  readonly path: string | undefined;
  #attachment: Attachment | undefined;

  static {
    attachment = (scope) => {
      const netns = typeof scope === 'object' && scope !== null ? netnsOf(scope) : undefined;
      if (!(netns instanceof Netns))
        throw invalidArgument(
          'ERR_INVALID_ARG_TYPE',
          'the first argument must be a Netns, from Netns.open() and its kin, or a Transaction',
        );
      if (netns.#attachment === undefined) throw new PodtapError('this Netns is closed', { code: 'ERR_NETNS_CLOSED' });
      return netns.#attachment;
    };
    share = (netns) => {
      const attached = attachment(netns);
      attached.users++;
      return new Netns(netns.id, netns.path, attached);
    };
  }

  private constructor(id: Netns['id'], path: string | undefined, attached: Attachment) {
    this.id = id;
    this.path = path;
    this.#attachment = attached;
  }

  /** The namespace of this process. Like `ip` without `-n`. */
  static current(): Promise<Netns> {
    return Netns.open('/proc/self/ns/net');
  }

  /**
   * Opens a namespace that exists. Like `ip -n NAME`, `nsenter --net=PATH`.
   * @throws PodtapError ERR_NETNS_GONE: there is none; EPERM: CAP_SYS_ADMIN is missing, here or in the namespace's user namespace;
   *   TypeError ERR_INVALID_ARG_VALUE: the path is no network namespace
   */
  static async open(ref: NetnsRef, settings: { readonly signal?: AbortSignal } = {}): Promise<Netns> {
    const where = place(check(reference, ref, 'Netns.open'));
    const { signal } = check(options({ signal: optional(abortSignal) }), settings, 'Netns.open');
    signal?.throwIfAborted();
    const descriptor = await system(native().netnsOpen(where), ({ errno }) => {
      const code = errnoCode(errno);
      if (code === 'EINVAL') return invalidArgument('ERR_INVALID_ARG_VALUE', `Netns.open: '${where}' is no network namespace`);
      if (code !== 'ENOENT' && code !== 'ESRCH') return undefined;
      return new PodtapError(`there is no network namespace at '${where}'`, {
        code: 'ERR_NETNS_GONE',
        errno: -errno,
        syscall: 'open',
        path: where,
      });
    });
    const netns = await Netns.#attach(descriptor, typeof ref === 'object' && 'fd' in ref ? undefined : where);
    if (signal?.aborted !== true) return netns;
    await netns.close();
    throw signal.reason;
  }

  /**
   * Makes a namespace: with a name as `ip netns add NAME` does, without one anonymous, living as long as something holds it.
   * The loopback is up unless `loopback` is false.
   * @throws PodtapError EEXIST: the name is taken; EPERM: CAP_SYS_ADMIN is missing
   */
  static async create(settings: { readonly name?: string; readonly loopback?: boolean } = {}): Promise<Netns> {
    const given = check(options({ name: optional(name), loopback: optional(boolean) }), settings, 'Netns.create');
    const descriptor = await system(native().netnsCreate());
    const where = given.name === undefined ? undefined : `${NAMED}/${given.name}`;
    try {
      if (where !== undefined) await system(native().netnsMount(descriptor, where));
    } catch (error) {
      native().close(descriptor);
      throw error;
    }
    const netns = await Netns.#attach(descriptor, where);
    if (given.loopback !== false)
      await request(attachment(netns).socket, [encodeLink(RTM_SETLINK, NLM_F_ACK, { ifindex: LOOPBACK, up: true })]);
    return netns;
  }

  /** Takes a name away, as `ip netns delete NAME`; the namespace goes when nothing holds it any more. Resolves false where there was no such name. */
  static async delete(named: string): Promise<boolean> {
    try {
      await native().netnsUnmount(`${NAMED}/${check(name, named, 'Netns.delete')}`);
      return true;
    } catch (error) {
      if (isSystemFailure(error) && errnoCode(error.errno) === 'ENOENT') return false;
      return system(Promise.reject(error as Error));
    }
  }

  /** Every namespace that a process lives in or a name of ip-netns(8) stands for, as far as this process may see. Like lsns(8) with `ip netns list`. */
  static async list(): Promise<readonly { readonly inode: bigint; readonly path?: string; readonly pids: readonly number[] }[]> {
    native(); // says so on another OS
    const found = new Map<bigint, { inode: bigint; path?: string; pids: number[] }>();
    const entry = (inode: bigint): { inode: bigint; path?: string; pids: number[] } => {
      const known = found.get(inode) ?? { inode, pids: [] };
      found.set(inode, known);
      return known;
    };
    for (const name of await readdir(NAMED).catch(() => [])) {
      const { ino } = await stat(`${NAMED}/${name}`, { bigint: true }).catch(() => ({ ino: undefined }));
      if (ino !== undefined) entry(ino).path = `${NAMED}/${name}`;
    }
    for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
      const link = await readlink(`/proc/${pid}/ns/net`).catch(() => ''); // gone meanwhile, or not ours to see
      const inode = /^net:\[(\d+)\]$/.exec(link)?.[1];
      if (inode !== undefined) entry(BigInt(inode)).pids.push(Number(pid));
    }
    return [...found.values()];
  }

  static async #attach(descriptor: Descriptor, where: string | undefined): Promise<Netns> {
    try {
      const bootId = readBootId();
      const { socket, cookie, inode } = await system(native().netnsAttach(descriptor));
      const known = where ?? `/proc/${process.pid}/fd/${native().number(descriptor)}`;
      return new Netns({ bootId, cookie, inode }, known, { netns: descriptor, socket, sysctl: new Map(), users: 1 });
    } catch (error) {
      native().close(descriptor);
      throw error;
    }
  }

  /**
   * Starts a program inside, as `ip netns exec` does but without a /sys of that namespace: a real ChildProcess, with its stdio,
   * once the program runs. Its `spawnfile` is the launcher that entered the namespace.
   * @throws PodtapError ENOENT, EACCES, ...: the program cannot be run
   */
  async spawn(command: string, args: readonly string[] = [], settings: SpawnOptions = {}): Promise<ChildProcess> {
    const { netns } = attachment(this);
    check(path, command, 'spawn');
    if (settings.shell !== undefined && settings.shell !== false)
      throw invalidArgument(
        'ERR_INVALID_ARG_VALUE',
        "spawn: option 'shell' must be absent: podtap runs no shell; start one as the command",
      );
    const stdio = stdioArray(settings.stdio);
    const [inside, report] = [stdio.length, stdio.length + 1];
    // Not imported: with node:net and all of Node's streams behind it, it would be a third of what importing podtap costs.
    const { spawn } = process.getBuiltinModule('node:child_process');
    const child = spawn(helperPath('podtap-launcher'), [String(inside), String(report), command, ...args], {
      ...settings,
      stdio: [...stdio, native().number(netns), 'pipe'],
    });
    const handOver = holdBack(child, report);
    try {
      await running(child, command, report);
    } finally {
      setImmediate(handOver);
    }
    return child;
  }

  /**
   * A socket made inside, as a descriptor for `new net.Socket({ fd })` or `server.listen({ fd })`; the caller owns it.
   * 'tcp-listen' is bound and listens, 'tcp-connect' is connected, 'udp' is bound. Bun takes a connection by `net.connect({ fd })`, and
   * Deno (2.9) a listening socket only.
   * @throws PodtapError ECONNREFUSED, EADDRINUSE, EADDRNOTAVAIL, ...
   */
  async openSocket(settings: {
    readonly type: 'tcp-listen' | 'tcp-connect' | 'udp';
    readonly address: string;
    readonly port: number;
    readonly signal?: AbortSignal;
  }): Promise<number> {
    const { netns } = attachment(this);
    const { type, address, port, signal } = check(socketOptions, settings, 'openSocket');
    signal?.throwIfAborted();
    const socket = await system(native().socketOpen(netns, { type, address, port, family: address.includes(':') ? 6 : 4 }));
    const abort = (): void => native().cancelWait(socket);
    signal?.addEventListener('abort', abort);
    try {
      if (type === 'tcp-connect') {
        await system(native().wait(socket, 'writable'));
        const errno = native().socketError(socket);
        const code = errnoCode(errno);
        if (errno !== 0)
          throw new PodtapError(`${code}: ${errnoMessage(errno)}, connect ${address} port ${port}`, {
            code,
            errno: -errno,
            syscall: 'connect',
          });
      }
      return native().release(socket);
    } catch (error) {
      native().close(socket);
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /** Gives the namespace back; requests under way are finished. Calling it again does nothing. */
  async close(): Promise<void> {
    const attached = this.#attachment;
    this.#attachment = undefined;
    if (attached === undefined || --attached.users > 0) return;
    native().close(attached.socket);
    native().close(attached.netns);
    for (const directory of attached.sysctl.values()) native().close(await directory);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function place(ref: NetnsRef): string {
  if (typeof ref === 'string') return ref;
  if ('path' in ref) return ref.path;
  if ('pid' in ref) return `/proc/${ref.pid}/ns/net`;
  if ('name' in ref) return `${NAMED}/${ref.name}`;
  return `/proc/self/fd/${ref.fd}`;
}

let boot: string | undefined;
/** Which run of the kernel this is. At once: of node:fs/promises a worker that is terminated meanwhile would leave the descriptor behind. */
export function readBootId(): string {
  // Not imported either: an import of node:fs takes every getter it has, and these bring the streams.
  return (boot ??= process.getBuiltinModule('node:fs').readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());
}

function stdioArray(stdio: StdioOptions | undefined): Exclude<StdioOptions, string> {
  const given = typeof stdio === 'string' ? [stdio, stdio, stdio] : [...(stdio ?? [])];
  while (given.length < 3) given.push('pipe');
  return given;
}

/**
 * A short program may have ended before the caller has its ChildProcess: nobody would hear of its end, and what it wrote would be
 * thrown away, as Node does with the output of an ended child that nobody reads. Both wait until the caller could listen.
 */
function holdBack(child: ChildProcess, report: number): () => void {
  const early: [event: string, ...details: unknown[]][] = [];
  const emit = child.emit.bind(child) as (event: string, ...details: unknown[]) => boolean;
  child.emit = ((event: string, ...details: unknown[]) => {
    if (event !== 'exit' && event !== 'close') return emit(event, ...details);
    early.push([event, ...details]);
    return true;
  }) as ChildProcess['emit'];
  const outputs = child.stdio.filter((stream, index): stream is Readable => index !== report && stream !== null && stream !== undefined && 'resume' in stream && stream.readable); // prettier-ignore
  const hold = (): void => undefined; // while somebody listens to 'readable', nothing flows
  for (const output of outputs) output.on('readable', hold);
  return () => {
    for (const output of outputs) output.off('readable', hold);
    delete (child as Partial<ChildProcess>).emit;
    for (const event of early) emit(...event);
    // As Node does it at the end of a child: its 'close' comes when the output has been read, be it by nobody.
    if (early.length > 0) process.nextTick(() => outputs.forEach((output) => output.readable && output.resume()));
  };
}

/** The launcher's report: closed by execve, or "<errno> <step>". */
async function running(child: ChildProcess, command: string, report: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', reject);
  });
  let said = '';
  for await (const chunk of child.stdio[report] as Readable) said += String(chunk);
  if (said === '') return;
  const [number = '', syscall = ''] = said.trim().split(' ');
  const code = errnoCode(Number(number));
  throw new PodtapError(`${code}: ${errnoMessage(Number(number))}, ${syscall} '${command}'`, {
    code,
    errno: -Number(number),
    syscall,
    path: command,
  });
}
