// A page, and who fetches it: each in a namespace.
import http from 'node:http';
import net from 'node:net';
import { text } from 'node:stream/consumers';
import type { Netns } from 'podtap';

/** A web server in one namespace, and a request to it from another. */
export async function fetchPage(from: Netns, at: Netns, address: string, page: string): Promise<string> {
  const server = http.createServer((_, response) => response.end(page));
  server.listen({ fd: await at.openSocket({ type: 'tcp-listen', address: '0.0.0.0', port: 80 }) });
  try {
    const fd = await from.openSocket({ type: 'tcp-connect', address, port: 80 });
    const request = http.get(`http://${address}/`, {
      createConnection: () => new net.Socket({ fd, readable: true, writable: true }),
    });
    const response = await new Promise<http.IncomingMessage>((resolve, reject) => request.on('response', resolve).on('error', reject));
    return await text(response);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}
