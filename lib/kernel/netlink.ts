// Requests to rtnetlink, and what came of them.
import { channel } from 'node:diagnostics_channel';
import { DumpInterruptedError, NetlinkError } from '../errors.js';
import { type Descriptor, type NetlinkReply, native } from '../native.js';
import { Bytes } from '../wire/bytes.js';
import { describe } from '../wire/describe.js';
import { errnoCode, errnoMessage } from '../wire/errno.js';
import { type Ack, decodeAck, explain } from '../wire/error.js';
import { typeName } from '../wire/families.js';
import { type Message, NLMSG_DONE, NLMSG_ERROR, NLM_F_DUMP_INTR, eachMessage } from '../wire/message.js';
import { die, gate } from './gate.js';
import { system } from './system.js';

/** What the kernel answered to one request: objects; acknowledgements and the ends of dumps are not among them. */
export interface Answer {
  readonly from: Bytes;
  readonly messages: readonly Message[];
}

interface Trip {
  readonly from: Bytes;
  readonly interrupted: boolean;
}

/** Everything sent and received, for tracing: { messages: Uint8Array, replies: Uint8Array, milliseconds }. */
const trace = channel('podtap:netlink');
const debug = (process.env.PODTAP_DEBUG ?? '').split(',').includes('netlink');

/**
 * Sends requests in one trip. They are run in order, and the first that the kernel refuses ends it: what stands before it was
 * done, what stands behind it was not.
 * @throws NetlinkError with `index` saying which
 */
export async function request(socket: Descriptor, requests: readonly Uint8Array[], signal?: AbortSignal): Promise<readonly Answer[]> {
  const answers = requests.map((): Message[] => []);
  if (requests.length === 0) return [];
  const { from } = await trip(socket, requests, (message) => answers[message.sequence]?.push(message), signal);
  return answers.map((messages) => ({ from, messages }));
}

/**
 * As `request`, with dumps behind it in the same trip: what the requests have led to. `interrupted`: a table changed while it was read,
 * and what came of the dumps may miss or repeat objects.
 */
export async function requestAndDump(
  socket: Descriptor,
  requests: readonly Uint8Array[],
  behind: readonly Uint8Array[],
  signal?: AbortSignal,
): Promise<{ readonly dumped: readonly Answer[]; readonly interrupted: boolean }> {
  const answers = behind.map((): Message[] => []);
  const { from, interrupted } = await trip(socket, [...requests, ...behind], (message) => answers[message.sequence - requests.length]?.push(message), signal); // prettier-ignore
  return { dumped: answers.map((messages) => ({ from, messages })), interrupted };
}

/**
 * Sends messages as one datagram, which the kernel carries out wholly or not at all: nfnetlink's transactions. What was answered
 * beyond acknowledgements, by message (NLM_F_ECHO).
 * @throws NetlinkError with `index` saying which message it is that cannot be; the first of several
 */
export async function batch(socket: Descriptor, messages: readonly Uint8Array[], signal?: AbortSignal): Promise<readonly Answer[]> {
  const answers = messages.map((): Message[] => []);
  const send = (bytes: Uint8Array): Promise<NetlinkReply> => native().netlinkBatch(socket, bytes);
  const { from } = await trip(socket, messages, (message) => answers[message.sequence]?.push(message), signal, send);
  return answers.map((found) => ({ from, messages: found }));
}

/** A dump that changed while it was read is read again; more often than this, and the table never rests. */
const DUMP_ATTEMPTS = 10;

/**
 * Reads a whole table.
 * @throws DumpInterruptedError when it kept changing; NetlinkError
 */
export async function dump<T>(
  socket: Descriptor,
  request: Uint8Array,
  decode: (from: Bytes, message: Message) => T,
  signal?: AbortSignal,
): Promise<T[]> {
  for (let attempt = 1; ; attempt++) {
    const objects: T[] = [];
    const { interrupted } = await trip(socket, [request], (message, from) => objects.push(decode(from, message)), signal);
    if (!interrupted) return objects;
    if (attempt === DUMP_ATTEMPTS) throw new DumpInterruptedError(nameOf(request), attempt, objects);
  }
}

