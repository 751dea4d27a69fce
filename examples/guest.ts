// A guest that does as it is asked: Linux in user mode where that is installed, and else the kernel's own stack in a namespace.
import { createHash, randomBytes } from 'node:crypto';
import http from 'node:http';
import net from 'node:net';
import { buffer } from 'node:stream/consumers';
import type { Netns, Plumbing } from 'podtap';
import { dracutCmdline, uml } from 'podtap/guest';
import { ping, runGuest } from 'podtap/lab';
import { boot, needed } from '../test/support/machine.js';
import { requires } from '../test/support/requires.js';
import { answers } from './stage.js';

export interface Talker extends AsyncDisposable {
  /** By a packet of so many bytes. */
  reaches(address: string, bytes?: number): Promise<boolean>;
  /** Serves 8 MB by HTTP; their SHA-256. */
  serve(): Promise<string>;
  /** Fetches them; their SHA-256. */
  fetch(address: string): Promise<string>;
}

/** Of an IPv4 header and an ICMP one. */
const HEADERS = 28;
const BYTES = 8 << 20;

export function hasLinux(): boolean {
  return requires(...needed.uml) === false;
}

export function startGuest(pod: Netns, plumbed: Plumbing, linux: boolean): Promise<Talker> {
  return linux ? startLinux(pod, plumbed) : startNamespace(plumbed);
}

async function startLinux(pod: Netns, { guest }: Plumbing): Promise<Talker> {
  const { args, device } = uml(guest);
  const machine = await boot('uml', pod, { args, parameters: dracutCmdline(guest, { devices: [device] }).parameters });
  const first = (text: string): string => text.trim().split(' ')[0] ?? '';
  return {
    async reaches(address, bytes = 84) {
      return /[1-9] packets received/.test(await machine.run(`ping -c 3 -w 10 -s ${bytes - HEADERS} ${address} | tail -n 3`));
    },
    async serve() {
      await machine.run(`dd if=/dev/urandom of=/www/blob bs=65536 count=${BYTES >> 16} 2>/dev/null && httpd -p 80 -h /www`);
      return first(await machine.run('sha256sum /www/blob'));
    },
    async fetch(address) {
      return first(await machine.run(`timeout 60 wget -q -O - http://${address}/blob | sha256sum`));
    },
    [Symbol.asyncDispose]: () => machine.kill(),
  };
}

async function startNamespace({ tap, guest }: Plumbing): Promise<Talker> {
  const running = await runGuest(tap, guest);
  const { netns } = running;
  const blob = randomBytes(BYTES);
  const server = http.createServer((_, response) => response.end(blob));
  const sum = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
  return {
    async reaches(address, bytes = 84) {
      return (
        (await answers(netns, address)) && (await ping(netns, address, { count: 3, interval: 50, size: bytes - HEADERS })).received > 0
      );
    },
    async serve() {
      server.listen({ fd: await netns.openSocket({ type: 'tcp-listen', address: '0.0.0.0', port: 80 }) });
      return sum(blob);
    },
    async fetch(address) {
      const fd = await netns.openSocket({ type: 'tcp-connect', address, port: 80 });
      const request = http.get(`http://${address}/blob`, {
        createConnection: () => new net.Socket({ fd, readable: true, writable: true }),
      });
      const response = await new Promise<http.IncomingMessage>((resolve, reject) => request.on('response', resolve).on('error', reject));
      return sum(await buffer(response));
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await running.close();
    },
  };
}
