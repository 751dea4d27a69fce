// Finding a namespace again by what names it for ever, when all that is left of it is a note.
import { readFile, readdir, readlink } from 'node:fs/promises';
import { Netns, readBootId } from './netns.js';

export interface NetnsIdentity {
  readonly bootId: string;
  readonly cookie: bigint | undefined;
  /** Spares opening all that cannot be it. */
  readonly inode?: bigint | undefined;
}

/**
 * Opens it: where it was found before, or where it is mounted, where a process lives in it, or where one holds a descriptor of it, as far
 * as this process may see. undefined: it is gone.
 */
export async function locate(id: NetnsIdentity, hint?: string): Promise<Netns | undefined> {
  if (id.bootId !== readBootId() || id.cookie === undefined) return undefined;
  const tried = new Set<string>();
  for await (const { path, inode } of places(hint)) {
    if (tried.has(path) || (inode !== undefined && id.inode !== undefined && inode !== id.inode)) continue;
    tried.add(path);
    const found = await Netns.open(path).catch(() => undefined); // gone meanwhile, or closed to us
    if (found?.id.cookie === id.cookie) return found;
    await found?.close();
  }
  return undefined;
}

async function* places(hint: string | undefined): AsyncGenerator<{ path: string; inode?: bigint }> {
  if (hint?.startsWith('/') === true) yield { path: hint };
  yield { path: '/proc/self/ns/net' };
  // proc(5): mount id, parent, device, root ('net:[4026532000]' of a namespace), mount point
  for (const line of (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')) {
    const [, , , root = '', path = ''] = line.split(' ');
    const inode = inodeOf(root);
    if (inode !== undefined)
      yield { path: path.replace(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8))), inode };
  }
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  for (const pid of pids) {
    const inode = inodeOf(await readlink(`/proc/${pid}/ns/net`).catch(() => ''));
    if (inode !== undefined) yield { path: `/proc/${pid}/ns/net`, inode };
  }
  for (const pid of pids) {
    for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
      const inode = inodeOf(await readlink(`/proc/${pid}/fd/${fd}`).catch(() => ''));
      if (inode !== undefined) yield { path: `/proc/${pid}/fd/${fd}`, inode };
    }
  }
}

function inodeOf(text: string): bigint | undefined {
  const match = /^net:\[(\d+)\]$/.exec(text);
  return match === null ? undefined : BigInt(match[1]!);
}
