// Processes of the pod that listen to the world, where what carries its localhost cannot see them: told, since what comes for them goes to the guest.
import { listSockets } from '../../kernel/diag.js';
import type { Netns } from '../../kernel/netns.js';
import type { Problem } from '../../primitive/host.js';
import type { PlumbRecord } from '../record.js';

/** Of nftables: a table asks no sockets where frames come in. */
export async function unseenListeners(netns: Netns, { localhost }: PlumbRecord): Promise<readonly Problem[]> {
  if (localhost?.backend !== 'nft' || !localhost.config.podHasAddresses) return [];
  const own = new Set(['0.0.0.0', '::', ...localhost.config.addresses]);
  const sockets = await listSockets(netns).catch(() => []); // where the kernel does not tell them
  // One of UDP that is not connected may be a client's, whose answers come to it.
  const found = sockets.filter(({ protocol, open, address }) => protocol === 'tcp' && open && own.has(address));
  return [...new Set(found.map(({ port }) => port))].map((port) => ({
    code: 'LISTENER_UNSEEN',
    message: `a process of the pod listens on ${port}/tcp: the backend 'nft' does not see that, and what comes in for it goes to the guest`,
    fix: "the backend 'ebpf', or stop it; processes of the pod reach it by 127.0.0.1",
  }));
}
