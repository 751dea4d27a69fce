// What every scene stands on: a title, numbered steps with the commands they stand for, and what must have been seen.
import { inspect } from 'node:util';
import type { Netns } from 'podtap';
import { ping } from 'podtap/lab';

let steps = 0;

export function title(text: string): void {
  console.log(`\n${text}\n${'='.repeat(text.length)}`);
}

/** A step in the words of the scene, and the commands a person would have typed. */
export async function step<T>(what: string, commands: readonly string[], act: () => Promise<T>): Promise<T> {
  console.log(`\n${++steps}. ${what}`);
  for (const command of commands) console.log(`   # ${command}`);
  return act();
}

export function show(label: string, value: unknown): void {
  const text = typeof value === 'string' ? value : inspect(value, { compact: true, breakLength: 100 });
  console.log(`   ${label}: ${text}`);
}

/** What a program prints, as it prints it. */
export function print(text: string): void {
  for (const line of text.trimEnd().split('\n')) console.log(`     ${line}`);
}

/** Pings until there is an answer, for ten seconds at most: the kernel may take one to notice that a wire was plugged in. */
export async function answers(from: Netns, address: string): Promise<boolean> {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline;) {
    if ((await ping(from, address)).received > 0) return true;
  }
  return false;
}

/** Ends the scene with an error unless it was seen. */
export function mustHold(what: string, seen: boolean): void {
  console.log(`   ${seen ? 'yes' : 'NO '}  ${what}`);
  if (!seen) throw new Error(`the scene failed: ${what}`);
}
