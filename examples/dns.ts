// A resolver that knows a few names, and who asks it: RFC 1035, as much of it as a scene needs.
import dgram from 'node:dgram';
import net from 'node:net';
import type { Netns } from 'podtap';

const HEADER = 12;
const TYPE_A = 1;
const CLASS_IN = 1;

export interface Resolver extends AsyncDisposable {
  /** Chosen by the kernel. */
  readonly ports: { readonly udp: number; readonly tcp: number };
  /** Who asked, in order. */
  readonly asked: readonly string[];
}

/** Listens on an address of a namespace, on a port for UDP and another for TCP that are free, as Docker's does. */
export async function runResolver(at: Netns, address: string, names: Readonly<Record<string, string>>): Promise<Resolver> {
  const asked: string[] = [];
  const udp = dgram.createSocket('udp4');
  udp.on('message', (question, from) => {
    asked.push(`${from.address} by UDP`);
    udp.send(answer(question, names), from.port, from.address);
  });
  udp.bind({ fd: await at.openSocket({ type: 'udp', address, port: 0 }) });
  const tcp = net.createServer((connection) => {
    asked.push(`${connection.remoteAddress} by TCP`);
    connection.on('error', () => undefined);
    connection.on('data', (bytes) => connection.end(withLength(answer(bytes.subarray(2), names)))); // a question fits in a segment
  });
  tcp.listen({ fd: await at.openSocket({ type: 'tcp-listen', address, port: 0 }) });
  await new Promise((resolve) => tcp.once('listening', resolve));
  return {
    ports: { udp: udp.address().port, tcp: (tcp.address() as net.AddressInfo).port },
    asked,
    async [Symbol.asyncDispose]() {
      await Promise.all([new Promise<void>((resolve) => udp.close(resolve)), new Promise((resolve) => tcp.close(resolve))]);
    },
  };
}

/** The address of a name, or undefined where nobody answers in time. Asked again and again, as resolvers do. */
export async function lookUp(
  from: Netns,
  server: string,
  name: string,
  by: 'udp' | 'tcp' = 'udp',
  milliseconds = 5000,
): Promise<string | undefined> {
  for (const end = Date.now() + milliseconds; Date.now() < end;) {
    const found = by === 'udp' ? await askByUdp(from, server, name, 500) : await askByTcp(from, server, name, 1000);
    if (found !== undefined) return found;
  }
  return undefined;
}

async function askByUdp(from: Netns, server: string, name: string, milliseconds: number): Promise<string | undefined> {
  const socket = dgram.createSocket('udp4');
  try {
    socket.bind({ fd: await from.openSocket({ type: 'udp', address: '0.0.0.0', port: 0 }) });
    const reply = new Promise<string | undefined>((resolve) => {
      socket.once('message', (bytes) => resolve(addressIn(bytes)));
      socket.once('error', () => resolve(undefined));
      setTimeout(resolve, milliseconds, undefined);
    });
    socket.send(question(name), 53, server);
    return await reply;
  } finally {
    socket.close();
  }
}

async function askByTcp(from: Netns, server: string, name: string, milliseconds: number): Promise<string | undefined> {
  const fd = await from.openSocket({ type: 'tcp-connect', address: server, port: 53 }).catch(() => undefined);
  if (fd === undefined) return undefined;
  const connection = new net.Socket({ fd, readable: true, writable: true });
  try {
    const reply = new Promise<string | undefined>((resolve) => {
      connection.once('data', (bytes) => resolve(addressIn(bytes.subarray(2))));
      connection.once('error', () => resolve(undefined));
      setTimeout(resolve, milliseconds, undefined);
    });
    connection.write(withLength(question(name)));
    return await reply;
  } finally {
    connection.destroy();
  }
}

export function question(name: string): Buffer {
  const labels = name.split('.').flatMap((label) => [label.length, ...Buffer.from(label)]);
  // An id, that recursion is desired, one question.
  return Buffer.from([0x70, 0x74, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, TYPE_A, 0, CLASS_IN]);
}

function answer(asked: Buffer, names: Readonly<Record<string, string>>): Buffer {
  const labels: string[] = [];
  let at = HEADER;
  for (let length = asked[at]!; length > 0; length = asked[at]!) {
    labels.push(asked.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  const address = names[labels.join('.')];
  const head = Buffer.from(asked.subarray(0, at + 5));
  head[2] = 0x81; // a response
  head[3] = address === undefined ? 0x83 : 0x80; // no such name
  head[7] = address === undefined ? 0 : 1;
  // The name by a pointer to the question's, an hour to live.
  const record = [0xc0, HEADER, 0, TYPE_A, 0, CLASS_IN, 0, 0, 0x0e, 0x10, 0, 4];
  return address === undefined ? head : Buffer.concat([head, Buffer.from([...record, ...address.split('.').map(Number)])]);
}

function addressIn(reply: Buffer): string | undefined {
  return reply[7] === 1 ? [...reply.subarray(-4)].join('.') : undefined;
}

function withLength(message: Buffer): Buffer {
  return Buffer.concat([Buffer.from([message.length >> 8, message.length & 0xff]), message]);
}
