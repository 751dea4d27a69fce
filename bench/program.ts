import { spawn } from 'node:child_process';
import type { Bench, Contender } from './measurement.js';

/** Runs a program to its end: the time it took, and what it printed. */
export async function program(command: string, args: readonly string[], input = ''): Promise<{ nanoseconds: number; output: string }> {
  const started = process.hrtime.bigint();
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(input);
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}`);
  return { nanoseconds: Number(process.hrtime.bigint() - started), output };
}

/** ip(8) with all commands at once, and in a script that runs it once for each; in this namespace or in another. Nanoseconds for all. */
export function ipBatch(commands: readonly string[], netns?: string): Promise<{ nanoseconds: number }> {
  return program(...inside(netns, ['ip', '-batch', '-']), commands.join('\n'));
}
export function ipScript(commands: readonly string[], netns?: string): Promise<{ nanoseconds: number }> {
  return program(...inside(netns, ['sh', '-e']), commands.map((command) => `ip ${command}`).join('\n'));
}
function inside(netns: string | undefined, command: readonly string[]): [string, string[]] {
  const [first, ...rest] = netns === undefined ? command : ['nsenter', `--net=${netns}`, ...command];
  return [first!, rest];
}

/** Both, with lists of commands that are run one after another, `times` in each; a figure for each list. */
export function ipContenders(bench: Bench, times: number, ...lists: readonly (readonly string[])[]): Contender[] {
  if (!bench.ip) return [];
  const round = (run: typeof ipBatch) => async (): Promise<number[]> => {
    const figures: number[] = [];
    for (const list of lists) figures.push((await run(list)).nanoseconds / times);
    return figures;
  };
  return [
    { name: 'ip -batch', round: round(ipBatch) },
    { name: 'ip, one process each', round: round(ipScript) },
  ];
}
