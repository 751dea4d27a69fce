// What callers may pass: checks that are made before any system call, and the words in which a mistake is told.
import { inspect } from 'node:util';
import { distance } from 'fastest-levenshtein';
import * as v from 'valibot';
import { invalidArgument } from './errors.js';
import { parseIp, parseMac } from './wire/text.js';

export type Schema<T> = v.GenericSchema<unknown, T>;

/** Returns the value if it fits; else throws ERR_INVALID_ARG_TYPE or ERR_INVALID_ARG_VALUE: what is wrong, where, and what would be right. */
export function check<T>(schema: Schema<T>, value: unknown, where: string): T {
  const result = v.safeParse(schema, value, { abortPipeEarly: true });
  if (result.success) return result.output;
  const issues = result.issues.map(nearest);
  const issue = issues.find(isUnknownOption) ?? issues[0]!;
  const path = v.getDotPath(issue);
  if (isUnknownOption(issue)) throw invalidArgument('ERR_INVALID_ARG_VALUE', `${where}: ${issue.message}`);
  const subject = path === null ? where : `${where}: '${path}'`;
  const received =
    issue.message === REQUIRED ? '' : `; received ${inspect(issue.input, { depth: 1, breakLength: Infinity, maxStringLength: 80 })}`;
  throw invalidArgument(
    issue.kind === 'validation' ? 'ERR_INVALID_ARG_VALUE' : 'ERR_INVALID_ARG_TYPE',
    `${subject} ${issue.message}${received}`,
  );
}

type Issue = v.BaseIssue<unknown>;

const REQUIRED = 'is required';

function isUnknownOption(issue: Issue): boolean {
  return issue.type === 'strict_object' && issue.expected === 'never';
}

/** Of a union's alternatives the one that came nearest to fitting: a wrong value of the right type, or a mistake further in. */
function nearest(issue: Issue): Issue {
  if (issue.type !== 'union' || issue.issues === undefined) return issue;
  const weight = ({ kind, path, message }: Issue): number =>
    2 * (path?.length ?? 0) + (kind === 'validation' || message.includes('did you mean') ? 1 : 0);
  const best = issue.issues.map(nearest).reduce((a, b) => (weight(b) > weight(a) ? b : a));
  return weight(best) === 0 ? issue : ({ ...best, path: [...(issue.path ?? []), ...(best.path ?? [])] } as Issue);
}

// ------------------------------------------------------------------ shapes

/** An object of options; a misspelled one is named, with the right one. */
export function options<const E extends v.ObjectEntries>(entries: E): v.StrictObjectSchema<E, v.ErrorMessage<v.StrictObjectIssue>> {
  return v.strictObject(entries, (issue) => {
    if (issue.expected === 'never') return unknownOption(String(issue.input), Object.keys(entries));
    return issue.received === 'undefined' && issue.path !== undefined ? REQUIRED : 'must be an object of options';
  });
}

function unknownOption(given: string, known: readonly string[]): string {
  const letters = (word: string): string => [...word.toLowerCase()].sort().join('');
  const [best] = known
    .map((name) => ({ name, far: distance(given.toLowerCase(), name.toLowerCase()), shuffled: distance(letters(given), letters(name)) }))
    .sort((a, b) => a.far - b.far || a.shuffled - b.shuffled); // two letters swapped count as two mistakes, but of the same letters
  const near = best !== undefined && best.far <= Math.max(2, given.length / 3);
  return `there is no option '${given}'; ${near ? `did you mean '${best.name}'?` : `there are ${known.join(', ')}`}`;
}

export const boolean = v.boolean('must be true or false');
export const text = v.string('must be a string');

export function integer(min: number, max: number): Schema<number> {
  const message = `must be an integer from ${min} to ${max}`;
  return v.pipe(v.number(message), v.integer(message), v.minValue(min, message), v.maxValue(max, message));
}
export const u8 = integer(0, 0xff);
export const u16 = integer(0, 0xffff);
export const u32 = integer(0, 0xffffffff);