/** As `dump`, of several tables in one trip; what the answers are of follows the requests. */
export async function dumps(socket: Descriptor, requests: readonly Uint8Array[], signal?: AbortSignal): Promise<readonly Answer[]> {
  for (let attempt = 1; ; attempt++) {
    const answers = requests.map((): Message[] => []);
    const { from, interrupted } = await trip(socket, requests, (message) => answers[message.sequence]?.push(message), signal);
    const whole = answers.map((messages) => ({ from, messages }));
    if (!interrupted) return whole;
    if (attempt === DUMP_ATTEMPTS) throw new DumpInterruptedError(nameOf(requests[0]!), attempt, whole);
  }
}

type Visit = (message: Message, from: Bytes) => void;

/** `atOnce`: as one datagram, of which a part cannot be sent. */
async function trip(
  socket: Descriptor,
  requests: readonly Uint8Array[],
  visit: Visit,
  signal: AbortSignal | undefined,
  atOnce?: (bytes: Uint8Array) => Promise<NetlinkReply>,
): Promise<Trip> {
  const fate = gate?.(requests.map(nameOf));
  if (fate === undefined) return exchange(socket, requests, visit, signal, atOnce);
  const { at, how, errno } = fate;
  const hit = requests[at]!;
  if (atOnce !== undefined && how === 'lost') {
    await exchange(socket, requests, () => undefined, signal, atOnce).catch(() => undefined);
    throw transportError(hit, at, errno, 'recvmsg');
  }
  if (at > 0 && atOnce === undefined) await exchange(socket, requests.slice(0, at), visit, signal);
  if (how === 'killed') return die();
  if (how === 'refused') throw refusal(hit, at, { errno });
  await exchange(socket, [hit], () => undefined, signal).catch(() => undefined);
  throw transportError(hit, at, errno, 'recvmsg');
}

async function exchange(
  socket: Descriptor,
  requests: readonly Uint8Array[],
  visit: Visit,
  signal: AbortSignal | undefined,
  send = (bytes: Uint8Array): Promise<NetlinkReply> => native().netlinkRequest(socket, bytes),
): Promise<Trip> {
  signal?.throwIfAborted();
  const messages = requests.length === 1 ? requests[0]! : concatenate(requests);
  const started = performance.now();
  const { replies, completed, errno, syscall } = await system(send(messages));
  const from = new Bytes(replies);
  if (trace.hasSubscribers) trace.publish({ messages, replies: from.u8, milliseconds: performance.now() - started });
  if (debug) process.stderr.write(`${describe(messages)}\n${describe(from.u8)}\n`);
  if (errno !== 0) throw transportError(requests[completed]!, completed, errno, syscall ?? 'recvmsg');
  let interrupted = false;
  eachMessage(from, from.u8.length, (message) => {
    if ((message.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true;
    if (message.type !== NLMSG_ERROR && message.type !== NLMSG_DONE) return visit(message, from);
    const ack = decodeAck(from, message);
    if (ack.errno !== 0) throw refusal(requests[message.sequence]!, message.sequence, ack);
    if (ack.message !== undefined) process.emitWarning(`${nameOf(requests[message.sequence]!)}: ${ack.message}`, 'NetlinkWarning');
  });
  // The outcome is known and told only now: an abort never leaves it open.
  signal?.throwIfAborted();
  return { from, interrupted };
}

function refusal(request: Uint8Array, index: number, ack: Ack): NetlinkError {
  const syscall = nameOf(request);
  const code = errnoCode(ack.errno);
  const extack = explain(request, ack);
  const said = [extack?.message, extack?.attribute, extack?.missing === undefined ? undefined : `${extack.missing} is missing`].filter(
    (part) => part !== undefined,
  );
  const reason = said.length === 0 ? '' : ` (${said.join('; ')})`;
  return new NetlinkError(`${code}: ${errnoMessage(ack.errno)}, ${syscall}${reason}`, { code, errno: -ack.errno, syscall, extack, index });
}

function transportError(request: Uint8Array, index: number, errno: number, syscall: string): NetlinkError {
  const code = errnoCode(errno);
  return new NetlinkError(`${code}: ${errnoMessage(errno)}, ${syscall} of ${nameOf(request)}: its outcome is not known`, {
    code,
    errno: -errno,
    syscall,
    index,
  });
}

function nameOf(request: Uint8Array): string {
  return typeName(new DataView(request.buffer, request.byteOffset).getUint16(4, true));
}

/** Requests are whole messages, padded to 4 bytes. */
function concatenate(requests: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(requests.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const request of requests) {
    whole.set(request, at);
    at += request.length;
  }
  return whole;
}
