// What stands between a node and etcd, and can fail in its own ways.
import { type Socket, connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';

export interface Proxy {
  readonly url: string;
  /** Connections break, and new ones are refused. */
  cut(): void;
  /** Nothing comes through any more, and nobody is told. */
  freeze(): void;
  mend(): void;
}

export async function proxy(t: Test, to: string): Promise<Proxy> {
  const { hostname, port } = new URL(to);
  const sockets = new Set<Socket>();
  let state: 'open' | 'cut' | 'frozen' = 'open';
  const server = createServer((near) => {
    if (state === 'cut') return void near.destroy();
    const far = connect(Number(port), hostname);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => undefined).on('close', () => {
        sockets.delete(socket);
        near.destroy();
        far.destroy();
      }); // prettier-ignore
    }
    if (state === 'frozen') return;
    near.pipe(far);
    far.pipe(near);
  });
  const destroy = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    destroy();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut: () => {
      state = 'cut';
      destroy();
    },
    freeze: () => {
      state = 'frozen';
      for (const socket of sockets) socket.unpipe().pause();
    },
    mend: () => {
      state = 'open';
      destroy();
    },
  };
}