export function oneOf<const T extends readonly string[]>(...values: T): Schema<T[number]> {
  const message = `must be one of ${values.map((value) => `'${value}'`).join(', ')}`;
  return v.pipe(
    v.string(message),
    v.check((value) => values.includes(value), message),
  );
}

export const optional = v.optional;
export const array = <T>(of: Schema<T>): Schema<T[]> => v.array(of, 'must be an array');
export const either = <A, B>(a: Schema<A>, b: Schema<B>, message: string): Schema<A | B> => v.union([a, b], message);

/** A string that a function accepts or, by returning a text, refuses. */
function string(what: string, why: (value: string) => string | undefined): Schema<string> {
  return v.pipe(
    v.string(`must be ${what}`),
    v.rawCheck(({ dataset, addIssue }) => {
      const reason = dataset.typed ? why(dataset.value) : undefined;
      if (reason !== undefined) addIssue({ message: `must be ${what}${reason === '' ? '' : ` (${reason})`}` });
    }),
  );
}

// ------------------------------------------------------------------ values

const IFNAMSIZ = 16; // uapi/linux/if.h, with the terminating NUL
const ALTIFNAMSIZ = 128;

/** What the kernel's dev_valid_name() refuses, told in words. */
function whyNoName(name: string, size: number): string | undefined {
  if (name === '') return 'it is empty';
  if (Buffer.byteLength(name) >= size) return `it has ${Buffer.byteLength(name)} bytes, and ${size - 1} fit`;
  if (name === '.' || name === '..') return `'${name}' is a directory`;
  const bad = /[/:\s\0]/u.exec(name)?.[0];
  return bad === undefined ? undefined : `it contains ${inspect(bad)}`;
}

/** The name of an interface to be made. */
export const interfaceName = string("an interface name: 1 to 15 bytes without '/', ':', white space, NUL or '%'", (name) =>
  name.includes('%') ? "it contains '%'" : whyNoName(name, IFNAMSIZ),
);
/** The same, or a pattern with one %d, for which the kernel finds a free number. */
export const interfacePattern = string(
  "an interface name: 1 to 15 bytes without '/', ':', white space or NUL; '%d' stands for a number",
  (name) => (/^[^%]*(%d)?[^%]*$/u.test(name) ? whyNoName(name, IFNAMSIZ) : "'%' may stand there once, as '%d'"),
);
/** A further name of an interface. */
export const altname = string("a name: 1 to 127 bytes without '/', ':', white space or NUL", (name) => whyNoName(name, ALTIFNAMSIZ));

/** What is wrong with a name of RFC 1123 labels; '_' is accepted, as engines accept it in containers' names. */
function whyNoDomain(name: string, longest: number): string | undefined {
  if (name === '') return 'it is empty';
  if (name.length > longest) return `it has ${name.length} characters, and ${longest} fit`;
  const bad = /[^a-z0-9._-]/iu.exec(name)?.[0];
  if (bad !== undefined) return `it contains ${inspect(bad)}`;
  const label = name.split('.').find((part) => !/^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/i.test(part));
  if (label === undefined) return undefined;
  return label === '' ? 'one of its labels is empty' : `'${label}' is no label: 1 to 63 characters, no '-' at its ends`;
}

/** sethostname(2) takes 64 bytes (__NEW_UTS_LEN) of any kind; what else stands in it, one guest or the other takes for syntax. */
export const hostname = string("a host name: letters, digits, '-' and '_', in labels joined by '.', 64 characters at most", (name) =>
  whyNoDomain(name, 64),
);
/** A domain that resolvers search; a dot at its end is accepted. RFC 1035, 2.3.4. */
export const searchDomain = string("a domain such as 'svc.cluster.local': letters, digits, '-' and '_', in labels joined by '.'", (name) =>
  whyNoDomain(name.replace(/\.$/, ''), 253),
);

export const ifindex = integer(1, 0x7fffffff);
/** An interface by its name, one of its altnames, or its ifindex. */
export type LinkRef = string | number;
export const linkRef: Schema<LinkRef> = either(altname, ifindex, 'must be an interface: its name or its ifindex');

/** 68 is what IPv4 asks of every link (RFC 791), 65536 the loopback's. */
export const mtu = integer(68, 65536);

