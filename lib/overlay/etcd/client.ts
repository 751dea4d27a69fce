// etcd v3 by its own HTTP/JSON gateway (/v3/..., since etcd 3.4), which every etcd serves on its client port.
//
// Of the clients on npm, `etcd3` is the one for v3. Weighed in 2026: its last release is of 2023; with gRPC and protobuf it brings 27
// packages and 16 MB, an install script among them, and takes 75 ms to load, five times what all of podtap may. The others are for v2 or
// stand on the abandoned native `grpc`. What a registry needs of etcd is six requests and a stream of JSON lines.
import { request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { OverlayError } from '../error.js';

/** PEM, as in node:tls. */
export interface EtcdTls {
  /** The authorities that the servers' certificates are checked against. Default: those that Node trusts. */
  readonly ca?: string | Uint8Array;
  /** The client's certificate, and its key. */
  readonly cert?: string | Uint8Array;
  readonly key?: string | Uint8Array;
  readonly passphrase?: string;
  /** The name that a server's certificate must have, if it is not the endpoint's. */
  readonly servername?: string;
}

export interface EtcdAccess {
  readonly endpoints: readonly string[];
  readonly tls?: EtcdTls;
  readonly username?: string;
  readonly password?: string;
  /** Milliseconds for an answer. Default 5000. */
  readonly timeout?: number;
}

export type Json = Readonly<Record<string, unknown>>;

/** What a registry of 100,000 nodes needs, and no more: an endpoint may be anybody's. */
const MAX_BYTES = 64 * 1024 * 1024;
const TIMEOUT_MILLISECONDS = 5000;
/** A connection whose other end vanished without a word is found dead after this and some probes (tcp(7), TCP_KEEPIDLE). */
const KEEPALIVE_MILLISECONDS = 10_000;
const UNAUTHENTICATED = 16; // grpc's codes

export class EtcdClient {
  readonly #access: EtcdAccess;
  /** The endpoint that answered last. */
  #current = 0;
  #token: string | undefined;

  constructor(access: EtcdAccess) {
    this.#access = access;
  }

  /**
   * One request and its answer. If an endpoint does not answer, the next one is asked.
   * @throws OverlayError ERR_ETCD_UNREACHABLE, ERR_ETCD_REFUSED; the signal's reason
   */
  async call(path: string, body: Json, signal?: AbortSignal): Promise<Json> {
    const { response, close } = await this.#open(path, body, signal, true);
    try {
      for await (const line of lines(response)) return resultOf(parse(line));
      throw unreachable([new Error('an empty answer')]);
    } catch (error) {
      throw error instanceof OverlayError ? error : unreachable([error]);
    } finally {
      close();
    }
  }

  /** A stream of answers, until it breaks, or the signal aborts. */
  async *stream(path: string, body: Json, signal: AbortSignal): AsyncGenerator<Json, void, undefined> {
    const { response, close } = await this.#open(path, body, signal, false);
    try {
      for await (const line of lines(response)) yield resultOf(parse(line));
    } catch (error) {
      if (signal.aborted) return;
      throw error instanceof OverlayError ? error : unreachable([error]);
    } finally {
      close();
    }
  }

  async #open(path: string, body: Json, signal: AbortSignal | undefined, brief: boolean): Promise<Opened> {
    for (let attempt = 1; ; attempt++) {
      const token = await this.#authenticate(signal);
      const opened = await this.#anywhere(path, body, token, signal, brief);
      if (opened.response.statusCode === 200) return opened;
      const refused = await refusal(path, opened);
      // Tokens live for five minutes, and not beyond a restart of etcd.
      if (!refused.unauthenticated || token === undefined || attempt > 1) throw refused.error;
      this.#token = undefined;
    }
  }

  async #authenticate(signal: AbortSignal | undefined): Promise<string | undefined> {
    const { username, password } = this.#access;
    if (username === undefined || this.#token !== undefined) return this.#token;
    const opened = await this.#anywhere('/v3/auth/authenticate', { name: username, password }, undefined, signal, true);
    if (opened.response.statusCode !== 200) throw (await refusal('/v3/auth/authenticate', opened)).error;
    try {
      for await (const line of lines(opened.response)) {
        const { token } = parse(line);
        if (typeof token === 'string') return (this.#token = token);
      }
    } finally {
      opened.close();
    }
    throw new OverlayError('ERR_ETCD_REFUSED', 'etcd gave no token for this user and password');
  }

  async #anywhere(path: string, body: Json, token: string | undefined, signal: AbortSignal | undefined, brief: boolean): Promise<Opened> {
    const { endpoints } = this.#access;
    const failures: unknown[] = [];
    for (let tried = 0; tried < endpoints.length; tried++) {
      const at = (this.#current + tried) % endpoints.length;
      try {
        const opened = await this.#ask(endpoints[at]!, path, body, token, signal, brief);
        this.#current = at;
        return opened;
      } catch (error) {
        signal?.throwIfAborted();
        failures.push(error);
      }
    }
    throw unreachable(failures, endpoints);
  }

  /** A connection of its own each time: requests are few, and one that was kept open may be to a server that has since restarted. */
  #ask(
    endpoint: string,
    path: string,
    body: Json,
    token: string | undefined,
    signal: AbortSignal | undefined,
    brief: boolean,
  ): Promise<Opened> {
    const { tls = {}, timeout = TIMEOUT_MILLISECONDS } = this.#access;
    const url = new URL(path, endpoint);
    const text = JSON.stringify(body);
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
      ...(token !== undefined && { authorization: token }),
    };
    return new Promise((resolve, reject) => {
      const options = { method: 'POST', headers, agent: false as const, ...(signal !== undefined && { signal }) };
      const request: ClientRequest =
        url.protocol === 'https:' ? httpsRequest(url, { ...options, ...definedOnly(tls) } as never) : httpRequest(url, options);
      const timer = setTimeout(() => request.destroy(new Error(`no answer within ${timeout} ms`)), timeout);
      const close = (): void => {
        clearTimeout(timer);
        request.destroy();
      };
      request.on('socket', (socket) => socket.setKeepAlive(true, KEEPALIVE_MILLISECONDS));
      request.on('error', (error) => {
        clearTimeout(timer);
        reject(error);
      });
      request.on('response', (response) => {
        // A stream has its head at once, and its lines when there is something to say.
        if (!brief) clearTimeout(timer);
        resolve({ response, close });
      });
      request.end(text);
    });
  }
}

