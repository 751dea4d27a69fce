// A stand-in for virtual machine monitors: it takes a TAP as they do, and its guest answers ARP and ICMP echo requests.
//   --api-sock PATH --id ID             as Firecracker: HTTP on a Unix socket, the TAP opened by its name, with vnet_hdr
//   -netdev tap,id=..,fds=3:4 -device ..,mac=..   as QEMU: descriptors that it inherited, with vnet_hdr; GUEST_IP is its guest's address
import http from 'node:http';
import { json } from 'node:stream/consumers';
import { Netns, type Tap, openTap } from 'podtap';
import { batches } from '../../lib/kernel/queue.js';
import { native } from '../../lib/native.js';
import { startGuest } from '../support/guest.js';

const VNET_HEADER = 10;

/** The guest's side of a wire whose frames have a header in front. */
function withoutHeader(frames: AsyncIterable<readonly Uint8Array[]>, send: (frames: readonly Uint8Array[]) => Promise<unknown>): Tap {
  const bare = {
    async *frames() {
      for await (const batch of frames) yield batch.map((frame) => frame.subarray(VNET_HEADER));
    },
    send: (batch: readonly Uint8Array[]) => send(batch.map((frame) => Buffer.concat([new Uint8Array(VNET_HEADER), frame]))),
  };
  return bare as unknown as Tap;
}

const args = process.argv.slice(2);
const option = (name: string): string | undefined => (args.includes(name) ? args[args.indexOf(name) + 1] : undefined);
const apiSocket = option('--api-sock');
if (apiSocket === undefined) byDescriptors();
else byName(apiSocket);

function byName(socket: string): void {
  const told = new Map<string, Record<string, string>>();
  const server = http.createServer((request, response) => {
    void (async () => {
      const { method = '', url = '' } = request;
      const body = (await json(request)) as Record<string, string>;
      told.set(url, body);
      if (method === 'PUT' && url === '/actions') await start();
      response.statusCode = 204;
      response.end();
    })().catch((error: unknown) => {
      response.statusCode = 400;
      response.end(JSON.stringify({ fault_message: (error as Error).message }));
    });
  });
  const start = async (): Promise<void> => {
    const { boot_args = '' } = told.get('/boot-source')!;
    if (boot_args.includes('panic')) throw new Error('the kernel cannot be loaded');
    const { host_dev_name = '', guest_mac = '' } = told.get('/network-interfaces/eth0')!;
    const address = /\bip=([\d.]+):/.exec(boot_args)![1]!;
    const tap = await openTap(await Netns.current(), host_dev_name, { vnetHdr: true });
    startGuest(
      withoutHeader(tap.frames(), (frames) => tap.send(frames)),
      { mac: guest_mac, address },
    );
  };
  server.listen(socket);
}

function byDescriptors(): void {
  const numbers = /\bfds=([\d:]+)/
    .exec(option('-netdev') ?? '')![1]!
    .split(':')
    .map(Number);
  const mac = /\bmac=([0-9a-f:]{17})/.exec(option('-device') ?? '')![1]!;
  const queues = numbers.map((fd) => native().adopt(fd));
  const read: Parameters<typeof batches>[1] = (addon, descriptor, into, ends) => addon.readTun(descriptor, into, ends);
  async function* frames(): AsyncGenerator<readonly Uint8Array[], void, undefined> {
    for await (const { bytes, ends } of batches(queues, read, undefined))
      yield ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
  }
  const send = async (batch: readonly Uint8Array[]): Promise<unknown> => native().write(queues[0]!, batch, 0);
  startGuest(withoutHeader(frames(), send), { mac, address: process.env.GUEST_IP! });
}
