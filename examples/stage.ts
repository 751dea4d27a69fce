// What every scene stands on: a title, numbered steps with the commands they stand for, and what must have been seen.
import { inspect } from 'node:util';

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

/** Ends the scene with an error unless it was seen. */
export function mustHold(what: string, seen: boolean): void {
  console.log(`   ${seen ? 'yes' : 'NO '}  ${what}`);
  if (!seen) throw new Error(`the scene failed: ${what}`);
}
