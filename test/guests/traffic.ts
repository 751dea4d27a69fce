// What a guest must be able to do with its wire: judged from the other pod and from its own console.
import { createHash, randomBytes } from 'node:crypto';
import http from 'node:http';
import net from 'node:net';
import { type Netns, type PacketSocket, openPacketSocket } from 'podtap';
import { ping } from 'podtap/lab';
import type { Test } from 'tap';
import type { Machine } from '../support/machine.js';
import { CLIENT, MTU, POD } from './cluster.js';

/** Catches what a ping does not: checksums that were left to hardware, segments that were left to be cut. */
const BYTES = 8 << 20;

/** Milliseconds until there is an answer; undefined: there was none in all the time. */
export async function firstReply(from: Netns, address: string, patience = 10_000): Promise<number | undefined> {
  const started = performance.now();
  while (performance.now() - started < patience) {
    const { received } = await ping(from, address, { timeout: 50 }).catch(() => ({ received: 0 }));
    if (received > 0) return performance.now() - started;
  }
  return undefined;
}

export function answered(from: Netns, address: string, patience?: number): Promise<boolean> {
  return firstReply(from, address, patience).then((took) => took !== undefined);
}

/** 8 MB from the guest's web server, and 8 MB into it. */
export async function exchange(t: Test, client: Netns, machine: Machine, family: 'ipv4' | 'ipv6' = 'ipv4'): Promise<void> {
  const [own, far] = [CLIENT[family], POD[family]];
  const sum = await makeBlob(machine);
  const out = await fetchBytes(client, far);
  t.equal(out.length, BYTES, `${family}: as long as it was`);
  t.equal(sha256(out), sum, `${family}: out of the guest`);

  const blob = randomBytes(BYTES);
  const server = http.createServer((_, response) => response.end(blob));
  server.listen({ fd: await client.openSocket({ type: 'tcp-listen', address: own, port: 80 }) });
  try {
    await using wire = await openPacketSocket(client, 'eth0', { outgoing: false });
    const mss = family === 'ipv4' ? firstMss(wire) : undefined;
    const host = family === 'ipv6' ? `[${own}]` : own;
    t.match(await machine.run(`timeout 60 wget -q -O - http://${host}/ | sha256sum`), sha256(blob), `${family}: into the guest`);
    // RFC 879: without the headers of IPv4 and TCP.
    if (mss !== undefined) t.equal(await mss, MTU - 40, 'the guest asks for segments of its MTU');
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** 8 MB on the guest's web server; their SHA-256. */
export async function makeBlob(machine: Machine): Promise<string> {
  await machine.run(
    `[ -f /www/blob ] || { dd if=/dev/urandom of=/www/blob bs=65536 count=${BYTES >> 16} 2>/dev/null && httpd -p 80 -h /www; }`,
  );
  return (await machine.run('sha256sum /www/blob')).trim().split(' ')[0]!;
}

/** From another guest's web server; the SHA-256 of what came. */
export async function fetchBlob(machine: Machine, address: string): Promise<string> {
  return (await machine.run(`timeout 60 wget -q -O - http://${address}/blob | sha256sum`)).trim().split(' ')[0]!;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

async function fetchBytes(from: Netns, address: string): Promise<Buffer> {
  const fd = await from.openSocket({ type: 'tcp-connect', address, port: 80 });
  const request = http.get('http://guest/blob', { createConnection: () => new net.Socket({ fd, readable: true, writable: true }) });
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => request.on('response', resolve).on('error', reject));
  const parts: Buffer[] = [];
  for await (const part of response) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

/** Of the first connection that comes to a namespace from the guest. */
async function firstMss(wire: PacketSocket): Promise<number | undefined> {
  for await (const frames of wire.frames({ signal: AbortSignal.timeout(20_000) }))
    for (const frame of frames) {
      const mss = mssOf(Buffer.from(frame));
      if (mss !== undefined) return mss;
    }
  return undefined;
}

/** RFC 9293, 3.2: an option of kind 2 in a SYN. */
function mssOf(frame: Buffer): number | undefined {
  const isSyn = frame.length >= 54 && frame.readUInt16BE(12) === 0x0800 && frame[23] === 6 && (frame[47]! & 0x12) === 0x02;
  if (!isSyn) return undefined;
  const end = 34 + (frame[46]! >> 4) * 4;
  for (let at = 54; at < end; at += frame[at] === 1 ? 1 : Math.max(frame[at + 1]!, 2)) {
    if (frame[at] === 0) return undefined;
    if (frame[at] === 2) return frame.readUInt16BE(at + 2);
  }
  return undefined;
}
