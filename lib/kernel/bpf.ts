// eBPF: maps, programs, and where they are attached. bpf(2), without libbpf.
import { readFile } from 'node:fs/promises';
import { BpfLoadError, PodtapError, UnsupportedError } from '../errors.js';
import {
  type BpfLinkInfo,
  type BpfMapInfo,
  type BpfMapSpec,
  type BpfProgramInfo,
  type Descriptor,
  type SystemFailure,
  native,
} from '../native.js';
import { littleEndian } from '../wire/bytes.js';
import {
  BPF_ANY,
  BPF_EXIST,
  BPF_F_AFTER,
  BPF_F_BEFORE,
  BPF_F_ID,
  BPF_F_LINK,
  BPF_F_REPLACE,
  BPF_NOEXIST,
  BPF_PROG_TYPE_SCHED_CLS,
  tcxHooks,
} from '../wire/bpf/numbers.js';
import { errnoCode, errnoMessage } from '../wire/errno.js';
import { pass } from './gate.js';
import { type Scope, attachment } from './netns.js';
import { isSystemFailure, system, systemError } from './system.js';

export type { BpfLinkInfo, BpfMapInfo, BpfMapSpec, BpfProgramInfo };

/** What scripts/bpf.mjs makes of a file of native/bpf: programs, and the maps that they share. */
export interface BpfObject {
  readonly maps: readonly BpfMapSpec[];
  readonly programs: Readonly<
    Record<string, { readonly relocations: readonly { readonly at: number; readonly map: string }[]; readonly instructions: string }>
  >;
}

/** What is open here of the kernel's objects. Closing lets go of it: what nothing else holds (an attachment, a program that uses a map, a pin) is gone. */
class BpfHandle implements AsyncDisposable {
  #descriptor: Descriptor | undefined;

  constructor(
    descriptor: Descriptor,
    readonly what: string,
  ) {
    this.#descriptor = descriptor;
  }

