// What a program of native/bpf/localhost.c finds in its maps: the same look-ups, by the kernel.
import { ownerPlace, type FlowEnds, type ProgramsConfig, addressKey, decodeAddress, decodeFlow, decodeNumber, decodeProgramsConfig, decodeTarget, flowKey } from '../wire/bpf/localhost-look.js'; // prettier-ignore
import { portKey } from '../wire/bpf/localhost.js';
import { indexKey } from '../wire/bpf/redirect.js';
import { type BpfMap, type BpfProgram, openProgram, ownMap } from './bpf.js';
import { areOwnMaps, ownName } from './own-program.js';
import { localhost } from './programs/localhost.js';

export type { ProgramsConfig };
export type LocalhostProgramName = keyof typeof localhost.programs;

/** Reads, and writes nothing: a flow that is looked at stays as old as it was. */
export class LocalhostLook implements AsyncDisposable {
  readonly #maps: Readonly<Record<string, BpfMap>>;

  constructor(
    readonly name: LocalhostProgramName,
    readonly program: BpfProgram,
    maps: Readonly<Record<string, BpfMap>>,
  ) {
    this.#maps = maps;
  }

  async config(): Promise<ProgramsConfig> {
    return decodeProgramsConfig((await this.#get('configs', indexKey(0)))!);
  }

  /** Of the guest behind a TAP. */
  async slot(ifindex: number): Promise<number | undefined> {
    const value = await this.#get('slots', indexKey(ifindex));
    return value && decodeNumber(value);
  }

  /** The TAP of a slot; 0: there is none. */
  async tap(slot: number): Promise<number> {
    const value = await this.#get('guests', indexKey(slot));
    return value === undefined ? 0 : decodeNumber(value);
  }

  /** All TAPs, by slot. */
  async taps(): Promise<ReadonlyMap<number, number>> {
    const all = await ownMap(this.#maps, 'guests').entries();
    const taps = all.map(([key, value]) => [decodeNumber(key), decodeNumber(value)] as const);
    return new Map(taps.filter(([slot, tap]) => slot !== 0 && tap !== 0));
  }

  /** By the longest prefix, as a guest dials it; and of an answer, what the guest had dialled. */
  async target(
    map: 'services' | 'answers',
    address: string,
    protocol: 'tcp' | 'udp',
    port: number,
  ): Promise<ReturnType<typeof decodeTarget> | undefined> {
    const value = await this.#get(map, portKey(address, protocol, port));
    return value && decodeTarget(value);
  }

  async address(map: 'hosts' | 'names', of: string): Promise<string | undefined> {
    const value = await this.#get(map, addressKey(of));
    return value && decodeAddress(value);
  }

  /** The slot of the guest that has a port; 0: nobody. */
  async owner(protocol: 'tcp' | 'udp', port: number): Promise<number> {
    const { index, at } = ownerPlace(protocol, port);
    return (await this.#get('owners', indexKey(index)))?.[at] ?? 0;
  }

  async flow(ends: FlowEnds): Promise<ReturnType<typeof decodeFlow> | undefined> {
    const value = await this.#get('flows', flowKey(ends));
    return value && decodeFlow(value);
  }

  async close(): Promise<void> {
    for (const handle of [this.program, ...Object.values(this.#maps)]) await handle.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #get(map: string, key: Uint8Array): Promise<Uint8Array | undefined> {
    return (await ownMap(this.#maps, map).get([key]))[0];
  }
}

/**
 * By the id of one of the three programs. undefined: it is not podtap's, or of another version of it.
 * @throws PodtapError ENOENT: there is no such program; EPERM: to open it needs CAP_SYS_ADMIN
 */
export async function lookIntoLocalhost(id: number): Promise<LocalhostLook | undefined> {
  const program = await openProgram(id);
  let maps: Readonly<Record<string, BpfMap>> = {};
  try {
    const name = await ownName(program);
    if (name !== undefined && Object.hasOwn(localhost.programs, name)) {
      maps = await program.openMaps();
      if (await areOwnMaps(localhost, maps)) return new LocalhostLook(name as LocalhostProgramName, program, maps);
    }
  } catch (error) {
    for (const handle of [program, ...Object.values(maps)]) await handle.close();
    throw error;
  }
  for (const handle of [program, ...Object.values(maps)]) await handle.close();
  return undefined;
}
