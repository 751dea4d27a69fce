// Reads tap's report as it comes: one line for each file, failures in full at once, and the sum at the end.
// What counts as one test: a t.test() without a t.test() in it, or an assertion that stands in no t.test(). A file that
// fails by itself (it threw, left something open, ran too long) is one failure; so is a check that fails.
import { inspect } from 'node:util';
import { Parser } from 'tap-parser';
import { seconds } from './steps.mjs';

/** @typedef {{ passed: number, failed: number, skipped: number, tests: number }} Count */

export class Results {
  /** @type {{ name: string, reason: string, feature: string | undefined }[]} */
  skips = [];
  #count = { passed: 0, failed: 0, skipped: 0, tests: 0 };
  /** @type {string[]} */
  #failures = [];

  get ok() {
    return this.#count.failed === 0;
  }

  passed() {
    this.#count.passed++;
  }

  /** @param {string} what */
  failed(what) {
    this.#count.failed++;
    this.#failures.push(what);
  }

  /** A stream to write tap's report to. */
  parser() {
    const parser = new Parser();
    this.#follow(parser, [], this.#count);
    return parser;
  }

  /** Prints skips, failures and, alone on the last line, the sum. */
  summarize() {
    if (this.skips.length > 0) console.log('\nskipped:');
    for (const { name, reason } of this.skips) console.log(`  ${name}: ${reason}`);
    if (this.#failures.length > 0) console.log('\nfailed:');
    for (const failure of this.#failures) console.log(`  ${failure}`);
    console.log(`\n${this.sum}`);
    return this.ok;
  }

  get sum() {
    const { passed, failed, skipped } = this.#count;
    return `${passed} passed, ${failed} failed, ${skipped} skipped`;
  }

  /**
   * @param {Parser} parser
   * @param {readonly string[]} path
   * @param {Count} count
   */
  #follow(parser, path, count) {
    /** @type {Count | undefined} */
    let child; // the subtest whose closing point comes next
    parser.on('child', (/** @type {Parser} */ nested) => {
      child = { passed: 0, failed: 0, skipped: 0, tests: 0 };
      this.#follow(nested, [...path, nested.name], child);
    });
    parser.on('assert', (/** @type {import('tap-parser').Result} */ result) => {
      const inner = child;
      child = undefined;
      const name = [...path, result.name].map(source).join(' > ');
      const isFile = path.length === 0;
      if (inner) for (const key of /** @type {const} */ (['passed', 'failed', 'skipped', 'tests'])) count[key] += inner[key];
      if (!isFile && (inner || path.length === 1)) count.tests++;
      if (result.skip || result.todo) {
        const reason = String(result.skip || result.todo);
        count.skipped++;
        this.skips.push({ name, reason, feature: /^(?:kernel|machine|user) lacks (\S+?)(?::|$)/.exec(reason)?.[1] });
      } else if (!result.ok) {
        if (!inner?.failed) {
          count.failed++;
          this.#failures.push(name);
          console.log(`not ok ${name}\n${details(result.diag)}`);
        }
      } else if (!isFile && (inner ? inner.tests === 0 : path.length === 1)) {
        count.passed++;
      }
      if (isFile && inner) {
        const { passed, failed, skipped } = inner;
        const counts = [`${passed} passed`, failed > 0 && `${failed} failed`, skipped > 0 && `${skipped} skipped`].filter(Boolean);
        console.log(`${result.ok ? 'ok    ' : 'not ok'} ${source(result.name)}: ${counts.join(', ')} (${seconds(result.time ?? 0)})`);
      }
    });
    parser.on('bailout', (/** @type {string} */ reason) => this.failed(`bail out: ${reason}`));
  }
}

/** @param {string} name */
function source(name) {
  return name.replace(/^dist\/(test\/.*)\.js$/, '$1.ts');
}

/** @param {Record<string, unknown> | null} diag */
function details(diag) {
  const { diff, at, stack, source: code, ...rest } = diag ?? {};
  delete rest.args; // the command line of a file
  const parts = [diff, stack, code, Object.keys(rest).length > 0 && inspect(rest, { depth: 6, breakLength: 120 })];
  if (!stack && at) parts.push(inspect(at));
  return parts
    .filter((part) => typeof part === 'string')
    .map((part) => part.trimEnd().replace(/^/gm, '    '))
    .join('\n');
}
