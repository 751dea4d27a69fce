import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

/** A program that reads commands, one a line, and answers each with a line of numbers: the floor, and the peers. */
export class Worker {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  constructor(command: string, args: readonly string[] = []) {
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async ask(command: string): Promise<readonly number[]> {
    this.#child.stdin.write(`${command}\n`);
    const { value, done } = (await this.#lines.next()) as IteratorResult<string, undefined>;
    if (done === true || value.startsWith('error'))
      throw new Error(`${this.#child.spawnfile}: '${command}': ${done === true ? 'it ended' : value}`);
    return value
      .split(' ')
      .filter((word) => word !== '')
      .map(Number);
  }

  close(): void {
    this.#child.stdin.end();
  }
}
