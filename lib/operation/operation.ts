// An operation is a plain value that says what is to be changed: { op: 'address.add', link: 'eth0', address: ... }. It can be kept,
// printed and compared; its kind says how it is checked, which requests it becomes, and how a person would have typed it.
import * as v from 'valibot';
import { type LinkRef, type Schema, array, options } from '../check.js';
import type { UnsupportedError } from '../errors.js';
import type { LocalhostAttachment } from '../kernel/localhost.js';
import type { RedirectAttachment } from '../kernel/redirect.js';
import type { TunSpec } from '../kernel/tap.js';
import type { Part } from '../state/snapshot.js';
import type { Bytes } from '../wire/bytes.js';
import type { Link } from '../wire/link.js';
import type { LocalhostConfig } from '../wire/localhost.js';
import type { Message } from '../wire/message.js';
import type { Naming } from '../wire/names.js';
import type { Touching } from './touching.js';

/** What native code is asked to do for it. */
export type Request =
  | { readonly by: 'netlink'; readonly message: Uint8Array; readonly doubt?: Doubt }
  | { readonly by: 'tun'; readonly spec: TunSpec }
  | { readonly by: 'bpf'; readonly attach: RedirectAttachment }
  | { readonly by: 'bpf'; readonly localhost: LocalhostAttachment }
  | { readonly by: 'bpf'; readonly told: LocalhostConfig }
  | { readonly by: 'bpf'; readonly detach: { readonly link: number; readonly direction: 'ingress' | 'egress'; readonly id: number } }
  | { readonly by: 'nft'; readonly set: LocalhostConfig }
  | { readonly by: 'nft'; readonly without: number }
  | { readonly by: 'sysctl'; readonly key: string; readonly value: string };

/**
 * Of an attribute that came late: an older kernel passes over it without a word (nlmsg_parse_deprecated()), and makes something that matches
 * more than was asked for, or deletes something else. How that is found out before it is done.
 */
export type Doubt = DoubtOfMade | DoubtOfMeant;

export interface DoubtOfMade {
  /** Requests that make the like of it, which does nothing, and take it away again; the first with NLM_F_ECHO. */
  readonly trial: readonly Uint8Array[];
  /** Of what the kernel tells that it has made. undefined: it is what was asked for. */
  readonly judge: (from: Bytes, message: Message) => UnsupportedError | undefined;
}

export interface DoubtOfMeant {
  /** What there is, and whether that is what shall go: a kernel that does not know an attribute has nothing with it. */
  readonly dump: Uint8Array;
  readonly isMeant: (from: Bytes, message: Message) => boolean;
}

/** An interface's name to its ifindex, among those that `links` named; an ifindex to itself. */
export type FindLink = (link: LinkRef) => number;

export interface OperationKind<O extends { readonly op: string }> {
  readonly schema: Schema<O>;
  /** The interfaces that it names: they are looked up before `requests`. Absent ones are passed over. */
  links(operation: O): readonly (LinkRef | null | undefined)[];
  requests(operation: O, find: FindLink): readonly Request[];
  /** The equivalent command lines of ip(8), bridge(8), tc(8) or sysctl(8); a comment where there is none. */
  command(operation: O): string;
  /** Of which tables `touches` must know. */
  parts(operation: O): readonly Part[];
  /** What it changes, and what changes with it. */
  touches(operation: O, on: Touching): void;
  /** Sysctls that it changes; `links` are all there are. */
  sysctls?(operation: O, links: readonly Link[]): readonly string[];
  /** Interfaces that it makes here. */
  makes?(operation: O): readonly Made[];
  /** The same, with indexes and names where the kernel would choose them: so they are known before they are there. */
  chosen?(operation: O, choose: Choice): O;
}

export interface Choice {
  /** One that no interface has. */
  index(): number;
  /** For 'tap%d' the first name that is free; another stays. */
  name(pattern: string): string;
}

export interface Made {
  readonly name: string;
  readonly kind: string;
  readonly ifindex?: number | undefined;
}

/** `doubt`: where an older kernel would take it for something else. */
export function netlink(message: Uint8Array, doubt?: Doubt): Request {
  return { by: 'netlink', message, ...(doubt !== undefined && { doubt }) };
}

/** The fields of an operation, its own name among them. */
export function operation<const N extends string, const E extends v.ObjectEntries>(
  name: N,
  entries: E,
): ReturnType<typeof options<E & { op: v.LiteralSchema<N, undefined> }>> {
  return options({ op: v.literal(name), ...entries });
}

/** Words to a command line, each quoted where a shell would take it apart; what is undefined is left out. */
export function words(...parts: readonly (string | number | undefined)[]): string {
  return parts
    .filter((part) => part !== undefined)
    .map((part) => (/^[\w@%+=:,./-]+$/.test(String(part)) ? String(part) : `'${String(part).replaceAll("'", "'\\''")}'`))
    .join(' ');
}

/** An interface as a word: `dev eth0`; one that is known by number only, as ip(8) accepts it: if3. */
export function device(link: LinkRef): string {
  return typeof link === 'string' ? link : `if${link}`;
}

export function onOff(value: boolean | undefined): 'on' | 'off' | undefined {
  return value === undefined ? undefined : value ? 'on' : 'off';
}

/** RTA_FLOW and FRA_FLOW as ip(8) writes them: [source/]destination. */
export function realms(flow: number | undefined): string | undefined {
  return flow === undefined ? undefined : flow > 0xffff ? `${flow >>> 16}/${flow & 0xffff}` : String(flow);
}

/** A word with its value, or nothing. */
export function option(word: string, value: string | number | undefined): readonly (string | undefined)[] {
  return value === undefined ? [] : [word, String(value)];
}

/** One of the kernel's names, or a number as text. */
export function nameOf<N extends string>(naming: Naming<N>): Schema<string> {
  const known = Object.keys(naming.numbers).map((name) => `'${name}'`);
  return v.pipe(
    v.string(`must be a ${naming.what}`),
    v.check((value) => naming.has(value), `must be a ${naming.what}: ${known.join(', ')}, or its number`),
  );
}

/** Those of the flag names that are known. */
export function flagsOf(what: string, known: Readonly<Record<string, number>>): Schema<string[]> {
  return array(
    v.pipe(
      v.string(`must be a ${what}`),
      v.check((value) => Object.hasOwn(known, value) || /^0x[0-9a-f]+$/.test(value), `must be a ${what}: ${Object.keys(known).join(', ')}`),
    ),
  );
}

/** What a decoder kept as it came, to be sent as it is. */
export const asRead = v.optional(v.any());

/** Whether a parser of the wire room takes the text. */
export function accepts(parse: (text: string) => unknown, value: string): boolean {
  try {
    parse(value);
    return true;
  } catch {
    return false;
  }
}
