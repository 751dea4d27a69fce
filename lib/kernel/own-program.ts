// Which of podtap's own programs one is that is found somewhere: by its name and its tag, so by every one of its instructions.
import { createHash } from 'node:crypto';
import { type BpfMap, type BpfObject, type BpfProgram, fromHex, openProgram } from './bpf.js';
import { localhost } from './programs/localhost.js';
import { redirect } from './programs/redirect.js';

const objects = { redirect, localhost } as const satisfies Record<string, BpfObject>;

export type OwnProgramName = keyof typeof redirect.programs | keyof typeof localhost.programs;

/** Bytes of struct bpf_insn, and of its tag. */
const INSTRUCTION = 8;
const TAG = 8;
const PSEUDO_MAP_FD = 1;

/**
 * What the kernel makes of the instructions before it changes them: a digest in which no map has a number (bpf_prog_calc_tag(), since
 * Linux 6.18 SHA-256, before SHA-1; the first 8 bytes of it). Which maps are loaded it does not say, but where.
 */
export function tagsOf({ relocations, instructions }: BpfObject['programs'][string]): readonly string[] {
  const bytes = fromHex(instructions);
  // The upper half of the second byte is the source register.
  for (const { at } of relocations) bytes[at * INSTRUCTION + 1]! |= PSEUDO_MAP_FD << 4;
  return ['sha256', 'sha1'].map((name) =>
    createHash(name)
      .update(bytes)
      .digest('hex')
      .slice(0, 2 * TAG),
  );
}

const tags = new Map<string, readonly string[]>();

/** Of this version of podtap; undefined: a stranger's, or that of another version, which may do something else. */
export async function ownName(program: BpfProgram): Promise<OwnProgramName | undefined> {
  const { name, tag } = await program.info();
  for (const { programs } of Object.values<BpfObject>(objects)) {
    if (!Object.hasOwn(programs, name)) continue;
    let known = tags.get(name);
    if (known === undefined) tags.set(name, (known = tagsOf(programs[name]!)));
    if (known.includes(tag)) return name as OwnProgramName;
  }
  return undefined;
}

/**
 * By its id, as a hook or a filter tells it. undefined: not podtap's.
 * @throws PodtapError ENOENT: there is no such program; EPERM: to open it needs CAP_SYS_ADMIN
 */
export async function findOwnName(id: number): Promise<OwnProgramName | undefined> {
  await using program = await openProgram(id);
  return ownName(program);
}

/** Whether maps, by their names, are such as the object's programs are loaded with. */
export async function areOwnMaps(object: BpfObject, maps: Readonly<Record<string, BpfMap>>): Promise<boolean> {
  for (const [name, map] of Object.entries(maps)) {
    const wanted = object.maps.find((one) => one.name === name);
    const { type, keySize, valueSize, maxEntries } = await map.info();
    if (wanted?.type !== type || wanted.keySize !== keySize || wanted.valueSize !== valueSize || wanted.maxEntries !== maxEntries) return false; // prettier-ignore
  }
  return true;
}
