// What a file of the journal says: bytes to values and back. Nothing here touches a disk.
import * as v from 'valibot';
import { type Schema, oneOf } from '../check.js';
import { sha256 } from '../digest.js';
import { PodtapError, invalidArgument } from '../errors.js';
import { EncodingError, decodeValue, encodeValue } from './encoding.js';

// A file is three lines: 'podtap journal 1 ' with the SHA-256 of what follows; what the entry is, in JSON; its body, in the JSON of
// encoding.ts. Its name is made of what the second line says: <boot id>-<cookie or 'none'>-<id>[-<hash of the label>].entry.

export const FORMAT = 1;
/** Of a file, in bytes. A pod's images are some KiB, those of 10,000 routes 2 MiB. */
export const LARGEST = 8 * 1024 * 1024;
/** Of the first two lines; `netns` and `label` are bounded. */
export const LARGEST_HEAD = 32 * 1024;
export const ENTRY_NAME = /^[0-9a-f]{32}-(\d{1,20}|none)-[0-9a-f]{16}(-[0-9a-f]{16})?\.entry$/;

export type EntryState = 'applying' | 'applied' | 'undoing';

const MOST_LABEL = 256;
const MOST_PATH = 4096;

export const bootId = v.pipe(v.string('must be a boot id'), v.regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'must be a boot id'));
export const state: Schema<EntryState> = oneOf('applying', 'applied', 'undoing');
export const netns = v.pipe(v.string('must be a path'), v.maxLength(MOST_PATH, `must have at most ${MOST_PATH} characters`));
export const label = v.pipe(
  v.string('must be a string'),
  v.minLength(1, 'must not be empty'),
  v.maxLength(MOST_LABEL, `must have at most ${MOST_LABEL} characters`),
);
export const cookie = v.pipe(
  v.bigint('must be a bigint'),
  v.check((value) => value >= 0n && value < 1n << 64n, 'must fit in 64 bits'),
);

/** The second line. */
const head = v.object({
  format: v.literal(FORMAT),
  id: v.pipe(v.string(), v.regex(/^[0-9a-f]{16}$/)),
  bootId,
  cookie: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^(0|[1-9]\d{0,19})$/),
      v.transform((digits) => BigInt(digits)),
      cookie,
    ),
  ),
  netns,
  label: v.optional(label),
  state,
  created: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
});
export type Head = v.InferOutput<typeof head>;

export function namespacePrefix(bootId: string, cookie: bigint | undefined): string {
  return `${bootId.replaceAll('-', '')}-${cookie ?? 'none'}-`;
}

export function nameOf(entry: {
  readonly bootId: string;
  readonly cookie?: bigint | undefined;
  readonly id: string;
  readonly label?: string | undefined;
}): string {
  return `${namespacePrefix(entry.bootId, entry.cookie)}${entry.id}${entry.label === undefined ? '' : labelSuffix(entry.label)}.entry`;
}

/** Of the names of files whose entries may have that label: the others need not be opened to find it. */
export function labelSuffix(label: string): string {
  return `-${sha256(label).toString('hex').slice(0, 16)}`;
}

export function encode({ cookie, ...rest }: Head, body: unknown): Uint8Array {
  let text: string;
  try {
    text = `${JSON.stringify({ ...rest, cookie: cookie?.toString() })}\n${encodeValue(body)}\n`;
  } catch (error) {
    if (error instanceof EncodingError)
      throw invalidArgument('ERR_INVALID_ARG_VALUE', `journal: the body cannot be kept: ${error.message}`);
    throw error;
  }
  const bytes = Buffer.from(`${firstLine(text)}\n${text}`);
  if (bytes.length <= LARGEST) return bytes;
  throw new PodtapError(`a journal entry may have ${LARGEST} bytes; this one would have ${bytes.length}`, {
    code: 'ERR_JOURNAL_TOO_LARGE',
  });
}

export function decode(bytes: Buffer): { head: Head; body: unknown } | { reason: string } {
  const end = bytes.indexOf('\n');
  const line = bytes.toString('latin1', 0, Math.max(0, Math.min(end, 200)));
  const format = /^podtap journal (\d{1,9})(?: |$)/.exec(line)?.[1];
  if (format === undefined) return { reason: 'it is no journal entry, or only the beginning of one' };
  if (Number(format) > FORMAT)
    return { reason: `it has format ${format} of a newer podtap, and this one knows ${FORMAT}; use that one on it` };
  const rest = bytes.subarray(end + 1);
  if (line !== firstLine(rest)) return { reason: 'it was torn or changed: its checksum is not that of its content' };
  const [first = '', second, ...more] = rest.toString('utf8').split('\n');
  const head = decodeLine(first);
  if (head === undefined || second === undefined || more.join() !== '')
    return { reason: 'its checksum is right, but no podtap writes such an entry' };
  try {
    return { head, body: decodeValue(second) };
  } catch (error) {
    return { reason: `its body is none that podtap writes: ${(error as Error).message}` };
  }
}

/** The second line alone, of the beginning of a file: whether the rest is whole is not asked. */
export function decodeHead(bytes: Buffer): Head | undefined {
  const start = bytes.indexOf('\n') + 1;
  return decodeLine(bytes.toString('utf8', start, Math.max(start, bytes.indexOf('\n', start))));
}

function decodeLine(line: string): Head | undefined {
  try {
    const result = v.safeParse(head, JSON.parse(line), { abortPipeEarly: true });
    return result.success ? result.output : undefined;
  } catch {
    return undefined; // no JSON
  }
}

function firstLine(rest: string | Uint8Array): string {
  return `podtap journal ${FORMAT} ${sha256(rest).toString('hex')}`;
}
