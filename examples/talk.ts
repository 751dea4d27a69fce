// Who says who it is, and who asks: by TCP and UDP, each in a namespace.
import dgram from 'node:dgram';
import net from 'node:net';
import type { Netns } from 'podtap';

/** A server whose answer to everybody is `text`. */
export async function say(at: Netns, address: string, port: number, text: string): Promise<AsyncDisposable> {
  const server = net.createServer((connection) => {
    connection.on('error', () => undefined);
    connection.end(text);
  });
  server.listen({ fd: await at.openSocket({ type: 'tcp-listen', address, port }) });
  await new Promise((resolve) => server.once('listening', resolve));
  return { [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())) };
}

/** What is said there; undefined: nobody is, or nothing comes in time. */
export async function hear(from: Netns, address: string, port: number, milliseconds = 3000): Promise<string | undefined> {
  const late = AbortSignal.timeout(milliseconds);
  const fd = await from.openSocket({ type: 'tcp-connect', address, port, signal: late }).catch(() => undefined);
  if (fd === undefined) return undefined;
  const connection = new net.Socket({ fd, readable: true, writable: true });
  try {
    return await new Promise<string | undefined>((resolve) => {
      let text = '';
      connection.on('data', (bytes) => (text += bytes.toString()));
      connection.once('end', () => resolve(text));
      connection.once('error', () => resolve(undefined));
      setTimeout(resolve, milliseconds, undefined);
    });
  } finally {
    connection.destroy();
  }
}

/** Sends back each datagram. `seen`: from where they came. */
export async function echo(at: Netns, address: string, port: number): Promise<AsyncDisposable & { readonly seen: ReadonlySet<string> }> {
  const socket = dgram.createSocket('udp4');
  const seen = new Set<string>();
  socket.on('message', (bytes, from) => {
    seen.add(`${from.address}:${from.port}`);
    socket.send(bytes, from.port, from.address);
  });
  socket.bind({ fd: await at.openSocket({ type: 'udp', address, port }) });
  return { seen, [Symbol.asyncDispose]: () => new Promise((resolve) => socket.close(() => resolve())) };
}

/** So many questions from one port, each with a name and a number: how many answers came, and how many of them were another's. */
export async function exchange(
  from: Netns,
  source: number,
  to: { readonly address: string; readonly port: number },
  name: string,
  count: number,
): Promise<{ readonly own: number; readonly others: number }> {
  const socket = dgram.createSocket('udp4');
  let own = 0;
  let others = 0;
  try {
    socket.bind({ fd: await from.openSocket({ type: 'udp', address: '0.0.0.0', port: source }) });
    for (let number = 0; number < count; number++) {
      const question = `${name} ${number}`;
      const answer = await new Promise<string | undefined>((resolve) => {
        socket.once('message', (bytes) => resolve(bytes.toString()));
        socket.send(question, to.port, to.address);
        setTimeout(resolve, 3000, undefined);
      });
      socket.removeAllListeners('message');
      if (answer === question) own++;
      else if (answer !== undefined) others++;
    }
    return { own, others };
  } finally {
    socket.close();
  }
}