const anyMac = string("a MAC address such as '02:00:00:00:00:22'", (value) => (parseMac(value)?.length === 6 ? undefined : ''));
/** In lower case. */
export const mac: Schema<string> = v.pipe(anyMac, v.toLowerCase());
/** A MAC that an interface can have. */
export const interfaceMac: Schema<string> = v.pipe(
  mac,
  v.check(
    (value) => (parseMac(value)![0]! & 1) === 0,
    "must be a unicast MAC, whose first byte is even: a multicast MAC cannot be an interface's",
  ),
  v.check((value) => value !== '00:00:00:00:00:00', 'must be a MAC other than 00:00:00:00:00:00'),
);

export const ip = string("an IP address such as '10.1.0.2' or 'fd00::2'", (value) => (parseIp(value) === undefined ? '' : undefined));

/** An address with its prefix length; without one, /32 or /128. */
export const cidr = string("an address with a prefix length such as '10.1.0.2/24' or 'fd00::2/64'", whyNoCidr);
/** The same, and the prefix length must be there. */
export const fullCidr = string("an address with its prefix length, such as '10.1.0.2/24' or 'fd00::2/64'", (value) =>
  value.includes('/') ? whyNoCidr(value) : 'there is no prefix length',
);
/** A destination: no bit beyond the prefix length; or 'default'. */
export const prefix = string("a prefix such as '10.1.0.0/16', 'fd00::/64' or 'default'", (value) => {
  if (value === 'default') return undefined;
  const why = whyNoCidr(value);
  if (why !== undefined) return why;
  const { address, length } = splitCidr(value);
  const masked = maskTo(parseIp(address)!, length);
  return masked.every((byte, index) => byte === parseIp(address)![index]) ? undefined : `it has bits set beyond /${length}`;
});

function whyNoCidr(value: string): string | undefined {
  const match = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(value);
  const bytes = match === null ? undefined : parseIp(match[1]!);
  if (bytes === undefined) return '';
  return match![2] !== undefined && Number(match![2]) > 8 * bytes.length ? `a prefix length goes up to ${8 * bytes.length}` : undefined;
}

export function splitCidr(value: string): { address: string; length: number; family: 'ipv4' | 'ipv6' } {
  const [address = '', length] = value.split('/');
  const family = address.includes(':') ? 'ipv6' : 'ipv4';
  return { address, length: length === undefined ? (family === 'ipv6' ? 128 : 32) : Number(length), family };
}

export function maskTo(address: Uint8Array, length: number): Uint8Array {
  return address.map((byte, index) => byte & (0xff00 >> Math.min(8, Math.max(0, length - 8 * index))) & 0xff);
}

export const family = oneOf('ipv4', 'ipv6');

/** Text of an address or prefix to its family; 'default' and what is absent have none. */
function familyOf(text: unknown): 'ipv4' | 'ipv6' | undefined {
  return typeof text !== 'string' || text === 'default' ? undefined : text.includes(':') ? 'ipv6' : 'ipv4';
}

/** An object in which a field is of the same family as another. The kernel does not always look: it reads as many bytes as it needs. */
export function sameFamily<T extends object>(
  schema: Schema<T>,
  ...pairs: readonly (readonly [field: keyof T & string, as: keyof T & string])[]
): Schema<T> {
  return v.pipe(
    schema,
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return;
      const { value } = dataset;
      for (const [field, as] of pairs) {
        const [own, other] = [familyOf(value[field]), as === 'family' ? value[as] : familyOf(value[as])];
        if (own === undefined || other === undefined || own === other) continue;
        addIssue({
          message: `must be of the same family as '${as}'`,
          input: value[field],
          path: [{ type: 'object', origin: 'value', input: value as Record<string, unknown>, key: field, value: value[field] }],
        });
      }
    }),
  );
}

export const abortSignal: Schema<AbortSignal> = v.custom<AbortSignal>((value) => value instanceof AbortSignal, 'must be an AbortSignal');
export function instance<T>(of: abstract new (...args: never) => T, what: string): Schema<T> {
  return v.custom<T>((value) => value instanceof of, `must be ${what}`);
}