interface Opened {
  readonly response: IncomingMessage;
  readonly close: () => void;
}

function definedOnly(tls: EtcdTls): object {
  return Object.fromEntries(Object.entries(tls).filter(([, value]) => value !== undefined));
}

async function* lines(response: IncomingMessage): AsyncGenerator<string, void, undefined> {
  let rest: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    let from = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      const line = Buffer.concat([...rest, chunk.subarray(from, end)]).toString();
      rest = [];
      length = 0;
      from = end + 1;
      if (line !== '') yield line;
    }
    rest.push(chunk.subarray(from));
    length += chunk.length - from;
    if (length > MAX_BYTES) throw new OverlayError('ERR_ETCD_REFUSED', `an answer of more than ${MAX_BYTES} bytes`);
  }
  const last = Buffer.concat(rest).toString();
  if (last !== '') yield last;
}

function parse(line: string): Json {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  } catch {
    // said below
  }
  throw new OverlayError('ERR_ETCD_REFUSED', `that is not etcd's answer: ${JSON.stringify(line.slice(0, 80))}`);
}

/** Streams wrap each answer: { result }, or { error } at their end. */
function resultOf(answer: Json): Json {
  const { result, error } = answer as { result?: unknown; error?: unknown };
  if (error !== undefined) throw new OverlayError('ERR_ETCD_REFUSED', `etcd ended the stream: ${told(error)}`);
  return typeof result === 'object' && result !== null ? (result as Json) : answer;
}

async function refusal(path: string, { response, close }: Opened): Promise<{ error: OverlayError; unauthenticated: boolean }> {
  let text = '';
  try {
    for await (const line of lines(response)) text += line;
  } catch {
    // what came must do
  } finally {
    close();
  }
  let said: Json = {};
  try {
    said = parse(text);
  } catch {
    said = { error: text.slice(0, 200) };
  }
  const error = new OverlayError('ERR_ETCD_REFUSED', `etcd refused ${path} (${response.statusCode}): ${told(said.message ?? said.error)}`);
  return { error, unauthenticated: response.statusCode === 401 || said.code === UNAUTHENTICATED || /invalid auth token/.test(text) };
}

function told(error: unknown): string {
  const { message } = (typeof error === 'object' && error !== null ? error : { message: error }) as { message?: unknown };
  return (typeof message === 'string' ? message : (JSON.stringify(error) ?? 'without a word')).slice(0, 200);
}

function unreachable(failures: readonly unknown[], endpoints?: readonly string[]): OverlayError {
  const why = failures.map((failure, at) => {
    const text = failure instanceof Error ? failure.message || String((failure as { code?: string }).code) : String(failure);
    return endpoints === undefined ? text : `${endpoints[at]}: ${text}`;
  });
  return new OverlayError('ERR_ETCD_UNREACHABLE', `etcd does not answer: ${why.join('; ')}`, { cause: failures[0] });
}
