// What ip(8), bridge(8) and tc(8) say of a namespace: the second opinion on everything that podtap does.
import { type Netns, listAddresses, listRoutes } from 'podtap';

/** An object as `ip -json` prints it. */
export type Json = Readonly<Record<string, unknown>>;

export interface Output {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program in the namespace, to its end. */
export async function run(netns: Netns, command: string, args: readonly string[], input = ''): Promise<Output> {
  const child = await netns.spawn(command, args);
  let stdout = '';
  let stderr = '';
  child.stdout!.setEncoding('utf8').on('data', (part: string) => (stdout += part));
  child.stderr!.setEncoding('utf8').on('data', (part: string) => (stderr += part));
  child.stdin!.on('error', () => undefined).end(input); // one that reads nothing may be gone already
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { status, stdout, stderr };
}

/** A command line to words, as a shell would: at white space, unless in single quotes. */
export function split(line: string): string[] {
  return [...line.matchAll(/(?:'([^']*)'|\\(.)|[^\s'\\])+/g)].map(([word]) =>
    word.replace(/'([^']*)'|\\(.)/g, (_, quoted?: string, escaped?: string) => quoted ?? escaped ?? ''),
  );
}

/** Runs a command line; what it prints. Throws where it fails. */
export async function sh(netns: Netns, line: string): Promise<string> {
  const [command = '', ...args] = split(line);
  const { status, stdout, stderr } = await run(netns, command, args);
  if (status !== 0) throw new Error(`${line}: ${stderr.trim()} (${status})`);
  return stdout;
}

/** Lines of `ip -batch`, in order; those that begin with -6 (or -4) by an ip(8) of that family. */
export async function ip(netns: Netns, ...lines: readonly string[]): Promise<void> {
  const batches: { family: readonly string[]; lines: string[] }[] = [];
  for (const line of lines) {
    const [, option, rest] = /^(?:(-[46]) )?(.*)$/.exec(line)!;
    const family = option === undefined ? [] : [option];
    if (batches.length === 0 || batches.at(-1)!.family[0] !== option) batches.push({ family, lines: [] });
    batches.at(-1)!.lines.push(rest!);
  }
  for (const batch of batches) {
    const { status, stderr } = await run(netns, 'ip', [...batch.family, '-batch', '-'], `${batch.lines.join('\n')}\n`);
    if (status !== 0 || stderr !== '') throw new Error(`ip ${batch.family.join('')} -batch: ${stderr.trim()}\n${batch.lines.join('\n')}`);
  }
}

/** `ip -json -details <line>`. */
export function ipJson(netns: Netns, line: string): Promise<Json[]> {
  return json(netns, `ip -json -details ${line}`);
}
/** `bridge -json -details <line>`. */
export function bridgeJson(netns: Netns, line: string): Promise<Json[]> {
  return json(netns, `bridge -json -details ${line}`);
}
/** `tc -json -details <line>`. */
export function tcJson(netns: Netns, line: string): Promise<Json[]> {
  return json(netns, `tc -json -details ${line}`);
}

/** Without the empty objects that ip(8) prints for what its filter left out. */
async function json(netns: Netns, line: string): Promise<Json[]> {
  const found = JSON.parse((await sh(netns, line)) || '[]') as Json[];
  return found.filter((one) => Object.keys(one).length > 0);
}

/** Waits for the routes to the namespace's own IPv6 addresses: the kernel makes them a moment after the addresses, even without DAD. */
export async function settled(netns: Netns): Promise<Netns> {
  for (let tries = 0; tries < 300; tries++) {
    const local = new Set((await listRoutes(netns, { family: 'ipv6', table: 255 })).map(({ dst }) => dst.replace(/\/128$/, '')));
    const own = await listAddresses(netns, { family: 'ipv6' });
    if (own.every(({ address }) => local.has(address.replace(/\/\d+$/, '')))) break;
    await new Promise((done) => setTimeout(done, 5));
  }
  return netns;
}

/** The value at `linkinfo.info_data.id`; undefined where there is none on the way. */
export function at(value: unknown, path: string): unknown {
  return path.split('.').reduce((found, key) => (found as Json | undefined)?.[key], value);
}