  get descriptor(): Descriptor {
    if (this.#descriptor === undefined)
      throw new PodtapError(`this handle on an eBPF ${this.what} is closed`, { code: 'ERR_HANDLE_CLOSED' });
    return this.#descriptor;
  }

  /** Its descriptor's number, for requests that name it so: good while the handle is open. */
  get fd(): number {
    return native().number(this.descriptor);
  }

  /**
   * Gives it a name in a bpffs (`mount -t bpf`), so that it stays when nobody holds it.
   * @throws PodtapError EEXIST: the name is taken; EPERM, EINVAL: that is no bpffs
   */
  async pin(path: string): Promise<void> {
    await call('BPF_OBJ_PIN', () => native().bpfPin(this.descriptor, path));
  }

  close(): Promise<void> {
    if (this.#descriptor !== undefined) native().close(this.#descriptor);
    this.#descriptor = undefined;
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

// ------------------------------------------------------------------ maps

export class BpfMap extends BpfHandle {
  constructor(descriptor: Descriptor) {
    super(descriptor, 'map');
  }

  info(): Promise<BpfMapInfo> {
    return system(native().bpfMapInfo(this.descriptor), bpfFailure);
  }

  /** In one trip; undefined of a key that is not there. Of a map for each CPU: the values of all of them, back to back, each padded to 8 bytes. */
  async get(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    if (keys.length === 0) return [];
    const { values, found } = await system(native().bpfMapGet(this.descriptor, joined(keys)), bpfFailure);
    const present = new Uint8Array(found);
    return split(values, values.byteLength / keys.length).map((value, index) => (present[index] === 1 ? value : undefined));
  }

  /**
   * In one trip, in order; an error ends it, and what stands before stays. `when`: only keys that are there, or only new ones.
   * @throws PodtapError E2BIG: the map is full; EEXIST, ENOENT: against `when`
   */
  async set(entries: readonly (readonly [key: Uint8Array, value: Uint8Array])[], when: 'any' | 'new' | 'existing' = 'any'): Promise<void> {
    if (entries.length === 0) return;
    const flags = { any: BPF_ANY, new: BPF_NOEXIST, existing: BPF_EXIST }[when];
    const [keys, values] = [joined(entries.map(([key]) => key)), joined(entries.map(([, value]) => value))];
    const { errno, completed } = await call('BPF_MAP_UPDATE_ELEM', () => native().bpfMapSet(this.descriptor, keys, values, flags));
    if (errno !== 0) throw failed(errno, 'BPF_MAP_UPDATE_ELEM', `entry ${completed} of ${entries.length}`);
  }

  /** How many of them were there. */
  async delete(keys: readonly Uint8Array[]): Promise<number> {
    if (keys.length === 0) return 0;
    const { errno, completed } = await call('BPF_MAP_DELETE_ELEM', () => native().bpfMapDelete(this.descriptor, joined(keys)));
    if (errno !== 0) throw failed(errno, 'BPF_MAP_DELETE_ELEM', `key ${completed} of ${keys.length}`);
    return completed;
  }

  /** All of them, in one trip. Of a hash that changes meanwhile an entry may be missing or come twice. */
  async entries(): Promise<readonly (readonly [key: Uint8Array, value: Uint8Array])[]> {
    const { keySize } = await this.info();
    const { keys, values } = await system(native().bpfMapEntries(this.descriptor), bpfFailure);
    if (keys.byteLength === 0) return [];
    const found = split(keys, keySize);
    const each = split(values, values.byteLength / found.length);
    return found.map((key, index) => [key, each[index]!]);
  }
}

/** Of the maps of a program that is to be podtap's. @throws PodtapError EINVAL: it is another one */
export function ownMap(maps: Readonly<Record<string, BpfMap>>, name: string): BpfMap {
  const map = maps[name];
  if (map === undefined) throw new PodtapError(`this program is not podtap's: it has no map '${name}'`, { code: 'EINVAL' });
  return map;
}

/** @throws PodtapError EPERM: see bpfFailure; UnsupportedError: the kernel has no eBPF */
export async function createMap(spec: BpfMapSpec): Promise<BpfMap> {
  return new BpfMap(await call('BPF_MAP_CREATE', () => native().bpfMapCreate(spec), closeDescriptor));
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function split(bytes: ArrayBuffer, size: number): Uint8Array[] {
  return Array.from({ length: bytes.byteLength / size }, (_, index) => new Uint8Array(bytes, index * size, size));
}

// ------------------------------------------------------------------ programs

export class BpfProgram extends BpfHandle {
  constructor(descriptor: Descriptor) {
    super(descriptor, 'program');
  }

  info(): Promise<BpfProgramInfo> {
    return system(native().bpfProgramInfo(this.descriptor), bpfFailure);
  }

  /** Its maps, by name, opened anew: close them. Needs CAP_SYS_ADMIN. */
  async openMaps(): Promise<Readonly<Record<string, BpfMap>>> {
    const { mapIds } = await this.info();
    const maps: Record<string, BpfMap> = {};
    try {
      for (const id of mapIds) {
        const map = await openMap(id);
        maps[`#${id}`] = map;
        const { name } = await map.info();
        delete maps[`#${id}`];
        maps[name] = map;
      }
      return maps;
    } catch (error) {
      await closeAll(Object.values(maps));
      throw error;
    }
  }

  /**
   * Runs it on a frame that comes in by the loopback of the namespace (BPF_PROG_TEST_RUN), `repeat` times: what it returns, what became
   * of the frame, and nanoseconds for one run. What it does to others (redirect, count) it does.
   */
  async run(
    scope: Scope,
    frame: Uint8Array,
    repeat = 1,
  ): Promise<{ readonly value: number; readonly nanoseconds: number; readonly frame: Uint8Array }> {
    const { value, nanoseconds, data } = await system(
      native().bpfProgramRun(attachment(scope).netns, this.descriptor, frame, repeat),
      bpfFailure,
    );
    return { value, nanoseconds, frame: new Uint8Array(data) };
  }
}

/** Programs and maps that were loaded together; the programs hold the maps. */
export interface LoadedObject extends AsyncDisposable {
  readonly programs: Readonly<Record<string, BpfProgram>>;
  readonly maps: Readonly<Record<string, BpfMap>>;
  close(): Promise<void>;
}

/**
 * Makes the maps and loads the programs, classifiers of tc each (BPF_PROG_TYPE_SCHED_CLS). `maps`: those of another object that are to
 * be shared; they stay the caller's.
 * @throws BpfLoadError with the verifier's log; PodtapError EPERM; UnsupportedError
 */
export async function loadObject(object: BpfObject, shared: Readonly<Record<string, BpfMap>> = {}): Promise<LoadedObject> {
  if (!littleEndian) throw new UnsupportedError("podtap's eBPF programs are compiled for little-endian machines", { feature: 'bpf' });
  const made: Record<string, BpfMap> = {};
  const programs: Record<string, BpfProgram> = {};
  const close = (): Promise<void> => closeAll([...Object.values(programs), ...Object.values(made)]);
  try {
    for (const spec of object.maps) if (shared[spec.name] === undefined) made[spec.name] = await createMap(spec);
    const maps = { ...made, ...shared };
    for (const [name, { relocations, instructions }] of Object.entries(object.programs)) {
      const used = [...new Set(relocations.map(({ map }) => map))];
      programs[name] = await loadProgram(name, {
        instructions: fromHex(instructions),
        relocations: relocations.flatMap(({ at, map }) => [at, used.indexOf(map)]),
        maps: used.map((map) => maps[map]!),
      });
    }
    return { programs, maps, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** One classifier; `relocations`: pairs of an instruction and which of `maps` it loads. */
export async function loadProgram(
  name: string,
  code: { readonly instructions: Uint8Array; readonly relocations?: readonly number[]; readonly maps?: readonly BpfMap[] },
): Promise<BpfProgram> {
  const { instructions, relocations = [], maps = [] } = code;
  const { program, errno, log } = await call(
    'BPF_PROG_LOAD',
    () =>
      native().bpfProgramLoad({
        type: BPF_PROG_TYPE_SCHED_CLS,
        name,
        license: 'GPL',
        instructions,
        relocations,
        maps: maps.map(({ descriptor }) => descriptor),
      }),
    ({ program }) => program !== undefined && closeDescriptor(program),
  );
  if (program !== undefined) return new BpfProgram(program);
  if (log === '') throw failed(errno, 'BPF_PROG_LOAD', `program '${name}'`);
  const last = log.trim().split('\n').filter((line) => !/^processed \d+ insns/.test(line)).slice(-2).join('; '); // prettier-ignore
  throw new BpfLoadError(
    `${errnoCode(errno)}: the kernel's verifier refuses the program '${name}': ${last}`,
    errnoCode(errno),
    -errno,
    log,
  );
}

/** Instructions as scripts/bpf.mjs writes them. */
export function fromHex(text: string): Uint8Array {
  const digits = text.replace(/\s+/g, '');
  return Uint8Array.from({ length: digits.length / 2 }, (_, index) => parseInt(digits.slice(2 * index, 2 * index + 2), 16));
}

/** By its id, which is good for the whole machine until the program is gone. @throws PodtapError ENOENT */
export async function openProgram(id: number): Promise<BpfProgram> {
  return new BpfProgram(await system(native().bpfOpenId('program', id), bpfFailure));
}
export async function openMap(id: number): Promise<BpfMap> {
  return new BpfMap(await system(native().bpfOpenId('map', id), bpfFailure));
}
export async function openLink(id: number): Promise<BpfLink> {
  return new BpfLink(await system(native().bpfOpenId('link', id), bpfFailure));
}
/** What was pinned; of which kind it is, the caller knows. @throws PodtapError ENOENT */
export async function openPinned<T extends BpfProgram | BpfMap | BpfLink>(
  kind: new (descriptor: Descriptor) => T,
  path: string,
): Promise<T> {
  return new kind(await system(native().bpfOpenPinned(path), bpfFailure));
}

/** The ids of all objects of a kind on the machine, in all namespaces. */
export function listIds(kind: 'program' | 'map' | 'link'): Promise<readonly number[]> {
  return system(native().bpfIds(kind), bpfFailure);
}

/** Until it is closed, the kernel measures how long each program runs (`runTime`, `runCount` of its info), which costs each run some 20 ns. */
export async function enableStatistics(): Promise<AsyncDisposable> {
  const held = await system(native().bpfEnableStatistics(), bpfFailure);
  return {
    async [Symbol.asyncDispose]() {
      native().close(held);
    },
  };
}

async function closeAll(handles: readonly BpfHandle[]): Promise<void> {
  for (const handle of handles) await handle.close();
}

// ------------------------------------------------------------------ tcx

/** One of the two places of an interface where tc's programs run. */
export interface TcxHook {
  readonly ifindex: number;
  readonly direction: 'ingress' | 'egress';
}

/** Where among those that are there; by the id of one of them, or of the link that holds it. Default: last. */
export type TcxOrder =
  | 'first'
  | 'last'
  | { readonly before: number; readonly of?: 'program' | 'link' }
  | { readonly after: number; readonly of?: 'program' | 'link' };

export interface TcxAttachOptions {
  readonly order?: TcxOrder;
  /** Of the hook, as `queryTcx` told it: refused (ESTALE) where it has changed since. */
  readonly expectedRevision?: bigint;
}

/** In the order in which they run. */
export interface TcxState {
  /** Counts changes; 1 where nothing is attached. */
  readonly revision: bigint;
  /** linkId: absent of what was attached without a link. */
  readonly programs: readonly { readonly id: number; readonly linkId?: number }[];
}

export class BpfLink extends BpfHandle {
  constructor(descriptor: Descriptor) {
    super(descriptor, 'link');
  }

  info(): Promise<BpfLinkInfo> {
    return system(native().bpfLinkInfo(this.descriptor), bpfFailure);
  }

  /** Takes the program off, whoever else holds the link. */
  async detach(): Promise<void> {
    await call('BPF_LINK_DETACH', () => native().bpfLinkDetach(this.descriptor));
  }
}

/**
 * Attaches a program for good: it stays when this process ends, until it is detached or the interface goes. BPF_PROG_ATTACH.
 * @throws UnsupportedError before Linux 6.6; PodtapError EEXIST: it is there already; ENODEV: no such interface; ESTALE: the hook has changed;
 *   ENOENT: what it was to stand before or behind is not there
 */
export async function attachTcx(scope: Scope, hook: TcxHook, program: BpfProgram, settings: TcxAttachOptions = {}): Promise<void> {
  await onTcx(scope, hook, 'BPF_PROG_ATTACH', () =>
    native().bpfAttach(attachment(scope).netns, placeOf(hook, settings), program.descriptor),
  );
}

/**
 * Attaches a program as long as the link is held: by this handle, by a process that its descriptor was given to, by a pin. BPF_LINK_CREATE.
 * @throws as attachTcx
 */
export async function linkTcx(scope: Scope, hook: TcxHook, program: BpfProgram, settings: TcxAttachOptions = {}): Promise<BpfLink> {
  const place = placeOf(hook, settings);
  const act = (): Promise<Descriptor> => native().bpfLinkCreate(attachment(scope).netns, place, program.descriptor);
  return new BpfLink(await onTcx(scope, hook, 'BPF_LINK_CREATE', act, closeDescriptor));
}

/**
 * Puts a program in the place of another one, which was attached without a link and is told by its id; no frame is missed.
 * @throws as attachTcx; PodtapError ENOENT: that one is not there
 */
export async function replaceTcx(scope: Scope, hook: TcxHook, program: BpfProgram, id: number): Promise<void> {
  await using replaced = await openProgram(id);
  const place = { ...placeOf(hook, {}), flags: BPF_F_REPLACE };
  const act = (): Promise<void> => native().bpfAttach(attachment(scope).netns, place, program.descriptor, replaced.descriptor);
  await onTcx(scope, hook, 'BPF_PROG_ATTACH', act);
}

/** Takes off, by its id, a program that was attached without a link; whose process is gone, say. Resolves false where it is not there. */
export async function detachTcx(
  scope: Scope,
  hook: TcxHook,
  id: number,
  settings: Pick<TcxAttachOptions, 'expectedRevision'> = {},
): Promise<boolean> {
  const program = await absent(openProgram(id));
  if (program === undefined) return false;
  try {
    const place = placeOf(hook, settings);
    const act = (): Promise<true> =>
      native()
        .bpfDetach(attachment(scope).netns, place, program.descriptor)
        .then(() => true);
    return (await absent(onTcx(scope, hook, 'BPF_PROG_DETACH', act))) ?? false;
  } finally {
    await program.close();
  }
}

/** @throws UnsupportedError before Linux 6.6; PodtapError ENODEV: no such interface */
export async function queryTcx(scope: Scope, hook: TcxHook): Promise<TcxState> {
  const { revision, attached } = await onTcx(scope, hook, 'BPF_PROG_QUERY', () => query(scope, hook), undefined, false);
  return { revision, programs: attached.map(({ program, link }) => ({ id: program, ...(link !== 0 && { linkId: link }) })) };
}

function query(scope: Scope, hook: TcxHook): ReturnType<ReturnType<typeof native>['bpfHookQuery']> {
  return native().bpfHookQuery(attachment(scope).netns, { ifindex: hook.ifindex, attachType: tcxHooks[hook.direction] });
}

function placeOf(
  { ifindex, direction }: TcxHook,
  { order = 'last', expectedRevision }: TcxAttachOptions,
): { ifindex: number; attachType: number; flags: number; relativeId?: number; expectedRevision?: bigint } {
  const place = { ifindex, attachType: tcxHooks[direction], ...(expectedRevision !== undefined && { expectedRevision }) };
  if (order === 'last') return { ...place, flags: 0 };
  if (order === 'first') return { ...place, flags: BPF_F_BEFORE };
  const kind = BPF_F_ID | (order.of === 'link' ? BPF_F_LINK : 0);
  return 'before' in order
    ? { ...place, flags: BPF_F_BEFORE | kind, relativeId: order.before }
    : { ...place, flags: BPF_F_AFTER | kind, relativeId: order.after };
}

async function onTcx<T>(
  scope: Scope,
  hook: TcxHook,
  request: string,
  act: () => Promise<T>,
  release?: (result: T) => unknown,
  gated = true,
): Promise<T> {
  try {
    return await (gated ? call(request, act, release) : system(act(), bpfFailure));
  } catch (error) {
    // A kernel that has no such hook says EINVAL; but so it does of other mistakes, and then not to a question.
    if (error instanceof PodtapError && error.code === 'EINVAL' && (await lacksTcx(scope, hook))) {
      throw new UnsupportedError('this kernel has no tcx: it is there since Linux 6.6; cls_bpf does the same under a clsact qdisc', {
        feature: 'tcx',
        minimumKernel: '6.6',
        cause: error,
      });
    }
    if (error instanceof PodtapError && error.code === 'ENODEV') {
      throw new PodtapError(`ENODEV: there is no interface with index ${hook.ifindex} in this namespace`, {
        code: 'ENODEV',
        errno: -19,
        cause: error,
      });
    }
    throw error;
  }
}

async function lacksTcx(scope: Scope, hook: TcxHook): Promise<boolean> {
  return query(scope, hook).then(
    () => false,
    (error: unknown) => isSystemFailure(error) && errnoCode(error.errno) === 'EINVAL',
  );
}

// ------------------------------------------------------------------ errors

function closeDescriptor(descriptor: Descriptor): void {
  native().close(descriptor);
}

async function call<T>(request: string, act: () => Promise<T>, release?: (result: T) => unknown): Promise<T> {
  try {
    return await pass(request, act, { syscall: `bpf(${request})` }, release);
  } catch (error) {
    if (isSystemFailure(error) && errnoCode(error.errno) === 'EPERM') throw await notPermitted(error);
    throw systemError(error, bpfFailure);
  }
}

async function absent<T>(work: Promise<T>): Promise<T | undefined> {
  return work.catch((error: unknown) => {
    if (error instanceof PodtapError && error.code === 'ENOENT') return undefined;
    throw error;
  });
}

function failed(errno: number, request: string, which: string): unknown {
  const code = errnoCode(errno);
  const syscall = `bpf(${request})`;
  return bpfFailure(Object.assign(new Error(), { errno, syscall })) ?? new PodtapError(`${code}: ${errnoMessage(errno)}, ${syscall}, ${which}`, { code, errno: -errno, syscall }); // prettier-ignore
}

function bpfFailure({ errno, syscall }: SystemFailure): Error | undefined {
  const code = errnoCode(errno);
  if (code === 'EPERM') return new PodtapError(`EPERM: ${syscall}: ${NEEDS}`, { code, errno: -errno, syscall });
  if (code !== 'ENOSYS') return undefined;
  return new UnsupportedError('this kernel has no eBPF: it needs CONFIG_BPF_SYSCALL', { feature: 'bpf', config: 'CONFIG_BPF_SYSCALL' });
}

const NEEDS = 'eBPF needs CAP_BPF and CAP_NET_ADMIN (before Linux 5.8 CAP_SYS_ADMIN), to open objects by id CAP_SYS_ADMIN';

/** The kernel does not say for which reason; the map of user ids tells one of them. */
async function notPermitted(failure: SystemFailure): Promise<PodtapError> {
  const map = await readFile('/proc/self/uid_map', 'latin1').catch(() => '');
  const nested = !/^\s*0\s+0\s+4294967295\s*$/.test(map);
  const why = nested
    ? 'this process is in a user namespace, and its capabilities are good for that only: the first one’s are asked for. Run as real root, or take a datapath without eBPF'
    : 'without them no program can be loaded; before Linux 5.11 RLIMIT_MEMLOCK bounds maps, too';
  return new PodtapError(`EPERM: ${failure.syscall}: ${NEEDS}; ${why}`, { code: 'EPERM', errno: -failure.errno, syscall: failure.syscall });
}
